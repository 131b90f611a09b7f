/* src/core/sending.rs: the turn to send: one at a time, and some send for others. */

/* One that receives while it waits for its turn takes it when it comes back. */
#define may_send(i)	(unsent(i) && !is_muxer(i))

/* Its tag is in the request: it wants to send. */
inline queue(i) {
	if
	:: hung_up -> later = true; close(i)
	:: !hung_up && sender == NOBODY -> sender = i; stage[i] = SENDING; act[i] = TURN
	:: else ->
		stage[i] = QUEUED;
		act[i] = SINKING;
		send_proc_asleep = send_proc_asleep && sender != PROC
	fi
}

/* Its own send has returned. A reply that is there counts more than what send says. */
inline sent(i, ok, began) {
	counted = (reply[i] == 0);
	later = counted;
	act[i] = ASK;
	if
#ifdef FAULT_SEND_KNOWS_BETTER
	:: !ok -> failed[i] = true; reply[i] = 0; stage[i] = OVER; release_tag(i)
	:: ok && !counted -> stage[i] = OVER
#else
	:: !counted -> stage[i] = OVER
	:: counted && !ok -> failed[i] = true; stage[i] = OVER; release_tag(i)
#endif
	:: counted && ok && (began != ends || hung_up) -> close(i)
	:: counted && ok && began == ends && !hung_up -> stage[i] = SENT
	fi;
	if
	:: act[i] == DONE -> pass_turn()
	:: act[i] != DONE && poller(i) ->
		pass_turn();
		act[i] = (failed[i] -> DONE : AWAY)
	:: act[i] != DONE && !poller(i) ->
		if
		:: counted && SOME(unsent) -> later = false; off_the_way()
		:: else
		fi;
		help(i, (stage[i] == SENT))
	fi
}

inline helped(i, willing, o, ok, began) {
	proc_sent(o, ok, began);
	act[i] = ASK;
	help(i, willing)
}

/* Sends for another, or goes on. */
inline help(i, willing) {
	take_unsent(i, willing);
	if
	:: other != NOBODY -> act[i] = HELP
	:: else -> pass_turn()
	fi
}

inline take_unsent(i, willing) {
	other = NOBODY;
	if
	:: muxer < N -> if :: stage[muxer] == QUEUED -> other = muxer :: else fi
	:: else
	fi;
	if
	:: other == NOBODY && muxer != NOBODY && willing && !send_proc_stays && !timed(i) && stage[i] != OVER ->
		ANY(other, unsent);
		/* it has to be one that could stand in for the muxer */
		if
		:: other != NOBODY -> if :: poller(other) -> other = NOBODY :: else fi
		:: else
		fi
	:: else
	fi;
	takes_in_hand()
}

/* What whoever has the turn may send together with its own. */
inline take_along() {
	other = NOBODY;
	if
	:: muxer != NOBODY && !(send_proc_stays && sender != PROC) ->
		ANY(other, unsent);
		if
		:: other != NOBODY -> if :: poller(other) && sender != PROC -> other = NOBODY :: else fi
		:: else
		fi
	:: else
	fi;
	takes_in_hand()
}

inline takes_in_hand() {
	if
	:: other != NOBODY -> stage[other] = SENDING; lent[other] = true
	:: else
	fi
}

inline close(i) {
	stage[i] = VACANT;
	act[i] = DONE;
	release_tag(i)
}

inline pass_turn() {
	sender = NOBODY;
	pass_turn_on()
}

inline pass_turn_on() {
	if
	:: send_proc_stays -> sender = PROC; send_proc_asleep = false
	:: else ->
		ANY(next, may_send);
		if
		:: next != NOBODY ->
			sender = next;
			stage[next] = SENDING;
			call(next, TURN)
		:: else
		fi
	fi
}

inline send_proc_starts() {
	send_proc = true;
	if
	:: sender == NOBODY -> sender = PROC
	:: else
	fi
}

/* For a proc: sends for `other`, sleeps, or leaves. */
inline send_proc_work(what) {
	other = NOBODY;
	if
	:: hung_up || !send_proc_stays -> send_proc_gone(); what = DONE
	:: else ->
		if
#ifdef FAULT_TWO_SENDERS
		:: false
#else
		:: sender < N
#endif
		:: else -> sender = PROC; ANY(other, unsent); takes_in_hand()
		fi;
		if
		:: other != NOBODY -> what = HELP
		:: else -> what = ASLEEP; send_proc_asleep = true
		fi
	fi
}

inline send_proc_gone() {
	send_proc = false;
	send_proc_stop = false;
	if
	:: sender == PROC -> pass_turn()
	:: else
	fi
}

/* Another has sent the request of o. */
inline proc_sent(o, ok, began) {
	assert(stage[o] == SENDING && lent[o]);
	lent[o] = false;
	counted = (reply[o] == 0);
	proc_sent_with(o, ok, began);
	if
	:: counted -> off_the_way()
	:: else
	fi
}

inline proc_sent_with(o, ok, began) {
	tells = ASLEEP;
	if
	:: !counted -> over(o)
	:: counted && !ok -> failed[o] = true; over(o)
	:: counted && ok && (began != ends || hung_up) -> over(o)
	:: counted && ok && began == ends && !hung_up ->
		stage[o] = SENT;
		if
		:: poller(o) -> tells = AWAY
		:: is_muxer(o)			/* it receives already */
		:: !poller(o) && !is_muxer(o) && late[o] -> hold(o); tells = LATE
		:: !poller(o) && !is_muxer(o) && !late[o] && role_is_free(o) && !receive_proc_stays ->
			muxer = o;
			napping = false;
			tells = ASK
		:: else
		fi
	fi;
	if
	:: tells != ASLEEP -> call(o, tells)
	:: else
	fi;
	if
	:: stage[o] == OVER -> release_tag(o)
	:: tells == LATE -> despair()
	:: else
	fi
}

/* It is over, and its owner is told; the muxer looks for itself. (A non-blocking call's reply waits.) */
inline over(o) {
	stage[o] = OVER;
	if
	:: is_muxer(o)
	:: !is_muxer(o) -> tells = (poller(o) && reply[o] != 0 -> AWAY : DONE)
	fi
}
