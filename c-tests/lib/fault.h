/*
 * fault.h: the requests of the library to the system (for memory, threads, descriptors) are counted, and fail when
 * a test demands it. They are distinguished from the program's own requests: in the archive, objcopy changes the
 * names to functions of fault.c; for the shared library, the program defines the names, and the return address
 * shows the caller.
 */
#ifndef FAULT_H
#define FAULT_H 1
#include <stddef.h>

/* The k-th request from now on fails, 0 being the next; with stays, all later ones, too, until fault_none. */
void fault_at(long k, int stays);
/* no request fails any more; returns the number of requests since fault_at */
long fault_none(void);
/* suspends failing and counting for a moment, and resumes it */
void fault_pause(int);
/* the number of failed requests since the last fault_at */
long fault_refused(void);
/* blocks of memory that the library has allocated and not freed */
long fault_live(void);
/* their size in bytes, as requested */
long fault_bytes(void);
/* a violation that was seen (a double free), or NULL */
const char *fault_wrong(void);
/* frees a block that the library has allocated for the program (_muxqalloc) */
void fault_free(void *);
/* whether requests are counted at all: not under a tool with its own malloc */
int fault_works(void);
/* prints, as comments, the places of failed requests (offsets from the program's start), and how often each failed:
   in a program with the archive, the return addresses in the library */
void fault_sites(void);

#endif
