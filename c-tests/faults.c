/*
 * faults.c: system calls and allocations fail. Each request of the library for memory, a thread or a descriptor
 * fails once, at every place of a scene (lib/scenes.c); and then together with all later ones until the end of the
 * scene. The caller gets the errno that the manual documents; all other callers get their replies; afterwards the
 * Mux works, and frees everything that it has allocated.
 *
 *	faults [every [scene]]	each request (1), or every so manyth; of that scene alone
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fault.h"
#include "scene.h"
#include "steps.h"
#include "tap.h"

/* from lib/own_sched.c, in programs that have a scheduler of their own */
extern const int own_sched __attribute__((weak));

typedef struct Sweep Sweep;
struct Sweep {
	long at;	/* which request fails; -1 none */
	int stays;
	long asked, refused;
};

static void
arm(Run *r)
{
	Sweep *s;

	s = r->own;
	fault_at(s->at, s->stays);
}

static void
disarm(Run *r)
{
	Sweep *s;

	s = r->own;
	s->refused = fault_refused();
	s->asked = fault_none();
}

static int
entries(const char *dir)
{
	struct dirent *e;
	DIR *d;
	int n;

	d = opendir(dir);
	if (d == NULL)
		return -1;
	for (n = 0; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* checks that the numbers of threads and descriptors are as before, once ending threads have ended */
static void
settled(Run *r, int threads, int fds)
{
	int t, f;
	unsigned i;

	/* the procs of coroutines, and their pipes, stay for later use */
	if (strcmp(task_kind(), "pthread") != 0)
		return;
	for (i = 0; i < 100000; i++) {
		t = entries("/proc/self/task");
		f = entries("/proc/self/fd");
		if (t == threads && f == fds)
			return;
		task_yield();
	}
	scene_bad(r, "%d threads and %d descriptors, and there were %d and %d", t, f, threads, fds);
}

/* returns 1 if everything was right */
static int
once(Sweep *s, const Scene *scene, int way, long at, int stays)
{
	static const int single[] = {ENOMEM, 0}, lasting[] = {ENOMEM, ECONNRESET, EPIPE, ETIMEDOUT, 0};
	static const int refuses[] = {ENOMEM, EAGAIN, EMFILE, 0};
	Run r;
	int threads, fds;

	memset(&r, 0, sizeof r);
	threads = entries("/proc/self/task");
	fds = entries("/proc/self/fd");
	s->at = at;
	s->stays = stays;
	r.own = s;
	r.arm = arm;
	r.disarm = disarm;
	memcpy(r.allowed, stays ? lasting : single, stays ? sizeof lasting : sizeof single);
	memcpy(r.refuses, refuses, sizeof refuses);
	tap_watch(60, "%s (%s), request %ld %s", scene->name, scene_way(way), at, stays ? "and all after it" : "");
	scene_run(&r, scene, way);
	settled(&r, threads, fds);
	if (at < 0 && (r.failed != 0 || r.refused != 0))
		scene_bad(&r, "a call fails without a failed request");
	if (!stays && r.failed + r.refused > 1)
		scene_bad(&r, "one failed request fails %u calls", r.failed + r.refused);
	if (r.bad != 0)
		tap_ok(0, "%s (%s), request %ld %s: %s", scene->name, scene_way(way), at, stays ? "and all after it" : "", r.why);
	return r.bad == 0;
}

static void
sweep(const Scene *scene, int way, long every)
{
	Sweep s;
	long k, n, runs[2], refused;
	int stays, good;

	good = once(&s, scene, way, -1, 0);
	n = s.asked;
	refused = 0;
	for (stays = 0; stays < 2; stays++) {
		runs[stays] = 0;
		/* the order may differ each time, and with it the number of requests */
		for (k = runs[stays] * every; good && (k < n || s.refused > 0); k += every) {
			good = once(&s, scene, way, k, stays);
			refused += s.refused;
			runs[stays]++;
		}
		s.refused = 0;
	}
	if (good)
		tap_ok(1, "%-9s %-14s %3ld requests, failed singly in %3ld runs, permanently in %3ld, %5ld in all", scene->name,
		    scene_way(way), n, runs[0], runs[1], refused);
}

static void *
task(void)
{
	return NULL;
}

static void
park(void *v)
{
	(void)v;
}

/* in a process of its own, because an installed table stays */
static void
setsched(void)
{
	Muxsched s;
	pid_t pid;
	int status;

	pid = fork();
	if (pid == 0) {
		memset(&s, 0, sizeof s);
		s.size = sizeof s;
		s.task = task;
		s.park = s.unpark = park;
		fault_at(0, 0);
		errno = 0;
		status = muxsetsched(&s) == -1 && errno == ENOMEM ? 0 : 1;
		fault_none();
		if (muxsetsched(&s) != 0)
			status |= 2;
		_exit(status);
	}
	status = -1;
	tap_ok(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "muxsetsched: ENOMEM, and success the next time");
}

int
task_main(int argc, char **argv)
{
	long every;
	int i, way;
	Mux m;

	tap_start("faults", 60);
	every = argc > 1 ? atol(argv[1]) : 1;
	memset(&m, 0, sizeof m);
	if (&own_sched == NULL)
		setsched();
	muxinit(&m);
	muxsetorphan(&m, NULL);
	muxfree(&m);
	if (!tap_ok(fault_works(), "the requests of the library are intercepted"))
		return tap_end();
	quiet_start();
	for (i = 0; i < nscenes; i++)
		for (way = 0; way < NWAY; way++)
			if (argc <= 2 || strcmp(argv[2], scenes[i].name) == 0)
				sweep(&scenes[i], way, every);
	quiet_end();
	fault_sites();
	return tap_end();
}
