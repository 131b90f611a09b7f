/*
 * scene.h: short scenes that use every function of the library, each with a few calls, for tests that inject a
 * failure at every step. A scene counts how each call ends, and detects what is always wrong: a wrong reply, an
 * unexpected errno, a Mux that does not work afterwards, memory that is not freed. The test says which errors are
 * permitted.
 */
#ifndef SCENE_H
#define SCENE_H 1
#include "client.h"
#include "server.h"

typedef struct Run Run;
typedef struct Scene Scene;

/* how messages are sent and received, and whether in batches */
enum { DIRECT, PROCS, BATCH, PROCSBATCH, NWAY };

struct Scene {
	const char *name;
	void (*play)(Run *);
	/* the scene arms the failure itself, after the steps that must not fail */
	int armslate;
	/* so few tags that a late reply may match another call */
	int narrow;
	/* the server sends more than one message with the same tag */
	int twice;
	/* the errors with which calls end without a failure, 0 at the end */
	int ends[4];
};

extern const Scene scenes[];
extern const int nscenes;

struct Run {
	/* set by the test: called when failures may begin, and when they must end */
	void (*arm)(Run *);
	void (*disarm)(Run *);
	/* additional errors that calls and other functions may report; 0 at the end */
	int allowed[6];
	int refuses[6];
	void *own;
	/* set by the scene */
	const Scene *scene;
	int way;
	Client *c;
	/* how calls ended: with their replies; with an error of the scene; with an error that the test permits */
	unsigned good, ended, failed;
	/* functions other than calls that reported a permitted error */
	unsigned refused;
	/* violations: their number, and the first one */
	unsigned bad;
	char why[200];
	/* orphans that the program has received */
	unsigned orphans;
	int disposes;
	int broken;
	int fds[64];
	Server *servers[64];
	unsigned nfds;
	long live;
};

/* runs the scene once. Fills all fields from scene on; bad is 0 if everything was right. */
void scene_run(Run *, const Scene *, int way);
/* parts of that, for a test with a scene of its own: open and close; run again on the first connection (no caller
   may be inside meanwhile); replace the connection by a new one */
void scene_open(Run *, const Scene *, int way);
void scene_close(Run *);
void scene_stage(Run *);
void scene_renew(Run *);
const char *scene_way(int way);
/* reports a violation */
void scene_bad(Run *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* breaks the connection: every task in read or write returns, and the server ends */
void scene_break(Run *);
/* the functions of muxsetbatch, to be wrapped by a test */
int scene_sendv(Mux *, void **, int);
int scene_recvv(Mux *, void **, int);
/* if not NULL, called by those two first: a nonzero value is their result (SCENE_NONE means 0) */
extern int (*scene_sendving)(Run *, void **, int);
extern int (*scene_recvving)(Run *, void **, int);
enum { SCENE_NONE = -1000 };

/* muxinit again, after muxfree */
void scene_again(Run *);
/* for scenes: a connection (the first exists already); a blocking call, with a limit of ms if that is not negative;
   a non-blocking one, to be collected or cancelled; several tasks; an errno of another function */
void scene_connect(Run *);
void scene_call(Run *, unsigned type, unsigned id, int ms);
Muxrpc *scene_start(Run *, unsigned type, unsigned id);
void scene_finish(Run *, Muxrpc *, unsigned type, unsigned id);
void scene_tasks(Run *, unsigned n, void (*)(Run *, unsigned));
void scene_tell(Run *, int err);
/* frees the Mux and everything that belongs to it */
void scene_free(Run *);

#endif
