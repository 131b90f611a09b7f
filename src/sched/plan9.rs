//! A plan9port program: callers are coroutines of libthread, and sleep by the program's own rsleep.
//!
//! The functions are the program's, found through weak references: a program without them links and
//! runs, and no file of plan9port is needed to build this library. They count only when all are
//! there and lib9's `_rsleep` pointer is set, which libthread's main does before it runs the
//! program's; lib9 alone leaves it nil.
//!
//! A parker is a QLock, a Rendez and a flag, of lib9's layout, on the sleeper's stack, all zero to
//! begin with. Waking takes the qlock, and may itself switch coroutines, so it is never done under
//! the state lock. The memory may go as soon as the sleeper has its qlock back: lib9's qunlock
//! makes the next owner ready as its last act.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::mem::MaybeUninit;

use super::alarm::{self, Alarm};
use super::{NotStarted, Parker, Proc};

/// The stack that a proc gets, in bytes, where libthread heeds it: the callbacks run on it.
const STACK: c_uint = 256 * 1024;

/// lib9's Lock.
#[repr(C)]
pub struct Lock {
    init: c_int,
    mutex: MaybeUninit<libc::pthread_mutex_t>,
    held: c_int,
}

/// lib9's QLock.
#[repr(C)]
pub struct QLock {
    lock: Lock,
    owner: *mut c_void,
    waiting: [*mut c_void; 2],
}

/// lib9's Rendez.
#[repr(C)]
pub struct Rendez {
    lock: *mut QLock,
    waiting: [*mut c_void; 2],
}

type WerrstrFn = unsafe extern "C" fn(*const c_char, ...);

/// The program's functions, in the order of the table below; nil for one that it does not have.
#[repr(C)]
struct Table {
    qlock: Option<unsafe extern "C" fn(*mut QLock)>,
    qunlock: Option<unsafe extern "C" fn(*mut QLock)>,
    rsleep: Option<unsafe extern "C" fn(*mut Rendez)>,
    rwakeup: Option<unsafe extern "C" fn(*mut Rendez) -> c_int>,
    proccreate: Option<
        unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void), *mut c_void, c_uint) -> c_int,
    >,
    werrstr: Option<WerrstrFn>,
    rsleep_pointer: Option<std::ptr::NonNull<*const c_void>>,
    threadproc: Option<unsafe extern "C" fn() -> *mut c_void>,
    threadsetsysproc: Option<unsafe extern "C" fn()>,
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
macro_rules! word {
    () => {
        ".quad "
    };
}
#[cfg(all(target_os = "linux", target_pointer_width = "32"))]
macro_rules! word {
    () => {
        ".long "
    };
}

// The table's name is in the form of a mangled one of this crate, so that a C program has nothing
// to clash with.
#[cfg(target_os = "linux")]
std::arch::global_asm!(
    ".weak qlock",
    ".weak qunlock",
    ".weak rsleep",
    ".weak rwakeup",
    ".weak proccreate",
    ".weak werrstr",
    ".weak _rsleep",
    ".weak _threadproc",
    ".weak _threadsetsysproc",
    ".pushsection .data.rel.ro.mux_plan9,\"aw\",%progbits",
    ".balign 8",
    ".globl _ZN3mux5sched5plan95TABLEE",
    ".hidden _ZN3mux5sched5plan95TABLEE",
    ".type _ZN3mux5sched5plan95TABLEE,%object",
    "_ZN3mux5sched5plan95TABLEE:",
    concat!(word!(), "qlock"),
    concat!(word!(), "qunlock"),
    concat!(word!(), "rsleep"),
    concat!(word!(), "rwakeup"),
    concat!(word!(), "proccreate"),
    concat!(word!(), "werrstr"),
    concat!(word!(), "_rsleep"),
    concat!(word!(), "_threadproc"),
    concat!(word!(), "_threadsetsysproc"),
    ".size _ZN3mux5sched5plan95TABLEE, .-_ZN3mux5sched5plan95TABLEE",
    ".popsection",
);

#[cfg(target_os = "linux")]
unsafe extern "C" {
    #[link_name = "_ZN3mux5sched5plan95TABLEE"]
    safe static TABLE: Table;
}

#[cfg(not(target_os = "linux"))]
static TABLE: Table = Table {
    qlock: None,
    qunlock: None,
    rsleep: None,
    rwakeup: None,
    proccreate: None,
    werrstr: None,
    rsleep_pointer: None,
    threadproc: None,
    threadsetsysproc: None,
};

// SAFETY: the table is constant, and the functions in it are for any thread.
unsafe impl Sync for Table {}

/// Who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A thread of a program without libthread.
    Thread,
    /// A coroutine of libthread.
    Coroutine,
    /// A thread that libthread did not make, in a program that has it: it can neither sleep as a
    /// coroutine nor wake one.
    Stranger,
}

/// Finds out who is calling.
#[inline]
pub fn caller() -> Caller {
    match TABLE.rsleep_pointer {
        None => Caller::Thread,
        Some(pointer) => caller_with(pointer),
    }
}

#[cold]
fn caller_with(rsleep_pointer: std::ptr::NonNull<*const c_void>) -> Caller {
    // SAFETY: it is the address of lib9's variable `_rsleep`, which libthread sets once, before the
    // program's own code runs.
    if unsafe { rsleep_pointer.as_ptr().read_volatile() }.is_null() {
        return Caller::Thread;
    }
    let Table { qlock: Some(_), qunlock: Some(_), rsleep: Some(_), rwakeup: Some(_), .. } = TABLE
    else {
        return Caller::Thread;
    };
    match TABLE.threadproc {
        // SAFETY: libthread's function, which takes nothing and answers the caller's proc.
        Some(threadproc) if unsafe { threadproc() }.is_null() => Caller::Stranger,
        _ => Caller::Coroutine,
    }
}

