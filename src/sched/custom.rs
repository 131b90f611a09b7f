//! A program's own scheduler: a table of functions that it hands in before it makes its first Mux.
//!
//! Its functions are trusted to do what mux.h says, with one exception that is easily got wrong: a
//! park that returns too early only sleeps again.

use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8};

use super::{Parker, ProcMain, SchedError, clock};

/// The calling task.
pub type TaskFn = unsafe extern "C" fn() -> *mut c_void;
/// Sleeps the calling task, or wakes another.
pub type ParkFn = unsafe extern "C" fn(task: *mut c_void);
/// Sleeps the calling task for so many milliseconds at most.
pub type ParkForFn = unsafe extern "C" fn(task: *mut c_void, ms: c_int) -> c_int;
/// Starts a task.
pub type StartFn =
    unsafe extern "C" fn(main: unsafe extern "C" fn(*mut c_void), arg: *mut c_void) -> c_int;

/// The functions of a program's own scheduler.
#[derive(Clone, Copy, Debug)]
pub struct CustomSched {
    /// The calling task.
    pub task: TaskFn,
    /// Sleeps it.
    pub park: ParkFn,
    /// Wakes one.
    pub unpark: ParkFn,
    /// Starts one; a program that starts no procs does without.
    pub start: Option<StartFn>,
    /// Sleeps one for so long at most; a program without deadlines does without.
    pub park_for: Option<ParkForFn>,
}

/// The program's table, from [`install`] on; never freed, since a caller may be looking.
// An atomic static that is stored in one place and loaded in another must be `#[used]`. LLVM 19 (Rust
// 1.85) reduces such a static to a flag, and then crashes on the atomic load of one bit.
#[used]
static INSTALLED: AtomicPtr<CustomSched> = AtomicPtr::new(std::ptr::null_mut());

const UNDECIDED: u8 = 0;
const INSTALLING: u8 = 1;
const DECIDED: u8 = 2;
/// Whether the scheduler may still be chosen.
static DECISION: AtomicU8 = AtomicU8::new(UNDECIDED);

/// From now on no scheduler can be handed in: somebody is about to use the one there is.
#[inline]
pub fn forbid_install() {
    if DECISION.load(Relaxed) != DECIDED {
        DECISION.store(DECIDED, Relaxed);
    }
}

/// Why a table was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallError {
    /// There is a scheduler in use, or another table.
    TooLate,
    /// No memory to keep it.
    NoMemory,
}

/// Takes a program's table.
///
/// # Errors
/// Why it was not taken.
///
/// # Safety
/// The functions keep to mux.h, for the rest of the program's life.
pub unsafe fn install(sched: CustomSched) -> Result<(), InstallError> {
    if DECISION.compare_exchange(UNDECIDED, INSTALLING, Acquire, Relaxed).is_err() {
        return Err(InstallError::TooLate);
    }
    // SAFETY: plain allocation of what is written to it.
    let copy: *mut CustomSched = unsafe { libc::malloc(size_of::<CustomSched>()) }.cast();
    if copy.is_null() {
        DECISION.store(UNDECIDED, Release);
        return Err(InstallError::NoMemory);
    }
    // SAFETY: just allocated, and nobody else's yet.
    unsafe { copy.write(sched) };
    INSTALLED.store(copy, Release);
    DECISION.store(DECIDED, Release);
    Ok(())
}

/// The program's table, if it has handed one in.
#[inline]
pub fn installed() -> Option<&'static CustomSched> {
    // SAFETY: nil, or what `install` has stored, which is whole and stays.
    unsafe { INSTALLED.load(Acquire).as_ref() }
}

/// Sleeps a task. Only to be made where [`installed`] returns one.
pub struct CustomParker {
    task: *mut c_void,
    unparked: AtomicBool,
}

impl CustomParker {
    pub(super) fn new(sched: &CustomSched) -> CustomParker {
        // SAFETY: the program's function, called as mux.h says.
        CustomParker { task: unsafe { (sched.task)() }, unparked: AtomicBool::new(false) }
    }
}

// SAFETY: park returns only when it has found `unparked`, which unpark writes after its last use of the
// memory: from then on it knows the task alone, and that is the program's.
unsafe impl Parker for CustomParker {
    unsafe fn park(this: *const CustomParker) {
        let Some(sched) = installed() else { return };
        // SAFETY: alive until this returns; the task is the calling one.
        unsafe {
            while !(*this).unparked.load(Acquire) {
                (sched.park)((*this).task);
            }
        }
    }

    unsafe fn park_until(this: *const CustomParker, deadline: u64) -> bool {
        let Some(CustomSched { park_for: Some(park_for), .. }) = installed() else {
            // SAFETY: the caller's promise, passed on.
            unsafe { CustomParker::park(this) };
            return true;
        };
        // SAFETY: alive until this returns; the task is the calling one.
        unsafe {
            while !(*this).unparked.load(Acquire) {
                let now = clock::now();
                if now >= deadline {
                    return false;
                }
                // Rounded up, so as not to spin through the last millisecond.
                let ms = (deadline - now).div_ceil(1_000_000);
                park_for((*this).task, c_int::try_from(ms).unwrap_or(c_int::MAX));
            }
        }
        true
    }

    unsafe fn unpark(this: *const CustomParker) {
        let Some(sched) = installed() else { return };
        // SAFETY: alive until `unparked` is seen; the task is taken out before.
        unsafe {
            let task = (*this).task;
            (*this).unparked.store(true, Release);
            (sched.unpark)(task);
        }
    }
}

/// Whether tasks can sleep until some time.
pub fn require_park_for(sched: &CustomSched) -> Result<(), SchedError> {
    sched.park_for.map(|_| ()).ok_or(SchedError(libc::EOPNOTSUPP))
}

/// Starts a task.
///
/// # Safety
/// `proc.main` may be called with `proc.arg`, once, from another task.
pub unsafe fn start_task(sched: &CustomSched, proc: ProcMain) -> Result<(), SchedError> {
    let Some(start) = sched.start else {
        return Err(SchedError(libc::ENOSYS));
    };
    // SAFETY: the program's function, called as mux.h says; the caller's promise.
    if unsafe { start(proc.main, proc.arg) } < 0 {
        return Err(SchedError(libc::EAGAIN));
    }
    Ok(())
}
