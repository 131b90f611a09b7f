/*
 * callbacks.c: send, recv and the other callbacks, and the server behind them. The input controls each of them, within
 * what mux.h allows. They check the library: at most one send and one recv at a time, tags in range and with one owner,
 * only requests of callers that are inside, and each message for its owner.
 */
#include "world.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { CHECK = 0x600df00d, BATCH = 16 };

static void
checkmux(Mux *mux)
{
	if (mux != &w.mux)
		fault("another Mux");
	if (w.closed)
		fault("called after muxfree");
}

static void
dawdle(void)
{
	unsigned n;

	for (n = choice(3); n > 0; n--)
		task_yield();
}

/* --- messages */

Message *
write_message(unsigned tag)
{
	Message *m;

	if (w.nmessage == NMESSAGE || w.last == NMESSAGE)
		return NULL;
	m = malloc(sizeof *m);
	memset(m, 0, sizeof *m);
	m->tag = tag;
	m->self = m;
	m->number = w.nmessage;
	trace("message %d with tag %u is written", m->number, tag);
	w.messages[w.nmessage++] = m;
	w.wire[w.last++] = m;
	return m;
}

void
write_end(void)
{
	if (w.last < NMESSAGE)
		w.wire[w.last++] = NULL;
}

void
message_free(Message *m)
{
	Call *c;
	int i;

	if (m->self != m)
		fault("no message, or a freed one");
	for (c = w.calls; c < w.calls + w.ncall; c++)
		for (i = 0; i < c->nearly; i++)
			if (c->early[i] == m)
				c->early[i] = NULL;
	w.messages[m->number] = NULL;
	m->self = NULL;
	free(m);
}

void
answer(unsigned which, int once)
{
	Call *c;

	c = w.pending[which];
	if (once)
		w.pending[which] = w.pending[--w.npending];
	write_message(c->tag);
}

static void
isread(Call *c)
{
	if (c->read || c->kind == HAND || w.shut || w.npending == NCALL)
		return;
	c->read = 1;
	w.pending[w.npending++] = c;
}

int
holds(Call *c)
{
	if (c->kind == TIMED && c->open && !c->sent && now() >= c->deadline)
		return 0;	/* it may have been withdrawn */
	if (w.hungup && !c->sends)
		return 0;	/* it notices that at its turn */
	return c->holds == 2 && (c->open || c->givenup);
}

/* returns whether all tags may have been in use: the number of tags, by calls that may have had one */
static int
mayhavenone(Call *c)
{
	Call *other;
	uint64_t width, taken;
	int i;

	for (i = (int)c->range; i < w.nrange; i++) {
		width = w.ranges[i].max > w.ranges[i].min ? w.ranges[i].max - w.ranges[i].min : 0;
		taken = 0;
		for (other = w.calls; other < w.calls + w.ncall; other++)
			taken += other != c && other->kind != HAND && (other->open || other->givenup || other->holds);
		if (taken >= width)
			return 1;
	}
	return 0;
}

/* before any change of tags: notes the callers that could find none */
void
seetags(void)
{
	Call *c;

	for (c = w.calls; c < w.calls + w.ncall; c++)
		if (c->open && !c->tagged && !c->foundnone)
			c->foundnone = mayhavenone(c);
}

void
has_ended(void)
{
	Call *c;

	seetags();
	trace("the connection has ended");
	w.ends++;
	for (c = w.calls; c < w.calls + w.ncall; c++) {
		if (!c->open && !c->givenup)
			continue;
		if (c->givenup) {
			c->givenup = 0;
			c->holds = 0;
		} else if (c->sent && c->reply == NULL) {
			c->ended = 1;
			c->holds = 0;
		} else if (!c->insend && c->holds) {
			/* it may have been queued */
			c->holds = 1;
		}
	}
}

/* --- sending */

static Call *
checkrequest(void *v)
{
	Request *r;

	r = v;
	if (r->check != CHECK || !r->call->open || r->call->request != r)
		fault("a request without a call");
	return r->call;
}

