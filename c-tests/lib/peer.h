/*
 * peer.h: the other end of a connection, controlled by the test itself, which thereby decides the order of all
 * events: it reads and writes at chosen moments.
 */
#ifndef PEER_H
#define PEER_H 1
#include "frame.h"

typedef struct Request Request;
struct Request {
	unsigned type, id, seq, tag;
	size_t n;
	int good;	/* it is exactly as frame_request made it */
};

/* waits for the next request; good is 0 at the end of the connection, too */
Request peer_read(int fd, const Frame *);
/* whether a request can be read without waiting */
int peer_ready(int fd);
/* the reply to it */
void peer_answer(int fd, const Frame *, const Request *);
/* a message of that type and tag, which is no reply */
void peer_stray(int fd, const Frame *, unsigned type, unsigned tag);
/* raw bytes */
void peer_write(int fd, const void *, size_t);

/* From quiet_start to quiet_end, output to descriptor 2 goes into a file. quiet_end checks that the file is empty:
   the library writes to no descriptor. quiet_end is a test's last step, and also waits for procs that are still
   ending. */
void quiet_start(void);
int quiet_end(void);

#endif
