/*
 * server.h: a server in a plain thread of its own, at the other end of a socket pair.  What it does
 * with a request the request's type says (frame.h); in what order it answers, and how much it reads
 * before it does, the plan says.
 */
#ifndef SERVER_H
#define SERVER_H 1
#include "frame.h"

typedef struct Server Server;
typedef struct ServerPlan ServerPlan;

struct ServerPlan {
	const Frame *frame;
	/* requests are answered this many at a time, or as many as there are; it writes all those
	   answers before it reads again, so with a small socket and big messages it is a server that
	   does not listen until it has been listened to.  0 is the same as 1: each at once. */
	unsigned batch;
	/* not 0: the answers of a batch are shuffled */
	unsigned seed;
	/* nothing is answered before so many requests are there */
	unsigned first;
	/* it closes after so many answers; 0 never */
	unsigned closeafter;
	/* the tag of an R_ORPHAN that a T_UNKNOWN brings */
	unsigned strangetag;
	/* not 0: the sockets hold little */
	int small;
};

/* a connected pair whose ends hold little if asked; never fails (a failure ends the test) */
void server_pair(int fd[2], int small);
/* starts one; *fd is the client's end */
Server *server_start(const ServerPlan *, int *fd);
/* waits until it has ended, which it does when the client's end is shut, and answers how many requests
   it has read */
unsigned long server_join(Server *);

#endif
