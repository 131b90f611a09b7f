/*
 * man3_other.c: the half of man3 that is written from the manual page: nbrecv returns the message or NULL,
 * muxrpccanfinish returns the reply or NULL, and the procs are called muxthreads.
 */
#define MUX_MAN3 1
#include "mux.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "frame.h"
#include "man3.h"
#include "task.h"

enum { N = 40 };

struct Page {
	Mux mux;
	int fd;
	int insend, inrecv;
	unsigned found, faults;
	Page *next;
};

/* the page has no function that frees a Mux; these keep them reachable for the leak checker */
static Page *pages;

static int
enter(int *p)
{
	return __atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST) == 1;
}

static void
leave(int *p)
{
	__atomic_add_fetch(p, -1, __ATOMIC_SEQ_CST);
}

static void
fault(Page *p)
{
	__atomic_add_fetch(&p->faults, 1, __ATOMIC_SEQ_CST);
}

static int
psend(Mux *mux, void *msg)
{
	Page *p;
	int n, e;

	p = mux->aux;
	if (!enter(&p->insend))
		fault(p);
	n = task_writen(p->fd, msg, frame_size(msg)) < 0 ? -1 : 0;
	e = errno;
	leave(&p->insend);
	errno = e;
	return n;
}

static void *
readmsg(int fd)
{
	unsigned char size[4], *msg;
	unsigned n;

	if (task_readn(fd, size, 4) != 4)
		return NULL;
	n = frame_size(size);
	msg = malloc(n);
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
precv(Mux *mux)
{
	Page *p;
	void *msg;

	p = mux->aux;
	if (!enter(&p->inrecv))
		fault(p);
	msg = readmsg(p->fd);
	leave(&p->inrecv);
	return msg;
}

/* NULL means that there is no message; whether more can arrive, the page leaves to recv */
static void *
pnbrecv(Mux *mux)
{
	Page *p;
	void *msg;

	p = mux->aux;
	if (!enter(&p->inrecv))
		fault(p);
	msg = NULL;
	if (task_ready(p->fd))
		msg = readmsg(p->fd);
	if (msg != NULL)
		p->found++;
	leave(&p->inrecv);
	return msg;
}

static int
pgettag(Mux *mux, void *msg)
{
	(void)mux;
	return (int)frame_tag(&frame_9p, msg);
}

static int
psettag(Mux *mux, void *msg, unsigned int tag)
{
	if (tag >= 256)
		fault(mux->aux);
	frame_settag(&frame_9p, msg, tag);
	return 0;
}

Page *
page_new(int fd, int nbrecv)
{
	Page *p;

	p = calloc(1, sizeof *p);
	if (p == NULL)
		abort();
	p->fd = fd;
	p->mux.mintag = 0;
	p->mux.maxtag = 256;
	p->mux.send = psend;
	p->mux.recv = precv;
	p->mux.nbrecv = nbrecv ? pnbrecv : NULL;
	p->mux.gettag = pgettag;
	p->mux.settag = psettag;
	p->mux.aux = p;
	p->next = pages;
	pages = p;
	muxinit(&p->mux);
	return p;
}

void
page_threads(Page *p)
{
	muxthreads(&p->mux);
}

void
page_reconnect(Page *p, int fd)
{
	p->fd = fd;
}

int
page_call(Page *p, unsigned id, unsigned seq, size_t n)
{
	void *msg, *reply;
	int r, e;

	msg = frame_new(&frame_9p, T_ECHO, id, seq, n);
	errno = 0;
	reply = muxrpc(&p->mux, msg);
	e = errno;
	free(msg);
	r = 0;
	if (reply != NULL) {
		r = frame_isreply(&frame_9p, reply, T_ECHO, id, seq, n) ? 1 : -1;
		free(reply);
	}
	errno = e;
	return r;
}

void *
page_start(Page *p, unsigned id)
{
	unsigned char msg[100];

	frame_request(&frame_9p, msg, T_ECHO, id, id, N);
	return muxrpcstart(&p->mux, msg);
}

int
page_finish(Page *p, void *rpc, unsigned id)
{
	void *reply;
	int r, e;

	(void)p;
	errno = 0;
	reply = muxrpccanfinish(rpc);
	e = errno;
	if (reply != NULL) {
		r = frame_isreply(&frame_9p, reply, T_ECHO, id, id, N) ? 1 : -2;
		free(reply);
	} else
		r = e == EAGAIN ? 0 : -1;
	errno = e;
	return r;
}

int
page_finishnil(void)
{
	errno = 0;
	return muxrpccanfinish(NULL) == NULL && errno == EINVAL;
}

int
page_peek(Page *p, void *v)
{
	Muxrpc *rpc;

	rpc = v;
	if (rpc->mux != &p->mux || rpc->tag >= 256)
		return -1;
	return __atomic_load_n(&rpc->p, __ATOMIC_ACQUIRE) != NULL;
}

unsigned
page_found(Page *p)
{
	return p->found;
}

unsigned
page_faults(Page *p)
{
	return __atomic_load_n(&p->faults, __ATOMIC_SEQ_CST);
}
