/*
 * frame.h: the messages of the tests. A message begins with its size, four bytes, little endian, including these.
 * The Frame gives the places of the type and the tag, and the width of the tag. After the head come the numbers of
 * the caller and of the call, and a filling made of the two, which the reply contains in a changed form: so a reply
 * to another call, a request that is returned unchanged, and a request that was overwritten before it was sent are
 * all detected.
 */
#ifndef FRAME_H
#define FRAME_H 1
#include <stddef.h>

typedef struct Frame Frame;
struct Frame {
	unsigned typeat;
	unsigned tagat;
	unsigned tagbytes;
	unsigned head;	/* where the payload begins */
};

extern const Frame frame_9p;	/* a type, then a tag of two bytes */
extern const Frame frame_draw;	/* a tag of one byte, then a type */
extern const Frame frame_venti;	/* a type, then a tag of one byte */
extern const Frame frame_wide;	/* a type, then a tag of four bytes */

/* what the server does with the request (see server.h); the type of the reply is one more */
enum {
	T_ECHO = 100,	/* reply */
	T_NEVER = 102,	/* never reply */
	T_LATE = 104,	/* keep it; reply when a T_NOW arrives */
	T_NOW = 106,	/* reply to the kept requests, then to this one */
	T_TWICE = 108,	/* reply twice, the second time by an R_ORPHAN */
	T_UNKNOWN = 110,	/* first send an R_ORPHAN with an unused tag, then reply */
	T_EARLY = 112,	/* reply (with the minimum payload) before reading the whole request */
	T_CUT = 114,	/* send half a reply, and close */
	T_CLOSE = 116,	/* close */
	R_ORPHAN = 0xf1,	/* no call may ever get this message as its reply */
	R_NONSENSE = 0xf2	/* gettag returns -1 for this message */
};

/* the minimum payload: the numbers of the caller and of the call */
enum { PAYLOAD = 8 };

unsigned frame_size(const void *msg);
unsigned frame_type(const Frame *, const void *msg);
unsigned frame_tag(const Frame *, const void *msg);
void frame_settag(const Frame *, void *msg, unsigned tag);
/* the caller's number */
unsigned frame_id(const Frame *, const void *msg);
/* makes a request with n bytes of payload in buf, which has room for head + n; returns its size */
size_t frame_request(const Frame *, void *buf, unsigned type, unsigned id, unsigned seq, size_t n);
/* the same in memory of its own */
void *frame_new(const Frame *, unsigned type, unsigned id, unsigned seq, size_t n);
/* returns whether it is exactly the request that frame_request made, except for its tag */
int frame_isrequest(const Frame *, const void *msg, unsigned type, unsigned id, unsigned seq, size_t n);
/* turns a request into its reply, in place */
void frame_answer(const Frame *, void *msg);
/* returns whether it is the reply to that request */
int frame_isreply(const Frame *, const void *msg, unsigned type, unsigned id, unsigned seq, size_t n);
/* makes a message of a type and a tag with the minimum payload; returns its size */
size_t frame_stray(const Frame *, void *buf, unsigned type, unsigned tag);

#endif
