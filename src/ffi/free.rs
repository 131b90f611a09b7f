//! The end of a Mux: muxhangup and muxfree.

use super::entry::{checked_caller, guard};
use super::errors;
use super::layout::Mux;
use crate::sched::clock;

/// Fails all outstanding calls now, with ECONNRESET, and all later calls, with ESHUTDOWN, until
/// muxinit is called again.
///
/// A thread or proc that is inside send or recv is not interrupted, and leaves when that
/// function returns. The program should therefore also shut down the connection, for example
/// with shutdown(2). May be called by any thread at any time.
///
/// errno on failure:
/// - EINVAL: mux is NULL, or muxinit has not been called.
/// - EPERM: as for muxrpc.
///
/// # Safety
/// `mux` is NULL or points to a Mux.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxhangup(mux: *mut Mux) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        if let Some(inner) = unsafe { checked_caller(mux) } {
            inner.hang_up();
        }
    });
}

/// How long muxfree waits for the callers and procs inside the library, in milliseconds.
const FREE_TIMEOUT_MS: i64 = 3000;

/// Hangs up as muxhangup, waits until no caller and no proc is inside the library, and frees
/// all memory of the Mux and the descriptor of muxpollfd.
///
/// Before muxfree, the program must shut down the connection, so that threads and procs return
/// from send and recv. No call may begin while muxfree runs, or after it. Frees every Muxrpc
/// that has not been collected with muxrpccanfinish, including one returned by a muxrpcstart
/// that runs concurrently; replies that have not been collected become orphans. Afterwards the
/// memory of mux may be freed, or initialised again by muxinit.
///
/// Waits for at most three seconds. If muxfree fails, nothing has been freed except that mux is
/// hung up, and muxfree may be called again.
///
/// errno on failure:
/// - EBUSY: a caller or proc is still inside the library; muxfree cannot wait, because the
///   program's scheduler has no parkfor or libthread cannot start a proc; or another muxfree is
///   waiting.
/// - EINVAL: mux is NULL, or muxinit has not been called.
/// - EPERM: as for muxrpc.
///
/// # Safety
/// `mux` is NULL or points to a Mux.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxfree(mux: *mut Mux) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_caller(mux) }) else { return };
        let result = inner.shut_down(clock::after(FREE_TIMEOUT_MS), |watch| {
            // SAFETY: the call has left the machine, and its owner must not use the Muxrpc any more.
            unsafe { libc::free(watch.0.as_ptr().cast()) }
        });
        match result {
            // SAFETY: no caller is inside, and the caller of muxfree ensures that no call begins.
            Ok(()) => unsafe {
                inner.transport().free_extra();
                Mux::clear_private(mux);
            },
            Err(error) => errors::set_error(error),
        }
    });
}
