/*
 * forked.c: fork while other threads are inside the library and hold any locks. The child has none of these
 * threads. It makes a new Mux, also in the memory of an inherited one that was in use, with a connection of its
 * own, and everything works: calls by many threads, deadlines, procs, muxpollfd, muxfree. The child may free a Mux
 * that was not in use at the fork. It may also exec or _exit. The parent is not affected.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lib/tap.h"
#include "lib/toy.h"

enum { NTHREAD = 4, NCALL = 25, NFORK = 60 };

static Toy busy, idle;
static int stop;
static unsigned made, wrong;

/* the exit status of a child says what went wrong */
enum { FINE, REPLIES, LATE, NOPROCS, NOFD, NOTFREED, IDLE };

static void *
serve(void *v)
{
	toy_serve(v);
	return NULL;
}

static void *
hammer(void *v)
{
	unsigned i, n;

	(void)v;
	for (i = n = 0; !__atomic_load_n(&stop, __ATOMIC_SEQ_CST); i++) {
		if (toy_call(&busy, TOY_ECHO, i) != 1)
			__atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
		n++;
	}
	__atomic_add_fetch(&made, n, __ATOMIC_SEQ_CST);
	return NULL;
}

static void *
calls(void *v)
{
	unsigned i, good;

	for (i = good = 0; i < NCALL; i++)
		good += toy_call(v, TOY_ECHO, i) == 1;
	return good == NCALL ? v : NULL;
}

static int
many(Toy *t)
{
	pthread_t p[NTHREAD];
	int i, good;
	void *v;

	for (i = 0; i < NTHREAD; i++)
		if (pthread_create(&p[i], NULL, calls, t) != 0)
			return 0;
	for (i = good = 0; i < NTHREAD; i++) {
		pthread_join(p[i], &v);
		good += v == t;
	}
	return good == NTHREAD;
}

static int
anew(Toy *t)
{
	Toymsg late = {.op = TOY_NEVER}, now = {.op = TOY_ECHO, .value = 1};
	struct pollfd p;
	pthread_t server;
	Muxrpc *x;
	void *reply;

	toy_init(t, 0, 256, NULL, NULL);
	if (pthread_create(&server, NULL, serve, t) != 0 || !many(t))
		return REPLIES;
	errno = 0;
	if (muxrpctimeout(&t->mux, &late, 5) != NULL || errno != ETIMEDOUT)
		return LATE;
	errno = 0;
	muxprocs(&t->mux);
	if (errno != 0 || !many(t))
		return NOPROCS;
	p.fd = muxpollfd(&t->mux);
	p.events = POLLIN;
	x = muxrpcstart(&t->mux, &now);
	if (p.fd < 0 || x == NULL || poll(&p, 1, -1) != 1 || muxrpccanfinish(x, &reply) != 1 || reply == NULL)
		return NOFD;
	free(reply);
	shutdown(t->client, SHUT_RDWR);
	errno = 0;
	muxfree(&t->mux);
	pthread_join(server, NULL);
	toy_close(t);
	return errno == 0 ? FINE : NOTFREED;
}

static int
child(int n)
{
	static Toy mine;

	alarm(60);
	switch (n % 4) {
	case 0:
		return anew(&mine);
	case 1:
		/* its memory is lost; its callers, and the holders of its locks, are in another process */
		return anew(&busy);
	case 2:
		errno = 0;
		muxfree(&idle.mux);
		return errno == 0 ? anew(&idle) : IDLE;
	default:
		execl("/bin/true", "true", (char *)NULL);
		_exit(FINE);
	}
}

int
main(void)
{
	static const char *const what[4] = {"make a Mux", "make a new one in the memory of one that was in use", "free one that was not in use, and make it again",
	    "exec"};
	pthread_t server[2], t[NTHREAD];
	int i, n, status, good[4] = {0};
	pid_t pid;

	tap_start("forked", 120);
	toy_init(&busy, 0, 3, NULL, NULL);
	toy_init(&idle, 0, 3, NULL, NULL);
	if (pthread_create(&server[0], NULL, serve, &busy) != 0 || pthread_create(&server[1], NULL, serve, &idle) != 0)
		abort();
	tap_ok(toy_call(&idle, TOY_ECHO, 1) == 1 && muxpollfd(&idle.mux) >= 0, "two Muxes, one of them in use all the time");
	for (i = 0; i < NTHREAD; i++)
		if (pthread_create(&t[i], NULL, hammer, NULL) != 0)
			abort();
	for (n = 0; n < NFORK; n++) {
		pid = fork();
		if (pid == 0)
			_exit(child(n));
		status = -1;
		if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
			good[n % 4]++;
		else
			tap_note("child %d: status %#x", n, status);
	}
	for (i = 0; i < 4; i++)
		tap_ok(good[i] == NFORK / 4, "%d of %d children %s", good[i], NFORK / 4, what[i]);
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < NTHREAD; i++)
		pthread_join(t[i], NULL);
	tap_ok(made > 0 && wrong == 0, "meanwhile the parent has made %u calls, %u without replies", made, wrong);
	shutdown(busy.client, SHUT_RDWR);
	shutdown(idle.client, SHUT_RDWR);
	errno = 0;
	muxfree(&busy.mux);
	muxfree(&idle.mux);
	tap_ok(errno == 0, "the parent frees both");
	for (i = 0; i < 2; i++)
		pthread_join(server[i], NULL);
	toy_close(&busy);
	toy_close(&idle);
	return tap_end();
}
