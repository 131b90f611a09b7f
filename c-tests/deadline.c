/*
 * deadline.c: muxrpctimeout. A call whose deadline has passed ends wherever it is: asleep, in the
 * send queue, waiting for a tag, receiving for all. Its tag stays out of use until its reply has
 * arrived, and the receiver role is not lost. Calls that must time out have a short limit and get
 * no reply; all others have a long limit.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/client.h"
#include "lib/peer.h"
#include "lib/server.h"
#include "lib/steps.h"
#include "lib/tap.h"
#include "lib/task.h"

enum { SHORT = 20, LONG = 600000, NTASK = 8, NCALL = 300 };

static unsigned disposed;

static void
dispose(Mux *m, void *reply)
{
	(void)m;
	free(reply);
	__atomic_add_fetch(&disposed, 1, __ATOMIC_SEQ_CST);
}

static Client *
pair(int *peer, unsigned maxtag, int procs)
{
	Client *c;

	/* procs of a connection that has ended may still be disposing of orphans */
	__atomic_store_n(&disposed, 0, __ATOMIC_SEQ_CST);
	c = client_pair(peer, &frame_9p, 0, maxtag, procs);
	muxsetorphan(&c->mux, dispose);
	return c;
}

static unsigned
outstanding(Client *c)
{
	Muxstats s;

	s.size = sizeof s;
	muxstats(&c->mux, &s);
	return s.outstanding;
}

static unsigned long
nsend(Client *c)
{
	return __atomic_load_n(&c->nsend, __ATOMIC_SEQ_CST);
}

/* a call that is sent and then times out; on a slow machine it may time out before it is sent, so
 * the limit grows */
static int
timesout(Client *c, unsigned id)
{
	unsigned long n;
	int r, ms;

	n = nsend(c);
	ms = SHORT;
	do {
		r = client_callfor(c, T_ECHO, id, id, N, ms);
		ms *= 2;
	} while (r == 0 && errno == ETIMEDOUT && nsend(c) == n);
	return r == 0 && errno == ETIMEDOUT;
}

/* the same in a task of its own, after it has reached send */
static void
startlate(Caller *a, Client *c, unsigned id)
{
	unsigned long n;
	int ms;

	n = nsend(c);
	for (ms = SHORT;; ms *= 2) {
		caller_startfor(a, c, T_NEVER, id, N, ms);
		while (nsend(c) == n && !task_event_isset(a->done))
			task_yield();
		if (nsend(c) != n)
			return;
		caller_join(a);
	}
}

/* another caller receives, or the proc does */
static void
sleeper(int procs)
{
	Client *c;
	Caller a;
	Request ra, rb;
	int peer;

	c = pair(&peer, 256, procs);
	ra = begin(&a, c, peer, ID);
	tap_ok(timesout(c, ID + 1), "%s: NULL with ETIMEDOUT, while another call waits", mode(procs));
	rb = peer_read(peer, c->frame);
	tap_ok(rb.good && rb.id == ID + 1 && outstanding(c) == 2, "%s: its request was sent, and its tag stays in use", mode(procs));
	peer_answer(peer, c->frame, &rb);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "%s: the other call gets its reply", mode(procs));
	tap_ok(disposed == 1 && outstanding(c) == 0, "%s: the late reply was an orphan", mode(procs));
	close(peer);
}

/* there is no other caller: it polls by nbrecv, or the proc receives */
static void
alone(int procs)
{
	Client *c;
	Caller a;
	Request late, r;
	int peer;

	c = pair(&peer, 256, procs);
	tap_ok(timesout(c, ID), "%s: a single caller times out although no message arrives", mode(procs));
	late = peer_read(peer, c->frame);
	caller_startfor(&a, c, T_ECHO, ID + 1, N, LONG);
	r = peer_read(peer, c->frame);
	tap_ok(r.id == ID + 1 && r.tag != late.tag, "%s: the next call has another tag", mode(procs));
	peer_answer(peer, c->frame, &late);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1 && disposed == 1, "%s: the next call gets its own reply", mode(procs));
	caller_startfor(&a, c, T_ECHO, ID + 2, N, LONG);
	peer_read(peer, c->frame);
	shutdown(peer, SHUT_RDWR);
	tap_ok(caller_join(&a) == 0 && a.error == ECONNRESET, "%s: the end of the connection ends a call before its deadline", mode(procs));
	close(peer);
}

