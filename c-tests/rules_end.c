/*
 * rules_end.c: the end of the connection. Every reply that arrived before it is delivered; every other outstanding
 * call ends with NULL and ECONNRESET. Later calls begin with send again, so a program that has reconnected
 * continues, and late replies of the old connection match no call.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

enum { NBLOCK = 4, NSTART = 4, NALL = NBLOCK + NSTART };

/* the odd ones get replies before the end */
static void
all(int procs, int rounds)
{
	Client *c;
	Caller a[NBLOCK];
	Muxrpc *x[NSTART];
	Request r[NALL], rnew;
	unsigned i, good, old;
	int peer, round, n;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	for (round = 0; round < rounds; round++) {
		if (procs)
			muxprocs(&c->mux);
		for (i = 0; i < NSTART; i++) {
			x[i] = client_start(c, T_ECHO, ID + i, ID + i, N);
			r[NBLOCK + i] = peer_read(peer, c->frame);
		}
		for (i = 0; i < NBLOCK; i++)
			r[i] = begin(&a[i], c, peer, ID + 100 + i);
		for (i = 1; i < NALL; i += 2)
			peer_answer(peer, c->frame, &r[i]);
		close(peer);
		for (i = good = 0; i < NBLOCK; i++) {
			n = caller_join(&a[i]);
			good += i % 2 ? n == 1 : n == 0 && a[i].error == ECONNRESET;
		}
		tap_ok(good == NBLOCK, "%s: of 4 blocking calls 2 have their replies, 2 end with ECONNRESET", mode(procs));
		client_again(c, &peer);
		for (i = good = 0; i < NSTART; i++) {
			n = finish(c, x[i], ID + i);
			good += i % 2 ? n == 1 : n == -1 && errno == ECONNRESET;
		}
		tap_ok(good == NSTART, "%s: the same for 4 non-blocking calls, collected after reconnecting", mode(procs));
		rnew = begin(&a[0], c, peer, ID + 200);
		tap_ok(1, "%s: a later call is sent on the new connection", mode(procs));
		for (i = old = 0; i < NALL; i += 2) {
			old += r[i].tag == rnew.tag;
			peer_stray(peer, c->frame, R_ORPHAN, r[i].tag);
		}
		peer_answer(peer, c->frame, &rnew);
		tap_ok(caller_join(&a[0]) == 1 && old == 0, "%s: it gets its own reply, after late replies of the old connection", mode(procs));
	}
	client_check(c, mode(procs));
	client_dropstrays(c);
	close(peer);
}

/* the end in the middle of a message, or for no reason */
static void
abrupt(int procs, unsigned type)
{
	ServerPlan plan = {.frame = &frame_9p};
	Client *c;
	Server *s;
	Caller a[6];
	unsigned i, good;
	int fd;

	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_9p, 0, 256);
	if (procs)
		muxprocs(&c->mux);
	for (i = 0; i < 5; i++)
		caller_start(&a[i], c, T_NEVER, ID + i, N);
	caller_start(&a[5], c, type, ID + 5, N);
	/* one of the five may come too late, and find that the server has gone when it sends */
	for (i = good = 0; i < 6; i++)
		good += caller_join(&a[i]) == 0 && (a[i].error == ECONNRESET || a[i].error == EPIPE);
	tap_ok(good == 6, "%s: the server %s: all six end", mode(procs), type == T_CUT ? "closes in the middle of a message" : "closes");
	client_check(c, mode(procs));
	client_hangup(c);
	server_join(s);
}

/* the server replies to a number of calls and closes: that number of calls get their replies, whichever they are */
typedef struct Many Many;
struct Many {
	Client *c;
	unsigned id;
	unsigned good, bad, ended;
};

static void
callmany(void *v)
{
	Many *m;
	unsigned i;
	int r;

	m = v;
	for (i = 0; i < 50; i++) {
		r = client_call(m->c, T_ECHO, m->id, i, N);
		m->good += r == 1;
		m->bad += r < 0;
		m->ended += r == 0 && (errno == ECONNRESET || errno == EPIPE);
	}
}

static void
closeafter(int procs, unsigned answers)
{
	ServerPlan plan = {.frame = &frame_9p, .batch = 5, .seed = 3};
	Client *c;
	Server *s;
	Task *t[12];
	Many m[12];
	unsigned i, good, bad, ended;
	int fd;

	plan.closeafter = answers;
	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_9p, 0, 256);
	if (procs)
		muxprocs(&c->mux);
	for (i = 0; i < 12; i++) {
		m[i] = (Many){.c = c, .id = ID + i};
		t[i] = task_start(callmany, &m[i]);
	}
	for (i = good = bad = ended = 0; i < 12; i++) {
		task_join(t[i]);
		good += m[i].good;
		bad += m[i].bad;
		ended += m[i].ended;
	}
	tap_ok(good == answers && bad == 0, "%s: the server closes after %u replies: %u are delivered", mode(procs), answers, good);
	tap_ok(ended == 600 - answers, "%s: the other %u calls end with ECONNRESET", mode(procs), ended);
	client_check(c, mode(procs));
	client_hangup(c);
	server_join(s);
}

/* a program that reconnects inside its send callback; each server lives for three replies */
typedef struct Lives Lives;
struct Lives {
	ServerPlan plan;
	Server *server;
	int need;
	unsigned servers;
};

static int
reconnect(Client *c, void *msg)
{
	Lives *l;
	int fd;

	(void)msg;
	l = c->own;
	if (!l->need)
		return 0;
	l->need = 0;
	if (l->server != NULL) {
		client_hangup(c);
		server_join(l->server);
	}
	l->server = server_start(&l->plan, &fd);
	l->servers++;
	/* not client_reconnect: the requests in transit have just been counted */
	client_fd(c, fd);
	return 0;
}

static void
within(int procs)
{
	Client *c;
	Lives *l;
	unsigned i, good, bad, nil;
	int r;

	l = calloc(1, sizeof *l);
	if (l == NULL)
		abort();
	l->plan.frame = &frame_9p;
	l->plan.closeafter = 3;
	l->need = 1;
	c = client_new(-1, &frame_9p, 0, 256);
	c->own = l;
	c->sending = reconnect;
	if (procs) {
		/* a proc would end at once without a connection, so there is one call first */
		client_call(c, T_ECHO, ID, 0, N);
		muxprocs(&c->mux);
	}
	for (i = good = bad = nil = 0; i < 60; i++) {
		r = client_call(c, T_ECHO, ID, i, N);
		good += r == 1;
		bad += r < 0;
		if (r == 0) {
			nil++;
			l->need = 1;
		}
	}
	/* when a proc's send finds the first server gone before the other's recv does, that end may yet
	   meet the next call, or the one after */
	tap_ok(bad == 0 && nil + good == 60 && (good == 45 || (procs && good >= 42)),
	    "%s: 60 calls, for every fourth the server has gone: %u replies", mode(procs), good);
	tap_ok(l->servers >= 15, "%s: %u servers, one after the other", mode(procs), l->servers);
	client_check(c, mode(procs));
	client_hangup(c);
	server_join(l->server);
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("rules_end", 60);
	quiet_start();
	for (procs = 0; procs < 2; procs++) {
		all(procs, 5);
		abrupt(procs, T_CUT);
		abrupt(procs, T_CLOSE);
		closeafter(procs, 1);
		closeafter(procs, 100);
		closeafter(procs, 333);
		within(procs);
	}
	quiet_end();
	return tap_end();
}
