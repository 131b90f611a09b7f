/*
 * badinput.c: misuse that programs should avoid. NULL everywhere, a range without tags, memory full of garbage,
 * muxinit before and after the fields are filled and again on an idle Mux, muxprocs too often, a gettag that
 * returns nonsense, messages too short for a tag. Each is an error of that one call or has no effect; it never ends
 * the program or the Mux, which works after each of them.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

/* number of callbacks so far, except for recv, which a proc may be entering again */
static unsigned long
called(const Client *c)
{
	return client_count(&c->nsend) + client_count(&c->nnbrecv) + client_count(&c->nsettag)
		+ client_count(&c->ngettag);
}

/* both kinds of call return NULL with EINVAL, and no callback is called */
static int
refuses(Client *c, Mux *mux, void *msg)
{
	unsigned long before, received;
	int ok;

	before = called(c);
	received = client_count(&c->nrecv);
	errno = 0;
	ok = muxrpc(mux, msg) == NULL && errno == EINVAL;
	errno = 0;
	ok = muxrpcstart(mux, msg) == NULL && errno == EINVAL && ok;
	return ok && called(c) == before && client_count(&c->nrecv) <= received + 1;
}

static void
nil(void)
{
	unsigned char msg[100];
	static char unset;
	Client *c;
	Muxrpc *rpc;
	Request r;
	void *reply;
	int peer, n;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	frame_request(c->frame, msg, T_ECHO, ID, ID, N);
	muxinit(NULL);
	muxprocs(NULL);
	tap_ok(1, "muxinit and muxprocs of NULL return");
	tap_ok(refuses(c, NULL, msg), "NULL as the Mux: NULL, EINVAL");
	tap_ok(refuses(c, NULL, NULL), "NULL as the Mux and as the request: NULL, EINVAL");
	tap_ok(refuses(c, &c->mux, NULL), "NULL as the request: NULL, EINVAL, and no callback is called");
	reply = &unset;
	errno = 0;
	n = muxrpccanfinish(NULL, &reply);
	tap_ok(n == 1 && reply == NULL && errno == EINVAL, "muxrpccanfinish of NULL, which can never finish: 1, NULL, EINVAL");
	errno = 0;
	muxrpccanfinish(NULL, NULL);
	tap_ok(errno == EINVAL, "without a place for the reply: EINVAL");
	rpc = client_start(c, T_ECHO, ID, ID, N);
	r = peer_read(peer, c->frame);
	peer_answer(peer, c->frame, &r);
	errno = 0;
	n = muxrpccanfinish(rpc, NULL);
	tap_ok(errno == EINVAL, "a completed call without a place for the reply: EINVAL");
	tap_ok(n != 0 || finish(c, rpc, ID) == 1, "if that was 0, it finishes with a place for the reply");
	tap_ok(callpeer(c, peer, ID + 1, N) == 1, "the Mux works afterwards");
	client_check(c, "nil");
	close(peer);
}

/* one callback is missing, on a Mux that has worked before; then it is set again */
static void
callbacks(int procs)
{
	static const char *name[4] = {"send", "recv", "gettag", "settag"};
	unsigned char msg[100];
	Client *c;
	Mux whole;
	unsigned i;
	int peer;

	for (i = 0; i < 4; i++) {
		c = client_pair(&peer, &frame_9p, 0, 256, 0);
		whole = c->mux;
		frame_request(c->frame, msg, T_ECHO, ID, ID, N);
		switch (i) {
		case 0: c->mux.send = NULL; break;
		case 1: c->mux.recv = NULL; break;
		case 2: c->mux.gettag = NULL; break;
		case 3: c->mux.settag = NULL; break;
		}
		if (procs)
			muxprocs(&c->mux);
		tap_ok(refuses(c, &c->mux, msg), "%s: no %s: NULL, EINVAL", mode(procs), name[i]);
		switch (i) {
		case 0: c->mux.send = whole.send; break;
		case 1: c->mux.recv = whole.recv; break;
		case 2: c->mux.gettag = whole.gettag; break;
		case 3: c->mux.settag = whole.settag; break;
		}
		tap_ok(callpeer(c, peer, ID, N) == 1, "%s: with a %s it works", mode(procs), name[i]);
		if (procs) {
			muxprocs(&c->mux);
			tap_ok(callpeer(c, peer, ID + 1, N) == 1, "%s: also under procs", mode(procs));
		}
		client_check(c, mode(procs));
		close(peer);
	}
}

static void
range(int procs)
{
	unsigned char msg[100];
	Client *c;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 0, procs);
	frame_request(c->frame, msg, T_ECHO, ID, ID, N);
	c->mux.mintag = c->mux.maxtag = 0;
	tap_ok(refuses(c, &c->mux, msg), "%s: tags from 0 to 0: NULL, EINVAL", mode(procs));
	c->mux.mintag = 0xffffffff;
	tap_ok(refuses(c, &c->mux, msg), "%s: from the highest to 0: NULL, EINVAL", mode(procs));
	c->mux.mintag = c->mux.maxtag = 0xffffffff;
	tap_ok(refuses(c, &c->mux, msg), "%s: from the highest to itself: NULL, EINVAL", mode(procs));
	client_range(c, 0, 256);
	tap_ok(callpeer(c, peer, ID, N) == 1, "%s: a valid range works", mode(procs));
	close(peer);
}

