/*
 * more.c: the functions that plan9port's libmux lacks: hang-up, cancelled calls, the orphan function, a descriptor
 * for event loops, counters, the version. Each without and with muxprocs.
 */
#include "lib/client.h"
#include "lib/peer.h"
#include "lib/server.h"
#include "lib/steps.h"
#include "lib/tap.h"
#include "lib/task.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int
readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* some callers wait, one receives for them, one is in send; all end when another task hangs up */
static void
hangup(int procs)
{
	Client *c;
	Caller a[4], s;
	unsigned i, ended;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	for (i = 0; i < 4; i++) {
		caller_start(&a[i], c, T_NEVER, ID + i, N);
		peer_read(peer, c->frame);
	}
	steps_hold(c, ID + 9, 0, 0);
	caller_start(&s, c, T_NEVER, ID + 9, N);
	steps_wait(c);
	muxhangup(&c->mux);
	errno = 0;
	tap_ok(client_call(c, T_ECHO, ID + 5, 0, N) == 0 && errno == ESHUTDOWN, "%s: after muxhangup calls fail with ESHUTDOWN", mode(procs));
	tap_ok(client_start(c, T_ECHO, ID + 5, 0, N) == NULL && errno == ESHUTDOWN, "%s: muxrpcstart, too", mode(procs));
	/* the callers in recv and in send return when the callback does */
	shutdown(peer, SHUT_RDWR);
	steps_go(c);
	for (i = ended = 0; i < 4; i++)
		ended += caller_join(&a[i]) == 0;
	tap_ok(ended == 4, "%s: the waiting calls have ended", mode(procs));
	tap_ok(caller_join(&s) == 0, "%s: the call in send has ended", mode(procs));
	close(peer);
}

static unsigned disposed;

static void
dispose(Mux *m, void *reply)
{
	(void)m;
	free(reply);
	__atomic_add_fetch(&disposed, 1, __ATOMIC_SEQ_CST);
}

/* with one tag: it is out of use until the reply of the cancelled call has arrived, which is an orphan */
static void
cancel(int procs)
{
	Client *c;
	Caller a;
	Muxrpc *x;
	Request rx, r;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 2, procs);
	muxsetorphan(&c->mux, dispose);
	disposed = 0;
	x = client_start(c, T_ECHO, ID, ID, N);
	rx = peer_read(peer, c->frame);
	muxrpccancel(x);
	r = begin(&a, c, peer, ID + 1);
	tap_ok(r.tag != rx.tag, "%s: a cancelled call's tag stays out of use", mode(procs));
	tap_ok(client_start(c, T_ECHO, ID + 2, ID, N) == NULL && errno == EAGAIN, "%s: no tag is left", mode(procs));
	peer_answer(peer, c->frame, &rx);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "%s: the reply to another call follows", mode(procs));
	tap_ok(disposed == 1, "%s: the late reply is an orphan, which is disposed of", mode(procs));
	x = client_start(c, T_ECHO, ID + 3, ID, N);
	tap_ok(x != NULL, "%s: its tag is free again", mode(procs));
	rx = peer_read(peer, c->frame);
	r = begin(&a, c, peer, ID + 4);
	peer_answer(peer, c->frame, &rx);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "%s: a reply arrives for a call that is not collected", mode(procs));
	muxrpccancel(x);
	tap_ok(disposed == 2, "%s: cancelling that call disposes of the reply", mode(procs));
	close(peer);
}

/* the calls with both tags are cancelled: an error, not a wait for a reply that may never arrive */
static void
allheld(int procs)
{
	Client *c;
	Muxrpc *x, *y;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 2, procs);
	x = client_start(c, T_NEVER, ID, ID, N);
	y = client_start(c, T_NEVER, ID + 1, ID, N);
	muxrpccancel(x);
	muxrpccancel(y);
	errno = 0;
	tap_ok(client_call(c, T_ECHO, ID + 2, 0, N) == 0 && errno == EAGAIN, "%s: with the tags of cancelled calls only, muxrpc returns NULL with EAGAIN", mode(procs));
	close(peer);
}

