#!/bin/sh
# soak_fails.sh: checks that soak.c detects a leak in each round: of a Mux, a descriptor, a thread, or memory.
#
# BUILD from the environment.

: "${BUILD:=../build/c-tests}"
n=0
bad=0
for what in mux fd thread heap; do
	n=$((n + 1))
	if "$BUILD/soak.pthread.static" 12 $what | grep -q '^not ok .* do not grow after'; then
		echo "ok $n - a leak of a $what in each round is detected"
	else
		echo "not ok $n - a leak of a $what in each round is detected"
		bad=1
	fi
done
echo "1..$n"
exit $bad
