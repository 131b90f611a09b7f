//! Abandoning a non-blocking call: muxrpccancel.

use super::entry::{checked_caller, guard};
use super::errors;
use super::layout::{Muxrpc, MuxrpcRecord};

/// Abandons a non-blocking call and frees rpc, which must not be used again.
///
/// The server is not informed. The tag stays out of use until the reply arrives, which is then
/// an orphan, or until the connection ends. While every tag belongs to an abandoned call, calls
/// fail with EAGAIN. A reply that has already arrived is treated as an orphan at once. rpc may
/// be used by one thread at a time.
///
/// errno on failure:
/// - EINVAL: rpc is NULL.
/// - EPERM: as for muxrpc; the call continues, and rpc has not been freed.
///
/// # Safety
/// `rpc` is NULL, or was returned by muxrpcstart and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxrpccancel(rpc: *mut Muxrpc) {
    guard((), || {
        if rpc.is_null() {
            return errors::set_invalid();
        }
        // SAFETY: a Muxrpc that has not been freed is a MuxrpcRecord, and its Mux is valid.
        let (mux, id) = unsafe { ((*rpc).mux, (*rpc.cast::<MuxrpcRecord>()).id) };
        // SAFETY: as above.
        let inner = unsafe { checked_caller(mux) };
        if let (Some(inner), Some(id)) = (inner, id) {
            inner.abandon(id);
        } else if id.is_some() {
            // This thread must not wait or wake: errno is set, and the call continues.
            return;
        }
        // SAFETY: the call has left the machine, so this is the last pointer to the record.
        unsafe { libc::free(rpc.cast()) };
    });
}
