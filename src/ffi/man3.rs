//! The form that the manual page mux(3) gives to nbrecv and muxrpccanfinish, for sources that define
//! MUX_MAN3 before they include the header, which gives them these functions under the plain names.

use std::ffi::c_void;
use std::ptr::null_mut;

use super::api::{init, try_collect};
use super::callbacks::NbrecvAbi;
use super::entry::guard;
use super::errors;
use super::layout::{Mux, Muxrpc};
use crate::rpc::Finished;

/// muxinit for a source that defines MUX_MAN3: nbrecv answers the message, or nil when there is
/// none.
///
/// # Safety
/// As for muxinit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _mux3init(mux: *mut Mux) {
    // SAFETY: the caller's promise, passed on.
    guard((), || unsafe { init(mux, NbrecvAbi::Man3) });
}

/// muxrpccanfinish for a source that defines MUX_MAN3. Answers the reply of rpc, which is the
/// caller's from then on, and rpc is gone; or nil.
///
/// errno after nil: EAGAIN, it is still pending; otherwise there will be no reply, for the reasons
/// that muxrpccanfinish gives. rpc is not gone then, so that a program that goes by nil alone may
/// ask again, and gets the same answer.
///
/// # Safety
/// `rpc` is nil or a call that muxrpcstart has answered and that is not gone.
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
                // SAFETY: the call is over, so this is the last pointer to it.
                unsafe { libc::free(rpc.cast()) };
                return message.0.as_ptr();
            }
            Some(Finished::Pending) => errors::set_pending(),
            Some(Finished::Failed(error)) => errors::set_error(error),
        }
        null_mut()
    })
}
