#!/bin/sh
# faults.sh TARGET [NAME...]: puts the faults of faults/NAME.patch (all of them without NAME), one at a time,
# into a copy of the source, and fails unless the checker that the patch names finds each.
set -eu

: "${CARGO:=cargo}" "${JOBS:=2}"
target=$(realpath -m "$1")
shift
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- $(ls tests/model/faults | sed -n 's/\.patch$//p')

copy=$target/faulty
missed=0
for name; do
	patch=tests/model/faults/$name.patch
	found_by=$(sed -n 's/^found by: //p' "$patch")
	rm -rf "$copy"
	mkdir -p "$copy/tests/model" "$copy/docs"
	cp -r src "$copy"
	cp docs/echo.rs "$copy/docs"
	(cd tests/model && cp -r Cargo.toml Cargo.lock build.rs src "$copy/tests/model")
	patch -s -p1 -d "$copy" <"$patch"
	# cargo would take the copy for the source, and use what has been built of either for both
	sed -i 's/^name = "mux-model"/name = "mux-model-faulty"/' "$copy/tests/model/Cargo.toml" "$copy/tests/model/Cargo.lock"
	set -- $found_by
	checker=model-$1
	shift
	# it ends as soon as it has found something
	[ "$checker" != model-loom ] || set -- -seconds 300 "$@"
	$CARGO build --release --quiet --locked -j "$JOBS" --target-dir "$target" --bin "$checker" \
		--manifest-path "$copy/tests/model/Cargo.toml" 2>"$copy/build" || { cat "$copy/build"; exit 1; }
	cp "$target/release/$checker" "$copy/$checker"
	if "$copy/$checker" "$@" >"$target/$name.log" 2>&1; then
		echo "fault $name: NOT FOUND by $checker $*"
		missed=1
	else
		line=$(sed -n 's/^FAILED //p' "$target/$name.log" | head -n 1)
		printf 'fault %s: found by %s: %s\n' "$name" "$checker" "$line"
		[ -n "$line" ] || { cat "$target/$name.log"; missed=1; }
	fi
done
exit $missed
