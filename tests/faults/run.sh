#!/bin/sh
# run.sh [--fit] [--quick] [--finder NAME] [FAULT...]: checks that the tests find seeded faults.
#
# Each patch in a subfolder puts one fault into the source and fits it exactly (patch -F 0 in the project's root).
# Its first lines describe the fault and name each finder that must find it:
#
#	# fault: DESCRIPTION
#	# found by: FINDER [ARGUMENT...][: WORDS]
#
# FINDER is unit TEST (of the library), engine TEST (of 9pmux), process FILE::TEST (of 9pmux/tests), loom SCENARIO, shuttle RUNS, simulation core, simulation engine, fuzz TARGET, memcheck PROGRAM,
# address PROGRAM or thread PROGRAM (a C test, under valgrind or a sanitizer). The finder must fail, and if there are
# WORDS (a pattern of grep's) its output must contain them.
#
# FAULT is a file, core/NAME, or NAME; without any, all faults are checked. --quick selects those listed in `quick`,
# --finder those finders whose line begins with NAME ("loom", "fuzz machine"). --fit checks only that all patches
# fit. Prints a table. The exit status is 1 if a finder misses its fault, and 2 if a finder does not build: then it has
# neither found nor missed the fault.
#
# BUILD (build) receives the copy of the tree and the logs. SECONDS_FUZZ (300), RUNS (1000000) and STEPS (20000000)
# bound each target of the fuzzer, the core's simulation and the engine's.
set -eu

: "${CARGO:=cargo}" "${JOBS:=2}" "${BUILD:=build}" "${SECONDS_FUZZ:=300}" "${RUNS:=1000000}" "${STEPS:=20000000}"
cd "$(dirname "$0")/../.."
faults=tests/faults

fail() { echo "faults: $*" >&2; exit 1; }

only_fit='' wanted='' quick=''
while [ $# -gt 0 ]; do
	case $1 in
	--fit) only_fit=1 ;;
	--finder) wanted=${2:?a finder}; shift ;;
	--quick) quick=1 ;;
	--*) fail "unknown option $1" ;;
	*) break ;;
	esac
	shift
