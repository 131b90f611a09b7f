/* toy.c: see toy.h */
#define _GNU_SOURCE 1
#include "toy.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static long
blockread(int fd, void *buf, size_t n)
{
	return recv(fd, buf, n, MSG_WAITALL);
}

static long
blockwrite(int fd, const void *buf, size_t n)
{
	return send(fd, buf, n, MSG_NOSIGNAL);
}

static int
tsend(Mux *mux, void *v)
{
	Toy *t;

	t = mux->aux;
	if (t->sending != NULL && t->sending(t, v) < 0)
		return -1;
	return t->writen(t->client, v, sizeof(Toymsg)) < 0 ? -1 : 0;
}

static void *
trecv(Mux *mux)
{
	Toy *t;
	Toymsg *m;

	t = mux->aux;
	if (t->receiving != NULL && t->receiving(t) < 0)
		return NULL;
	m = malloc(sizeof *m);
	if (m != NULL && t->readn(t->client, m, sizeof *m) == sizeof *m)
		return m;
	free(m);
	return NULL;
}

static int
tnbrecv(Mux *mux, void **reply)
{
	struct pollfd x;
	Toy *t;

	t = mux->aux;
	*reply = NULL;
	x.fd = t->client;
	x.events = POLLIN;
	if (poll(&x, 1, 0) <= 0)
		return 0;
	*reply = trecv(mux);
	return 1;
}

static int
tgettag(Mux *mux, void *v)
{
	(void)mux;
	return (int)((Toymsg *)v)->tag;
}

static int
tsettag(Mux *mux, void *v, unsigned tag)
{
	Toy *t;

	t = mux->aux;
	if (t->tagging != NULL && t->tagging(t, v) < 0)
		return -1;
	((Toymsg *)v)->tag = tag;
	return 0;
}

void
toy_connect(Toy *t)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) != 0) {
		perror("socketpair");
		_exit(1);
	}
	t->client = fd[0];
	t->server = fd[1];
	__atomic_store_n(&t->served, 0, __ATOMIC_SEQ_CST);
}

void
toy_close(Toy *t)
{
	close(t->client);
	close(t->server);
}

void
toy_init(Toy *t, unsigned mintag, unsigned maxtag, long (*readn)(int, void *, size_t),
	long (*writen)(int, const void *, size_t))
{
	t->mux.mintag = mintag;
	t->mux.maxtag = maxtag;
	t->mux.send = tsend;
	t->mux.recv = trecv;
	t->mux.nbrecv = tnbrecv;
	t->mux.gettag = tgettag;
	t->mux.settag = tsettag;
	t->mux.aux = t;
	t->readn = readn != NULL ? readn : blockread;
	t->writen = writen != NULL ? writen : blockwrite;
	t->tagging = t->sending = NULL;
	t->receiving = NULL;
	toy_connect(t);
	muxinit(&t->mux);
}

void
toy_serve(void *v)
{
	Toy *t;
	Toymsg m;

	t = v;
	while (t->readn(t->server, &m, sizeof m) == sizeof m) {
		if (m.op == TOY_CLOSE)
			break;
		if (m.op == TOY_NEVER)
			continue;
		m.value++;
		if (t->writen(t->server, &m, sizeof m) < 0)
			break;
	}
	shutdown(t->server, SHUT_RDWR);
	__atomic_store_n(&t->served, 1, __ATOMIC_SEQ_CST);
}

int
toy_served(Toy *t)
{
	return __atomic_load_n(&t->served, __ATOMIC_SEQ_CST);
}

static int
made(Toy *t, unsigned op, unsigned value, int ms)
{
	Toymsg *m, *r;
	int good, err;

	m = malloc(sizeof *m);
	if (m == NULL)
		return -1;
	m->op = op;
	m->value = value;
	r = ms == TOY_RPC ? muxrpc(&t->mux, m) : muxrpctimeout(&t->mux, m, ms);
	err = errno;
	/* it is not used any more */
	memset(m, 0xaa, sizeof *m);
	free(m);
	good = r == NULL ? 0 : r->op == op && r->value == value + 1 ? 1 : -1;
	free(r);
	errno = err;
	return good;
}

int
toy_call(Toy *t, unsigned op, unsigned value)
{
	return made(t, op, value, TOY_RPC);
}

int
toy_callfor(Toy *t, unsigned op, unsigned value, int ms)
{
	errno = 0;
	return made(t, op, value, ms);
}
