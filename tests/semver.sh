#!/bin/sh
# semver.sh [BASE]: compares the public Rust API of both packages with that of the git revision BASE by
# cargo-semver-checks, and fails if a change needs a larger step of the version than Cargo.toml has made. BASE is the
# tag of the last release by default.
#
# Until there is a release, tests/api.sh alone guards the API: it checks that two test programs use every public name.
set -eu

: "${CARGO:=cargo}"
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { cat "$work/log" >&2; echo "semver: $*" >&2; exit 1; }

$CARGO semver-checks --version >/dev/null 2>&1 ||
	{ echo "semver: skipped: no cargo-semver-checks (cargo install cargo-semver-checks)"; exit 77; }
base=${1:-$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || true)}
[ -n "$base" ] || { echo "semver: skipped: no release to compare with; name a revision: make check-semver BASE=..."; exit 77; }

# same CURRENT BASELINE: compares the packages of two source trees
same() {
	for package in libmux ninepmux; do
		(cd "$1" && $CARGO semver-checks -p "$package" --baseline-root "$2") >"$work/log" 2>&1 || return
	done
}

export CARGO_TARGET_DIR="$(realpath -m "${CARGO_TARGET_DIR:-target}")/semver"
mkdir "$work/base" "$work/less"
git archive "$base" | tar -x -C "$work/base"
same "$PWD" "$work/base" || fail "the API has changed since $base"

# It must be able to fail: a public function is missing.
git archive HEAD | tar -x -C "$work/less"
sed -i 's/pub fn outstanding(&self)/fn outstanding(\&self)/' "$work/less/src/face/mux.rs"
! same "$work/less" "$PWD" || fail "a missing function is not noticed"
grep -q 'inherent_method_missing' "$work/log" || fail "the wrong cause was found"
echo "semver: the versions fit the changes of the API since $base"
