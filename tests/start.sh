#!/bin/sh
# start.sh [PAGE...]: checks the output that the start pages show. Runs the commands of each page (docs/start-*.md) as
# written, in a clean directory that contains the source tree as `libmux`, and compares their output.
#
# In a page, a block of type `console` contains commands, which begin with `$ ` and continue with `> `, and the output
# of each command. A line `...` stands for any number of lines. A comment <!-- file: NAME --> before a block makes that
# block the content of a file. All commands of a page run in one shell. A command that fails is an error.
#
# Without a page, it also checks that it can fail.
set -eu

LC_ALL=C
export LC_ALL
here=$(cd "$(dirname "$0")/.." && pwd)
self=$here/tests/$(basename "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# script PAGE DIR: writes the commands as DIR/run and the expected output as DIR/expected; both mark each command with
# its line in the page
script() {
	awk -v run="$2/run" -v expected="$2/expected" '
		function flush_command() {
			if (command != "")
				printf "echo \"@ %d\"\n{ %s\n} 2>&1 || echo \"status $?\"\n", line, command >run
			command = ""
		}
		/^<!-- file: / { file = $3; next }
		/^```/ && !code {
			code = /^```console/ ? "console" : file != "" ? "file" : "other"
			if (code == "file")
				printf "cat >\"%s\" <<\"END OF FILE\"\n", file >run
			next
		}
		/^```/ {
			flush_command()
			if (code == "file") {
				print "END OF FILE" >run
				file = ""
			}
			code = ""
			next
		}
		code == "file" { print >run }
		code == "console" && /^\$ / {
			flush_command()
			command = substr($0, 3)
			line = FNR
			print "@ " line >expected
			next
		}
		code == "console" && /^> / && command != "" { command = command "\n" substr($0, 3); next }
		code == "console" { flush_command(); print >expected }
		END {
			# not in a subshell, which has no jobs
			print "jobs -p >\"$HOME/jobs\"; while read -r job; do kill \"$job\" 2>/dev/null; done <\"$HOME/jobs\"; wait" >run
		}' "$1"
}

# same EXPECTED GOT: compares them
same() {
	awk 'FNR == NR { want[++n] = $0; next }
		{ got[++m] = $0 }
		function bad(i, j) {
			print "expected: " (i > n ? "no more output" : want[i])
			print "got:      " (j > m ? "no more output" : got[j])
			failed = 1
			exit 1
		}
		END {
			if (failed)
				exit 1
			for (i = j = 1; i <= n; i++) {
				if (want[i] == "...") {
					while (j <= m && got[j] != want[i + 1])
						j++
					continue
				}
				if (got[j] != want[i] || j > m)
					bad(i, j)
				j++
			}
			if (j <= m)
				bad(i, j)
		}' "$1" "$2"
}

# page PAGE: runs it
page() {
	dir=$work/$(basename "$1" .md)
	rm -rf "$dir"
	mkdir -p "$dir/clean" "$dir/home"
	ln -s "$here" "$dir/clean/libmux"
	: >"$dir/run"
	: >"$dir/expected"
	script "$1" "$dir"
	grep -q '^@' "$dir/expected" || { echo "start: $1 has no commands" >&2; return 1; }
	(
		CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup} HOME=$dir/home
		# the dependencies of the tree have been downloaded
		CARGO_NET_OFFLINE=true CARGO_TERM_QUIET=true
		unset MAKEFLAGS MAKELEVEL PKG_CONFIG_PATH LD_LIBRARY_PATH CARGO_TARGET_DIR || :
		export CARGO_HOME RUSTUP_HOME HOME CARGO_NET_OFFLINE CARGO_TERM_QUIET
		cd "$dir/clean"
		if timeout 1 true 2>/dev/null; then
			timeout -k 5 300 sh "$dir/run"
		else
			sh "$dir/run"
		fi
	) >"$dir/got" </dev/null || echo "status $?" >>"$dir/got"
	same "$dir/expected" "$dir/got" >"$dir/differ" || {
		{ echo "start: $1 (\"@ N\" is the command in line N):"; cat "$dir/differ"; echo "All of its output:"; cat "$dir/got"; } >&2
		return 1
	}
}

if [ $# -gt 0 ]; then
	for p; do page "$p"; done
	exit 0
fi

n=0
for p in "$here"/docs/start-*.md; do
	page "$p"
	n=$((n + 1))
done

# It must be able to fail.
cat >"$work/good.md" <<'!'
<!-- file: a -->
```
one $HOME
```
```console
$ cat a
one $HOME
$ x=1; for i in 1 2 3; do
>     echo "$i"; done
1
...
$ echo "$x" >&2
1
```
!
sh "$self" "$work/good.md" || { echo "start: reports a fault in a correct page" >&2; exit 1; }
while read -r from to; do
	sed "s/^$from\$/$to/" "$work/good.md" >"$work/bad.md"
	! cmp -s "$work/good.md" "$work/bad.md" || { echo "start: $from is not in the page" >&2; exit 1; }
	! sh "$self" "$work/bad.md" 2>/dev/null || { echo "start: does not notice $to in place of $from" >&2; exit 1; }
done <<'!'
1 2
\$.cat.a $ false
\.\.\. 2
\$.echo.* $ exit 3
!
echo "start: the commands of $n start pages print what the pages show"
