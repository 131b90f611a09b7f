/*
 * man3.c: two forms in one program. This half is written from the header, man3_other.c from the manual page, in
 * which nbrecv and muxrpccanfinish have other types. Each Mux works in the form that its own half was compiled
 * with, also both at once.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include "man3.h"
#include "server.h"
#include "steps.h"
#include "tap.h"

enum { NTASK = 8, NCALL = 40 };

typedef struct Work Work;
struct Work {
	Client *c;
	Page *p;
	unsigned id;
	unsigned good;
};

/* failures of the page's half are reported in one check */
static void
check(Page *p, const char *what)
{
	tap_ok(page_faults(p) == 0, "%s: the page's callbacks and tags are correct", what);
}

static void
header(void *v)
{
	Work *w;
	Muxrpc *rpc;
	unsigned i;

	w = v;
	for (i = 0; i < NCALL; i++) {
		rpc = i % 4 == 3 ? client_start(w->c, T_ECHO, w->id, w->id, N) : NULL;
		if (rpc != NULL)
			w->good += finish(w->c, rpc, w->id) == 1;
		else
			w->good += client_call(w->c, T_ECHO, w->id, i, N) == 1;
	}
}

static void
page(void *v)
{
	Work *w;
	void *rpc;
	unsigned i;
	int r;

	w = v;
	for (i = 0; i < NCALL; i++) {
		rpc = i % 4 == 3 ? page_start(w->p, w->id) : NULL;
		if (rpc != NULL) {
			while ((r = page_finish(w->p, rpc, w->id)) == 0)
				task_yield();
			w->good += r == 1;
		} else
			w->good += page_call(w->p, w->id, i, N) == 1;
	}
}

/* both forms at once, in every task */
static void
both(int procs)
{
	ServerPlan plan = {.frame = &frame_9p, .batch = 4, .seed = 13};
	Server *s[2];
	Client *c;
	Page *p;
	Work w[2 * NTASK];
	Task *t[2 * NTASK];
	unsigned i, good[2];
	int fd[2];

	s[0] = server_start(&plan, &fd[0]);
	s[1] = server_start(&plan, &fd[1]);
	c = client_new(fd[0], &frame_9p, 0, 256);
	p = page_new(fd[1], 1);
	if (procs) {
		muxprocs(&c->mux);
		page_threads(p);
	}
	for (i = 0; i < 2 * NTASK; i++) {
		w[i] = (Work){.c = c, .p = p, .id = ID + i};
		t[i] = task_start(i % 2 ? page : header, &w[i]);
	}
	good[0] = good[1] = 0;
	for (i = 0; i < 2 * NTASK; i++) {
		task_join(t[i]);
		good[i % 2] += w[i].good;
	}
	tap_ok(good[0] == NTASK * NCALL, "%s: calls in the header's form", mode(procs));
	tap_ok(good[1] == NTASK * NCALL, "%s: calls in the page's form at the same time", mode(procs));
	client_check(c, mode(procs));
	check(p, mode(procs));
	client_hangup(c);
	server_join(s[0]);
	shutdown(fd[1], SHUT_RDWR);
	server_join(s[1]);
}

static Page *calling;

static void
callpage(void *v)
{
	int *result;

	result = v;
	*result = page_call(calling, ID + 9, 9, N);
	if (*result == 0)
		*result = -errno;
}