/* muxinit accepts any previous contents, and the fields may be filled before or after it */
static void
garbage(int procs, int fieldsfirst)
{
	Client *c;
	Mux fields;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	memcpy(&fields, &c->mux, sizeof fields);
	memset(&c->mux, 0xa5, sizeof c->mux);
	if (!fieldsfirst)
		muxinit(&c->mux);
	c->mux.mintag = fields.mintag;
	c->mux.maxtag = fields.maxtag;
	c->mux.send = fields.send;
	c->mux.recv = fields.recv;
	c->mux.nbrecv = fields.nbrecv;
	c->mux.gettag = fields.gettag;
	c->mux.settag = fields.settag;
	c->mux.aux = fields.aux;
	if (fieldsfirst)
		muxinit(&c->mux);
	tap_ok(c->mux.send == fields.send && c->mux.aux == c && c->mux.maxtag == 256,
	    "%s: muxinit does not change the public fields", mode(procs));
	if (procs)
		muxprocs(&c->mux);
	for (i = good = 0; i < 10; i++)
		good += callpeer(c, peer, ID + i, N) == 1;
	tap_ok(good == 10, "%s: muxinit on garbage, the fields filled %s", mode(procs), fieldsfirst ? "before" : "after");
	client_check(c, mode(procs));
	close(peer);
}

/* repeated muxinit on an idle Mux */
static void
again(void)
{
	Client *c;
	Muxrpc *x;
	Request r;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	for (i = good = 0; i < 20; i++) {
		x = client_start(c, T_ECHO, ID, ID, N);
		r = peer_read(peer, c->frame);
		good += callpeer(c, peer, ID + 1, N) == 1;
		peer_answer(peer, c->frame, &r);
		good += finish(c, x, ID) == 1;
		muxinit(&c->mux);
		if (i % 2)
			muxinit(&c->mux);
	}
	tap_ok(good == 40, "muxinit 30 times on an idle Mux, with calls in between");
	client_check(c, "again");
	close(peer);
}

static void
twice(void)
{
	Client *c;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	for (i = good = 0; i < 5; i++) {
		muxprocs(&c->mux);
		good += callpeer(c, peer, ID + i, N) == 1;
	}
	tap_ok(good == 5, "muxprocs five times");
	client_check(c, "muxprocs twice");
	close(peer);
}

/* the result of gettag for a message of type R_NONSENSE, selected by the message's tag */
static const int nonsense[] = {-1, INT_MIN, INT_MAX, 256, 9, 65536, -65536, 1 << 24, -2};
enum { NNONSENSE = sizeof nonsense / sizeof nonsense[0] };
static int (*goodgettag)(Mux *, void *);

static int
badgettag(Mux *mux, void *msg)
{
	if (frame_type(&frame_9p, msg) == R_NONSENSE)
		return nonsense[frame_tag(&frame_9p, msg)];
	return goodgettag(mux, msg);
}

static void
gettag(int procs)
{
	Client *c;
	Caller a;
	Muxrpc *x;
	Request r, rx;
	unsigned i;
	int peer;

	c = client_pair(&peer, &frame_9p, 10, 256, 0);
	goodgettag = c->mux.gettag;
	c->mux.gettag = badgettag;
	if (procs)
		muxprocs(&c->mux);
	x = client_start(c, T_ECHO, ID, ID, N);
	rx = peer_read(peer, c->frame);
	r = begin(&a, c, peer, ID + 1);
	for (i = 0; i < NNONSENSE; i++)
		peer_stray(peer, c->frame, R_NONSENSE, i);
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "%s: recv returns messages with invalid tags, then the reply", mode(procs));
	for (i = 0; i < NNONSENSE; i++)
		peer_stray(peer, c->frame, R_NONSENSE, i);
	peer_answer(peer, c->frame, &rx);
	tap_ok(finish(c, x, ID) == 1, "%s: the same with muxrpccanfinish", mode(procs));
	client_check(c, mode(procs));
	client_dropstrays(c);
	close(peer);
}

static void
runts(int procs)
{
	unsigned char runt[8];
	Client *c;
	Caller a;
	Request r;
	unsigned i;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	r = begin(&a, c, peer, ID);
	for (i = 4; i < 7; i++) {
		memset(runt, 0, sizeof runt);
		runt[0] = (unsigned char)i;
		peer_write(peer, runt, i);
	}
	peer_answer(peer, c->frame, &r);
	tap_ok(caller_join(&a) == 1, "%s: messages too short for a tag, then the reply", mode(procs));
	begin(&a, c, peer, ID + 1);
	/* shorter than its own size: no later message can be found */
	memset(runt, 0, sizeof runt);
	runt[0] = 3;
	peer_write(peer, runt, 4);
	tap_ok(caller_join(&a) == 0 && a.error == ECONNRESET, "%s: a message shorter than its size ends the connection", mode(procs));
	client_check(c, mode(procs));
	client_dropstrays(c);
	close(peer);
}

static int
nosettag(Client *c, void *msg, unsigned tag)
{
	(void)msg;
	(void)tag;
	(void)c;
	errno = EBADF;
	return -1;
}

static void
settag(int procs)
{
	Client *c;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 3, procs);
	c->tagging = nosettag;
	for (i = good = 0; i < 10; i++) {
		good += client_call(c, T_ECHO, ID, ID, N) == 0 && errno == EBADF;
		good += client_start(c, T_ECHO, ID, ID, N) == NULL && errno == EBADF;
	}
	tap_ok(good == 20 && client_count(&c->nsend) == 0, "%s: settag fails 20 times, with 3 tags: its errno, and nothing is sent", mode(procs));
	c->tagging = NULL;
	tap_ok(callpeer(c, peer, ID, N) == 1, "%s: then it works", mode(procs));
	client_check(c, mode(procs));
	close(peer);
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("badinput", 60);
	quiet_start();
	nil();
	again();
	twice();
	for (procs = 0; procs < 2; procs++) {
		callbacks(procs);
		range(procs);
		garbage(procs, 0);
		garbage(procs, 1);
		gettag(procs);
		runts(procs);
		settag(procs);
	}
	quiet_end();
	return tap_end();
}
