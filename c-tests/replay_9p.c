/*
 * replay_9p.c: the way in which lib9pclient uses a Mux. Tags 0 to 255, two bytes at offset 5, no nbrecv. The first
 * call is a version call with the tag NOTAG, which the client forces by narrowing the range to that tag and
 * widening it again; it does so once more later. A request is freed directly after its call, a reply by its reader;
 * many tasks do so at once.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

enum { NOTAG = 65535, NTASK = 40, NCALL = 50 };

typedef struct Fs Fs;
struct Fs {
	Client *c;
	unsigned id;
	unsigned good;
};

/* the tags that were set, to check that a version call had NOTAG; many tasks set tags at once */
static pthread_mutex_t tagslock = PTHREAD_MUTEX_INITIALIZER;
static unsigned lasttag, lowest, highest;

static int
watch(Client *c, void *msg, unsigned tag)
{
	(void)c;
	(void)msg;
	pthread_mutex_lock(&tagslock);
	lasttag = tag;
	if (tag != NOTAG) {
		lowest = tag < lowest ? tag : lowest;
		highest = tag > highest ? tag : highest;
	}
	pthread_mutex_unlock(&tagslock);
	return 0;
}

static int
version(Client *c, unsigned type)
{
	unsigned lo, hi;
	int r;

	lo = c->mux.mintag;
	hi = c->mux.maxtag;
	client_range(c, NOTAG, NOTAG + 1);
	r = client_call(c, type, ID, 0, 12) == 1 && lasttag == NOTAG;
	client_range(c, lo, hi);
	return r;
}

static void
user(void *v)
{
	Fs *fs;
	unsigned i, n;

	fs = v;
	for (i = 0; i < NCALL; i++) {
		/* the reply to a read is sometimes long */
		n = i % 10 == 9 ? 8192 : PAYLOAD + (fs->id * 31 + i * 7) % 200;
		fs->good += client_call(fs->c, i % 7 == 6 ? T_TWICE : T_ECHO, fs->id, i, n) == 1;
	}
}

static unsigned
users(Client *c, unsigned ntask)
{
	Fs fs[NTASK];
	Task *t[NTASK];
	unsigned i, good;

	for (i = 0; i < ntask; i++) {
		fs[i] = (Fs){.c = c, .id = ID + 1 + i};
		t[i] = task_start(user, &fs[i]);
	}
	for (i = good = 0; i < ntask; i++) {
		task_join(t[i]);
		good += fs[i].good;
	}
	return good;
}

/* a session from beginning to end */
static void
session(int procs, unsigned batch, unsigned seed, int small)
{
	ServerPlan plan = {.frame = &frame_9p};
	Client *c;
	Server *s;
	Caller late[10], bad[6];
	unsigned i, good;
	unsigned long n;
	int fd;

	plan.batch = batch;
	plan.seed = seed;
	plan.small = small;
	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_9p, 0, 256);
	c->mux.nbrecv = NULL;
	c->tagging = watch;
	lowest = NOTAG;
	highest = 0;
	if (procs)
		muxprocs(&c->mux);
	tap_ok(version(c, T_ECHO), "%s: the version call, first of all, with NOTAG", mode(procs));
	good = users(c, NTASK);
	tap_ok(good == NTASK * NCALL, "%s: %d tasks made %d calls each", mode(procs), NTASK, NCALL);
	tap_ok(version(c, T_ECHO), "%s: another version call later", mode(procs));
	good = users(c, NTASK / 2);
	tap_ok(good == NTASK / 2 * NCALL, "%s: %d more", mode(procs), NTASK / 2);

	/* with calls outstanding, to which the server replies only after this one */
	n = client_count(&c->nsend);
	for (i = 0; i < 10; i++)
		caller_start(&late[i], c, T_LATE, ID + i, N);
	/* all of them have their tags, so the range may change */
	while (__atomic_load_n(&c->nsend, __ATOMIC_SEQ_CST) < n + 10)
		task_yield();
	tap_ok(version(c, T_NOW), "%s: a version call with calls outstanding", mode(procs));
	for (i = good = 0; i < 10; i++)
		good += caller_join(&late[i]) == 1;
	tap_ok(good == 10, "%s: the outstanding calls get their late replies", mode(procs));
	tap_ok(lowest == 0 && highest < 256, "%s: the tags of all other calls were 0 to %u", mode(procs), highest);

	for (i = 0; i < 5; i++)
		caller_start(&bad[i], c, T_NEVER, ID + i, N);
	caller_start(&bad[5], c, T_CLOSE, ID + 5, N);
	for (i = good = 0; i < 6; i++)
		good += caller_join(&bad[i]) == 0;
	tap_ok(good == 6, "%s: the server disconnects, and all outstanding calls end", mode(procs));
	tap_ok(client_call(c, T_ECHO, ID, 1, N) == 0, "%s: a later call ends, too", mode(procs));
	client_check(c, mode(procs));
	client_hangup(c);
	server_join(s);
	if (!procs)
		client_dropstrays(c);
}

/* a server that reads nothing while its output is not read, and that replies to a long write when it has read its
   head */
static void
deaf(int procs)
{
	ServerPlan plan = {.frame = &frame_9p, .batch = 12, .seed = 9, .small = 1};
	Client *c;
	Server *s;
	Caller a[30];
	unsigned i, round, good;
	int fd;

	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_9p, 0, 256);
	c->mux.nbrecv = NULL;
	if (procs)
		muxprocs(&c->mux);
	for (round = good = 0; round < 3; round++) {
		for (i = 0; i < 30; i++)
			caller_start(&a[i], c, i % 5 == 4 ? T_EARLY : T_ECHO, ID + i, 30000);
		for (i = 0; i < 30; i++)
			good += caller_join(&a[i]) == 1;
	}
	tap_ok(good == 90, "%s: a server that reads only while its output is read: 90 long calls", mode(procs));
	client_check(c, mode(procs));
	client_hangup(c);
	server_join(s);
}

int
task_main(int argc, char **argv)
{
	int procs;

	(void)argc;
	(void)argv;
	tap_start("replay_9p", 90);
	quiet_start();
	for (procs = 0; procs < 2; procs++) {
		session(procs, 1, 0, 0);
		session(procs, 16, 77, 1);
		deaf(procs);
	}
	quiet_end();
	return tap_end();
}
