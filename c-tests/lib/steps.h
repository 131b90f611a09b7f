/*
 * steps.h: a client whose other end is in the test's own hands, and the steps that the tests of the
 * rules put into its callbacks: one call's send is held until the test lets it go, and may then
 * fail; and it is seen when somebody receives.
 */
#ifndef STEPS_H
#define STEPS_H 1
#include "client.h"
#include "peer.h"

enum {
	ID = 1000,	/* no caller's number is less, and none is 0 */
	N = 40,	/* bytes of payload of a call that is none too special */
	STALE = -1	/* see steps_hold */
};

/* a client and the other end of its connection.  Its own belongs to this file. */
Client *client_pair(int *peer, const Frame *, unsigned mintag, unsigned maxtag, int procs);
/* a pair of ends of a new connection, one of them the client's */
void client_again(Client *, int *peer);
/* "direct" or "procs" */
const char *mode(int procs);

/* The sends of that caller are held, before they have written or after; then they fail with this
   errno if it is not 0, and STALE leaves errno alone. */
void steps_hold(Client *, unsigned id, int before, int error);
/* the same, but they do not wait */
void steps_fail(Client *, unsigned id, int before, int error);
/* waits until the held one is there */
void steps_wait(Client *);
/* lets it go on */
void steps_go(Client *);
/* nobody's are held */
void steps_none(Client *);
/* from here on every send fails with ECONNRESET, or does not any more */
void steps_dead(Client *, int);
/* waits until recv has been entered since the last steps_rewatch */
void steps_waitrecv(Client *);
void steps_rewatch(Client *);

/* starts a caller (an echo of N bytes), and answers its request when it is at the other end */
Request begin(Caller *, Client *, int peer, unsigned id);
/* a blocking call of the caller's own (an echo of n bytes), which another task answers: as client_call,
   but locks up if it is never sent */
int callpeer(Client *, int peer, unsigned id, size_t n);
/* waits for a non-blocking call that was started with client_start(c, T_ECHO, id, id, N) to finish */
int finish(Client *, Muxrpc *, unsigned id);

#endif
