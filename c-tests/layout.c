/*
 * layout.c: programs embed a Mux by value, read the public fields of Mux and Muxrpc, and may have been compiled
 * with plan9port's header. So sizes and offsets are checked, against numbers where they are known and everywhere
 * against plan9port's formula; the latter at compile time, so that a syntax check suffices where a program cannot
 * be run.
 */
#include "mux.h"
#include "lib/tap.h"

#include <stddef.h>

typedef struct Lock Lock;
typedef struct QLock QLock;
typedef struct Rendez Rendez;
typedef struct OldMux OldMux;
typedef struct OldRpc OldRpc;

struct Lock { int init; pthread_mutex_t mutex; int held; };
struct QLock { Lock l; void *owner; void *waiting[2]; };
struct Rendez { void *l; void *waiting[2]; };

struct OldRpc {
	void *mux, *next, *prev;
	Rendez r;
	unsigned tag;
	void *p;
	int waiting, async;
};

struct OldMux {
	unsigned mintag, maxtag;
	void (*send)(void), (*recv)(void), (*nbrecv)(void), (*gettag)(void), (*settag)(void);
	void *aux;
	QLock qlock[3];
	Rendez rendez[2];
	void *queue[2];
	unsigned count[3];
	void *wait[2];
	OldRpc sleep;
};

#define ASSERT(name, cond) typedef char assert_##name[(cond) ? 1 : -1] __attribute__((unused))
#define SAME(type, old, field) ASSERT(old##_##field, \
	offsetof(type, field) == offsetof(old, field) \
	&& sizeof(((type *)0)->field) == sizeof(((old *)0)->field))

ASSERT(mux_size, sizeof(Mux) == sizeof(OldMux));
ASSERT(mux_align, __alignof__(Mux) == __alignof__(OldMux));
ASSERT(rpc_size, sizeof(Muxrpc) == sizeof(OldRpc));
ASSERT(rpc_align, __alignof__(Muxrpc) == __alignof__(OldRpc));
SAME(Mux, OldMux, mintag);
SAME(Mux, OldMux, maxtag);
SAME(Mux, OldMux, send);
SAME(Mux, OldMux, recv);
SAME(Mux, OldMux, nbrecv);
SAME(Mux, OldMux, gettag);
SAME(Mux, OldMux, settag);
SAME(Mux, OldMux, aux);
SAME(Muxrpc, OldRpc, mux);
SAME(Muxrpc, OldRpc, next);
SAME(Muxrpc, OldRpc, prev);
SAME(Muxrpc, OldRpc, tag);
SAME(Muxrpc, OldRpc, p);
SAME(Muxrpc, OldRpc, waiting);
SAME(Muxrpc, OldRpc, async);

#if defined(__x86_64__) && defined(__LP64__)
#define AT(type, field, at) ASSERT(at_##type##_##field, offsetof(type, field) == (at))
ASSERT(mux_464, sizeof(Mux) == 464);
ASSERT(rpc_72, sizeof(Muxrpc) == 72);
AT(Mux, mintag, 0);
AT(Mux, maxtag, 4);
AT(Mux, send, 8);
AT(Mux, recv, 16);
AT(Mux, nbrecv, 24);
AT(Mux, gettag, 32);
AT(Mux, settag, 40);
AT(Mux, aux, 48);
AT(Muxrpc, mux, 0);
AT(Muxrpc, next, 8);
AT(Muxrpc, prev, 16);
AT(Muxrpc, tag, 48);
AT(Muxrpc, p, 56);
AT(Muxrpc, waiting, 64);
AT(Muxrpc, async, 68);
#endif

/* the numbers of other architectures, for tests/cross.sh */
#if defined(__linux__) && defined(__GLIBC__)
#if defined(__s390x__)
ASSERT(mux_s390x, sizeof(Mux) == 464 && sizeof(Muxrpc) == 72);
#elif defined(__aarch64__) && defined(__LP64__)
ASSERT(mux_aarch64, sizeof(Mux) == 488 && sizeof(Muxrpc) == 72);
#elif defined(__i386__) || defined(__arm__)
ASSERT(mux_32, sizeof(Mux) == 256 && sizeof(Muxrpc) == 40 && offsetof(Muxrpc, tag) == 24 && offsetof(Muxrpc, p) == 28);
#endif
#endif

/* assignments to and from each field: -Werror makes a wrong type an error */
static void
types(Mux *m, Muxrpc *r)
{
	unsigned int *u;
	int (*send)(Mux *, void *);
	void *(*recv)(Mux *);
	int (*nbrecv)(Mux *, void **);
	int (*gettag)(Mux *, void *);
	int (*settag)(Mux *, void *, unsigned int);
	void **v;
	int *i;
	Mux **mp;
	Muxrpc **rp;

	u = &m->mintag;
	u = &m->maxtag;
	m->send = send = m->send;
	m->recv = recv = m->recv;
	m->nbrecv = nbrecv = m->nbrecv;
	m->gettag = gettag = m->gettag;
	m->settag = settag = m->settag;
	v = &m->aux;
	mp = &r->mux;
	rp = &r->next;
	rp = &r->prev;
	u = &r->tag;
	v = &r->p;
	i = &r->waiting;
	i = &r->async;
	(void)u;
	(void)v;
	(void)i;
	(void)mp;
	(void)rp;
}

static void
functions(void)
{
	void (*init)(Mux *) = muxinit;
	void *(*rpc)(Mux *, void *) = muxrpc;
	void (*procs)(Mux *) = muxprocs;
	Muxrpc *(*start)(Mux *, void *) = muxrpcstart;
	int (*canfinish)(Muxrpc *, void **) = muxrpccanfinish;
	int (*send)(Mux *, void *) = _muxsend;
	int (*recv)(Mux *, int, void **) = _muxrecv;
	void (*sendproc)(void *) = _muxsendproc;
	void (*recvproc)(void *) = _muxrecvproc;
	Muxqueue *(*qalloc)(void) = _muxqalloc;
	int (*qsend)(Muxqueue *, void *) = _muxqsend;
	void *(*qrecv)(Muxqueue *) = _muxqrecv;
	void (*qhangup)(Muxqueue *) = _muxqhangup;
	int (*nbqrecv)(Muxqueue *, void **) = _muxnbqrecv;

	tap_ok(init && rpc && procs && start && canfinish, "the five functions have their types");
	tap_ok(send && recv && sendproc && recvproc && qalloc && qsend && qrecv && qhangup && nbqrecv,
		"the nine private functions have their types");
}

int
main(void)
{
	static Mux m;
	static Muxrpc r;

	tap_start("layout", 10);
	types(&m, &r);
	functions();
	tap_ok(sizeof(Mux) == sizeof(OldMux), "a Mux has %lu bytes, by formula %lu", (unsigned long)sizeof(Mux),
		(unsigned long)sizeof(OldMux));
	tap_ok(sizeof(Mux) - offsetof(Mux, aux) - sizeof m.aux == sizeof(OldMux) - offsetof(OldMux, qlock),
		"the private part begins directly behind aux");
	tap_ok(sizeof(Muxrpc) == sizeof(OldRpc), "a Muxrpc has %lu bytes, by formula %lu",
		(unsigned long)sizeof(Muxrpc), (unsigned long)sizeof(OldRpc));
	return tap_end();
}
