/*
 * The muxer protocol: who sends, who receives, who has which tag. README.md says how to read this.
 *
 * The machine is in files named like those of src/core, with its functions' names. Here is what drives it:
 * callers and procs, as in src/rpc. What is in one `atomic` happens under one hold of the lock; the program's
 * send and recv, and sleep, are between them.
 */

#include "state.pml"
#include "world.pml"
#include "tags.pml"
#include "tagless.pml"
#include "machine.pml"
#include "waking.pml"
#include "closing.pml"
#include "receiving.pml"
#include "sending.pml"
#include "deadline.pml"
#include "finishing.pml"

/* What recv has left in msg is delivered, or is the end. */
inline delivers() {
	if
	:: msg == NIL -> end(); down = false
	:: msg != NIL -> deliver(at, msg)
	fi
}

#if BATCH > 1
/* Sends `whose`, and takes some along if it may. What came of the others is told as soon as it is known. */
inline send(may) {
	atomic {
		todo ! whose;
		do
		:: may && len(todo) < BATCH ->
			take_along();
			if
			:: other != NOBODY -> todo ! other
			:: else -> break
			fi
		:: else -> break
		od;
		sound()
	};
	began = ends;
	do
	:: atomic { nempty(todo) -> todo ? <other>; accept(other); todo ? other; told ! other }
	:: atomic { nempty(told) ->
		do
		:: nempty(told) ->
			told ? other;
			returns(other);
			if
			:: other != whose -> proc_sent(other, went[other], began)
			:: other == whose && !went[other] && nempty(todo) -> first_refused(other)
			:: else
			fi
		:: empty(told) -> break
		od;
		sound() }
	:: empty(todo) && empty(told) -> break
	od
}
#else
inline send(may) {
	began = ends;
	atomic { accept(whose) }
}
#endif

proctype caller(byte i) {
	byte c, other, whose, began, helps, msg, at, idle;
	bool back;				/* from send or recv */
	bool past, rung, stays;
#if BATCH > 1
	chan todo = [N] of { byte };
	chan told = [N] of { byte };
#endif

	do
	/* without the lock */
	:: in_send(i) && !back && (act[i] == HELP || !past) ->
		whose = (act[i] == TURN -> i : other);
		send(!poller(i));
		back = true
	:: atomic { in_recv(i) && !back && !(past && !stays) && recv_returns -> recv(); back = true }
#ifdef POLLS
	:: atomic { looks(i) && !back && !(past && !stays) && !recv_returns -> msg = NOTHING; back = true }
#endif
	/* with it: what it reports to the machine */
	:: atomic {
		if
		:: act[i] == START -> c++; mine[i] = i + 1 + N * (c - 1); begin(i)
		:: act[i] == ASK
		:: act[i] == TAG && !past -> queue(i)
		:: act[i] == TURN && back -> returns(i); helps = 0; sent(i, went[i], began)
		:: act[i] == HELP && back ->
			returns(whose);
			helps++;
			helped(i, (helps < HELP_LIMIT), whose, went[whose], began)
		:: in_recv(i) && back ->
			if
			:: msg <= LIE -> delivers()
			:: else
			fi;
			if
			:: orphan -> msg = DISPOSED		/* without the lock */
			:: !orphan && act[i] == RECEIVE && msg != NOTHING -> act[i] = ASK
#ifdef POLLS
			:: !orphan && act[i] == RECEIVE && msg == NOTHING -> nap(i)
			:: !orphan && act[i] == POLL && (msg == NOTHING || msg == NIL) -> poll_ends(i)
			:: !orphan && act[i] == POLL && msg != NOTHING && msg != NIL -> polled(i)
#endif
			fi
#if TIMED > 0 && defined(POLLS)
		:: napping && muxer == i && act[i] == ASLEEP -> nap_ends(i)
#endif
#if TIMED > 0 && defined(CLOCK)
		/* its time has come: while it sleeps, before it sends, between two messages */
		:: timed(i) && act[i] == ASLEEP && !rung -> past = true; rings = true; nap_ends(i); expire(i)
		:: timed(i) && !back && (act[i] == TAG || act[i] == TURN) -> past = true; abandon(i)
		:: timed(i) && !back && act[i] == RECEIVE && !stays -> past = true; stays = true; time_out(i)
#endif
#if POLLERS > 0
		/* it comes to see: when there is something to be seen, and once when there is not */
		:: act[i] == AWAY && comes(i) && (sees(i) || idle < IDLE) -> idle = (sees(i) -> idle : idle + 1); can_finish(i)
#ifdef CANCELS
		:: act[i] == AWAY -> give_up(i); act[i] = REFUSED
#endif
#endif
		:: act[i] == DONE || act[i] == LATE || act[i] == REFUSED ->
			comes_back(i);
			if
			:: c < CALLS -> act[i] = START
			:: else -> done++; break
			fi
		fi;
		if
		:: act[i] == ASK && !rings -> step(i)		/* under the same hold */
		:: else
		fi;
		if
		:: later -> later = false; off_the_way()
		:: else
		fi;
		sleeps(i);
		sound();
		stays = (stays && act[i] == RECEIVE && !back);
		rung = rings;
		rings = false;
		back = orphan;
		orphan = false;
		msg = (back -> msg : 0);
		at = 0
	}
	od
}

#ifdef PROCS
proctype receiver() {
	byte msg, at;

	atomic { receive_proc_starts(); receive_proc_seat(receive_proc_does); sound() };
	do
	:: atomic { receive_proc_does == RECEIVE && recv_returns -> recv() };
		atomic { delivers(); orphan = false; receive_proc_seat(receive_proc_does); msg = 0; at = 0; sound() }
	:: atomic { receive_proc_does == ASLEEP && !receive_proc_asleep ->
		receive_proc_seat(receive_proc_does); sound() }
	:: receive_proc_does == DONE -> break
	od
}

proctype transmitter() {
	byte other, began, whose;
#if BATCH > 1
	chan todo = [N] of { byte };
	chan told = [N] of { byte };
#endif

	atomic { send_proc_starts(); send_proc_work(send_proc_does); sound() };
	do
	:: send_proc_does == HELP ->
		whose = other;
		send(true);
		atomic {
			returns(whose);
			proc_sent(whose, went[whose], began);
			send_proc_work(send_proc_does);
			sound()
		}
	:: atomic { send_proc_does == ASLEEP && !send_proc_asleep -> send_proc_work(send_proc_does); sound() }
	:: send_proc_does == DONE -> break
	od
}
#endif

init {
	byte i;

	atomic {
#ifdef PROCS
		run receiver();
		run transmitter();
#endif
		do
		:: i < N -> run caller(i); i++
		:: else -> break
		od
	};
#ifdef HANGS_UP
	atomic { hang_up(); sound() };
#endif
	done == N;
#ifdef PROCS
	/* as muxfree does */
	atomic { hang_up(); sound() };
	_nr_pr == 1;
#endif
	assert(is_idle)
}

#ifdef LIVE
ltl all_come_back { <> (done == N) }
#endif
