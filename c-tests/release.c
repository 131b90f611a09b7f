/*
 * release.c: muxfree. Every caller inside is made to return, wherever it is, and all memory is freed. The memory of
 * the Mux is overwritten at once, so that a later access fails soon, and memcheck reports it.
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

/* returns 1 if muxfree set no errno */
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
	tap_ok(client_call(c, T_ECHO, ID, ID, N) == 0 && errno == EINVAL, "%s: calls on a freed Mux fail", mode(procs));
	errno = 0;
	muxfree(&c->mux);
	tap_ok(errno == EINVAL, "%s: a second muxfree fails", mode(procs));
	close(peer);
	client_again(c, &peer);
	muxinit(&c->mux);
	r = begin(&a, c, peer, ID + 1);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "%s: muxinit makes it usable again", mode(procs));
	shutdown(c->fd, SHUT_RDWR);
	tap_ok(ends(c), "%s: muxfree frees it again", mode(procs));
	client_free(c);
	close(peer);
}

/* one caller or the proc in recv, others asleep, one in send, one waiting for the turn; one with a deadline */
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
	/* it has a tag, so it is in the queue or will be soon */
	while (__atomic_load_n(&c->nsettag, __ATOMIC_SEQ_CST) < NCALLER + 2)
		task_yield();
	for (i = 0; i < 100; i++)
		task_yield();
	shutdown(c->fd, SHUT_RDWR);
	steps_go(c);
	tap_ok(ends(c), "%s: muxfree with callers inside", mode(procs));
	memset(&c->mux, 0xdd, sizeof c->mux);
	for (i = ended = 0; i < NCALLER; i++)
		ended += caller_join(&a[i]) == 0;
	tap_ok(ended == NCALLER, "%s: all of their calls have ended", mode(procs));
	tap_ok(caller_join(&s) == 0 && caller_join(&q) == 0, "%s: the call in send and the queued call have ended", mode(procs));
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
	tap_ok(x != NULL && y != NULL, "%s: two calls, one of which gets a reply", mode(procs));
	r = begin(&a, c, peer, ID + 2);
	peer_answer(peer, c->frame, &rx);
	peer_answer(peer, c->frame, &r);
	caller_join(&a);
	shutdown(c->fd, SHUT_RDWR);
	tap_ok(ends(c), "%s: calls that are not collected", mode(procs));
	tap_ok(disposed == 1, "%s: the reply is an orphan", mode(procs));
	tap_ok(fcntl(fd, F_GETFD) == -1 && errno == EBADF, "%s: the descriptor of muxpollfd is closed", mode(procs));
	client_free(c);
	close(peer);
}

/* a caller is inside recv, which does not return: an error after a while, and nothing is freed */
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
	tap_ok(client_call(c, T_ECHO, ID + 1, 0, N) == 0 && errno == ESHUTDOWN, "%s: the Mux is hung up", mode(procs));
	shutdown(c->fd, SHUT_RDWR);
	tap_ok(ends(c), "%s: muxfree works when recv has returned", mode(procs));
	tap_ok(caller_join(&a) == 0, "%s: the caller has returned", mode(procs));
	client_free(c);
	close(peer);
}

/* repeatedly, at different moments */
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
		/* all callers are inside: muxfree does not wait for later ones */
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
	tap_ok(left == NROUND * NCALLER, "%s: all %u callers have left", mode(procs), left);
}

static void
bad(void)
{
	static Mux never;

	errno = 0;
	muxfree(NULL);
	tap_ok(errno == EINVAL, "muxfree of NULL");
	errno = 0;
	muxfree(&never);
	tap_ok(errno == EINVAL, "muxfree of a Mux without muxinit");
	muxinit(&never);
	errno = 0;
	muxfree(&never);
	tap_ok(errno == 0, "muxfree of a Mux that was never used and has no functions");
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
