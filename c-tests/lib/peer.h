/*
 * peer.h: the other end of a connection, played by the test itself, which so decides in what order
 * everything happens: it reads a request when it wants to, and writes what it wants when it wants to.
 */
#ifndef PEER_H
#define PEER_H 1
#include "frame.h"

typedef struct Request Request;
struct Request {
	unsigned type, id, seq, tag;
	size_t n;
	int good;	/* it is as frame_request made it */
};

/* waits for the next request; good is 0 at the end of the connection too */
Request peer_read(int fd, const Frame *);
/* whether there is one to be read, at once */
int peer_ready(int fd);
/* the reply to it */
void peer_answer(int fd, const Frame *, const Request *);
/* a message of that type and tag that answers nothing */
void peer_stray(int fd, const Frame *, unsigned type, unsigned tag);
/* raw bytes */
void peer_write(int fd, const void *, size_t);

/* what is written to descriptor 2 goes into a file from here on, until quiet_end, which checks
   that there was nothing: the library writes to no descriptor.  quiet_end is a test's last step: the
   procs that are still on their way out are seen off by it. */
void quiet_start(void);
int quiet_end(void);

#endif
