#!/bin/sh
# rust-crate.sh: a Rust program that depends on the crate gets no C symbol with it. The crate's rlib defines none
# of the names in c-tests/symbols.txt, and a program that uses the crate may link a C library with those names,
# such as plan9port's, and reaches that one.
set -eu

: "${CC:=cc}" "${CARGO:=cargo}" "${RUSTC:=rustc}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "rust-crate: $*" >&2; exit 1; }

# The artifacts of this very build, whatever else the target directory holds.
$CARGO build --locked --lib --message-format=json 2>/dev/null >"$work/messages" || fail "cargo build fails"
rlib=$(sed -n 's/.*"name":"mux".*"filenames":\["\([^"]*\.rlib\)".*/\1/p' "$work/messages" | tail -n 1)
[ -f "$rlib" ] || fail "cargo names no rlib"
deps=$(dirname "$rlib")/deps

nm --defined-only -g "$rlib" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u >"$work/defined"
[ -s "$work/defined" ] || fail "nm lists nothing in $rlib"
sort c-tests/symbols.txt | comm -12 - "$work/defined" >"$work/both"
[ ! -s "$work/both" ] || fail "the rlib defines $(tr '\n' ' ' <"$work/both")"

cat >"$work/theirs.c" <<'C'
const char *muxversion(void) { return "theirs"; }
void *muxrpc(void *mux, void *request) { (void)mux; return request; }
C
$CC -c -o "$work/theirs.o" "$work/theirs.c"
ar rcs "$work/libtheirs.a" "$work/theirs.o"
cat >"$work/program.rs" <<'RS'
use std::ffi::{CStr, c_char};

struct Out(std::sync::mpsc::Sender<mux::Message<u32>>);

struct In(std::sync::mpsc::Receiver<mux::Message<u32>>);

impl mux::Sender for Out {
    type Request = u32;
    fn tags(&self) -> std::ops::Range<u32> { 0..1 }
    fn send(&mut self, request: mux::Message<u32>) -> std::io::Result<()> {
        self.0.send(request).map_err(std::io::Error::other)
    }
}

impl mux::Receiver for In {
    type Reply = u32;
    fn recv(&mut self) -> std::io::Result<Option<mux::Message<u32>>> { Ok(self.0.recv().ok()) }
}

#[link(name = "theirs", kind = "static")]
unsafe extern "C" {
    fn muxversion() -> *const c_char;
}

fn main() {
    let (out, back) = std::sync::mpsc::channel();
    assert_eq!(mux::Mux::new(mux::Transport::new(Out(out), In(back))).rpc(7).ok(), Some(7));
    // SAFETY: it returns a string literal.
    let version = unsafe { CStr::from_ptr(muxversion()) };
    assert_eq!(version.to_str(), Ok("theirs"));
}
RS
$RUSTC --edition 2024 -o "$work/program" "$work/program.rs" --extern mux="$rlib" -L dependency="$deps" -L native="$work"
"$work/program" || fail "the program calls another library's functions"
echo "rust-crate: none of $(wc -l <c-tests/symbols.txt) C names in the rlib; a Rust program keeps the C library that it links"
