#!/bin/sh
# coverage.sh BUILD: coverage of src by all tests together, in lines and branches.
#
# The C tests, the unit tests and the examples in the documentation run with rustc's counters, and again
# with the code for other systems. Fails when src/core, src/sched, src/rpc or src/ffi has less than
# 95 % of its lines covered. BUILD/coverage/missed lists the lines that are not reached.
#
# It uses the clang and the llvm-cov of rustc's version of LLVM. RUSTC_BOOTSTRAP permits unstable options of the stable
# rustc: counting branches, and keeping the programs made from the documentation.
set -eu
export LC_ALL=C

mkdir -p "$1/coverage"
build=$(realpath "$1")/coverage
cd "$(dirname "$0")/.."
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
host=$(rustc -vV | sed -n 's/^host: //p')
: "${CARGO:=cargo}"
for tool in "clang-$llvm" "llvm-cov-$llvm" "llvm-profdata-$llvm"; do
	command -v "$tool" >/dev/null || { echo "coverage: $tool is missing (clang, llvm and libclang-rt-dev, all of LLVM $llvm)" >&2; exit 1; }
done
rm -rf "$build/profiles" "$build/docs" "$build/programs"
mkdir -p "$build/profiles"
export LLVM_PROFILE_FILE="$build/profiles/%m.profraw"
export RUSTC_BOOTSTRAP=1
counters='-Cinstrument-coverage -Zcoverage-options=branch'

# c VARIANT WITHOUT FLAGS...: the C tests except WITHOUT, with the library built for VARIANT
c() {
	variant=$1
	without=$2
	shift 2
	RUSTFLAGS="$counters $*" $CARGO rustc -q --release --locked --lib --features capi --crate-type staticlib \
		--target "$host" --target-dir "target/coverage/$variant"
	mkdir -p "$build/$variant"
	cp "target/coverage/$variant/$host/release/libmux.a" "$build/$variant"
	# programs of a test that is left out now would contain another library
	rm -rf "$build/$variant/c-tests/log" "$build/$variant"/c-tests/*.static
	make -s -C c-tests check MODES='native oneproc' LINKS=static SCRIPTS= CC="clang-$llvm" WITHOUT="$without" \
		CFLAGS='-O1 -g -fprofile-instr-generate' LIBDIR="$build/$variant" BUILD="$build/$variant/c-tests" \
		>"$build/out" || { grep -v '^ok' "$build/out" | head -n 20 >&2; exit 1; }
	find "$build/$variant/c-tests" -name '*.static' >>"$build/programs"
}

# rust VARIANT FLAGS...: the unit tests
rust() {
	variant=$1
	shift
	RUSTFLAGS="$counters $*" $CARGO test --locked --lib --target "$host" --target-dir "target/coverage/$variant" \
		>"$build/out" 2>&1 || { tail -n 20 "$build/out" >&2; exit 1; }
	sed -n 's/^ *Running .*(\(.*\))$/\1/p' "$build/out" >>"$build/programs"
}

# C before Rust: of functions with the same name, llvm-cov uses the first, and only C tests call those of mux.h
c ours ''
# as in make check: parking_lot allocates memory itself
c others 'faults.% callbacks.% soak.% signals.% forked.%' --cfg mux_parking_lot --cfg mux_boxed
rust ours
rust others --cfg mux_parking_lot --cfg mux_boxed
RUSTFLAGS=$counters RUSTDOCFLAGS="$counters -Zunstable-options --persist-doctests $build/docs" \
	$CARGO test --locked --doc --target "$host" --target-dir target/coverage/ours \
	>"$build/out" 2>&1 || { tail -n 20 "$build/out" >&2; exit 1; }
find "$build/docs" -type f -perm -u+x >>"$build/programs"

# in small portions, because each profile is as large as the library
find "$build/profiles" -name '*.profraw' >"$build/list"
"llvm-profdata-$llvm" merge -sparse -f "$build/list" -o "$build/profile"
# shellcheck disable=SC2046 # no spaces in these names
"llvm-cov-$llvm" export -format=lcov -instr-profile="$build/profile" $(sed 's/^/-object /' "$build/programs") \
	-ignore-filename-regex='(registry|rustc/|c-tests|include|docs/|/tests|core/fuzz/)' >"$build/lcov" 2>"$build/warnings"

awk -v missed="$build/missed" '
	/^SF:/ {
		file = substr($0, 4)
		sub(/.*\/src\//, "src/", file)
		dir = file
		sub(/\/[^\/]*$/, "", dir)
	}
	/^DA:/ {
		split(substr($0, 4), a, ",")
		lines[dir]++; hit[dir] += a[2] > 0
		if (a[2] == 0) print file ":" a[1] >missed
	}
	/^BRDA:/ {
		split(substr($0, 6), a, ",")
		branches[dir]++; taken[dir] += a[4] != "-" && a[4] > 0
	}
	END {
		for (dir in lines) {
			if (dir == "src") continue
			printf "coverage: %-10s %5d of %5d lines, %5.1f %%; %4d of %4d branches, %5.1f %%\n", dir, hit[dir],
				lines[dir], 100 * hit[dir] / lines[dir], taken[dir], branches[dir],
				branches[dir] ? 100 * taken[dir] / branches[dir] : 100
			if (hit[dir] < 0.95 * lines[dir]) bad = 1
			n++
		}
		exit bad || n != 4
	}' "$build/lcov" >"$build/report" && status=0 || status=$?
sort "$build/report"
[ "$status" -eq 0 ] || { echo 'coverage: too low; see '"$build/missed" >&2; exit 1; }
