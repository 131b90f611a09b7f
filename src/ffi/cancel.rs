//! Abandoning a non-blocking call: muxrpccancel.

use super::entry::{checked_caller, guard};
use super::errors;
use super::layout::{Muxrpc, MuxrpcRecord};

/// Gives a non-blocking call up: rpc is gone. Its tag stays out of use until its reply comes, which is
/// an orphan then, or the connection ends; while all tags are so held, calls fail with EAGAIN. A reply
/// that is there already is disposed of as an orphan. errno is EINVAL when rpc is nil, and EPERM as for
/// muxrpc: the call goes on.
///
/// # Safety
/// `rpc` is nil or a call that muxrpcstart has answered and that is not gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxrpccancel(rpc: *mut Muxrpc) {
    guard((), || {
        if rpc.is_null() {
            return errors::set_invalid();
        }
        // SAFETY: the caller's promise: a Muxrpc that is not gone is a MuxrpcRecord, whose Mux is in use.
        let (mux, id) = unsafe { ((*rpc).mux, (*rpc.cast::<MuxrpcRecord>()).id) };
        // SAFETY: as above.
        let inner = unsafe { checked_caller(mux) };
        if let (Some(inner), Some(id)) = (inner, id) {
            inner.abandon(id);
        } else if id.is_some() {
            // Not from here, and errno says why: it goes on.
            return;
        }
        // SAFETY: the call is not in the machine any more, so this is the last pointer to it.
        unsafe { libc::free(rpc.cast()) };
    });
}
