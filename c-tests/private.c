/*
 * private.c: the functions that plan9port's header calls private: a message sent and received by hand, in turn with
 * the calls, the procs as functions, and the queue, which its last receiver may free.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/server.h"
#include "lib/steps.h"
#include "lib/tap.h"

enum { NITEM = 200, NROUND = 100, HANDTAG = 5000 };

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
	tap_ok(n == 0 && got == NULL, "_muxrecv without waiting: 0 and NULL if there is no message");
	peer_stray(peer, c->frame, R_ORPHAN, 77);
	n = _muxrecv(&c->mux, 1, &got);
	tap_ok(n == 1 && got != NULL, "_muxrecv: 1 and the message, although it is an orphan");
	free(got);
	r = begin(&a, c, peer, ID);
	n = _muxrecv(&c->mux, 0, &got);
	tap_ok(n == 0 && got == NULL, "while a caller receives, _muxrecv without waiting gets no message");
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "the caller gets its reply");
	muxprocs(&c->mux);
	errno = 0;
	n = _muxrecv(&c->mux, 1, &got);
	tap_ok(n == 1 && got == NULL && errno == EBUSY, "_muxrecv under procs: 1, NULL and EBUSY");
	shutdown(peer, SHUT_RDWR);
	close(peer);
}

/* a message sent by hand, with a tag outside the range; and a task that receives by hand */
typedef struct Hand Hand;
struct Hand {
	Client *c;
	unsigned char msg[100];
	void *got;
	int result, error;
	TaskEvent *over;
	Task *task;
};

static void
message(Hand *h, Client *c, unsigned n)
{
	h->c = c;
	frame_request(c->frame, h->msg, T_ECHO, ID + n, ID, N);
	frame_settag(c->frame, h->msg, HANDTAG + n);
}

static void
sendsone(void *v)
{
	Hand *h = v;

	errno = 0;
	h->result = _muxsend(&h->c->mux, h->msg);
	h->error = errno;
	task_event_set(h->over);
}

static void
receivesone(void *v)
{
	Hand *h = v;

	errno = 0;
	h->result = _muxrecv(&h->c->mux, 1, &h->got);
	h->error = errno;
	task_event_set(h->over);
}

/* it has begun and has not returned: it is in the queue now or will be soon */
static void
starthand(Hand *h, void (*fn)(void *))
{
	unsigned i;

	h->over = task_event();
	h->task = task_start(fn, h);
	for (i = 0; i < 1000; i++)
		task_yield();
}

static void
joinhand(Hand *h)
{
	task_event_wait(h->over);
	task_join(h->task);
	task_event_free(h->over);
}

static void
sent(int procs)
{
	Client *c;
	Caller a, never;
	Request r;
	Hand h;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	message(&h, c, 0);
	tap_ok(_muxsend(&c->mux, h.msg) == 0, "%s: _muxsend", mode(procs));
	r = peer_read(peer, c->frame);
	tap_ok(r.good && r.id == ID && r.tag == HANDTAG, "%s: the message is sent unchanged, with its own tag", mode(procs));
	errno = 0;
	tap_ok(_muxsend(&c->mux, NULL) == -1 && errno == EINVAL && _muxsend(NULL, h.msg) == -1,
	    "%s: NULL: -1, EINVAL", mode(procs));
	message(&h, c, 1);
	steps_fail(c, ID + 1, 1, ENOSPC);
	errno = 0;
	tap_ok(_muxsend(&c->mux, h.msg) == -1 && errno == ENOSPC, "%s: send fails: -1, and its errno", mode(procs));
	steps_hold(c, ID + 2, 1, 0);
	caller_start(&a, c, T_ECHO, ID + 2, N);
	steps_wait(c);
	message(&h, c, 3);
	starthand(&h, sendsone);
	steps_go(c);
	r = peer_read(peer, c->frame);
	tap_ok(r.id == ID + 2 && peer_read(peer, c->frame).id == ID + 3, "%s: the message is sent after the call before it", mode(procs));
	joinhand(&h);
	peer_answer(peer, c->frame, &r);
	tap_ok(h.result == 0 && caller_join(&a) == 1, "%s: both succeed", mode(procs));
	steps_hold(c, ID + 4, 1, 0);
	caller_start(&never, c, T_NEVER, ID + 4, N);
	steps_wait(c);
	message(&h, c, 5);
	starthand(&h, sendsone);
	steps_dead(c, 1);
	steps_go(c);
	joinhand(&h);
	tap_ok(h.result == -1 && h.error == ECONNRESET, "%s: queued behind a call whose send fails: -1, ECONNRESET", mode(procs));
	steps_dead(c, 0);
	steps_hold(c, ID + 6, 1, 0);
	caller_start(&a, c, T_NEVER, ID + 6, N);
	steps_wait(c);
	message(&h, c, 7);
	starthand(&h, sendsone);
	muxhangup(&c->mux);
	joinhand(&h);
	/* a very slow task comes after the hang-up */
	tap_ok(h.result == -1 && (h.error == ECONNRESET || h.error == ESHUTDOWN), "%s: muxhangup: -1", mode(procs));
	steps_go(c);
	shutdown(peer, SHUT_RDWR);
	caller_join(&a);
	caller_join(&never);
	client_check(c, mode(procs));
	close(peer);
}

