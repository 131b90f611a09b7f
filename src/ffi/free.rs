//! The end of a Mux: muxhangup and muxfree.

use super::entry::{checked_caller, guard};
use super::errors;
use super::layout::Mux;
use crate::sched::clock;

/// Fails all outstanding calls now (ECONNRESET) and all later ones (ESHUTDOWN), from any thread,
/// until muxinit is called again. Whoever is inside send or recv, the procs too, learns of it when
/// that returns: shut the connection down as well. errno is EINVAL when mux is nil, or not one that muxinit
/// has seen, and EPERM as for muxrpc.
///
/// # Safety
/// `mux` is nil or points to a Mux.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxhangup(mux: *mut Mux) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        if let Some(inner) = unsafe { checked_caller(mux) } {
            inner.hang_up();
        }
    });
}

/// How long muxfree waits for those inside, in milliseconds.
const FREE_TIMEOUT_MS: i64 = 3000;

/// Ends mux: as muxhangup, then waits until nobody is inside any more (callers, procs), and gives up all
/// memory. Calls that have not been collected are gone, the Muxrpcs too, and so is one that muxrpcstart
/// answers meanwhile; their replies are disposed of as orphans. Afterwards the Mux may be freed, or given to muxinit again.
///
/// Whoever is inside send or recv, the procs too, must be on its way out: shut the connection down
/// before. It waits for three seconds at most; if somebody is still inside then, it gives up nothing,
/// sets errno to EBUSY, and may be called again. EBUSY comes at once where it can not wait (the program's
/// scheduler has no parkfor, libthread could start no proc for the clock) and while another muxfree waits.
/// No call may begin while it runs, or after it. errno also: EINVAL, mux is nil, or not one that muxinit
/// has seen; EPERM, as for muxrpc.
///
/// # Safety
/// `mux` is nil or points to a Mux.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxfree(mux: *mut Mux) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_caller(mux) }) else { return };
        let result = inner.shut_down(clock::after(FREE_TIMEOUT_MS), |watch| {
            // SAFETY: its call is not in the machine any more; its owner knows that it is gone.
            unsafe { libc::free(watch.0.as_ptr().cast()) }
        });
        match result {
            // SAFETY: nobody is inside, and no call begins: the caller's promise.
            Ok(()) => unsafe {
                inner.transport().free_extra();
                Mux::clear_private(mux);
            },
            Err(error) => errors::set_error(error),
        }
    });
}
