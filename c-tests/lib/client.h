/*
 * client.h: the callbacks that the tests share, over a descriptor. While they run, they check that at most one send
 * and one receive run at a time, and that every tag is in its range and belongs to one call. A test may add its own
 * steps to any of them.
 */
#ifndef CLIENT_H
#define CLIENT_H 1
#include "mux.h"
#include "frame.h"
#include "task.h"

typedef struct Client Client;
typedef struct Caller Caller;

struct Client {
	Mux mux;
	int fd;
	const Frame *frame;
	void *own;	/* for the test */
	/* The test's own steps; NULL is none. In send, before it writes and after it has written: < 0 makes send
	   fail, with the errno that the step has set. In recv and nbrecv, before they read: < 0 makes them report
	   the end of the connection. In settag: < 0 makes it fail. */
	int (*sending)(Client *, void *msg);
	int (*sent)(Client *, void *msg);
	int (*receiving)(Client *, int canblock);
	int (*tagging)(Client *, void *msg, unsigned tag);
	/* how often each callback was called */
	unsigned long nsend, nrecv, nnbrecv, nsettag, ngettag;
	/* how often send and receive ran at the same time */
	unsigned long overlaps;
	/* violations seen: their number, and the name of the last one */
	unsigned faults;
	const char *fault;
	/* private */
	int insend, inrecv;
	/* plain: sends are ordered one after the other, and so are receives, which a race checker verifies */
	unsigned long senders, receivers;
	unsigned lo, hi;
	void *strays;
	Client *next;
	unsigned char out[65537];	/* the tags in use */
};

/* Returns a Client with its fields filled and muxinit called. It exists until the process ends, because the
   original cannot free a Mux and its procs may still access it. */
Client *client_new(int fd, const Frame *, unsigned mintag, unsigned maxtag);
/* changes the range, as lib9pclient does for its version call */
void client_range(Client *, unsigned mintag, unsigned maxtag);
/* from now on recv returns NULL */
void client_hangup(Client *);
/* frees a Client whose Mux muxfree has ended */
void client_free(Client *);
/* reads a counter that the callbacks may be changing */
unsigned long client_count(const unsigned long *);
/* takes a new descriptor, while another task may be receiving from the old one */
void client_fd(Client *, int fd);
/* forgets the messages in transit and takes a new descriptor: the program has reconnected */
void client_reconnect(Client *, int fd);
/* one check: there was no violation */
int client_check(Client *, const char *what);
/* a violation seen by a test's own step */
void client_fault(Client *, const char *what);
/* frees the orphans; must be called while the Mux is idle */
void client_dropstrays(Client *);

/*
 * One blocking call: makes a request, calls, overwrites and frees the request, checks the reply and frees it.
 * Returns 1 for the right reply, 0 for NULL with errno of muxrpc, -1 for another call's or a damaged reply.
 */
int client_call(Client *, unsigned type, unsigned id, unsigned seq, size_t n);
/* the same by muxrpctimeout */
int client_callfor(Client *, unsigned type, unsigned id, unsigned seq, size_t n, int ms);
/* one non-blocking call with its request on the stack (n at most 256), which is overwritten on return */
Muxrpc *client_start(Client *, unsigned type, unsigned id, unsigned seq, size_t n);
/* muxrpccanfinish; the reply is checked and freed: 1 the right reply, 0 pending, -1 NULL, -2 a wrong reply */
int client_finish(Client *, Muxrpc *, unsigned type, unsigned id, unsigned seq, size_t n);
/* reads rpc->p as libdraw does: NULL, or the reply has arrived */
void *client_peek(Muxrpc *);

/* a task that makes one blocking call */
struct Caller {
	Client *c;
	unsigned type, id, seq;
	size_t n;
	const int *ms;	/* NULL, or the limit */
	int limit;
	int result;	/* as client_call's */
	int error;	/* errno after it */
	TaskEvent *done;
	Task *task;
};

void caller_start(Caller *, Client *, unsigned type, unsigned id, size_t n);
/* the same by muxrpctimeout */
void caller_startfor(Caller *, Client *, unsigned type, unsigned id, size_t n, int ms);
/* waits for its end; returns its result */
int caller_join(Caller *);

#endif
