/*
 * Installed by `make install PLAN9=... 9PSERVE=1` in place of plan9port's 9pserve.c, which is 9pserve.c.orig.
 * bin/9pmux does the work of 9pserve under that name; see 9pmux(1). So the tree's own build may replace the copy of
 * 9pmux in bin/9pserve by this program.
 */
#include <u.h>
#include <libc.h>

void
main(int argc, char **argv)
{
	char *program;

	USED(argc);
	program = unsharp("#9/bin/9pmux");
	exec(program, argv);
	sysfatal("%s: %r", program);
}
