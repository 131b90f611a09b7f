/*
 * first-call.c: four threads make calls over one connection.  A program to copy: it needs mux.h and libmux only.
 *
 * A message is a header, with the length of the text and the tag, and the text.  The server, a child
 * process, returns each text in capital letters.
 */
#include <ctype.h>
#include <errno.h>
#include <mux.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { Head = 8, MaxText = 100 };
struct msg {
	uint32_t len, tag;
	char text[MaxText + 1];
};
struct conn {
	Mux mux;
	int fd;
};

/* Reads n bytes into v, or writes them from v.  Returns 0, or -1 on an error or at the end of the connection. */
static int transfer(int fd, void *v, size_t n, int writing)
{
	char *p = v;
	ssize_t k;

	while(n > 0){
		k = writing ? send(fd, p, n, MSG_NOSIGNAL) : recv(fd, p, n, 0);
		if(k < 0 && errno == EINTR)
			continue;
		if(k <= 0)
			return -1;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}
/* Reads a message into memory from malloc.  Returns NULL at the end of the connection. */
static struct msg *readmsg(int fd)
{
	struct msg *m = calloc(1, sizeof *m);

	if(m != NULL && transfer(fd, m, Head, 0) == 0 && m->len <= MaxText && transfer(fd, m->text, m->len, 0) == 0)
		return m;
	free(m);
	return NULL;
}
static int writemsg(int fd, struct msg *m) { return transfer(fd, m, Head + m->len, 1); }

/* the functions that libmux calls; aux points to the connection */
static int csend(Mux *m, void *v) { return writemsg(((struct conn*)m->aux)->fd, v); }
static void *crecv(Mux *m) { return readmsg(((struct conn*)m->aux)->fd); }
static int cgettag(Mux *m, void *v) { (void)m; return (int)((struct msg*)v)->tag; }
static int csettag(Mux *m, void *v, unsigned int tag) { (void)m; ((struct msg*)v)->tag = tag; return 0; }

static struct conn conn = { .mux = { .mintag = 0, .maxtag = 256, .aux = &conn,
	.send = csend, .recv = crecv, .gettag = cgettag, .settag = csettag } };

static void *caller(void *text)
{
	struct msg request, *reply;

	request.len = (uint32_t)strlen(text);
	memcpy(request.text, text, request.len);
	reply = muxrpc(&conn.mux, &request);
	if(reply == NULL)
		perror("muxrpc");
	else
		printf("%s: %s\n", (char*)text, reply->text);
	free(reply);
	return NULL;
}
static void server(int fd)
{
	struct msg *m;
	uint32_t i;

	for(; (m = readmsg(fd)) != NULL; free(m)){
		for(i = 0; i < m->len; i++)
			m->text[i] = (char)toupper((unsigned char)m->text[i]);
		if(writemsg(fd, m) < 0)
			break;
	}
}
int main(void)
{
	char *texts[4] = { "one", "two", "three", "four" };
	int i, fd[2];
	pthread_t t[4];

	if(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0)
		return 1;
	if(fork() == 0){
		close(fd[0]);
		server(fd[1]);
		_exit(0);
	}
	close(fd[1]);
	conn.fd = fd[0];
	muxinit(&conn.mux);
	for(i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, caller, texts[i]);
	for(i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	shutdown(conn.fd, SHUT_RDWR);
	muxfree(&conn.mux);
	close(conn.fd);
	wait(NULL);
	return 0;
}
