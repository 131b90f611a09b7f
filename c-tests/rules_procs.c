/*
 * rules_procs.c: muxprocs. It returns at once, whatever the other callers do. From then on the callbacks run in two
 * procs of the library, also for earlier calls. At the end of the connection the procs end, and the Mux works as
 * before muxprocs, and may get new procs.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

/* where the last send and the last recv ran */
static pthread_t sentby, receivedby;
static int (*nextsending)(Client *, void *);
static int (*nextreceiving)(Client *, int);

static int
whosends(Client *c, void *msg)
{
	sentby = pthread_self();
	return nextsending(c, msg);
}

static int
whoreceives(Client *c, int canblock)
{
	/* a proc is always inside again when its caller reads this */
	__atomic_store_n(&receivedby, pthread_self(), __ATOMIC_SEQ_CST);
	return nextreceiving(c, canblock);
}

static int
here(pthread_t t)
{
	return pthread_equal(t, pthread_self()) != 0;
}

/*
 * A call from this task, with the reply from another task. Checks that it gets the reply, and that both callbacks
 * ran in this thread (direct) or in others (procs). Coroutines share threads, so there that is only noted.
 */
static int
callhere(Client *c, int peer, unsigned id, int direct)
{
	int r;

	r = callpeer(c, peer, id, N);
	if (r != 1)
		return 0;
	if (strcmp(task_kind(), "pthread") != 0)
		return 1;
	if (here(sentby) != direct)
		tap_note("send ran in %s thread", direct ? "another" : "the caller's");
	if (here(__atomic_load_n(&receivedby, __ATOMIC_SEQ_CST)) != direct)
		tap_note("recv ran in %s thread", direct ? "another" : "the caller's");
	return here(sentby) == direct && here(__atomic_load_n(&receivedby, __ATOMIC_SEQ_CST)) == direct;
}

static Client *
pair(int *peer)
{
	Client *c;

	c = client_pair(peer, &frame_9p, 0, 256, 0);
	nextsending = c->sending;
	c->sending = whosends;
	nextreceiving = c->receiving;
	c->receiving = whoreceives;
	return c;
}

/* start, work, end, direct, start again */
static void
cycle(void)
{
	Client *c;
	Caller a;
	unsigned i;
	int peer;

	c = pair(&peer);
	for (i = 0; i < 5; i++) {
		tap_ok(callhere(c, peer, ID, 1), "a call runs its own callbacks");
		muxprocs(&c->mux);
		tap_ok(callhere(c, peer, ID + 1, 0) && callhere(c, peer, ID + 2, 0), "after muxprocs the procs send and receive");
		begin(&a, c, peer, ID + 3);
		close(peer);
		tap_ok(caller_join(&a) == 0 && a.error == ECONNRESET, "the connection ends");
		client_again(c, &peer);
		tap_ok(callhere(c, peer, ID + 4, 1), "a later call runs its own callbacks again");
	}
	client_check(c, "procs");
	close(peer);
}

/* muxprocs directly after the end, when the old procs may not have returned yet */
static void
straight(void)
{
	Client *c;
	Caller a;
	unsigned i, good, ended;
	int peer;

	c = pair(&peer);
	for (i = good = ended = 0; i < 30; i++) {
		muxprocs(&c->mux);
		good += callhere(c, peer, ID, 0) && callhere(c, peer, ID + 1, 0);
		begin(&a, c, peer, ID + 2);
		close(peer);
		ended += caller_join(&a) == 0 && a.error == ECONNRESET;
		client_again(c, &peer);
	}
	tap_ok(good == 30, "30 times muxprocs straight after the end of a connection, then procs send and receive");
	tap_ok(ended == 30, "the procs find the end of the next connection 30 times");
	tap_ok(callhere(c, peer, ID + 3, 1), "after the last end, calls are direct again");
	client_check(c, "procs");
	close(peer);
}

static Client *procsfor;

static void
startprocs(void *v)
{
	(void)v;
	muxprocs(&procsfor->mux);
}

