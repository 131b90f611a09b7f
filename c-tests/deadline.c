/*
 * deadline.c: muxrpctimeout.  A call that is late ends wherever it is: asleep, in the queue, waiting for a
 * tag, receiving for all; its tag stays out of use until its reply has come, and the muxer's role is not
 * lost.  What must time out has a short limit and nobody who answers; what must not, a long one.
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

	/* procs of a connection that has ended may be disposing yet */
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

/* one that is sent and then late; where the machine is so slow that it is late before, a longer one */
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

/* the same as a task of its own, which has got as far as send, or further */
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

/* another receives, or the proc */
static void
sleeper(int procs)
{
	Client *c;
	Caller a;
	Request ra, rb;
	int peer;

	c = pair(&peer, 256, procs);
	ra = begin(&a, c, peer, ID);
	tap_ok(timesout(c, ID + 1), "%s: nil with ETIMEDOUT, while another call is waited for", mode(procs));
	rb = peer_read(peer, c->frame);
	tap_ok(rb.good && rb.id == ID + 1 && outstanding(c) == 2, "%s: it was sent, and its tag is held", mode(procs));
	peer_answer(peer, c->frame, &rb);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "%s: the other has its reply", mode(procs));
	tap_ok(disposed == 1 && outstanding(c) == 0, "%s: the late one was an orphan", mode(procs));
	close(peer);
}

/* nobody else is there: by nbrecv, or by the proc */
static void
alone(int procs)
{
	Client *c;
	Caller a;
	Request late, r;
	int peer;

	c = pair(&peer, 256, procs);
	tap_ok(timesout(c, ID), "%s: a lone caller times out though no message comes", mode(procs));
	late = peer_read(peer, c->frame);
	caller_startfor(&a, c, T_ECHO, ID + 1, N, LONG);
	r = peer_read(peer, c->frame);
	tap_ok(r.id == ID + 1 && r.tag != late.tag, "%s: the next call has another tag", mode(procs));
	peer_answer(peer, c->frame, &late);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1 && disposed == 1, "%s: and its own reply", mode(procs));
	caller_startfor(&a, c, T_ECHO, ID + 2, N, LONG);
	peer_read(peer, c->frame);
	shutdown(peer, SHUT_RDWR);
	tap_ok(caller_join(&a) == 0 && a.error == ECONNRESET, "%s: the end of the connection ends a call in good time", mode(procs));
	close(peer);
}

/* in recv it sees no clock: the next message, whosever, lets it go, and the role goes on */
static void
muxer(void)
{
	Client *c;
	Caller a, b;
	Request r;
	int peer;

	c = pair(&peer, 256, 0);
	/* the messages that are nobody's here are the client's */
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
	tap_ok(caller_join(&a) == 0 && a.error == ETIMEDOUT, "without nbrecv, one in recv is late at the next message");
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&b) == 1, "and another receives then");
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
	tap_ok(client_callfor(c, T_ECHO, ID, ID, N, 0) == 0 && errno == ETIMEDOUT, "%s: with 0 milliseconds it is late at once", mode(procs));
	for (i = 0; i < sizeof ms / sizeof ms[0]; i++) {
		caller_startfor(&a, c, T_ECHO, ID + 1 + i, N, ms[i]);
		r = peer_read(peer, c->frame);
		if (i == 0)
			tap_ok(r.id == ID + 1, "%s: and was not sent", mode(procs));
		peer_answer(peer, c->frame, &r);
		tap_ok(caller_join(&a) == 1, "%s: %d milliseconds are enough", mode(procs), ms[i]);
	}
	errno = 0;
	tap_ok(muxrpctimeout(NULL, &i, 1) == NULL && errno == EINVAL, "%s: a nil Mux", mode(procs));
	errno = 0;
	tap_ok(muxrpctimeout(&c->mux, NULL, 1) == NULL && errno == EINVAL, "%s: a nil request", mode(procs));
	close(peer);
}

/* with one tag: whoever waits for it is late too, and when it is held there is nothing to wait for */
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
	    "%s: one that waits for a tag times out", mode(procs));
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1 && outstanding(c) == 0, "%s: and holds none", mode(procs));
	tap_ok(timesout(c, ID + 2), "%s: the only tag is held", mode(procs));
	errno = 0;
	tap_ok(client_call(c, T_ECHO, ID + 3, 0, N) == 0 && errno == EAGAIN, "%s: muxrpc is nil with EAGAIN", mode(procs));
	errno = 0;
	tap_ok(client_callfor(c, T_ECHO, ID + 3, 0, N, LONG) == 0 && errno == EAGAIN, "%s: muxrpctimeout too", mode(procs));
	late = peer_read(peer, c->frame);
	tap_ok(late.id == ID + 2, "%s: it was the late one's", mode(procs));
	peer_answer(peer, c->frame, &late);
	/* direct, the next call itself finds that the late reply is there */
	while (procs && outstanding(c) > 0)
		task_yield();
	r = begin(&a, c, peer, ID + 4);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1 && disposed == 1, "%s: its reply sets the tag free", mode(procs));
	close(peer);
}

/* behind one that is in send: its request is never sent, and its tag is free at once */
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
	    "%s: one in the queue times out", mode(procs));
	tap_ok(outstanding(c) == 1, "%s: its tag is free", mode(procs));
	steps_go(c);
	r = peer_read(peer, c->frame);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "%s: the one in send goes on", mode(procs));
	r = begin(&b, c, peer, ID + 2);
	tap_ok(r.id == ID + 2, "%s: the late one was not sent", mode(procs));
	peer_answer(peer, c->frame, &r);
	caller_join(&b);
	/* one that is in send itself, or has its request there, answers when that is over */
	steps_hold(c, ID + 3, 1, 0);
	startlate(&a, c, ID + 3);
	steps_wait(c);
	steps_go(c);
	tap_ok(caller_join(&a) == 0 && a.error == ETIMEDOUT, "%s: one in send is late when that is over", mode(procs));
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

/* limits that some replies meet and some do not */
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
	tap_ok(ngood + nlate == NTASK * NCALL && ngood > 0 && nlate > 0, "%s%s: %u replies, %u late", mode(procs),
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
