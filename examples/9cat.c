/*
 * 9cat - write files of a 9P server to the standard output; several readers read them at once.
 *
 * All readers make their calls by muxrpc on one connection, as if each reader had a connection of its own. A
 * reader draws a ticket for the next piece of a file, reads the piece, waits until all earlier pieces have
 * been written, and writes it. client.h contains the functions that libmux calls.
 */
#include <inttypes.h>
#include <pthread.h>
#include <time.h>
#include "client.h"

enum { Root = 0, Maxreaders = 1024 };	/* fid of the root; reader number i uses fid i+1 */

typedef struct File File;
struct File {
	const char *name;
	uint64_t length;
	uint64_t first;		/* ticket of its first piece */
	atomic_int failed;	/* its error has been printed */
};

static Conn conn;
static File *file;
static unsigned nfile;
static unsigned nreader = 8;
static unsigned piece;		/* bytes of a file for each ticket: one read */
static uint64_t nticket;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t next;		/* next ticket to be drawn */
static uint64_t written;	/* tickets whose pieces have been written */
static pthread_cond_t turn[Maxreaders];	/* ticket t waits on turn[t % nreader] */
static uint64_t bytes;
static int status;

static void
die(const char *what, const char *why)
{
	pthread_mutex_lock(&lock);	/* never released: no other thread prints */
	fprintf(stderr, "9cat: %s: %s\n", what, why);
	_exit(1);
}

/* print the error once for each file; the other files are still read */
static void
complain(File *f)
{
	if(conn.lost)
		die(f->name, fserror());
	pthread_mutex_lock(&lock);
	if(!f->failed)
		fprintf(stderr, "9cat: %s: %s\n", f->name, fserror());
	f->failed = 1;
	status = 1;
	pthread_mutex_unlock(&lock);
}

/* draw the next ticket; n or more if all n have been drawn */
static uint64_t
take(void)
{
	uint64_t t;

	pthread_mutex_lock(&lock);
	t = next++;
	pthread_mutex_unlock(&lock);
	return t;
}

/* first round: check that each file can be read, and get its length */
static void *
measure(void *v)
{
	unsigned fid = *(unsigned*)v;
	uint64_t t;
	File *f;

	while((t = take()) < nfile){
		f = &file[t];
		if(fswalk(&conn, Root, fid, f->name) < 0){
			complain(f);
			continue;
		}
		if(fsopen(&conn, fid) < 0 || fslength(&conn, fid, &f->length) < 0)
			complain(f);
		fsclunk(&conn, fid);
	}
	return NULL;
}

/* read until n bytes have been read or the file ends; the server may return less at a time */
static int
readall(unsigned fid, int iounit, uint64_t offset, unsigned char *buf, unsigned n)
{
	unsigned have;
	int k;

	for(have = 0; have < n; have += k){
		k = fsread(&conn, fid, offset+have, buf+have, n-have < (unsigned)iounit ? n-have : (unsigned)iounit);
		if(k < 0)
			return -1;
		if(k == 0)
			break;
	}
	return (int)have;
}

static void
output(const unsigned char *p, size_t n)
{
	ssize_t k;

	for(bytes += n; n > 0; p += k, n -= k){
		k = write(1, p, n);
		if(k < 0 && errno == EINTR)
			k = 0;
		if(k < 0)
			die("standard output", strerror(errno));
	}
}

static void
waitturn(uint64_t t)
{
	pthread_mutex_lock(&lock);
	while(written != t)
		pthread_cond_wait(&turn[t%nreader], &lock);
	pthread_mutex_unlock(&lock);
}

static void
passturn(uint64_t t)
{
	pthread_mutex_lock(&lock);
	written = t+1;
	pthread_cond_signal(&turn[written%nreader]);
	pthread_mutex_unlock(&lock);
}

/*
 * Read and write piece number t-f->first of f. The last piece ends with the file, which may have grown since
 * the first round, or report a length of 0.
 */
static void
copy(File *f, uint64_t t, unsigned fid, int iounit, unsigned char *buf)
{
	uint64_t offset = (t - f->first)*piece;
	int last = f+1 == file+nfile ? t+1 == nticket : t+1 == f[1].first;
	int n;

	n = readall(fid, iounit, offset, buf, piece);
	waitturn(t);
	while(n > 0){
		output(buf, (size_t)n);
		offset += n;
		if(!last || n < (int)piece)
			break;
		n = readall(fid, iounit, offset, buf, piece);
	}
	if(n < 0)
		complain(f);
	else if(!last && n < (int)piece)
		die(f->name, "became shorter while it was read");
}

