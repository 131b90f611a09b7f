/*
 * coro_werrstr.c: the error texts of a program that has werrstr. When a call fails, the library calls werrstr last,
 * so errno is its mark. The text ends with the cause, which is the text that a callback has passed to werrstr, or
 * else the text of errno. A cause is text, never a format.
 */
#define _GNU_SOURCE 1
#include "lib/coro.h"
#include "lib/tap.h"
#include "lib/toy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static Toy toy;
static unsigned op = TOY_ECHO;
static const char *says;	/* the text that the callback passes to werrstr; NULL: none */
static int leaves;		/* the errno that it sets instead; < 0: none */

static int
fail(Toy *t, Toymsg *m)
{
	(void)t;
	(void)m;
	coro_yield();
	if (says != NULL)
		werrstr("%s", says);
	else if (leaves >= 0)
		errno = leaves;
	return -1;
}

/* one failing call, blocking or not */
static void
check(int blocking, const char *what, const char *cause)
{
	char text[300];
	unsigned long calls;
	int r, err;
	Toymsg m;

	calls = coro_errstr(text, sizeof text);
	memset(&m, 0, sizeof m);
	errno = ENOENT;	/* an old errno, not the cause */
	r = blocking ? toy_call(&toy, op, 5) != 0 : muxrpcstart(&toy.mux, &m) != NULL;
	err = errno;
	tap_ok(r == 0 && err == CORO_ERRMARK, "%s: NULL, and errno is werrstr's mark (%#x)", what, (unsigned)err);
	tap_ok(coro_errstr(text, sizeof text) > calls && strncmp(text, "mux: ", 5) == 0
		&& strlen(text) > strlen(cause) && strcmp(text + strlen(text) - strlen(cause), cause) == 0,
		"%s: the text ends in the cause: %s", what, text);
}

static void
both(const char *where, const char *cause)
{
	char what[100];

	snprintf(what, sizeof what, "muxrpc, %s", where);
	check(1, what, cause);
	snprintf(what, sizeof what, "muxrpcstart, %s", where);
	check(0, what, cause);
}

static void
causes(const char *where)
{
	char what[100];

	says = "disk on fire";
	both(where, says);
	snprintf(what, sizeof what, "%s, a cause like a format", where);
	says = "100% %s %d %n sure";
	both(what, says);
	snprintf(what, sizeof what, "%s, errno only", where);
	says = NULL;
	leaves = ENOSPC;
	both(what, strerror(ENOSPC));
	snprintf(what, sizeof what, "%s, no cause", where);
	leaves = 0;
	both(what, strerror(EIO));
	snprintf(what, sizeof what, "%s, errno untouched", where);
	leaves = -1;
	both(what, strerror(EIO));
}

/* it has no proc (see foreign.c), but werrstr works in any thread */
static void *
foreign(void *v)
{
	check(1, "a pthread that is no proc", "the caller is not a thread of libthread");
	if (write(((int *)v)[1], "", 1) != 1)
		_exit(1);
	return NULL;
}

static void
test_foreign(void)
{
	pthread_t t;
	int done[2];
	char c;

	if (pipe(done) != 0 || pthread_create(&t, NULL, foreign, done) != 0)
		_exit(1);
	coro_readn(done[0], &c, 1);
	pthread_join(t, NULL);
	close(done[0]);
	close(done[1]);
}

static int
run(void *v)
{
	unsigned long calls;
	char text[300];

	(void)v;
	toy_init(&toy, 0, 256, coro_readn, coro_writen);
	coro_start(0, toy_serve, &toy);
	tap_ok(toy_call(&toy, TOY_ECHO, 1) == 1 && coro_errstr(text, sizeof text) == 0, "a successful call sets no error text");
	toy.sending = fail;
	causes("send");
	toy.sending = NULL;
	toy.tagging = fail;
	causes("settag");
	toy.tagging = NULL;
	calls = coro_errstr(text, sizeof text);
	tap_ok(toy_call(&toy, TOY_ECHO, 1) == 1 && coro_errstr(text, sizeof text) == calls, "a later call succeeds");
	toy.mux.maxtag = 0;
	both("no tags", "maxtag is not above mintag");
	toy.mux.maxtag = 256;
	test_foreign();
	werrstr("an old error text");
	op = TOY_CLOSE;
	check(1, "the connection ends", "the connection has ended");
	check(1, "without a new connection", strerror(EPIPE));
	while (!toy_served(&toy))
		coro_yield();
	toy_close(&toy);
	return tap_end();
}

int
main(void)
{
	tap_start("coro_werrstr", 20);
	return coro_run(1, run, NULL);
}
