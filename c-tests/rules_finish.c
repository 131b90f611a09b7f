/*
 * rules_finish.c: muxrpccanfinish in every state that it can find: nothing there, its reply delivered
 * by another, in nbrecv's hands, other people's there, somebody else receiving, the end, and no way to
 * ever finish.  The original answers 1 with nil while somebody else receives, and libdraw then exits.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

static int
look(Client *c, Muxrpc *rpc, unsigned id)
{
	return client_finish(c, rpc, T_ECHO, id, id, N);
}

static Muxrpc *
start(Client *c, int peer, unsigned id, Request *r)
{
	Muxrpc *rpc;

	rpc = client_start(c, T_ECHO, id, id, N);
	*r = peer_read(peer, c->frame);
	if (rpc == NULL || !r->good)
		tap_ok(0, "a call started");
	return rpc;
}

static void
alone(void)
{
	Client *c;
	Muxrpc *x, *y, *z;
	Request rx, ry, rz;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	x = start(c, peer, ID, &rx);
	y = start(c, peer, ID + 1, &ry);
	z = start(c, peer, ID + 2, &rz);
	tap_ok(x->mux == &c->mux && x->tag == rx.tag && x->p == NULL, "direct: rpc->mux, rpc->tag and rpc->p of a pending call");
	tap_ok(look(c, x, ID) == 0 && look(c, y, ID + 1) == 0 && look(c, x, ID) == 0, "direct: nothing there: 0");
	peer_answer(peer, c->frame, &rz);
	peer_answer(peer, c->frame, &ry);
	tap_ok(look(c, x, ID) == 0, "direct: only other people's there: 0");
	tap_ok(client_peek(y) != NULL && client_peek(z) != NULL, "direct: and those have been delivered");
	peer_answer(peer, c->frame, &rx);
	tap_ok(look(c, y, ID + 1) == 1, "direct: delivered by another's look: 1");
	tap_ok(look(c, x, ID) == 1, "direct: its reply is in nbrecv's hands: 1");
	tap_ok(look(c, z, ID + 2) == 1, "direct: and one that was left till last");
	tap_ok(client_count(&c->nrecv) == 0, "direct: recv, which blocks, was never called");
	client_check(c, "direct");
	close(peer);
}

/* a task blocks in recv, for certain */
static void
another(int nbrecv)
{
	Client *c;
	Caller a;
	Muxrpc *x;
	Request ra, rx;
	unsigned long n;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	if (!nbrecv)
		c->mux.nbrecv = NULL;
	x = start(c, peer, ID, &rx);
	ra = begin(&a, c, peer, ID + 1);
	steps_waitrecv(c);
	n = client_count(&c->nnbrecv);
	for (i = good = 0; i < 10; i++)
		good += look(c, x, ID) == 0;
	tap_ok(good == 10 && client_count(&c->nnbrecv) == n, "direct: somebody else receives: 0, %s nbrecv", nbrecv ? "and nobody calls" : "without");
	peer_answer(peer, c->frame, &rx);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "direct: who gets its reply");
	tap_ok(client_peek(x) != NULL && look(c, x, ID) == 1, "direct: and has delivered ours: 1, at once");
	client_check(c, "direct");
	close(peer);
}

static void
end(void)
{
	Client *c;
	Caller a;
	Muxrpc *x, *y, *z;
	Request rx, ry, rz, ra;
	int peer, newpeer, r;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	x = start(c, peer, ID, &rx);
	y = start(c, peer, ID + 1, &ry);
	z = start(c, peer, ID + 2, &rz);
	peer_answer(peer, c->frame, &rz);
	close(peer);
	r = look(c, x, ID);
	/* a message and then the end: it is free to look once more or to let us come again */
	if (r == 0)
		r = look(c, x, ID);
	tap_ok(r == -1 && errno == ECONNRESET, "direct: the end of the connection: 1, nil and ECONNRESET");
	client_again(c, &newpeer);
	r = look(c, y, ID + 1);
	tap_ok(r == -1 && errno == ECONNRESET,
	    "direct: another call of that connection has ended with it, though there is a new one");
	tap_ok(look(c, z, ID + 2) == 1, "direct: and one whose reply came before the end has it");
	ra = begin(&a, c, newpeer, ID + 3);
	peer_answer(newpeer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1, "direct: the new connection works");
	tap_ok(ra.tag != rx.tag && ra.tag != ry.tag, "direct: with a tag that no late reply can have");
	client_check(c, "direct");
	close(newpeer);
}

