/*
 * private.c: the functions that plan9port's header calls private: a message sent and received by hand, in
 * turn with the calls, the procs as functions, and the queue, which its last receiver may free.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/server.h"
#include "lib/steps.h"
#include "lib/tap.h"

enum { NITEM = 200, NROUND = 100 };

static void
byhand(void)
{
	Client *c;
	Caller a;
	Request r;
	void *got;
	int peer, n;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	got = c;
	n = _muxrecv(&c->mux, 0, &got);
	tap_ok(n == 0 && got == NULL, "_muxrecv without waiting: 0 and nil when there is nothing");
	peer_stray(peer, c->frame, R_ORPHAN, 77);
	n = _muxrecv(&c->mux, 1, &got);
	tap_ok(n == 1 && got != NULL, "_muxrecv: 1 and the message, though it is nobody's");
	free(got);
	r = begin(&a, c, peer, ID);
	n = _muxrecv(&c->mux, 0, &got);
	tap_ok(n == 0 && got == NULL, "while a caller receives, it does not get in without waiting");
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "and the caller has its reply");
	muxprocs(&c->mux);
	errno = 0;
	n = _muxrecv(&c->mux, 1, &got);
	tap_ok(n == 1 && got == NULL && errno == EBUSY, "_muxrecv under procs: 1, nil and EBUSY");
	shutdown(peer, SHUT_RDWR);
	close(peer);
}

static void
receives(void *v)
{
	_muxrecvproc(v);
}

static void
sends(void *v)
{
	_muxsendproc(v);
}

static void
procs(void)
{
	Client *c;
	Task *t[2];
	Caller a;
	Request r;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	t[0] = task_start(receives, &c->mux);
	t[1] = task_start(sends, &c->mux);
	r = begin(&a, c, peer, ID);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "a call, with the procs as tasks of the program's own");
	muxhangup(&c->mux);
	shutdown(peer, SHUT_RDWR);
	task_join(t[0]);
	task_join(t[1]);
	tap_ok(1, "both return at the end");
	t[0] = task_start(receives, &c->mux);
	t[1] = task_start(sends, &c->mux);
	task_join(t[0]);
	task_join(t[1]);
	tap_ok(1, "and at once when they come after the hang-up");
	close(peer);
}

static Muxqueue *queue;
static int item[NITEM], nreceived;

static void
drains(void *v)
{
	int *p;

	(void)v;
	while ((p = _muxqrecv(queue)) != NULL) {
		++*p;
		__atomic_add_fetch(&nreceived, 1, __ATOMIC_SEQ_CST);
	}
}

static void
fifo(void)
{
	void *p;
	int i, good;
	Task *t[3];

	queue = _muxqalloc();
	p = &p;
	tap_ok(_muxnbqrecv(queue, &p) == 0 && p == NULL, "an empty queue: 0 and nil");
	for (i = good = 0; i < 5; i++)
		good += _muxqsend(queue, &item[i]) == 0;
	for (i = 0; i < 5; i++)
		good += _muxnbqrecv(queue, &p) == 1 && p == &item[i];
	tap_ok(good == 10, "five in, five out, in order");
	for (i = 0; i < 3; i++)
		t[i] = task_start(drains, NULL);
	for (i = 0; i < NITEM; i++)
		_muxqsend(queue, &item[i]);
	while (__atomic_load_n(&nreceived, __ATOMIC_SEQ_CST) < NITEM)
		task_yield();
	_muxqhangup(queue);
	for (i = 0; i < 3; i++)
		task_join(t[i]);
	for (i = good = 0; i < NITEM; i++)
		good += item[i] == 1;
	tap_ok(good == NITEM, "%d items for three receivers: each once", NITEM);
	errno = 0;
	tap_ok(_muxqsend(queue, &item[0]) == -1 && errno == ECONNRESET, "after the hang-up nothing goes in");
	tap_ok(_muxnbqrecv(queue, &p) == 1 && p == NULL && _muxqrecv(queue) == NULL, "and nothing comes out");
	free(queue);
}

static void
ends(void *v)
{
	Muxqueue *q = v;

	while (_muxqrecv(q) != NULL)
		continue;
	free(q);
}

/* the receiver that is told of the hang-up frees the queue at once; memcheck sees who touches it after */
static void
freed(void)
{
	Muxqueue *q;
	Task *t;
	int i;

	for (i = 0; i < NROUND; i++) {
		q = _muxqalloc();
		t = task_start(ends, q);
		if (i % 2)
			task_yield();
		_muxqhangup(q);
		task_join(t);
	}
	tap_ok(1, "%d queues, each freed by the one who heard of its end", NROUND);
}

int
task_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	tap_start("private", 60);
	byhand();
	procs();
	fifo();
	freed();
	return tap_end();
}
