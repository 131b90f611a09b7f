/*
 * Callers that are threads of the system.
 */
#include "bench.h"
#include <pthread.h>

typedef struct Start Start;

struct Start {
	void (*f)(void *);
	void *arg;
};

static void *
begin(void *v)
{
	Start s = *(Start *)v;

	free(v);
	s.f(s.arg);
	return NULL;
}

void
newthread(void (*f)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t t;
	Start *s = malloc(sizeof *s);

	if (s == NULL)
		die("malloc");
	s->f = f;
	s->arg = arg;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	errno = pthread_create(&t, &attr, begin, s);
	if (errno != 0)
		die("pthread_create");
	pthread_attr_destroy(&attr);
}

int
main(int argc, char **argv)
{
	int status = bench(argc, argv);

	fflush(stdout);
	_exit(status);
}
