#!/bin/sh
# symbols.sh: the names that the libraries define and refer to. Both define exactly the names of symbols.txt, so that no
# other name can clash with a C program or another Rust library. They refer weakly to the functions of a plan9port
# program, so that programs without these functions link.
#
# LIBDIR, BUILD and CC from the environment.

: "${LIBDIR:=../target/release}" "${BUILD:=../build/c-tests}" "${CC:=cc}"
cd "$(dirname "$0")" || exit 1
LC_ALL=C
export LC_ALL

weak='_rsleep _threadproc _threadsetsysproc proccreate qlock qunlock rsleep rwakeup werrstr'

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
n=0
bad=0

# is WHAT GOT WANTED
is() {
	n=$((n + 1))
	if [ "$2" = "$3" ]; then
		echo "ok $n - $1"
		return
	fi
	bad=1
	echo "not ok $n - $1"
	printf '%s\n' "$2" >"$tmp/got"
	printf '%s\n' "$3" >"$tmp/wanted"
	diff "$tmp/wanted" "$tmp/got" | sed 's/^/# /'
}

# type and name, no version
undefined() {
	nm -D --undefined-only "$so" | awk '{ sub(/@.*/, "", $2); print $1, $2 }' | sort -u
}

# the archive's symbols by readelf, because nm may have a plugin that reads another compiler's bitcode:
# number, value, size, type, binding, visibility, section, name
archive() {
	readelf -sW "$a" 2>/dev/null | awk 'NF == 8 && $1 ~ /^[0-9]+:$/'
}

so=$LIBDIR/libmux.so
a=$LIBDIR/libmux.a

is 'symbols.txt is sorted, without doubles' "$(sort -u symbols.txt)" "$(cat symbols.txt)"
is 'libmux.so defines the names of symbols.txt and no others' \
	"$(nm -D --defined-only "$so" | awk '{ print $NF }' | sort)" "$(cat symbols.txt)"
is 'libmux.so: all of them functions' \
	"$(nm -D --defined-only "$so" | awk '$2 != "T"')" ''

for w in $weak; do
	is "libmux.so asks for $w weakly" "$(undefined | grep " $w\$")" "w $w"
	is "libmux.a asks for $w weakly" "$(archive | awk -v w="$w" '$8 == w { print $5, $7 }' | sort -u)" 'WEAK UND'
done
is 'libmux.so asks for nothing else but from libc and libgcc' \
	"$(nm -D --undefined-only "$so" | awk '$1 == "U" && $2 !~ /@(GLIBC|GCC)_/')" ''
# cancellation points of pthreads(7): a thread cancelled inside the library would keep locks and roles
points='accept|close|connect|creat|fcntl|fdatasync|fsync|lockf|m?sync|nanosleep|clock_nanosleep|open(at)?|pause|p?poll|p?select|pread(64)?|pthread_cond_(timed)?wait|pthread_join|pthread_testcancel|pwrite(64)?|readv?|recv(from|msg)?|send(to|msg)?|sem_(timed)?wait|sigsuspend|sigwait(info)?|sleep|usleep|system|wait(id|pid)?|writev?'
is 'libmux.so asks for no function that is a cancellation point' \
	"$(nm -D --undefined-only "$so" | awk '{ sub(/@.*/, "", $2); print $2 }' | grep -Ex "$points")" ''
is 'nor weakly, but what every shared object asks for' \
	"$(nm -D --undefined-only "$so" | awk '$1 != "U" && $2 !~ /@(GLIBC|GCC)_/ { print $2 }' |
		grep -vE '^(_ITM_|__gmon_start__$|__cxa_)' | sort)" "$(echo "$weak" | tr ' ' '\n')"

is 'libmux.a defines the names of symbols.txt and no others' \
	"$(archive | awk '$7 != "UND" && $5 != "LOCAL" { print $8 }' | sort)" "$(cat symbols.txt)"
# the whole archive, used or not, must link without undefined names
is 'all of libmux.a links with libc and libgcc alone' \
	"$($CC -shared -o "$tmp/whole.so" -Wl,-z,defs -Wl,--whole-archive "$a" -Wl,--no-whole-archive \
		-pthread -lgcc_s -ldl -lm -lc 2>&1 | grep -v 'warning' | head -5)" ''

is 'libmux.so names itself libmux.so.1' \
	"$(readelf -d "$so" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')" libmux.so.1
is 'libmux.so asks for libc and libgcc' \
	"$(readelf -d "$so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
		grep -vE '^(libc|libgcc_s|ld-linux[-a-z0-9_]*|libpthread|libdl|libm)\.so\.[0-9]+$')" ''
is 'and for no stack that can be executed' \
	"$(readelf -lW "$so" | awk '/GNU_STACK/ { print $7 }')" RW

echo "1..$n"
exit $bad