/* a task blocks in recv: muxprocs must not wait for it, and no proc may receive beside it */
static void
whilereceiving(void)
{
	Client *c;
	Caller a, b;
	Muxrpc *x;
	Request ra, rb, rx;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	x = client_start(c, T_ECHO, ID, ID, N);
	rx = peer_read(peer, c->frame);
	ra = begin(&a, c, peer, ID + 1);
	steps_waitrecv(c);
	muxprocs(&c->mux);
	tap_ok(1, "muxprocs returns while a task blocks in recv");
	rb = begin(&b, c, peer, ID + 2);
	peer_answer(peer, c->frame, &rb);
	tap_ok(caller_join(&b) == 1, "a call made under procs gets its reply");
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "the blocked call, too");
	peer_answer(peer, c->frame, &rx);
	tap_ok(finish(c, x, ID) == 1 && client_count(&c->nnbrecv) == 0, "a call started before gets its reply by the proc, without nbrecv");
	client_check(c, "procs");
	close(peer);
}

/* a task is in send: the same */
static void
whilesending(void)
{
	Client *c;
	Caller a, b;
	Request r;
	unsigned i;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	steps_hold(c, ID, 1, 0);
	caller_start(&a, c, T_ECHO, ID, N);
	steps_wait(c);
	muxprocs(&c->mux);
	tap_ok(1, "muxprocs returns while a task is in send");
	caller_start(&b, c, T_ECHO, ID + 1, N);
	for (i = 0; i < 50; i++)
		task_yield();
	steps_go(c);
	for (i = 0; i < 2; i++) {
		r = peer_read(peer, c->frame);
		peer_answer(peer, c->frame, &r);
	}
	tap_ok(caller_join(&a) == 1 && caller_join(&b) == 1, "that call and one under procs get their replies");
	client_check(c, "procs");
	close(peer);
}

/* twice, and by many at once: still one proc each */
static void
twice(void)
{
	ServerPlan plan = {.frame = &frame_9p, .batch = 4, .seed = 5};
	Client *c;
	Server *s;
	Task *t[6];
	Caller a[30];
	unsigned i, good;
	int fd;

	s = server_start(&plan, &fd);
	c = procsfor = client_new(fd, &frame_9p, 0, 256);
	for (i = 0; i < 6; i++)
		t[i] = task_start(startprocs, NULL);
	for (i = 0; i < 15; i++)
		caller_start(&a[i], c, T_ECHO, ID + i, N);
	for (i = 0; i < 6; i++)
		task_join(t[i]);
	muxprocs(&c->mux);
	for (i = 15; i < 30; i++)
		caller_start(&a[i], c, T_ECHO, ID + i, N);
	for (i = good = 0; i < 30; i++)
		good += caller_join(&a[i]) == 1;
	tap_ok(good == 30, "muxprocs by six tasks at once and once more: 30 calls get their replies");
	client_check(c, "procs");
	client_hangup(c);
	server_join(s);
}

/* on a connection that has ended already: it returns, and the Mux works with a new connection */
static void
dead(void)
{
	Client *c;
	unsigned i;
	int peer;

	c = pair(&peer);
	/* there is nothing to receive, but what is sent is taken: so the call below is outstanding until
	   a proc or the caller itself has found the end */
	shutdown(peer, SHUT_WR);
	for (i = 0; i < 10; i++)
		muxprocs(&c->mux);
	tap_ok(1, "muxprocs returns at the end of the connection, ten times");
	tap_ok(client_call(c, T_ECHO, ID, 0, N) == 0 && errno == ECONNRESET, "a call there ends");
	client_again(c, &peer);
	tap_ok(callhere(c, peer, ID + 1, 1), "on a new connection calls are direct");
	muxprocs(&c->mux);
	tap_ok(callhere(c, peer, ID + 2, 0), "then muxprocs works again");
	client_check(c, "procs");
	close(peer);
}

/* recv and send run at the same time */
static void
both(void)
{
	Client *c;
	Caller a, b;
	Request ra, rb;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 1);
	steps_hold(c, ID, 1, 0);
	caller_start(&a, c, T_ECHO, ID, N);
	steps_wait(c);
	steps_waitrecv(c);
	caller_start(&b, c, T_ECHO, ID + 1, N);
	tap_ok(1, "one proc blocks in send and the other in recv");
	steps_go(c);
	ra = peer_read(peer, c->frame);
	rb = peer_read(peer, c->frame);
	tap_ok(ra.id == ID && rb.id == ID + 1, "requests are sent in the order of their calls");
	peer_answer(peer, c->frame, &rb);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1 && caller_join(&b) == 1 && client_count(&c->overlaps) > 0, "both get their replies");
	client_check(c, "procs");
	close(peer);
}

int
task_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	tap_start("rules_procs", 60);
	quiet_start();
	cycle();
	straight();
	whilereceiving();
	whilesending();
	twice();
	dead();
	both();
	quiet_end();
	return tap_end();
}
