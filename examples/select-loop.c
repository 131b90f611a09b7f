/*
 * select-loop - copy files of a 9P server into a directory, all at once, from one thread.
 *
 * A program that is built around select or poll cannot wait inside muxrpc, because it has other events to
 * handle. It starts calls with muxrpcstart, waits in its own loop, and collects replies with muxrpccanfinish,
 * which receives by nbrecv and never blocks. The other event here is a timer.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include "client.h"

enum { Root = 0, Msize = 8192 + IOheader };

typedef struct Copy Copy;
struct Copy {
	const char *name;
	int out;		/* the copy's descriptor */
	unsigned fid;
	unsigned iounit;
	uint64_t offset;
	Muxrpc *rpc;		/* the pending read, or NULL */
};

static Conn conn;
static unsigned reads, outstanding, most;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "select-loop: %s: %s\n", what, why);
	exit(1);
}

/* setting up needs no loop: these calls wait for their replies in muxrpc */
static void
opencopy(Copy *c, const char *dir)
{
	const char *base = strrchr(c->name, '/');
	char path[4096];
	int iounit;

	snprintf(path, sizeof path, "%s/%s", dir, base != NULL ? base+1 : c->name);
	if(fswalk(&conn, Root, c->fid, c->name) < 0 || (iounit = fsopen(&conn, c->fid)) < 0)
		die(c->name, fserror());
	c->iounit = (unsigned)iounit;
	c->out = open(path, O_WRONLY|O_CREAT|O_TRUNC, 0666);
	if(c->out < 0)
		die(path, strerror(errno));
}

/* the request may be on the stack: libmux does not use it after muxrpcstart has returned */
static void
startread(Copy *c)
{
	Msg m;

	readmsg(&m, c->fid, c->offset, c->iounit);
	finish(&m);
	c->rpc = muxrpcstart(&conn.mux, m.b);
	if(c->rpc == NULL)
		die(c->name, strerror(errno));
	reads++;
	if(++outstanding > most)
		most = outstanding;
}

/* check whether the read has finished, and start the next one: 1 if it was the last, 0 if not */
static int
tryread(Copy *c)
{
	void *reply;
	unsigned char *r;
	int n;

	if(!muxrpccanfinish(c->rpc, &reply))
		return 0;
	c->rpc = NULL;		/* libmux has freed it */
	outstanding--;
	r = checkreply(reply, Rread, 4);
	if(r == NULL || (n = readcount(r, c->iounit)) < 0)
		die(c->name, fserror());
	if(n > 0 && write(c->out, r+Header+4, (size_t)n) != n)
		die(c->name, "cannot write the copy");
	free(r);
	c->offset += n;
	if(n > 0){
		startread(c);
		return 0;
	}
	if(close(c->out) < 0)
		die(c->name, "cannot write the copy");
	fsclunk(&conn, c->fid);
	return 1;
}

/*
 * Wait for an event. If muxrpccanfinish has received the reply to another call, that reply is in rpc->p of the
 * other call, and nothing more will arrive for it: check rpc->p before waiting for the connection.
 */
static void
await(Copy *copy, int ncopy)
{
	struct pollfd pfd = { .fd = conn.fd, .events = POLLIN };
	int i;

	for(i = 0; i < ncopy; i++)
		if(copy[i].rpc != NULL && copy[i].rpc->p != NULL)
			return;
	if(poll(&pfd, 1, 1000) == 0)
		fprintf(stderr, "select-loop: waiting for the server\n");
}

int
main(int argc, char **argv)
{
	const char *aname = "";
	int c, i, left, ncopy;
	Copy *copy;

	while((c = getopt(argc, argv, "a:")) != -1)
		if(c == 'a')
			aname = optarg;
		else
			argc = 0;
	ncopy = argc-optind-2;
	if(ncopy < 1){
		fprintf(stderr, "usage: select-loop [-a tree] address directory file ...\n");
		exit(2);
	}

	if(fsdial(&conn, argv[optind], Msize) < 0 || fsattach(&conn, Root, NULL, aname) < 0)
		die(argv[optind], fserror());
	copy = calloc((size_t)ncopy, sizeof *copy);
	if(copy == NULL)
		die("out of memory", "too many files");
	for(i = 0; i < ncopy; i++){
		copy[i].name = argv[optind+2+i];
		copy[i].fid = Root+1+(unsigned)i;
		opencopy(&copy[i], argv[optind+1]);
		startread(&copy[i]);
	}

	for(left = ncopy; left > 0; ){
		await(copy, ncopy);
		for(i = 0; i < ncopy; i++)
			if(copy[i].rpc != NULL && tryread(&copy[i])){
				left--;
				printf("%s: %" PRIu64 " bytes, %d to go\n", copy[i].name, copy[i].offset, left);
			}
	}
	printf("%d files by %u reads, at most %u outstanding, 1 thread\n", ncopy, reads, most);
	free(copy);
	return 0;
}
