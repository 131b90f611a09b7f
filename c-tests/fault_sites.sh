#!/bin/sh
# fault_sites.sh: checks that faults.c makes every request of the library to the system fail at least once. It compares
# the calls in the disassembled program with the places of failed requests that the program prints.
#
# BUILD from the environment.

: "${BUILD:=../build/c-tests}" "${OBJDUMP:=objdump}" "${NM:=nm}"

if [ "$(uname -m)" != x86_64 ]; then
	echo 'ok 1 - only the machine code of x86_64 is searched for calls # SKIP'
	echo '1..1'
	exit 0
fi
program=$BUILD/faults.pthread.static
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
n=0
bad=0
check() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		bad=1
	fi
}

# The calls of faulty_* in the archive's object: the function, and the offset of the return address in it; then the
# address of that function in the program. A tail call would return to the caller's caller and could not be
# distinguished: the only ones are in three functions that are never called, because they have been inlined.
$OBJDUMP -dr --no-show-raw-insn "$BUILD/faulty/libmux.a" >"$tmp/code"
awk '
	/^[0-9a-f]+ <.*>:$/ { start = $1; fn = $2; gsub(/[<>:]/, "", fn) }
	$1 ~ /^[0-9a-f]+:$/ && $2 !~ /^R_/ {
		if (want) print fn, start, substr($1, 1, length($1) - 1), what
		want = 0
		insn = $2
	}
	$2 ~ /^R_/ && $3 ~ /^faulty_/ && $3 !~ /^faulty_free/ {
		what = $3; sub(/^faulty_/, "", what); sub(/[-+].*/, "", what)
		if (insn ~ /^call/) want = 1
		else print "jump", fn, what
	}' "$tmp/code" >"$tmp/archive"
$NM "$program" | awk '{ print $3, $1 }' >"$tmp/names"
grep -v '^jump' "$tmp/archive" | while read -r fn start ret what; do
	awk -v fn="$fn" '$1 == fn { print $2 }' "$tmp/names" | while read -r at; do
		printf '%x %s %s\n' $((0x$at + 0x$ret - 0x$start)) "$fn" "$what"
	done
done | sort >"$tmp/calls"

"$program" >"$tmp/log"
check $? 'faults ran'
sed -n 's/^# site \([0-9a-f]*\) .*/\1/p' "$tmp/log" | sort >"$tmp/refused"
# the request that fails in a process of its own
grep -v ' muxsetsched malloc$' "$tmp/calls" >"$tmp/most"
[ "$(wc -l <"$tmp/most")" -gt 5 ]
check $? "$(wc -l <"$tmp/calls") calls of the library's ask for memory, threads and descriptors"
[ "$(wc -l <"$tmp/most")" -eq $(($(wc -l <"$tmp/calls") - 1)) ]
check $? 'one of them in muxsetsched, which has a check of its own'
sed -n 's/^jump \([^ ]*\) .*/\1/p' "$tmp/archive" >"$tmp/jumps"
grep -w 'R_[A-Z0-9_]*' "$tmp/code" | grep -F -f "$tmp/jumps" >"$tmp/used"
cat "$tmp/used"
test ! -s "$tmp/used"
check $? 'none of them is a jump'
# Rust's allocation functions exist even if they are never called.
join -v 1 "$tmp/most" "$tmp/refused" | while read -r at fn what; do
	case $fn in
	*___rustc*) grep 'R_[A-Z0-9_]*' "$tmp/code" | grep -qF -- "$fn" || continue ;;
	esac
	echo "$at $fn $what"
done >"$tmp/missed"
sed 's/^/# never failed: /' "$tmp/missed"
test ! -s "$tmp/missed"
check $? 'each of them was refused'
join "$tmp/most" "$tmp/refused" | sed 's/^/# /'

echo "1..$n"
exit $bad
