//! Whichever scheduler the program has, found out at each sleep: a C program may start calling
//! before its libthread runs, and one archive serves both kinds.

use super::plan9::{self, Caller};
use super::{NotStarted, Parker, Proc, Sched, alarm, native, own};

/// The program's own scheduler.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

/// Sleeps a thread or a coroutine.
pub enum Bunk {
    /// A thread.
    Thread(native::Bunk),
    /// A coroutine.
    Coroutine(plan9::Bunk),
    /// A task of the program's own scheduler.
    Own(own::Bunk),
}

impl Host {
    /// Whether the calling thread is one that can neither sleep nor wake.
    #[inline]
    #[must_use]
    pub fn caller_is_strange() -> bool {
        plan9::caller() == Caller::Stranger && own::table().is_none()
    }
}

impl Sched for Host {
    type Lock = native::sys::Lock;
    type Parker = Bunk;
    type Tasks = super::tasks::NoTasks;

    #[inline]
    fn parker(&self) -> Bunk {
        if let Some(table) = own::table() {
            return Bunk::Own(own::Bunk::new(table));
        }
        match plan9::caller() {
            // A stranger is refused before it comes here; it would sleep as what it is.
            Caller::Thread | Caller::Stranger => Bunk::Thread(native::Bunk::new()),
            Caller::Coroutine => Bunk::Coroutine(plan9::Bunk::new()),
        }
    }

    fn hold_clock(&self) -> Result<(), NotStarted> {
        if let Some(table) = own::table() {
            return own::has_clock(table);
        }
        match plan9::caller() {
            Caller::Coroutine => alarm::hold(),
            Caller::Thread | Caller::Stranger => Ok(()),
        }
    }

    fn release_clock(&self) {
        if own::table().is_none() && plan9::caller() == Caller::Coroutine {
            alarm::release();
        }
    }

    unsafe fn start(&self, proc: Proc) -> Result<(), NotStarted> {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            if let Some(table) = own::table() {
                return own::start(table, proc);
            }
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
                Bunk::Own(bunk) => own::Bunk::park(bunk),
            }
        }
    }

    unsafe fn park_until(this: *const Bunk, deadline: u64) -> bool {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match &*this {
                Bunk::Thread(bunk) => native::Bunk::park_until(bunk, deadline),
                Bunk::Coroutine(bunk) => plan9::Bunk::park_until(bunk, deadline),
                Bunk::Own(bunk) => own::Bunk::park_until(bunk, deadline),
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
                Bunk::Own(bunk) => own::Bunk::unpark(&raw const *bunk),
            }
        }
    }
}
