/* src/core/machine.rs: a call begins, with a tag or without; whether there is a reply to wait for. */

/* Of those being sent at once, some may be answered before the rest is read. */
#define sending(i)	(stage[i] == SENDING && !hopeless[i])
#define open(i)		(sending(i) && reply[i] == 0)
/* Some of what is being sent has yet to be taken by the server: is_still_sent. */
#ifdef FAULT_ANSWERED_IS_DUE
#define is_reply_due	(taken > on_the_way || COUNT(sending) > 1)
#define is_still_sent	true
#else
#define is_reply_due	(taken > on_the_way || (COUNT(sending) > 1 && SOME(open)))
#define is_still_sent	SOME(open)
#endif
#define is_useful_reply_due	(taken > on_the_way + held)

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

inline off_the_way() {
	assert(on_the_way > 0);
	on_the_way--;
	if
	:: muxer == NOBODY && SOME(tagless) -> pass_role()
	:: else
	fi
}
