/*
 * stress.c: many calls by many tasks, every reply compared with its request; one task in eight (with few tasks,
 * each) makes non-blocking calls. With one tag, so that all callers wait for each other, with three, and with more
 * than needed; without and with procs; the server replies out of order.
 *
 *	stress [tasks [calls]]		64 and 1000 if not said
 */
#include <errno.h>
#include <stdlib.h>
#include "server.h"
#include "steps.h"
#include "tap.h"

typedef struct Work Work;
struct Work {
	Client *c;
	Task *task;
	unsigned id, calls;
	unsigned made, good, wrong, nil;
	unsigned busy;	/* how often all tags were in use */
	unsigned torn;	/* inconsistent results of muxstats */
	unsigned vain;	/* polls without a reply */
};

static void
tally(Work *w, int r)
{
	w->made++;
	w->good += r == 1;
	w->wrong += r == -1;
	w->nil += r == 0;
}

static void
block(Work *w, unsigned seq)
{
	tally(w, client_call(w->c, T_ECHO, w->id, seq, PAYLOAD + (w->id + seq) % 120));
}

/* the result of muxstats is consistent at any time */
static void
count(Work *w)
{
	Muxstats s;

	s.size = sizeof s;
	muxstats(&w->c->mux, &s);
	w->torn += s.outstanding > s.maxoutstanding || s.maxoutstanding > s.calls;
}

static void
blocking(void *v)
{
	Work *w;
	unsigned i;

	w = v;
	for (i = 0; i < w->calls; i++) {
		block(w, i);
		if (i % 8 == 0)
			count(w);
	}
}

/*
 * The task owns the Muxrpc. When all tags are in use, it makes a blocking call instead. When its reply has not
 * arrived, it lets other tasks run, and after some polls without success makes a blocking call as well, even if its
 * own tag is the only one.
 */
static void
nonblocking(void *v)
{
	Work *w;
	Muxrpc *rpc;
	unsigned i, look;
	size_t n;
	int r;

	w = v;
	for (i = 0; i < w->calls; i++) {
		n = PAYLOAD + (w->id + i) % 120;
		rpc = client_start(w->c, T_ECHO, w->id, i, n);
		if (rpc == NULL && errno == EAGAIN) {
			w->busy++;
			block(w, i);
			continue;
		}
		if (rpc == NULL) {
			tally(w, 0);
			continue;
		}
		for (look = 1; (r = client_finish(w->c, rpc, T_ECHO, w->id, i, n)) == 0; look++) {
			w->vain++;
			if (look % 4 == 0)
				block(w, w->calls + i);
			else
				task_yield();
		}
		tally(w, r == 1 ? 1 : r == -1 ? 0 : -1);
	}
}

static void
run(int procs, unsigned ntag, unsigned ntask, unsigned nth, unsigned ncall)
{
	ServerPlan plan = {.frame = &frame_9p, .batch = 16, .seed = 1};
	Client *c;
	Server *s;
	Work *w;
	unsigned i, made, good, wrong, nil, busy, torn, vain;
	int fd;

	/* no message would follow: the server need not find this call */
	if (ntag < plan.batch)
		plan.batch = ntag;
	plan.seed = ntag;
	s = server_start(&plan, &fd);
	c = client_new(fd, &frame_9p, 0, ntag);
	if (procs)
		muxprocs(&c->mux);
	w = calloc(ntask, sizeof *w);
	for (i = 0; i < ntask; i++) {
		w[i].c = c;
		w[i].id = ID + i;
		w[i].calls = ncall;
		w[i].task = task_start(i % nth == nth - 1 ? nonblocking : blocking, &w[i]);
	}
	made = good = wrong = nil = busy = torn = vain = 0;
	for (i = 0; i < ntask; i++) {
		task_join(w[i].task);
		made += w[i].made;
		good += w[i].good;
		wrong += w[i].wrong;
		torn += w[i].torn;
		nil += w[i].nil;
		busy += w[i].busy;
		vain += w[i].vain;
	}
	tap_ok(made >= ntask * ncall && good == made, "%s, %u tags: %u calls in %u tasks", mode(procs), ntag, made, ntask);
	tap_ok(wrong == 0 && nil == 0, "%s, %u tags: %u wrong replies, %u missing", mode(procs), ntag, wrong, nil);
	tap_ok(torn == 0, "%s, %u tags: %u inconsistent results of muxstats", mode(procs), ntag, torn);
	tap_note("%s, %u tags: %lu times overlapped, %u times busy, %u polls without a reply", mode(procs), ntag, client_count(&c->overlaps), busy, vain);
	client_check(c, mode(procs));
	client_hangup(c);
	tap_ok(server_join(s) == made, "%s, %u tags: each call was sent once", mode(procs), ntag);
	free(w);
}

int
task_main(int argc, char **argv)
{
	static const unsigned tags[3] = {65535, 3, 1};
	unsigned ntask, ncall, i;
	int procs;

	ntask = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 64;
	ncall = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1000;
	tap_start("stress", 300);
	quiet_start();
	for (procs = 0; procs < 2; procs++)
		for (i = 0; i < 3; i++) {
			run(procs, tags[i], ntask, 8, ncall);
			/* this many tasks take every tag before a non-blocking caller finds one; this few do not */
			run(procs, tags[i], 4, 1, ncall);
		}
	quiet_end();
	return tap_end();
}
