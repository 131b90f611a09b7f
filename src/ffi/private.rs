//! The functions that plan9port's header declares as private, and that programs can link with all
//! the same: messages by hand, and the procs as functions.

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};

use super::callbacks::Message;
use super::entry::{checked_call, guard};
use super::errors;

/// Sends request as it is, in turn with the calls. Answers 0, or -1 on error, errno as for muxrpc.
///
/// # Safety
/// As for muxrpc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _muxsend(mux: *mut super::layout::Mux, request: *mut c_void) -> c_int {
    guard(-1, || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_call(mux) }) else {
            return -1;
        };
        let Some(request) = NonNull::new(request) else {
            errors::set_invalid();
            return -1;
        };
        match inner.send_message(Message(request)) {
            Ok(()) => 0,
            Err(error) => {
                errors::set_error(error);
                -1
            }
        }
    })
}

/// Receives one message by hand, whosever it is: waiting for it (canblock), or looking with nbrecv.
/// Answers 1 and stores it; 1 and stores nil on error (ECONNRESET, the connection has ended; EBUSY,
/// the procs have it; EOPNOTSUPP, no nbrecv); 0 and stores nil when there is none yet.
///
/// # Safety
/// As for muxrpc; `reply` is nil or points to where the message goes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _muxrecv(
    mux: *mut super::layout::Mux,
    canblock: c_int,
    reply: *mut *mut c_void,
) -> c_int {
    guard(1, || {
        // SAFETY: the caller's promise, passed on.
        let received =
            unsafe { checked_call(mux) }.map(|inner| inner.receive_message(canblock != 0));
        let (result, message) = match received {
            Some(Ok(Some(message))) => (1, message.0.as_ptr()),
            Some(Ok(None)) => (0, null_mut()),
            Some(Err(error)) => {
                errors::set_error(error);
                (1, null_mut())
            }
            None => (1, null_mut()),
        };
        if !reply.is_null() {
            // SAFETY: the caller's promise.
            unsafe { reply.write(message) };
        }
        result
    })
}

/// The send proc of muxprocs, for a program that starts it itself: sends for all until the
/// connection ends.
///
/// # Safety
/// `mux` is nil or points to a Mux, which stays until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _muxsendproc(mux: *mut c_void) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        if let Some(inner) = unsafe { checked_call(mux.cast()) } {
            inner.send_proc();
        }
    });
}

/// The receive proc of muxprocs, for a program that starts it itself: receives for all until the
/// connection ends.
///
/// # Safety
/// As for _muxsendproc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _muxrecvproc(mux: *mut c_void) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        if let Some(inner) = unsafe { checked_call(mux.cast()) } {
            inner.receive_proc();
        }
    });
}
