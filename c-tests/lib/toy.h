/*
 * toy.h: a minimal protocol for a Mux, for tests of sleeping and waking. The test chooses how descriptors are read
 * and written: blocking, or with coroutines.
 */
#ifndef TOY_H
#define TOY_H 1
#include "mux.h"
#include <limits.h>
#include <stddef.h>

typedef struct Toy Toy;
typedef struct Toymsg Toymsg;

/* in the same form on the wire and in memory; the reply to an echo is value + 1 */
struct Toymsg { unsigned tag, op, value; };
enum { TOY_ECHO, TOY_NEVER, TOY_CLOSE };
/* a limit for toy_callfor: no limit, by muxrpc instead of muxrpctimeout */
enum { TOY_RPC = INT_MIN };

struct Toy {
	Mux mux;
	int client, server;
	int served;	/* see toy_served */
	long (*readn)(int fd, void *buf, size_t n);
	long (*writen)(int fd, const void *buf, size_t n);
	/* The test's own steps, before a message is tagged or written and before one is read; < 0 makes the
	   callback fail. NULL is none. */
	int (*tagging)(Toy *, Toymsg *);
	int (*sending)(Toy *, Toymsg *);
	int (*receiving)(Toy *);
};

/* fills all fields and calls muxinit; tags are mintag..maxtag. If readn and writen are NULL, I/O blocks */
void toy_init(Toy *, unsigned mintag, unsigned maxtag, long (*readn)(int, void *, size_t),
	long (*writen)(int, const void *, size_t));
/* a new connection on the same Mux; toy_close ends one (the server must have ended, and no caller may be in a
   callback) */
void toy_connect(Toy *);
void toy_close(Toy *);
/* the server: replies until TOY_CLOSE or the end of the connection, and shuts it down. v is the Toy */
void toy_serve(void *v);
/* returns whether the server has ended; then the connection may be closed */
int toy_served(Toy *);
/* one blocking call: 1 its reply, 0 NULL (with errno of muxrpc), -1 a wrong reply */
int toy_call(Toy *, unsigned op, unsigned value);
/* the same with a limit in milliseconds */
int toy_callfor(Toy *, unsigned op, unsigned value, int ms);

#endif
