/*
 * batch.c: muxsetbatch. Several messages in one callback: requests that queue behind a sender are sent together, in
 * order, and each call gets its own error; several replies are received together. Also callbacks that return
 * invalid results.
 */
#include <errno.h>
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

enum { NQUEUED = 5, NTASK = 12, NCALL = 200, TOOMANY = 1000 };

/* the maximum batch sizes seen, and the results that the callbacks return instead of the real ones */
static int mostsent, mostreceived;
static int answersend, answerrecv, holes;
/* calls whose requests fail */
static int failing;

static int
get(const int *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* a proc may be in a callback meanwhile */
static void
set(int *p, int n)
{
	__atomic_store_n(p, n, __ATOMIC_RELAXED);
}

static void
note(int *most, int n)
{
	if (n > get(most))
		set(most, n);
}

static void
plainly(void)
{
	set(&mostsent, 0);
	set(&mostreceived, 0);
	set(&answersend, 0);
	set(&answerrecv, 0);
	set(&holes, 0);
	set(&failing, 0);
}

static int
sendv(Mux *mux, void **request, int n)
{
	int i, answer;

	note(&mostsent, n);
	for (i = 0; i < n; i++) {
		if (get(&failing) != 0 && (int)frame_id(&frame_9p, request[i]) == get(&failing)) {
			errno = ENOSPC;
			return i > 0 ? i : -1;
		}
		if (mux->send(mux, request[i]) < 0)
			return i > 0 ? i : -1;
	}
	answer = get(&answersend);
	return answer != 0 ? answer : n;
}

/* waits for the first message, and takes all others that are available */
static int
recvv(Mux *mux, void **reply, int max)
{
	Client *c;
	void *msg;
	int n, answer;

	c = mux->aux;
	n = 0;
	do {
		if (get(&holes))
			reply[n++] = NULL;
		msg = mux->recv(mux);
		if (msg == NULL)
			return get(&answerrecv) != 0 && n == 0 ? -1 : n;
		reply[n++] = msg;
	} while (n + 1 < max && task_ready(c->fd));
	note(&mostreceived, n);
	answer = get(&answerrecv);
	return answer != 0 ? answer : n;
}

static Client *
pair(int *peer, int procs)
{
	Client *c;

	plainly();
	c = client_pair(peer, &frame_9p, 0, 256, procs);
	muxsetbatch(&c->mux, sendv, recvv);
	return c;
}

static void
ends(Client *c, int peer)
{
	shutdown(c->fd, SHUT_RDWR);
	errno = 0;
	muxfree(&c->mux);
	tap_ok(errno == 0, "muxfree succeeds");
	client_check(c, "batches");
	client_free(c);
	close(peer);
}

/* the proc is in sendv with the first request; the others queue behind it */
static void
queued(int error)
{
	Client *c;
	Caller first, a[NQUEUED];
	Request r, q[NQUEUED];
	unsigned i, n, good;
	int peer;

	c = pair(&peer, 1);
	steps_hold(c, ID, 1, 0);
	caller_start(&first, c, T_ECHO, ID, N);
	steps_wait(c);
	for (i = 0; i < NQUEUED; i++) {
		caller_start(&a[i], c, T_ECHO, ID + 1 + i, N);
		/* it has a tag, and is queued before the next one starts, or soon after */
		while (__atomic_load_n(&c->nsettag, __ATOMIC_SEQ_CST) < 2 + i)
			task_yield();
	}
	for (i = 0; i < 1000; i++)
		task_yield();
	set(&failing, error ? ID + 2 : 0);
	steps_go(c);
	r = peer_read(peer, c->frame);
	tap_ok(r.id == ID, "the first request is sent");
	n = error ? NQUEUED - 1 : NQUEUED;
	for (i = good = 0; i < n; i++) {
		q[i] = peer_read(peer, c->frame);
		good += q[i].good;
	}
	tap_ok(good == n, "then the others, each complete");
	for (i = 0; i < n; i++)
		peer_answer(peer, c->frame, &q[i]);
	peer_answer(peer, c->frame, &r);
	for (i = good = 0; i < NQUEUED; i++) {
		if (error && a[i].id == ID + 2)
			tap_ok(caller_join(&a[i]) == 0 && a[i].error == ENOSPC, "one call fails, with its own error");
		else
			good += caller_join(&a[i]) == 1;
	}
	tap_ok(good == n && caller_join(&first) == 1, "each other call gets its own reply");
	tap_ok(get(&mostsent) <= 16, "%d requests were sent at once", get(&mostsent));
	ends(c, peer);
}

/* sends only one request; with several, waits until sendv has been removed */
static int inmany, takenaway;

static int
slowly(Mux *mux, void **request, int n)
{
	if (n > 1) {
		__atomic_store_n(&inmany, 1, __ATOMIC_SEQ_CST);
		while (!__atomic_load_n(&takenaway, __ATOMIC_SEQ_CST))
			task_yield();
	}
	return mux->send(mux, request[0]) < 0 ? -1 : 1;
}

/* sendv is removed while it has several requests: send sends the rest */
static void
taken(void)
{
	Client *c;
	Caller first, a[NQUEUED];
	Request r;
	unsigned i, good;
	int peer;

	c = pair(&peer, 1);
	muxsetbatch(&c->mux, slowly, recvv);
	steps_hold(c, ID, 1, 0);
	caller_start(&first, c, T_ECHO, ID, N);
	steps_wait(c);
	for (i = 0; i < NQUEUED; i++)
		caller_start(&a[i], c, T_ECHO, ID + 1 + i, N);
	while (__atomic_load_n(&c->nsettag, __ATOMIC_SEQ_CST) < 1 + NQUEUED)
		task_yield();
	for (i = 0; i < 1000; i++)
		task_yield();
	steps_go(c);
	r = peer_read(peer, c->frame);
	peer_answer(peer, c->frame, &r);
	while (!__atomic_load_n(&inmany, __ATOMIC_SEQ_CST))
		task_yield();
	muxsetbatch(&c->mux, NULL, NULL);
	__atomic_store_n(&takenaway, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < NQUEUED; i++) {
		r = peer_read(peer, c->frame);
		peer_answer(peer, c->frame, &r);
	}
	for (i = good = 0; i < NQUEUED; i++)
		good += caller_join(&a[i]) == 1;
	tap_ok(good == NQUEUED && caller_join(&first) == 1, "sendv is removed while it has requests, and no call fails");
	ends(c, peer);
}

/* callbacks that return invalid results */
static void
nonsense(int procs)
{
	Client *c;
	Caller a;
	Request r;
	int peer;

	c = pair(&peer, procs);
	set(&answersend, TOOMANY);
	set(&answerrecv, TOOMANY);
	set(&holes, 1);
	r = begin(&a, c, peer, ID);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "%s: too many requests sent, too many replies, NULL among the replies", mode(procs));
	set(&answersend, -1);
	errno = 0;
	tap_ok(client_call(c, T_ECHO, ID + 1, 0, N) == 0 && errno == EIO, "%s: sendv returns less than 0 without errno: EIO", mode(procs));
	peer_read(peer, c->frame);
	set(&answersend, 0);
	set(&holes, 0);
	caller_start(&a, c, T_ECHO, ID + 2, N);
	peer_read(peer, c->frame);
	shutdown(peer, SHUT_RDWR);
	tap_ok(caller_join(&a) == 0 && a.error == ECONNRESET, "%s: recvv returns less than 0: the end of the connection", mode(procs));
	set(&answerrecv, 0);
	ends(c, peer);
}

