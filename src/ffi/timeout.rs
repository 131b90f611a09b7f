//! A call with a deadline: muxrpctimeout.

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};

use super::callbacks::Message;
use super::entry::{checked_call, guard};
use super::errors;
use super::layout::Mux;
use crate::sched::clock;

/// As muxrpc, but waits for ms milliseconds at most: nil with ETIMEDOUT then. Less than 0 is for ever; with
/// 0 nothing is sent.
/// The tag stays out of use until the reply comes, which is an orphan then, or the connection ends;
/// while all tags are so held, calls fail with EAGAIN.
///
/// How soon it answers: at once when the time has come, with procs, or while another caller receives. A
/// caller that finds itself receiving for all looks for messages by nbrecv and sleeps in between, for 5
/// milliseconds at most. Without nbrecv it is in recv, and answers when the next message comes, whosever
/// that is; callers of muxrpc go before it there. And it does not answer while its request is in send.
///
/// errno also: EOPNOTSUPP, the program's scheduler has no parkfor; EAGAIN, libthread could start no proc
/// for the clock.
///
/// # Safety
/// As for muxrpc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxrpctimeout(
    mux: *mut Mux,
    request: *mut c_void,
    ms: c_int,
) -> *mut c_void {
    guard(null_mut(), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_call(mux) }) else { return null_mut() };
        let Some(request) = NonNull::new(request) else {
            errors::set_invalid();
            return null_mut();
        };
        match inner.rpc_deadline(Message(request), clock::after(ms.into())) {
            Ok(reply) => reply.0.as_ptr(),
            Err(error) => {
                errors::set_error(error);
                null_mut()
            }
        }
    })
}
