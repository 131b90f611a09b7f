//! A scheduler of the program's own: Muxsched and muxsetsched.

use std::ffi::{c_int, c_uint, c_void};
use std::mem::offset_of;

use super::entry::guard;
use super::errors;
use crate::rpc::Error;
use crate::sched::custom;

/// A program's own scheduler, for muxsetsched: how its tasks sleep and wake. The caller sets size to
/// sizeof(Muxsched). park, parkfor and task are called by the task that they are about, unpark by any.
/// task is called with a lock of the library's held: it may not switch tasks, and has no reason to. Nor may a
/// signal handler, while a task is inside the library: tasks switch in park, parkfor and the program's functions.
#[repr(C)]
pub struct Muxsched {
    /// sizeof(Muxsched), set by the caller.
    pub size: c_uint,
    /// The calling task, as the others get it.
    pub task: Option<unsafe extern "C" fn() -> *mut c_void>,
    /// Sleeps the calling task until unpark is called for it; returns at once if that has happened since
    /// it last slept. Returning too early does no harm.
    pub park: Option<unsafe extern "C" fn(task: *mut c_void)>,
    /// Wakes a task, now or when it next sleeps. It may have gone on by itself just then, and even have
    /// ended: what task answered stays good for this call.
    pub unpark: Option<unsafe extern "C" fn(task: *mut c_void)>,
    /// Starts a task that runs body(arg); less than 0 when it can not. nil: muxprocs fails with ENOSYS.
    pub start: Option<
        unsafe extern "C" fn(body: unsafe extern "C" fn(*mut c_void), arg: *mut c_void) -> c_int,
    >,
    /// As park, but for ms milliseconds at most; what it answers is not looked at. nil: muxrpctimeout
    /// fails with EOPNOTSUPP.
    pub parkfor: Option<unsafe extern "C" fn(task: *mut c_void, ms: c_int) -> c_int>,
}

/// Has the program's own scheduler, rather than the system's threads or libthread, sleep and wake the
/// callers of every Mux. To be called once, before the first muxinit; the table is copied. Answers 0, or -1
/// on error, errno: EINVAL, sched is nil, its size is too small or task, park or unpark is nil; EBUSY,
/// it comes too late; ENOMEM.
///
/// # Safety
/// `sched` is nil or points to as many bytes as its size says; its functions do what is said there.
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

/// The table in `sched`, if it is one that can be used.
///
/// # Safety
/// As for [`muxsetsched`].
unsafe fn table(sched: *mut Muxsched) -> Option<custom::CustomSched> {
    // SAFETY: the caller's promise: there is room for the first field, and it is set.
    let size = unsafe { sched.as_ref()?.size } as usize;
    if size < offset_of!(Muxsched, start) {
        return None;
    }
    let mut fields =
        Muxsched { size: 0, task: None, park: None, unpark: None, start: None, parkfor: None };
    // SAFETY: no more bytes than either side has; what is a pointer to a function there is one here.
    unsafe {
        // Whole fields alone.
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
