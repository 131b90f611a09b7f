/*
 * deadline - write files of a 9P server to the standard output, with a deadline for each read.
 *
 * If a read misses its deadline, muxrpctimeout abandons it, and it is repeated with more time. The late reply
 * is an orphan, which the function of muxsetorphan frees. At the end one more read is started and cancelled:
 * muxrpccancel abandons it here, and a Tflush at the server. Then muxfree releases all memory.
 */
#include <inttypes.h>
#include "client.h"

enum { Root = 0, Msize = 8192 + IOheader, Patience = 60000 };

static Conn conn;
static int ms = 100;		/* deadline of the first attempt */
static unsigned late;		/* reads that missed it */
static uint64_t bytes;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "deadline: %s: %s\n", what, why);
	exit(1);
}

/* libmux cannot free a message, so without this function orphans would be leaked */
static void
dispose(Mux *mux, void *reply)
{
	(void)mux;
	free(reply);
}

static Muxstats
stats(void)
{
	Muxstats s = { .size = sizeof s };

	muxstats(&conn.mux, &s);
	return s;
}

/*
 * As fsread, with a deadline. A read can be repeated because it changes nothing at the server. Each attempt is
 * a call with a tag of its own, so that a late reply is not delivered to the next attempt.
 */
static int
readsoon(unsigned fid, uint64_t offset, unsigned char *buf, unsigned count)
{
	unsigned char *r;
	int limit, n;
	Msg m;

	readmsg(&m, fid, offset, count);
	finish(&m);
	for(limit = ms; ; limit = 2*limit + 1){
		r = muxrpctimeout(&conn.mux, m.b, limit);
		if(r != NULL || errno != ETIMEDOUT || limit > Patience)
			break;
		late++;
	}
	r = checkreply(r, Rread, 4);
	if(r == NULL)
		return -1;
	n = readcount(r, count);
	if(n > 0)
		memcpy(buf, r+Header+4, (size_t)n);
	free(r);
	return n;
}

/*
 * The server may still work on abandoned reads, so the fid must not be clunked yet. Each call here also
 * receives the messages that arrive before its own reply.
 */
static void
settle(unsigned fid)
{
	uint64_t length;

	while(stats().outstanding > 0)
		if(fslength(&conn, fid, &length) < 0)
			die("waiting for late replies", fserror());
}

static void
copy(const char *name, unsigned fid)
{
	static unsigned char buf[Msize];
	uint64_t offset;
	int iounit, n;

	if(fswalk(&conn, Root, fid, name) < 0 || (iounit = fsopen(&conn, fid)) < 0)
		die(name, fserror());
	for(offset = 0; (n = readsoon(fid, offset, buf, (unsigned)iounit)) > 0; offset += (unsigned)n)
		if(fwrite(buf, 1, (size_t)n, stdout) != (size_t)n)
			die("standard output", strerror(errno));
	if(n < 0)
		die(name, fserror());
	bytes += offset;
	settle(fid);
	fsclunk(&conn, fid);
}

/*
 * Start a read, and cancel it. A Tflush informs the server. After the Rflush the server has finished with the
 * read, so the fid may be clunked: the reply arrived before the Rflush, or will never arrive. In that case
 * the tag stays out of use until the connection ends, because libmux does not know about the flush.
 */
static void
changemind(const char *name, unsigned fid)
{
	unsigned char *r;
	unsigned tag;
	Muxrpc *rpc;
	Msg m;

	if(fswalk(&conn, Root, fid, name) < 0 || fsopen(&conn, fid) < 0)
		die(name, fserror());
	readmsg(&m, fid, 0, 1);
	finish(&m);
	rpc = muxrpcstart(&conn.mux, m.b);
	if(rpc == NULL)
		die(name, strerror(errno));
	tag = rpc->tag;
	muxrpccancel(rpc);		/* frees rpc */
	begin(&m, Tflush);
	put(&m, 2, tag);
	r = call(&conn, &m, Rflush, 0);
	if(r == NULL)
		die("flush", fserror());
	free(r);
	fsclunk(&conn, fid);
}

int
main(int argc, char **argv)
{
	const char *aname = "";
	int c, i, nfile, verbose = 0;
	Muxstats s;

	while((c = getopt(argc, argv, "vt:a:")) != -1){
		switch(c){
		case 'v': verbose = 1; break;
		case 't': ms = atoi(optarg); break;
		case 'a': aname = optarg; break;
		default: ms = -1;
		}
	}
	nfile = argc-optind-1;
	if(nfile < 1 || ms < 0 || ms > Patience){
		fprintf(stderr, "usage: deadline [-v] [-t milliseconds] [-a tree] address file ...\n");
		exit(2);
	}

	if(fsdial(&conn, argv[optind], Msize) < 0 || fsattach(&conn, Root, NULL, aname) < 0)
		die(argv[optind], fserror());
	muxsetorphan(&conn.mux, dispose);
	for(i = 0; i < nfile; i++)
		copy(argv[optind+1+i], Root+1);
	changemind(argv[optind+1], Root+1);
	fsclunk(&conn, Root);
	if(fflush(stdout) == EOF)
		die("standard output", strerror(errno));

	s = stats();
	if(verbose)
		fprintf(stderr, "deadline: %" PRIu64 " bytes of %d file%s; %lu calls, %lu failed (%u late, and repeated);"
			" %lu orphans; %u tags in use at most, %u now\n",
			bytes, nfile, nfile == 1 ? "" : "s", s.calls, s.errors, late, s.orphans, s.maxoutstanding, s.outstanding);

	/* no thread is in recv here; otherwise shutdown would make it return, and muxfree would wait for that */
	shutdown(conn.fd, SHUT_RDWR);
	errno = 0;
	muxfree(&conn.mux);
	if(errno != 0)
		die("muxfree", strerror(errno));
	close(conn.fd);
	return 0;
}
