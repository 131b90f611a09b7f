//! A scheduler of the program: Muxsched and muxsetsched.

use std::ffi::{c_int, c_uint, c_void};
use std::mem::offset_of;

use super::entry::guard;
use super::errors;
use crate::rpc::Error;
use crate::sched::custom;

/// A scheduler of the program, for muxsetsched: functions by which its tasks sleep and wake.
///
/// Lifetime: muxsetsched copies the table. The functions must stay valid until the program
/// ends.
///
/// Threads: park, parkfor and task are called on the calling task only; unpark may be called
/// from any task. task is called with a lock of the library held, and must not switch tasks.
/// While a task is inside the library, tasks must be switched only in park, parkfor and the
/// callbacks of a Mux; in particular, a signal handler must not switch tasks.
#[repr(C)]
pub struct Muxsched {
    /// sizeof(Muxsched), set by the program.
    pub size: c_uint,
    /// Returns the calling task, in the form in which the other functions receive it.
    pub task: Option<unsafe extern "C" fn() -> *mut c_void>,
    /// Puts the calling task to sleep until unpark is called for it. Returns at once if unpark
    /// has been called since the task last slept. May return early.
    pub park: Option<unsafe extern "C" fn(task: *mut c_void)>,
    /// Wakes a task, now or when it next sleeps. The task may have resumed by itself, and may
    /// even have ended: what task has returned must stay valid for this call.
    pub unpark: Option<unsafe extern "C" fn(task: *mut c_void)>,
    /// Starts a task that calls body(arg). Returns a negative value if it cannot. If start is
    /// NULL, muxprocs fails with ENOSYS.
    pub start: Option<
        unsafe extern "C" fn(body: unsafe extern "C" fn(*mut c_void), arg: *mut c_void) -> c_int,
    >,
    /// As park, but sleeps for at most ms milliseconds. The return value is ignored. If parkfor
    /// is NULL, muxrpctimeout fails with EOPNOTSUPP.
    pub parkfor: Option<unsafe extern "C" fn(task: *mut c_void, ms: c_int) -> c_int>,
}

/// Installs a scheduler of the program, by which the callers of every Mux sleep and wake,
/// instead of the threads of the system or of libthread.
///
/// Must be called at most once, before the first muxinit. The table is copied. Returns 0.
/// Returns -1 on error and sets errno.
///
/// errno on failure:
/// - EINVAL: sched is NULL, its size is too small, or task, park or unpark is NULL.
/// - EBUSY: muxinit or muxsetsched has been called before.
/// - ENOMEM: no memory for the copy.
///
/// # Safety
/// `sched` is NULL or points to as many bytes as its size says; its functions are as described
/// there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxsetsched(sched: *mut Muxsched) -> c_int {
    guard(-1, || {
        // SAFETY: the caller's promise, passed on.
        let Some(table) = (unsafe { table(sched) }) else {
            errors::set_invalid();
            return -1;
        };
        // SAFETY: the caller's promise, passed on.
        match unsafe { custom::install(table) } {
            Ok(()) => 0,
            Err(custom::InstallError::TooLate) => {
                errors::set_too_late();
                -1
            }
            Err(custom::InstallError::NoMemory) => {
                errors::set_error(Error::NoMemory);
                -1
            }
        }
    })
}

/// Returns the table in `sched` if it is usable.
///
/// # Safety
/// As for [`muxsetsched`].
unsafe fn table(sched: *mut Muxsched) -> Option<custom::CustomSched> {
    // SAFETY: the caller's promise: the first field is present and set.
    let size = unsafe { sched.as_ref()?.size } as usize;
    if size < offset_of!(Muxsched, start) {
        return None;
    }
    let mut fields =
        Muxsched { size: 0, task: None, park: None, unpark: None, start: None, parkfor: None };
    // SAFETY: copies at most as many bytes as either side has; both have the same fields.
    unsafe {
        // Whole fields only.
        let length = (size - size % size_of::<usize>()).min(size_of::<Muxsched>());
        sched.cast::<u8>().copy_to_nonoverlapping((&raw mut fields).cast(), length);
    }
    Some(custom::CustomSched {
        task: fields.task?,
        park: fields.park?,
        unpark: fields.unpark?,
        start: fields.start,
        park_for: fields.parkfor,
    })
}
