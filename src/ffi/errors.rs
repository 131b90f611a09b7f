//! Errors in C's terms: errno, and lib9's error string if the program has lib9.

use std::ffi::{CStr, c_int};

use crate::rpc::Error;
use crate::sched::plan9;

use crate::sched::errno_ptr;

fn set_errno(value: c_int) {
    // SAFETY: the address of this thread's own variable.
    unsafe { *errno_ptr() = value }
}

/// Calls a callback that returns a negative value on failure. The error is the errno that the
/// callback has left, or EIO if it has left none.
#[inline]
pub fn status(call: impl FnOnce() -> c_int) -> Result<(), c_int> {
    // SAFETY: the address of the calling thread's errno is valid as long as the thread; a coroutine
    // stays on its thread.
    let (errno, before) = unsafe {
        let errno = errno_ptr();
        (errno, errno.replace(0))
    };
    let result = call();
    // SAFETY: as above.
    unsafe {
        match (result < 0, errno.read()) {
            (true, 0) => Err(libc::EIO),
            (true, why) => Err(why),
            (false, _) => {
                errno.write(before);
                Ok(())
            }
        }
    }
}

/// Calls a callback that returns a number of messages. Returns that number, and the errno of a
/// failure.
pub fn count(call: impl FnOnce() -> c_int) -> (c_int, c_int) {
    // SAFETY: as in `status`.
    unsafe {
        let errno = errno_ptr();
        let before = errno.replace(0);
        let result = call();
        let why = errno.read();
        if result > 0 {
            errno.write(before);
        }
        (result, if why == 0 { libc::EIO } else { why })
    }
}

/// Sets errno for `error`, and the error string in a program with lib9. lib9 then sets errno to
/// a value of its own, by which `%r` prints the string.
#[cold]
pub fn set_error(error: Error<c_int>) {
    let (number, text): (c_int, &CStr) = match error {
        Error::Ended => (libc::ECONNRESET, c"mux: the connection has ended"),
        // lib9 expands %r to the cause: its own error string, or that of errno.
        Error::Failed(cause) => (cause, c"mux: the request was not sent: %r"),
        Error::NoTag => (libc::EAGAIN, c"mux: all tags are in use"),
        Error::HungUp => (libc::ESHUTDOWN, c"mux: the connection has been hung up"),
        Error::EmptyRange => (libc::EINVAL, c"mux: maxtag is not above mintag"),
        Error::NoMemory => (libc::ENOMEM, c"mux: out of memory"),
        Error::TimedOut => (libc::ETIMEDOUT, c"mux: the call timed out"),
        Error::NoClock(number) => (number, c"mux: the scheduler has no timer: %r"),
        Error::Stuck => {
            (libc::EOPNOTSUPP, c"mux: the call cannot finish: no nbrecv, and no caller receives")
        }
        Error::InUse => (libc::EBUSY, c"mux: a caller is still in send or recv"),
        Error::Busy => (libc::EBUSY, c"mux: the receive proc receives all messages"),
    };
    set(number, text);
}

/// Invalid arguments.
#[cold]
pub fn set_invalid() {
    set(libc::EINVAL, c"mux: bad argument");
}

/// The caller is a foreign thread in a program of libthread.
#[cold]
pub fn set_foreign_thread_error() {
    set(libc::EPERM, c"mux: the caller is not a thread of libthread");
}

/// A scheduler can no longer be installed.
#[cold]
pub fn set_too_late() {
    set(libc::EBUSY, c"mux: a scheduler is in use already");
}

/// The reply has not arrived, for a function that cannot express this in its return value.
#[cold]
pub fn set_pending() {
    set(libc::EAGAIN, c"mux: no reply yet");
}

/// An error of the operating system.
#[cold]
pub fn set_os(number: c_int) {
    set(number, c"mux: %r");
}

/// A fault in this library.
#[cold]
pub fn set_fault() {
    set(libc::EFAULT, c"mux: internal fault");
}

/// A proc could not be started.
#[cold]
pub fn set_not_started(number: c_int) {
    set(number, c"mux: no proc could be started: %r");
}

fn set(number: c_int, text: &CStr) {
    set_errno(number);
    if let Some(werrstr) = plan9::werrstr() {
        // SAFETY: lib9's function: a format; its only verb takes no argument.
        unsafe { werrstr(text.as_ptr()) };
    }
}
