/*
 * man3.h: the functions of man3_other.c, the half of the program that is written from the manual page. It contains no
 * type of mux.h, because the two halves have different types under the same names.
 */
#ifndef MAN3_H
#define MAN3_H 1
#include <stddef.h>

typedef struct Page Page;

/* a Mux of the page's form with the tags 0 to 255 of a 9P client, with or without nbrecv */
Page *page_new(int fd, int nbrecv);
/* muxthreads, the page's name of muxprocs */
void page_threads(Page *);
void page_reconnect(Page *, int fd);
/* as client_call, an echo */
int page_call(Page *, unsigned id, unsigned seq, size_t n);
/* as client_start, an echo of 40 bytes; returns a Muxrpc, which only that half may access */
void *page_start(Page *, unsigned id);
/* the page's muxrpccanfinish: 1 the right reply, 0 NULL and EAGAIN, -1 NULL and another errno, -2 a wrong reply */
int page_finish(Page *, void *rpc, unsigned id);
/* returns whether muxrpccanfinish of NULL returns NULL with EINVAL */
int page_finishnil(void);
/* the state of rpc: 1 its reply has arrived, 0 it has not, -1 it belongs to another Page */
int page_peek(Page *, void *rpc);
/* how often nbrecv found a message; number of violations */
unsigned page_found(Page *);
unsigned page_faults(Page *);

#endif
