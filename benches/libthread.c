/*
 * Callers that are procs of plan9port's libthread. This file replaces pthreads.c for a library that needs libthread,
 * or to measure ours with it. libthread.a contains the main function, which calls threadmain. Its functions are
 * declared here, so that no header of plan9port is needed.
 */
#include "bench.h"

int proccreate(void (*f)(void *), void *arg, unsigned stack);
void threadmain(int argc, char **argv);

void
newthread(void (*f)(void *), void *arg)
{
	if (proccreate(f, arg, STACK) < 0)
		die("proccreate");
}

void
threadmain(int argc, char **argv)
{
	int status = bench(argc, argv);

	fflush(stdout);
	_exit(status);
}
