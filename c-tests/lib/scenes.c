/* scenes.c: the scenes; see scene.h */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "scene.h"
#include "fault.h"

enum { LONG = 600000, MANY = 36 };

/* Makes the server send the replies that it has kept. If no call can be sent, the connection is closed instead, so
   that no caller waits forever. */
static void
release(Run *r)
{
	unsigned before, i;

	for (i = 0; i < 3; i++) {
		before = r->good;
		scene_call(r, T_NOW, 900 + i, -1);
		if (r->good > before)
			return;
	}
	scene_break(r);
}

static void
rpc(Run *r)
{
	unsigned i;

	for (i = 0; i < 3; i++)
		scene_call(r, T_ECHO, 1 + i, -1);
}

static void
three(Run *r, unsigned i)
{
	unsigned j;

	for (j = 0; j < 3; j++)
		scene_call(r, T_ECHO, 10 * i + j, -1);
}

static void
many(Run *r)
{
	scene_tasks(r, 5, three);
}

static void
mixed(Run *r, unsigned i)
{
	Muxrpc *x, *y;

	if (i % 2 == 0) {
		three(r, i);
		return;
	}
	x = scene_start(r, T_ECHO, 10 * i);
	y = scene_start(r, T_ECHO, 10 * i + 1);
	scene_finish(r, y, T_ECHO, 10 * i + 1);
	scene_finish(r, x, T_ECHO, 10 * i);
}

static void
start(Run *r)
{
	Muxrpc *x[6];
	unsigned i;

	for (i = 0; i < 6; i++)
		x[i] = scene_start(r, T_ECHO, 1 + i);
	for (i = 0; i < 6; i++)
		scene_finish(r, x[5 - i], T_ECHO, 6 - i);
}

static void
both(Run *r)
{
	scene_tasks(r, 4, mixed);
}

static void
timed(Run *r, unsigned i)
{
	scene_call(r, T_ECHO, 10 * i, LONG);
	if (i % 2 == 0)
		scene_call(r, T_NEVER, 10 * i + 1, 2);
	scene_call(r, T_ECHO, 10 * i + 2, LONG);
}

static void
deadlines(Run *r)
{
	scene_tasks(r, 4, timed);
}

static void
cancel(Run *r)
{
	Muxrpc *x[4];
	unsigned i;

	for (i = 0; i < 4; i++)
		x[i] = scene_start(r, T_LATE, 1 + i);
	for (i = 0; i < 3; i++)
		if (x[i] != NULL)
			muxrpccancel(x[i]);
	release(r);
	scene_finish(r, x[3], T_LATE, 4);
}

static void
orphans(Run *r)
{
	scene_call(r, T_UNKNOWN, 1, -1);
	scene_call(r, T_TWICE, 2, -1);
	scene_call(r, T_UNKNOWN, 3, -1);
	scene_finish(r, scene_start(r, T_TWICE, 4), T_TWICE, 4);
}

static void
fewtags(Run *r, unsigned i)
{
	switch (i) {
	case 0:
		scene_finish(r, scene_start(r, T_ECHO, 1), T_ECHO, 1);
		break;
	case 1:
		scene_call(r, T_ECHO, 10, LONG);
		scene_call(r, T_ECHO, 11, LONG);
		break;
	default:
		scene_call(r, T_ECHO, 10 * i, -1);
		scene_call(r, T_ECHO, 10 * i + 1, -1);
	}
}

static void
tags(Run *r)
{
	client_range(r->c, 0, 2);
	scene_tasks(r, 5, fewtags);
}

/* the tables grow */
static void
grow(Run *r)
{
	Muxrpc *x[MANY];
	unsigned i;

	for (i = 0; i < MANY; i++)
		x[i] = scene_start(r, T_LATE, 1 + i);
	release(r);
	for (i = 0; i < MANY; i++)
		scene_finish(r, x[i], T_LATE, 1 + i);
}

/* calls with tags of earlier ranges: these are stored one by one */
static void
ranges(Run *r)
{
	static const unsigned min[6] = {0, 100, 1, 101, 0, 50};
	Muxrpc *x[12];
	unsigned i;

	for (i = 0; i < 12; i++) {
		if (i % 2 == 0)
			client_range(r->c, min[i / 2], min[i / 2] + 20);
		x[i] = scene_start(r, T_LATE, 1 + i);
	}
	client_range(r->c, 0, 256);
	release(r);
	for (i = 0; i < 12; i++)
		scene_finish(r, x[i], T_LATE, 1 + i);
}