/* second round: read the pieces. The file stays open while the tickets of this reader belong to it */
static void *
reader(void *v)
{
	unsigned fid = *(unsigned*)v;
	unsigned char *buf;
	File *f, *opened;
	uint64_t t;
	int iounit;

	buf = malloc(piece);
	if(buf == NULL)
		die("out of memory", "too many readers?");
	opened = NULL;
	iounit = -1;
	f = file;
	while((t = take()) < nticket){
		while(f+1 < file+nfile && f[1].first <= t)
			f++;
		if(f != opened){
			if(opened != NULL)
				fsclunk(&conn, fid);
			opened = f->failed ? NULL : f;
			iounit = -1;
			if(opened != NULL && fswalk(&conn, Root, fid, f->name) < 0)
				opened = NULL;
			if(opened != NULL)
				iounit = fsopen(&conn, fid);
			if(iounit < 0)
				complain(f);
		}
		if(iounit > 0)
			copy(f, t, fid, iounit, buf);
		else
			waitturn(t);
		passturn(t);
	}
	if(opened != NULL)
		fsclunk(&conn, fid);
	free(buf);
	return NULL;
}

/* run f in all readers, each with a fid of its own, and wait for them */
static void
inparallel(void *(*f)(void*))
{
	static pthread_t thread[Maxreaders];
	static unsigned fid[Maxreaders];
	unsigned i;

	next = 0;
	for(i = 0; i < nreader; i++){
		fid[i] = Root+1+i;
		if(pthread_create(&thread[i], NULL, f, &fid[i]) != 0)
			die("cannot start a reader", strerror(EAGAIN));
	}
	for(i = 0; i < nreader; i++)
		pthread_join(thread[i], NULL);
}

static void
report(const struct timespec *start)
{
	struct timespec end;
	double s;

	clock_gettime(CLOCK_MONOTONIC, &end);
	s = (double)(end.tv_sec - start->tv_sec) + (double)(end.tv_nsec - start->tv_nsec)/1e9;
	fprintf(stderr, "9cat: %" PRIu64 " bytes of %u file%s in %.2f s: %u readers, 1 connection (%s),"
		" %u calls, at most %u outstanding\n",
		bytes, nfile, nfile == 1 ? "" : "s", s, nreader, conn.dotl ? "9P2000.L" : "9P2000",
		atomic_load(&conn.calls), atomic_load(&conn.most));
}

static void
usage(void)
{
	fprintf(stderr, "usage: 9cat [-v] [-r readers] [-m msize] [-u user] [-a tree] address file ...\n"
		"	address: tcp!host!port or unix!path\n");
	exit(2);
}

int
main(int argc, char **argv)
{
	const char *uname = NULL, *aname = "";
	struct timespec start;
	unsigned i, msize = 65536 + IOheader;
	int c, verbose = 0;

	while((c = getopt(argc, argv, "vr:m:u:a:")) != -1){
		switch(c){
		case 'v': verbose = 1; break;
		case 'r': nreader = (unsigned)atoi(optarg); break;
		case 'm': msize = (unsigned)atoi(optarg); break;
		case 'u': uname = optarg; break;
		case 'a': aname = optarg; break;
		default: usage();
		}
	}
	if(argc-optind < 2 || nreader < 1 || nreader > Maxreaders)
		usage();

	clock_gettime(CLOCK_MONOTONIC, &start);
	if(fsdial(&conn, argv[optind], msize) < 0 || fsattach(&conn, Root, uname, aname) < 0)
		die(argv[optind], fserror());

	piece = conn.msize - IOheader;
	nfile = (unsigned)(argc - optind - 1);
	file = calloc(nfile, sizeof *file);
	if(file == NULL)
		die("out of memory", "too many files");
	for(i = 0; i < nfile; i++)
		file[i].name = argv[optind+1+i];
	for(i = 0; i < nreader; i++)
		pthread_cond_init(&turn[i], NULL);

	inparallel(measure);
	for(i = 0; i < nfile; i++){
		file[i].first = nticket;
		nticket += file[i].length/piece + 1;
	}
	inparallel(reader);

	fsclunk(&conn, Root);
	if(verbose)
		report(&start);
	free(file);
	return status;
}
