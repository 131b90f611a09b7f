/*
 * guest.c - what busybox lacks for tests/kernel/work.
 *
 * guest locks FILE OTHER	locks of fcntl and flock on a file that is mounted twice. Prints what a second process may
 *				lock while the first holds a lock, and after it has released it.
 * guest read FILE		reads the file again and again, until it is killed
 * guest write FILE FROM STOP	writes the bytes of FROM to the file again and again, until there is a file STOP
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

static int byrange(int fd, int type, off_t start, off_t len)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	return fcntl(fd, F_SETLK, &l);
}

static void say(const char *what, int result)
{
	printf("%s: %s\n", what, result < 0 ? strerror(errno) : "locked");
	fflush(stdout);
}

/* a process of its own, because locks of fcntl belong to processes */
static void second(const char *when, const char *path)
{
	char what[100];
	int fd;

	if(fork() > 0){
		wait(NULL);
		return;
	}
	fd = open(path, O_RDWR);
	snprintf(what, sizeof what, "%s, first bytes", when);
	say(what, byrange(fd, F_WRLCK, 0, 10));
	snprintf(what, sizeof what, "%s, last bytes", when);
	say(what, byrange(fd, F_WRLCK, 90, 10));
	snprintf(what, sizeof what, "%s, flock", when);
	say(what, flock(fd, LOCK_EX|LOCK_NB));
	exit(0);
}

static int locks(const char *file, const char *other)
{
	int fd, whole;

	if((fd = open(file, O_RDWR)) < 0 || (whole = open(file, O_RDWR)) < 0)
		return 1;
	say("range", byrange(fd, F_WRLCK, 0, 50));
	second("same mount", file);
	second("other mount", other);
	say("unlock", byrange(fd, F_UNLCK, 0, 0));
	say("flock", flock(whole, LOCK_EX|LOCK_NB));
	second("same mount", file);
	second("other mount", other);
	say("unlock", flock(whole, LOCK_UN));
	second("same mount", file);
	second("other mount", other);
	return 0;
}

static int readforever(const char *file)
{
	char buf[8192];
	int fd;

	if((fd = open(file, O_RDONLY)) < 0)
		return 1;
	while(read(fd, buf, sizeof buf) > 0 || lseek(fd, 0, SEEK_SET) == 0)
		;
	return 1;
}

static int writeuntil(const char *file, const char *from, const char *stop)
{
	char buf[4096];
	off_t offset;
	ssize_t n;
	int in, out;

	if((in = open(from, O_RDONLY)) < 0 || (out = open(file, O_WRONLY)) < 0)
		return 1;
	while(access(stop, F_OK) < 0)
		for(offset = 0; (n = pread(in, buf, sizeof buf, offset)) > 0; offset += n)
			if(pwrite(out, buf, n, offset) != n){
				perror("pwrite");
				return 1;
			}
	return 0;
}

int main(int argc, char **argv)
{
	if(argc == 4 && strcmp(argv[1], "locks") == 0)
		return locks(argv[2], argv[3]);
	if(argc == 3 && strcmp(argv[1], "read") == 0)
		return readforever(argv[2]);
	if(argc == 5 && strcmp(argv[1], "write") == 0)
		return writeuntil(argv[2], argv[3], argv[4]);
	return 2;
}
