/*
 * tasks.h: what decides, and who runs: everything that is not the library's to choose is a choice made by
 * the fuzzer's bytes, the order in which coroutines run included.  One thread, and a clock that is ours, so
 * the same bytes do the same again.
 */
#include <stddef.h>
#include <stdint.h>

enum { NTASK = 24 };

#define NEVER INT64_MAX

/* one of n; the first, which is where all goes well, when the bytes are used up */
unsigned choice(unsigned n);
/* once in n */
int rarely(unsigned n);
int usedup(void);

/* ends the program, since something is not as it should be */
void fault(const char *what, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* with FACE_TRACE in the environment it is told what happens */
void trace(const char *what, ...) __attribute__((format(printf, 1, 2)));

void tasks_begin(const uint8_t *bytes, size_t size);
/* forgets all tasks, which are done */
void tasks_again(void);
/* -1 when there are too many */
int task_start(void (*body)(void *), void *arg);
/* lets others run */
void task_yield(void);
/* until it is so */
void task_wait(int (*so)(void *), void *arg);
/* runs all until all are done: 1; or until nobody can run any more: 0 */
int tasks_run(void);
/* how many are not done */
int tasks_left(void);
/* nanoseconds, of our clock */
int64_t now(void);
/* the table for muxsetsched, to be called once */
void tasks_install(void);
