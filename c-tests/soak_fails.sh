#!/bin/sh
# soak_fails.sh: soak.c finds what grows: a Mux, a descriptor, a thread, or memory that is nobody's, left behind in
# each round.
#
# BUILD from the environment.

: "${BUILD:=../build/c-tests}"
n=0
bad=0
for what in mux fd thread heap; do
	n=$((n + 1))
	if "$BUILD/soak.pthread.static" 12 $what | grep -q '^not ok .* do not grow after'; then
		echo "ok $n - $what, left behind in each round, is found"
	else
		echo "not ok $n - $what, left behind in each round, is found"
		bad=1
	fi
done
echo "1..$n"
exit $bad
