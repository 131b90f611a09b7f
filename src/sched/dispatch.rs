//! Whichever scheduler the program has, found out at each sleep: a C program may start calling
//! before its libthread runs, and one archive serves both kinds.

use super::plan9::{self, Caller};
use super::{Parker, ProcMain, Sched, SchedError, custom, native, timer};

/// The program's own scheduler.
#[derive(Clone, Copy, Debug, Default)]
pub struct DispatchSched;

/// Sleeps a thread or a coroutine.
pub enum DispatchParker {
    /// A thread.
    Thread(native::ThreadParker),
    /// A coroutine.
    Coroutine(plan9::CoroutineParker),
    /// A task of the program's own scheduler.
    Custom(custom::CustomParker),
}

impl DispatchSched {
    /// Whether the calling thread is one that can neither sleep nor wake.
    #[inline]
    #[must_use]
    pub fn is_foreign_thread() -> bool {
        plan9::caller() == Caller::ForeignThread && custom::installed().is_none()
    }
}

impl Sched for DispatchSched {
    type Lock = native::sys::Lock;
    type Parker = DispatchParker;
    type Wakers = super::wakers::NoWakers;

    #[inline]
    fn parker(&self) -> DispatchParker {
        if let Some(sched) = custom::installed() {
            return DispatchParker::Custom(custom::CustomParker::new(sched));
        }
        match plan9::caller() {
            // A stranger is refused before it comes here; it would sleep as what it is.
            Caller::Thread | Caller::ForeignThread => {
                DispatchParker::Thread(native::ThreadParker::new())
            }
            Caller::Coroutine => DispatchParker::Coroutine(plan9::CoroutineParker::new()),
        }
    }

    fn acquire_timer(&self) -> Result<(), SchedError> {
        if let Some(sched) = custom::installed() {
            return custom::require_park_for(sched);
        }
        match plan9::caller() {
            Caller::Coroutine => timer::acquire(),
            Caller::Thread | Caller::ForeignThread => Ok(()),
        }
    }

    fn release_timer(&self) {
        if custom::installed().is_none() && plan9::caller() == Caller::Coroutine {
            timer::release();
        }
    }

    unsafe fn start(&self, proc: ProcMain) -> Result<(), SchedError> {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            if let Some(sched) = custom::installed() {
                return custom::start_task(sched, proc);
            }
            match plan9::caller() {
                Caller::Coroutine => plan9::start_proc(proc),
                Caller::Thread | Caller::ForeignThread => native::Native.start(proc),
            }
        }
    }
}

// SAFETY: each kind keeps the contract, and which it is never changes.
unsafe impl Parker for DispatchParker {
    #[inline]
    unsafe fn park(this: *const DispatchParker) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match &*this {
                DispatchParker::Thread(parker) => native::ThreadParker::park(parker),
                DispatchParker::Coroutine(parker) => plan9::CoroutineParker::park(parker),
                DispatchParker::Custom(parker) => custom::CustomParker::park(parker),
            }
        }
    }

    unsafe fn park_until(this: *const DispatchParker, deadline: u64) -> bool {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match &*this {
                DispatchParker::Thread(parker) => {
                    native::ThreadParker::park_until(parker, deadline)
                }
                DispatchParker::Coroutine(parker) => {
                    plan9::CoroutineParker::park_until(parker, deadline)
                }
                DispatchParker::Custom(parker) => {
                    custom::CustomParker::park_until(parker, deadline)
                }
            }
        }
    }

    #[inline]
    unsafe fn unpark(this: *const DispatchParker) {
        // SAFETY: the sleeper stays until the inner unpark lets it go, so the kind can be read; what
        // is passed on is an address, not a reference that would have to outlive the sleeper.
        unsafe {
            match &*this {
                DispatchParker::Thread(parker) => native::ThreadParker::unpark(&raw const *parker),
                DispatchParker::Coroutine(parker) => {
                    plan9::CoroutineParker::unpark(&raw const *parker)
                }
                DispatchParker::Custom(parker) => custom::CustomParker::unpark(&raw const *parker),
            }
        }
    }
}
