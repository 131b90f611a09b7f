/*
 * tap.c: the output of a test. Each line is made in memory and written by one write, so that lines of several
 * threads never mix and no line is in a buffer when the alarm fires.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tap.h"

enum { LINE = 512 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned done, failed;
/* the lines of the signal handlers, made in advance: a handler must not format */
static char lockup[LINE], crash[LINE];
static size_t nlockup, ncrash;

static void
out(const char *s, size_t n)
{
	ssize_t m;

	while (n > 0) {
		m = write(1, s, n);
		if (m < 0) {
			if (errno == EINTR)
				continue;
			return;
		}
		s += m;
		n -= (size_t)m;
	}
}

static void
onalarm(int sig)
{
	(void)sig;
	out(lockup, nlockup);
	_exit(1);
}

static void
oncrash(int sig)
{
	(void)sig;
	out(crash, ncrash);
	_exit(1);
}

/* under a tool that slows the program down, the limit is longer */
static unsigned
patience(unsigned seconds)
{
	const char *slow;
	long factor;

	slow = getenv("TAP_SLOW");
	factor = slow != NULL ? strtol(slow, NULL, 10) : 1;
	return factor < 1 ? seconds : seconds * (unsigned)factor;
}

void
tap_start(const char *name, unsigned seconds)
{
	struct sigaction sa;
	int n;

	seconds = patience(seconds);
	n = snprintf(lockup, sizeof lockup, "not ok - %s: locked up: not finished after %u seconds\n",
	    name, seconds);
	nlockup = n < 0 ? 0 : (size_t)n < sizeof lockup ? (size_t)n : sizeof lockup - 1;
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = onalarm;
	sigemptyset(&sa.sa_mask);
	sigaction(SIGALRM, &sa, NULL);
	tap_note("%s", name);
	alarm(seconds);
}

void
tap_watch(unsigned seconds, const char *fmt, ...)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
	static int caught;
	char what[LINE / 2];
	struct sigaction sa;
	va_list arg;
	unsigned i;
	int n;

	seconds = patience(seconds);
	va_start(arg, fmt);
	vsnprintf(what, sizeof what, fmt, arg);
	va_end(arg);
	alarm(0);
	n = snprintf(lockup, sizeof lockup, "not ok - %s: locked up: not finished after %u seconds\n", what, seconds);
	nlockup = (size_t)n;
	n = snprintf(crash, sizeof crash, "not ok - %s: crashed\n", what);
	ncrash = (size_t)n;
	if (!caught) {
		caught = 1;
		memset(&sa, 0, sizeof sa);
		sa.sa_handler = oncrash;
		sigemptyset(&sa.sa_mask);
		for (i = 0; i < sizeof faults / sizeof faults[0]; i++)
			sigaction(faults[i], &sa, NULL);
	}
	alarm(seconds);
}

/* newlines within a line would end it early, and its rest would not be TAP */
static size_t
finish(char *line, int n, size_t max)
{
	size_t i, len;

	len = n < 0 ? 0 : (size_t)n < max - 1 ? (size_t)n : max - 2;
	for (i = 0; i < len; i++)
		if (line[i] == '\n')
			line[i] = ' ';
	line[len++] = '\n';
	return len;
}

int
tap_ok(int cond, const char *fmt, ...)
{
	char what[LINE - 32], line[LINE];
	va_list arg;
	int n, olderrno;

	olderrno = errno;
	va_start(arg, fmt);
	vsnprintf(what, sizeof what, fmt, arg);
	va_end(arg);
	pthread_mutex_lock(&lock);
	done++;
	if (!cond)
		failed++;
	n = snprintf(line, sizeof line, "%s %u - %s", cond ? "ok" : "not ok", done, what);
	out(line, finish(line, n, sizeof line));
	pthread_mutex_unlock(&lock);
	/* a check often stands between a call and the use of its errno */
	errno = olderrno;
	return cond;
}

void
tap_note(const char *fmt, ...)
{
	char what[LINE - 32], line[LINE];
	va_list arg;
	int n, olderrno;

	olderrno = errno;
	va_start(arg, fmt);
	vsnprintf(what, sizeof what, fmt, arg);
	va_end(arg);
	pthread_mutex_lock(&lock);
	n = snprintf(line, sizeof line, "# %s", what);
	out(line, finish(line, n, sizeof line));
	pthread_mutex_unlock(&lock);
	errno = olderrno;
}

int
tap_end(void)
{
	char line[LINE];
	int n, bad;

	pthread_mutex_lock(&lock);
	alarm(0);
	n = snprintf(line, sizeof line, "1..%u", done);
	out(line, finish(line, n, sizeof line));
	bad = failed != 0 || done == 0;
	pthread_mutex_unlock(&lock);
	return bad;
}
