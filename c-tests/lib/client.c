/* client.c: the callbacks, and the checks in them; see client.h */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "client.h"
#include "tap.h"

/* all Clients, so that the leak checker can reach them */
static Client *clients;
static pthread_mutex_t clientslock = PTHREAD_MUTEX_INITIALIZER;

/* an orphan, kept until the end of the test */
typedef struct Stray Stray;
struct Stray {
	Stray *next;
	void *msg;
};

/* Relaxed, here and below: a counter that orders its callers would hide from a race checker that the library does
   not. */
static int
add(int *p, int n)
{
	return __atomic_add_fetch(p, n, __ATOMIC_RELAXED);
}

static int
look(int *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* the test that has replaced it has made it */
static int
fdof(Client *c)
{
	return __atomic_load_n(&c->fd, __ATOMIC_ACQUIRE);
}

static void
count(unsigned long *p)
{
	__atomic_add_fetch(p, 1, __ATOMIC_RELAXED);
}

unsigned long
client_count(const unsigned long *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

void
client_fault(Client *c, const char *what)
{
	__atomic_store_n(&c->fault, what, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&c->faults, 1, __ATOMIC_SEQ_CST);
}

static unsigned char *
mark(Client *c, unsigned tag)
{
	return tag < sizeof c->out ? &c->out[tag] : NULL;
}

static void
ontheway(Client *c, unsigned tag)
{
	unsigned char *p;

	p = mark(c, tag);
	if (p != NULL && __atomic_exchange_n(p, 1, __ATOMIC_RELAXED) != 0)
		client_fault(c, "a tag was allocated that another call still has");
}

static void
arrived(Client *c, unsigned tag)
{
	unsigned char *p;

	p = mark(c, tag);
	if (p != NULL)
		__atomic_store_n(p, 0, __ATOMIC_RELAXED);
}

static void
nothingout(Client *c)
{
	unsigned i;

	for (i = 0; i < sizeof c->out; i++)
		__atomic_store_n(&c->out[i], 0, __ATOMIC_RELAXED);
}

static int
dosend(Client *c, void *msg)
{
	unsigned tag;
	int n, e;

	tag = frame_tag(c->frame, msg);
	ontheway(c, tag);
	n = c->sending != NULL ? c->sending(c, msg) : 0;
	if (n >= 0) {
		n = (int)frame_size(msg);
		if (task_writen(fdof(c), msg, (size_t)n) < 0)
			n = -1;
		else if (c->sent != NULL && c->sent(c, msg) < 0)
			n = -1;
	}
	e = errno;
	if (n < 0)
		arrived(c, tag);
	errno = e;
	/* more than 0 means the same as 0: lib9pclient returns the result of write */
	return n;
}

static int
csend(Mux *mux, void *msg)
{
	Client *c;
	int n, e;

	c = mux->aux;
	count(&c->nsend);
	c->senders++;
	if (add(&c->insend, 1) != 1)
		client_fault(c, "two callers in send at once");
	if (look(&c->inrecv) != 0)
		count(&c->overlaps);
	n = dosend(c, msg);
	e = errno;
	add(&c->insend, -1);
	errno = e;
	return n;
}

static void
keep(Client *c, void *msg)
{
	Stray *s;

	s = malloc(sizeof *s);
	if (s == NULL)
		abort();
	s->msg = msg;
	/* only one caller receives at a time, so no other caller is here */
	s->next = c->strays;
	c->strays = s;
}

/* reads one whole message, or returns NULL */
static void *
readmsg(Client *c)
{
	unsigned char size[4], *msg;
	unsigned n, room;
	int fd;

	/* the whole message comes from one connection, though there may be a new one meanwhile */
	fd = fdof(c);
	if (task_readn(fd, size, 4) != 4)
		return NULL;
	n = frame_size(size);
	if (n < 4 || n > 1 << 24)
		return NULL;
	/* a message may be too short for a tag; gettag reads at its place nevertheless */
	room = n < c->frame->head ? c->frame->head : n;
	msg = calloc(1, room);
	if (msg == NULL)
		return NULL;
	memcpy(msg, size, 4);
	if (task_readn(fd, msg + 4, n - 4) != (long)(n - 4)) {
		free(msg);
		return NULL;
	}
	return msg;
}

static void *
receive(Client *c, int canblock)
{
	unsigned char *msg;

	msg = NULL;
	if (c->receiving == NULL || c->receiving(c, canblock) >= 0)
		msg = readmsg(c);
	if (msg == NULL) {
		/* a request that was written before the other end closed gets no reply */
		nothingout(c);
		return NULL;
	}
	if (msg[c->frame->typeat] >= R_ORPHAN || frame_size(msg) < c->frame->head)
		keep(c, msg);
	else
		arrived(c, frame_tag(c->frame, msg));
	return msg;
}

static void
enter(Client *c)
{
	c->receivers++;
	if (add(&c->inrecv, 1) != 1)
		client_fault(c, "two callers in recv or nbrecv at once");
	if (look(&c->insend) != 0)
		count(&c->overlaps);
}

static void *
crecv(Mux *mux)
{
	Client *c;
	void *msg;

	c = mux->aux;
	count(&c->nrecv);
	enter(c);
	msg = receive(c, 1);
	add(&c->inrecv, -1);
	return msg;
}

static int
cnbrecv(Mux *mux, void **reply)
{
	Client *c;
	int r;

	c = mux->aux;
	count(&c->nnbrecv);
	enter(c);
	*reply = NULL;
	/* as in libdraw: no message, or a whole one (or NULL at the end) */
	r = task_ready(fdof(c));
	if (r || c->receiving != NULL) {
		if (!r && c->receiving(c, 0) < 0)
			r = 1;
		else if (r)
			*reply = receive(c, 0);
	}
	add(&c->inrecv, -1);
	return r;
}

static int
cgettag(Mux *mux, void *msg)
{
	Client *c;

	c = mux->aux;
	count(&c->ngettag);
	if (((unsigned char *)msg)[c->frame->typeat] == R_NONSENSE || frame_size(msg) < c->frame->head)
		return -1;
	return (int)frame_tag(c->frame, msg);
}

static int
csettag(Mux *mux, void *msg, unsigned tag)
{
	Client *c;

	c = mux->aux;
	count(&c->nsettag);
	if (tag < __atomic_load_n(&c->lo, __ATOMIC_SEQ_CST) || tag >= __atomic_load_n(&c->hi, __ATOMIC_SEQ_CST))
		client_fault(c, "a tag outside the range was allocated");
	if (c->tagging != NULL && c->tagging(c, msg, tag) < 0)
		return -1;
	frame_settag(c->frame, msg, tag);
	return 0;
}

Client *
client_new(int fd, const Frame *frame, unsigned mintag, unsigned maxtag)
{
	Client *c;

	c = calloc(1, sizeof *c);
	if (c == NULL)
		abort();
	/* writing to a server that has gone is an error of that call and must not end the test */
	signal(SIGPIPE, SIG_IGN);
	c->fd = fd;
	c->frame = frame;
	c->mux.send = csend;
	c->mux.recv = crecv;
	c->mux.nbrecv = cnbrecv;
	c->mux.gettag = cgettag;
	c->mux.settag = csettag;
	c->mux.aux = c;
	client_range(c, mintag, maxtag);
	pthread_mutex_lock(&clientslock);
	c->next = clients;
	clients = c;
	pthread_mutex_unlock(&clientslock);
	muxinit(&c->mux);
	return c;
}

void
client_free(Client *c)
{
	Client **p;

	pthread_mutex_lock(&clientslock);
	for (p = &clients; *p != c; p = &(*p)->next)
		;
	*p = c->next;
	pthread_mutex_unlock(&clientslock);
	client_dropstrays(c);
	/* a later access finds nothing useful, even without a checker */
	memset(c, 0xdd, sizeof *c);
	free(c);
}

void
client_range(Client *c, unsigned mintag, unsigned maxtag)
{
	/* atomic only for the race checkers; a program changes them by plain assignments */
	__atomic_store_n(&c->lo, mintag, __ATOMIC_SEQ_CST);
	__atomic_store_n(&c->hi, maxtag, __ATOMIC_SEQ_CST);
	__atomic_store_n(&c->mux.mintag, mintag, __ATOMIC_SEQ_CST);
	__atomic_store_n(&c->mux.maxtag, maxtag, __ATOMIC_SEQ_CST);
}

void
client_hangup(Client *c)
{
	/* not close: another connection could get its number while a recv is still using it */
	shutdown(fdof(c), SHUT_RDWR);
}

void
client_fd(Client *c, int fd)
{
	__atomic_store_n(&c->fd, fd, __ATOMIC_RELEASE);
}

void
client_reconnect(Client *c, int fd)
{
	nothingout(c);
	client_fd(c, fd);
}

int
client_check(Client *c, const char *what)
{
	unsigned n;

	n = __atomic_load_n(&c->faults, __ATOMIC_SEQ_CST);
	return tap_ok(n == 0, "%s: callbacks and tags%s%s", what, n != 0 ? ": " : " are correct",
	    n != 0 ? __atomic_load_n(&c->fault, __ATOMIC_SEQ_CST) : "");
}

void
client_dropstrays(Client *c)
{
	Stray *s;

	while ((s = c->strays) != NULL) {
		c->strays = s->next;
		free(s->msg);
		free(s);
	}
}
