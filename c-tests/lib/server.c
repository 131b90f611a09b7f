/* server.c: see server.h. It blocks only in read and write, so it needs nothing from the tasks. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "server.h"

struct Server {
	ServerPlan plan;
	pthread_t thread;
	int fd;
	unsigned rand;
	unsigned long nread, nwritten;
	void **batch, **late;
	unsigned nbatch, nlate, maxbatch, maxlate;
	int closed;
};

static void
die(const char *what)
{
	/* the environment of the test is broken, which says nothing about the library */
	perror(what);
	exit(1);
}

static int
readall(int fd, void *buf, size_t n)
{
	char *p;
	ssize_t m;

	for (p = buf; n > 0; p += m, n -= (size_t)m) {
		m = read(fd, p, n);
		if (m < 0 && errno == EINTR)
			m = 0;
		else if (m <= 0)
			return -1;
	}
	return 0;
}

static int
writeall(int fd, const void *buf, size_t n)
{
	const char *p;
	ssize_t m;

	for (p = buf; n > 0; p += m, n -= (size_t)m) {
		m = write(fd, p, n);
		if (m < 0 && errno == EINTR)
			m = 0;
		else if (m <= 0)
			return -1;
	}
	return 0;
}

static void
push(void ***list, unsigned *n, unsigned *max, void *msg)
{
	if (*n == *max) {
		*max = *max * 2 + 16;
		*list = realloc(*list, *max * sizeof **list);
		if (*list == NULL)
			die("server");
	}
	(*list)[(*n)++] = msg;
}

static void
shut(Server *s)
{
	if (!s->closed)
		close(s->fd);
	s->closed = 1;
}

static void
put(Server *s, const void *msg, size_t n)
{
	if (!s->closed && writeall(s->fd, msg, n) < 0)
		shut(s);
}

static void
stray(Server *s, unsigned tag)
{
	unsigned char buf[32];

	put(s, buf, frame_stray(s->plan.frame, buf, R_ORPHAN, tag));
}

static void
answer(Server *s, void *msg)
{
	const Frame *f;
	unsigned type, tag;

	f = s->plan.frame;
	type = frame_type(f, msg);
	tag = frame_tag(f, msg);
	frame_answer(f, msg);
	if (type == T_UNKNOWN)
		stray(s, s->plan.strangetag);
	if (type == T_CUT) {
		put(s, msg, f->head + 1);
		shut(s);
	} else
		put(s, msg, frame_size(msg));
	if (type == T_TWICE)
		stray(s, tag);
	free(msg);
	s->nwritten++;
	if (s->plan.closeafter != 0 && s->nwritten == s->plan.closeafter)
		shut(s);
}

/* replies to a request whose end has not been read, from its beginning; then reads the rest and discards it */
static int
answerearly(Server *s, unsigned char *msg, unsigned size)
{
	unsigned char reply[32];
	const Frame *f;

	f = s->plan.frame;
	memcpy(reply, msg, f->head + PAYLOAD);
	reply[0] = (unsigned char)(f->head + PAYLOAD);
	reply[1] = reply[2] = reply[3] = 0;
	frame_answer(f, reply);
	put(s, reply, f->head + PAYLOAD);
	s->nwritten++;
	return readall(s->fd, msg + f->head + PAYLOAD, size - f->head - PAYLOAD);
}

/* reads one request and stores it; returns -1 at the end of the connection */
static int
take(Server *s)
{
	const Frame *f;
	unsigned char head[32], *msg;
	unsigned i, size, least;

	f = s->plan.frame;
	least = f->head + PAYLOAD;
	if (readall(s->fd, head, least) < 0)
		return -1;
	size = frame_size(head);
	if (size < least || size > 1 << 24)
		return -1;
	msg = malloc(size);
	if (msg == NULL)
		die("server");
	memcpy(msg, head, least);
	s->nread++;
	if (frame_type(f, msg) == T_EARLY) {
		i = answerearly(s, msg, size) < 0;
		free(msg);
		return i ? -1 : 0;
	}
	if (readall(s->fd, msg + least, size - least) < 0) {
		free(msg);
		return -1;
	}
	switch (frame_type(f, msg)) {
	case T_CLOSE:
		free(msg);
		return -1;
	case T_NEVER:
		free(msg);
		return 0;
	case T_LATE:
		push(&s->late, &s->nlate, &s->maxlate, msg);
		return 0;
	case T_NOW:
		for (i = 0; i < s->nlate; i++)
			push(&s->batch, &s->nbatch, &s->maxbatch, s->late[i]);
		s->nlate = 0;
		break;
	}
	push(&s->batch, &s->nbatch, &s->maxbatch, msg);
	return 0;
}

static unsigned
below(Server *s, unsigned n)
{
	s->rand = s->rand * 1664525u + 1013904223u;
	return (s->rand >> 8) % n;
}

static void
flush(Server *s)
{
	unsigned i, j;
	void *msg;

	if (s->plan.seed != 0)
		for (i = s->nbatch; i > 1; i--) {
			j = below(s, i);
			msg = s->batch[i - 1];
			s->batch[i - 1] = s->batch[j];
			s->batch[j] = msg;
		}
	for (i = 0; i < s->nbatch; i++)
		answer(s, s->batch[i]);
	s->nbatch = 0;
}

/* a short wait makes larger batches; no result depends on it */
static int
more(int fd)
{
	struct pollfd p;

	p.fd = fd;
	p.events = POLLIN;
	return poll(&p, 1, 1) > 0;
}

static void *
serve(void *v)
{
	Server *s;
	unsigned i;
	int hold;

	s = v;
	while (!s->closed) {
		if (take(s) < 0)
			break;
		hold = s->nread < s->plan.first;
		if (hold)
			continue;
		while (s->nbatch < s->plan.batch && more(s->fd))
			if (take(s) < 0)
				goto end;
		flush(s);
	}
end:
	shut(s);
	for (i = 0; i < s->nbatch; i++)
		free(s->batch[i]);
	for (i = 0; i < s->nlate; i++)
		free(s->late[i]);
	free(s->batch);
	free(s->late);
	return NULL;
}

void
server_pair(int fd[2], int small)
{
	int i, n;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0)
		die("socketpair");
	for (i = 0; small && i < 2; i++) {
		n = 4096;
		setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &n, sizeof n);
		setsockopt(fd[i], SOL_SOCKET, SO_RCVBUF, &n, sizeof n);
	}
}

Server *
server_start(const ServerPlan *plan, int *clientfd)
{
	Server *s;
	int fd[2];

	s = calloc(1, sizeof *s);
	if (s == NULL)
		die("server");
	s->plan = *plan;
	s->rand = plan->seed;
	server_pair(fd, plan->small);
	s->fd = fd[1];
	*clientfd = fd[0];
	if (pthread_create(&s->thread, NULL, serve, s) != 0)
		die("server");
	return s;
}

unsigned long
server_join(Server *s)
{
	unsigned long n;

	pthread_join(s->thread, NULL);
	n = s->nread;
	free(s);
	return n;
}
