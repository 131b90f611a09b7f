#!/bin/sh
# faults.sh TARGET [NAME...]: puts the faults of faults/NAME.patch (all of them without NAME), one at a time,
# into a copy of the source, and fails unless each is found, by the checker that the patch names (`found by:`) and
# for what it is: the checker says what the patch says (`says:`, a pattern of grep's). Something else may have failed
# otherwise, and the fault not be there at all.
set -eu

: "${CARGO:=cargo}" "${JOBS:=2}"
target=$(realpath -m "$1")
shift
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- tests/model/faults/*.patch

copy=$target/faulty
missed=0
for name; do
	name=$(basename "$name" .patch)
	patch=tests/model/faults/$name.patch
	found_by=$(sed -n 's/^found by: //p' "$patch")
	says=$(sed -n 's/^says: //p' "$patch")
	[ -n "$says" ] || { echo "fault $name: the patch does not say in what words it is found"; exit 1; }
	rm -rf "$copy"
	mkdir -p "$copy/tests/model" "$copy/docs"
	cp -r src "$copy"
	cp docs/echo.rs "$copy/docs"
	(cd tests/model && cp -r Cargo.toml Cargo.lock build.rs src "$copy/tests/model")
	# no fuzz: it would put the fault into another place than was meant
	patch -s -p1 -F 0 -d "$copy" <"$patch"
	# cargo would take the copy for the source, and use what has been built of either for both
	sed -i 's/^name = "mux-model"/name = "mux-model-faulty"/' "$copy/tests/model/Cargo.toml" "$copy/tests/model/Cargo.lock"
	# shellcheck disable=SC2086 # several words
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
		if printf '%s\n' "$line" | grep -q -e "$says"; then
			printf 'fault %s: found by %s: %s\n' "$name" "$checker" "$line"
		else
			printf 'fault %s: NOT FOUND by %s, which does not say "%s":\n' "$name" "$checker" "$says"
			head -n 40 "$target/$name.log"
			missed=1
		fi
	fi
done
exit $missed
