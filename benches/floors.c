/*
 * The floors: the work of the loads without a multiplexor, as an estimate of the best possible result.
 *
 * With many threads, each writes its message and sleeps on a futex of its own. One reader reads all available
 * messages with one large read and wakes their callers.
 */
#include "bench.h"
#include <poll.h>
#include <linux/futex.h>
#include <sys/syscall.h>

void
memfloor(Worker *w)
{
	Msg *request, *answer;

	while (running()) {
		request = newmsg();
		fillmsg(request, w);
		puttag(request, 0);
		memsend(&conn.mux, request);
		answer = memrecv(&conn.mux);
		if (tagof(answer) != 0)
			die("tag");
		checkmsg(answer, w, w->serial);
		free(request);
		free(answer);
		count(w);
	}
}

/* one write and one read for each call */
void
onefloor(Worker *w)
{
	Msg request, *answer;

	while (running()) {
		fillmsg(&request, w);
		fdsend(&conn.mux, &request);
		answer = fdrecv(&conn.mux);
		checkmsg(answer, w, w->serial);
		free(answer);
		count(w);
	}
}

/* As asyncloop, but the replies are known to arrive in order. */
void
asyncfloor(Worker *w)
{
	struct pollfd p = {conn.fd, POLLIN, 0};
	Mux *mux = &conn.mux;
	Msg request;
	void *answer;
	int i;

	for (i = 0; i < KEEP; i++) {
		fillmsg(&request, w);
		mux->send(mux, &request);
	}
	while (running()) {
		while (!mux->nbrecv(mux, &answer))
			poll(&p, 1, -1);
		checkmsg(answer, w, w->serial - KEEP + 1);
		free(answer);
		count(w);
		fillmsg(&request, w);
		mux->send(mux, &request);
	}
}

static void
futex(atomic_int *word, int op, int value)
{
	syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/* The write needs no lock: a message is so short that the kernel stores it whole, in one buffer. */
void
floorcall(Worker *w, Msg *request)
{
	fillmsg(request, w);
	puttag(request, w->index);
	atomic_store(&w->ready, 0);
	fdsend(&conn.mux, request);
	while (!atomic_load(&w->ready))
		futex(&w->ready, FUTEX_WAIT, 0);
	checkmsg(&w->reply, w, w->serial);
}

void
manyfloor(Worker *w)
{
	Msg request;

	while (running()) {
		floorcall(w, &request);
		count(w);
	}
}

static void
reader(void *v)
{
	Msg *m;
	Worker *w;

	(void)v;
	while ((m = fdrecv(&conn.mux)) != NULL) {
		w = &workers[tagof(m)];
		w->reply = *m;
		free(m);
		atomic_store(&w->ready, 1);
		futex(&w->ready, FUTEX_WAKE, 1);
	}
}

void
setupfloor(const Load *l)
{
	setupecho(l);
	if (l->threads > 1)
		newthread(reader, NULL);
}
