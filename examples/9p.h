/*
 * 9p.h - the format of 9P messages, and dialling. Nothing here depends on libmux.
 *
 * A message is size[4] type[1] tag[2], followed by the fields of its type, all little-endian.
 * There are two dialects: 9P2000, and 9P2000.L of Linux, which opens files with another message and reports
 * an error as a number where 9P2000 has a text.
 */
#ifndef NINEP_H
#define NINEP_H 1

#include <errno.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	Rlerror = 7,
	Tlopen = 12, Rlopen,
	Tgetattr = 24, Rgetattr,
	Tversion = 100, Rversion,
	Tattach = 104, Rattach,
	Rerror = 107, Tflush, Rflush,
	Twalk = 110, Rwalk,
	Topen = 112, Ropen,
	Tread = 116, Rread,
	Tclunk = 120, Rclunk,
	Tstat = 124, Rstat
};

enum {
	Header = 7,	/* size[4] type[1] tag[2] */
	IOheader = 24,	/* no header of a read or a write is longer */
	Maxwalk = 16,	/* names in one Twalk */
	Isdir = 0x80	/* in a qid's type */
};

#define NOTAG 0xFFFFu
#define NOFID 0xFFFFFFFFu
#define NOUID 0xFFFFFFFFu

/* A request under construction. All requests here are short enough for the stack. */
typedef struct Msg Msg;
struct Msg {
	size_t n;	/* more than sizeof b if it did not fit */
	unsigned char b[8192];
};

/* number of n bytes at p */
static inline uint64_t
get(const unsigned char *p, int n)
{
	uint64_t v;

	for(v = 0; n > 0; n--)
		v = v<<8 | p[n-1];
	return v;
}

/* store v in the n bytes at p */
static inline void
set(unsigned char *p, int n, uint64_t v)
{
	for(; n > 0; n--, v >>= 8)
		*p++ = (unsigned char)v;
}

/* append a number of n bytes */
static inline void
put(Msg *m, int n, uint64_t v)
{
	if(m->n+n <= sizeof m->b)
		set(m->b+m->n, n, v);
	m->n += n;
}

/* append a string of n bytes: its length, then its bytes */
static inline void
putstr(Msg *m, const char *s, size_t n)
{
	put(m, 2, n);
	if(n <= 0xFFFF && m->n+n <= sizeof m->b)
		memcpy(m->b+m->n, s, n);
	else
		m->n = sizeof m->b + 1;
	m->n += n;
}

static inline void
begin(Msg *m, int type)
{
	m->n = 0;
	put(m, 4, 0);		/* the size is set at the end */
	put(m, 1, type);
	put(m, 2, NOTAG);	/* libmux chooses the tag */
}

/* write the size; -1 if the message did not fit */
static inline int
finish(Msg *m)
{
	if(m->n > sizeof m->b)
		return -1;
	set(m->b, 4, m->n);
	return 0;
}

/* connect to a dial string: tcp!host!port, net!host!port, unix!path; returns -1 and stores a reason on error */
static inline int
dial(const char *addr, const char **why)
{
	static char notaddr[] = "not an address: want tcp!host!port or unix!path";
	struct addrinfo hints, *ai, *list;
	struct sockaddr_un un;
	char host[256], *port;
	const char *rest;
	int e, fd;

	*why = notaddr;
	rest = strchr(addr, '!');
	if(rest == NULL || rest[1] == 0)
		return -1;
	rest++;

	if(strncmp(addr, "unix!", 5) == 0){
		memset(&un, 0, sizeof un);
		un.sun_family = AF_UNIX;
		if(strlen(rest) >= sizeof un.sun_path){
			*why = "the path is too long for a socket";
			return -1;
		}
		strcpy(un.sun_path, rest);
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if(fd >= 0 && connect(fd, (struct sockaddr*)&un, sizeof un) == 0)
			return fd;
		*why = strerror(errno);
		if(fd >= 0)
			close(fd);
		return -1;
	}

	if(strncmp(addr, "tcp!", 4) != 0 && strncmp(addr, "net!", 4) != 0)
		return -1;
	if(strlen(rest) >= sizeof host)
		return -1;
	strcpy(host, rest);
	port = strchr(host, '!');
	if(port != NULL)
		*port++ = 0;
	memset(&hints, 0, sizeof hints);
	hints.ai_socktype = SOCK_STREAM;
	e = getaddrinfo(host, port != NULL ? port : "564", &hints, &list);
	if(e != 0){
		*why = gai_strerror(e);
		return -1;
	}
	fd = -1;
	for(ai = list; ai != NULL && fd < 0; ai = ai->ai_next){
		fd = socket(ai->ai_family, ai->ai_socktype, ai->ai_protocol);
		if(fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
			break;
		*why = strerror(errno);
		if(fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd;
}

#endif
