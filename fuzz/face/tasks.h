/*
 * tasks.h: choices and coroutines. The fuzzer's input makes every choice that the library does not make, including the
 * order in which coroutines run. There is one thread and a simulated clock, so the same input gives the same run.
 */
#include <stddef.h>
#include <stdint.h>

enum { NTASK = 24 };

#define NEVER INT64_MAX

/* one of n; when the input is used up the first, which is the successful case */
unsigned choice(unsigned n);
/* true once in n times */
int rarely(unsigned n);
int usedup(void);

/* reports a violation and ends the program */
void fault(const char *what, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* prints events if FACE_TRACE is set in the environment */
void trace(const char *what, ...) __attribute__((format(printf, 1, 2)));

void tasks_begin(const uint8_t *bytes, size_t size);
/* forgets all tasks; they must have ended */
void tasks_again(void);
/* starts a task; returns -1 if there are too many */
int task_start(void (*body)(void *), void *arg);
/* lets other tasks run */
void task_yield(void);
/* waits until so(arg) is true */
void task_wait(int (*so)(void *), void *arg);
/* runs the tasks; returns 1 if all have ended, 0 if none can run any more */
int tasks_run(void);
/* number of tasks that have not ended */
int tasks_left(void);
/* the simulated time in nanoseconds */
int64_t now(void);
/* calls muxsetsched; must be called once */
void tasks_install(void);
