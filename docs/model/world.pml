/*
 * The program's callbacks and the server, who answers in whatever order he likes; and what is checked after
 * every event. Nothing here is the library's.
 *
 * A request on the wire can be answered at any time from when the server has taken it, also before send
 * has returned. An answer is no step of its own: it comes when it is read.
 */

byte mine[N];			/* the number of each caller's request */
bool lent[N];			/* another sends it */
bool went[N];			/* what send says of it */
byte wire[TAGS];		/* the request with this tag that is not answered, or whose answer is not read */
byte lies;
bool down;			/* recv has said nil, and the machine has not heard it */
bool closed;			/* the connection has ended once */
bool answered[N];		/* recv has returned its reply */
bool stuck;			/* some reply that recv may wait for will never come: the server will close then */
byte done;			/* callers that have come back for good */

#define in_send(i)	(act[i] == TURN || act[i] == HELP)

/* What recv has returned: the number of a request that was answered, or */
#define NIL		0
#define LIE		252
#define DISPOSED	253	/* it has been delivered, and was an orphan */
#define NOTHING		254	/* for one that looks without waiting */

#if TAGS == 1
#define readable	(wire[0] != 0)
#elif TAGS == 2
#define readable	(wire[0] != 0 || wire[1] != 0)
#else
#define readable	(wire[0] != 0 || wire[1] != 0 || wire[2] != 0)
#endif
/* The connection ends once, of itself or when hung up; and again if somebody is left in recv with nothing
   to come. */
#define someone_sends	(SOME(in_send) || send_proc_does == HELP)
#define nil_may_come	(!down && (((hung_up || ENDS > 0) && !closed) || \
			(!someone_sends && (hung_up || (stuck && !readable)))))
#define may_lie		(lies < LIES && !down)
#define recv_returns	(readable || nil_may_come || may_lie)

/* One that does not read while it has something to say. */
#ifdef STUBBORN
#define server_reads	(!readable || hung_up)
#else
#define server_reads	true
#endif

/* recv: a message, or nil. Leaves it in msg, and its tag in at. */
inline recv() {
	if
	:: wire[0] != 0 -> at = 0; msg = wire[0]; wire[0] = 0
#if TAGS > 1
	:: wire[1] != 0 -> at = 1; msg = wire[1]; wire[1] = 0
#endif
#if TAGS > 2
	:: wire[2] != 0 -> at = 2; msg = wire[2]; wire[2] = 0
#endif
	:: nil_may_come ->
		msg = NIL;
		down = true;
		closed = true;
		wire[0] = 0;
#if TAGS > 1
		wire[1] = 0;
#endif
#if TAGS > 2
		wire[2] = 0
#endif
	:: may_lie ->
		lies++;
		msg = LIE;
		if
		:: at = 0
#if TAGS > 1
		:: at = 1
#endif
#if TAGS > 2
		:: at = 2
#endif
		fi
	fi;
	if
	:: msg != NIL && msg != LIE && mine[(msg - 1) % N] == msg -> answered[(msg - 1) % N] = true
	:: else
	fi
}

/* What is sent when the connection has ended, or is about to, is lost. */
#define is_lost		(down || hung_up || began != ends)

/* The server takes the request of o, or it can not be sent. */
inline accept(o) {
	if
	:: is_lost -> went[o] = true
#ifdef FAILS
	:: went[o] = false; stuck = stuck || (BATCH > 1)
#endif
	:: !is_lost && server_reads ->
		went[o] = true;
		if
		:: tag[o] == NOTAG		/* answered before it was asked */
		:: tag[o] != NOTAG ->
			assert(wire[tag[o]] == 0 || LIES > 0);	/* the server sees no tag twice at a time */
			wire[tag[o]] = mine[o]
#ifdef MUTE
		:: tag[o] != NOTAG && timed(o) -> stuck = true
#endif
		fi
	fi
}

/* And send returns. It may say that it has failed when the reply is there already. */
inline returns(o) {
	if
	:: skip
#ifdef FAILS
	:: reply[o] != 0 -> went[o] = false
#endif
	fi
}

#define in_recv(i)	(act[i] == RECEIVE || act[i] == POLL)
#define has_turn(i)	(!in_send(i) || sender == (i))
#define has_role(i)	(act[i] != RECEIVE || is_muxer(i))
#define uses_role(i)	(muxer != (i) || (napping -> act[i] == ASLEEP : act[i] == RECEIVE || act[i] == ASK))
#define has_tag(i)	(tag[i] == NOTAG || owner[tag[i]] == (i))
#define is_coming(i)	(tag[i] != NOTAG && (stage[i] == TAGGED || stage[i] == QUEUED || stage[i] == SENDING))
#define no_turn(i)	(!has_turn(i))
#define no_role(i)	(!has_role(i))
#define no_use(i)	(!uses_role(i))
#define no_tag(i)	(!has_tag(i))

/* Whether the program has nbrecv. */
#ifdef POLLS
#define can_poll	true
#else
#define can_poll	false
#endif

/* Who looks, rather than wait. */
#define looks(i)	(act[i] == POLL || (act[i] == RECEIVE && timed(i)))

/* A non-blocking call's owner has something to see. */
#ifdef COMES_LAST
#define comes(i)	(done >= N - POLLERS)	/* one thread, say, with a blocking call */
#else
#define comes(i)	true
#endif
#define sees(i)		(stage[i] == OVER || ((muxer == NOBODY || napping) && !receive_proc && (!can_poll || recv_returns)))

/* What holds between any two events. */
inline sound() {
	d_step {
		assert(COUNT(in_send) + (send_proc_does == HELP) <= 1);
		assert(COUNT(in_recv) + (receive_proc_does == RECEIVE) <= 1);
		assert(!SOME(no_turn) && !SOME(no_role) && !SOME(no_tag));
		assert(!SOME(no_use));				/* who has the role receives, or is about to */
		assert(on_the_way == COUNT(is_coming));
		assert(!(SOME(tagless) && taken < TAGS));	/* nobody waits for what is there */
		assert(!(SOME(waits) && muxer == NOBODY))
	}
}

/* The call of caller i is over. */
inline comes_back(i) {
	assert(!lent[i] && tag[i] == NOTAG);
	assert(act[i] != DONE || reply[i] == mine[i] ||
		(reply[i] == LIE && LIES > 0) || (reply[i] != 0 && LIES > 0) ||
		(reply[i] == 0 && failed[i] && FAILING) ||
		(reply[i] == 0 && !failed[i] && ends > 0));
	/* what was answered is not said to have failed */
	assert(act[i] != DONE || reply[i] != 0 || !answered[i] || hung_up || LIES > 0);
	assert(act[i] != LATE || (timed(i) && reply[i] == 0));
	assert(act[i] != REFUSED || TIMED > 0 || POLLERS > 0 || hung_up);
	stage[i] = VACANT;
	reply[i] = 0;
	failed[i] = false;
	late[i] = false;
	went[i] = false;
	answered[i] = false;
	mine[i] = 0;
	past = false;
	whose = 0;
	other = 0;
	began = 0;
	helps = 0;
	idle = 0
}
