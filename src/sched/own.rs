//! A program's own scheduler: a table of functions that it hands in before it makes its first Mux.
//!
//! Its functions are trusted to do what mux.h says, with one exception that is easily got wrong: a
//! park that returns too early only sleeps again.

use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8};

use super::{NotStarted, Parker, Proc, clock};

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
pub struct Table {
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
static TABLE: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());

const FRESH: u8 = 0;
const CHOOSING: u8 = 1;
const CHOSEN: u8 = 2;
/// Whether the scheduler may still be chosen.
static CHOICE: AtomicU8 = AtomicU8::new(FRESH);

/// From now on no scheduler can be handed in: somebody is about to use the one there is.
#[inline]
pub fn close() {
    if CHOICE.load(Relaxed) != CHOSEN {
        CHOICE.store(CHOSEN, Relaxed);
    }
}

/// Why a table was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
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
pub unsafe fn install(table: Table) -> Result<(), Refused> {
    if CHOICE.compare_exchange(FRESH, CHOOSING, Acquire, Relaxed).is_err() {
        return Err(Refused::TooLate);
    }
    // SAFETY: plain allocation of what is written to it.
    let kept: *mut Table = unsafe { libc::malloc(size_of::<Table>()) }.cast();
    if kept.is_null() {
        CHOICE.store(FRESH, Release);
        return Err(Refused::NoMemory);
    }
    // SAFETY: just allocated, and nobody else's yet.
    unsafe { kept.write(table) };
    TABLE.store(kept, Release);
    CHOICE.store(CHOSEN, Release);
    Ok(())
}

/// The program's table, if it has handed one in.
#[inline]
pub fn table() -> Option<&'static Table> {
    // SAFETY: nil, or what `install` has stored, which is whole and stays.
    unsafe { TABLE.load(Acquire).as_ref() }
}

/// Sleeps a task. Only to be made where there is a [`table`].
pub struct Bunk {
    task: *mut c_void,
    called: AtomicBool,
}

impl Bunk {
    pub(super) fn new(table: &Table) -> Bunk {
        // SAFETY: the program's function, called as mux.h says.
        Bunk { task: unsafe { (table.task)() }, called: AtomicBool::new(false) }
    }
}

// SAFETY: park returns only when it has found `called`, which unpark writes after its last use of the
// memory: from then on it knows the task alone, and that is the program's.
unsafe impl Parker for Bunk {
    unsafe fn park(this: *const Bunk) {
        let Some(table) = table() else { return };
        // SAFETY: alive until this returns; the task is the calling one.
        unsafe {
            while !(*this).called.load(Acquire) {
                (table.park)((*this).task);
            }
        }
    }

    unsafe fn park_until(this: *const Bunk, deadline: u64) -> bool {
        let Some(Table { park_for: Some(park_for), .. }) = table() else {
            // SAFETY: the caller's promise, passed on.
            unsafe { Bunk::park(this) };
            return true;
        };
        // SAFETY: alive until this returns; the task is the calling one.
        unsafe {
            while !(*this).called.load(Acquire) {
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

    unsafe fn unpark(this: *const Bunk) {
        let Some(table) = table() else { return };
        // SAFETY: alive until `called` is seen; the task is taken out before.
        unsafe {
            let task = (*this).task;
            (*this).called.store(true, Release);
            (table.unpark)(task);
        }
    }
}

/// Whether tasks can sleep until some time.
pub fn has_clock(table: &Table) -> Result<(), NotStarted> {
    table.park_for.map(|_| ()).ok_or(NotStarted(libc::EOPNOTSUPP))
}

/// Starts a task.
///
/// # Safety
/// `proc.main` may be called with `proc.arg`, once, from another task.
pub unsafe fn start(table: &Table, proc: Proc) -> Result<(), NotStarted> {
    let Some(start) = table.start else {
        return Err(NotStarted(libc::ENOSYS));
    };
    // SAFETY: the program's function, called as mux.h says; the caller's promise.
    if unsafe { start(proc.main, proc.arg) } < 0 {
        return Err(NotStarted(libc::EAGAIN));
    }
    Ok(())
}
