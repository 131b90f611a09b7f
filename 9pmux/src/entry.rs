//! The entry of the program, in place of the standard library's.
//!
//! That one also prepares a message for a stack that overflows, for which it reads the list of mappings and makes a
//! stack for signals. A program that posts a service waits for this each time, under the name 9pserve. Without it an
//! overflow ends the program by SIGSEGV all the same. The rest is done here: the standard descriptors are open, and
//! SIGPIPE is ignored.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, fcntl_getfd};

/// Called by the C library. Returns the exit status.
// SAFETY: no other function of the program has this name, and this is its form in C.
#[unsafe(no_mangle)]
extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    open_standard_descriptors();
    // SAFETY: the call only changes how the signal is handled.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let argument = |index: usize| -> OsString {
        // SAFETY: the C library passes `argc` strings, which stay until the end of the program.
        let text = unsafe { CStr::from_ptr(*argv.add(index)) };
        OsStr::from_bytes(text.to_bytes()).to_owned()
    };
    crate::run((0..argc as usize).map(argument).collect()).into()
}

/// Opens each standard descriptor that is closed, so that no other file gets its number.
fn open_standard_descriptors() {
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        if fcntl_getfd(fd) == Err(Errno::BADF) {
            // The lowest number that is free is this one. It stays open until the end.
            if let Ok(opened) = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()) {
                std::mem::forget(opened);
            }
        }
    }
}
