/*
 * release.c: muxfree.  Whoever is inside is seen off, wherever it is, and all memory is given back; what was
 * the Mux is scribbled upon at once, so that one who looks at it later does not get far, and under memcheck
 * is seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/client.h"
#include "lib/peer.h"
#include "lib/steps.h"
#include "lib/tap.h"
#include "lib/task.h"

enum { NCALLER = 6, NROUND = 30 };

static unsigned disposed;

static void
dispose(Mux *m, void *reply)
{
	(void)m;
	free(reply);
	__atomic_add_fetch(&disposed, 1, __ATOMIC_SEQ_CST);
}

/* 1 if it said nothing */
static int
ends(Client *c)
{
	errno = 0;
	muxfree(&c->mux);
	if (errno != 0)
		tap_note("muxfree: errno %d", errno);
	return errno == 0;
}

static void
idle(int procs)
{
	Client *c;
	Caller a;
	Request r;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	r = begin(&a, c, peer, ID);
	peer_answer(peer, c->frame, &r);
	caller_join(&a);
	shutdown(c->fd, SHUT_RDWR);
	tap_ok(ends(c), "%s: an idle Mux", mode(procs));
	errno = 0;
	tap_ok(client_call(c, T_ECHO, ID, ID, N) == 0 && errno == EINVAL, "%s: is none any more", mode(procs));
	errno = 0;
	muxfree(&c->mux);
	tap_ok(errno == EINVAL, "%s: and is not freed twice", mode(procs));
	close(peer);
	client_again(c, &peer);
	muxinit(&c->mux);
	r = begin(&a, c, peer, ID + 1);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "%s: muxinit starts it anew", mode(procs));
	shutdown(c->fd, SHUT_RDWR);
	tap_ok(ends(c), "%s: and muxfree ends it again", mode(procs));
	client_free(c);
	close(peer);
}

/* one in recv or the proc is, others asleep, one in send, one waits for its turn; one with a deadline */
static void
inside(int procs)
{
	Client *c;
	Caller a[NCALLER], s, q;
	unsigned i, ended;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	for (i = 0; i < NCALLER; i++) {
		if (i == 2)
			caller_startfor(&a[i], c, T_NEVER, ID + i, N, 600000);
		else
			caller_start(&a[i], c, T_NEVER, ID + i, N);
		peer_read(peer, c->frame);
	}
	steps_hold(c, ID + 20, 1, 0);
	caller_start(&s, c, T_NEVER, ID + 20, N);
	steps_wait(c);
	caller_start(&q, c, T_NEVER, ID + 21, N);
	/* it has a tag, so it is in the queue, or about to be */
	while (__atomic_load_n(&c->nsettag, __ATOMIC_SEQ_CST) < NCALLER + 2)
		task_yield();
	for (i = 0; i < 100; i++)
		task_yield();
	shutdown(c->fd, SHUT_RDWR);
	steps_go(c);
	tap_ok(ends(c), "%s: callers inside are seen off", mode(procs));
	memset(&c->mux, 0xdd, sizeof c->mux);
	for (i = ended = 0; i < NCALLER; i++)
		ended += caller_join(&a[i]) == 0;
	tap_ok(ended == NCALLER, "%s: all of them have ended", mode(procs));
	tap_ok(caller_join(&s) == 0 && caller_join(&q) == 0, "%s: the one in send, and the one in the queue", mode(procs));
	client_free(c);
	close(peer);
}

static void
uncollected(int procs)
{
	Client *c;
	Muxrpc *x, *y;
	Request rx;
	Caller a;
	Request r;
	int peer, fd;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	muxsetorphan(&c->mux, dispose);
	disposed = 0;
	fd = muxpollfd(&c->mux);
	x = client_start(c, T_ECHO, ID, ID, N);
	rx = peer_read(peer, c->frame);
	y = client_start(c, T_NEVER, ID + 1, ID, N);
	peer_read(peer, c->frame);
	tap_ok(x != NULL && y != NULL, "%s: two calls, one to be answered", mode(procs));
	r = begin(&a, c, peer, ID + 2);
	peer_answer(peer, c->frame, &rx);
	peer_answer(peer, c->frame, &r);
	caller_join(&a);
	shutdown(c->fd, SHUT_RDWR);
	tap_ok(ends(c), "%s: calls that nobody collects", mode(procs));
	tap_ok(disposed == 1, "%s: the reply is an orphan", mode(procs));
	tap_ok(fcntl(fd, F_GETFD) == -1 && errno == EBADF, "%s: the descriptor of muxpollfd is closed", mode(procs));
	client_free(c);
	close(peer);
}

/* whoever is inside recv, and is not let go: an error in a while, and nothing is given up */
static void
stuck(int procs)
{
	Client *c;
	Caller a;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	caller_start(&a, c, T_NEVER, ID, N);
	peer_read(peer, c->frame);
	steps_waitrecv(c);
	errno = 0;
	muxfree(&c->mux);
	tap_ok(errno == EBUSY, "%s: while recv does not return, EBUSY", mode(procs));
	errno = 0;
	tap_ok(client_call(c, T_ECHO, ID + 1, 0, N) == 0 && errno == ESHUTDOWN, "%s: it is hung up", mode(procs));
	shutdown(c->fd, SHUT_RDWR);
	tap_ok(ends(c), "%s: and ends when recv has returned", mode(procs));
	tap_ok(caller_join(&a) == 0, "%s: so does the caller", mode(procs));
	client_free(c);
	close(peer);
}

/* again and again, at other moments */
static void
often(int procs)
{
	Caller a[NCALLER];
	Client *c;
	Muxrpc *x;
	unsigned i, n, good, left;
	int peer;

	left = 0;
	for (n = good = 0; n < NROUND; n++) {
		c = client_pair(&peer, &frame_9p, 0, 256, procs);
		x = client_start(c, T_NEVER, ID + 50, ID, N);
		for (i = 0; i < NCALLER; i++)
			caller_start(&a[i], c, T_NEVER, ID + i, N);
		/* all are inside: muxfree sees off nobody who has yet to come */
		while (__atomic_load_n(&c->nsettag, __ATOMIC_SEQ_CST) < NCALLER + 1)
			task_yield();
		shutdown(c->fd, SHUT_RDWR);
		if (x != NULL && ends(c)) {
			good++;
			memset(&c->mux, 0xdd, sizeof c->mux);
		}
		for (i = 0; i < NCALLER; i++)
			left += caller_join(&a[i]) == 0;
		client_free(c);
		close(peer);
	}
	tap_ok(good == NROUND, "%s: %u of %d times", mode(procs), good, NROUND);
	tap_ok(left == NROUND * NCALLER, "%s: and all %u have left", mode(procs), left);
}

static void
bad(void)
{
	static Mux never;

	errno = 0;
	muxfree(NULL);
	tap_ok(errno == EINVAL, "muxfree of nil");
	errno = 0;
	muxfree(&never);
	tap_ok(errno == EINVAL, "muxfree of a Mux without muxinit");
	muxinit(&never);
	errno = 0;
	muxfree(&never);
	tap_ok(errno == 0, "muxfree of one that was never used, and has no functions");
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("release", 60);
	quiet_start();
	for (procs = 0; procs < 2; procs++) {
		idle(procs);
		inside(procs);
		uncollected(procs);
		stuck(procs);
		often(procs);
	}
	bad();
	quiet_end();
	return tap_end();
}