int
face_settag(Mux *mux, void *v, unsigned tag)
{
	Call *c, *other;
	int i;

	checkmux(mux);
	dawdle();
	c = checkrequest(v);
	if (c->tagged)
		fault("two tags for one call");
	if (c->kind == HAND)
		fault("settag of a message sent by hand");
	for (i = (int)c->range; i < w.nrange; i++)
		if (w.ranges[i].min <= tag && tag < w.ranges[i].max)
			break;
	if (i == w.nrange)
		fault("tag %u is out of range", tag);
	for (i = 0; i < c->nearly; i++)
		c->doubtful |= i == EARLY - 1 || (c->early[i] != NULL && c->early[i]->tag == tag);
	for (other = w.calls; other < w.calls + w.ncall && !c->doubtful; other++)
		if (other != c && other->tag == tag && holds(other))
			fault("tag %u has two owners", tag);
	trace("settag of call %d: %u", (int)(c - w.calls), tag);
	c->tagged = 1;
	c->holds = c->doubtful ? 1 : 2;
	c->tag = tag;
	c->request->tag = tag;
	if (!rarely(12))
		return 0;
	errno = choice(2) ? 0 : 1000 + (int)(c - w.calls);
	c->failed = errno == 0 ? EIO : errno;
	c->holds = 0;
	return -1 - (int)choice(2);
}

static void
goesin(void *v)
{
	Call *c;

	c = checkrequest(v);
	if (c->kind != HAND && (!c->tagged || c->request->tag != c->tag))
		fault("sent without its tag");
	if (c->sent || c->failed)
		fault("sent twice");
	trace("call %d goes into send", (int)(c - w.calls));
	c->sends++;
	c->insend = 1;
	c->endsinsend = c->sends == 1 ? w.ends : c->endsinsend;
	c->holds = c->kind == HAND || c->reply != NULL ? 0 : c->doubtful ? 1 : 2;
}

static void
comesout(Call *c, int failure)
{
	trace("call %d has been sent, %d", (int)(c - w.calls), failure);
	c->insend = 0;
	if (failure) {
		c->failed = failure;
		if (c->reply == NULL)
			c->holds = 0;
		w.batchloss = 1;
		return;
	}
	c->sent = 1;
	if (c->endsinsend != w.ends || w.hungup || w.shut) {
		w.batchloss = 1;
		c->lost = c->endsinsend != w.ends || w.hungup;
		if (c->lost && c->reply == NULL) {
			c->ended = 1;
			c->holds = 0;
		}
		return;
	}
	isread(c);
}

/* the server reads no more until the replies of blocking callers have been received */
static int
hasroom(void *v)
{
	Call *c;
	int i;

	(void)v;
	if (w.shut || w.hungup || usedup())
		return 1;
	for (i = w.first; i < w.last; i++) {
		if (w.wire[i] == NULL)
			return 1;
		for (c = w.calls; c < w.calls + w.ncall; c++)
			if (c->open && c->kind == RPC && c->sent && !c->reply && !c->ended && c->tag == w.wire[i]->tag)
				return 0;
	}
	return 1;
}

static int
failure(Call *c)
{
	errno = choice(3) == 2 ? 0 : 2000 + (int)(c - w.calls);
	return errno == 0 ? EIO : errno;
}

static int
sends(void **requests, int n)
{
	Call *c;
	int i, why, done, answer;

	if (w.insend++)
		fault("two callers are in send");
	for (i = 0; i < n; i++)
		goesin(requests[i]);
	dawdle();
	if (rarely(4))
		task_wait(hasroom, NULL);
	for (i = 0; i < n; i++)
		if (rarely(3)) {
			isread(((Request *)requests[i])->call);
			dawdle();
		}
	w.insend--;
	if (rarely(6) || w.shut) {
		c = checkrequest(requests[0]);
		why = failure(c);
		i = errno;
		comesout(c, why);
		for (done = 1; done < n; done++)
			checkrequest(requests[done])->insend = 0;
		errno = i;
		return n == 1 ? -1 : choice(2) ? INT_MIN : 0;
	}
	done = n - (int)choice((unsigned)n);
	answer = done;
	if (n > 1 && done == n && rarely(4))
		answer = INT_MAX;
	for (i = 0; i < n; i++) {
		c = checkrequest(requests[i]);
		if (i < done)
			comesout(c, 0);
		else
			c->insend = 0;
	}
	errno = 77;
	return answer;
}

int
face_send(Mux *mux, void *v)
{
	int answer;

	checkmux(mux);
	answer = sends(&v, 1);
	return answer < 0 ? answer : (int)choice(3);
}