/* a caller that is in recv: otherwise the other task would be, and take its reply */
static Request
receiver(Caller *a, Client *c, int peer, unsigned id)
{
	Request r;

	steps_rewatch(c);
	r = begin(a, c, peer, id);
	steps_waitrecv(c);
	return r;
}

static void
received(void)
{
	Client *c;
	Caller a;
	Request r;
	Hand h;
	void *got;
	int peer;

	got = &h;
	errno = 0;
	tap_ok(_muxrecv(NULL, 1, &got) == 1 && got == NULL && errno == EINVAL, "_muxrecv of NULL: 1, NULL and EINVAL");
	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	h.c = c;
	r = receiver(&a, c, peer, ID);
	starthand(&h, receivesone);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "while a task waits in _muxrecv, a caller receives its own reply");
	peer_stray(peer, c->frame, R_ORPHAN, 77);
	joinhand(&h);
	tap_ok(h.result == 1 && h.got != NULL, "then the task in _muxrecv gets the next message");
	client_dropstrays(c);
	peer_stray(peer, c->frame, R_ORPHAN, 78);
	while (!task_ready(c->fd))
		task_yield();
	tap_ok(_muxrecv(&c->mux, 0, &got) == 1 && got != NULL, "without waiting, if there is a message");
	client_dropstrays(c);
	c->mux.nbrecv = NULL;
	errno = 0;
	tap_ok(_muxrecv(&c->mux, 0, &got) == 1 && got == NULL && errno == EOPNOTSUPP, "without nbrecv: EOPNOTSUPP");
	r = receiver(&a, c, peer, ID + 1);
	starthand(&h, receivesone);
	muxhangup(&c->mux);
	joinhand(&h);
	tap_ok(h.result == 1 && h.got == NULL && (h.error == ECONNRESET || h.error == ESHUTDOWN),
	    "muxhangup ends the wait in _muxrecv");
	shutdown(peer, SHUT_RDWR);
	caller_join(&a);
	muxfree(&c->mux);
	muxinit(&c->mux);
	errno = 0;
	tap_ok(_muxrecv(&c->mux, 1, &got) == 1 && got == NULL && errno == ECONNRESET, "the end of the connection: ECONNRESET");
	close(peer);
	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	h.c = c;
	r = receiver(&a, c, peer, ID);
	starthand(&h, receivesone);
	muxprocs(&c->mux);
	peer_answer(peer, c->frame, &r);
	joinhand(&h);
	tap_ok(caller_join(&a) == 1 && h.result == 1 && h.got == NULL && h.error == EBUSY, "muxprocs ends the wait, too: EBUSY");
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
	tap_ok(1, "both return at the end of the connection");
	t[0] = task_start(receives, &c->mux);
	t[1] = task_start(sends, &c->mux);
	task_join(t[0]);
	task_join(t[1]);
	tap_ok(1, "both return at once after a hang-up");
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

	p = &p;
	errno = 0;
	tap_ok(_muxnbqrecv(NULL, &p) == 1 && p == NULL && errno == EINVAL, "NULL as the queue: 1, NULL and EINVAL");
	errno = 0;
	tap_ok(_muxqrecv(NULL) == NULL && errno == EINVAL && _muxqsend(NULL, &p) == -1, "NULL as the queue: NULL and -1");
	_muxqhangup(NULL);
	queue = _muxqalloc();
	p = &p;
	tap_ok(_muxnbqrecv(queue, &p) == 0 && p == NULL, "an empty queue: 0 and NULL");
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
	tap_ok(good == NITEM, "%d items for three receivers: each received once", NITEM);
	errno = 0;
	tap_ok(_muxqsend(queue, &item[0]) == -1 && errno == ECONNRESET, "after the hang-up nothing can be sent");
	tap_ok(_muxnbqrecv(queue, &p) == 1 && p == NULL && _muxqrecv(queue) == NULL, "after the hang-up nothing is received");
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

/* the receiver that gets the hang-up frees the queue at once; memcheck reports any later access */
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
	tap_ok(1, "%d queues, each freed by the receiver that got its hang-up", NROUND);
}

int
task_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	tap_start("private", 60);
	byhand();
	sent(0);
	sent(1);
	received();
	procs();
	fifo();
	freed();
	return tap_end();
}
