#!/bin/sh
# dist.sh DIR: makes DIR/libmux-VERSION.tar.gz: what git knows of this tree, as it stands, and in vendor/
# the crates that the library, its tests and the demonstration's server are made of.  It builds without
# a network; its .cargo/config.toml sees to that.
#
# The same tree gives the same bytes: names in order, every file of the commit's date, nobody's.  Made
# from an unpacked tarball, where there is no git, it is that tarball again.
set -eu

: "${CARGO:=cargo}"
out=$(realpath "$1")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=libmux-$version
tree=$work/$name

# whoever the tree belongs to: make runs what is in it anyway
git() { command git -c safe.directory="$PWD" "$@"; }

# Not where git is above us: build/deb is inside a tree of git's too.
if [ -e .git ] && command -v git >/dev/null; then
	git ls-files --cached --others --exclude-standard >"$work/files"
	date=$(git log -1 --format=%ct)
	[ -z "$(git status --porcelain)" ] || echo "dist: not as committed; the tarball has the tree as it stands" >&2
else
	find . \( -path ./.git -o -path ./target -o -path ./build \) -prune -o ! -type d -print >"$work/files"
	date=$(stat -c %Y Cargo.toml)
fi

mkdir "$tree"
# files that are deleted, but not in git yet, are no error
while read -r file; do
	[ ! -e "$file" ] || printf '%s\n' "$file"
done <"$work/files" >"$work/there"
tar -cf "$work/files.tar" -T "$work/there"
tar -xf "$work/files.tar" -C "$tree"

if [ ! -d "$tree/vendor" ]; then
	mkdir -p "$tree/.cargo"
	(cd "$tree" && $CARGO vendor --locked --sync examples/serve9p/Cargo.toml vendor \
		>>.cargo/config.toml 2>"$work/log") || { cat "$work/log" >&2; exit 1; }
fi

tar -cf "$work/$name.tar" -C "$work" --format=gnu --sort=name --mtime="@$date" --owner=0 --group=0 \
	--numeric-owner --mode=u=rwX,go=rX "$name"
gzip -n "$work/$name.tar"
mv "$work/$name.tar.gz" "$out"
