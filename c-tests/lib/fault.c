/*
 * fault.c: see fault.h. Compiled twice: for programs with the archive, in which the library calls faulty_malloc and
 * related functions, and with FAULT_SHARED for the shared library, which calls malloc itself, and gets this one.
 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include "fault.h"
#include "tap.h"

#if defined(__GLIBC__) || defined(FAULT_SHARED)
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void __libc_free(void *);
#else
/* only the library's names are redirected to this file, so the C library's functions are reached by theirs */
#define __libc_malloc malloc
#define __libc_calloc calloc
#define __libc_realloc realloc
#define __libc_free free
#endif

#ifdef FAULT_SHARED
#define NAME(f) f
#else
#define NAME(f) faulty_##f
void *faulty_malloc(size_t), *faulty_calloc(size_t, size_t), *faulty_realloc(void *, size_t);
void faulty_free(void *);
int faulty_eventfd(unsigned, int);
int faulty_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int faulty_pthread_attr_init(pthread_attr_t *);
#endif

/* blocks are found by address; no test has more than this number at once */
enum { NBLOCK = 1 << 16, NSITE = 256 };

typedef struct Block Block;
struct Block { void *p; size_t n; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Block blocks[NBLOCK];
static long live, bytes;
static long asked, at = -1, refused;
static int stay, seen, paused;
static const char *wrong;
static struct { uintptr_t pc; long n; } sites[NSITE];

#ifdef FAULT_SHARED
static uintptr_t from, to;

static int
look(struct dl_phdr_info *info, size_t size, void *v)
{
	const ElfW(Phdr) *h;
	uintptr_t a;
	int i;

	(void)size;
	(void)v;
	if (strstr(info->dlpi_name, "libmux.so") == NULL)
		return 0;
	for (i = 0; i < info->dlpi_phnum; i++) {
		h = &info->dlpi_phdr[i];
		if (h->p_type != PT_LOAD || !(h->p_flags & PF_X))
			continue;
		a = info->dlpi_addr + h->p_vaddr;
		from = a;
		to = a + h->p_memsz;
	}
	return 1;
}

static int (*realeventfd)(unsigned, int);
static int (*realcreate)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
static int (*realattr)(pthread_attr_t *);

__attribute__((constructor)) static void
find(void)
{
	*(void **)&realeventfd = dlsym(RTLD_NEXT, "eventfd");
	*(void **)&realcreate = dlsym(RTLD_NEXT, "pthread_create");
	*(void **)&realattr = dlsym(RTLD_NEXT, "pthread_attr_init");
	dl_iterate_phdr(look, NULL);
}

static int
islib(void *pc)
{
	return (uintptr_t)pc >= from && (uintptr_t)pc < to;
}
#else
#define realeventfd eventfd
#define realcreate pthread_create
#define realattr pthread_attr_init
#define islib(pc) ((void)(pc), 1)
#endif

static void
note(void *pc)
{
	unsigned i;

	for (i = 0; i < NSITE; i++) {
		if (sites[i].pc != 0 && sites[i].pc != (uintptr_t)pc)
			continue;
		sites[i].pc = (uintptr_t)pc;
		sites[i].n++;
		return;
	}
}

/* returns whether the request of the caller that returns to pc must fail */
static int
fails(void *pc)
{
	int no;

	pthread_mutex_lock(&lock);
	seen = 1;
	no = !paused && at >= 0 && (asked == at || (stay && asked > at));
	if (!paused)
		asked++;
	if (no) {
		refused++;
		note(pc);
	}
	pthread_mutex_unlock(&lock);
	return no;
}

/* the place of a block, or its future place; a table without tombstones: the gap of a removed block is closed */
static unsigned
home(void *p)
{
	return (unsigned)(((uintptr_t)p >> 4) * 2654435761u) % NBLOCK;
}

static void
had(void *p, size_t n)
{
	unsigned i;

	if (p == NULL)
		return;
	pthread_mutex_lock(&lock);
	if (live >= NBLOCK / 2) {
		wrong = "more blocks than the test can count";
	} else {
		for (i = home(p); blocks[i].p != NULL; i = (i + 1) % NBLOCK)
			;
		blocks[i].p = p;
		blocks[i].n = n;
		live++;
		bytes += (long)n;
	}
	pthread_mutex_unlock(&lock);
}

/* returns 1 if the block was the library's */
static int
gone(void *p)
{
	unsigned i, j, h;
	int mine;

	pthread_mutex_lock(&lock);
	for (i = home(p); blocks[i].p != NULL && blocks[i].p != p; i = (i + 1) % NBLOCK)
		;
	mine = blocks[i].p == p;
	if (mine) {
		live--;
		bytes -= (long)blocks[i].n;
		for (j = (i + 1) % NBLOCK; blocks[j].p != NULL; j = (j + 1) % NBLOCK) {
			h = home(blocks[j].p);
			/* the entry may move to i if its home is not between the two, cyclically */
			if ((j - h) % NBLOCK >= (j - i) % NBLOCK) {
				blocks[i] = blocks[j];
				i = j;
			}
		}
		blocks[i].p = NULL;
	}
	pthread_mutex_unlock(&lock);
	return mine;
}

/* noinline, or the return address is not in the library */
__attribute__((noinline)) void *
NAME(malloc)(size_t n)
{
	void *p, *pc;

	pc = __builtin_return_address(0);
	if (!islib(pc))
		return __libc_malloc(n);
	if (fails(pc)) {
		errno = ENOMEM;
		return NULL;
	}
	p = __libc_malloc(n);
	had(p, n);
	return p;
}

__attribute__((noinline)) void *
NAME(calloc)(size_t n, size_t m)
{
	void *p, *pc;

	pc = __builtin_return_address(0);
	if (!islib(pc))
		return __libc_calloc(n, m);
	if (fails(pc)) {
		errno = ENOMEM;
		return NULL;
	}
	p = __libc_calloc(n, m);
	had(p, n * m);
	return p;
}

__attribute__((noinline)) void *
NAME(realloc)(void *old, size_t n)
{
	void *p, *pc;

	pc = __builtin_return_address(0);
	if (!islib(pc))
		return __libc_realloc(old, n);
	if (fails(pc)) {
		errno = ENOMEM;
		return NULL;
	}
	if (old != NULL && !gone(old))
		wrong = "realloc of a block that is not the library's";
	p = __libc_realloc(old, n);
	had(p, n);
	return p;
}

/* a block of the library is recognized whichever code frees it: the call may be a tail call */
void
NAME(free)(void *p)
{
	int err;

	err = errno;
#ifdef FAULT_SHARED
	if (p != NULL && live > 0)
		gone(p);
#else
	if (p != NULL && !gone(p))
		wrong = "free of a block that is not the library's";
#endif
	__libc_free(p);
	errno = err;
}

__attribute__((noinline)) int
NAME(eventfd)(unsigned n, int flags)
{
	void *pc;

	pc = __builtin_return_address(0);
	if (islib(pc) && fails(pc)) {
		errno = EMFILE;
		return -1;
	}
	return realeventfd(n, flags);
}

__attribute__((noinline)) int
NAME(pthread_create)(pthread_t *t, const pthread_attr_t *attr, void *(*f)(void *), void *v)
{
	void *pc;

	pc = __builtin_return_address(0);
	if (islib(pc) && fails(pc))
		return EAGAIN;
	return realcreate(t, attr, f, v);
}

__attribute__((noinline)) int
NAME(pthread_attr_init)(pthread_attr_t *attr)
{
	void *pc;

	pc = __builtin_return_address(0);
	if (islib(pc) && fails(pc))
		return ENOMEM;
	return realattr(attr);
}

void
fault_at(long k, int stays)
{
	pthread_mutex_lock(&lock);
	asked = refused = 0;
	at = k;
	stay = stays;
	pthread_mutex_unlock(&lock);
}

long
fault_none(void)
{
	long n;

	pthread_mutex_lock(&lock);
	at = -1;
	n = asked;
	pthread_mutex_unlock(&lock);
	return n;
}

void
fault_pause(int on)
{
	pthread_mutex_lock(&lock);
	paused = on;
	pthread_mutex_unlock(&lock);
}

long
fault_refused(void)
{
	long n;

	pthread_mutex_lock(&lock);
	n = refused;
	pthread_mutex_unlock(&lock);
	return n;
}

long
fault_live(void)
{
	long n;

	pthread_mutex_lock(&lock);
	n = live;
	pthread_mutex_unlock(&lock);
	return n;
}

long
fault_bytes(void)
{
	long n;

	pthread_mutex_lock(&lock);
	n = bytes;
	pthread_mutex_unlock(&lock);
	return n;
}

const char *
fault_wrong(void)
{
	return wrong;
}

void
fault_free(void *p)
{
	NAME(free)(p);
}

int
fault_works(void)
{
	return seen;
}

void
fault_sites(void)
{
#ifndef FAULT_SHARED
	extern char __executable_start;
	unsigned i;

	for (i = 0; i < NSITE && sites[i].pc != 0; i++)
		tap_note("site %lx %ld", (unsigned long)(sites[i].pc - (uintptr_t)&__executable_start), sites[i].n);
#endif
}
