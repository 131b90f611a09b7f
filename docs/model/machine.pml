/* src/core/machine.rs: a call begins: it gets its tag, or waits for one. */

/* Of those being sent at once, some may be answered before the rest is read. */
#define sending(i)	(stage[i] == SENDING && !hopeless[i])
#define open(i)		(sending(i) && reply[i] == 0)
#ifdef FAULT_ANSWERED_IS_DUE
#define is_reply_due	(taken > on_the_way || COUNT(sending) > 1)
#else
#define is_reply_due	(taken > on_the_way || (COUNT(sending) > 1 && SOME(open)))
#endif
#define is_useful_reply_due	(taken > on_the_way + held)

#ifdef FAULT_WAITS_FOR_HELD
#define all_held	false
#else
#define all_held	(held > 0 && held == taken)
#endif

/* After all have left. What is held is held. */
#define is_idle		(muxer == NOBODY && sender == NOBODY && !receive_proc && !send_proc && \
			on_the_way == 0 && taken == held)

/* The first of several that are being sent at once could not be. */
inline first_refused(i) {
	hopeless[i] = true
}

inline begin(i) {
	hopeless[i] = false;
	if
	:: hung_up -> act[i] = REFUSED
	:: else ->
		if
		:: !SOME(tagless) -> take(i)
		:: else
		fi;
		if
		:: tag[i] == NOTAG && (poller(i) || all_held) -> act[i] = REFUSED
		:: tag[i] == NOTAG && !(poller(i) || all_held) -> stage[i] = TAGLESS; act[i] = ASK
		:: tag[i] != NOTAG ->
			on_the_way++;
			if
			:: sender == NOBODY -> sender = i; stage[i] = SENDING; act[i] = TURN
			:: else -> stage[i] = TAGGED; act[i] = TAG
			fi
		fi
	fi
}

/* Late before it is sent. */
inline abandon(i) {
	if
	:: sender == i -> pass_turn()
	:: else
	fi;
	later = (reply[i] == 0);	/* else off the way already */
	reply[i] = 0;			/* an orphan, from a server that answers what it was not asked */
	stage[i] = VACANT;
	act[i] = LATE;
	release_tag(i)
}

/* Whoever was told to sleep does: from now on it can be woken. */
inline sleeps(i) {
	if
	:: act[i] == SINKING -> act[i] = ASLEEP
	:: else
	fi
}

/* A sleeper is told something, one thing at a time. */
inline call(i, what) {
	assert(act[i] == ASLEEP);
	act[i] = what;
	leave_nap(i)
}

inline release_tag(i) {
	give_back(i);
	grant_tags()
}

inline off_the_way() {
	assert(on_the_way > 0);
	on_the_way--;
	if
	:: muxer == NOBODY && SOME(tagless) -> pass_role()
	:: else
	fi
}

inline despair() {
	do
	:: all_held && SOME(tagless) ->
		ANY(next, tagless);
		stage[next] = VACANT;
		call(next, REFUSED)
	:: else -> break
	od
}

inline hang_up() {
	hung_up = true;
	do
	:: SOME(tagless) ->
		ANY(next, tagless);
		stage[next] = OVER;
		call(next, DONE)
	:: else -> break
	od;
#ifndef FAULT_HANG_UP_PASSES_OVER_MUXER
	if
	:: muxer < N && !napping ->
		if
		:: stage[muxer] == TAGLESS -> stage[muxer] = OVER
		:: else
		fi
	:: else
	fi;
#endif
	end()
}

inline grant_tags() {
	do
	:: SOME(tagless) && taken < TAGS ->
		ANY(next, tagless);
		take(next);
		stage[next] = TAGGED;
		on_the_way++;
		call(next, TAG)
	:: else -> break
	od;
	despair()
}

/* The muxer may wait for a tag itself; it is awake, and about to ask. */
inline grant_muxer() {
	if
	:: muxer < N && !napping ->
		if
		:: stage[muxer] == TAGLESS ->
			take(muxer);
			if
			:: tag[muxer] != NOTAG -> stage[muxer] = TAGGED; on_the_way++
			:: else
			fi
		:: else
		fi
	:: else
	fi
}
