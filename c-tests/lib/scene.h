/*
 * scene.h: short plays in which every function of the library has its part, each with a handful of calls,
 * for tests that have something go wrong at every step of one.  A play tallies how each call ends; what
 * may not be in any case (a wrong reply, an errno that says something else, a Mux that does not work any
 * more afterwards, memory that stays) is seen here.  What may be is the test's to say.
 */
#ifndef SCENE_H
#define SCENE_H 1
#include "client.h"
#include "server.h"

typedef struct Run Run;
typedef struct Scene Scene;

/* who receives and sends, and how many messages at a time */
enum { DIRECT, PROCS, BATCH, PROCSBATCH, NWAY };

struct Scene {
	const char *name;
	void (*play)(Run *);
	/* it arms by itself, when what should not fail is over */
	int armslate;
	/* so few tags that a reply which comes too late may meet another call */
	int narrow;
	/* the server sends more than one message with the same tag */
	int twice;
	/* what calls end with when nothing goes wrong, 0 at the end */
	int ends[4];
};

extern const Scene scenes[];
extern const int nscenes;

struct Run {
	/* the test's: called when the play may begin to go wrong, and when it may no more */
	void (*arm)(Run *);
	void (*disarm)(Run *);
	/* what calls may end with besides, and what other functions may say; 0 at the end */
	int allowed[6];
	int refuses[6];
	void *own;
	/* the play's */
	const Scene *scene;
	int way;
	Client *c;
	/* how calls ended: with their replies; without one, as the scene has it; as the test allows */
	unsigned good, ended, failed;
	/* functions other than calls that said an error that the test allows */
	unsigned refused;
	/* what may not be: how often, and the first */
	unsigned bad;
	char why[200];
	/* the orphans that the program was given */
	unsigned orphans;
	int disposes;
	int broken;
	int fds[64];
	Server *servers[64];
	unsigned nfds;
	long live;
};

/* plays it once.  All from scene on is filled here; bad is 0 when all was well. */
void scene_run(Run *, const Scene *, int way);
/* parts of that, for a test with a play of its own: begins, ends; comes back to one after others (in between
   nobody may be inside); and has a new connection in place of the one that it has */
void scene_open(Run *, const Scene *, int way);
void scene_close(Run *);
void scene_stage(Run *);
void scene_renew(Run *);
const char *scene_way(int way);
/* something that may not be */
void scene_bad(Run *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* the connection breaks: everybody who is in read or write comes back, and the server goes */
void scene_break(Run *);
/* what the functions of muxsetbatch do, for a test to come in between */
int scene_sendv(Mux *, void **, int);
int scene_recvv(Mux *, void **, int);
/* if not nil, called by those two before anything else: not 0 and it is their answer (SCENE_NONE is 0) */
extern int (*scene_sendving)(Run *, void **, int);
extern int (*scene_recvving)(Run *, void **, int);
enum { SCENE_NONE = -1000 };

/* begins anew after muxfree, by muxinit */
void scene_again(Run *);
/* for plays: a connection (the first is there); a call that blocks, within ms if that is not less than 0;
   one that does not, to be collected or cancelled; several tasks; an errno of another function */
void scene_connect(Run *);
void scene_call(Run *, unsigned type, unsigned id, int ms);
Muxrpc *scene_start(Run *, unsigned type, unsigned id);
void scene_finish(Run *, Muxrpc *, unsigned type, unsigned id);
void scene_tasks(Run *, unsigned n, void (*)(Run *, unsigned));
void scene_tell(Run *, int err);
/* the end of the Mux, and of what belongs to it */
void scene_free(Run *);

#endif
