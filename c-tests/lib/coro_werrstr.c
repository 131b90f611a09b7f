/*
 * coro_werrstr.c: lib9's error text. Separate from coro_lib9.c, so that a program can be built without it and get
 * plain errno from the library.
 */
#define _GNU_SOURCE 1
#include "coro.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ERRMAX = 128 };

static pthread_mutex_t errlock = PTHREAD_MUTEX_INITIALIZER;
static char errtext[ERRMAX];
static unsigned long nerr;

/* one verb of a format, without its %; returns its length. err is errno of the caller of werrstr */
static int
verb(const char *f, va_list *ap, int err, char *out, size_t n)
{
	if (f[0] == 's') {
		snprintf(out, n, "%s", va_arg(*ap, char *));
		return 1;
	}
	if (f[0] == 'd') {
		snprintf(out, n, "%d", va_arg(*ap, int));
		return 1;
	}
	if (f[0] == 'u' && f[1] == 'd') {
		snprintf(out, n, "%u", va_arg(*ap, unsigned));
		return 2;
	}
	if (f[0] == 'r') {
		snprintf(out, n, "%s", err == CORO_ERRMARK ? errtext : strerror(err));
		return 1;
	}
	snprintf(out, n, "%%%c", f[0]);
	return f[0] != '\0';
}

void
werrstr(char *fmt, ...)
{
	char text[ERRMAX], part[ERRMAX];
	size_t n;
	va_list ap;
	int err;

	err = errno;
	pthread_mutex_lock(&errlock);
	va_start(ap, fmt);
	for (n = 0; *fmt != '\0' && n < sizeof text - 1;) {
		if (*fmt != '%') {
			text[n++] = *fmt++;
			continue;
		}
		fmt += 1 + verb(fmt + 1, &ap, err, part, sizeof part);
		snprintf(text + n, sizeof text - n, "%s", part);
		n += strlen(text + n);
	}
	va_end(ap);
	text[n] = '\0';
	memcpy(errtext, text, sizeof errtext);
	nerr++;
	pthread_mutex_unlock(&errlock);
	errno = CORO_ERRMARK;
}

unsigned long
coro_errstr(char *buf, size_t n)
{
	unsigned long calls;

	pthread_mutex_lock(&errlock);
	snprintf(buf, n, "%s", errtext);
	calls = nerr;
	pthread_mutex_unlock(&errlock);
	return calls;
}