/* under muxprocs the descriptor alone shows when to collect */
static void
pollfd(void)
{
	Client *c;
	Muxrpc *x, *y;
	Request rx, ry;
	int peer, fd;

	c = client_pair(&peer, &frame_9p, 0, 256, 1);
	fd = muxpollfd(&c->mux);
	tap_ok(fd >= 0 && fd == muxpollfd(&c->mux), "muxpollfd: one descriptor, always the same");
	x = client_start(c, T_ECHO, ID, ID, N);
	y = client_start(c, T_ECHO, ID + 1, ID, N);
	rx = peer_read(peer, c->frame);
	ry = peer_read(peer, c->frame);
	tap_ok(!readable(fd), "not readable while no call can finish");
	peer_answer(peer, c->frame, &ry);
	while (!readable(fd))
		task_yield();
	tap_ok(client_peek(y) != NULL && client_peek(x) == NULL, "readable when some call can finish");
	peer_answer(peer, c->frame, &rx);
	while (client_peek(x) == NULL)
		task_yield();
	tap_ok(client_finish(c, y, T_ECHO, ID + 1, ID, N) == 1 && readable(fd), "one collected: readable, because the other can finish");
	tap_ok(client_finish(c, x, T_ECHO, ID, ID, N) == 1 && !readable(fd), "both collected: not readable");
	x = client_start(c, T_NEVER, ID + 2, ID, N);
	shutdown(peer, SHUT_RDWR);
	while (!readable(fd))
		task_yield();
	tap_ok(client_finish(c, x, T_NEVER, ID + 2, ID, N) == -1 && !readable(fd), "the end of the connection makes it readable, too");
	close(peer);
}

enum { FEW = 128 };	/* descriptors */

static void
nofd(void)
{
	struct rlimit all, few;
	static Mux m;
	int fd, e, spare[FEW], n;

	muxinit(&m);
	/* few rather than none: poll needs a limit of at least its number of descriptors, and other procs use it */
	getrlimit(RLIMIT_NOFILE, &all);
	few = all;
	few.rlim_cur = FEW;
	setrlimit(RLIMIT_NOFILE, &few);
	for (n = 0; n < FEW && (spare[n] = dup(0)) >= 0; n++)
		;
	errno = 0;
	fd = muxpollfd(&m);
	e = errno;
	while (n > 0)
		close(spare[--n]);
	setrlimit(RLIMIT_NOFILE, &all);
	tap_ok(fd == -1 && e == EMFILE, "muxpollfd without free descriptors: -1, and the system's errno");
	fd = muxpollfd(&m);
	tap_ok(fd >= 0, "muxpollfd works later");
	muxfree(&m);
}

static void
counters(int procs)
{
	ServerPlan plan = {.frame = &frame_9p, .batch = 1, .seed = 7};
	Muxstats s;
	Client *c;
	Server *server;
	unsigned i;
	int fd;

	server = server_start(&plan, &fd);
	c = client_new(fd, &frame_9p, 0, 256);
	if (procs)
		muxprocs(&c->mux);
	for (i = 0; i < 10; i++)
		client_call(c, T_ECHO, ID + i, 0, N);
	memset(&s, 0xA5, sizeof s);
	s.size = sizeof s;
	muxstats(&c->mux, &s);
	tap_ok(s.calls == 10 && s.maxoutstanding == 1 && s.outstanding == 0 && s.errors == 0 && s.orphans == 0 && s.tagwaits == 0,
	    "%s: muxstats: 10 calls, one at a time", mode(procs));
	memset(&s, 0xA5, sizeof s);
	s.size = 2 * sizeof s.size;
	muxstats(&c->mux, &s);
	tap_ok(s.outstanding == 0 && s.maxoutstanding == 0xA5A5A5A5, "%s: muxstats writes no more than the size given", mode(procs));
	client_hangup(c);
	server_join(server);
}

static void
bad(void)
{
	static Mux never;
	Muxstats s;

	errno = 0;
	muxhangup(NULL);
	tap_ok(errno == EINVAL, "muxhangup of NULL");
	errno = 0;
	muxhangup(&never);
	tap_ok(errno == EINVAL, "muxhangup of a Mux without muxinit");
	errno = 0;
	muxrpccancel(NULL);
	tap_ok(errno == EINVAL, "muxrpccancel of NULL");
	errno = 0;
	muxsetorphan(NULL, dispose);
	tap_ok(errno == EINVAL, "muxsetorphan of NULL");
	errno = 0;
	tap_ok(muxpollfd(NULL) == -1 && errno == EINVAL, "muxpollfd of NULL");
	errno = 0;
	s.size = sizeof s;
	muxstats(NULL, &s);
	tap_ok(errno == EINVAL, "muxstats of NULL");
	never.mintag = 0;
	muxinit(&never);
	errno = 0;
	muxstats(&never, NULL);
	tap_ok(errno == EINVAL, "muxstats into NULL");
	errno = 0;
	s.size = 3;
	muxstats(&never, &s);
	tap_ok(errno == EINVAL, "muxstats with size 0");
	tap_ok(strlen(muxversion()) >= 5 && strchr(muxversion(), '.') != NULL, "muxversion: %s", muxversion());
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("more", 60);
	quiet_start();
	for (procs = 0; procs < 2; procs++) {
		hangup(procs);
		cancel(procs);
		allheld(procs);
		counters(procs);
	}
	pollfd();
	nofd();
	bad();
	quiet_end();
	return tap_end();
}
