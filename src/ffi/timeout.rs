//! A call with a deadline: muxrpctimeout.

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};

use super::callbacks::Message;
use super::entry::{checked_call, guard};
use super::errors;
use super::layout::Mux;
use crate::sched::clock;

/// As muxrpc, but waits for at most ms milliseconds. A negative ms means no limit. If ms is 0,
/// nothing is sent.
///
/// A call is abandoned if its request has been sent when its deadline passes: its tag stays out
/// of use until the reply arrives, which is then an orphan, or until the connection ends.
///
/// When the deadline has passed, muxrpctimeout returns
/// - at once, if a proc or another thread receives, or if the caller waits for a tag or for its
///   turn to send;
/// - at once, if the caller is the muxer and there is an nbrecv; the caller then polls, and
///   sleeps for at most 5 milliseconds between two polls;
/// - after the next message, if the caller is the muxer without an nbrecv, which happens only
///   if no proc and no caller of muxrpc can receive instead;
/// - after send has returned, if the request is being sent.
///
/// errno on failure: as for muxrpc, and
/// - ETIMEDOUT: the deadline has passed.
/// - EOPNOTSUPP: the program's scheduler has no parkfor.
/// - EAGAIN: every tag belongs to an abandoned call, or libthread cannot start the proc that
///   keeps the time.
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
