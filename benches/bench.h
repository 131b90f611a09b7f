/*
 * What the files of the benchmark share; bench.c says what it does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <mux.h>

enum {
	MSGSIZE = 64,
	MAXTHREADS = 1000,
	MAXTAG = 65536,
	BUFFER = 64 * 1024,
	STACK = 128 * 1024,
	KEEP = 64, /* calls that the async loads keep outstanding */
	CANNOT = 3 /* how the program ends when the library has not got what a load needs */
};

typedef struct Msg Msg;
typedef struct Conn Conn;
typedef struct Worker Worker;
typedef struct Load Load;

struct Msg {
	unsigned char b[MSGSIZE];
	Msg *next; /* in memory: the list; not sent */
};

struct Conn {
	Mux mux;
	int fd;
	int sofar, end; /* what of buf is still to be handed out */
	unsigned char buf[BUFFER];
	int held; /* what of out is still to be written */
	unsigned char out[BUFFER];
	Msg *head, **tail; /* in memory */
};

/* One caller. Its counter is alone on its cache lines. */
struct Worker {
	_Alignas(128) atomic_ulong calls;
	unsigned long limit; /* it stops after so many calls; 0, when it is told to */
	atomic_int ready; /* floor: the futex */
	unsigned index;
	uint64_t serial;
	Msg reply; /* floor */
	const Load *load;
	void (*loop)(Worker *);
};

typedef void Setup(const Load *);
typedef void Loop(Worker *);

struct Load {
	const char *name;
	int threads;
	Setup *setup;
	Loop *loop;
	Setup *floorsetup; /* the same by hand, without a multiplexor; or nil */
	Loop *floorloop;
	int n; /* calls outstanding, where that is the load's own */
	int cost; /* says nanoseconds a call rather than calls a second, of a thread that is alone in the process */
	int beside; /* but for one that sleeps */
	int stretch; /* so many times as long; 0 is 1 */
	Loop *lone; /* what the first thread does instead, and is not counted in the others' sum */
	Loop *lonefloor;
	Setup *report; /* has more to say when the time is over */
	Setup *whole; /* does it all instead */
};

extern Conn conn;
extern Worker workers[MAXTHREADS];
extern atomic_int stopped;
extern int unbuffered;
extern const Load loads[];

/* bench.c */
void die(const char *what);
double now(void);
void nap(double seconds);
int running(void);
void count(Worker *);
void figure(const char *name, const char *unit, double value);
void cannot(const char *what);

/* pthreads.c, or libthread.c, either of which has the main function */
int bench(int argc, char **argv);
void newthread(void (*f)(void *), void *arg);

/* messages.c */
Msg *newmsg(void);
void fillmsg(Msg *, Worker *);
void checkmsg(const Msg *, const Worker *, uint64_t serial);
void puttag(Msg *, unsigned tag);
unsigned tagof(const Msg *);
int muxgettag(Mux *, void *);
int muxsettag(Mux *, void *, unsigned tag);

/* transports.c */
int memsend(Mux *, void *);
void *memrecv(Mux *);
int fdsend(Mux *, void *);
void *fdrecv(Mux *);
int fdnbrecv(Mux *, void **);
int fdsendv(Mux *, void **, int);
int fdrecvv(Mux *, void **, int);
int heldsend(Mux *, void *);
int heldnbrecv(Mux *, void **);
int startecho(void);
void initmux(int ntag);

/* loops.c */
Setup setupmem, setupecho, setupprocs, setupbatch, setupheld;
Loop memloop, muxloop, asyncloop;

/* floors.c */
Setup setupfloor;
Loop memfloor, onefloor, asyncfloor, manyfloor;
void floorcall(Worker *, Msg *);

/* latency.c */
Loop loneloop, lonefloor, lonewritefloor;
Setup latencies;

/* outstanding.c */
Setup setupkept;
Loop keptloop, keptfloor;
int keptsend(Mux *, void *);
void keptmux(Mux *);

/* memory.c */
Setup memorystart, memoryrpc, memoryidle;
