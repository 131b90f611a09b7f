/*
 * dropped.c: a Mux that is used and then dropped, its memory freed while idle, as in every program that was written
 * for plan9port. At most the tables of its tags are lost, which dropped.supp names; anything else is a leak, and a
 * later access to the memory of the Mux is a fault.
 */
#include "lib/tap.h"
#include "lib/toy.h"

#include <stdlib.h>
#include <string.h>

enum { NMUX = 8, NCALL = 20 };

static void *
serve(void *v)
{
	toy_serve(v);
	return NULL;
}

/* a non-blocking call, collected */
static int
nbcall(Toy *t)
{
	Toymsg m;
	Muxrpc *rpc;
	void *reply;
	int r;

	m.op = TOY_ECHO;
	m.value = 1;
	rpc = muxrpcstart(&t->mux, &m);
	if (rpc == NULL)
		return 0;
	while ((r = muxrpccanfinish(rpc, &reply)) == 0)
		;
	free(reply);
	return r == 1 && reply != NULL;
}

static int
life(void)
{
	pthread_t server;
	Toy *t;
	unsigned i;
	int good;

	t = malloc(sizeof *t);
	/* muxinit must accept garbage */
	memset(t, 0xa5, sizeof *t);
	toy_init(t, 0, 256, NULL, NULL);
	pthread_create(&server, NULL, serve, t);
	for (good = 0, i = 0; i < NCALL; i++)
		good += toy_call(t, TOY_ECHO, i) == 1;
	good += nbcall(t);
	toy_call(t, TOY_CLOSE, 0);
	pthread_join(server, NULL);
	toy_close(t);
	memset(t, 0x5a, sizeof *t);
	free(t);
	return good == NCALL + 1;
}

int
main(void)
{
	int i;

	tap_start("dropped", 20);
	for (i = 0; i < NMUX; i++)
		tap_ok(life(), "a Mux is made, used and dropped");
	return tap_end();
}
