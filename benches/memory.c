/*
 * The memory that the library has allocated, as malloc reports it, with malloc's overhead: for outstanding calls, and
 * for an idle Mux. The caller's stack and the Mux itself belong to the program and do not count.
 */
#include "bench.h"
#include <malloc.h>
#include <pthread.h>

enum {
	IDLE = 1000, /* number of Muxes */
	MANY = 1000 /* number of simultaneous calls */
};

/* Returns the number of bytes that are allocated, in large blocks too. */
static double
inuse(void)
{
#if defined __GLIBC__ && __GLIBC_PREREQ(2, 33)
	struct mallinfo2 m = mallinfo2();

	return (double)m.uordblks + m.hblkhd;
#else
	cannot("mallinfo2");
	return 0;
#endif
}

static uint64_t nothing; /* the message of all calls; its tag is never read */

/* measures calls of muxrpcstart */
void
memorystart(const Load *l)
{
	double before;
	int i;

	keptmux(&conn.mux);
	before = inuse();
	for (i = 0; i < l->n; i++)
		if (muxrpcstart(&conn.mux, &nothing) == NULL)
			die("muxrpcstart");
	figure("held", "bytes/call", (inuse() - before) / l->n);
}

/* measures calls of muxrpc, one for each thread, which begin when all threads have started */

static pthread_barrier_t ready;
static atomic_int sent;

static int
notingsend(Mux *mux, void *msg)
{
	(void)mux;
	(void)msg;
	atomic_fetch_add(&sent, 1);
	return 0;
}

static void *
norecv(Mux *mux)
{
	(void)mux;
	for (;;)
		nap(1);
	return NULL;
}

static void
caller(void *v)
{
	uint64_t request = 0;

	(void)v;
	pthread_barrier_wait(&ready);
	pthread_barrier_wait(&ready);
	muxrpc(&conn.mux, &request);
}

void
memoryrpc(const Load *l)
{
	double before;
	int i;

	keptmux(&conn.mux);
	conn.mux.send = notingsend;
	conn.mux.recv = norecv;
	pthread_barrier_init(&ready, NULL, l->n + 1);
	for (i = 0; i < l->n; i++)
		newthread(caller, NULL);
	pthread_barrier_wait(&ready);
	before = inuse();
	pthread_barrier_wait(&ready);
	while (atomic_load(&sent) < l->n)
		nap(1e-3);
	/* then until they sleep */
	nap(.02);
	figure("held", "bytes/call", (inuse() - before) / l->n);
}

/* measures an idle Mux: unused, after one call, and after several simultaneous calls */

static void
several(Mux *mux, int n)
{
	static Muxrpc *rpc[MANY];
	void *reply;
	int i;

	for (i = 0; i < n; i++)
		if ((rpc[i] = muxrpcstart(mux, &nothing)) == NULL)
			die("muxrpcstart");
	for (i = 0; i < n; i++)
		if (!muxrpccanfinish(rpc[i], &reply) || reply == NULL)
			die("muxrpccanfinish");
}

static void
idle(Mux *mux, int n)
{
	char name[24];
	double before;
	int i;

	/* freed Muxrpcs that malloc keeps for reuse do not belong to a Mux */
	keptmux(&mux[0]);
	several(&mux[0], n);
	before = inuse();
	for (i = 1; i <= IDLE; i++) {
		keptmux(&mux[i]);
		several(&mux[i], n);
	}
	snprintf(name, sizeof name, "after %d", n);
	figure(name, "bytes/Mux", (inuse() - before) / IDLE);
}

void
memoryidle(const Load *l)
{
	static const int n[] = {0, 1, 8, 32, 64, MANY};
	unsigned i;
	Mux *mux;

	(void)l;
	for (i = 0; i < sizeof n / sizeof n[0]; i++) {
		mux = calloc(IDLE + 1, sizeof *mux);
		if (mux == NULL)
			die("calloc");
		idle(mux, n[i]);
	}
}