/// Sleeps a coroutine. Only to be made when [`caller`] says that it is one.
pub struct Bunk(UnsafeCell<Rest>);

pub(super) struct Rest {
    lock: QLock,
    rendez: Rendez,
    called: bool,
    /// Its alarm has rung.
    rung: bool,
}

impl Rest {
    /// Sleeps until the one or the other is so; answers whether it has been called.
    ///
    /// # Safety
    /// `rest` is alive until this returns; the caller is a coroutine.
    unsafe fn sleep(rest: *mut Rest, done: impl Fn(bool, bool) -> bool) -> bool {
        let (Some(qlock), Some(qunlock), Some(rsleep)) = (TABLE.qlock, TABLE.qunlock, TABLE.rsleep)
        else {
            return true;
        };
        // SAFETY: the rest is alive and in its place until this returns; the caller is a coroutine
        // of the program's libthread, whose functions these are.
        unsafe {
            let lock = &raw mut (*rest).lock;
            qlock(lock);
            (*rest).rendez.lock = lock;
            while !done((&raw const (*rest).called).read(), (&raw const (*rest).rung).read()) {
                rsleep(&raw mut (*rest).rendez);
            }
            let called = (&raw const (*rest).called).read();
            qunlock(lock);
            called
        }
    }

    /// Sets a flag, and wakes the sleeper.
    ///
    /// # Safety
    /// `rest` is alive until the sleeper has found the flag and has the qlock, which it gets from the
    /// qunlock here.
    unsafe fn wake(rest: *mut Rest, flag: *mut bool) {
        let (Some(qlock), Some(qunlock), Some(rwakeup)) =
            (TABLE.qlock, TABLE.qunlock, TABLE.rwakeup)
        else {
            return;
        };
        // SAFETY: the caller's promise.
        unsafe {
            let lock = &raw mut (*rest).lock;
            qlock(lock);
            // Not when it is there: a sleeper whom the other waker has woken reads it in rsleep, before
            // it has the qlock again.
            if (*rest).rendez.lock.is_null() {
                (*rest).rendez.lock = lock;
            }
            flag.write(true);
            rwakeup(&raw mut (*rest).rendez);
            qunlock(lock);
        }
    }

    /// Its time has come.
    ///
    /// # Safety
    /// The sleeper waits for this before it leaves.
    pub(super) unsafe fn ring(rest: *mut Rest) {
        // SAFETY: the caller's promise; only an address is made.
        unsafe { Rest::wake(rest, &raw mut (*rest).rung) }
    }
}

impl Bunk {
    pub(super) fn new() -> Bunk {
        let nil = std::ptr::null_mut();
        let lock = Lock { init: 0, mutex: MaybeUninit::zeroed(), held: 0 };
        Bunk(UnsafeCell::new(Rest {
            lock: QLock { lock, owner: nil, waiting: [nil; 2] },
            rendez: Rendez { lock: nil.cast(), waiting: [nil; 2] },
            called: false,
            rung: false,
        }))
    }
}

// SAFETY: the flags are read and written under the qlock, which makes them visible; park returns only
// when it has found its own set and has had the qlock back from unpark, whose last use of it that is.
unsafe impl Parker for Bunk {
    unsafe fn park(this: *const Bunk) {
        // SAFETY: the caller keeps it alive until this returns.
        unsafe { Rest::sleep((*this).0.get(), |called, _| called) };
    }

    unsafe fn park_until(this: *const Bunk, deadline: u64) -> bool {
        // SAFETY: the caller keeps it alive until this returns, and this does not before the alarm is
        // off the list, or has rung.
        unsafe {
            let rest = (*this).0.get();
            let mut alarm = Alarm::new(deadline, rest);
            alarm::set(&raw mut alarm);
            let mut called = Rest::sleep(rest, |called, rung| called || rung);
            if !alarm::unset(&raw mut alarm) {
                called = Rest::sleep(rest, |_, rung| rung);
                (*rest).rung = false;
            }
            called
        }
    }

    unsafe fn unpark(this: *const Bunk) {
        // SAFETY: the rest is alive until the sleeper has found `called` and has the qlock.
        unsafe {
            let rest = (*this).0.get();
            Rest::wake(rest, &raw mut (*rest).called);
        }
    }
}

/// Starts a proc of libthread's.
///
/// # Safety
/// `proc.main` may be called with `proc.arg`, once, from another thread.
pub unsafe fn start(proc: Proc) -> Result<(), NotStarted> {
    let Some(proccreate) = TABLE.proccreate else {
        return Err(NotStarted(libc::ENOSYS));
    };
    // SAFETY: libthread's function; the caller's promise. It answers the thread's id, or less than 0.
    if unsafe { proccreate(proc.main, proc.arg, STACK) } < 0 {
        return Err(NotStarted(libc::EAGAIN));
    }
    Ok(())
}

/// The calling proc, one of libthread's, is not among those that keep the program from its end.
pub fn set_sysproc() {
    if let Some(threadsetsysproc) = TABLE.threadsetsysproc {
        // SAFETY: libthread's function, which takes nothing, called by a proc of its own.
        unsafe { threadsetsysproc() };
    }
}

/// lib9's werrstr, where the program has it: sets the error string by a printf-like format.
pub fn werrstr() -> Option<WerrstrFn> {
    TABLE.werrstr
}
