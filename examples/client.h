/*
 * client.h - one 9P connection that any number of callers share, on libmux.
 *
 * The first half is all that libmux asks of a program: five functions that know what a message
 * looks like and how it is sent and received. The second half makes 9P calls with them.
 * Every function of the second half answers -1 (or NULL) for an error; fserror() then says what happened.
 */
#ifndef CLIENT_H
#define CLIENT_H 1

#include <pwd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <mux.h>
#include "9p.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

typedef struct Conn Conn;
struct Conn {
	Mux mux;
	int fd;
	unsigned msize;			/* longest message, as agreed with the server */
	int dotl;			/* 9P2000.L was agreed, not 9P2000 */

	unsigned char size[4];		/* the message being received: its size, */
	unsigned char *msg;		/* its memory once the size is known, */
	unsigned have;			/* and how many bytes of it are here */

	atomic_int lost;		/* a call had no reply: the connection is of no more use */

	atomic_uint calls;		/* how many calls were made */
	atomic_uint outstanding;	/* how many are waiting for their reply just now */
	atomic_uint most;		/* the most that ever did */
};

/* ---- what libmux calls ---- */

static inline int
connsettag(Mux *mux, void *msg, unsigned tag)
{
	(void)mux;
	set((unsigned char*)msg+5, 2, tag);
	return 0;
}

static inline int
conngettag(Mux *mux, void *msg)
{
	(void)mux;
	return (int)get((unsigned char*)msg+5, 2);
}

/* libmux lets one caller in at a time, so a message is never mixed with another */
static inline int
connsend(Mux *mux, void *msg)
{
	Conn *c = mux->aux;
	unsigned char *p = msg;
	size_t n = get(p, 4);
	ssize_t k;

	for(; n > 0; p += k, n -= k){
		k = send(c->fd, p, n, MSG_NOSIGNAL);
		if(k < 0 && errno == EINTR)
			k = 0;
		if(k < 0)
			return -1;
	}
	return 0;
}

/*
 * Take what there is of the next message: 1 when it is whole, 0 when more must come first (only with
 * MSG_DONTWAIT), -1 at the end of the connection. What has come so far stays in c between two tries.
 */