static void
waiter(void *v)
{
	scene_call(v, T_ECHO, 50, -1);
}

/* A caller waits for a tag when the range changes: memory is needed when the only reply arrives that could wake it. */
static void
waits(Run *r)
{
	unsigned char now[64];
	Muxstats s;
	Muxrpc *x;
	Task *t;

	client_range(r->c, 0, 1);
	x = scene_start(r, T_LATE, 1);
	t = task_start(waiter, r);
	s.size = sizeof s;
	do {
		task_yield();
		muxstats(&r->c->mux, &s);
	} while (s.tagwaits == 0);
	client_range(r->c, 100, 101);
	r->arm(r);
	/* by hand, because there is no tag; its reply is an orphan */
	frame_request(r->c->frame, now, T_NOW, 2, 2, PAYLOAD);
	frame_settag(r->c->frame, now, 0xfff0);
	task_writen(r->c->fd, now, frame_size(now));
	scene_finish(r, x, T_LATE, 1);
	task_join(t);
}

typedef struct Blocked Blocked;
struct Blocked {
	Run *r;
	unsigned id;
	int ms;
	int over;
	Task *task;
};

static void
blocks(void *v)
{
	Blocked *b;

	b = v;
	scene_call(b->r, T_NEVER, b->id, b->ms);
	__atomic_store_n(&b->over, 1, __ATOMIC_SEQ_CST);
}

/* starts calls that wait for replies that never arrive, and waits until each has begun or has been refused */
static void
block(Run *r, Blocked *b, unsigned n)
{
	unsigned long before;
	unsigned i;
	Muxstats s;

	s.size = sizeof s;
	for (i = 0; i < n; i++) {
		muxstats(&r->c->mux, &s);
		before = s.calls;
		b[i].r = r;
		b[i].id = 60 + i;
		b[i].ms = i % 2 == 0 ? -1 : LONG;
		b[i].over = 0;
		b[i].task = task_start(blocks, &b[i]);
		do {
			task_yield();
			muxstats(&r->c->mux, &s);
		} while (s.calls == before && !__atomic_load_n(&b[i].over, __ATOMIC_SEQ_CST));
	}
}

static void
freed(Run *r)
{
	Blocked b[3];
	unsigned i;

	scene_start(r, T_ECHO, 1);
	scene_start(r, T_ECHO, 2);
	scene_call(r, T_ECHO, 3, -1);
	scene_start(r, T_NEVER, 4);
	block(r, b, 3);
	scene_free(r);
	for (i = 0; i < 3; i++)
		task_join(b[i].task);
	scene_connect(r);
	scene_again(r);
	rpc(r);
}

static void
hungup(Run *r)
{
	Blocked b[3];
	Muxrpc *x;
	unsigned i;

	x = scene_start(r, T_NEVER, 1);
	block(r, b, 3);
	scene_break(r);
	muxhangup(&r->c->mux);
	for (i = 0; i < 3; i++)
		task_join(b[i].task);
	scene_finish(r, x, T_NEVER, 1);
	scene_call(r, T_ECHO, 2, -1);
	scene_free(r);
	scene_connect(r);
	scene_again(r);
	rpc(r);
}

static void
byhand(Run *r, unsigned id)
{
	unsigned char msg[64];
	void *reply;
	int other;

	frame_request(r->c->frame, msg, T_ECHO, id, id, PAYLOAD);
	frame_settag(r->c->frame, msg, 0xffe0 + id);
	errno = 0;
	if (_muxsend(&r->c->mux, msg) < 0) {
		scene_tell(r, errno);
		return;
	}
	/* under procs it is an orphan */
	if (r->way == PROCS || r->way == PROCSBATCH)
		return;
	do {
		errno = 0;
		reply = NULL;
		_muxrecv(&r->c->mux, 1, &reply);
		if (reply == NULL) {
			scene_tell(r, errno);
			return;
		}
		/* the reply of a call whose send has failed may arrive first */
		other = frame_id(r->c->frame, reply) != id;
		if (!other && !frame_isreply(r->c->frame, reply, T_ECHO, id, id, PAYLOAD))
			scene_bad(r, "another message by hand");
		free(reply);
	} while (other);
}

