/*
 * The transports: memory, or a socket pair to a child process that returns each message. The callbacks are the same
 * for each library. send is one write. recv returns one message from a buffer, which one read fills with all that is
 * available; nbrecv does the same without waiting. The functions of muxsetbatch write and return several messages.
 */
#include "bench.h"
#include <poll.h>
#include <sys/socket.h>

/* memory: send appends a copy to a list, from which recv removes it */

int
memsend(Mux *mux, void *msg)
{
	Conn *c = mux->aux;
	Msg *copy = newmsg();

	memcpy(copy->b, ((Msg *)msg)->b, MSGSIZE);
	copy->next = NULL;
	*c->tail = copy;
	c->tail = &copy->next;
	return 0;
}

void *
memrecv(Mux *mux)
{
	Conn *c = mux->aux;
	Msg *m = c->head;

	if (m == NULL)
		return NULL;
	c->head = m->next;
	if (c->head == NULL)
		c->tail = &c->head;
	return m;
}

/* a descriptor */

static void
writeall(int fd, const void *v, size_t n)
{
	const char *p = v;
	ssize_t m;

	for (; n > 0; p += m, n -= m) {
		m = write(fd, p, n);
		if (m <= 0)
			die("write");
	}
}

int
fdsend(Mux *mux, void *msg)
{
	Conn *c = mux->aux;

	writeall(c->fd, ((Msg *)msg)->b, MSGSIZE);
	return 0;
}

int
fdsendv(Mux *mux, void **msg, int n)
{
	Conn *c = mux->aux;
	unsigned char all[16 * MSGSIZE];
	int i;

	n = n > 16 ? 16 : n;
	for (i = 0; i < n; i++)
		memcpy(all + i * MSGSIZE, ((Msg *)msg[i])->b, MSGSIZE);
	writeall(c->fd, all, (size_t)n * MSGSIZE);
	return n;
}

/* Reads all available bytes. Returns the result of recv(2). */
static ssize_t
fill(Conn *c, int flags)
{
	int left = c->end - c->sofar;
	ssize_t n;

	memmove(c->buf, c->buf + c->sofar, left);
	c->sofar = 0;
	c->end = left;
	n = recv(c->fd, c->buf + left, unbuffered ? MSGSIZE - left : BUFFER - left, flags);
	if (n > 0)
		c->end += n;
	return n;
}

static Msg *
take(Conn *c)
{
	Msg *m = newmsg();

	memcpy(m->b, c->buf + c->sofar, MSGSIZE);
	c->sofar += MSGSIZE;
	return m;
}

static int
whole(Conn *c)
{
	return c->end - c->sofar >= MSGSIZE;
}

void *
fdrecv(Mux *mux)
{
	Conn *c = mux->aux;

	while (!whole(c))
		if (fill(c, 0) <= 0)
			return NULL;
	return take(c);
}

int
fdrecvv(Mux *mux, void **reply, int max)
{
	Conn *c = mux->aux;
	int n;

	while (!whole(c))
		if (fill(c, 0) <= 0)
			return 0;
	for (n = 0; n < max && whole(c); n++)
		reply[n] = take(c);
	return n;
}

int
fdnbrecv(Mux *mux, void **reply)
{
	Conn *c = mux->aux;
	ssize_t n;

	*reply = NULL;
	while (!whole(c)) {
		n = fill(c, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return 1;
	}
	*reply = take(c);
	return 1;
}

/* a program that buffers its output: send appends to the buffer, which is written before the next poll for replies */

static void
letgo(Conn *c)
{
	writeall(c->fd, c->out, c->held);
	c->held = 0;
}

int
heldsend(Mux *mux, void *msg)
{
	Conn *c = mux->aux;

	memcpy(c->out + c->held, ((Msg *)msg)->b, MSGSIZE);
	c->held += MSGSIZE;
	if (c->held + MSGSIZE > BUFFER)
		letgo(c);
	return 0;
}

int
heldnbrecv(Mux *mux, void **reply)
{
	Conn *c = mux->aux;

	if (!whole(c))
		letgo(c);
	return fdnbrecv(mux, reply);
}

/* Starts a child that writes all that it has read back at once, until the other end is closed. */
static void
echo(int fd)
{
	static char buf[BUFFER];
	ssize_t n, m, sofar;

	while ((n = read(fd, buf, sizeof buf)) > 0)
		for (sofar = 0; sofar < n; sofar += m) {
			m = write(fd, buf + sofar, n - sofar);
			if (m <= 0)
				_exit(0);
		}
	_exit(0);
}

int
startecho(void)
{
	int fd[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0)
		die("socketpair");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		close(fd[0]);
		echo(fd[1]);
	}
	close(fd[1]);
	return fd[0];
}

void
initmux(int ntag)
{
	Mux *m = &conn.mux;

	m->mintag = 0;
	m->maxtag = ntag;
	m->gettag = muxgettag;
	m->settag = muxsettag;
	m->aux = &conn;
	muxinit(m);
}