static unsigned disposed;

static void
dispose(Mux *mux, void *reply)
{
	(void)mux;
	(void)reply;
	disposed++;
}

/* orphans go to the orphan function, each once, and the replies to their calls */
static void
strays(int procs)
{
	Client *c;
	Caller a;
	Request r;
	int peer;

	c = pair(&peer, procs);
	muxsetorphan(&c->mux, dispose);
	disposed = 0;
	steps_hold(c, ID, 0, 0);
	caller_start(&a, c, T_ECHO, ID, N);
	r = peer_read(peer, c->frame);
	peer_stray(peer, c->frame, R_ORPHAN, 100);
	peer_stray(peer, c->frame, R_ORPHAN, 101);
	peer_stray(peer, c->frame, R_ORPHAN, 102);
	peer_answer(peer, c->frame, &r);
	steps_wait(c);
	steps_go(c);
	tap_ok(caller_join(&a) == 1, "%s: a reply among orphans", mode(procs));
	ends(c, peer);
	tap_ok(disposed == 3, "%s: each orphan is disposed of once", mode(procs));
}

static Client *shared;
static unsigned ngood;

static void
calls(void *v)
{
	unsigned i, id;

	id = *(unsigned *)v;
	for (i = 0; i < NCALL; i++)
		if (client_call(shared, T_ECHO, id, i, N) == 1)
			__atomic_add_fetch(&ngood, 1, __ATOMIC_SEQ_CST);
}

/* which: 1 sendv, 2 recvv, 3 both */
static void
many(int procs, int which, int small)
{
	ServerPlan plan = {.frame = &frame_9p, .batch = 8, .seed = 5};
	Server *server;
	Task *t[NTASK];
	unsigned id[NTASK], i;
	int fd;

	plan.small = small;
	plainly();
	server = server_start(&plan, &fd);
	shared = client_new(fd, &frame_9p, 0, 256);
	muxsetbatch(&shared->mux, which & 1 ? sendv : NULL, which & 2 ? recvv : NULL);
	if (procs)
		muxprocs(&shared->mux);
	ngood = 0;
	for (i = 0; i < NTASK; i++) {
		id[i] = ID + i;
		t[i] = task_start(calls, &id[i]);
	}
	for (i = 0; i < NTASK; i++)
		task_join(t[i]);
	tap_ok(ngood == NTASK * NCALL, "%s: %u replies; at most %d sent and %d received at once", mode(procs), ngood, get(&mostsent), get(&mostreceived));
	client_check(shared, mode(procs));
	client_hangup(shared);
	server_join(server);
	errno = 0;
	muxfree(&shared->mux);
	tap_ok(errno == 0, "%s: muxfree succeeds", mode(procs));
	client_free(shared);
}

static void
bad(void)
{
	static Mux never;

	errno = 0;
	muxsetbatch(NULL, sendv, recvv);
	tap_ok(errno == EINVAL, "muxsetbatch of NULL");
	errno = 0;
	muxsetbatch(&never, sendv, recvv);
	tap_ok(errno == EINVAL, "muxsetbatch of a Mux without muxinit");
	muxinit(&never);
	errno = 0;
	muxsetbatch(&never, NULL, NULL);
	tap_ok(errno == 0, "muxsetbatch without functions");
	muxfree(&never);
}

int
task_main(int argc, char **argv)
{
	int procs, which;

	(void)argc;
	(void)argv;
	tap_start("batch", 60);
	quiet_start();
	queued(0);
	queued(1);
	taken();
	for (procs = 0; procs < 2; procs++) {
		nonsense(procs);
		strays(procs);
		for (which = 1; which < 4; which++)
			many(procs, which, which == 3);
	}
	bad();
	quiet_end();
	return tap_end();
}
