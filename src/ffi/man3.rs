//! The forms of nbrecv and muxrpccanfinish in plan9port's manual page mux(3). A source that defines
//! MUX_MAN3 before it includes the header gets these functions under the plain names.

use std::ffi::c_void;
use std::ptr::null_mut;

use super::api::{init, try_collect};
use super::callbacks::NbrecvAbi;
use super::entry::guard;
use super::errors;
use super::layout::{Mux, Muxrpc};
use crate::rpc::Finished;

/// muxinit for a source that defines MUX_MAN3, in which nbrecv returns the message, or NULL if
/// no complete message has arrived.
///
/// # Safety
/// As for muxinit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _mux3init(mux: *mut Mux) {
    // SAFETY: the caller's promise, passed on.
    guard((), || unsafe { init(mux, NbrecvAbi::Man3) });
}

/// muxrpccanfinish for a source that defines MUX_MAN3.
///
/// Returns the reply of rpc, which then belongs to the caller, and frees rpc. Returns NULL if
/// there is no reply, sets errno, and does not free rpc. The program may call it again, and
/// should free rpc with muxrpccancel.
///
/// errno after NULL:
/// - EAGAIN: the call is still pending.
/// - any other value: there will be no reply, for the reasons given at muxrpccanfinish.
///
/// # Safety
/// `rpc` is NULL, or was returned by muxrpcstart and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _mux3rpccanfinish(rpc: *mut Muxrpc) -> *mut c_void {
    guard(null_mut(), || {
        if rpc.is_null() {
            errors::set_invalid();
            return null_mut();
        }
        // SAFETY: the caller's promise, passed on.
        match unsafe { try_collect(rpc) } {
            None => {}
            Some(Finished::Reply(message)) => {
                // SAFETY: the call has ended, so this is the last pointer to the record.
                unsafe { libc::free(rpc.cast()) };
                return message.0.as_ptr();
            }
            Some(Finished::Pending) => errors::set_pending(),
            Some(Finished::Failed(error)) => errors::set_error(error),
        }
        null_mut()
    })
}
