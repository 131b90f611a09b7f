/* frame.c: see frame.h */
#include <stdlib.h>
#include <string.h>
#include "frame.h"

const Frame frame_9p = {4, 5, 2, 7};
const Frame frame_draw = {5, 4, 1, 6};
const Frame frame_venti = {4, 5, 1, 6};
const Frame frame_wide = {4, 5, 4, 9};

static void
put(unsigned char *p, unsigned v, unsigned n)
{
	for (; n > 0; n--, v >>= 8)
		*p++ = (unsigned char)(v & 0xff);
}

static unsigned
get(const unsigned char *p, unsigned n)
{
	unsigned v;

	for (v = 0; n > 0; n--)
		v = v << 8 | p[n - 1];
	return v;
}

static unsigned char
filling(unsigned id, unsigned seq, size_t i)
{
	return (unsigned char)((id * 2654435761u + seq * 40503u + (unsigned)i * 97u) >> 7);
}

unsigned
frame_size(const void *msg)
{
	return get(msg, 4);
}

unsigned
frame_type(const Frame *f, const void *msg)
{
	return ((const unsigned char *)msg)[f->typeat];
}

unsigned
frame_tag(const Frame *f, const void *msg)
{
	return get((const unsigned char *)msg + f->tagat, f->tagbytes);
}

void
frame_settag(const Frame *f, void *msg, unsigned tag)
{
	put((unsigned char *)msg + f->tagat, tag, f->tagbytes);
}

unsigned
frame_id(const Frame *f, const void *msg)
{
	return get((const unsigned char *)msg + f->head, 4);
}

size_t
frame_request(const Frame *f, void *buf, unsigned type, unsigned id, unsigned seq, size_t n)
{
	unsigned char *p;
	size_t i;

	p = buf;
	put(p, (unsigned)(f->head + n), 4);
	p[f->typeat] = (unsigned char)type;
	/* a tag that the library cannot have chosen by chance */
	memset(p + f->tagat, 0xee, f->tagbytes);
	put(p + f->head, id, 4);
	put(p + f->head + 4, seq, 4);
	for (i = PAYLOAD; i < n; i++)
		p[f->head + i] = filling(id, seq, i);
	return f->head + n;
}

void *
frame_new(const Frame *f, unsigned type, unsigned id, unsigned seq, size_t n)
{
	void *p;

	p = malloc(f->head + n);
	if (p == NULL)
		abort();
	frame_request(f, p, type, id, seq, n);
	return p;
}

static int
same(const Frame *f, const void *msg, unsigned type, unsigned id, unsigned seq, size_t n, unsigned char flip)
{
	const unsigned char *p;
	size_t i;

	p = msg;
	if (get(p, 4) != f->head + n || p[f->typeat] != type)
		return 0;
	if (get(p + f->head, 4) != id || get(p + f->head + 4, 4) != seq)
		return 0;
	for (i = PAYLOAD; i < n; i++)
		if ((p[f->head + i] ^ flip) != filling(id, seq, i))
			return 0;
	return 1;
}

int
frame_isrequest(const Frame *f, const void *msg, unsigned type, unsigned id, unsigned seq, size_t n)
{
	return same(f, msg, type, id, seq, n, 0);
}

void
frame_answer(const Frame *f, void *msg)
{
	unsigned char *p;
	unsigned i, size;

	p = msg;
	size = frame_size(msg);
	p[f->typeat]++;
	for (i = f->head + PAYLOAD; i < size; i++)
		p[i] ^= 0x5a;
}

int
frame_isreply(const Frame *f, const void *msg, unsigned type, unsigned id, unsigned seq, size_t n)
{
	return same(f, msg, type + 1, id, seq, n, 0x5a);
}

size_t
frame_stray(const Frame *f, void *buf, unsigned type, unsigned tag)
{
	size_t size;

	size = frame_request(f, buf, type, 0xdeadbeef, 0xdeadbeef, PAYLOAD);
	frame_settag(f, buf, tag);
	return size;
}