static inline int
receive(Conn *c, int flags, void **msg)
{
	unsigned char *p;
	unsigned want;
	ssize_t k;

	for(;;){
		want = c->msg == NULL ? 4 : (unsigned)get(c->size, 4);
		p = c->msg == NULL ? c->size : c->msg;
		while(c->have < want){
			k = recv(c->fd, p+c->have, want-c->have, flags);
			if(k < 0 && errno == EINTR)
				continue;
			if(k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
				return 0;
			if(k <= 0)
				return -1;
			c->have += (unsigned)k;
		}
		if(c->msg != NULL)
			break;
		want = (unsigned)get(c->size, 4);
		if(want < Header || want > c->msize)
			return -1;	/* this is not 9P: no telling where the next message begins */
		c->msg = malloc(want);
		if(c->msg == NULL)
			return -1;
		memcpy(c->msg, c->size, 4);
	}
	*msg = c->msg;	/* the caller of muxrpc frees it */
	c->msg = NULL;
	c->have = 0;
	return 1;
}

static inline void *
connrecv(Mux *mux)
{
	void *msg = NULL;

	receive(mux->aux, 0, &msg);
	return msg;
}

/* 0: no whole message yet. 1: *msg is one, or is NULL at the end of the connection */
static inline int
connnbrecv(Mux *mux, void **msg)
{
	*msg = NULL;
	return receive(mux->aux, MSG_DONTWAIT, msg) != 0;
}

/* ---- calls ---- */

/* each thread has a reason of its own, as with errno */
static inline char *
fserror(void)
{
	static _Thread_local char why[256];

	return why;
}

static inline void
fail(const char *why)
{
	snprintf(fserror(), 256, "%s", why);
}

/* answer the reply if it is the expected one and has at least min bytes after its header; else free it */
static inline unsigned char *
checkreply(unsigned char *r, int type, unsigned min)
{
	unsigned n;

	if(r == NULL){
		fail(errno == ECONNRESET ? "the server ended the connection" : strerror(errno));
		return NULL;
	}
	n = (unsigned)get(r, 4) - Header;
	if(r[4] == type && n >= min)
		return r;
	if(r[4] == Rlerror && n >= 4)
		fail(strerror((int)get(r+Header, 4)));
	else if(r[4] == Rerror && n >= 2 && n-2 >= get(r+Header, 2))
		snprintf(fserror(), 256, "%.*s", (int)get(r+Header, 2), (char*)r+Header+2);
	else
		fail("the server's reply makes no sense");
	free(r);
	return NULL;
}

/* make a call: one request, one reply. All of 9P goes through here, and libmux does the waiting */
static inline unsigned char *
call(Conn *c, Msg *m, int type, unsigned min)
{
	unsigned char *r;
	unsigned n, most;

	if(finish(m) < 0){
		fail("name too long");
		return NULL;
	}
	atomic_fetch_add(&c->calls, 1);
	n = atomic_fetch_add(&c->outstanding, 1) + 1;
	most = atomic_load(&c->most);
	while(n > most && !atomic_compare_exchange_weak(&c->most, &most, n))
		;
	r = muxrpc(&c->mux, m->b);
	atomic_fetch_sub(&c->outstanding, 1);
	if(r == NULL)
		c->lost = 1;
	return checkreply(r, type, min);
}

/* offer a version: 1 if the server speaks it, 0 if it wants another, -1 for an error */
static inline int
offer(Conn *c, const char *version)
{
	unsigned char *r;
	unsigned n;
	int same;
	Msg m;

	begin(&m, Tversion);
	put(&m, 4, c->msize);
	putstr(&m, version, strlen(version));
	/* This call alone is tagged NOTAG: make that the whole range of tags for as long as it takes. */
	c->mux.mintag = NOTAG;
	c->mux.maxtag = NOTAG+1;
	r = call(c, &m, Rversion, 6);
	c->mux.mintag = 0;
	c->mux.maxtag = NOTAG;
	if(r == NULL)
		return -1;
	n = (unsigned)get(r+Header+4, 2);
	same = n == strlen(version) && n <= get(r, 4)-Header-6 && memcmp(r+Header+6, version, n) == 0;
	if(get(r+Header, 4) < c->msize)
		c->msize = (unsigned)get(r+Header, 4);
	free(r);
	return same;
}

/*
 * Dial, and agree on a version: 9P2000.L if the server has it, else 9P2000. msize is the longest message
 * we want, which bounds what one read can bring; the server may want shorter ones.
 */
static inline int
fsdial(Conn *c, const char *addr, unsigned msize)
{
	const char *why;
	int ok;

	memset(c, 0, sizeof *c);
	c->fd = dial(addr, &why);
	if(c->fd < 0){
		fail(why);
		return -1;
	}
	c->msize = msize;
	c->mux.aux = c;
	c->mux.send = connsend;
	c->mux.recv = connrecv;
	c->mux.nbrecv = connnbrecv;
	c->mux.gettag = conngettag;
	c->mux.settag = connsettag;
	muxinit(&c->mux);

	c->dotl = 1;
	ok = offer(c, "9P2000.L");
	if(ok == 0){
		c->dotl = 0;
		ok = offer(c, "9P2000");
		if(ok == 0)
			fail("the server speaks neither 9P2000.L nor 9P2000");
	}
	if(ok == 1 && c->msize <= 2*IOheader){
		fail("the server wants messages too short to be of use");
		ok = 0;
	}
	return ok == 1 ? 0 : -1;
}

/* have fid stand for the root of the tree called aname, as user uname; NULL is the user who runs us */
static inline int
fsattach(Conn *c, unsigned fid, const char *uname, const char *aname)
{
	struct passwd *pw = getpwuid(geteuid());
	unsigned char *r;
	Msg m;

	begin(&m, Tattach);
	put(&m, 4, fid);
	put(&m, 4, NOFID);
	if(uname != NULL)
		putstr(&m, uname, strlen(uname));
	else
		putstr(&m, pw ? pw->pw_name : "none", strlen(pw ? pw->pw_name : "none"));
	putstr(&m, aname, strlen(aname));
	if(c->dotl)
		put(&m, 4, uname != NULL ? NOUID : geteuid());
	r = call(c, &m, Rattach, 13);
	free(r);
	return r != NULL ? 0 : -1;
}

static inline int
fsclunk(Conn *c, unsigned fid)
{
	unsigned char *r;
	Msg m;

	begin(&m, Tclunk);
	put(&m, 4, fid);
	r = call(c, &m, Rclunk, 0);
	free(r);
	return r != NULL ? 0 : -1;
}

/* have newfid stand for the file of that path below fid; at most sixteen names fit one message */
static inline int
fswalk(Conn *c, unsigned fid, unsigned newfid, const char *path)
{
	unsigned char *r;
	unsigned names, from;
	size_t n;
	Msg m;

	from = fid;
	do{
		begin(&m, Twalk);
		put(&m, 4, from);
		put(&m, 4, newfid);
		put(&m, 2, 0);
		for(names = 0; names < Maxwalk; names++, path += n){
			path += strspn(path, "/");
			n = strcspn(path, "/");
			if(n == 0)
				break;
			putstr(&m, path, n);
		}
		set(m.b+Header+8, 2, names);
		r = call(c, &m, Rwalk, 2);
		if(r != NULL && get(r+Header, 2) == names){
			free(r);
			from = newfid;
			continue;
		}
		if(r != NULL){		/* the walk went part of the way, which moves nothing */
			free(r);
			fail("file does not exist");
		}
		if(from == newfid){
			char why[256];

			strcpy(why, fserror());
			fsclunk(c, newfid);
			fail(why);
		}
		return -1;
	}while(*path != 0);
	return 0;
}

/* open for reading; the answer is the most bytes that one read may ask for */
static inline int
fsopen(Conn *c, unsigned fid)
{
	unsigned char *r;
	unsigned iounit;
	int dir;
	Msg m;

	begin(&m, c->dotl ? Tlopen : Topen);
	put(&m, 4, fid);
	put(&m, c->dotl ? 4 : 1, 0);
	r = call(c, &m, c->dotl ? Rlopen : Ropen, 17);
	if(r == NULL)
		return -1;
	dir = r[Header] & Isdir;
	iounit = (unsigned)get(r+Header+13, 4);
	free(r);
	if(dir){
		fail("is a directory");
		return -1;
	}
	if(iounit == 0 || iounit > c->msize-IOheader)
		iounit = c->msize-IOheader;
	return (int)iounit;
}

/* the length that the server gives the file; 0 is also what a file has whose contents are made up as it is read */
static inline int
fslength(Conn *c, unsigned fid, uint64_t *length)
{
	unsigned char *r;
	Msg m;

	begin(&m, c->dotl ? Tgetattr : Tstat);
	put(&m, 4, fid);
	if(c->dotl)
		put(&m, 8, 0x200);	/* the size, please */
	r = call(c, &m, c->dotl ? Rgetattr : Rstat, c->dotl ? 57 : 43);
	if(r == NULL)
		return -1;
	*length = get(r+Header+(c->dotl ? 49 : 35), 8);
	free(r);
	return 0;
}

static inline void
readmsg(Msg *m, unsigned fid, uint64_t offset, unsigned count)
{
	begin(m, Tread);
	put(m, 4, fid);
	put(m, 8, offset);
	put(m, 4, count);
}

/* bytes that an Rread brought, which begin at Header+4; -1 if it claims more than it holds or was asked for */
static inline int
readcount(const unsigned char *r, unsigned asked)
{
	unsigned n = (unsigned)get(r+Header, 4);

	if(n > asked || n > get(r, 4)-Header-4){
		fail("the server's reply makes no sense");
		return -1;
	}
	return (int)n;
}

/* read once: as much as the server gives, at most count; 0 is the end of the file */
static inline int
fsread(Conn *c, unsigned fid, uint64_t offset, void *buf, unsigned count)
{
	unsigned char *r;
	int n;
	Msg m;

	readmsg(&m, fid, offset, count);
	r = call(c, &m, Rread, 4);
	if(r == NULL)
		return -1;
	n = readcount(r, count);
	if(n > 0)
		memcpy(buf, r+Header+4, (size_t)n);
	free(r);
	return n;
}

#endif
