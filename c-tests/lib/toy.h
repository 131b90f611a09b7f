/*
 * toy.h: the least protocol that a Mux can carry, for the tests about who sleeps and how.  How a
 * descriptor is read and written is the test's choice: blocking, or by coroutines.
 */
#ifndef TOY_H
#define TOY_H 1
#include "mux.h"
#include <limits.h>
#include <stddef.h>

typedef struct Toy Toy;
typedef struct Toymsg Toymsg;

/* on the wire as it is in memory; an echo answers value + 1 */
struct Toymsg { unsigned tag, op, value; };
enum { TOY_ECHO, TOY_NEVER, TOY_CLOSE };
/* a time for toy_callfor: for ever, and not by muxrpctimeout but by muxrpc */
enum { TOY_RPC = INT_MIN };

struct Toy {
	Mux mux;
	int client, server;
	int served;	/* see toy_served */
	long (*readn)(int fd, void *buf, size_t n);
	long (*writen)(int fd, const void *buf, size_t n);
	/* the test's own steps, before a message is tagged or written and before one is read; < 0 fails
	   as the callback does.  nil is none. */
	int (*tagging)(Toy *, Toymsg *);
	int (*sending)(Toy *, Toymsg *);
	int (*receiving)(Toy *);
};

/* fills all of it and calls muxinit; tags are mintag..maxtag.  Readn and writen nil: blocking */
void toy_init(Toy *, unsigned mintag, unsigned maxtag, long (*readn)(int, void *, size_t),
	long (*writen)(int, const void *, size_t));
/* a new connection on the same Mux; toy_close ends one (the server is at its end, nobody is in a callback) */
void toy_connect(Toy *);
void toy_close(Toy *);
/* the server: answers until TOY_CLOSE or the end of the connection, and shuts it.  v is the Toy */
void toy_serve(void *v);
/* whether it has come to its end, after which the connection may be closed */
int toy_served(Toy *);
/* one blocking call: 1 its reply, 0 nil (errno is muxrpc's), -1 a wrong reply */
int toy_call(Toy *, unsigned op, unsigned value);
/* the same that waits so many milliseconds */
int toy_callfor(Toy *, unsigned op, unsigned value, int ms);

#endif
