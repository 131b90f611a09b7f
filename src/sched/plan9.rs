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

use super::timer::{self, Timer};
use super::{Parker, ProcMain, SchedError};

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
struct Lib9 {
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

#[cfg(target_pointer_width = "64")]
macro_rules! word {
    () => {
        ".quad "
    };
}
#[cfg(target_pointer_width = "32")]
macro_rules! word {
    () => {
        ".long "
    };
}

/// Emits the table: a weak reference to each function, then the section's lines with `label`, then an
/// address for each function, then the closing lines. `weak` is the assembler's directive for such a
/// reference, and `prefix` what the system puts before a C name.
macro_rules! table {
    ($weak:literal, $prefix:literal, [$($name:literal)*], [$($before:literal)*], [$($after:literal)*]) => {
        std::arch::global_asm!(
            $(concat!($weak, " ", $prefix, $name),)*
            $($before,)*
            $(concat!(word!(), $prefix, $name),)*
            $($after,)*
        );
    };
    ($weak:literal, $prefix:literal, $before:tt, $after:tt) => {
        table!(
            $weak,
            $prefix,
            ["qlock" "qunlock" "rsleep" "rwakeup" "proccreate" "werrstr" "_rsleep" "_threadproc" "_threadsetsysproc"],
            $before,
            $after
        );
    };
}

// The table's name is in the form of a mangled one of this crate, so that it cannot clash with a name
// of a C program. ELF has weak references, which are NULL where no file defines the name.
#[cfg(not(target_vendor = "apple"))]
table!(
    ".weak",
    "",
    [
        ".pushsection .data.rel.ro.mux_plan9,\"aw\",%progbits"
        ".balign 8"
        ".globl _ZN3mux5sched5plan94LIB9E"
        ".hidden _ZN3mux5sched5plan94LIB9E"
        ".type _ZN3mux5sched5plan94LIB9E,%object"
        "_ZN3mux5sched5plan94LIB9E:"
    ],
    [
        ".size _ZN3mux5sched5plan94LIB9E, .-_ZN3mux5sched5plan94LIB9E"
        ".popsection"
    ]
);

// Mach-O puts an underscore before each C name. Its linker must be asked to leave a weak reference
// undefined where no file defines the name: -Wl,-U,_qlock and so on (docs/platforms.md).
#[cfg(target_vendor = "apple")]
table!(
    ".weak_reference",
    "_",
    [
        ".pushsection __DATA,__const"
        ".p2align 3"
        ".globl __ZN3mux5sched5plan94LIB9E"
        ".private_extern __ZN3mux5sched5plan94LIB9E"
        "__ZN3mux5sched5plan94LIB9E:"
    ],
    [".popsection"]
);

unsafe extern "C" {
    #[link_name = "_ZN3mux5sched5plan94LIB9E"]
    safe static LIB9: Lib9;
}

// SAFETY: the table is constant, and the functions in it are for any thread.
unsafe impl Sync for Lib9 {}

/// Who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A thread of a program without libthread.
    Thread,
    /// A coroutine of libthread.
    Coroutine,
    /// A thread that libthread did not make, in a program that has it: it can neither sleep as a
    /// coroutine nor wake one.
    ForeignThread,
}

/// Finds out who is calling.
#[inline]
pub fn caller() -> Caller {
    match LIB9.rsleep_pointer {
        None => Caller::Thread,
        Some(pointer) => caller_with_lib9(pointer),
    }
}

#[cold]
fn caller_with_lib9(rsleep_pointer: std::ptr::NonNull<*const c_void>) -> Caller {
    // SAFETY: it is the address of lib9's variable `_rsleep`, which libthread sets once, before the
    // program's own code runs.
    if unsafe { rsleep_pointer.as_ptr().read_volatile() }.is_null() {
        return Caller::Thread;
    }
    let Lib9 { qlock: Some(_), qunlock: Some(_), rsleep: Some(_), rwakeup: Some(_), .. } = LIB9
    else {
        return Caller::Thread;
    };
    match LIB9.threadproc {
        // SAFETY: libthread's function, which takes nothing and answers the caller's proc.
        Some(threadproc) if unsafe { threadproc() }.is_null() => Caller::ForeignThread,
        _ => Caller::Coroutine,
    }
}

/// Sleeps a coroutine. Only to be made when [`caller`] says that it is one.
pub struct CoroutineParker(UnsafeCell<RendezState>);

pub(super) struct RendezState {
    lock: QLock,
    rendez: Rendez,
    unparked: bool,
    /// Its alarm has rung.
    timer_fired: bool,
}