done
# shellcheck disable=SC2046 # one name a line
[ -z "$quick" ] || set -- $(cat $faults/quick) "$@"
[ $# -gt 0 ] || set -- $faults/*/*.patch

# file_of FAULT: its patch
file_of() {
	for file in "$1" "$faults/$1.patch" "$faults"/*/"$1.patch"; do
		[ ! -f "$file" ] || { echo "$file"; return; }
	done
	fail "no fault $1"
}

# check_fit PATCH: it fits, and its header is complete
check_fit() {
	patch -s -f -F 0 -p 1 --dry-run <"$1" >/dev/null || fail "$1 does not fit"
	grep -q '^# fault: .' "$1" || fail "$1 does not describe its fault"
	grep -q '^# found by: .' "$1" || fail "$1 names no finder"
	known='(unit|engine) [a-z_0-9]*|process [a-z]*::[a-z_0-9]*|loom [a-z_0-9]*|shuttle [0-9]*|simulation (core|engine)|fuzz [a-z-]*|(memcheck|address|thread) [a-z_0-9.]*'
	! grep '^# found by: ' "$1" | grep -vE "^# found by: ($known)(: .*)?\$" || fail "$1 names an unknown finder"
}

for fault; do
	file=$(file_of "$fault")
	check_fit "$file"
done
if [ -n "$only_fit" ]; then
	echo "faults: $# fit"
	exit
fi

target=$PWD/target
mkdir -p "$BUILD/faults" "$target/faults"
build=$(realpath "$BUILD/faults")
tree=$build/tree
# cargo would report that it does not share make's jobs
unset MAKEFLAGS MFLAGS

# Every file is new, so cargo builds the crates of the copy again, and keeps what they depend on.
copy_tree() {
	rm -rf "$tree"
	mkdir -p "$tree/tests"
	cp -R src include c-tests tools docs benches examples 9pmux fuzz make build.rs Cargo.toml Cargo.lock Makefile "$tree"
	cp -R tests/*.sh tests/*.rs tests/model "$tree/tests"
	ln -s "$target/faults" "$tree/target"
	patch -s -f -F 0 -p 1 -d "$tree" <"$1"
	# The copy shares target directories with the source; cargo would confuse packages of one name.
	sed -i -e 's/"\(dep:\)\{0,1\}\(libmux\|libmux-fuzz\|ninepmux\|mux-model\)"/"\1\2-faulty"/' -e 's/^\(libmux\|ninepmux\) = {/\1-faulty = {/' \
		"$tree/Cargo.toml" "$tree/Cargo.lock" "$tree/9pmux/Cargo.toml" "$tree"/fuzz/Cargo.* "$tree"/tests/model/Cargo.*
	# The sources use the crate by its name.
	printf '\n[lib]\nname = "ninepmux"\n' >>"$tree/9pmux/Cargo.toml"
}

# Each finder returns 0 if it passes, and another status if it fails. It returns 125, with the reason on descriptor 3,
# if it is not available, and 126 if the tree does not build.

# Builds as `make test` does, so that only the faulty package is compiled.
find_unit() { unit_test libmux-faulty "$1"; }
find_engine() { unit_test ninepmux-faulty "$1"; }
unit_test() {
	(
		cd "$tree"
		set -- "$2" test -q --locked -p "$1" --lib --target-dir "$target"
		test=$1
		shift
		$CARGO "$@" --no-run || exit 126
		timeout 300 $CARGO "$@" "$test"
	)
}

find_process() {
	(
		cd "$tree"
		file=${1%%::*} test=${1#*::}
		set -- test -q --locked -p ninepmux-faulty --test "$file" --target-dir "$target"
		$CARGO "$@" --no-run || exit 126
		timeout 300 $CARGO "$@" "$test"
	)
}

find_loom() {
	build_model loom || return
	"$tree/model-loom" -seconds 300 "$1"
}

find_shuttle() {
	build_model shuttle || return
	"$tree/model-shuttle" -runs "$1"
}

build_model() {
	$CARGO fetch --locked --manifest-path "$tree/tests/model/Cargo.toml" ||
		{ echo 'no crates of the model checkers' >&3; return 125; }
	$CARGO build --release --quiet --locked -j "$JOBS" --target-dir "$target/model" --bin "model-$1" \
		--manifest-path "$tree/tests/model/Cargo.toml" || return 126
	cp "$target/model/release/model-$1" "$tree"
}

# A fault may also make a simulation run forever.
find_simulation() {
	case $1 in
	core) package=libmux-faulty ;;
	engine) package=ninepmux-faulty ;;
	esac
	(
		cd "$tree"
		export MUX_RUNS= MUX_STEPS=
		case $1 in core) MUX_RUNS=$RUNS ;; engine) unset MUX_RUNS; MUX_STEPS=$STEPS ;; esac
		if [ -n "$quick" ]; then
			# as find_unit
			set -- --target-dir "$target"
		else
			export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
			set -- --release --target-dir "$target/faults/checked"
		fi
		$CARGO test -q --locked -p $package --lib "$@" --no-run || exit 126
		timeout 300 $CARGO test -q --locked -p $package --lib "$@" simulation
	)
}

find_fuzz() {
	command -v "${CXX:-c++}" >/dev/null || { echo 'no C++ compiler' >&3; return 125; }
	# shellcheck source=fuzz/flags.sh
	. fuzz/flags.sh
	flags_for "$1"
	RUSTFLAGS=$flags $CARGO build -q --release --locked --manifest-path "$tree/fuzz/Cargo.toml" --target "$host" \
		--target-dir "$target/fuzz" --features "$features" --bin "$1" || return 126
	mkdir "$tree/found"
	"$target/fuzz/$host/release/$1" -max_total_time="$SECONDS_FUZZ" -max_len=512 -timeout=10 -seed=1 \
		-print_final_stats=1 -artifact_prefix="$tree/" "$tree/found"
}

find_memcheck() {
	command -v valgrind >/dev/null || { echo 'no valgrind' >&3; return 125; }
	tests=$tree/build/memcheck/c-tests
	make -s -C "$tree" build/libmux.a && make -s -C "$tree/c-tests" LIBDIR=../build BUILD="$tests" "$tests/$1" || return 126
	status=0
	(cd "$tree/c-tests" && BUILD=$tests sh ./run.sh valgrind "$1") || status=$?
	cat "$tests/log/$1.valgrind"
	return $status
}

find_address() { sanitize address "$1"; }
find_thread() { sanitize thread "$1"; }
sanitize() {
	SANITIZE_ONLY=$2 sh "$tree/tests/sanitize.sh" "$1" "$tree/build" >"$tree/sanitized" 2>&1 && status=0 || status=$?
	cat "$tree/sanitized"
	! sed -n 's/.*left out: //p' "$tree/sanitized" | grep . >&3 || return 125
	grep -q '^sanitize: running' "$tree/sanitized" || return 126
	return $status
}

# default_words KIND: what the output of such a finder contains when it has found something
default_words() {
	case $1 in
	unit | engine | process) echo 'test result: FAILED' ;;
	simulation) echo 'run [0-9]* fails\|seed [0-9]' ;;
	fuzz) echo 'panicked at\|^face:\|SUMMARY\|libFuzzer: timeout' ;;
	*) echo . ;;
	esac
}

# hunt FAULT KIND ARGUMENT WORDS: one line of the table
hunt() {
	log=$build/log/$(echo "$1.$2-$3" | tr / .)
	begun=$(date +%s)
	reason=$build/reason
	"find_$2" "$3" >"$log" 2>&1 3>"$reason" && status=0 || status=$?
	spent=$(($(date +%s) - begun))
	[ -n "$4" ] || set -- "$1" "$2" "$3" "$(default_words "$2")"
	case $status in
	125) result="left out: $(head -n 1 "$reason")" ;;
	126) result='ERROR: does not build' ;;
	0) result='MISSED' ;;
	*) if grep -a -q -e "$4" "$log"; then result=found; else result="MISSED: does not say \"$4\""; fi ;;
	esac
	printf '%-42s %-36s %5d  %s\n' "$1" "$2 $3" $spent "$result"
	case $result in
	found) found=$((found + 1)) ;;
	MISSED* | ERROR*)
		case $result in ERROR*) errors=$((errors + 1)) ;; *) missed=$((missed + 1)) ;; esac
		echo "faults: the log is $log" >&2
		tail -n 12 "$log" | cut -c 1-200 >&2
		;;
	esac
}

mkdir -p "$build/log"
found=0 missed=0 errors=0
printf '%-42s %-36s %5s  %s\n' fault finder s result
for fault; do
	file=$(file_of "$fault")
	name=${file#"$faults/"}
	name=${name%.patch}
	copied=
	sed -n 's/^# found by: //p' "$file" >"$build/finders"
	while read -r kind argument words <&4; do
		# "loom two_calls: WORDS"
		case $argument in *:) argument=${argument%:} ;; *) words='' ;; esac
		case "$kind $argument" in "$wanted"*) ;; *) continue ;; esac
		[ -n "$copied" ] || copy_tree "$file"
		copied=1
		rm -rf "$tree/found"
		hunt "$name" "$kind" "$argument" "$words"
	done 4<"$build/finders"
done
echo "faults: $found found, $missed missed, $errors not built"
[ "$errors" -eq 0 ] || exit 2
[ "$missed" -eq 0 ]
