/*
 * procs - write files of a 9P server to the standard output, and read ahead, in one loop that waits for the
 * server and for the output.
 *
 * muxprocs starts two threads that do all sending and receiving. Replies are therefore received while the
 * output blocks, and the loop needs neither nbrecv nor the descriptor of the connection: it polls that of
 * muxpollfd, which is readable while some call can finish. Compare select-loop.c.
 */
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include "client.h"

enum { Root = 0, Msize = 8192 + IOheader, Maxreads = 1024 };

typedef struct Read Read;
struct Read {
	Muxrpc *rpc;		/* the pending read, or NULL */
	unsigned char *reply;	/* its reply, or NULL */
	uint64_t offset;
	int written;		/* bytes of the reply that have been written */
};

typedef struct File File;
struct File {
	const char *name;
	unsigned fid;
	unsigned iounit;	/* bytes that each read requests */
	uint64_t first, next;	/* reads first to next-1 have been started; number i is ring[i%nread] */
	unsigned window;	/* how many reads to start ahead */
	uint64_t offset;	/* of the next read */
	uint64_t written;	/* bytes of the file that have been written */
	int ended;		/* the end of the file has been read */
};

static Conn conn;
static Read ring[Maxreads];
static unsigned nread = 32;
static uint64_t bytes;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "procs: %s: %s\n", what, why);
	exit(1);
}

static void
readahead(File *f)
{
	Read *r;
	Msg m;

	for(; !f->ended && f->next-f->first < f->window; f->next++){
		r = &ring[f->next%nread];
		readmsg(&m, f->fid, f->offset, f->iounit);
		finish(&m);
		r->rpc = muxrpcstart(&conn.mux, m.b);
		if(r->rpc == NULL)
			die(f->name, strerror(errno));
		r->offset = f->offset;
		r->written = 0;
		f->offset += f->iounit;
	}
}

/* collect the replies that have arrived; they are checked when they are written */
static void
collect(File *f)
{
	uint64_t i;
	void *reply;
	Read *r;

	for(i = f->first; i < f->next; i++){
		r = &ring[i%nread];
		if(r->rpc == NULL || !muxrpccanfinish(r->rpc, &reply))
			continue;
		if(reply == NULL)
			die(f->name, strerror(errno));
		r->rpc = NULL;		/* libmux has freed it */
		r->reply = reply;
	}
}

/* write a part of the reply of r: 1 if it has been written completely, 0 if not */
static int
output(File *f, Read *r)
{
	size_t left;
	ssize_t k;
	int n;

	if(f->ended || r->offset != f->written - (uint64_t)r->written)
		return 1;	/* read past the end of the file: see below */
	if(checkreply(r->reply, Rread, 4) == NULL || (n = readcount(r->reply, f->iounit)) < 0)
		die(f->name, fserror());
	if(n == 0){
		f->ended = 1;
		return 1;
	}
	left = (size_t)(n - r->written);	/* a pipe that is writable accepts PIPE_BUF bytes without blocking */
	k = write(1, r->reply+Header+4+r->written, left < PIPE_BUF ? left : PIPE_BUF);
	if(k < 0 && errno != EINTR && errno != EAGAIN)
		die("standard output", strerror(errno));
	if(k < 0)
		return 0;
	r->written += (int)k;
	f->written += (uint64_t)k;
	if(r->written < n)
		return 0;
	if(n == (int)f->iounit)
		f->window = 2*f->window < nread ? 2*f->window : nread;
	else{			/* probably the end of the file; otherwise the reads ahead have left a gap */
		f->window = 1;
		f->offset = f->written;
	}
	return 1;
}

static void
copy(File *f)
{
	/* the server, and the output */
	struct pollfd pfd[2] = { { .fd = muxpollfd(&conn.mux), .events = POLLIN }, { .events = POLLOUT } };
	int iounit;
	Read *r;

	if(pfd[0].fd < 0)
		die("muxpollfd", strerror(errno));
	/* setting up needs no loop: these calls wait for their replies in muxrpc */
	if(fswalk(&conn, Root, f->fid, f->name) < 0 || (iounit = fsopen(&conn, f->fid)) < 0)
		die(f->name, fserror());
	f->iounit = (unsigned)iounit;
	f->window = 1;
	while(!f->ended || f->first < f->next){
		readahead(f);
		r = &ring[f->first%nread];
		pfd[1].fd = r->reply != NULL ? 1 : -1;	/* poll ignores -1 */
		pfd[0].revents = pfd[1].revents = 0;
		poll(pfd, 2, -1);
		if(pfd[0].revents)
			collect(f);
		if(pfd[1].revents && output(f, r)){
			free(r->reply);
			r->reply = NULL;
			f->first++;
		}
	}
	fsclunk(&conn, f->fid);
	bytes += f->written;
}

int
main(int argc, char **argv)
{
	const char *aname = "";
	Muxstats stats = { .size = sizeof stats };
	int c, i, nfile, verbose = 0;
	File f;

	while((c = getopt(argc, argv, "vn:a:")) != -1){
		switch(c){
		case 'v': verbose = 1; break;
		case 'n': nread = (unsigned)atoi(optarg); break;
		case 'a': aname = optarg; break;
		default: nread = 0;
		}
	}
	nfile = argc-optind-1;
	if(nfile < 1 || nread < 1 || nread > Maxreads){
		fprintf(stderr, "usage: procs [-v] [-n reads] [-a tree] address file ...\n");
		exit(2);
	}

	if(fsdial(&conn, argv[optind], Msize) < 0)
		die(argv[optind], fserror());
	errno = 0;
	muxprocs(&conn.mux);
	if(errno != 0)		/* without procs no thread would receive for the loop */
		die("muxprocs", strerror(errno));
	if(fsattach(&conn, Root, NULL, aname) < 0)
		die(argv[optind], fserror());

	for(i = 0; i < nfile; i++){
		memset(&f, 0, sizeof f);
		f.name = argv[optind+1+i];
		f.fid = Root+1+(unsigned)i;
		copy(&f);
	}
	fsclunk(&conn, Root);

	muxstats(&conn.mux, &stats);
	if(verbose)
		fprintf(stderr, "procs: %" PRIu64 " bytes of %d file%s, %lu calls, at most %u outstanding\n",
			bytes, nfile, nfile == 1 ? "" : "s", stats.calls, stats.maxoutstanding);

	/* shutdown makes the procs return from send and recv, and muxfree waits until they have ended */
	shutdown(conn.fd, SHUT_RDWR);
	muxfree(&conn.mux);
	close(conn.fd);
	return 0;
}
