/*
 * callers.c: tasks that make calls and check the results.
 */
#include "world.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { CHECK = 0x600df00d, HELD = 4 };

static Call *
begin(int kind)
{
	Call *c;

	if (w.ncall == NCALL)
		return NULL;
	c = &w.calls[w.ncall++];
	c->kind = kind;
	c->open = 1;
	c->request = malloc(sizeof *c->request);
	c->request->call = c;
	c->request->check = CHECK;
	c->endsbefore = w.ends;
	c->range = (unsigned)w.nrange - 1;
	c->deadline = NEVER;
	trace("call %d of kind %d", (int)(c - w.calls), kind);
	errno = 0;
	return c;
}

/* the owner has control back: the library must not use the request any more */
static void
freerequest(Call *c)
{
	if (c->insend)
		fault("call %d has ended, but its request is in send", (int)(c - w.calls));
	memset(c->request, 0xdd, sizeof *c->request);
	free(c->request);
	c->request = NULL;
}

static int
wasempty(Call *c)
{
	int i;

	for (i = (int)c->range; i < w.nrange; i++)
		if (w.ranges[i].max <= w.ranges[i].min)
			return 1;
	return 0;
}

/* a call has ended with that reply, or with NULL and that error */
static void
over(Call *c, Message *m, int error)
{
	int id, ok;

	seetags();
	id = (int)(c - w.calls);
	trace("call %d has ended: message %d, %d", id, m ? m->number : -1, error);
	if (m != NULL) {
		if (m->self != m || !(m->maybe ? c->tagged && m->tag == c->tag : m->owner == c))
			fault("call %d gets a message that is not its own", id);
		if (c->reply != NULL && c->reply != m)
			fault("call %d gets the second reply to it", id);
		message_free(m);
		w.replies++;
	} else {
		if (c->reply != NULL && !(c->kind == TIMED && error == ETIMEDOUT) && !w.closing)
			fault("call %d has a reply, but ends with %d", id, error);
		switch (error) {
		case ECONNRESET:
			ok = w.ends > c->endsbefore || w.hungup;
			break;
		case ESHUTDOWN:
			ok = w.hungup;
			break;
		case ETIMEDOUT:
			ok = c->kind == TIMED && now() >= c->deadline;
			break;
		case EAGAIN:
			ok = !c->tagged && c->foundnone;
			break;
		case EINVAL:
			ok = !c->tagged && wasempty(c);
			break;
		case EOPNOTSUPP:
			ok = c->kind == START && w.mux.nbrecv == NULL;
			break;
		default:
			ok = 0;
		}
		if (error == c->failed && c->failed)
			ok = 1;
		if (!ok)
			fault("call %d ends with %d", id, error);
	}
	if (m == NULL && error == ETIMEDOUT && c->sent && c->holds && c->reply == NULL)
		c->givenup = 1;
	else if (m == NULL && error == EOPNOTSUPP)
		c->givenup = 1;
	else
		c->holds = 0;
	c->open = 0;
	c->rpc = NULL;
}

static void
rpc(void)
{
	Call *c;
	Message *m;
	int e;

	if ((c = begin(RPC)) == NULL)
		return;
	m = muxrpc(&w.mux, c->request);
	e = errno;
	freerequest(c);
	over(c, m, e);
}

static void
rpctimeout(void)
{
	static const int times[] = {-1, 1000, 0, 1, 5, 40, INT_MAX, INT_MIN};
	Call *c;
	Message *m;
	int ms, e;

	if ((c = begin(TIMED)) == NULL)
		return;
	ms = times[choice(8)];
	c->deadline = ms < 0 ? NEVER : now() + (int64_t)ms * 1000000;
	m = muxrpctimeout(&w.mux, c->request, ms);
	e = errno;
	freerequest(c);
	if (ms == 0 && c->sends)
		fault("a call with 0 milliseconds was sent");
	over(c, m, e);
}

static Call *
start(void)
{
	Call *c;
	int e;

	if ((c = begin(START)) == NULL)
		return NULL;
	c->rpc = muxrpcstart(&w.mux, c->request);
	e = errno;
	freerequest(c);
	if (w.closed)
		return NULL;
	if (c->rpc == NULL) {
		over(c, NULL, e);
		return NULL;
	}
	/* muxfree frees calls that have not been collected, possibly this one already */
	if (w.closing)
		return NULL;
	if (c->rpc->mux != &w.mux || c->rpc->tag != c->tag)
		fault("a Muxrpc of another Mux");
	return c;
}

