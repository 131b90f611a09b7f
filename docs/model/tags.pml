/* src/core/tags.rs: which tags are taken, and by whom. */

/* Which free tag it is makes no difference to an honest server. */
inline take(i) {
	fresh = 0;
	do
	:: fresh < TAGS && owner[fresh] != NOBODY -> fresh++
	:: else -> break
	od;
	if
	:: fresh < TAGS -> owner[fresh] = i; tag[i] = fresh; taken++
	:: else
	fi
}

inline give_back(i) {
	if
	:: tag[i] != NOTAG -> owner[tag[i]] = NOBODY; tag[i] = NOTAG; taken--
	:: else
	fi
}
