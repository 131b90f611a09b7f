/*
 * Messages: size[4] type[1] tag[2] and a payload, which identifies the caller of a reply.
 */
#include "bench.h"

enum {
	TAGAT = 5,
	PAYLOADAT = 8
};

Msg *
newmsg(void)
{
	Msg *m = malloc(sizeof *m);

	if (m == NULL)
		die("malloc");
	return m;
}

void
fillmsg(Msg *m, Worker *w)
{
	uint64_t payload[2] = {w->index, ++w->serial};

	memset(m->b, 0, sizeof m->b);
	m->b[0] = MSGSIZE;
	memcpy(m->b + PAYLOADAT, payload, sizeof payload);
}

void
checkmsg(const Msg *m, const Worker *w, uint64_t serial)
{
	uint64_t payload[2];

	if (m == NULL)
		die("a call ended without a reply");
	memcpy(payload, m->b + PAYLOADAT, sizeof payload);
	if (payload[0] != w->index || payload[1] != serial) {
		errno = EPROTO;
		die("a reply to another request");
	}
}

void
puttag(Msg *m, unsigned tag)
{
	m->b[TAGAT] = tag & 0xff;
	m->b[TAGAT + 1] = tag >> 8 & 0xff;
}

unsigned
tagof(const Msg *m)
{
	return m->b[TAGAT] | m->b[TAGAT + 1] << 8;
}

int
muxgettag(Mux *mux, void *msg)
{
	(void)mux;
	return (int)tagof(msg);
}

int
muxsettag(Mux *mux, void *msg, unsigned tag)
{
	(void)mux;
	puttag(msg, tag);
	return 0;
}