int
face_sendv(Mux *mux, void **requests, int n)
{
	int answer;

	checkmux(mux);
	if (n < 1 || n > BATCH)
		fault("sendv of %d", n);
	answer = sends(requests, n);
	return n == 1 && answer < 0 && choice(2) ? 0 : answer;
}

/* --- receiving */

static int
isthere(void *v)
{
	(void)v;
	return w.first < w.last || w.shut;
}

static Message *
next(int *ended)
{
	Message *m;

	*ended = 0;
	if (w.first == w.last) {
		*ended = w.shut;
		return NULL;
	}
	m = w.wire[w.first++];
	*ended = m == NULL;
	return m;
}

void *
face_recv(Mux *mux)
{
	Message *m;
	int ended;

	checkmux(mux);
	if (w.inrecv++)
		fault("two callers are in recv");
	dawdle();
	task_wait(isthere, NULL);
	m = next(&ended);
	w.inrecv--;
	if (ended)
		has_ended();
	return m;
}

int
face_recvv(Mux *mux, void **replies, int max)
{
	Message *m;
	int ended, n, some;

	checkmux(mux);
	if (w.inrecv++)
		fault("two callers are in recv");
	if (max != BATCH)
		fault("recvv of %d", max);
	dawdle();
	task_wait(isthere, NULL);
	n = 0;
	some = 0;
	m = next(&ended);
	while (m != NULL) {
		if (rarely(4))
			replies[n++] = NULL;
		replies[n++] = m;
		some++;
		if (n >= max - 1 || w.first == w.last || w.wire[w.first] == NULL || rarely(3))
			break;
		m = w.wire[w.first++];
	}
	w.inrecv--;
	if (some == 0) {
		has_ended();
		switch (choice(4)) {
		case 0:
			return 0;
		case 1:
			return INT_MIN;
		default:
			replies[0] = NULL;
			return 1;
		}
	}
	return rarely(4) ? INT_MAX : n;
}

int
face_nbrecv(Mux *mux, void **reply)
{
	Message *m;
	int ended;

	checkmux(mux);
	if (w.inrecv++)
		fault("two callers are in recv");
	dawdle();
	m = next(&ended);
	w.inrecv--;
	if (ended)
		has_ended();
	if (m == NULL && !ended) {
		if (choice(2))
			*reply = NULL;
		return 0;
	}
	*reply = m;
	return 1 - 3 * (int)choice(2);
}

/* after this the message is delivered before any other task runs */
int
face_gettag(Mux *mux, void *v)
{
	Message *m;
	Call *c;

	checkmux(mux);
	m = v;
	if (m->self != m || m->looked)
		fault("no message, or one that has been delivered");
	m->looked = 1;
	seetags();
	for (c = w.calls; c < w.calls + w.ncall; c++) {
		if (!c->tagged || c->tag != m->tag)
			continue;
		if (c->givenup) {
			c->givenup = 0;
			c->holds = 0;
		} else if (!c->open || c->reply != NULL) {
			continue;
		} else if (holds(c) && (c->insend || c->sent) && (c->kind != TIMED || now() < c->deadline)) {
			m->owner = c;
			c->reply = m;
			c->holds = 0;
		} else {
			/*
			 * It may have been abandoned, or have the turn to send; or be in a batch that is still being sent,
			 * although it has failed.
			 */
			m->maybe = 1;
			c->doubtful = 1;
			c->holds = c->holds ? 1 : 0;
		}
	}
	if (m->owner != NULL)
		m->maybe = 0;
	else
		for (c = w.calls; c < w.calls + w.ncall; c++)
			if (c->open && !c->tagged && c->kind != HAND) {
				m->maybe = 1;
				if (c->nearly < EARLY)
					c->early[c->nearly++] = m;
			}
	trace("message %d with tag %u is for call %d%s", m->number, m->tag, m->owner ? (int)(m->owner - w.calls) : -1, m->maybe ? ", possibly" : "");
	return (int)m->tag;
}

void
face_orphan(Mux *mux, void *v)
{
	Message *m;

	checkmux(mux);
	m = v;
	if (m->self != m || !m->looked)
		fault("no message, or one that was never received");
	if (m->owner != NULL && m->owner->open && !w.closing)
		fault("the reply of call %d is taken for an orphan", (int)(m->owner - w.calls));
	trace("message %d is an orphan", m->number);
	message_free(m);
	w.disposed++;
	dawdle();
}