/* returns whether the call has ended */
static int
canfinish(Call *c)
{
	void *m;
	int r, e;

	if (c->reply != NULL && c->rpc->p != c->reply)
		fault("p does not show the reply");
	m = (void *)-1;
	errno = 0;
	c->asks = 1;
	r = muxrpccanfinish(c->rpc, &m);
	c->asks = 0;
	e = errno;
	if (r == 0) {
		if (m != NULL)
			fault("pending, but with a reply");
		trace("call %d is pending", (int)(c - w.calls));
		return 0;
	}
	if (r != 1 || m == (void *)-1)
		fault("muxrpccanfinish returns %d", r);
	over(c, m, m == NULL ? e : 0);
	return 1;
}

static void
cancel(Call *c)
{
	seetags();
	c->open = 0;
	if (c->reply == NULL && !c->ended)
		c->givenup = 1;
	else
		c->holds = 0;
	trace("call %d is cancelled", (int)(c - w.calls));
	w.cancelled++;
	muxrpccancel(c->rpc);
	c->rpc = NULL;
}

static void
sendbyhand(void)
{
	Call *c;
	int r, e;

	if ((c = begin(HAND)) == NULL)
		return;
	c->request->tag = 0xffff;
	r = _muxsend(&w.mux, c->request);
	e = errno;
	freerequest(c);
	if (r == 0 ? !c->sent : r != -1)
		fault("_muxsend returns %d", r);
	if (r == 0)
		c->open = 0;
	else
		over(c, NULL, e);
}

static void
recvbyhand(void)
{
	Message *m;
	void *v;
	int r, e, waits;

	v = (void *)-1;
	waits = !choice(3);
	w.handwaits += waits;
	errno = 0;
	r = _muxrecv(&w.mux, waits, &v);
	e = errno;
	w.handwaits -= waits;
	m = v;
	if (r == 0 ? waits || m != NULL : r != 1)
		fault("_muxrecv returns %d", r);
	if (r == 1 && m == NULL && e != ECONNRESET && e != EBUSY && e != ESHUTDOWN && e != EOPNOTSUPP)
		fault("_muxrecv fails with %d", e);
	if (m == NULL)
		return;
	if (m->self != m || m->looked)
		fault("a message received by hand has been delivered before");
	/* the server writes it again, in case a call waits for it */
	if (!w.shut)
		write_message(m->tag);
	message_free(m);
	w.taken++;
}

/* --- the Mux */

void
checkstats(int idle)
{
	struct { Muxstats s; unsigned char after[16]; } room;
	Muxstats s;
	unsigned size;
	Call *c;
	unsigned held, maybe;

	memset(&s, 0, sizeof s);
	s.size = sizeof s;
	muxstats(&w.mux, &s);
	if (s.size != sizeof s)
		fault("muxstats has changed the size");
	held = maybe = 0;
	for (c = w.calls; c < w.calls + w.ncall; c++) {
		held += holds(c) != 0;
		maybe += c->kind != HAND && (c->holds || c->open || c->givenup);
	}
	if (s.outstanding < held || s.outstanding > maybe)
		fault("%u tags in use, but %u of %u", s.outstanding, held, maybe);
	if (s.maxoutstanding < s.outstanding || s.calls > (unsigned long)w.ncall)
		fault("maxoutstanding %u, calls %lu", s.maxoutstanding, s.calls);
	if (idle && s.calls != w.replies + w.cancelled + s.errors)
		fault("%lu calls, but %u replies, %u cancelled, %lu errors", s.calls, w.replies, w.cancelled, s.errors);
	if (idle && w.orphans == 2 && s.orphans != w.disposed)
		fault("%lu orphans, but %u disposed of", s.orphans, w.disposed);
	/* no more than the given size */
	size = choice(sizeof room.s + 1);
	memset(&room, 0xa5, sizeof room);
	room.s.size = size;
	muxstats(&w.mux, &room.s);
	if (size > sizeof s)
		size = sizeof s;
	if (size < sizeof s.size)
		size = sizeof s.size;
	s.size = room.s.size;
	if (memcmp(&room, &s, size) != 0 && size > sizeof s.size)
		fault("muxstats of %u", size);
	for (; size < sizeof room; size++)
		if (((unsigned char *)&room)[size] != 0xa5)
			fault("muxstats writes past its size");
}

