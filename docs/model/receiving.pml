/* src/core/receiving.rs: one at a time receives for all, matches replies, and passes the role on. */

#define role_is_free(i)		(muxer == NOBODY || (napping && !timed(i)))
#define can_receive(i)		(!poller(i) && act[i] == ASLEEP)
#define unanswered_stand_in(i)	(can_receive(i) && (unsent(i) || (helping(i) && reply[i] == 0)))
#define answered_stand_in(i)	(can_receive(i) && helping(i))
#define has_better_heirs	(SOME(waits) || SOME(waits_timed) || (COUNT(helping) > 0 && SOME(unanswered_stand_in)))

#ifdef FAULT_ROLE_TO_SENDER
#define stuck(i)	(stage[i] == SENDING && act[i] == TURN)
#endif

/* What an owner that is awake, and not in send, does now: it receives, or leaves the role if it has it. */
inline step(i) {
	if
	:: stage[i] == OVER -> stage[i] = VACANT; act[i] = DONE
	:: stage[i] == SENT && muxer == NOBODY -> muxer = i; act[i] = RECEIVE
	:: else -> step_aside(i)
	fi;
	if
	:: act[i] != RECEIVE -> leave(i)
	:: else
	fi
}

inline step_aside(i) {
	if
	:: is_muxer(i) && !SOME(tagless) -> grant_muxer()
	:: else
	fi;
	if
	:: stage[i] == SENT ->
		if
		:: role_is_free(i) -> muxer = i; napping = false
		:: else
		fi;
		if
		:: is_muxer(i) && !(timed(i) && SOME(waits)) -> act[i] = RECEIVE
		:: else -> act[i] = SINKING
		fi
	:: stage[i] == TAGLESS && all_held -> stage[i] = VACANT; act[i] = REFUSED
	:: stage[i] == TAGLESS && !all_held ->
		if
		:: is_useful_reply_due && muxer == NOBODY -> muxer = i
		:: else
		fi;
		if
		:: is_useful_reply_due && is_muxer(i) -> act[i] = RECEIVE
		:: else -> act[i] = SINKING
		fi
	:: stage[i] == TAGGED -> act[i] = TAG
	:: stage[i] == QUEUED && is_muxer(i) && sender == NOBODY ->
		stage[i] = SENDING;
		sender = i;
		act[i] = TURN
	/* another sends its request, or will: it receives meanwhile */
	:: is_muxer(i) && ((stage[i] == QUEUED && sender != NOBODY) || stage[i] == SENDING) ->
		if
		:: (reply[i] == 0 || (is_still_sent && !has_better_heirs)) && is_reply_due -> act[i] = RECEIVE
		:: else -> act[i] = SINKING
		fi
	fi				/* others are not to ask: they would block here */
}

/* Request r has been answered, with tag t. Some messages are orphans. */
inline deliver(t, r) {
	mate = owner[t];
	orphan = true;
	if
	:: mate == NOBODY -> assert(hung_up || LIES > 0)
	:: mate == GIVEN_UP ->
		held--;				/* forget */
		owner[t] = NOBODY;
		taken--
	:: mate < N ->
		if
#ifdef FAULT_EARLY_REPLY
		:: stage[mate] == SENT ->
#else
		:: stage[mate] == SENT || stage[mate] == SENDING ->
#endif
			orphan = false;
			reply[mate] = r;
			give_back(mate);
			if
			:: stage[mate] == SENDING -> on_the_way--
			:: else -> stage[mate] = OVER
			fi;
			if	/* the muxer looks for itself, and so does the owner of a non-blocking call */
			:: stage[mate] == OVER && act[mate] == ASLEEP && !is_muxer(mate) && !poller(mate) ->
				call(mate, DONE)
			:: else
			fi
		:: else -> assert(LIES > 0)	/* it has not been sent */
		fi
	fi;
	if
	:: owner[t] == NOBODY -> hand_on()
	:: else
	fi
}

inline hand_on() {
	grant_muxer();
	grant_tags()
}

