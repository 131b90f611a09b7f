#!/bin/sh
# faults.sh BUILD [PATCH...]: the simulation finds faults. Each patch in faults puts one into a copy of the
# package; a million steps must find it, and it is said in which run. One that is not found fails this.
# faults.sh fit: they still fit, which is soon said.
set -eu

if [ "$1" = fit ]; then
	cd "$(dirname "$0")"
	for patch in faults/*.patch; do
		# no fuzz: one that does not fit any more is to be made anew
		patch -s -F 0 --dry-run -p 1 <"$patch" >/dev/null || { echo "faults: $patch does not fit" >&2; exit 1; }
	done
	echo "faults: $(ls faults/*.patch | wc -l) fit"
	exit
fi

: "${CARGO:=cargo}" "${STEPS:=1000000}"
mkdir -p "$1/9pmux-faults"
build=$(realpath "$1/9pmux-faults")
shift
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- 9pmux/faults/*.patch

missed=0
for patch; do
	name=$(basename "$patch" .patch)
	rm -rf "$build/tree"
	mkdir "$build/tree"
	cp -R Cargo.toml Cargo.lock build.rs src docs benches 9pmux "$build/tree"
	patch -s -F 0 -d "$build/tree/9pmux" -p 1 <"$patch"
	# A fault may also be that something never ends.
	if (cd "$build/tree" && export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true &&
		$CARGO test -q --locked --release -p ninepmux --lib --no-run --target-dir "$build/target" &&
		MUX_STEPS=$STEPS timeout 120 $CARGO test -q --locked --release -p ninepmux --lib \
		--target-dir "$build/target" simulation) >"$build/$name.log" 2>&1; then
		echo "faults: $name: not found in $STEPS steps" >&2
		missed=$((missed + 1))
	elif run=$(grep -o 'run [0-9]* fails' "$build/$name.log" | head -n 1) && [ -n "$run" ]; then
		echo "faults: $name: $run"
	else
		echo "faults: $name: $build/$name.log" >&2
		missed=$((missed + 1))
	fi
done
[ "$missed" -eq 0 ] || exit 1
