//! Callbacks that plan9port's Mux has no fields for: muxsetorphan and muxsetbatch.

use std::ffi::{c_int, c_void};

use super::entry::{checked_mux, guard};
use super::errors;
use super::layout::Mux;
use crate::rpc::Error;

/// Has orphans given to f, which disposes of them: messages that belong to no call, and replies to calls
/// that were given up. nil leaks them, as at first. f is called with no lock held, by whoever receives, by
/// muxrpccancel and muxfree, and by any number at once. errno is EINVAL when mux is nil, ENOMEM when there is no memory for f.
///
/// # Safety
/// `mux` is nil or points to a Mux.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxsetorphan(
    mux: *mut Mux,
    f: Option<unsafe extern "C" fn(mux: *mut Mux, reply: *mut c_void)>,
) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_mux(mux) }) else { return };
        if !inner.transport().set_orphan(f) {
            errors::set_error(Error::NoMemory);
        }
    });
}

/// Has several messages sent or received at a time: by sendv rather than send, by recvv rather than recv.
/// Either may be nil; both are looked at for each use. send and recv are needed all the same.
///
/// sendv gets the requests that are to go out now, in order, 16 at most: the caller's own and those that
/// have queued up meanwhile. It answers how many it has sent, from the first on; it is called again for
/// the others. Less than 1 is a failure of the first alone, errno as for send. recvv waits for a message,
/// stores what there is, no more than max, and answers how many; less than 1 is the end of the connection.
/// Answers that are too large count as the largest allowed. A nil among the messages is passed over; nothing
/// but that is the end of the connection too. A message by hand is received by recv, and nbrecv is called as
/// ever.
///
/// errno is EINVAL when mux is nil, ENOMEM when there is no memory for the functions.
///
/// # Safety
/// `mux` is nil or points to a Mux; the functions are what is said here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxsetbatch(
    mux: *mut Mux,
    sendv: Option<
        unsafe extern "C" fn(mux: *mut Mux, request: *mut *mut c_void, n: c_int) -> c_int,
    >,
    recvv: Option<
        unsafe extern "C" fn(mux: *mut Mux, reply: *mut *mut c_void, max: c_int) -> c_int,
    >,
) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_mux(mux) }) else { return };
        if !inner.transport().set_batch(sendv, recvv) {
            errors::set_error(Error::NoMemory);
        }
    });
}