/* in recv a caller cannot check its deadline: the next message, whatever it is, ends the call, and
 * the role is handed over */
static void
muxer(void)
{
	Client *c;
	Caller a, b;
	Request r;
	int peer;

	c = pair(&peer, 256, 0);
	/* orphans here are disposed of by the client */
	muxsetorphan(&c->mux, NULL);
	c->mux.nbrecv = NULL;
	startlate(&a, c, ID);
	peer_read(peer, c->frame);
	caller_startfor(&b, c, T_ECHO, ID + 1, N, LONG);
	r = peer_read(peer, c->frame);
	while (!task_event_isset(a.done)) {
		peer_stray(peer, c->frame, R_ORPHAN, 77);
		task_yield();
	}
	tap_ok(caller_join(&a) == 0 && a.error == ETIMEDOUT, "without nbrecv, a caller in recv times out at the next message");
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&b) == 1, "another caller receives then");
	client_dropstrays(c);
	close(peer);
}

static void
limits(int procs)
{
	Client *c;
	Caller a;
	Request r;
	int peer;
	static const int ms[] = { -1, INT_MIN, INT_MAX, LONG };
	unsigned i;

	c = pair(&peer, 256, procs);
	errno = 0;
	tap_ok(client_callfor(c, T_ECHO, ID, ID, N, 0) == 0 && errno == ETIMEDOUT, "%s: with 0 milliseconds a call times out at once", mode(procs));
	for (i = 0; i < sizeof ms / sizeof ms[0]; i++) {
		caller_startfor(&a, c, T_ECHO, ID + 1 + i, N, ms[i]);
		r = peer_read(peer, c->frame);
		if (i == 0)
			tap_ok(r.id == ID + 1, "%s: its request was not sent", mode(procs));
		peer_answer(peer, c->frame, &r);
		tap_ok(caller_join(&a) == 1, "%s: %d milliseconds are enough", mode(procs), ms[i]);
	}
	errno = 0;
	tap_ok(muxrpctimeout(NULL, &i, 1) == NULL && errno == EINVAL, "%s: NULL as the Mux", mode(procs));
	errno = 0;
	tap_ok(muxrpctimeout(&c->mux, NULL, 1) == NULL && errno == EINVAL, "%s: NULL as the request", mode(procs));
	close(peer);
}

/* with one tag: a tag waiter times out, too, and while the tag is abandoned there is nothing to
 * wait for */
static void
onetag(int procs)
{
	Client *c;
	Caller a;
	Request r, late;
	int peer;

	c = pair(&peer, 1, procs);
	r = begin(&a, c, peer, ID);
	errno = 0;
	tap_ok(client_callfor(c, T_ECHO, ID + 1, 0, N, SHORT) == 0 && errno == ETIMEDOUT,
	    "%s: a tag waiter times out", mode(procs));
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1 && outstanding(c) == 0, "%s: it has no tag", mode(procs));
	tap_ok(timesout(c, ID + 2), "%s: the only tag is in use by a call that has timed out", mode(procs));
	errno = 0;
	tap_ok(client_call(c, T_ECHO, ID + 3, 0, N) == 0 && errno == EAGAIN, "%s: muxrpc returns NULL with EAGAIN", mode(procs));
	errno = 0;
	tap_ok(client_callfor(c, T_ECHO, ID + 3, 0, N, LONG) == 0 && errno == EAGAIN, "%s: muxrpctimeout, too", mode(procs));
	late = peer_read(peer, c->frame);
	tap_ok(late.id == ID + 2, "%s: the call that has timed out was sent", mode(procs));
	peer_answer(peer, c->frame, &late);
	/* without procs, the next call itself receives the late reply */
	while (procs && outstanding(c) > 0)
		task_yield();
	r = begin(&a, c, peer, ID + 4);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1 && disposed == 1, "%s: its reply frees the tag", mode(procs));
	close(peer);
}