inline end() {
	ends++;
	if
	:: napping -> napping = false; muxer = NOBODY
	:: else
	fi;
	each = 0;
	do
	:: each < TAGS ->
		if
		:: owner[each] == GIVEN_UP -> owner[each] = NOBODY; taken--; held--
		:: else
		fi;
		each++
	:: else -> break
	od;
	each = 0;
	do
	:: each < N ->
		if
		:: stage[each] == SENT || stage[each] == QUEUED ->
			if
			:: stage[each] == QUEUED -> on_the_way--
			:: else
			fi;
			/* the muxer looks for itself, and so does the owner of a non-blocking call that is sent */
			counted = (act[each] == ASLEEP && !is_muxer(each) && !(poller(each) && stage[each] == SENT));
			stage[each] = OVER;
			give_back(each);
			if
			:: counted -> call(each, DONE)
			:: else
			fi
#ifndef FAULT_LOST_IS_DUE
		:: stage[each] == SENDING -> hopeless[each] = true
#endif
		:: else
		fi;
		each++
	:: else -> break
	od;
	stop_procs();
	grant_muxer();
	grant_tags();
	if
	:: muxer == NOBODY -> pass_role()
	:: else
	fi
}

inline stop_procs() {
	receive_proc_stop = receive_proc;
	send_proc_stop = send_proc;
	receive_proc_asleep = false;
#ifndef FAULT_PROC_SLEEPS_ON
	send_proc_asleep = false
#endif
}

inline leave(i) {
	if
	:: is_muxer(i) ->
		muxer = NOBODY;
#ifdef FAULT_LEAVES_NO_HEIR
		skip
#else
		pass_role()
#endif
	:: else
	fi
}

/* The same of one that naps, who has something else to do now. */
inline leave_nap(i) {
#if TIMED > 0 && defined(POLLS)
	if
	:: napping && muxer == i -> napping = false; muxer = NOBODY; pass_role()
	:: else
	fi
#else
	skip
#endif
}

inline pass_role() {
	if
	:: receive_proc_stays ->
		muxer = PROC;
		receive_proc_asleep = false		/* roused */
	:: else ->
		ANY(heir, waits);
		if
		:: heir == NOBODY -> ANY(heir, waits_timed)
		:: else
		fi;
#ifdef FAULT_ROLE_TO_SENDER
		if
		:: heir == NOBODY -> ANY(heir, stuck)
		:: else
		fi;
#endif
#ifndef FAULT_TAGLESS_NEVER_RECEIVES
		if
		:: heir == NOBODY && is_reply_due && is_useful_reply_due -> ANY(heir, tagless)
		:: else
		fi;
#endif
		if
		:: heir == NOBODY && is_reply_due -> stand_in()
		:: else
		fi;
		if
		:: heir != NOBODY ->
			muxer = heir;
			assert(act[heir] == ASLEEP);	/* call */
			act[heir] = ASK
		:: else
		fi
	fi
}

/* One of those that the sender is helping. */
inline stand_in() {
#ifdef FAULT_NO_STAND_IN
	skip
#else
	if
	:: COUNT(helping) > 0 ->
		ANY(heir, unanswered_stand_in);
		if
		:: heir == NOBODY && is_still_sent -> ANY(heir, answered_stand_in)
		:: else
		fi
	:: else
	fi
#endif
}

inline receive_proc_starts() {
	receive_proc = true;
	if
	:: muxer == NOBODY || napping -> muxer = PROC; napping = false
	:: else
	fi
}

inline receive_proc_seat(what) {
	if
	:: hung_up || !receive_proc_stays -> receive_proc_gone(); what = DONE
	:: else ->
		if
		:: muxer == NOBODY || napping -> muxer = PROC; napping = false
		:: else
		fi;
		if
		:: muxer == PROC -> what = RECEIVE
		:: else -> what = ASLEEP; receive_proc_asleep = true
		fi
	fi
}

inline receive_proc_gone() {
	receive_proc = false;
	receive_proc_stop = false;
	if
	:: muxer == PROC || muxer == NOBODY -> muxer = NOBODY; pass_role()
	:: else
	fi
}
