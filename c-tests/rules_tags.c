/*
 * rules_tags.c: the range of tags. The range is read at each use and may change at any time, with or without
 * outstanding calls; no tag outside it is ever used; an empty range is an error and does not block; a wide range
 * costs no memory; and a freed tag is quarantined before it is used again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

/* a call that takes its tag from this range, while all outstanding calls stay outstanding */
static int
within(Client *c, int peer, unsigned id, unsigned lo, unsigned hi)
{
	Caller a;
	Request r;

	client_range(c, lo, hi);
	r = begin(&a, c, peer, id);
	peer_answer(peer, c->frame, &r);
	return caller_join(&a) == 1 && r.tag >= lo && r.tag < hi;
}

/* a library that keeps the range that it read first sends 5 every time, or loses replies */
static void
changes(int procs)
{
	Client *c;
	Caller b;
	Request ra, rb;
	Muxrpc *a;
	unsigned lo;
	int peer;

	c = client_pair(&peer, &frame_9p, 5, 6, procs);
	tap_ok(within(c, peer, ID, 5, 6), "%s: a tag of the first range", mode(procs));
	tap_ok(within(c, peer, ID + 1, 40, 41), "%s: a tag of the changed range", mode(procs));

	/* one of each kind stays outstanding through every change */
	client_range(c, 7, 20);
	a = client_start(c, T_ECHO, ID + 2, ID + 2, N);
	ra = peer_read(peer, c->frame);
	rb = begin(&b, c, peer, ID + 3);
	tap_ok(a != NULL && ra.good && ra.tag >= 7 && ra.tag < 20 && rb.tag >= 7 && rb.tag < 20 && ra.tag != rb.tag,
	    "%s: two calls with tags of a third range", mode(procs));
	tap_ok(a != NULL && a->tag == ra.tag && a->mux == &c->mux, "%s: rpc->tag and rpc->mux are the call's", mode(procs));
	tap_ok(within(c, peer, ID + 4, 65535, 65536), "%s: NOTAG, with calls outstanding", mode(procs));
	tap_ok(within(c, peer, ID + 5, 0, 256), "%s: a range around the outstanding tags", mode(procs));
	lo = ra.tag > rb.tag ? ra.tag : rb.tag;
	tap_ok(within(c, peer, ID + 6, lo, lo + 2), "%s: a range whose first tag is taken", mode(procs));
	tap_ok(within(c, peer, ID + 7, 65535, 65536), "%s: NOTAG once more", mode(procs));
	peer_answer(peer, c->frame, &ra);
	peer_answer(peer, c->frame, &rb);
	tap_ok(caller_join(&b) == 1, "%s: the blocking call with a tag of an earlier range gets its reply", mode(procs));
	tap_ok(finish(c, a, ID + 2) == 1, "%s: the non-blocking call, too", mode(procs));
	tap_ok(within(c, peer, ID + 8, 7, 20), "%s: the old range works again", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/* the original uses tags past maxtag, because its table doubles: 3 tags become 4 */
static void
outside(int procs)
{
	Client *c;
	Muxrpc *rpc[4];
	Request r[3];
	unsigned i;
	int peer, bits;

	c = client_pair(&peer, &frame_9p, 7, 10, procs);
	bits = 0;
	for (i = 0; i < 3; i++) {
		rpc[i] = client_start(c, T_ECHO, ID + i, ID + i, N);
		r[i] = peer_read(peer, c->frame);
		if (rpc[i] != NULL && r[i].tag >= 7 && r[i].tag < 10)
			bits |= 1 << (r[i].tag - 7);
	}
	tap_ok(bits == 7, "%s: three calls have the three tags", mode(procs));
	rpc[3] = client_start(c, T_ECHO, ID + 3, ID + 3, N);
	tap_ok(rpc[3] == NULL && errno == EAGAIN, "%s: there is no fourth tag: NULL and EAGAIN", mode(procs));
	tap_ok(client_count(&c->nsend) == 3 && client_count(&c->nsettag) == 3, "%s: the fourth call was neither sent nor tagged", mode(procs));
	peer_answer(peer, c->frame, &r[1]);
	tap_ok(finish(c, rpc[1], ID + 1) == 1, "%s: one call finishes", mode(procs));
	rpc[3] = client_start(c, T_ECHO, ID + 3, ID + 3, N);
	tap_ok(rpc[3] != NULL && rpc[3]->tag == r[1].tag, "%s: another call gets its tag", mode(procs));
	r[1] = peer_read(peer, c->frame);
	for (i = 0; i < 3; i++)
		peer_answer(peer, c->frame, &r[i]);
	tap_ok(finish(c, rpc[0], ID) == 1 && finish(c, rpc[3], ID + 3) == 1 && finish(c, rpc[2], ID + 2) == 1,
	    "%s: all of them finish", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

/* no tags at all: a library that waits for a tag would lock up here; a library that counts from maxtag - mintag
   would count four thousand million tags */
static void
empty(int procs)
{
	Client *c;
	Muxrpc *a;
	Request r;
	int peer;

	c = client_pair(&peer, &frame_9p, 5, 5, procs);
	tap_ok(client_call(c, T_ECHO, ID, ID, N) == 0 && errno == EINVAL, "%s: muxrpc, maxtag = mintag: EINVAL", mode(procs));
	tap_ok(client_start(c, T_ECHO, ID, ID, N) == NULL && errno == EINVAL, "%s: muxrpcstart, the same", mode(procs));
	client_range(c, 6, 5);
	tap_ok(client_call(c, T_ECHO, ID, ID, N) == 0 && errno == EINVAL, "%s: muxrpc, maxtag < mintag: EINVAL", mode(procs));
	tap_ok(client_start(c, T_ECHO, ID, ID, N) == NULL && errno == EINVAL, "%s: muxrpcstart, the same", mode(procs));
	client_range(c, 0, 0);
	tap_ok(client_call(c, T_ECHO, ID, ID, N) == 0 && errno == EINVAL, "%s: muxrpc, 0 and 0: EINVAL", mode(procs));
	tap_ok(client_count(&c->nsend) == 0 && client_count(&c->nsettag) == 0, "%s: nothing was sent", mode(procs));
	tap_ok(within(c, peer, ID, 3, 9), "%s: with a valid range the Mux works", mode(procs));
	a = client_start(c, T_ECHO, ID + 1, ID + 1, N);
	r = peer_read(peer, c->frame);
	client_range(c, 9, 3);
	tap_ok(client_call(c, T_ECHO, ID, ID, N) == 0 && errno == EINVAL, "%s: EINVAL with a call outstanding", mode(procs));
	peer_answer(peer, c->frame, &r);
	tap_ok(finish(c, a, ID + 1) == 1, "%s: the outstanding call gets its reply despite the empty range", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

static long
rss(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

/* tags of 32 bits, also tags that are negative as results of gettag. A table as wide as the range would have at
   least 16 gigabytes. */
static void
wide(int procs, unsigned lo, unsigned hi)
{
	ServerPlan plan = {.frame = &frame_wide};
	Client *c;
	Server *s;
	Muxrpc *rpc[50];
	unsigned i, n, good;
	long before;
	int fd;

	before = rss();
	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_wide, lo, hi);
	if (procs)
		muxprocs(&c->mux);
	n = hi - lo < 50 ? hi - lo : 50;
	for (i = good = 0; i < 200; i++)
		good += client_call(c, T_ECHO, ID + i, i, N) == 1;
	tap_ok(good == 200, "%s: 200 calls with tags from %u to %u", mode(procs), lo, hi);
	for (i = good = 0; i < n; i++)
		good += (rpc[i] = client_start(c, T_ECHO, ID + i, ID + i, N)) != NULL;
	tap_ok(good == n, "%s: %u calls at once", mode(procs), n);
	for (i = good = 0; i < n; i++)
		good += rpc[i] != NULL && finish(c, rpc[i], ID + i) == 1;
	tap_ok(good == n, "%s: all of them finish", mode(procs));
	tap_ok(rss() - before < 64 * 1024, "%s: memory does not depend on the width of the range", mode(procs));
	client_check(c, mode(procs));
	client_hangup(c);
	server_join(s);
}

enum { NSEQ = 400 };
static unsigned seq[NSEQ], nseq;

static int
note(Client *c, void *msg, unsigned tag)
{
	(void)c;
	(void)msg;
	if (nseq < NSEQ)
		seq[nseq++] = tag;
	return 0;
}

/* the minimum number of other tags between two uses of a tag */
static unsigned
rest(void)
{
	unsigned char seen[256];
	unsigned i, j, n, least;

	least = 256;
	for (i = 0; i < nseq; i++) {
		memset(seen, 0, sizeof seen);
		for (j = i + 1, n = 0; j < nseq && seq[j] != seq[i]; j++)
			n += !seen[seq[j]]++;
		if (j < nseq && n < least)
			least = n;
	}
	return least;
}

/* a late or second reply may arrive for the tag that was freed last, so it is used last */
static void
rests(int procs, unsigned width)
{
	ServerPlan plan = {.frame = &frame_9p};
	Client *c;
	Server *s;
	unsigned i, good;
	int fd;

	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_9p, 3, 3 + width);
	c->tagging = note;
	nseq = 0;
	if (procs)
		muxprocs(&c->mux);
	for (i = good = 0; i < NSEQ; i++)
		good += client_call(c, T_ECHO, ID, i, PAYLOAD) == 1;
	tap_ok(good == NSEQ && nseq == NSEQ, "%s: %u calls with %u tags, one after the other", mode(procs), NSEQ, width);
	for (i = 0; i < nseq && i < width && seq[i] == 3 + i; i++)
		;
	tap_ok(i >= 65, "%s: the first tags are mintag and upward", mode(procs));
	i = rest();
	tap_ok(i >= 64, "%s: there were %u other tags between two uses of a tag", mode(procs), i);
	client_hangup(c);
	server_join(s);
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("rules_tags", 60);
	quiet_start();
	for (procs = 0; procs < 2; procs++) {
		changes(procs);
		outside(procs);
		empty(procs);
		wide(procs, 0, 0xffffffff);
		wide(procs, 0x7ffffff0, 0xffffffff);
		wide(procs, 0xfffffffe, 0xffffffff);
		rests(procs, 200);
		rests(procs, 65);
	}
	quiet_end();
	return tap_end();
}
