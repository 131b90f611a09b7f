/*
 * The latency of a caller that pauses between its calls, alone or beside callers that do not pause.
 */
#include "bench.h"

enum {
	ROOM = 1 << 20
};

static const double between = 100e-6; /* seconds between two calls */

static uint32_t sample[ROOM]; /* nanoseconds */
static atomic_uint nsample;

static void
note(Worker *w, double began)
{
	unsigned n = atomic_load_explicit(&nsample, memory_order_relaxed);

	if (n < ROOM) {
		sample[n] = (uint32_t)((now() - began) * 1e9);
		atomic_store_explicit(&nsample, n + 1, memory_order_release);
	}
	count(w);
}

void
loneloop(Worker *w)
{
	Msg request, *reply;
	double began;

	while (running()) {
		nap(between);
		fillmsg(&request, w);
		began = now();
		reply = muxrpc(&conn.mux, &request);
		note(w, began);
		checkmsg(reply, w, w->serial);
		free(reply);
	}
}

void
lonefloor(Worker *w)
{
	Msg request;
	double began;

	while (running()) {
		nap(between);
		began = now();
		floorcall(w, &request);
		note(w, began);
	}
}

/* without other callers: one write and one read */
void
lonewritefloor(Worker *w)
{
	Msg request, *reply;
	double began;

	while (running()) {
		nap(between);
		fillmsg(&request, w);
		began = now();
		fdsend(&conn.mux, &request);
		reply = fdrecv(&conn.mux);
		note(w, began);
		checkmsg(reply, w, w->serial);
		free(reply);
	}
}

static int
ascending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Ignores the warm-up, which is a sixth of the time. A share of less than one sample is not printed. */
void
latencies(const Load *l)
{
	static const struct { const char *name; double share; } ranks[] = {
		{"p10", .1}, {"p25", .25}, {"p50", .5}, {"p75", .75}, {"p90", .9}, {"p95", .95},
		{"p99", .99}, {"p99.5", .995}, {"p99.9", .999}, {"p99.99", .9999},
	};
	unsigned i, all = atomic_load_explicit(&nsample, memory_order_acquire), n = all - all / 6;
	uint32_t *v = sample + all / 6;

	(void)l;
	if (n == 0)
		return;
	qsort(v, n, sizeof v[0], ascending);
	figure("samples", "calls", n);
	for (i = 0; i < sizeof ranks / sizeof ranks[0]; i++)
		if (n * (1 - ranks[i].share) >= 1)
			figure(ranks[i].name, "us", v[(unsigned)(n * ranks[i].share)] / 1e3);
	figure("longest", "us", v[n - 1] / 1e3);
}
