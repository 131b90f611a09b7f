/*
 * frame.h: the messages of the tests.  A message begins with its size, four bytes, little endian,
 * its own included; where its type and its tag are, and how wide the tag is, is the frame's.  After
 * the head come the caller's number, the call's number, and a filling made of the two, which the
 * reply carries back changed: a reply in the wrong hands, a request sent back as it was, or one
 * that was scribbled upon before it was sent are all seen.
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

/* what the request asks of the server (see server.h); its reply's type is one more */
enum {
	T_ECHO = 100,	/* answer it */
	T_NEVER = 102,	/* never answer it */
	T_LATE = 104,	/* keep it; answer it when a T_NOW comes */
	T_NOW = 106,	/* answer what was kept, then this */
	T_TWICE = 108,	/* answer it, then once more, the second as an R_ORPHAN */
	T_UNKNOWN = 110,	/* first an R_ORPHAN with a tag that is nobody's, then the answer */
	T_EARLY = 112,	/* answer it (with the least payload) before reading it to its end */
	T_CUT = 114,	/* send half an answer, and close */
	T_CLOSE = 116,	/* close */
	R_ORPHAN = 0xf1,	/* no call may ever be given one of these */
	R_NONSENSE = 0xf2	/* and of this one gettag answers -1 */
};

/* the least payload: the caller's number and the call's */
enum { PAYLOAD = 8 };

unsigned frame_size(const void *msg);
unsigned frame_type(const Frame *, const void *msg);
unsigned frame_tag(const Frame *, const void *msg);
void frame_settag(const Frame *, void *msg, unsigned tag);
/* the caller's number */
unsigned frame_id(const Frame *, const void *msg);
/* makes a request with n bytes of payload in buf, which has room for head + n; answers its size */
size_t frame_request(const Frame *, void *buf, unsigned type, unsigned id, unsigned seq, size_t n);
/* the same in memory of its own */
void *frame_new(const Frame *, unsigned type, unsigned id, unsigned seq, size_t n);
/* whether it is the very request that frame_request made, but for its tag */
int frame_isrequest(const Frame *, const void *msg, unsigned type, unsigned id, unsigned seq, size_t n);
/* makes a request into its reply, where it lies */
void frame_answer(const Frame *, void *msg);
/* whether it is the reply to that request */
int frame_isreply(const Frame *, const void *msg, unsigned type, unsigned id, unsigned seq, size_t n);
/* makes a message of a type and a tag with the least payload; answers its size */
size_t frame_stray(const Frame *, void *buf, unsigned type, unsigned tag);

#endif
