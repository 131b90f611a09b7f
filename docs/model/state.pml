/*
 * What there is: the calls, the tags, who sends, who receives, the procs; and, apart from them, the world.
 *
 * A caller has one call at a time, so a call's number is its caller's. The queues of src/core are sets here,
 * known by what is in them: of those who may be next, any may be. What holds here holds in whatever order
 * the library serves them.
 */

/* How many callers, tags, and calls each. The first TIMED callers have deadlines; the calls of the last
   POLLERS are non-blocking. */
#ifndef N
#define N 3
#endif
#ifndef TAGS
#define TAGS 2
#endif
#ifndef CALLS
#define CALLS 1
#endif
#ifndef TIMED
#define TIMED 0
#endif
#ifndef POLLERS
#define POLLERS 0
#endif
/* For how many others a caller sends that has sent its own. */
#ifndef HELP_LIMIT
#define HELP_LIMIT 1
#endif
/* How often the connection ends (0 or 1), and how many messages come that answer nothing. */
#ifndef BATCH
#define BATCH 1
#endif
#ifndef IDLE
#define IDLE 1
#endif
#ifdef FAILS
#define FAILING true
#else
#define FAILING false
#endif
#ifndef ENDS
#define ENDS 0
#endif
#ifndef LIES
#define LIES 0
#endif

#define timed(i)	((i) < TIMED)
#define poller(i)	((i) >= N - POLLERS)

/* Of all callers: is there one, how many are there, take any (or NOBODY). */
#if N == 2
#define SOME(P)		(P(0) || P(1))
#define COUNT(P)	(P(0) + P(1))
#define ANY(x, P)	if :: P(0) -> x = 0 :: P(1) -> x = 1 :: else -> x = NOBODY fi
#elif N == 3
#define SOME(P)		(P(0) || P(1) || P(2))
#define COUNT(P)	(P(0) + P(1) + P(2))
#define ANY(x, P)	if :: P(0) -> x = 0 :: P(1) -> x = 1 :: P(2) -> x = 2 :: else -> x = NOBODY fi
#else
#define SOME(P)		(P(0) || P(1) || P(2) || P(3))
#define COUNT(P)	(P(0) + P(1) + P(2) + P(3))
#define ANY(x, P)	if :: P(0) -> x = 0 :: P(1) -> x = 1 :: P(2) -> x = 2 :: P(3) -> x = 3 \
			:: else -> x = NOBODY fi
#endif

/* --- the machine */

/* Where a call is on its way. */
mtype:stage = { VACANT, TAGLESS, TAGGED, QUEUED, SENDING, SENT, OVER };

/* What its owner does next, as a step or as what it is told. */
mtype:act = {
	ASLEEP,		/* until it is told something else */
	SINKING,	/* falls asleep: can be chosen, can not be woken yet */
	START,		/* begins its call */
	ASK,		/* asks `step` */
	TAG,		/* has a tag, goes for the turn */
	TURN,		/* has the turn, sends */
	HELP,		/* sends for another */
	RECEIVE,
	AWAY,		/* non-blocking, sent: comes to see now and then */
	POLL,		/* non-blocking, has the role: looks */
	DONE,		/* its call is over: reply, failure, or the end */
	LATE,		/* its call is over: the deadline */
	REFUSED		/* no tag will come; or hung up */
};

#define NOBODY		N
#define VISITOR		(N + 1)		/* receives on behalf of a non-blocking call */
#define PROC		(N + 2)		/* the receive proc, or the send proc */
#define GIVEN_UP	(N + 3)		/* a tag that is held */
#define NOTAG		TAGS

mtype:stage stage[N] = VACANT;
mtype:act act[N] = START;
byte tag[N] = NOTAG;
byte reply[N];			/* the number of the request that was answered; 0 is none */
bool failed[N];
bool late[N];
bool hopeless[N];		/* being sent, and no reply will come */

byte owner[TAGS] = NOBODY;
byte taken;			/* tags */
byte held;			/* tags of calls given up */
byte on_the_way;		/* calls with a tag, not sent: no reply is due */

byte sender = NOBODY;
byte muxer = NOBODY;
bool napping;			/* the muxer has a deadline, and naps */

byte ends;
bool hung_up;

bool receive_proc, receive_proc_stop, receive_proc_asleep;
bool send_proc, send_proc_stop, send_proc_asleep;
mtype:act receive_proc_does = DONE, send_proc_does = DONE;

#define receive_proc_stays	(receive_proc && !receive_proc_stop)
#define send_proc_stays		(send_proc && !send_proc_stop)

/* The queues, and who else can be found. */
#define dozes(i)	(act[i] == ASLEEP || act[i] == SINKING)
#define waits(i)	(stage[i] == SENT && dozes(i) && !poller(i) && !timed(i))
#define waits_timed(i)	(stage[i] == SENT && dozes(i) && !poller(i) && timed(i))
#define tagless(i)	(stage[i] == TAGLESS && dozes(i))
#define unsent(i)	(stage[i] == QUEUED)
#define helping(i)	(stage[i] == SENDING && sender != (i))
#define is_muxer(i)	(muxer == (i) && !napping)


/* Scratch; no value outlasts an atomic step. */
hidden byte heir, next, fresh, each, mate;
hidden byte orphan, counted, rings;
hidden byte later;		/* off the way, once all else is done */
hidden mtype:act tells;
