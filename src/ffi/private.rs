//! Functions that plan9port's header declares as private, and that programs can link nevertheless:
//! single messages, and the procs as functions.

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};

use super::callbacks::Message;
use super::entry::{checked_call, guard};
use super::errors;

/// Sends a message that is not a call, unchanged, when it is its turn. Returns 0. Returns -1 on
/// error and sets errno as muxrpc does.
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

/// Receives one message, whichever call it belongs to: by recv if canblock is not 0, otherwise
/// by nbrecv.
///
/// Returns 1 and stores the message. Returns 1, stores NULL and sets errno on error. Returns 0
/// and stores NULL if no message has arrived.
///
/// errno after 1 with NULL:
/// - ECONNRESET: the connection has ended.
/// - EBUSY: the receive proc receives all messages.
/// - EOPNOTSUPP: canblock is 0 and there is no nbrecv.
/// - EINVAL, ENOMEM and EPERM: as for muxrpc.
///
/// # Safety
/// As for muxrpc; `reply` is NULL or points to a pointer.
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

/// The send proc of muxprocs, for a program that starts it itself. Sends for all callers until
/// the connection ends.
///
/// # Safety
/// `mux` is NULL or points to a Mux, which stays valid until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _muxsendproc(mux: *mut c_void) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        if let Some(inner) = unsafe { checked_call(mux.cast()) } {
            inner.send_proc();
        }
    });
}

/// The receive proc of muxprocs, for a program that starts it itself. Receives for all callers
/// until the connection ends.
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
