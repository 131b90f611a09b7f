/*
 * client.h: the callbacks that the tests share, over a descriptor, and what they watch while they
 * run: that no two sends and no two receives are ever in at once, that every tag lies in its range
 * and is nobody else's.  A test may put a step of its own into any of them.
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
	void *own;	/* the test's */
	/* The test's own steps; nil is none.  In send before it writes and when it has written: < 0
	   makes it fail, with the errno that the step left.  In recv and nbrecv before they read:
	   < 0 makes them answer the end of the connection.  In settag: < 0 fails. */
	int (*sending)(Client *, void *msg);
	int (*sent)(Client *, void *msg);
	int (*receiving)(Client *, int canblock);
	int (*tagging)(Client *, void *msg, unsigned tag);
	/* how often each was called */
	unsigned long nsend, nrecv, nnbrecv, nsettag, ngettag;
	/* how often one side was found in while the other was entered */
	unsigned long overlaps;
	/* what was seen that may not be: how often, and the last one's name */
	unsigned faults;
	const char *fault;
	/* private */
	int insend, inrecv;
	/* plain: one send comes after another, and so does one recv or nbrecv, for a checker of races too */
	unsigned long senders, receivers;
	unsigned lo, hi;
	void *strays;
	Client *next;
	unsigned char out[65537];	/* the tags that are on their way */
};

/* a Client with its fields filled and muxinit called; it stays until the process ends, since the
   original has no way to take a Mux apart and what procs there are may still look at it */
Client *client_new(int fd, const Frame *, unsigned mintag, unsigned maxtag);
/* changes the range, as lib9pclient does for its version call */
void client_range(Client *, unsigned mintag, unsigned maxtag);
/* from here on recv answers nil */
void client_hangup(Client *);
/* frees one whose Mux muxfree has ended */
void client_free(Client *);
/* how often so far, while others may be in the callbacks */
unsigned long client_count(const unsigned long *);
/* takes a new descriptor, while another may be receiving from the old one */
void client_fd(Client *, int fd);
/* forgets what was on its way and takes a new descriptor: the program has reconnected */
void client_reconnect(Client *, int fd);
/* one check: nothing was seen that may not be */
int client_check(Client *, const char *what);
/* a fault that a test's own step has seen */
void client_fault(Client *, const char *what);
/* frees the messages that were nobody's; call it when the Mux is idle */
void client_dropstrays(Client *);

/*
 * One blocking call: makes a request, calls, scribbles on the request and frees it, checks the reply and
 * frees it.  1: the right reply; 0: nil, errno is muxrpc's; -1: somebody else's or a damaged reply.
 */
int client_call(Client *, unsigned type, unsigned id, unsigned seq, size_t n);
/* the same by muxrpctimeout */
int client_callfor(Client *, unsigned type, unsigned id, unsigned seq, size_t n, int ms);
/* one non-blocking call, its request on the stack (n at most 256) and scribbled upon on return */
Muxrpc *client_start(Client *, unsigned type, unsigned id, unsigned seq, size_t n);
/* muxrpccanfinish with the reply checked and freed: 1 the right reply, 0 pending, -1 nil, -2 a wrong reply */
int client_finish(Client *, Muxrpc *, unsigned type, unsigned id, unsigned seq, size_t n);
/* what libdraw does with rpc->p: nil, or the reply is there */
void *client_peek(Muxrpc *);

/* a task that makes one blocking call */
struct Caller {
	Client *c;
	unsigned type, id, seq;
	size_t n;
	const int *ms;	/* nil, or the limit */
	int limit;
	int result;	/* as client_call's */
	int error;	/* errno after it */
	TaskEvent *done;
	Task *task;
};

void caller_start(Caller *, Client *, unsigned type, unsigned id, size_t n);
/* the same by muxrpctimeout */
void caller_startfor(Caller *, Client *, unsigned type, unsigned id, size_t n, int ms);
/* waits for its end; answers its result */
int caller_join(Caller *);

#endif
