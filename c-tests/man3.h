/*
 * man3.h: what man3.c asks of man3_other.c, the half of the program that was written from the manual page.
 * No type of mux.h is here, for the two halves see different ones under the same names.
 */
#ifndef MAN3_H
#define MAN3_H 1
#include <stddef.h>

typedef struct Page Page;

/* a Mux of the page's form, tags 0 to 255 as 9P has them; without nbrecv if asked */
Page *page_new(int fd, int nbrecv);
/* muxthreads, which the page names */
void page_threads(Page *);
void page_reconnect(Page *, int fd);
/* as client_call, an echo */
int page_call(Page *, unsigned id, unsigned seq, size_t n);
/* as client_start, an echo of 40 bytes; a Muxrpc, which only this half looks into */
void *page_start(Page *, unsigned id);
/* the page's muxrpccanfinish: 1 the right reply, 0 nil and EAGAIN, -1 nil and another errno, -2 a wrong reply */
int page_finish(Page *, void *rpc, unsigned id);
/* muxrpccanfinish of nil: whether it is nil and EINVAL */
int page_finishnil(void);
/* what a look into rpc shows: 1 its reply is there, 0 not, -1 it is not this Page's */
int page_peek(Page *, void *rpc);
/* how often nbrecv found a message; how often something was not as it should be */
unsigned page_found(Page *);
unsigned page_faults(Page *);

#endif
