#!/bin/sh
# dist.sh DIR: makes DIR/libmux-VERSION.tar.gz: the files of this tree that git tracks, in their current state, and in
# vendor/ the crates of the library, its tests and the demonstration's server. Its .cargo/config.toml makes it build
# without a network. Crates for Windows, where nothing of this runs, would be half of it: they are there by name only, since
# cargo looks for each crate of Cargo.lock.
#
# The same tree gives the same bytes: sorted names, the date of the commit, no owner. A tarball made from an unpacked
# one, without git, is identical to it.
set -eu

: "${CARGO:=cargo}"
out=$(realpath "$1")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=libmux-$version
tree=$work/$name

# for any owner of the tree: make runs its contents anyway
git() { command git -c safe.directory="$PWD" "$@"; }

# Not if a parent directory is a git tree: build/deb is inside one.
if [ -e .git ] && command -v git >/dev/null; then
	git ls-files --cached --others --exclude-standard >"$work/files"
	date=$(git log -1 --format=%ct)
	[ -z "$(git status --porcelain)" ] || echo "dist: the tree has uncommitted changes, which the tarball contains" >&2
else
	find . \( -path ./.git -o -path ./target -o -path ./build \) -prune -o ! -type d -print >"$work/files"
	date=$(stat -c %Y Cargo.toml)
fi

mkdir "$tree"
# a file that is deleted, but still tracked, is no error
while read -r file; do
	[ ! -e "$file" ] || printf '%s\n' "$file"
done <"$work/files" >"$work/there"
tar -cf "$work/files.tar" -T "$work/there"
tar -xf "$work/files.tar" -C "$tree"

if [ ! -d "$tree/vendor" ]; then
	mkdir -p "$tree/.cargo"
	(cd "$tree" && $CARGO vendor --locked --sync examples/serve9p/Cargo.toml vendor \
		>>.cargo/config.toml 2>"$work/log") || { cat "$work/log" >&2; exit 1; }
	for crate in "$tree"/vendor/winapi* "$tree"/vendor/windows*; do
		[ -e "$crate/Cargo.toml" ] || continue
		# cargo examines the files that the checksums name, and the sum of the crate that Cargo.lock names
		sum=$(sed -n 's/.*"package":"\([0-9a-f]*\)".*/\1/p' "$crate/.cargo-checksum.json")
		find "$crate" -mindepth 1 -maxdepth 1 ! -name Cargo.toml ! -iname 'licen[cs]e*' -exec rm -rf {} +
		mkdir "$crate/src"
		echo '//! Empty: see tools/dist.sh.' >"$crate/src/lib.rs"
		echo 'fn main() {}' >"$crate/build.rs"
		printf '{"files":{},"package":"%s"}' "$sum" >"$crate/.cargo-checksum.json"
	done
fi

tar -cf "$work/$name.tar" -C "$work" --format=gnu --sort=name --mtime="@$date" --owner=0 --group=0 \
	--numeric-owner --mode=u=rwX,go=rX "$name"
gzip -n "$work/$name.tar"
mv "$work/$name.tar.gz" "$out"
