/*
 * fault.h: what the library asks the system for (memory, threads, descriptors) is counted, and refused when
 * a test says so.  Its asking is told from the program's own: in the archive the names are changed by
 * objcopy, so that they are functions of fault.c's; for the shared library those names are the program's,
 * and who asks is told by where it returns to.
 */
#ifndef FAULT_H
#define FAULT_H 1
#include <stddef.h>

/* the k-th request from now on is refused, 0 being the next; and with stays all that follow, until
   fault_none */
void fault_at(long k, int stays);
/* nothing is refused any more; answers how many requests there were since fault_at */
long fault_none(void);
/* for a moment nothing is refused, nor counted; and it goes on */
void fault_pause(int);
/* how many were refused since the last fault_at */
long fault_refused(void);
/* blocks of memory that the library has had and not given back */
long fault_live(void);
/* bytes of them, as they were asked for */
long fault_bytes(void);
/* what was seen that may not be (a block given back twice), or nil */
const char *fault_wrong(void);
/* frees a block that the library has made for the program (_muxqalloc) */
void fault_free(void *);
/* whether anything is counted at all: not under a tool that brings a malloc of its own */
int fault_works(void);
/* prints, as remarks, the places in the program (offsets from its start) that were refused something, and
   how often: in an archive's program, where a call of the library's returns to */
void fault_sites(void);

#endif
