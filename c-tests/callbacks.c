/*
 * callbacks.c: the program's functions fail. Each of them fails at each step of each scene (lib/scenes.c): the n-th
 * settag, send, recv, nbrecv, gettag, sendv or recvv, for every n. Only that call fails, with the errno that the
 * function has set, or, if the connection has ended, the calls that were outstanding; every other call gets its
 * reply, and the Mux works afterwards.
 *
 *	callbacks [every [scene]]	each step (1), or every so manyth; of that scene alone
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fault.h"
#include "scene.h"
#include "steps.h"
#include "tap.h"

/* no more failures than this of each kind are tried: the number of calls of nbrecv varies */
enum { MOST = 90, MOSTLOOKS = 25 };

enum {
	SETTAG,		/* fails */
	SEND,		/* fails without sending */
	SENT,		/* fails although it has sent */
	SILENT,		/* fails without setting errno */
	RECV,		/* NULL, and the connection has ended */
	ONCE,		/* NULL once; the connection continues */
	NBRECV,		/* NULL, and the connection has ended */
	GETTAG,		/* no tag, and the connection ends, because the caller would wait forever */
	SENDV,		/* less than 0 */
	SENDVNONE,	/* 0, without setting errno */
	SENDVONE,	/* sends only the first */
	RECVV,		/* 0, and the connection has ended */
	RECVVLESS,	/* less than 0, and the connection has ended */
	NKIND
};

static const char *const names[NKIND] = {"settag", "send", "send, too late", "send, no errno", "recv", "recv, once", "nbrecv",
    "gettag", "sendv", "sendv of none", "sendv of one", "recvv", "recvv of -1"};

typedef struct Fail Fail;
struct Fail {
	int kind;
	long at;	/* which step fails */
	long seen;	/* steps of that kind */
	int done;
	int on;
	int (*gettag)(Mux *, void *);
};

static Fail fail;
static pthread_mutex_t breaking = PTHREAD_MUTEX_INITIALIZER;

/* returns true if this step, which is of that kind, must fail */
static int
fails(int kind)
{
	if (fail.kind != kind || !__atomic_load_n(&fail.on, __ATOMIC_SEQ_CST))
		return 0;
	if (__atomic_fetch_add(&fail.seen, 1, __ATOMIC_SEQ_CST) != fail.at)
		return 0;
	__atomic_store_n(&fail.done, 1, __ATOMIC_SEQ_CST);
	return 1;
}

/* The same, and the connection breaks. A caller that disarms the fault sees that it is broken, or it never breaks. */
static int
breaks(Run *r, int kind)
{
	int n;

	pthread_mutex_lock(&breaking);
	n = fails(kind);
	if (n)
		scene_break(r);
	pthread_mutex_unlock(&breaking);
	return n;
}

static Run *
run(Client *c)
{
	return c->own;
}

static int
tagging(Client *c, void *msg, unsigned tag)
{
	(void)c;
	(void)msg;
	(void)tag;
	errno = EDOM;
	return fails(SETTAG) ? -1 : 0;
}

static int
sending(Client *c, void *msg)
{
	(void)c;
	(void)msg;
	if (fails(SILENT)) {
		errno = 0;
		return -1;
	}
	errno = EDOM;
	return fails(SEND) ? -1 : 0;
}

static int
sent(Client *c, void *msg)
{
	(void)c;
	(void)msg;
	errno = EDOM;
	return fails(SENT) ? -1 : 0;
}

static int
receiving(Client *c, int canblock)
{
	/* requests that were read before the break, without a reply, are lost with it */
	if (run(c)->broken)
		return -1;
	if (canblock && fails(ONCE))
		return -1;
	return breaks(run(c), canblock ? RECV : NBRECV) ? -1 : 0;
}

static int
gettag(Mux *mux, void *msg)
{
	Client *c;

	c = mux->aux;
	return breaks(run(c), GETTAG) ? -1 : fail.gettag(mux, msg);
}

static int
sendving(Run *r, void **request, int n)
{
	(void)r;
	(void)n;
	errno = EDOM;
	if (fails(SENDV))
		return -1;
	errno = 0;
	if (fails(SENDVNONE))
		return SCENE_NONE;
	if (n > 1 && fails(SENDVONE))
		return r->c->mux.send(&r->c->mux, request[0]) < 0 ? -1 : 1;
	return 0;
}

static int
recvving(Run *r, void **reply, int max)
{
	(void)reply;
	(void)max;
	if (breaks(r, RECVV))
		return SCENE_NONE;
	return breaks(r, RECVVLESS) ? -1 : 0;
}