/* each result of the page's muxrpccanfinish, without procs */
static void
says(void)
{
	Page *p;
	Task *t;
	void *x, *y, *z;
	Request rx, ry, rz, r;
	int fd[2], again[2], result, i, good;

	server_pair(fd, 0);
	calling = p = page_new(fd[0], 1);
	x = page_start(p, ID);
	rx = peer_read(fd[1], &frame_9p);
	y = page_start(p, ID + 1);
	ry = peer_read(fd[1], &frame_9p);
	z = page_start(p, ID + 2);
	rz = peer_read(fd[1], &frame_9p);
	tap_ok(rx.good && ry.good && rz.good && page_peek(p, x) == 0, "three calls started");
	tap_ok(page_finish(p, x, ID) == 0, "no message: NULL and EAGAIN");
	peer_answer(fd[1], &frame_9p, &ry);
	tap_ok(page_finish(p, x, ID) == 0 && page_peek(p, y) == 1, "a reply to another call: NULL, EAGAIN, and it is delivered");
	tap_ok(page_found(p) == 1, "it was received by nbrecv in the page's form");
	tap_ok(page_finish(p, y, ID + 1) == 1, "delivered by the poll of another call: the reply");
	peer_answer(fd[1], &frame_9p, &rx);
	tap_ok(page_finish(p, x, ID) == 1, "available to nbrecv: the reply");

	t = task_start(callpage, &result);
	r = peer_read(fd[1], &frame_9p);
	tap_ok(page_finish(p, z, ID + 2) == 0, "while another caller may be receiving: NULL and EAGAIN");
	x = page_start(p, ID + 3);
	rx = peer_read(fd[1], &frame_9p);
	peer_answer(fd[1], &frame_9p, &rx);
	close(fd[1]);
	task_join(t);
	tap_ok(r.good && result == -ECONNRESET, "the connection ends: muxrpc returns NULL, ECONNRESET");
	for (i = good = 0; i < 3; i++)
		good += page_finish(p, z, ID + 2) == -1 && errno == ECONNRESET;
	tap_ok(good == 3, "muxrpccanfinish: NULL and ECONNRESET, every time");
	tap_ok(page_peek(p, z) == 0, "the Muxrpc stays valid");
	tap_ok(page_finish(p, x, ID + 3) == 1, "a call whose reply arrived before the end has it");
	server_pair(again, 0);
	page_reconnect(p, again[0]);
	t = task_start(callpage, &result);
	r = peer_read(again[1], &frame_9p);
	peer_answer(again[1], &frame_9p, &r);
	task_join(t);
	tap_ok(result == 1, "a later call works on a new connection");
	tap_ok(page_finish(p, z, ID + 2) == -1 && errno == ECONNRESET, "the old call has still ended");
	tap_ok(page_finishnil(), "muxrpccanfinish of NULL: NULL and EINVAL");
	check(p, "direct");
	close(again[1]);
}

/* the same under muxthreads, where nbrecv is not called */
static void
sayswiththreads(void)
{
	Page *p;
	void *x, *y;
	Request rx;
	int fd[2], r;

	server_pair(fd, 0);
	p = page_new(fd[0], 1);
	page_threads(p);
	x = page_start(p, ID);
	rx = peer_read(fd[1], &frame_9p);
	y = page_start(p, ID + 1);
	peer_read(fd[1], &frame_9p);
	tap_ok(page_finish(p, x, ID) == 0, "muxthreads: pending: NULL and EAGAIN");
	peer_answer(fd[1], &frame_9p, &rx);
	while ((r = page_finish(p, x, ID)) == 0)
		task_yield();
	tap_ok(r == 1, "muxthreads: its reply has arrived");
	close(fd[1]);
	while ((r = page_finish(p, y, ID + 1)) == 0)
		task_yield();
	tap_ok(r == -1 && errno == ECONNRESET, "muxthreads: the connection has ended: NULL and ECONNRESET");
	tap_ok(page_finish(p, y, ID + 1) == -1 && errno == ECONNRESET, "muxthreads: the same for the second call");
	tap_ok(page_found(p) == 0, "muxthreads: nbrecv was never called");
	check(p, "muxthreads");
}

/* a call that can never finish is reported */
static void
never(void)
{
	Page *p;
	void *x;
	int fd[2];

	server_pair(fd, 0);
	p = page_new(fd[0], 0);
	x = page_start(p, ID);
	peer_read(fd[1], &frame_9p);
	tap_ok(page_finish(p, x, ID) == -1 && errno == EOPNOTSUPP, "no nbrecv, no receiver: NULL and EOPNOTSUPP");
	check(p, "without nbrecv");
	close(fd[1]);
}

int
task_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	tap_start("man3", 60);
	quiet_start();
	both(0);
	both(1);
	says();
	sayswiththreads();
	never();
	quiet_end();
	return tap_end();
}
