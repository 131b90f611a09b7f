/*
 * rules_orphan.c: orphans, messages that belong to no call: a tag outside the range, a free tag, no tag, a second
 * reply. They are harmless: nothing is printed, nothing locks up, they end no call, and the calls continue.
 */
#include <errno.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

/* orphans of every kind */
static void
strays(Client *c, int peer, unsigned freetag)
{
	peer_stray(peer, c->frame, R_ORPHAN, 0);
	peer_stray(peer, c->frame, R_ORPHAN, 300);
	peer_stray(peer, c->frame, R_ORPHAN, 65535);
	peer_stray(peer, c->frame, R_ORPHAN, freetag);
	peer_stray(peer, c->frame, R_NONSENSE, freetag);
}

/* a caller in recv, or a proc, receives them */
static void
blocking(int procs)
{
	Client *c;
	Caller a, b;
	Request ra, rb;
	unsigned i, good, last;
	int peer;

	c = client_pair(&peer, &frame_9p, 3, 256, procs);
	last = 200;
	for (i = good = 0; i < 30; i++) {
		ra = begin(&a, c, peer, ID);
		rb = begin(&b, c, peer, ID + 1);
		strays(c, peer, last);
		peer_answer(peer, c->frame, &ra);
		good += caller_join(&a) == 1;
		/* again, as an orphan; and those of the previous round */
		peer_stray(peer, c->frame, R_ORPHAN, ra.tag);
		strays(c, peer, ra.tag);
		peer_answer(peer, c->frame, &rb);
		good += caller_join(&b) == 1;
		last = rb.tag;
	}
	tap_ok(good == 60, "%s: 60 blocking calls among 330 orphans", mode(procs));
	tap_ok(client_count(&c->ngettag) == 60 + 330, "%s: gettag was called once for each message", mode(procs));
	client_check(c, mode(procs));
	client_dropstrays(c);
	close(peer);
}

/* a poll receives them */
static void
looking(int procs)
{
	Client *c;
	Muxrpc *x, *y;
	Request rx, ry;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 3, 256, procs);
	for (i = good = 0; i < 30; i++) {
		x = client_start(c, T_ECHO, ID, ID, N);
		rx = peer_read(peer, c->frame);
		y = client_start(c, T_ECHO, ID + 1, ID + 1, N);
		ry = peer_read(peer, c->frame);
		strays(c, peer, 200);
		good += client_finish(c, x, T_ECHO, ID, ID, N) == 0;
		strays(c, peer, 201);
		peer_answer(peer, c->frame, &ry);
		peer_stray(peer, c->frame, R_ORPHAN, ry.tag);
		good += client_finish(c, x, T_ECHO, ID, ID, N) == 0;
		peer_answer(peer, c->frame, &rx);
		peer_stray(peer, c->frame, R_ORPHAN, rx.tag);
		good += finish(c, x, ID) == 1;
		good += finish(c, y, ID + 1) == 1;
	}
	tap_ok(good == 120, "%s: 60 non-blocking calls among 360 orphans", mode(procs));
	client_check(c, mode(procs));
	/* the last orphans may still be on their way to recv */
	if (!procs)
		client_dropstrays(c);
	close(peer);
}

/* many calls at once, with a server that sends many replies twice */
static void
twice(int procs)
{
	ServerPlan plan = {.frame = &frame_9p, .batch = 6, .seed = 11, .strangetag = 777};
	static const unsigned types[3] = {T_ECHO, T_TWICE, T_UNKNOWN};
	Client *c;
	Server *s;
	Caller a[20];
	unsigned i, round, good;
	int fd;

	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_9p, 0, 256);
	if (procs)
		muxprocs(&c->mux);
	for (round = good = 0; round < 10; round++) {
		for (i = 0; i < 20; i++)
			caller_start(&a[i], c, types[i % 3], ID + i, N + i);
		for (i = 0; i < 20; i++)
			good += caller_join(&a[i]) == 1;
	}
	tap_ok(good == 200, "%s: 200 calls in 20 tasks, with a server that replies twice", mode(procs));
	client_check(c, mode(procs));
	client_hangup(c);
	server_join(s);
	if (!procs)
		client_dropstrays(c);
}

/* only orphans: the receiver continues to receive, and the end of the connection is still reported */
static void
nothingelse(int procs)
{
	Client *c;
	Caller a;
	unsigned i;
	int peer;

	c = client_pair(&peer, &frame_9p, 3, 256, procs);
	begin(&a, c, peer, ID);
	for (i = 0; i < 20; i++)
		strays(c, peer, 100 + i);
	close(peer);
	tap_ok(caller_join(&a) == 0 && a.error == ECONNRESET, "%s: a hundred orphans, then the end of the connection", mode(procs));
	tap_ok(client_count(&c->ngettag) == 100, "%s: all orphans were received", mode(procs));
	client_check(c, mode(procs));
	client_dropstrays(c);
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("rules_orphan", 60);
	quiet_start();
	for (procs = 0; procs < 2; procs++) {
		blocking(procs);
		looking(procs);
		twice(procs);
		nothingelse(procs);
	}
	quiet_end();
	return tap_end();
}
