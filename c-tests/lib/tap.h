/*
 * tap.h: what every C test prints and how it ends.  One line a check, in TAP; a test that locks up
 * fails by itself: tap_start sets an alarm, whose handler prints "not ok" and ends the process.
 */
#ifndef TAP_H
#define TAP_H 1

/* starts the test; a run longer than this many seconds is a lock-up and fails */
void tap_start(const char *name, unsigned seconds);
/* A new part of a long test begins, which has so many seconds for itself; a lock-up or a crash from here on
   is printed with this text. */
void tap_watch(unsigned seconds, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* one check: prints "ok N - what" or "not ok N - what"; answers cond; any thread may call it */
int tap_ok(int cond, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* a remark (a line that begins with "# ") */
void tap_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* prints the plan ("1..N") and answers main's exit status: 0 when every check held and there was one */
int tap_end(void);

#endif
