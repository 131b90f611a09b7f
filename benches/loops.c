/*
 * The setup of the connections, and the loops of the callers until the end of the measurement.
 */
#include "bench.h"
#include <poll.h>

enum {
	MORETAGS = 1000 /* so many that no caller waits for a tag */
};

/* our library has this function, plan9port's has not */
#pragma weak muxsetbatch

void
setupmem(const Load *l)
{
	conn.tail = &conn.head;
	conn.mux.send = memsend;
	conn.mux.recv = memrecv;
	initmux(MORETAGS + l->threads);
}

void
setupecho(const Load *l)
{
	conn.fd = startecho();
	conn.mux.send = fdsend;
	conn.mux.recv = fdrecv;
	conn.mux.nbrecv = fdnbrecv;
	initmux(MORETAGS + l->threads);
}

void
setupprocs(const Load *l)
{
	setupecho(l);
	muxprocs(&conn.mux);
}

void
setupbatch(const Load *l)
{
	if (muxsetbatch == NULL)
		cannot("muxsetbatch");
	setupecho(l);
	muxsetbatch(&conn.mux, fdsendv, fdrecvv);
}

void
setupheld(const Load *l)
{
	setupecho(l);
	conn.mux.send = heldsend;
	conn.mux.nbrecv = heldnbrecv;
}

void
muxloop(Worker *w)
{
	Msg request, *reply;

	while (running()) {
		fillmsg(&request, w);
		reply = muxrpc(&conn.mux, &request);
		checkmsg(reply, w, w->serial);
		free(reply);
		count(w);
	}
}

void
memloop(Worker *w)
{
	Msg *request, *reply;

	while (running()) {
		request = newmsg();
		fillmsg(request, w);
		reply = muxrpc(&conn.mux, request);
		checkmsg(reply, w, w->serial);
		free(request);
		free(reply);
		count(w);
	}
}

static Muxrpc *
start(Worker *w, Msg *request)
{
	Muxrpc *rpc;

	fillmsg(request, w);
	rpc = muxrpcstart(&conn.mux, request);
	if (rpc == NULL)
		die("muxrpcstart");
	return rpc;
}

static Msg *
finish(Muxrpc *rpc)
{
	struct pollfd p = {conn.fd, POLLIN, 0};
	void *reply;

	while (!muxrpccanfinish(rpc, &reply))
		poll(&p, 1, -1);
	return reply;
}

/* Keeps KEEP calls outstanding, and sleeps in poll while no message is available. */
void
asyncloop(Worker *w)
{
	Muxrpc *rpc[KEEP];
	Msg request, *reply;
	int i;

	for (i = 0; i < KEEP; i++)
		rpc[i] = start(w, &request);
	for (i = 0; running(); i = (i + 1) % KEEP) {
		reply = finish(rpc[i]);
		checkmsg(reply, w, w->serial - KEEP + 1);
		free(reply);
		count(w);
		rpc[i] = start(w, &request);
	}
}
