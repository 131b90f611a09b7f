//! Tests that every parker keeps the contract of the trait, and that a handle wakes only its own sleeper.

use std::sync::mpsc;

use super::{Parker, ProcMain, Sched, SchedError, WakeHandle, native, parking, sleep};

/// A scheduler on parking_lot, which is not the default on Linux.
struct Parking;

impl Sched for Parking {
    type Lock = parking_lot::RawMutex;
    type Parker = parking::CondvarParker;
    type Wakers = super::wakers::NoWakers;

    fn parker(&self) -> parking::CondvarParker {
        parking::CondvarParker::new()
    }

    unsafe fn start(&self, _: ProcMain) -> Result<(), SchedError> {
        Err(SchedError(libc::ENOSYS))
    }
}

fn ping_pong<S: Sched + Sync>(sched: &S)
where
    S::Parker: Parker + 'static,
{
    let (send, recv) = mpsc::channel::<(WakeHandle<u32, S::Parker>, u32)>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for (handle, n) in recv {
                handle.wake(n * 2);
            }
        });
        for n in 0..10_000 {
            assert_eq!(sleep(sched, |handle| send.send((handle, n)).unwrap()), Some(n * 2));
        }
        drop(send);
    });
}

#[test]
fn a_native_sleeper_wakes_with_the_value() {
    ping_pong(&native::Native);
}

#[test]
fn a_parking_lot_sleeper_wakes_with_the_value() {
    ping_pong(&Parking);
}

#[test]
fn a_dropped_handle_wakes_without_a_value() {
    assert_eq!(sleep::<_, u32>(&native::Native, drop), None);
}

#[test]
fn a_wake_before_the_sleep_is_not_lost() {
    assert_eq!(sleep(&native::Native, |handle| handle.wake(7)), Some(7));
}

#[test]
fn the_sleeper_outlives_its_handle_even_when_publishing_unwinds() {
    let (send, recv) = mpsc::channel::<WakeHandle<u32, native::ThreadParker>>();
    std::thread::scope(|scope| {
        scope.spawn(move || recv.recv().unwrap().wake(1));
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            sleep(&native::Native, |handle| {
                send.send(handle).unwrap();
                std::panic::resume_unwind(Box::new(()));
            })
        }));
        assert!(unwound.is_err());
    });
}

#[test]
fn a_started_proc_runs_its_function() {
    extern "C" fn main(arg: *mut std::ffi::c_void) {
        // SAFETY: the sender that the test has boxed.
        let send = unsafe { Box::from_raw(arg.cast::<mpsc::Sender<u32>>()) };
        send.send(3).unwrap();
    }
    let (send, recv) = mpsc::channel::<u32>();
    let arg = Box::into_raw(Box::new(send)).cast();
    // SAFETY: main consumes the box, once.
    unsafe { native::Native.start(ProcMain { main, arg }) }.unwrap();
    assert_eq!(recv.recv().unwrap(), 3);
}

/// Checks mutual exclusion, and that no waiting thread is missed, with eight threads that each hold the lock
/// for a short time.
fn excludes<L: parking_lot::lock_api::RawMutex + Send + Sync>() {
    let count = parking_lot::lock_api::Mutex::<L, u64>::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for i in 0..20_000 {
                    let mut count = count.lock();
                    let before = *count;
                    if i % 1000 == 0 {
                        std::thread::yield_now();
                    }
                    *count = before + 1;
                }
            });
        }
    });
    assert_eq!(*count.lock(), 8 * 20_000);
}

#[test]
fn the_locks_provide_mutual_exclusion() {
    excludes::<<native::Native as Sched>::Lock>();
    excludes::<native::LastLock>();
}

/// Checks that sleeping preserves errno. A void function of the C face, such as muxfree, reports failure through
/// errno alone.
fn check_sleep_preserves_errno<P: Parker>(new: impl Fn() -> P) {
    let parker = new();
    // SAFETY: the address of this thread's errno; the parker lives until this function returns.
    unsafe {
        *super::errno_ptr() = 4711;
        assert!(!P::park_until(&raw const parker, super::clock::now() + 1_000_000));
        assert_eq!(super::errno(), 4711);
        P::unpark(&raw const parker);
        P::park(&raw const parker);
        assert_eq!(super::errno(), 4711);
    }
}

#[test]
fn sleeping_preserves_errno() {
    check_sleep_preserves_errno(|| native::Native.parker());
    check_sleep_preserves_errno(parking::CondvarParker::new);
}

#[test]
fn waiting_for_a_lock_preserves_errno() {
    use parking_lot::lock_api::Mutex;
    let lock = Mutex::<<native::Native as Sched>::Lock, u32>::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // SAFETY: the address of this thread's errno.
                unsafe { *super::errno_ptr() = 4711 };
                for _ in 0..20_000 {
                    *lock.lock() += 1;
                }
                assert_eq!(super::errno(), 4711);
            });
        }
    });
    assert_eq!(*lock.lock(), 80_000);
}
