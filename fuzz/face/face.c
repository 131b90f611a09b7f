/*
 * face.c: one run of the C face: the input, callers that it controls on one Mux or on two, one after the other, and a
 * server. When the input is used up, every choice is the successful one, and all callers must return.
 */
#include "world.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

World w;

int face_run(const uint8_t *, size_t);

static int
isasked(void *v)
{
	(void)v;
	return w.npending > 0 || w.callers == 0 || w.shut;
}

/* the server replies in any order, twice, without a request, and closes */
static void
server(void *v)
{
	Call *c;
	unsigned n;

	(void)v;
	while (!usedup() && !w.shut) {
		switch (choice(16)) {
		case 0:
		case 1:
		case 2:
		case 3:
		case 4:
		case 5:
			if (w.npending > 0)
				answer(choice((unsigned)w.npending), 1);
			break;
		case 6:
			if (w.npending > 0)
				answer(choice((unsigned)w.npending), 0);
			break;
		case 7:
			write_message(choice(2) ? UINT_MAX : choice(3));
			break;
		case 8:
			if (w.ncall > 0) {
				c = &w.calls[w.ncall - 1 - (int)choice(w.ncall > 8 ? 8 : (unsigned)w.ncall)];
				write_message(c->tag);
			}
			break;
		case 9:
			if (rarely(4)) {
				write_end();
				if (choice(2))
					w.npending = 0;
			}
			break;
		case 10:
			/* it never replies to this request, which is allowed if the call was abandoned */
			n = w.npending > 0 ? choice((unsigned)w.npending) : 0;
			if (w.npending > 0 && w.pending[n]->givenup)
				w.pending[n] = w.pending[--w.npending];
			break;
		case 11:
			if (w.callers < 10 && !w.closing && task_start(caller, NULL) == 0)
				w.callers++;
			break;
		default:
			break;
		}
		task_yield();
	}
	/* then it replies to all requests */
	while (w.callers > 0 && !w.shut) {
		task_wait(isasked, NULL);
		while (w.npending > 0)
			answer(0, 1);
	}
}

static void
checker(void *v)
{
	(void)v;
	checkstats(1);
}

static void
runall(void)
{
	int kicks;

	for (kicks = 0; !tasks_run(); kicks++) {
		if (w.closing)
			fault("locked up: %d tasks are inside at the end", tasks_left());
		if (w.callers == 0)
			return;	/* only procs are left */
		if ((w.batchloss || w.handwaits || w.orphans >= 0) && kicks < 100) {
			/*
			 * A receive by hand needs any message; and a receiver for a request that could not be sent, or for
			 * a call that was abandoned meanwhile, waits for the next message, whatever it is.
			 */
			write_message(UINT_MAX - 1);
		} else {
			fault("locked up: %d callers", w.callers);
		}
	}
}

static void
round_(void)
{
	unsigned how;
	int i;

	memset(&w, 0, sizeof w);
	how = choice(64);
	w.mux.mintag = w.ranges[0].min = how & 1 ? 1 : 0;
	w.mux.maxtag = w.ranges[0].max = how & 2 ? w.ranges[0].min + 1 + (how >> 4) : 256;
	w.nrange = 1;
	w.mux.send = face_send;
	w.mux.recv = face_recv;
	w.mux.nbrecv = how & 4 ? NULL : face_nbrecv;
	w.mux.gettag = face_gettag;
	w.mux.settag = face_settag;
	w.mux.aux = &w;
	muxinit(&w.mux);
	w.orphans = 2;
	muxsetorphan(&w.mux, face_orphan);
	if (how & 8)
		muxsetbatch(&w.mux, face_sendv, face_recvv);
	task_start(server, NULL);
	for (i = 0; i < 3 + (int)(how >> 4); i++)
		if (task_start(caller, NULL) == 0)
			w.callers++;
	runall();
	if (!w.closed) {
		if (task_start(checker, NULL) < 0)
			fault("no task is free");
		tasks_run();
		if (task_start(closer, NULL) < 0 || !tasks_run())
			fault("locked up: muxfree");
	}
	/* messages that were never received, and those that were leaked as documented */
	for (i = 0; i < w.nmessage; i++) {
		if (w.messages[i] == NULL)
			continue;
		if (w.messages[i]->looked && w.orphans == 2)
			fault("message %d is lost", i);
		message_free(w.messages[i]);
	}
	/* Muxrpcs that muxfree has freed */
	if (w.mux.mintag != w.ranges[w.nrange - 1].min || w.mux.aux != &w)
		fault("the public fields have changed");
}

int
face_run(const uint8_t *bytes, size_t size)
{
	static int installed;

	if (!installed)
		tasks_install();
	installed = 1;
	tasks_begin(bytes, size);
	round_();
	if (rarely(3)) {
		tasks_again();
		round_();
	}
	return 0;
}
