/*
 * replay_venti.c: the way in which a client like libventi uses a Mux. Tags 0 to 255 in a single byte, no nbrecv,
 * one connection for very many callers. A 257th tag would be 0 again on the wire, and two callers would get each
 * other's blocks.
 */
#include <errno.h>
#include <stdlib.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

enum { NBLOCK = 400, ROUNDS = 3 };

static void
blocks(int procs)
{
	ServerPlan plan = {.frame = &frame_venti, .first = 256, .batch = 256, .seed = 1};
	Client *c;
	Server *s;
	Caller *a;
	unsigned i, round, good;
	int fd;

	a = calloc(NBLOCK, sizeof *a);
	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_venti, 0, 256);
	c->mux.nbrecv = NULL;
	if (procs)
		muxprocs(&c->mux);
	tap_note("%s: the server replies only when it has 256 requests", mode(procs));
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < NBLOCK; i++)
			caller_start(&a[i], c, T_ECHO, ID + i, 100 + i);
		for (i = good = 0; i < NBLOCK; i++)
			good += caller_join(&a[i]) == 1;
		tap_ok(good == NBLOCK, "%s: %d callers get their own blocks", mode(procs), NBLOCK);
	}
	client_check(c, mode(procs));
	client_hangup(c);
	tap_ok(server_join(s) == NBLOCK * ROUNDS, "%s: each block was requested once", mode(procs));
	free(a);
}

/* the connection ends while all callers wait, for replies or for tags: all of them return */
static void
gone(int procs)
{
	ServerPlan plan = {.frame = &frame_venti};
	Client *c;
	Server *s;
	Caller *a;
	unsigned i, good;
	int fd;

	a = calloc(NBLOCK, sizeof *a);
	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_venti, 0, 256);
	c->mux.nbrecv = NULL;
	if (procs)
		muxprocs(&c->mux);
	for (i = 0; i < NBLOCK; i++)
		caller_start(&a[i], c, T_NEVER, ID + i, N);
	/* that is the number of tags; the other callers wait for one */
	while (__atomic_load_n(&c->nsend, __ATOMIC_SEQ_CST) < 256)
		task_yield();
	client_hangup(c);
	for (i = good = 0; i < NBLOCK; i++)
		good += caller_join(&a[i]) == 0 && (a[i].error == ECONNRESET || a[i].error == EPIPE);
	tap_ok(good == NBLOCK, "%s: all %d calls end", mode(procs), NBLOCK);
	client_check(c, mode(procs));
	server_join(s);
	free(a);
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("replay_venti", 60);
	quiet_start();
	for (procs = 0; procs < 2; procs++) {
		blocks(procs);
		gone(procs);
	}
	quiet_end();
	return tap_end();
}
