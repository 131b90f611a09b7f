/*
 * server.h: a server in a plain thread, at the other end of a socket pair. The type of a request says what the
 * server does with it (frame.h). The plan says in which order the server replies, and how much it reads before
 * that.
 */
#ifndef SERVER_H
#define SERVER_H 1
#include "frame.h"

typedef struct Server Server;
typedef struct ServerPlan ServerPlan;

struct ServerPlan {
	const Frame *frame;
	/* Number of requests that get their replies together, or fewer if no more are available. The server writes
	   all these replies before it reads again, so with small sockets and large messages it reads only while its
	   output is read. 0 means 1. */
	unsigned batch;
	/* if not 0, the replies of a batch are shuffled */
	unsigned seed;
	/* the server does not reply before this number of requests has arrived */
	unsigned first;
	/* the server closes after this number of replies; 0 means never */
	unsigned closeafter;
	/* the tag of the R_ORPHAN that T_UNKNOWN causes */
	unsigned strangetag;
	/* if not 0, the sockets have small buffers */
	int small;
};

/* a connected pair, with small buffers if requested; never fails (a failure ends the test) */
void server_pair(int fd[2], int small);
/* starts a server; *fd is the client's end */
Server *server_start(const ServerPlan *, int *fd);
/* waits for the server's end, which comes when the client's end is shut down; returns the number of requests that
   the server has read */
unsigned long server_join(Server *);

#endif
