//! The scheduler of a plain program: callers are threads, and sleep in the kernel.

use std::ffi::c_void;

use super::{ProcMain, Sched, SchedError};

#[cfg(all(target_os = "linux", not(mux_parking_lot)))]
pub(super) use super::futex as sys;
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub(super) use super::parking as sys;

/// Threads of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

/// A lock that the next holder may free.
pub type LastLock = sys::LastLock;

/// Puts one thread to sleep.
#[cfg(all(target_os = "linux", not(mux_parking_lot)))]
pub type ThreadParker = sys::FutexParker;
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub type ThreadParker = sys::CondvarParker;

impl Sched for Native {
    type Lock = sys::Lock;
    type Parker = ThreadParker;
    type Wakers = super::wakers::WakerTable;

    #[inline]
    fn parker(&self) -> ThreadParker {
        ThreadParker::new()
    }

    unsafe fn start(&self, proc: ProcMain) -> Result<(), SchedError> {
        // SAFETY: guaranteed by the caller.
        unsafe { start_thread(proc) }
    }
}

/// Starts a detached thread. Every signal is blocked in it, except for the signals that a fault of the thread
/// itself raises, so that the program's signal handlers run in the program's own threads.
///
/// std::thread is not used, since it aborts the program when an allocation fails.
///
/// # Safety
/// Calling `proc.main` with `proc.arg`, once, from another thread must be sound.
unsafe fn start_thread(proc: ProcMain) -> Result<(), SchedError> {
    // SAFETY: C functions called on local variables. `carry` passes main and arg to the new thread,
    // which frees it; this function frees it if there is no new thread.
    unsafe {
        let carry: *mut ProcMain = libc::malloc(size_of::<ProcMain>()).cast();
        if carry.is_null() {
            return Err(SchedError(libc::ENOMEM));
        }
        carry.write(proc);
        let mut attr = std::mem::zeroed();
        let mut error = libc::pthread_attr_init(&raw mut attr);
        if error == 0 {
            libc::pthread_attr_setdetachstate(&raw mut attr, libc::PTHREAD_CREATE_DETACHED);
            let mut block = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigfillset(&raw mut block);
            for fault in [
                libc::SIGSEGV,
                libc::SIGBUS,
                libc::SIGFPE,
                libc::SIGILL,
                libc::SIGTRAP,
                libc::SIGABRT,
            ] {
                libc::sigdelset(&raw mut block, fault);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const block, &raw mut before);
            let mut thread = std::mem::zeroed();
            error =
                libc::pthread_create(&raw mut thread, &raw const attr, thread_main, carry.cast());
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
            libc::pthread_attr_destroy(&raw mut attr);
        }
        if error == 0 {
            return Ok(());
        }
        libc::free(carry.cast());
        Err(SchedError(error))
    }
}

extern "C" fn thread_main(carry: *mut c_void) -> *mut c_void {
    // SAFETY: `start_thread` allocated and wrote `carry`, and passed it to this thread only.
    unsafe {
        let proc: ProcMain = carry.cast::<ProcMain>().read();
        libc::free(carry);
        (proc.main)(proc.arg);
    }
    std::ptr::null_mut()
}
