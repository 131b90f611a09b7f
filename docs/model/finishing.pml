/* src/core/finishing.rs: non-blocking calls, whose owners come to see. */

inline can_finish(i) {
	finish(i);
	if
	:: act[i] == DONE
	:: act[i] == AWAY && ((muxer != NOBODY && !napping) || receive_proc)
	:: act[i] == AWAY && (muxer == NOBODY || napping) && !receive_proc ->
		if
		:: can_poll -> muxer = VISITOR; napping = false; act[i] = POLL
		:: !can_poll && muxer != NOBODY		/* one that naps looks now and then */
		:: !can_poll && muxer == NOBODY -> give_up(i); act[i] = REFUSED
		fi
	fi
}

/* It has looked, and a message was there; it looks on. */
inline polled(i) {
	finish(i);
	if
	:: act[i] == DONE -> leave(VISITOR)
	:: else -> act[i] = POLL
	fi
}

/* It has looked, and there was nothing, or the connection has ended. */
inline poll_ends(i) {
	leave(VISITOR);
	finish(i)
}

inline give_up(i) {
	if
	:: stage[i] == OVER -> stage[i] = VACANT; reply[i] = 0
	:: else -> hold(i); despair()
	fi
}

inline finish(i) {
	if
	:: stage[i] == OVER -> stage[i] = VACANT; act[i] = DONE
	:: else -> act[i] = AWAY
	fi
}
