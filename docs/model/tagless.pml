/* src/core/tagless.rs: tags come back, and go to those who wait for one. */

#ifdef FAULT_WAITS_FOR_HELD
#define all_held	false
#else
#define all_held	(held > 0 && held == taken)
#endif

inline release_tag(i) {
	give_back(i);
	grant_tags()
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