/* behind a caller in send: the request is never sent, and its tag is free at once */
static void
queued(int procs)
{
	Client *c;
	Caller a, b;
	Request r;
	int peer;

	c = pair(&peer, 256, procs);
	steps_hold(c, ID, 1, 0);
	caller_start(&a, c, T_ECHO, ID, N);
	steps_wait(c);
	errno = 0;
	tap_ok(client_callfor(c, T_ECHO, ID + 1, 0, N, SHORT) == 0 && errno == ETIMEDOUT,
	    "%s: a queued call times out", mode(procs));
	tap_ok(outstanding(c) == 1, "%s: its tag is free", mode(procs));
	steps_go(c);
	r = peer_read(peer, c->frame);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "%s: the call in send continues", mode(procs));
	r = begin(&b, c, peer, ID + 2);
	tap_ok(r.id == ID + 2, "%s: the queued call was not sent", mode(procs));
	peer_answer(peer, c->frame, &r);
	caller_join(&b);
	/* a caller in send, or whose request is being sent, returns after that send */
	steps_hold(c, ID + 3, 1, 0);
	startlate(&a, c, ID + 3);
	steps_wait(c);
	steps_go(c);
	tap_ok(caller_join(&a) == 0 && a.error == ETIMEDOUT, "%s: a call in send times out when send returns", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

static Client *shared;
static unsigned nlate, ngood;

static void
calls(void *v)
{
	static const int ms[] = { 0, 1, 2, 5, -1, LONG, 0, 1 };
	unsigned id, i, seed;
	int r;

	id = *(unsigned *)v;
	seed = id * 7919;
	for (i = 0; i < NCALL; i++) {
		seed = seed * 1103515245 + 12345;
		r = client_callfor(shared, T_ECHO, id, i, N, ms[(seed >> 16) % 8]);
		if (r == 1)
			__atomic_add_fetch(&ngood, 1, __ATOMIC_SEQ_CST);
		else if (r == 0 && errno == ETIMEDOUT)
			__atomic_add_fetch(&nlate, 1, __ATOMIC_SEQ_CST);
		else
			client_fault(shared, r == 0 ? "an error other than ETIMEDOUT" : "another's reply");
	}
}

/* limits within which some replies arrive and some do not */
static void
many(int procs, int nbrecv)
{
	ServerPlan plan = {.frame = &frame_9p, .batch = 4, .seed = 11};
	Server *server;
	Task *t[NTASK];
	unsigned id[NTASK], i;
	int fd;

	server = server_start(&plan, &fd);
	shared = client_new(fd, &frame_9p, 0, 256);
	muxsetorphan(&shared->mux, dispose);
	if (!nbrecv)
		shared->mux.nbrecv = NULL;
	if (procs)
		muxprocs(&shared->mux);
	ngood = nlate = 0;
	for (i = 0; i < NTASK; i++) {
		id[i] = ID + i;
		t[i] = task_start(calls, &id[i]);
	}
	for (i = 0; i < NTASK; i++)
		task_join(t[i]);
	tap_ok(ngood + nlate == NTASK * NCALL && ngood > 0 && nlate > 0, "%s%s: %u replies, %u timeouts", mode(procs),
	    nbrecv ? ", nbrecv" : "", ngood, nlate);
	client_check(shared, mode(procs));
	client_hangup(shared);
	server_join(server);
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("deadline", 60);
	quiet_start();
	for (procs = 0; procs < 2; procs++) {
		sleeper(procs);
		alone(procs);
		limits(procs);
		onetag(procs);
		queued(procs);
		many(procs, 0);
		many(procs, 1);
	}
	muxer();
	quiet_end();
	return tap_end();
}
