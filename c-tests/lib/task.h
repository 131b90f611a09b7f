/*
 * task.h: tasks, of two kinds. The same test source runs with plain threads (task_pthread.c) and with coroutines,
 * many in each of several pthreads (task_coro.c). A test that waits only through these functions blocks only the
 * waiting task.
 */
#ifndef TASK_H
#define TASK_H 1
#include <stddef.h>

typedef struct Task Task;
typedef struct TaskEvent TaskEvent;
typedef struct TaskMutex TaskMutex;

/* the test's own main: called in a task after the runtime is initialized; its value is the exit status */
int task_main(int argc, char **argv);

/* starts a task; never fails (a failure ends the test) */
Task *task_start(void (*fn)(void *), void *arg);
/* waits for its end, and frees it */
void task_join(Task *);
/* lets other tasks run */
void task_yield(void);
/* "pthread" or "coro" */
const char *task_kind(void);

/* I/O on a descriptor that blocks only this task. readn: exactly n bytes; returns n, less at the end of the file,
   -1 on error. writen: all n bytes or -1. ready: returns at once, 1 if a read would not block. */
long task_readn(int fd, void *buf, size_t n);
long task_writen(int fd, const void *buf, size_t n);
int task_ready(int fd);

/* an event is set once and stays set; a wait for an event that is set returns at once */
TaskEvent *task_event(void);
void task_event_set(TaskEvent *);
void task_event_wait(TaskEvent *);
int task_event_isset(TaskEvent *);
void task_event_free(TaskEvent *);

/* mutual exclusion between tasks; its holder may wait (and, with coroutines, switch) */
TaskMutex *task_mutex(void);
void task_lock(TaskMutex *);
void task_unlock(TaskMutex *);
void task_mutex_free(TaskMutex *);

#endif
