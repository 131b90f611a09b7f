/*
 * plain_links.c: a program that has none of plan9port's functions links with the library, static and shared, and
 * works: the library only tests whether they exist.
 */
#define _GNU_SOURCE 1
#include "lib/tap.h"
#include "lib/toy.h"

#include <errno.h>
#include <string.h>

static void *
serve(void *v)
{
	toy_serve(v);
	return NULL;
}

int
main(void)
{
	static Toy toy;
	pthread_t t;
	int r;

	tap_start("plain_links", 10);
	toy_init(&toy, 0, 256, NULL, NULL);
	pthread_create(&t, NULL, serve, &toy);
	tap_ok(toy_call(&toy, TOY_ECHO, 41) == 1, "one call");
	tap_ok(toy_call(&toy, TOY_ECHO, 1) == 1, "one more call");
	r = toy_call(&toy, TOY_CLOSE, 0);
	tap_ok(r == 0 && errno == ECONNRESET, "the server hangs up: NULL, %s", strerror(errno));
	pthread_join(t, NULL);
	toy_close(&toy);
	return tap_end();
}
