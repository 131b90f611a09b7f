/*
 * fiber.h: tells a sanitizer of every switch of stacks, which it would otherwise report as an error or a race.
 * Without a sanitizer the functions do nothing.
 */
#ifndef FIBER_H
#define FIBER_H 1
#include <stddef.h>

#ifdef __has_feature
#define FIBER_ADDRESS __has_feature(address_sanitizer)
#define FIBER_THREAD __has_feature(thread_sanitizer)
#else
#ifdef __SANITIZE_ADDRESS__
#define FIBER_ADDRESS 1
#endif
#ifdef __SANITIZE_THREAD__
#define FIBER_THREAD 1
#endif
#endif

/* a coroutine, or the pthread that runs them alternately */
typedef struct Fiber Fiber;
struct Fiber {
	const void *stack;
	size_t size;
	void *fake;
	void *thread;
};

#if FIBER_ADDRESS
void __sanitizer_start_switch_fiber(void **, const void *, size_t);
void __sanitizer_finish_switch_fiber(void *, const void **, size_t *);
#endif
#if FIBER_THREAD
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void *);
void __tsan_switch_to_fiber(void *, unsigned);
#endif

/* a fiber with a stack of its own */
static inline void
fiber_new(Fiber *f, const void *stack, size_t size)
{
	f->stack = stack;
	f->size = size;
#if FIBER_THREAD
	f->thread = __tsan_create_fiber(0);
#endif
}

/* the calling pthread; its stack becomes known at the first switch */
static inline void
fiber_pthread(Fiber *f)
{
	(void)f;
#if FIBER_THREAD
	f->thread = __tsan_get_current_fiber();
#endif
}

static inline void
fiber_free(Fiber *f)
{
	(void)f;
#if FIBER_THREAD
	__tsan_destroy_fiber(f->thread);
#endif
}

/* directly before the switch; over: from is never resumed */
static inline void
fiber_leave(Fiber *from, Fiber *to, int over)
{
	(void)from;
	(void)to;
	(void)over;
#if FIBER_ADDRESS
	__sanitizer_start_switch_fiber(over ? NULL : &from->fake, to->stack, to->size);
#endif
#if FIBER_THREAD
	__tsan_switch_to_fiber(to->thread, 0);
#endif
}

/* directly after the switch, on the new stack */
static inline void
fiber_arrive(Fiber *to, Fiber *from)
{
	(void)to;
	(void)from;
#if FIBER_ADDRESS
	__sanitizer_finish_switch_fiber(to->fake, &from->stack, &from->size);
#endif
}

#endif
