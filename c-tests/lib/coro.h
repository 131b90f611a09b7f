/*
 * coro.h: a small coroutine runtime for the tests.  It offers what libmux looks for in a plan9port
 * program, under the same names, with the same layouts and the same manners: procs (pthreads) that run
 * many coroutines by turns, qlock, rsleep, rwakeup, proccreate, werrstr.  A caller that sleeps in
 * anything but these stops its whole proc, so a library that does so locks up here.
 *
 * It is stricter than lib9: what there is undefined (a qlock from a pthread that is no proc, an rwakeup
 * without the lock) ends the program here with "not ok".
 */
#ifndef CORO_H
#define CORO_H 1
#include <pthread.h>
#include <stddef.h>

typedef struct Coro Coro;
typedef struct CoroList CoroList;
typedef struct Lock Lock;
typedef struct QLock QLock;
typedef struct Rendez Rendez;

/* first in, first out; a coroutine is on one list at a time */
struct CoroList { Coro *head; Coro *tail; };

/* lib9's layouts; all zero is ready for use */
struct Lock { int init; pthread_mutex_t mutex; int held; };
struct QLock { Lock l; Coro *owner; CoroList waiting; };
struct Rendez { QLock *l; CoroList waiting; };

/* lib9's names, in coro_lib9.c and the last in coro_werrstr.c */
void qlock(QLock *);
void qunlock(QLock *);
void rsleep(Rendez *);
int rwakeup(Rendez *);
int rwakeupall(Rendez *);
void werrstr(char *fmt, ...);
extern void (*_rsleep)(Rendez *, unsigned long);

/* libthread's names, in coro.c */
int proccreate(void (*fn)(void *), void *arg, unsigned int stack);
void _threadsetsysproc(void);
void *_threadproc(void);

/* what errno is when werrstr was the last to speak */
enum { CORO_ERRMARK = 0x19283745 };
/* the last text that werrstr kept, whatever errno says; answers how often werrstr has been called */
unsigned long coro_errstr(char *buf, size_t n);
/* how many rsleep calls there were: zero shows that nobody used the runtime */
unsigned long coro_rsleeps(void);

/*
 * Makes nproc procs (the first is the calling pthread), runs main in the first, and answers its value
 * when all coroutines have ended, or a while after main has if some never do.
 */
int coro_run(int nproc, int (*main)(void *), void *arg);
int coro_nproc(void);
/* starts a coroutine in the proc of that number, 0 to nproc-1 */
Coro *coro_start(int proc, void (*fn)(void *), void *arg);
void coro_yield(void);
/* the number of the caller's proc; -1 in a proc from proccreate, -2 in no proc */
int coro_procnum(void);
/* how many procs from proccreate there are now */
int coro_nproccreated(void);
/* how many of those have said that they are none of the program's */
int coro_nsysproc(void);
/* the next so many proccreate calls answer -1 */
void coro_failproccreate(int n);

/* I/O that stops only the caller; as task_readn, task_writen, task_ready */
long coro_readn(int fd, void *buf, size_t n);
long coro_writen(int fd, const void *buf, size_t n);
int coro_ready_fd(int fd);

/* what waiting functions are made of: put coro_self on a list, park; somebody takes it off and readies it */
Coro *coro_self(void);
void coro_park(void);
void coro_ready(Coro *);
void coro_push(CoroList *, Coro *);
Coro *coro_pop(CoroList *);
/* prints "not ok" with the reason, and ends the process */
void coro_die(const char *why);
/* called by coro_run once the procs stand: makes _rsleep say so */
void coro_lib9_start(void);

#endif
