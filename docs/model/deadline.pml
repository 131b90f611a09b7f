/* src/core/deadline.rs: callers that wait until some time and no longer. */

/* The time of a sleeper has come. It sleeps on until it is told. */
inline expire(i) {
	tells = LATE;
	if
	:: act[i] != ASLEEP || is_muxer(i) -> tells = ASLEEP	/* it is told something else */
	:: else ->
		if
		:: stage[i] == TAGLESS -> stage[i] = VACANT
		:: stage[i] == QUEUED -> take_back(i)
		:: stage[i] == SENT -> hold(i)
#ifdef FAULT_LATE_IN_SEND
		:: stage[i] == SENDING -> stage[i] = VACANT
#else
		:: stage[i] == SENDING -> late[i] = true; tells = ASLEEP; leave_nap(i)
#endif
		:: else -> tells = ASLEEP
		fi
	fi;
	if
	:: tells == LATE -> despair(); call(i, LATE); release_tag(i)
	:: else
	fi
}

inline take_back(i) {
	stage[i] = VACANT;
	later = true
}

/* The time of one that is awake, and would receive. */
inline time_out(i) {
	act[i] = LATE;
	if
	:: stage[i] == TAGLESS -> stage[i] = VACANT
	:: stage[i] == QUEUED -> take_back(i)
	:: stage[i] == SENT -> hold(i)
	:: stage[i] == SENDING -> late[i] = true; act[i] = ASK
	:: else -> act[i] = ASK
	fi;
	if
	:: act[i] == LATE -> despair(); leave(i); release_tag(i)
	:: else
	fi
}

/* It has looked, and nothing is there. */
inline nap(i) {
	if
	:: (stage[i] == SENT && !SOME(waits)) || (stage[i] == TAGLESS && is_useful_reply_due) ||
	   ((stage[i] == QUEUED || stage[i] == SENDING) && is_reply_due) ->
		napping = true;
		act[i] = SINKING
	:: else -> act[i] = ASK
	fi
}

inline nap_ends(i) {
	if
	:: napping && muxer == i -> napping = false; call(i, ASK)
	:: else
	fi
}

/* The owner goes: the tag is held until the reply comes. */
inline hold(i) {
#ifdef FAULT_TAG_NOT_HELD
	give_back(i);
#else
	owner[tag[i]] = GIVEN_UP;
	tag[i] = NOTAG;
	held++;
#endif
	stage[i] = VACANT
}
