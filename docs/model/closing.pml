/* src/core/closing.rs: the program hangs up, and all leave. */

/* After all have left. What is held is held. */
#define is_idle		(muxer == NOBODY && sender == NOBODY && !receive_proc && !send_proc && \
			on_the_way == 0 && taken == held)

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
