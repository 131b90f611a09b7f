/*
 * world.h: one Mux, the calls on it, and the messages, as the program sees them.
 */
#include "tasks.h"

#include <mux.h>

enum { NCALL = 600, NMESSAGE = 3000, NRANGE = 64, EARLY = 16 };

typedef struct Call Call;
typedef struct Message Message;
typedef struct Request Request;

enum { RPC, TIMED, START, HAND };

/* a request; the caller frees it as soon as its call has returned */
struct Request {
	Call *call;
	unsigned tag;
	unsigned check;
};

struct Message {
	unsigned tag;
	Message *self;	/* as long as it exists */
	Call *owner;	/* the call to which it must be delivered */
	int maybe;	/* it belongs to a call with this tag, or is an orphan */
	int looked;	/* gettag has been called for it */
	int number;
};

struct Call {
	int kind;
	int open;	/* the owner is inside, or has a Muxrpc */
	Request *request;
	Muxrpc *rpc;
	unsigned tag;
	int tagged;
	int holds;	/* it has the tag: 2 certainly, 1 possibly */
	int sends;	/* how often its request was passed to send */
	int insend;
	int sent;
	int failed;	/* errno of its settag or send when it failed */
	int lost;	/* sent, but the connection has ended meanwhile */
	int ended;	/* the connection has ended, and the call with it */
	int givenup;
	int asks;	/* the owner is in muxrpccanfinish */
	unsigned endsbefore, endsinsend, range;
	int64_t deadline;
	Message *reply;	/* the first message with its tag since it was sent */
	int read;	/* the server has read it */
	/*
	 * Messages that arrived before its settag: a call that begins with the turn to send counts as sent, so a
	 * message with its tag is its reply, and another call may have the tag by now.
	 */
	Message *early[EARLY];
	int nearly;
	int foundnone;	/* all tags may have been in use since it began */
	int doubtful;	/* one of these messages had its tag */
};

typedef struct World World;
struct World {
	Mux mux;
	Call calls[NCALL];
	int ncall;
	Message *messages[NMESSAGE];
	int nmessage;
	/* messages that the server has written; NULL is the end of the connection */
	Message *wire[NMESSAGE];
	int first, last;
	/* requests that the server has read and not replied to */
	Call *pending[NCALL];
	int npending;
	struct { unsigned min, max; } ranges[NRANGE];
	int nrange;
	unsigned ends;
	int hungup, shut, closing, closed;
	int insend, inrecv;
	/* the current receiver, a sender that waits for room, tasks that receive by hand */
	int handwaits;
	int orphans;	/* whether an orphan function is set */
	unsigned leaked, disposed;
	unsigned replies, cancelled, taken;
	int begunatleast;
	int batchloss;
	int callers;
};

extern World w;

/* callbacks.c: the program's functions, controlled by the input */
int face_send(Mux *, void *);
void *face_recv(Mux *);
int face_nbrecv(Mux *, void **);
int face_gettag(Mux *, void *);
int face_settag(Mux *, void *, unsigned);
int face_sendv(Mux *, void **, int);
int face_recvv(Mux *, void **, int);
void face_orphan(Mux *, void *);
Message *write_message(unsigned tag);
void write_end(void);
void answer(unsigned which, int once);
/* from now on the library knows that the connection has ended */
void has_ended(void);
void seetags(void);
void message_free(Message *);
/* returns whether the call certainly has its tag */
int holds(Call *);

/* callers.c: calls and their checks */
void caller(void *);
void closer(void *);
void checkstats(int idle);