static void
checkfd(void)
{
	struct pollfd p;
	Call *c;
	int sure, may;

	p.fd = muxpollfd(&w.mux);
	p.events = POLLIN;
	p.revents = 0;
	if (p.fd < 0)
		fault("muxpollfd");
	poll(&p, 1, 0);
	sure = may = 0;
	for (c = w.calls; c < w.calls + w.ncall; c++) {
		if (c->kind != START || !c->open || !c->tagged)
			continue;
		may = 1;
		sure |= c->rpc != NULL && !c->asks && c->sent && c->reply != NULL;
	}
	if (p.revents & POLLIN ? !may : sure)
		fault("the descriptor is%s readable", p.revents ? "" : " not");
}

static void
changerange(void)
{
	static const unsigned mins[] = {0, 1, 65535, UINT_MAX - 4}, widths[] = {256, 1, 3, 0};
	unsigned min, width;

	if (w.nrange == NRANGE)
		return;
	seetags();
	min = mins[choice(4)];
	width = widths[choice(4)];
	w.ranges[w.nrange].min = min;
	w.ranges[w.nrange].max = min + width < min ? UINT_MAX : min + width;
	trace("tags %u to %u", w.ranges[w.nrange].min, w.ranges[w.nrange].max);
	w.mux.mintag = w.ranges[w.nrange].min;
	w.mux.maxtag = w.ranges[w.nrange].max;
	w.nrange++;
}

static void
hangup(void)
{
	trace("hang-up");
	w.hungup = 1;
	has_ended();
	muxhangup(&w.mux);
}

/* muxprocs, whose procs may not start */
static void
procs(void)
{
	trace("muxprocs");
	errno = 0;
	muxprocs(&w.mux);
	if (errno != 0 && errno != EAGAIN)
		fault("muxprocs fails with %d", errno);
}

static void
misc(void)
{
	switch (choice(12)) {
	case 0:
	case 1:
		checkstats(0);
		break;
	case 2:
	case 3:
		checkfd();
		break;
	case 4:
		procs();
		break;
	case 5:
		changerange();
		break;
	case 6:
		muxsetbatch(&w.mux, choice(2) ? NULL : face_sendv, choice(2) ? NULL : face_recvv);
		break;
	case 7:
		/* orphans that arrive without an orphan function are leaked */
		if (choice(4) == 1) {
			w.orphans = 1;
			muxsetorphan(&w.mux, choice(2) ? face_orphan : NULL);
		}
		break;
	case 8:
		recvbyhand();
		break;
	case 9:
		sendbyhand();
		break;
	case 10:
		if (rarely(6))
			hangup();
		break;
	case 11:
		if (rarely(4) && !w.closing) {
			w.closing = 1;
			if (task_start(closer, NULL) < 0)
				w.closing = 0;
		}
		break;
	}
}

void
caller(void *v)
{
	Call *held[HELD], *c;
	unsigned n, i;

	(void)v;
	n = 0;
	while (!w.closing && !(usedup() && n == 0)) {
		switch (usedup() ? 9 : choice(16)) {
		case 0:
		case 1:
		case 2:
		case 3:
			rpc();
			break;
		case 4:
		case 5:
			rpctimeout();
			break;
		case 6:
		case 7:
		case 8:
			if (n < HELD && (c = start()) != NULL)
				held[n++] = c;
			break;
		case 9:
		case 10:
		case 11:
			if (n > 0) {
				i = choice(n);
				if (canfinish(held[i]))
					held[i] = held[--n];
				else if (usedup())
					task_yield();
			}
			break;
		case 12:
			if (n > 0) {
				i = choice(n);
				c = held[i];
				held[i] = held[--n];
				cancel(c);
			}
			break;
		case 13:
		case 14:
			misc();
			break;
		case 15:
			task_yield();
			if (rarely(4) && n == 0)
				goto End;
			break;
		}
	}
End:
	w.callers--;
}

/* ends the Mux: all callers leave when the connection is shut down */
void
closer(void *v)
{
	int64_t began;

	(void)v;
	trace("muxfree");
	w.closing = 1;
	w.shut = 1;
	w.hungup = 1;
	/* callbacks may be slow, recvv for each message: muxfree gives up after three seconds and may be called again */
	do {
		began = now();
		errno = 0;
		muxfree(&w.mux);
	} while (errno == EBUSY && now() - began >= (int64_t)3000 * 1000000);
	if (errno != 0)
		fault("muxfree fails with %d", errno);
	w.closed = 1;
	errno = 0;
	muxhangup(&w.mux);
	if (errno != EINVAL)
		fault("the Mux is still valid after muxfree");
}