static void
private(Run *r)
{
	static int item[3];
	struct Muxqueue *q;
	unsigned i, n;
	void *p;

	byhand(r, 7);
	byhand(r, 8);
	errno = 0;
	q = _muxqalloc();
	if (q == NULL) {
		scene_tell(r, errno);
		return;
	}
	for (i = n = 0; i < 3; i++) {
		errno = 0;
		if (_muxqsend(q, &item[n]) < 0)
			scene_tell(r, errno);
		else
			n++;
	}
	for (i = 0; i < n; i++) {
		p = NULL;
		if (i % 2 == 0)
			p = _muxqrecv(q);
		else
			_muxnbqrecv(q, &p);
		if (p != &item[i])
			scene_bad(r, "another item from the queue");
	}
	_muxqhangup(q);
	fault_free(q);
	rpc(r);
}

/* a task in read must return from it before the descriptor is replaced */
static void
anew(Run *r)
{
	scene_break(r);
	scene_connect(r);
	if (r->way == PROCS || r->way == PROCSBATCH) {
		errno = 0;
		muxprocs(&r->c->mux);
		scene_tell(r, errno);
	}
}

static void
reconnect(Run *r)
{
	scene_call(r, T_ECHO, 1, -1);
	scene_call(r, T_CLOSE, 2, -1);
	anew(r);
	scene_call(r, T_ECHO, 3, -1);
	scene_call(r, T_CUT, 4, LONG);
	anew(r);
	scene_finish(r, scene_start(r, T_CLOSE, 5), T_CLOSE, 5);
	anew(r);
	scene_finish(r, scene_start(r, T_ECHO, 6), T_ECHO, 6);
}

/* procs start and end */
static void
procs(Run *r)
{
	unsigned i;

	for (i = 0; i < 3; i++) {
		errno = 0;
		muxprocs(&r->c->mux);
		scene_tell(r, errno);
		scene_tasks(r, 2, mixed);
		scene_break(r);
		scene_connect(r);
	}
}

static void
pollfd(Run *r)
{
	Muxrpc *x[4];
	unsigned i;
	int fd;

	errno = 0;
	fd = muxpollfd(&r->c->mux);
	if (fd < 0)
		scene_tell(r, errno);
	for (i = 0; i < 4; i++)
		x[i] = scene_start(r, T_ECHO, 1 + i);
	/* without procs this task receives for them */
	scene_call(r, T_ECHO, 9, -1);
	for (i = 0; i < 4; i++)
		scene_finish(r, x[i], T_ECHO, 1 + i);
	if (fd >= 0 && task_ready(fd))
		scene_bad(r, "the descriptor is readable, but no call can finish");
	if (fd >= 0 && muxpollfd(&r->c->mux) != fd)
		scene_bad(r, "another descriptor");
}

const Scene scenes[] = {
	{.name = "rpc", .play = rpc},
	{.name = "many", .play = many},
	{.name = "start", .play = start},
	{.name = "both", .play = both},
	{.name = "deadlines", .play = deadlines, .ends = {ETIMEDOUT}},
	{.name = "cancel", .play = cancel},
	{.name = "orphans", .play = orphans, .twice = 1},
	{.name = "tags", .play = tags, .narrow = 1, .ends = {EAGAIN}},
	{.name = "grow", .play = grow},
	{.name = "ranges", .play = ranges, .narrow = 1},
	{.name = "waits", .play = waits, .armslate = 1, .narrow = 1},
	{.name = "freed", .play = freed, .ends = {ECONNRESET, ESHUTDOWN, EPIPE}},
	{.name = "hungup", .play = hungup, .ends = {ECONNRESET, ESHUTDOWN, EPIPE}},
	{.name = "private", .play = private},
	{.name = "reconnect", .play = reconnect, .ends = {ECONNRESET, EPIPE}},
	{.name = "procs", .play = procs, .ends = {ECONNRESET, EPIPE}},
	{.name = "pollfd", .play = pollfd},
};
const int nscenes = sizeof scenes / sizeof scenes[0];