/* the end is found by one who blocks */
static void
endbyanother(int procs)
{
	Client *c;
	Caller a;
	Muxrpc *x, *y;
	Request rx, ry;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, procs);
	x = start(c, peer, ID, &rx);
	y = start(c, peer, ID + 1, &ry);
	begin(&a, c, peer, ID + 2);
	peer_answer(peer, c->frame, &ry);
	close(peer);
	tap_ok(caller_join(&a) == 0 && a.error == ECONNRESET, "%s: recv finds the end of the connection", mode(procs));
	tap_ok(finish(c, x, ID) == -1 && errno == ECONNRESET, "%s: muxrpccanfinish: 1, nil and ECONNRESET", mode(procs));
	tap_ok(finish(c, y, ID + 1) == 1, "%s: and 1 with the reply that came before", mode(procs));
	client_check(c, mode(procs));
}

/* nobody receives and nobody can: waiting for it would be for ever */
static void
never(void)
{
	Client *c;
	Caller a;
	Muxrpc *x, *y;
	Request rx, ry, ra;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 0);
	c->mux.nbrecv = NULL;
	x = start(c, peer, ID, &rx);
	y = start(c, peer, ID + 1, &ry);
	ra = begin(&a, c, peer, ID + 2);
	peer_answer(peer, c->frame, &ry);
	peer_answer(peer, c->frame, &ra);
	caller_join(&a);
	tap_ok(look(c, x, ID) == -1 && errno == EOPNOTSUPP,
	    "direct: no nbrecv, no procs, nobody receiving: 1, nil and EOPNOTSUPP");
	tap_ok(look(c, y, ID + 1) == 1, "direct: a reply that is there is there");
	/* its reply comes all the same, and is nobody's; its tag must not be somebody else's by now */
	ra = begin(&a, c, peer, ID + 3);
	peer_stray(peer, c->frame, R_ORPHAN, rx.tag);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1 && ra.tag != rx.tag, "direct: its late reply does no harm");
	client_check(c, "direct");
	client_dropstrays(c);
	close(peer);
}

/* under procs somebody else always receives */
static void
procs(int nbrecv)
{
	Client *c;
	Caller a;
	Muxrpc *x, *y;
	Request rx, ry, ra;
	unsigned i, good;
	int peer;

	c = client_pair(&peer, &frame_9p, 0, 256, 1);
	if (!nbrecv)
		c->mux.nbrecv = NULL;
	x = start(c, peer, ID, &rx);
	y = start(c, peer, ID + 1, &ry);
	for (i = good = 0; i < 10; i++)
		good += look(c, x, ID) == 0;
	tap_ok(good == 10, "procs: pending: 0, %s nbrecv", nbrecv ? "with" : "without");
	ra = begin(&a, c, peer, ID + 2);
	peer_answer(peer, c->frame, &rx);
	peer_answer(peer, c->frame, &ra);
	tap_ok(caller_join(&a) == 1 && client_peek(x) != NULL, "procs: the proc delivers to both kinds");
	tap_ok(look(c, x, ID) == 1, "procs: 1 with the reply");
	tap_ok(look(c, y, ID + 1) == 0, "procs: 0 for another that is pending");
	peer_answer(peer, c->frame, &ry);
	tap_ok(finish(c, y, ID + 1) == 1, "procs: which finishes when its reply has come");
	tap_ok(client_count(&c->nnbrecv) == 0, "procs: and nobody has called nbrecv");
	client_check(c, "procs");
	close(peer);
}

int
task_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	tap_start("rules_finish", 60);
	quiet_start();
	alone();
	another(1);
	another(0);
	end();
	endbyanother(0);
	endbyanother(1);
	never();
	procs(1);
	procs(0);
	quiet_end();
	return tap_end();
}
