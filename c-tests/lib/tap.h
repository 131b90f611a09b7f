/*
 * tap.h: the output and the end of every C test. One line for each check, in TAP. A test that locks up fails:
 * tap_start sets an alarm, whose handler prints "not ok" and ends the process.
 */
#ifndef TAP_H
#define TAP_H 1

/* starts the test; a run longer than this many seconds is a lock-up and fails */
void tap_start(const char *name, unsigned seconds);
/* Begins a part of a long test, with a time limit of its own; a lock-up or a crash from now on is printed with this
   text. */
void tap_watch(unsigned seconds, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* one check: prints "ok N - what" or "not ok N - what"; returns cond; may be called by any thread */
int tap_ok(int cond, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* a comment (a line that begins with "# ") */
void tap_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* prints the plan ("1..N") and returns the exit status of main: 0 if every check was true and there was at least
   one */
int tap_end(void);

#endif
