/*
 * coro.h: a small coroutine runtime for the tests. It has the functions that libmux uses in a plan9port program,
 * under the same names, with the same layouts and behaviour: procs (pthreads) that run many coroutines alternately,
 * qlock, rsleep, rwakeup, proccreate, werrstr. A caller that sleeps in any other way stops its whole proc, so a
 * library that does so locks up here.
 *
 * It is stricter than lib9: behaviour that is undefined there (a qlock in a pthread that is no proc, an rwakeup
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

/* lib9's layouts; zeroed memory is ready for use */
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

/* the value of errno after werrstr */
enum { CORO_ERRMARK = 0x19283745 };
/* the last text passed to werrstr, whatever errno is; returns the number of calls of werrstr */
unsigned long coro_errstr(char *buf, size_t n);
/* the number of rsleep calls: zero shows that the runtime was not used */
unsigned long coro_rsleeps(void);

/*
 * Makes nproc procs (the first is the calling pthread) and runs main in the first. Returns the value of main when
 * all coroutines have ended, or a while after main if some never do.
 */
int coro_run(int nproc, int (*main)(void *), void *arg);
int coro_nproc(void);
/* starts a coroutine in the proc of that number, 0 to nproc-1 */
Coro *coro_start(int proc, void (*fn)(void *), void *arg);
void coro_yield(void);
/* the number of the caller's proc; -1 in a proc from proccreate, -2 in no proc */
int coro_procnum(void);
/* the number of procs from proccreate that exist now */
int coro_nproccreated(void);
/* how many of those are system procs (_threadsetsysproc) */
int coro_nsysproc(void);
/* the next n proccreate calls return -1 */
void coro_failproccreate(int n);

/* I/O that blocks only the caller; as task_readn, task_writen, task_ready */
long coro_readn(int fd, void *buf, size_t n);
long coro_writen(int fd, const void *buf, size_t n);
int coro_ready_fd(int fd);

/* the parts of waiting functions: put coro_self on a list and park; another coroutine takes it off and makes it
   ready */
Coro *coro_self(void);
void coro_park(void);
void coro_ready(Coro *);
void coro_push(CoroList *, Coro *);
Coro *coro_pop(CoroList *);
/* prints "not ok" with the reason, and ends the process */
void coro_die(const char *why);
/* called by coro_run once the procs exist: sets _rsleep */
void coro_lib9_start(void);

#endif
