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

/* a request: its caller's, who frees it as soon as he has control back */
struct Request {
	Call *call;
	unsigned tag;
	unsigned check;
};

struct Message {
	unsigned tag;
	Message *self;	/* as long as it is there */
	Call *owner;	/* whose it must be */
	int maybe;	/* some call's that has the tag, or nobody's */
	int looked;	/* gettag has been called for it */
	int number;
};

struct Call {
	int kind;
	int open;	/* its owner is inside, or has a Muxrpc */
	Request *request;
	Muxrpc *rpc;
	unsigned tag;
	int tagged;
	int holds;	/* the tag is its own: 2 that is so, 1 it may be */
	int sends;	/* how often its request was given to send */
	int insend;
	int sent;
	int failed;	/* what its settag or send left in errno when it failed */
	int lost;	/* sent, but the connection has ended meanwhile */
	int ended;	/* the connection has ended, and the call with it */
	int givenup;
	int asks;	/* its owner is in muxrpccanfinish */
	unsigned endsbefore, endsinsend, range;
	int64_t deadline;
	Message *reply;	/* the first that has come with its tag since it was sent */
	int read;	/* the server has it */
	/*
	 * Messages that came before it was seen to have a tag: who has the turn to send from the beginning is
	 * believed to be asking, so one with its tag is its reply, and its tag may be another's by now.
	 */
	Message *early[EARLY];
	int nearly;
	int foundnone;	/* all tags may have been in use since it began */
	int doubtful;	/* one of these had its tag */
};

typedef struct World World;
struct World {
	Mux mux;
	Call calls[NCALL];
	int ncall;
	Message *messages[NMESSAGE];
	int nmessage;
	/* what the server has written: nil is the end of the connection */
	Message *wire[NMESSAGE];
	int first, last;
	/* requests that the server has read, and not answered */
	Call *pending[NCALL];
	int npending;
	struct { unsigned min, max; } ranges[NRANGE];
	int nrange;
	unsigned ends;
	int hungup, shut, closing, closed;
	int insend, inrecv;
	/* receives at present, waits for room, by hand */
	int handwaits;
	int orphans;	/* whether there is a function for them, and how many have come without one */
	unsigned leaked, disposed;
	unsigned replies, cancelled, taken;
	int begunatleast;
	int batchloss;
	int callers;
};

extern World w;

/* callbacks.c: the program's functions, which do what the bytes say */
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
/* the connection has ended, as far as the library knows from now on */
void has_ended(void);
void seetags(void);
void message_free(Message *);
/* whether its tag is its own for sure */
int holds(Call *);

/* callers.c: what calls, and whether it got what it must */
void caller(void *);
void closer(void *);
void checkstats(int idle);
