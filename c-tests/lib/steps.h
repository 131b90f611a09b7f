/*
 * steps.h: a client whose connection ends in the test itself, and steps that the tests of the rules add to its
 * callbacks: the send of one call can be held until the test releases it, and may then fail; and the test can wait
 * until a caller receives.
 */
#ifndef STEPS_H
#define STEPS_H 1
#include "client.h"
#include "peer.h"

enum {
	ID = 1000,	/* the lowest number of a caller */
	N = 40,	/* bytes of payload of an ordinary call */
	STALE = -1	/* see steps_hold */
};

/* a client and the other end of its connection. Client.own is used by this file. */
Client *client_pair(int *peer, const Frame *, unsigned mintag, unsigned maxtag, int procs);
/* a new connection for the client; *peer is its other end */
void client_again(Client *, int *peer);
/* "direct" or "procs" */
const char *mode(int procs);

/* The sends of this caller are held, before or after writing. Then they fail with this errno if it is not 0; STALE
   means that they fail without setting errno. */
void steps_hold(Client *, unsigned id, int before, int error);
/* the same, without holding them */
void steps_fail(Client *, unsigned id, int before, int error);
/* waits until a held send has been reached */
void steps_wait(Client *);
/* releases the held send */
void steps_go(Client *);
/* no sends are held */
void steps_none(Client *);
/* from now on every send fails with ECONNRESET, or no longer does */
void steps_dead(Client *, int);
/* waits until recv has been entered since the last steps_rewatch */
void steps_waitrecv(Client *);
void steps_rewatch(Client *);

/* starts a caller (an echo of N bytes), and returns its request when it has arrived at the other end */
Request begin(Caller *, Client *, int peer, unsigned id);
/* a blocking call of the current task (an echo of n bytes), to which another task replies: as client_call, but
   locks up if it is never sent */
int callpeer(Client *, int peer, unsigned id, size_t n);
/* waits for a non-blocking call that was started with client_start(c, T_ECHO, id, id, N) to finish */
int finish(Client *, Muxrpc *, unsigned id);

#endif