static void
arm(Run *r)
{
	r->c->own = r;
	r->c->tagging = tagging;
	r->c->sending = sending;
	r->c->sent = sent;
	r->c->receiving = receiving;
	fail.gettag = r->c->mux.gettag;
	r->c->mux.gettag = gettag;
	__atomic_store_n(&fail.on, 1, __ATOMIC_SEQ_CST);
}

static void
disarm(Run *r)
{
	(void)r;
	pthread_mutex_lock(&breaking);
	__atomic_store_n(&fail.on, 0, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&breaking);
}

static void
allow(Run *r, int kind)
{
	switch (kind) {
	case SETTAG:
	case SEND:
	case SENT:
	case SENDV:
		r->allowed[0] = EDOM;
		break;
	case SILENT:
	case SENDVNONE:
		r->allowed[0] = EIO;
		break;
	case SENDVONE:
		break;
	case ONCE:
		r->allowed[0] = ECONNRESET;
		break;
	default:
		r->allowed[0] = ECONNRESET;
		r->allowed[1] = EPIPE;
	}
	memcpy(r->refuses, r->allowed, sizeof r->refuses);
}

/* only one call fails */
static int
alone(int kind)
{
	return kind <= SILENT || kind == SENDV || kind == SENDVNONE;
}

static int
once(const Scene *scene, int way, int kind, long at, unsigned *failed)
{
	Run r;

	memset(&r, 0, sizeof r);
	r.arm = arm;
	r.disarm = disarm;
	allow(&r, kind);
	memset(&fail, 0, sizeof fail);
	fail.kind = kind;
	fail.at = at;
	tap_watch(60, "%s (%s), %s number %ld", scene->name, scene_way(way), names[kind], at);
	scene_run(&r, scene, way);
	*failed += r.failed + r.refused;
	if (alone(kind) && r.failed + r.refused > 1)
		scene_bad(&r, "a failure of one call fails %u calls", r.failed + r.refused);
	/* It cannot have got a reply, and its error must be reported. (A failed request of a batch is sent again.) */
	if ((kind == SETTAG || way == DIRECT || way == PROCS) && (kind == SETTAG || kind == SEND || kind == SILENT) && r.failed + r.refused < (unsigned)fail.done)
		scene_bad(&r, "a failure is not reported");
	if (r.bad != 0)
		tap_ok(0, "%s (%s), %s number %ld: %s", scene->name, scene_way(way), names[kind], at, r.why);
	return r.bad == 0;
}

static void
sweep(const Scene *scene, int way, long every)
{
	char what[300];
	long n, most, runs;
	unsigned failed;
	int kind, good, len;

	good = 1;
	failed = 0;
	runs = 0;
	len = 0;
	for (kind = 0; good && kind < NKIND; kind++) {
		if (kind >= SENDV && way != BATCH && way != PROCSBATCH)
			break;
		/* with few tags, a late reply may match another call */
		if ((kind == ONCE || kind == SENT) && scene->narrow)
			continue;
		/* if each reply arrives twice, the second may be taken for the first */
		if (kind == GETTAG && scene->twice)
			continue;
		most = kind == NBRECV ? MOSTLOOKS : MOST;
		for (n = 0; good && n < most; n += every) {
			good = once(scene, way, kind, n, &failed);
			if (!fail.done)
				break;
			runs++;
		}
		/* the expected result of a failure at each step */
		if (good && every == 1 && kind != NBRECV && n >= most) {
			tap_ok(0, "%s (%s): there are more than %ld of %s, and they were not tried", scene->name, scene_way(way),
			    most, names[kind]);
			good = 0;
		}
		if (n > 0)
			len += snprintf(what + len, sizeof what - (size_t)len, ", %s %ld", names[kind], n);
	}
	if (good)
		tap_ok(1, "%-9s %-14s %4ld runs, %4u calls failed%s", scene->name, scene_way(way), runs, failed, what);
}

int
task_main(int argc, char **argv)
{
	long every;
	int i, way;

	tap_start("callbacks", 60);
	every = argc > 1 ? atol(argv[1]) : 1;
	scene_sendving = sendving;
	scene_recvving = recvving;
	quiet_start();
	for (i = 0; i < nscenes; i++)
		for (way = 0; way < NWAY; way++)
			if (argc <= 2 || strcmp(argv[2], scenes[i].name) == 0)
				sweep(&scenes[i], way, every);
	quiet_end();
	return tap_end();
}
