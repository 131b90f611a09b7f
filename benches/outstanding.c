/*
 * The cost of a call while a number of others are outstanding. One thread starts a call whenever it has finished the
 * oldest one. Hardly any work except the library's is measured: the program allocates no memory, a message has eight
 * bytes, and the server is a ring of tags that replies in order.
 */
#include "bench.h"

typedef struct Small Small;

struct Small {
	unsigned tag, serial;
};

static Small replies[MAXTAG]; /* by tag */
static unsigned ring[MAXTAG], first, last;
static Muxrpc *rpcs[MAXTAG];

static int
keptgettag(Mux *mux, void *msg)
{
	(void)mux;
	return (int)((Small *)msg)->tag;
}

static int
keptsettag(Mux *mux, void *msg, unsigned tag)
{
	(void)mux;
	((Small *)msg)->tag = tag;
	return 0;
}

int
keptsend(Mux *mux, void *msg)
{
	Small *m = msg;

	(void)mux;
	replies[m->tag] = *m;
	ring[last++ % MAXTAG] = m->tag;
	return 0;
}

static void *
keptrecv(Mux *mux)
{
	(void)mux;
	return first == last ? NULL : &replies[ring[first++ % MAXTAG]];
}

static int
keptnbrecv(Mux *mux, void **reply)
{
	*reply = keptrecv(mux);
	return *reply != NULL;
}

void
keptmux(Mux *m)
{
	m->mintag = 0;
	m->maxtag = MAXTAG - 1;
	m->send = keptsend;
	m->recv = keptrecv;
	m->nbrecv = keptnbrecv;
	m->gettag = keptgettag;
	m->settag = keptsettag;
	muxinit(m);
}

void
setupkept(const Load *l)
{
	(void)l;
	keptmux(&conn.mux);
}

static void
check(const Small *reply, unsigned serial)
{
	if (reply == NULL)
		die("a call ended without a reply");
	if (reply->serial != serial) {
		errno = EPROTO;
		die("a reply to another request");
	}
}

static Muxrpc *
start(unsigned serial)
{
	Small request = {0, serial};
	Muxrpc *rpc = muxrpcstart(&conn.mux, &request);

	if (rpc == NULL)
		die("muxrpcstart");
	return rpc;
}

void
keptloop(Worker *w)
{
	unsigned serial = 0, n = w->load->n, i;
	void *reply;

	for (i = 0; i < n; i++)
		rpcs[i] = start(serial++);
	for (i = 0; running(); i = i + 1 < n ? i + 1 : 0) {
		while (!muxrpccanfinish(rpcs[i], &reply))
			;
		check(reply, serial - n);
		count(w);
		rpcs[i] = start(serial++);
	}
}

/* The same accesses to the same memory, with the indices as tags. */
void
keptfloor(Worker *w)
{
	unsigned serial = 0, n = w->load->n, i;
	Small request;
	void *reply;

	for (i = 0; i < n; i++) {
		request = (Small){i, serial++};
		keptsend(&conn.mux, &request);
	}
	for (i = 0; running(); i = i + 1 < n ? i + 1 : 0) {
		keptnbrecv(&conn.mux, &reply);
		check(reply, serial - n);
		count(w);
		request = (Small){i, serial++};
		keptsend(&conn.mux, &request);
	}
}
