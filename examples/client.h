/*
 * client.h - one 9P connection that any number of callers share by libmux.
 *
 * The first half contains the five functions that libmux calls. They know the format of a message, and how
 * messages are sent and received. The second half makes 9P calls.
 * Each function of the second half returns -1 or NULL on error; fserror() then returns the reason.
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
	unsigned msize;			/* maximum message size, negotiated with the server */
	int dotl;			/* the dialect is 9P2000.L, not 9P2000 */

	unsigned char size[4];		/* the message being received: its size; */
	unsigned char *msg;		/* its memory, once the size is known; */
	unsigned have;			/* bytes that have been received */

	atomic_int lost;		/* a call got no reply: the connection is not usable any more */

	atomic_uint calls;		/* calls made */
	atomic_uint outstanding;	/* calls that wait for their reply */
	atomic_uint most;		/* highest value of outstanding */
};

/* ---- functions that libmux calls ---- */

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

/* libmux calls this once at a time, so messages are not interleaved */
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
 * Receive the next message: 1 if it is complete, 0 if more has to arrive first (only with MSG_DONTWAIT), -1 at
 * the end of the connection. An incomplete message stays in c until the next call.
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
			return -1;	/* not 9P: the next message cannot be found */
		c->msg = malloc(want);
		if(c->msg == NULL)
			return -1;
		memcpy(c->msg, c->size, 4);
	}
	*msg = c->msg;	/* freed by the caller of muxrpc */
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

/* 0: no complete message yet. 1: *msg is a message, or NULL at the end of the connection */
static inline int
connnbrecv(Mux *mux, void **msg)
{
	*msg = NULL;
	return receive(mux->aux, MSG_DONTWAIT, msg) != 0;
}

/* ---- calls ---- */

/* one reason for each thread, as with errno */
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

/* return the reply if it has the expected type and at least min bytes after its header; otherwise free it */
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
		fail("the reply of the server is malformed");
	free(r);
	return NULL;
}

/* make a call: one request, one reply. All blocking calls are made here */
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

/* offer a version: 1 if the server accepts it, 0 if it offers another one, -1 on error */
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
	/* Only this call has the tag NOTAG: make it the only tag of the range during the call. */
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
 * Dial, and negotiate a version: 9P2000.L if the server supports it, else 9P2000. msize is the maximum message
 * size, and limits the size of a read; the server may reduce it.
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
		fail("the msize of the server is too small");
		ok = 0;
	}
	return ok == 1 ? 0 : -1;
}

/* attach fid to the root of the tree aname as user uname; NULL is the user of this process */
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

/* walk newfid to a path below fid; one message has at most sixteen names */
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
		if(r != NULL){		/* a partial walk: newfid does not exist */
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

/* open for reading; returns the maximum number of bytes of one read */
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

/* the length of a file; 0 is also the length of a file whose contents are generated on reading */
static inline int
fslength(Conn *c, unsigned fid, uint64_t *length)
{
	unsigned char *r;
	Msg m;

	begin(&m, c->dotl ? Tgetattr : Tstat);
	put(&m, 4, fid);
	if(c->dotl)
		put(&m, 8, 0x200);	/* only the size is requested */
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

/* number of bytes in an Rread, which begin at Header+4; -1 if it exceeds the message or the request */
static inline int
readcount(const unsigned char *r, unsigned asked)
{
	unsigned n = (unsigned)get(r+Header, 4);

	if(n > asked || n > get(r, 4)-Header-4){
		fail("the reply of the server is malformed");
		return -1;
	}
	return (int)n;
}

/* read once: at most count bytes, possibly less; 0 is the end of the file */
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
