/* scene.c: running scenes; see scene.h. The scenes are in scenes.c. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "scene.h"
#include "fault.h"

enum { FILL = 24 };	/* bytes of a message's payload */

int (*scene_sendving)(Run *, void **, int);
int (*scene_recvving)(Run *, void **, int);

/* one scene runs at a time, so its callbacks find it here */
static Run *now;
static pthread_mutex_t whylock = PTHREAD_MUTEX_INITIALIZER;

static void
count(unsigned *n)
{
	__atomic_add_fetch(n, 1, __ATOMIC_SEQ_CST);
}

const char *
scene_way(int way)
{
	static const char *name[NWAY] = {"direct", "procs", "batches", "procs, batches"};

	return name[way];
}

void
scene_bad(Run *r, const char *fmt, ...)
{
	va_list arg;

	pthread_mutex_lock(&whylock);
	if (r->bad++ == 0) {
		va_start(arg, fmt);
		vsnprintf(r->why, sizeof r->why, fmt, arg);
		va_end(arg);
	}
	pthread_mutex_unlock(&whylock);
}

static int
among(const int *list, int n, int err)
{
	int i;

	for (i = 0; i < n && list[i] != 0; i++)
		if (list[i] == err)
			return 1;
	return 0;
}

static void
tally(Run *r, int result, int err)
{
	if (result == 1)
		count(&r->good);
	else if (result != 0)
		scene_bad(r, "a call got another call's reply");
	else if (among(r->allowed, 6, err))
		count(&r->failed);
	else if (among(r->scene->ends, 4, err))
		count(&r->ended);
	else
		scene_bad(r, "a call ended with errno %d", err);
}

void
scene_tell(Run *r, int err)
{
	if (err == 0)
		return;
	if (among(r->refuses, 6, err))
		count(&r->refused);
	else
		scene_bad(r, "a function failed with errno %d", err);
}

static void
dispose(Mux *mux, void *msg)
{
	Client *c;

	c = mux->aux;
	count(&now->orphans);
	/* the client keeps those itself */
	if (((unsigned char *)msg)[c->frame->typeat] < R_ORPHAN)
		free(msg);
}

int
scene_sendv(Mux *mux, void **request, int n)
{
	int i;

	/* so that other requests are queued meanwhile */
	for (i = 0; i < 2; i++)
		task_yield();
	if (scene_sendving != NULL) {
		i = scene_sendving(now, request, n);
		if (i != 0)
			return i == SCENE_NONE ? 0 : i;
	}
	for (i = 0; i < n; i++)
		if (mux->send(mux, request[i]) < 0)
			return i > 0 ? i : -1;
	return n;
}

int
scene_recvv(Mux *mux, void **reply, int max)
{
	Client *c;
	int n;

	if (scene_recvving != NULL) {
		n = scene_recvving(now, reply, max);
		if (n != 0)
			return n == SCENE_NONE ? 0 : n;
	}
	c = mux->aux;
	n = 0;
	do {
		reply[n] = mux->recv(mux);
		if (reply[n] == NULL)
			break;
		n++;
	} while (n < max && task_ready(c->fd));
	return n;
}

void
scene_connect(Run *r)
{
	ServerPlan plan = {.frame = &frame_9p, .strangetag = 0xfff0};
	int fd;

	if (r->nfds == 64) {
		scene_bad(r, "too many connections");
		return;
	}
	r->servers[r->nfds] = server_start(&plan, &fd);
	r->fds[r->nfds++] = fd;
	if (r->c != NULL)
		client_reconnect(r->c, fd);
	r->broken = 0;
}

void
scene_break(Run *r)
{
	r->broken = 1;
	client_hangup(r->c);
	/* requests in transit get no reply any more, and no more are sent */
	memset(r->c->out, 0, sizeof r->c->out);
}

void
scene_call(Run *r, unsigned type, unsigned id, int ms)
{
	int n;

	n = ms < 0 ? client_call(r->c, type, id, id, FILL) : client_callfor(r->c, type, id, id, FILL, ms);
	tally(r, n, errno);
}

Muxrpc *
scene_start(Run *r, unsigned type, unsigned id)
{
	Muxrpc *rpc;

	rpc = client_start(r->c, type, id, id, FILL);
	if (rpc == NULL)
		tally(r, 0, errno);
	return rpc;
}

void
scene_finish(Run *r, Muxrpc *rpc, unsigned type, unsigned id)
{
	struct pollfd p;
	int n;

	if (rpc == NULL)
		return;
	while ((n = client_finish(r->c, rpc, type, id, id, FILL)) == 0) {
		task_yield();
		/* a single caller need not poll so often */
		p.fd = r->c->fd;
		p.events = POLLIN;
		if ((r->way == DIRECT || r->way == BATCH) && strcmp(task_kind(), "pthread") == 0)
			poll(&p, 1, 1);
	}
	tally(r, n == 1 ? 1 : n == -1 ? 0 : -1, errno);
}

typedef struct Part Part;
struct Part {
	Run *r;
	unsigned i;
	void (*fn)(Run *, unsigned);
	Task *task;
};

static void
part(void *v)
{
	Part *p;

	p = v;
	p->fn(p->r, p->i);
}

void
scene_tasks(Run *r, unsigned n, void (*fn)(Run *, unsigned))
{
	Part p[16];
	unsigned i;

	for (i = 0; i < n; i++) {
		p[i].r = r;
		p[i].i = i;
		p[i].fn = fn;
		p[i].task = task_start(part, &p[i]);
	}
	for (i = 0; i < n; i++)
		task_join(p[i].task);
}

