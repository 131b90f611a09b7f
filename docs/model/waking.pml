/* src/core/waking.rs: sleepers are told what has happened. */

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
