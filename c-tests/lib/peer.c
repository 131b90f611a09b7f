/* peer.c: see peer.h */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "peer.h"
#include "tap.h"
#include "task.h"

Request
peer_read(int fd, const Frame *f)
{
	Request r;
	unsigned char *msg, size[4];
	size_t n;

	memset(&r, 0, sizeof r);
	if (task_readn(fd, size, 4) != 4)
		return r;
	n = frame_size(size);
	if (n < f->head + PAYLOAD || n > 1 << 24)
		return r;
	msg = malloc(n);
	if (msg == NULL)
		abort();
	memcpy(msg, size, 4);
	if (task_readn(fd, msg + 4, n - 4) == (long)(n - 4)) {
		r.type = frame_type(f, msg);
		r.tag = frame_tag(f, msg);
		r.n = n - f->head;
		r.id = frame_id(f, msg);
		memcpy(size, msg + f->head + 4, 4);
		r.seq = frame_size(size);
		r.good = frame_isrequest(f, msg, r.type, r.id, r.seq, r.n);
	}
	free(msg);
	return r;
}

int
peer_ready(int fd)
{
	return task_ready(fd);
}

void
peer_write(int fd, const void *buf, size_t n)
{
	if (task_writen(fd, buf, n) < 0)
		tap_ok(0, "the test can write to its own end of the connection");
}

void
peer_answer(int fd, const Frame *f, const Request *r)
{
	void *msg;

	msg = frame_new(f, r->type, r->id, r->seq, r->n);
	frame_settag(f, msg, r->tag);
	frame_answer(f, msg);
	peer_write(fd, msg, frame_size(msg));
	free(msg);
}

void
peer_stray(int fd, const Frame *f, unsigned type, unsigned tag)
{
	unsigned char buf[32];

	peer_write(fd, buf, frame_stray(f, buf, type, tag));
}

static FILE *captured;
static int olderr = -1;

void
quiet_start(void)
{
	/* a sanitizer's report must not be lost in the file */
	if (getenv("TAP_LOUD") != NULL)
		return;
	captured = tmpfile();
	if (captured == NULL)
		return;
	fflush(stderr);
	olderr = dup(2);
	dup2(fileno(captured), 2);
}

/*
 * Where tasks are threads, the only other threads are the library's procs, whose connections have ended by now.
 * Waits until they have ended, so that the leak checker does not find their stacks. Nothing else depends on it, so
 * it gives up after a while.
 */
static void
settle(void)
{
	DIR *d;
	struct dirent *e;
	int n, tries;

	if (strcmp(task_kind(), "pthread") != 0)
		return;
	for (tries = 0; tries < 200; tries++) {
		d = opendir("/proc/self/task");
		if (d == NULL)
			return;
		for (n = 0; (e = readdir(d)) != NULL;)
			n += e->d_name[0] != '.';
		closedir(d);
		if (n <= 1)
			return;
		poll(NULL, 0, 10);
	}
	tap_note("%d threads are left", n - 1);
}

int
quiet_end(void)
{
	char line[200];
	int n;

	settle();
	if (captured == NULL)
		return tap_ok(1, "descriptor 2 was not checked # SKIP");
	fflush(stderr);
	dup2(olderr, 2);
	close(olderr);
	rewind(captured);
	n = 0;
	while (fgets(line, sizeof line, captured) != NULL) {
		n++;
		tap_note("descriptor 2: %s", line);
	}
	fclose(captured);
	captured = NULL;
	return tap_ok(n == 0, "nothing was written to descriptor 2");
}
