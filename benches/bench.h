/*
 * Declarations shared by the files of the benchmark; bench.c describes the program.
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
	KEEP = 64, /* number of calls that the async loads keep outstanding */
	CANNOT = 3 /* exit status if the library lacks a function that a load needs */
};

typedef struct Msg Msg;
typedef struct Conn Conn;
typedef struct Worker Worker;
typedef struct Load Load;

struct Msg {
	unsigned char b[MSGSIZE];
	Msg *next; /* link of the list of a connection in memory; not sent */
};

struct Conn {
	Mux mux;
	int fd;
	int sofar, end; /* the part of buf that has not been returned by recv */
	unsigned char buf[BUFFER];
	int held; /* number of bytes of out that have not been written */
	unsigned char out[BUFFER];
	Msg *head, **tail; /* list of a connection in memory */
};

/* One caller. Its counter shares no cache line with other data. */
struct Worker {
	_Alignas(128) atomic_ulong calls;
	unsigned long limit; /* maximum number of calls; 0 is no limit */
	atomic_int ready; /* the futex of a floor */
	unsigned index;
	uint64_t serial;
	Msg reply; /* the reply of a floor */
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
	Setup *floorsetup; /* the same without a multiplexor; or NULL */
	Loop *floorloop;
	int n; /* number of calls outstanding, if the load defines it */
	int cost; /* prints nanoseconds per call instead of calls per second; the thread is the only one of the process */
	int beside; /* with cost: a second thread sleeps */
	int stretch; /* factor of the duration; 0 is 1 */
	Loop *lone; /* loop of the first thread, if it is another; its calls are not counted in the sum */
	Loop *lonefloor;
	Setup *report; /* prints further figures at the end */
	Setup *whole; /* replaces the whole measurement */
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

/* pthreads.c or libthread.c, each of which calls bench */
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
