//! The scheduler of a plan9port program: callers are coroutines of libthread, and sleep by the program's own
//! rsleep.
//!
//! The functions belong to the program and are found through weak references. A program without them links and
//! runs, and no file of plan9port is needed to build this library. They are used only if all of them are present
//! and lib9's `_rsleep` pointer is set. libthread's main sets it before it runs the program's main; without
//! libthread it stays nil.
//!
//! A parker consists of a QLock, a Rendez and two flags, in lib9's layout, on the sleeper's stack, and is
//! initially zero. Waking acquires the qlock and may itself switch coroutines, so it never happens under the
//! state lock. The memory may be freed as soon as the sleeper has reacquired the qlock: making the next owner
//! ready is the last thing that lib9's qunlock does.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::mem::MaybeUninit;

use super::timer::{self, Timer};
use super::{Parker, ProcMain, SchedError};

/// Stack size of a proc in bytes, for versions of libthread that use it. The callbacks run on this stack.
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

/// The program's functions, in the order of the table below; `None` for a function that it does not have.
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

/// Emits the table: a weak reference to each function, then the lines `before`, which open the section and
/// define the label, then the address of each function, then the lines `after`. `weak` is the assembler's
/// directive for a weak reference, and `prefix` is what the system puts before a C name.
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

// The table's name has the form of a mangled name of this crate, so that it cannot clash with a name of a C
// program. In ELF a weak reference is NULL if no file defines the name.
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

// Mach-O puts an underscore before each C name. Its linker needs an option for each weak reference that may
// stay undefined: -Wl,-U,_qlock and so on (docs/platforms.md).
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

// SAFETY: the table is constant, and any thread may call the functions in it.
unsafe impl Sync for Lib9 {}

/// The kind of the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A thread of a program without libthread.
    Thread,
    /// A coroutine of libthread.
    Coroutine,
    /// In a program with libthread, a thread that libthread did not create. It can neither sleep as a
    /// coroutine nor wake one.
    ForeignThread,
}

/// Returns the kind of the calling thread.
#[inline]
pub fn caller() -> Caller {
    match LIB9.rsleep_pointer {
        None => Caller::Thread,
        Some(pointer) => caller_with_lib9(pointer),
    }
}

#[cold]
fn caller_with_lib9(rsleep_pointer: std::ptr::NonNull<*const c_void>) -> Caller {
    // SAFETY: the address of lib9's variable `_rsleep`, which libthread sets once, before the program's own
    // code runs.
    if unsafe { rsleep_pointer.as_ptr().read_volatile() }.is_null() {
        return Caller::Thread;
    }
    let Lib9 { qlock: Some(_), qunlock: Some(_), rsleep: Some(_), rwakeup: Some(_), .. } = LIB9
    else {
        return Caller::Thread;
    };
    match LIB9.threadproc {
        // SAFETY: libthread's function without parameters, which returns the caller's proc.
        Some(threadproc) if unsafe { threadproc() }.is_null() => Caller::ForeignThread,
        _ => Caller::Coroutine,
    }
}

/// Puts one coroutine to sleep. Must only be created when [`caller`] returns [`Caller::Coroutine`].
pub struct CoroutineParker(UnsafeCell<RendezState>);

pub(super) struct RendezState {
    lock: QLock,
    rendez: Rendez,
    unparked: bool,
    /// The timer has fired.
    timer_fired: bool,
}

impl RendezState {
    /// Sleeps until `done(unparked, timer_fired)` returns true. Returns `unparked`.
    ///
    /// # Safety
    /// `state` must stay alive until this returns, and the caller must be a coroutine.
    unsafe fn sleep(state: *mut RendezState, done: impl Fn(bool, bool) -> bool) -> bool {
        let (Some(qlock), Some(qunlock), Some(rsleep)) = (LIB9.qlock, LIB9.qunlock, LIB9.rsleep)
        else {
            return true;
        };
        // SAFETY: the state is alive and does not move until this returns. The caller is a coroutine of the
        // program's libthread, to which these functions belong.
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

    /// Sets a flag and wakes the sleeper.
    ///
    /// # Safety
    /// `state` must stay alive until the sleeper has read the flag and has acquired the qlock, which the
    /// qunlock in this function releases.
    unsafe fn wake(state: *mut RendezState, flag: *mut bool) {
        let (Some(qlock), Some(qunlock), Some(rwakeup)) = (LIB9.qlock, LIB9.qunlock, LIB9.rwakeup)
        else {
            return;
        };
        // SAFETY: guaranteed by the caller.
        unsafe {
            let lock = &raw mut (*state).lock;
            qlock(lock);
            // Written only if it is NULL. A sleeper that the other waker has woken reads it in rsleep, before
            // it has reacquired the qlock.
            if (*state).rendez.lock.is_null() {
                (*state).rendez.lock = lock;
            }
            flag.write(true);
            rwakeup(&raw mut (*state).rendez);
            qunlock(lock);
        }
    }

    /// Wakes the sleeper because its deadline has passed.
    ///
    /// # Safety
    /// The sleeper must wait for this before it frees `state`.
    pub(super) unsafe fn fire(state: *mut RendezState) {
        // SAFETY: guaranteed by the caller; only an address is computed here.
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

// SAFETY: the flags are read and written under the qlock, which makes the writes visible. park returns only
// when it has read `unparked` as true and has acquired the qlock from unpark. Releasing the qlock is unpark's
// last access to the state.
unsafe impl Parker for CoroutineParker {
    unsafe fn park(this: *const CoroutineParker) {
        // SAFETY: the caller keeps the parker alive until this returns.
        unsafe { RendezState::sleep((*this).0.get(), |unparked, _| unparked) };
    }

    unsafe fn park_until(this: *const CoroutineParker, deadline: u64) -> bool {
        // SAFETY: the caller keeps the parker alive until this returns, which does not happen before the timer
        // has been disarmed or has fired.
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
        // SAFETY: the state is alive until the sleeper has read `unparked` and has acquired the qlock.
        unsafe {
            let state = (*this).0.get();
            RendezState::wake(state, &raw mut (*state).unparked);
        }
    }
}

/// Starts a proc of libthread.
///
/// # Safety
/// Calling `proc.main` with `proc.arg`, once, from another thread must be sound.
pub unsafe fn start_proc(proc: ProcMain) -> Result<(), SchedError> {
    let Some(proccreate) = LIB9.proccreate else {
        return Err(SchedError(libc::ENOSYS));
    };
    // SAFETY: libthread's function; the rest is guaranteed by the caller. It returns the thread's id, or a
    // negative number on failure.
    if unsafe { proccreate(proc.main, proc.arg, STACK) } < 0 {
        return Err(SchedError(libc::EAGAIN));
    }
    Ok(())
}

/// Marks the calling proc, which must be a proc of libthread, as a system proc: the program can end while the
/// proc runs.
pub fn set_sysproc() {
    if let Some(threadsetsysproc) = LIB9.threadsetsysproc {
        // SAFETY: libthread's function without parameters, called by a proc of libthread.
        unsafe { threadsetsysproc() };
    }
}

/// Returns lib9's werrstr, which sets the error string by a printf-like format, if the program has it.
pub fn werrstr() -> Option<WerrstrFn> {
    LIB9.werrstr
}