static void
prepare(Run *r)
{
	if (r->way == BATCH || r->way == PROCSBATCH) {
		errno = 0;
		muxsetbatch(&r->c->mux, scene_sendv, scene_recvv);
		scene_tell(r, errno);
	}
	errno = 0;
	muxsetorphan(&r->c->mux, dispose);
	scene_tell(r, errno);
	/* without it, orphans would be lost and reported as leaks */
	if (errno != 0) {
		fault_pause(1);
		errno = 0;
		muxsetorphan(&r->c->mux, dispose);
		fault_pause(0);
	}
	r->disposes = errno == 0;
	if (r->way == PROCS || r->way == PROCSBATCH) {
		errno = 0;
		muxprocs(&r->c->mux);
		scene_tell(r, errno);
	}
}

/* A proc or a caller that was in recv may still report the end of the last connection, or of this one, which ends a
   call that is made now. When one call has got a reply, no such report is left. */
static void
settle(Run *r)
{
	unsigned i;

	if (r->nfds > 1 || r->allowed[0] == ECONNRESET)
		for (i = 0; i < 10 && client_call(r->c, T_ECHO, 4000 + i, 0, FILL) != 1; i++)
			;
}

/* without further failures: the Mux works, for both kinds of call, directly or under procs */
static void
works(Run *r)
{
	unsigned before, i;
	Muxstats s;

	if (r->broken)
		scene_connect(r);
	/* Before, not after: a call that meets the end of the old connection while it is sent may be sent over this
	   one. If its tag is the only one, another call has it when the reply arrives. */
	client_range(r->c, 0, 256);
	settle(r);
	before = r->good;
	errno = 0;
	muxsetorphan(&r->c->mux, dispose);
	if (r->way == PROCS || r->way == PROCSBATCH)
		muxprocs(&r->c->mux);
	if (errno != 0)
		scene_bad(r, "afterwards: muxsetorphan or muxprocs: errno %d", errno);
	for (i = 0; i < 2; i++)
		scene_call(r, T_ECHO, 5000 + i, -1);
	scene_finish(r, scene_start(r, T_ECHO, 5002), T_ECHO, 5002);
	if (r->good != before + 3)
		scene_bad(r, "afterwards: %u of 3 calls have replies", r->good - before);
	/* the receiver counts an orphan before it passes it on */
	s.size = sizeof s;
	for (i = 0; r->disposes && i < 1000000; i++) {
		before = __atomic_load_n(&r->orphans, __ATOMIC_SEQ_CST);
		muxstats(&r->c->mux, &s);
		if (s.orphans == before)
			return;
		task_yield();
	}
	if (r->disposes)
		scene_bad(r, "%lu orphans are counted, and %u were passed to the program", s.orphans, before);
}

void
scene_again(Run *r)
{
	errno = 0;
	muxinit(&r->c->mux);
	scene_tell(r, errno);
	/* where a Mux has a separate block of memory, calls would fail with EINVAL without memory */
	if (errno != 0) {
		fault_pause(1);
		errno = 0;
		muxinit(&r->c->mux);
		fault_pause(0);
		if (errno != 0)
			scene_bad(r, "muxinit: errno %d", errno);
	}
	r->orphans = 0;
	prepare(r);
}

void
scene_free(Run *r)
{
	client_hangup(r->c);
	errno = 0;
	muxfree(&r->c->mux);
	if (errno != 0)
		scene_bad(r, "muxfree: errno %d", errno);
}

void
scene_stage(Run *r)
{
	now = r;
}

void
scene_open(Run *r, const Scene *scene, int way)
{
	r->live = fault_live();
	r->scene = scene;
	r->way = way;
	r->c = NULL;
	r->good = r->ended = r->failed = r->refused = r->bad = r->orphans = 0;
	r->nfds = 0;
	scene_stage(r);
	scene_connect(r);
	r->c = client_new(r->fds[0], &frame_9p, 0, 256);
	if (!scene->armslate)
		r->arm(r);
	prepare(r);
}

/* the first n connections, which are not used any more */
static void
disconnect(Run *r, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		shutdown(r->fds[i], SHUT_RDWR);
	for (i = 0; i < n; i++) {
		server_join(r->servers[i]);
		close(r->fds[i]);
	}
}

void
scene_renew(Run *r)
{
	unsigned last;

	scene_break(r);
	scene_connect(r);
	settle(r);
	/* every task that was in read has returned */
	last = r->nfds - 1;
	disconnect(r, last);
	r->fds[0] = r->fds[last];
	r->servers[0] = r->servers[last];
	r->nfds = 1;
}

void
scene_close(Run *r)
{
	scene_stage(r);
	scene_free(r);
	disconnect(r, r->nfds);
	if (r->c->faults != 0)
		scene_bad(r, "%s", r->c->fault);
	client_free(r->c);
	if (fault_live() != r->live)
		scene_bad(r, "%ld blocks of memory are not freed", fault_live() - r->live);
	if (fault_wrong() != NULL)
		scene_bad(r, "%s", fault_wrong());
}

void
scene_run(Run *r, const Scene *scene, int way)
{
	scene_open(r, scene, way);
	scene->play(r);
	r->disarm(r);
	works(r);
	scene_close(r);
}
