//! Selection of the scheduler at run time.
//!
//! The scheduler is selected anew for each sleep, since a C program may make calls before its libthread
//! runs, and one archive serves programs with and without libthread.

use super::plan9::{self, Caller};
use super::{Parker, ProcMain, Sched, SchedError, custom, native, timer};

/// The scheduler that selects another one at run time.
#[derive(Clone, Copy, Debug, Default)]
pub struct DispatchSched;

/// Parks a thread, a coroutine or a task.
pub enum DispatchParker {
    /// For a thread.
    Thread(native::ThreadParker),
    /// For a coroutine of libthread.
    Coroutine(plan9::CoroutineParker),
    /// For a task of the custom scheduler.
    Custom(custom::CustomParker),
}

impl DispatchSched {
    /// Returns true if the calling thread can neither sleep nor wake a sleeper.
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
            // The C face rejects a foreign thread before it can sleep. Here it is treated as a thread.
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
        // SAFETY: guaranteed by the caller.
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

// SAFETY: each variant keeps the contract, and the variant never changes.
unsafe impl Parker for DispatchParker {
    #[inline]
    unsafe fn park(this: *const DispatchParker) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            match &*this {
                DispatchParker::Thread(parker) => native::ThreadParker::park(parker),
                DispatchParker::Coroutine(parker) => plan9::CoroutineParker::park(parker),
                DispatchParker::Custom(parker) => custom::CustomParker::park(parker),
            }
        }
    }

    unsafe fn park_until(this: *const DispatchParker, deadline: u64) -> bool {
        // SAFETY: guaranteed by the caller.
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
        // SAFETY: the sleeper stays until the inner unpark releases it, so the variant can be read. The
        // inner unpark receives an address, not a reference that would have to outlive the sleeper.
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