impl RendezState {
    /// Sleeps until the one or the other is so; answers whether it has been called.
    ///
    /// # Safety
    /// `state` is alive until this returns; the caller is a coroutine.
    unsafe fn sleep(state: *mut RendezState, done: impl Fn(bool, bool) -> bool) -> bool {
        let (Some(qlock), Some(qunlock), Some(rsleep)) = (LIB9.qlock, LIB9.qunlock, LIB9.rsleep)
        else {
            return true;
        };
        // SAFETY: the rest is alive and in its place until this returns; the caller is a coroutine
        // of the program's libthread, whose functions these are.
        unsafe {
            let lock = &raw mut (*state).lock;
            qlock(lock);
            (*state).rendez.lock = lock;
            while !done(
                (&raw const (*state).unparked).read(),
                (&raw const (*state).timer_fired).read(),
            ) {
                rsleep(&raw mut (*state).rendez);
            }
            let unparked = (&raw const (*state).unparked).read();
            qunlock(lock);
            unparked
        }
    }

    /// Sets a flag, and wakes the sleeper.
    ///
    /// # Safety
    /// `state` is alive until the sleeper has found the flag and has the qlock, which it gets from the
    /// qunlock here.
    unsafe fn wake(state: *mut RendezState, flag: *mut bool) {
        let (Some(qlock), Some(qunlock), Some(rwakeup)) = (LIB9.qlock, LIB9.qunlock, LIB9.rwakeup)
        else {
            return;
        };
        // SAFETY: the caller's promise.
        unsafe {
            let lock = &raw mut (*state).lock;
            qlock(lock);
            // Not when it is there: a sleeper whom the other waker has woken reads it in rsleep, before
            // it has the qlock again.
            if (*state).rendez.lock.is_null() {
                (*state).rendez.lock = lock;
            }
            flag.write(true);
            rwakeup(&raw mut (*state).rendez);
            qunlock(lock);
        }
    }

    /// Its time has come.
    ///
    /// # Safety
    /// The sleeper waits for this before it leaves.
    pub(super) unsafe fn fire(state: *mut RendezState) {
        // SAFETY: the caller's promise; only an address is made.
        unsafe { RendezState::wake(state, &raw mut (*state).timer_fired) }
    }
}

impl CoroutineParker {
    pub(super) fn new() -> CoroutineParker {
        let nil = std::ptr::null_mut();
        let lock = Lock { init: 0, mutex: MaybeUninit::zeroed(), held: 0 };
        CoroutineParker(UnsafeCell::new(RendezState {
            lock: QLock { lock, owner: nil, waiting: [nil; 2] },
            rendez: Rendez { lock: nil.cast(), waiting: [nil; 2] },
            unparked: false,
            timer_fired: false,
        }))
    }
}

// SAFETY: the flags are read and written under the qlock, which makes them visible; park returns only
// when it has found its own set and has had the qlock back from unpark, whose last use of it that is.
unsafe impl Parker for CoroutineParker {
    unsafe fn park(this: *const CoroutineParker) {
        // SAFETY: the caller keeps it alive until this returns.
        unsafe { RendezState::sleep((*this).0.get(), |unparked, _| unparked) };
    }

    unsafe fn park_until(this: *const CoroutineParker, deadline: u64) -> bool {
        // SAFETY: the caller keeps it alive until this returns, and this does not before the alarm is
        // off the list, or has rung.
        unsafe {
            let state = (*this).0.get();
            let mut timer = Timer::new(deadline, state);
            timer::arm(&raw mut timer);
            let mut unparked =
                RendezState::sleep(state, |unparked, timer_fired| unparked || timer_fired);
            if !timer::disarm(&raw mut timer) {
                unparked = RendezState::sleep(state, |_, timer_fired| timer_fired);
                (*state).timer_fired = false;
            }
            unparked
        }
    }

    unsafe fn unpark(this: *const CoroutineParker) {
        // SAFETY: the rest is alive until the sleeper has found `unparked` and has the qlock.
        unsafe {
            let state = (*this).0.get();
            RendezState::wake(state, &raw mut (*state).unparked);
        }
    }
}

/// Starts a proc of libthread's.
///
/// # Safety
/// `proc.main` may be called with `proc.arg`, once, from another thread.
pub unsafe fn start_proc(proc: ProcMain) -> Result<(), SchedError> {
    let Some(proccreate) = LIB9.proccreate else {
        return Err(SchedError(libc::ENOSYS));
    };
    // SAFETY: libthread's function; the caller's promise. It answers the thread's id, or less than 0.
    if unsafe { proccreate(proc.main, proc.arg, STACK) } < 0 {
        return Err(SchedError(libc::EAGAIN));
    }
    Ok(())
}

/// The calling proc, one of libthread's, is not among those that keep the program from its end.
pub fn set_sysproc() {
    if let Some(threadsetsysproc) = LIB9.threadsetsysproc {
        // SAFETY: libthread's function, which takes nothing, called by a proc of its own.
        unsafe { threadsetsysproc() };
    }
}

/// lib9's werrstr, where the program has it: sets the error string by a printf-like format.
pub fn werrstr() -> Option<WerrstrFn> {
    LIB9.werrstr
}
