//! Callbacks for which plan9port's Mux has no fields: muxsetorphan and muxsetbatch.

use std::ffi::{c_int, c_void};

use super::entry::{checked_mux, guard};
use super::errors;
use super::layout::Mux;
use crate::rpc::Error;

/// Makes the library call f with each orphan: a message that belongs to no outstanding call, or
/// the reply to an abandoned call. f then owns the message.
///
/// If f is NULL, which is the initial state, orphans are leaked. f is called without any lock
/// held, by the thread or proc that has received the message, by muxrpccancel and by muxfree,
/// and by several threads at once. It must not call the library on the same Mux.
///
/// errno on failure:
/// - EINVAL: mux is NULL, or muxinit has not been called.
/// - ENOMEM: no memory to store f.
///
/// # Safety
/// `mux` is NULL or points to a Mux.
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

/// Makes the library send several messages at once by sendv instead of send, and receive
/// several messages at once by recvv instead of recv. Either function may be NULL, which is the
/// initial state of both. send and recv must be set nevertheless. nbrecv is called as before.
///
/// sendv is called with n requests in order, at most 16: the request that has the turn to be
/// sent, and the requests queued behind it. It returns the number of requests that it has
/// sent, counted from the first one. The others are passed to it again. If it returns a value
/// less than 1, the first request fails with errno as for send, and the others are passed to it
/// again.
///
/// recvv waits for a message, stores it and the other messages that are available, at most max,
/// and returns their number. A value less than 1 is the end of the connection. NULL entries are
/// skipped; a batch of nothing else is the end of the connection. A value greater than n or max
/// is treated as n or max.
///
/// errno on failure:
/// - EINVAL: mux is NULL, or muxinit has not been called.
/// - ENOMEM: no memory to store the functions.
///
/// # Safety
/// `mux` is NULL or points to a Mux; the functions are as described here.
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
