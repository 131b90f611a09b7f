//! The scheduler under the model checkers: a lock, a parker and procs made of the checker's own primitives, so
//! that the checker may switch threads at each use. Written once for both checkers, on the names of `prim`.

use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::sync::{Arc, OnceLock};

use parking_lot::lock_api::{GuardNoSend, RawMutex};

use crate::clock::{self, Timer};
use crate::prim;
use crate::sched::wakers::NoWakers;
use crate::sched::{Parker, ProcMain, Sched, SchedError};

/// The types that the library shares outside its lock, and its clock.
pub use crate::clock::now;
pub use crate::prim::{AtomicU32, Cell};

/// A scheduler of the checker's threads.
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
            // SAFETY: the caller of `start` guarantees that `main` may be called, once, from another
            // thread.
            unsafe { main(std::ptr::with_exposed_provenance_mut(arg)) }
        });
        Ok(())
    }
}

/// The checker's mutex, which also stores its guard while it is locked.
///
/// The mutex is created at its first use, since a checker's mutex cannot be a constant. The threads of a checker
/// take turns on one thread of the system, so plain cells suffice for what the checker need not observe.
pub struct Lock {
    mutex: OnceLock<Box<prim::Mutex<()>>>,
    guard: UnsafeCell<Option<ManuallyDrop<prim::MutexGuard<'static, ()>>>>,
}

// SAFETY: only the holder of the mutex accesses `guard`.
unsafe impl Send for Lock {}
// SAFETY: as above.
unsafe impl Sync for Lock {}

impl Lock {
    fn keep(&self, guard: prim::MutexGuard<'_, ()>) {
        // SAFETY: the mutex is in a box that this lock owns until it is dropped, and a lock is not
        // dropped while it is held, so the guard does not outlive the mutex. The caller holds the mutex.
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

// SAFETY: the checker's mutex has one holder at a time.
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

/// Puts one caller to sleep.
pub struct ModelParker(Arc<WaiterCell>);

/// The state that a sleeper shares with its waker and the clock. Each of them owns a reference, so none of them
/// can access freed memory, whatever the library does. An assertion checks that the library wakes a sleeper at
/// most once.
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

    /// Makes the sleeper check its deadline. Called by the clock.
    pub fn notify(&self) {
        let state = prim::lock(&self.state);
        if state.asleep {
            self.condvar.notify_one();
        }
    }
}

// SAFETY: park returns only when it has read `unparked` as true, under the mutex that unpark has released after
// setting it. The shared state is reference-counted.
unsafe impl Parker for ModelParker {
    unsafe fn park(this: *const ModelParker) {
        // SAFETY: the caller keeps the parker alive until this returns.
        let waiter = unsafe { &(*this).0 };
        let mut state = prim::lock(&waiter.state);
        while !state.unparked {
            state.asleep = true;
            state = prim::wait(&waiter.condvar, state);
        }
        state.asleep = false;
    }

    unsafe fn park_until(this: *const ModelParker, deadline: u64) -> bool {
        // SAFETY: the caller keeps the parker alive until this returns.
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
        // SAFETY: the sleeper keeps the parker alive until it reads `unparked` as true, which is set below.
        let waiter = unsafe { (*this).0.clone() };
        let mut state = prim::lock(&waiter.state);
        assert!(!state.unparked, "woken twice");
        state.unparked = true;
        if state.asleep {
            waiter.condvar.notify_one();
        }
    }
}
