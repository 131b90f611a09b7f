//! Whichever scheduler the program has, found out at each sleep: a C program may start calling
//! before its libthread runs, and one archive serves both kinds.

use super::plan9::{self, Caller};
use super::{NotStarted, Parker, Proc, Sched, native};

/// The program's own scheduler.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

/// Sleeps a thread or a coroutine.
pub enum Bunk {
    /// A thread.
    Thread(native::Bunk),
    /// A coroutine.
    Coroutine(plan9::Bunk),
}

impl Sched for Host {
    type Lock = native::sys::Lock;
    type Parker = Bunk;

    #[inline]
    fn parker(&self) -> Bunk {
        match plan9::caller() {
            // A stranger is refused before it comes here; it would sleep as what it is.
            Caller::Thread | Caller::Stranger => Bunk::Thread(native::Bunk::new()),
            Caller::Coroutine => Bunk::Coroutine(plan9::Bunk::new()),
        }
    }

    unsafe fn start(&self, proc: Proc) -> Result<(), NotStarted> {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match plan9::caller() {
                Caller::Coroutine => plan9::start(proc),
                Caller::Thread | Caller::Stranger => native::Native.start(proc),
            }
        }
    }
}

// SAFETY: each kind keeps the contract, and which it is never changes.
unsafe impl Parker for Bunk {
    #[inline]
    unsafe fn park(this: *const Bunk) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match &*this {
                Bunk::Thread(bunk) => native::Bunk::park(bunk),
                Bunk::Coroutine(bunk) => plan9::Bunk::park(bunk),
            }
        }
    }

    #[inline]
    unsafe fn unpark(this: *const Bunk) {
        // SAFETY: the sleeper stays until the inner unpark lets it go, so the kind can be read; what
        // is passed on is an address, not a reference that would have to outlive the sleeper.
        unsafe {
            match &*this {
                Bunk::Thread(bunk) => native::Bunk::unpark(&raw const *bunk),
                Bunk::Coroutine(bunk) => plan9::Bunk::unpark(&raw const *bunk),
            }
        }
    }
}
