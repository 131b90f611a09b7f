//! The seam, as the checkers have it: a lock, a parker and a proc of their own making, so that each use
//! is a place where they may switch. Written once for both, over what `prim` names.

use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::sync::{Arc, OnceLock};

use parking_lot::lock_api::{GuardNoSend, RawMutex};

use crate::clock::{self, Timer};
use crate::prim;
use crate::sched::wakers::NoWakers;
use crate::sched::{Parker, ProcMain, Sched, SchedError};

/// What the library shares outside its lock, and its clock.
pub use crate::clock::now;
pub use crate::prim::{AtomicU32, Cell};

/// Threads of the checker.
pub struct CheckedSched;

impl Sched for CheckedSched {
    type Lock = Lock;
    type Parker = ModelParker;
    type Wakers = NoWakers;

    fn parker(&self) -> ModelParker {
        ModelParker(Arc::new(WaiterCell::new()))
    }

    unsafe fn start(&self, proc: ProcMain) -> Result<(), SchedError> {
        let ProcMain { main, arg } = proc;
        let arg = arg.expose_provenance();
        prim::thread::spawn(move || {
            // SAFETY: the caller of `start` has promised that it may be called, once, from another
            // thread.
            unsafe { main(std::ptr::with_exposed_provenance_mut(arg)) }
        });
        Ok(())
    }
}

/// The checker's mutex, with its guard kept inside while it is held.
///
/// It is made at its first use, since a checker's mutex can not be a constant. The threads of a checker
/// take turns in one thread of the system, so plain cells do for what is not to be seen by it.
pub struct Lock {
    mutex: OnceLock<Box<prim::Mutex<()>>>,
    guard: UnsafeCell<Option<ManuallyDrop<prim::MutexGuard<'static, ()>>>>,
}

// SAFETY: `guard` is used by who holds the mutex alone.
unsafe impl Send for Lock {}
// SAFETY: as above.
unsafe impl Sync for Lock {}

impl Lock {
    fn keep(&self, guard: prim::MutexGuard<'_, ()>) {
        // SAFETY: the mutex has its place in a box of ours until this is dropped, and who drops this
        // does not hold it; so the guard does not outlive it. The caller holds the mutex.
        unsafe {
            let guard = std::mem::transmute::<
                prim::MutexGuard<'_, ()>,
                prim::MutexGuard<'static, ()>,
            >(guard);
            *self.guard.get() = Some(ManuallyDrop::new(guard));
        }
    }

    fn mutex(&self) -> &prim::Mutex<()> {
        self.mutex.get_or_init(|| Box::new(prim::Mutex::new(())))
    }
}

// SAFETY: one holder at a time, by the checker's mutex.
unsafe impl RawMutex for Lock {
    #[allow(clippy::declare_interior_mutable_const, reason = "how lock_api begins a lock")]
    const INIT: Lock = Lock { mutex: OnceLock::new(), guard: UnsafeCell::new(None) };
    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        self.keep(prim::lock(self.mutex()));
    }

    fn try_lock(&self) -> bool {
        match self.mutex().try_lock() {
            Ok(guard) => {
                self.keep(guard);
                true
            }
            Err(_) => false,
        }
    }

    unsafe fn unlock(&self) {
        // SAFETY: the caller holds the mutex.
        let guard = unsafe { (*self.guard.get()).take() };
        drop(guard.map(ManuallyDrop::into_inner));
    }
}

/// Sleeps one caller.
pub struct ModelParker(Arc<WaiterCell>);

/// What a sleeper, who wakes it and the clock share. Each has a hold of it, so nobody looks at memory
/// that is gone, whatever the library does; that the library wakes a sleeper once and no more is for the
/// assertions to say.
pub struct WaiterCell {
    state: prim::Mutex<WaiterState>,
    condvar: prim::Condvar,
}

struct WaiterState {
    unparked: bool,
    asleep: bool,
}

impl WaiterCell {
    fn new() -> WaiterCell {
        let state = prim::Mutex::new(WaiterState { unparked: false, asleep: false });
        WaiterCell { state, condvar: prim::Condvar::new() }
    }

    /// The clock shows what some sleeper in here wanted to see.
    pub fn notify(&self) {
        let state = prim::lock(&self.state);
        if state.asleep {
            self.condvar.notify_one();
        }
    }
}

// SAFETY: park returns only when it finds `called`, under the mutex of which unpark, which set it, has let
// go by then. What the three share is kept by whoever uses it.
unsafe impl Parker for ModelParker {
    unsafe fn park(this: *const ModelParker) {
        // SAFETY: the caller keeps it alive until this returns.
        let waiter = unsafe { &(*this).0 };
        let mut state = prim::lock(&waiter.state);
        while !state.unparked {
            state.asleep = true;
            state = prim::wait(&waiter.condvar, state);
        }
        state.asleep = false;
    }

    unsafe fn park_until(this: *const ModelParker, deadline: u64) -> bool {
        // SAFETY: the caller keeps it alive until this returns.
        let waiter = unsafe { &(*this).0 };
        let mut state = prim::lock(&waiter.state);
        loop {
            if state.unparked {
                return true;
            }
            let timer = Timer { deadline, waiter: Some(waiter.clone()) };
            if !clock::set(timer) {
                return false;
            }
            state.asleep = true;
            state = prim::wait(&waiter.condvar, state);
            state.asleep = false;
        }
    }

    unsafe fn unpark(this: *const ModelParker) {
        // SAFETY: the sleeper stays until it finds `called`, which it does not before this is set below.
        let waiter = unsafe { (*this).0.clone() };
        let mut state = prim::lock(&waiter.state);
        assert!(!state.unparked, "woken twice");
        state.unparked = true;
        if state.asleep {
            waiter.condvar.notify_one();
        }
    }
}
