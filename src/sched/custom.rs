//! A custom scheduler: a table of functions that the program installs before it initialises its first Mux.
//!
//! The functions are trusted to keep the contract in mux.h, with one exception: a park that returns too
//! early is called again.

use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8};

use super::{Parker, ProcMain, SchedError, clock};

/// Returns the calling task.
pub type TaskFn = unsafe extern "C" fn() -> *mut c_void;
/// Puts the calling task to sleep (park), or wakes another task (unpark).
pub type ParkFn = unsafe extern "C" fn(task: *mut c_void);
/// Puts the calling task to sleep for at most `ms` milliseconds.
pub type ParkForFn = unsafe extern "C" fn(task: *mut c_void, ms: c_int) -> c_int;
/// Starts a task that calls `main` with `arg`.
pub type StartFn =
    unsafe extern "C" fn(main: unsafe extern "C" fn(*mut c_void), arg: *mut c_void) -> c_int;

/// The functions of a custom scheduler.
#[derive(Clone, Copy, Debug)]
pub struct CustomSched {
    /// Returns the calling task.
    pub task: TaskFn,
    /// Puts the calling task to sleep.
    pub park: ParkFn,
    /// Wakes a task.
    pub unpark: ParkFn,
    /// Starts a task. Only needed by a program that starts procs.
    pub start: Option<StartFn>,
    /// Puts the calling task to sleep with a time limit. Only needed by a program that uses deadlines.
    pub park_for: Option<ParkForFn>,
}

/// The installed scheduler; NULL before [`install`]. Never freed, since a caller may be reading it.
// Rust 1.85 (LLVM 19) crashes on a static atomic pointer that is stored in one place only and loaded
// in another: LLVM reduces the static to a flag, and then fails on the atomic load of one bit.
// `#[used]` prevents the reduction. An AtomicU8 of the same shape compiles without it.
#[used]
static INSTALLED: AtomicPtr<CustomSched> = AtomicPtr::new(std::ptr::null_mut());

const UNDECIDED: u8 = 0;
const INSTALLING: u8 = 1;
const DECIDED: u8 = 2;
/// Whether the scheduler may still be chosen.
static DECISION: AtomicU8 = AtomicU8::new(UNDECIDED);

/// Makes every later [`install`] fail. Must be called before the present scheduler is first used.
#[inline]
pub fn forbid_install() {
    if DECISION.load(Relaxed) != DECIDED {
        DECISION.store(DECIDED, Relaxed);
    }
}

/// The reason why a scheduler was not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallError {
    /// A scheduler is already in use, or has already been installed.
    TooLate,
    /// There is no memory for the table.
    NoMemory,
}

/// Installs a custom scheduler.
///
/// # Errors
/// Returns the reason why the scheduler was not installed.
///
/// # Safety
/// The functions must keep the contract in mux.h, and must stay valid until the program ends.
pub unsafe fn install(sched: CustomSched) -> Result<(), InstallError> {
    if DECISION.compare_exchange(UNDECIDED, INSTALLING, Acquire, Relaxed).is_err() {
        return Err(InstallError::TooLate);
    }
    // SAFETY: an allocation of the size of the value that is written to it below.
    let copy: *mut CustomSched = unsafe { libc::malloc(size_of::<CustomSched>()) }.cast();
    if copy.is_null() {
        DECISION.store(UNDECIDED, Release);
        return Err(InstallError::NoMemory);
    }
    // SAFETY: just allocated, and not yet shared with another thread.
    unsafe { copy.write(sched) };
    INSTALLED.store(copy, Release);
    DECISION.store(DECIDED, Release);
    Ok(())
}

/// Returns the custom scheduler, if the program has installed one.
#[inline]
pub fn installed() -> Option<&'static CustomSched> {
    // SAFETY: NULL, or the pointer that `install` has stored, to a complete table that is never freed.
    unsafe { INSTALLED.load(Acquire).as_ref() }
}

/// Parks a task of the custom scheduler. Must only be created after [`installed`] has returned one.
pub struct CustomParker {
    task: *mut c_void,
    unparked: AtomicBool,
}

impl CustomParker {
    pub(super) fn new(sched: &CustomSched) -> CustomParker {
        // SAFETY: the program's function, called in accordance with mux.h.
        CustomParker { task: unsafe { (sched.task)() }, unparked: AtomicBool::new(false) }
    }
}

// SAFETY: park returns only when it has read `unparked` as true. Storing that value is unpark's last
// access to this memory; after the store it uses only the task, which belongs to the program.
unsafe impl Parker for CustomParker {
    unsafe fn park(this: *const CustomParker) {
        let Some(sched) = installed() else { return };
        // SAFETY: the parker is alive until this returns, and the task is the calling task.
        unsafe {
            while !(*this).unparked.load(Acquire) {
                (sched.park)((*this).task);
            }
        }
    }

    unsafe fn park_until(this: *const CustomParker, deadline: u64) -> bool {
        let Some(CustomSched { park_for: Some(park_for), .. }) = installed() else {
            // SAFETY: guaranteed by the caller.
            unsafe { CustomParker::park(this) };
            return true;
        };
        // SAFETY: the parker is alive until this returns, and the task is the calling task.
        unsafe {
            while !(*this).unparked.load(Acquire) {
                let now = clock::now();
                if now >= deadline {
                    return false;
                }
                // Rounded up. Otherwise the last millisecond would be a busy loop.
                let ms = (deadline - now).div_ceil(1_000_000);
                park_for((*this).task, c_int::try_from(ms).unwrap_or(c_int::MAX));
            }
        }
        true
    }

    unsafe fn unpark(this: *const CustomParker) {
        let Some(sched) = installed() else { return };
        // SAFETY: the parker is alive until the sleeper reads `unparked`; the task is copied before that.
        unsafe {
            let task = (*this).task;
            (*this).unparked.store(true, Release);
            (sched.unpark)(task);
        }
    }
}

/// Returns an error if the custom scheduler has no `park_for`, so that tasks cannot sleep until a deadline.
pub fn require_park_for(sched: &CustomSched) -> Result<(), SchedError> {
    sched.park_for.map(|_| ()).ok_or(SchedError(libc::EOPNOTSUPP))
}

/// Starts a task that runs `proc`.
///
/// # Safety
/// Calling `proc.main` with `proc.arg`, once, from another task must be sound.
pub unsafe fn start_task(sched: &CustomSched, proc: ProcMain) -> Result<(), SchedError> {
    let Some(start) = sched.start else {
        return Err(SchedError(libc::ENOSYS));
    };
    // SAFETY: the program's function, called in accordance with mux.h; the rest is guaranteed by the caller.
    if unsafe { start(proc.main, proc.arg) } < 0 {
        return Err(SchedError(libc::EAGAIN));
    }
    Ok(())
}
