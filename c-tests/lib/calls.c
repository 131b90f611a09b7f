/* calls.c: calls that check their results, and tasks that make one call; see client.h */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "client.h"

/* the caller frees its reply; an orphan is freed elsewhere, even if a call gets it by mistake */
static void
drop(Client *c, void *reply)
{
	if (((unsigned char *)reply)[c->frame->typeat] < R_ORPHAN)
		free(reply);
}

static int
call(Client *c, unsigned type, unsigned id, unsigned seq, size_t n, const int *ms)
{
	const Frame *frame;
	void *msg, *reply;
	int r, e;

	/* the client may have been freed when a call on it has ended */
	frame = c->frame;
	msg = frame_new(frame, type, id, seq, n);
	errno = 0;
	reply = ms == NULL ? muxrpc(&c->mux, msg) : muxrpctimeout(&c->mux, msg, *ms);
	e = errno;
	memset(msg, 0xaa, frame->head + n);
	free(msg);
	if (reply == NULL) {
		errno = e;
		return 0;
	}
	/* a reply that was sent before its request was read has only the minimum payload */
	if (type == T_EARLY)
		n = PAYLOAD;
	r = frame_isreply(c->frame, reply, type, id, seq, n) ? 1 : -1;
	drop(c, reply);
	return r;
}

int
client_call(Client *c, unsigned type, unsigned id, unsigned seq, size_t n)
{
	return call(c, type, id, seq, n, NULL);
}

int
client_callfor(Client *c, unsigned type, unsigned id, unsigned seq, size_t n, int ms)
{
	return call(c, type, id, seq, n, &ms);
}

Muxrpc *
client_start(Client *c, unsigned type, unsigned id, unsigned seq, size_t n)
{
	unsigned char msg[300];
	Muxrpc *rpc;
	int e;

	frame_request(c->frame, msg, type, id, seq, n);
	errno = 0;
	rpc = muxrpcstart(&c->mux, msg);
	e = errno;
	memset(msg, 0xaa, sizeof msg);
	/* the memory is not read again, but the compiler must not remove the write */
	__asm__ volatile("" : : "r"(msg) : "memory");
	errno = e;
	return rpc;
}

int
client_finish(Client *c, Muxrpc *rpc, unsigned type, unsigned id, unsigned seq, size_t n)
{
	static char unset;
	void *reply;
	int r, e;

	reply = &unset;
	errno = 0;
	r = muxrpccanfinish(rpc, &reply);
	e = errno;
	if (r == 0) {
		/* the original always sets it */
		if (reply != NULL)
			client_fault(c, "muxrpccanfinish returned 0 with a reply that is not NULL");
		r = 0;
	} else if (reply == NULL)
		r = -1;
	else if (reply == &unset) {
		client_fault(c, "muxrpccanfinish returned 1 without setting the reply");
		r = -2;
	} else {
		r = frame_isreply(c->frame, reply, type, id, seq, n) ? 1 : -2;
		drop(c, reply);
	}
	errno = e;
	return r;
}

void *
client_peek(Muxrpc *rpc)
{
	return __atomic_load_n(&rpc->p, __ATOMIC_ACQUIRE);
}

static void
callit(void *v)
{
	Caller *a;

	a = v;
	a->result = call(a->c, a->type, a->id, a->seq, a->n, a->ms);
	a->error = errno;
	task_event_set(a->done);
}

static void
start(Caller *a, Client *c, unsigned type, unsigned id, size_t n, const int *ms)
{
	memset(a, 0, sizeof *a);
	if (ms != NULL) {
		a->limit = *ms;
		a->ms = &a->limit;
	}
	a->c = c;
	a->type = type;
	a->id = id;
	a->seq = id ^ 0x55;
	a->n = n;
	a->done = task_event();
	a->task = task_start(callit, a);
}

void
caller_start(Caller *a, Client *c, unsigned type, unsigned id, size_t n)
{
	start(a, c, type, id, n, NULL);
}

void
caller_startfor(Caller *a, Client *c, unsigned type, unsigned id, size_t n, int ms)
{
	start(a, c, type, id, n, &ms);
}

int
caller_join(Caller *a)
{
	task_event_wait(a->done);
	task_join(a->task);
	task_event_free(a->done);
	return a->result;
}
