//! The seam, as the checkers have it: a lock, a parker and a proc of their own making, so that each use
//! is a place where they may switch. Written once for both, over what `prim` names.

use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::sync::{Arc, OnceLock};

use parking_lot::lock_api::{GuardNoSend, RawMutex};

use crate::clock::{self, Alarm};
use crate::prim;
use crate::sched::tasks::NoTasks;
use crate::sched::{NotStarted, Parker, Proc, Sched};

/// What the library shares outside its lock, and its clock.
pub use crate::clock::now;
pub use crate::prim::{AtomicU32, Cell};

/// Threads of the checker.
pub struct Checked;

impl Sched for Checked {
    type Lock = Lock;
    type Parker = Bunk;
    type Tasks = NoTasks;

    fn parker(&self) -> Bunk {
        Bunk(Arc::new(Bed::new()))
    }

    unsafe fn start(&self, proc: Proc) -> Result<(), NotStarted> {
        let Proc { main, arg } = proc;
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
pub struct Bunk(Arc<Bed>);

/// What a sleeper, who wakes it and the clock share. Each has a hold of it, so nobody looks at memory
/// that is gone, whatever the library does; that the library wakes a sleeper once and no more is for the
/// assertions to say.
pub struct Bed {
    state: prim::Mutex<BedState>,
    bell: prim::Condvar,
}

struct BedState {
    called: bool,
    asleep: bool,
}

impl Bed {
    fn new() -> Bed {
        let state = prim::Mutex::new(BedState { called: false, asleep: false });
        Bed { state, bell: prim::Condvar::new() }
    }

    /// The clock shows what some sleeper in here wanted to see.
    pub fn ring(&self) {
        let state = prim::lock(&self.state);
        if state.asleep {
            self.bell.notify_one();
        }
    }
}

// SAFETY: park returns only when it finds `called`, under the mutex of which unpark, which set it, has let
// go by then. What the three share is kept by whoever uses it.
unsafe impl Parker for Bunk {
    unsafe fn park(this: *const Bunk) {
        // SAFETY: the caller keeps it alive until this returns.
        let bed = unsafe { &(*this).0 };
        let mut state = prim::lock(&bed.state);
        while !state.called {
            state.asleep = true;
            state = prim::wait(&bed.bell, state);
        }
        state.asleep = false;
    }

    unsafe fn park_until(this: *const Bunk, deadline: u64) -> bool {
        // SAFETY: the caller keeps it alive until this returns.
        let bed = unsafe { &(*this).0 };
        let mut state = prim::lock(&bed.state);
        loop {
            if state.called {
                return true;
            }
            let alarm = Alarm { deadline, bed: Some(bed.clone()) };
            if !clock::set(alarm) {
                return false;
            }
            state.asleep = true;
            state = prim::wait(&bed.bell, state);
            state.asleep = false;
        }
    }

    unsafe fn unpark(this: *const Bunk) {
        // SAFETY: the sleeper stays until it finds `called`, which it does not before this is set below.
        let bed = unsafe { (*this).0.clone() };
        let mut state = prim::lock(&bed.state);
        assert!(!state.called, "woken twice");
        state.called = true;
        if state.asleep {
            bed.bell.notify_one();
        }
    }
}
