//! Sleeping on Linux: two locks and a parker of one word each, on the kernel's futex.
//!
//! They replace parking_lot's, which allocates a record when a thread first sleeps and ends the program if
//! the allocation fails. A caller of this library must receive an error in that case. The locks are used
//! through parking_lot's lock_api, so that only this file depends on their layout. Source: futex(2).

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use parking_lot::lock_api::{GuardNoSend, RawMutex};

use super::{Parker, clock, errno_ptr};

/// Sleeps while `word` contains `value`, for at most the time `at_most`. May return spuriously. Preserves
/// errno, since the system call's error is of no interest to the program.
fn wait(word: *const AtomicU32, value: u32, at_most: Option<&libc::timespec>) {
    let at_most = at_most.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the caller keeps the address valid, and the kernel returns EFAULT for an invalid one. The
    // time is NULL or points to a timespec.
    unsafe {
        let errno = errno_ptr();
        let before = errno.read();
        let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, word, wait, value, at_most);
        errno.write(before);
    }
}

/// Wakes one thread that sleeps on `word`. Only the address is used, so `word` may have been freed.
fn wake(word: *const AtomicU32) {
    // SAFETY: FUTEX_WAKE does not access the memory at the address.
    unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
    }
}

/// The address of glibc's variable `__libc_single_threaded` (glibc 2.32 and later), or NULL. The reference
/// is weak, since other C libraries do not define the variable.
#[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
mod single {
    use std::ptr::NonNull;

    #[repr(transparent)]
    pub struct Place(pub Option<NonNull<u8>>);

    // SAFETY: a constant address.
    unsafe impl Sync for Place {}

    // The name has the form of a mangled name of this crate, so that it cannot clash with a name of a C program.
    std::arch::global_asm!(
        ".weak __libc_single_threaded",
        ".pushsection .data.rel.ro.mux_single,\"aw\",%progbits",
        ".balign 8",
        ".weak _ZN3mux5sched5futex6SINGLEE",
        ".hidden _ZN3mux5sched5futex6SINGLEE",
        ".type _ZN3mux5sched5futex6SINGLEE,%object",
        "_ZN3mux5sched5futex6SINGLEE: .quad __libc_single_threaded",
        ".size _ZN3mux5sched5futex6SINGLEE, .-_ZN3mux5sched5futex6SINGLEE",
        ".popsection",
    );

    unsafe extern "C" {
        #[link_name = "_ZN3mux5sched5futex6SINGLEE"]
        pub safe static SINGLE: Place;
    }
}

/// Returns true if this thread is the only one of the process. The C library creates the threads, so no other
/// thread can start before this one continues. A scheduler does not switch tasks here either (see mux.h).
#[inline]
fn is_single_threaded() -> bool {
    #[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
    {
        // SAFETY: the address of a variable that the C library writes when threads start and end.
        single::SINGLE.0.is_some_and(|place| unsafe { place.as_ptr().read_volatile() } != 0)
    }
    #[cfg(not(all(target_env = "gnu", target_pointer_width = "64")))]
    {
        false
    }
}

const UNLOCKED: u32 = 0;
const LOCKED: u32 = 1;
/// Locked, and a thread may be asleep.
const CONTENDED: u32 = 2;

/// Number of polls before sleeping. The lock is usually held for less time than a system call takes.
const SPINS: u32 = 100;

/// Maximum length of one sleep for a [`Lock`]: 1 millisecond.
const LOCK_SLEEP: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// The lock on the machine's state. The next holder may free its memory.
///
/// Unlocking is a plain store and a load of the number of sleepers, which is cheaper than an atomic exchange.
/// The processor may perform the load before the store is visible to other threads. A thread that goes to
/// sleep at that moment is missed if the kernel also reads the word before the store is visible. The store
/// would have to take longer than a system call for that. If it happens, the thread sleeps for at most
/// [`LOCK_SLEEP`].
///
/// The number of sleepers is stored outside the lock, since the holder reads it after the store, when the lock
/// may have been freed. Several locks share a counter, so an unlock may make an unnecessary system call.
pub struct Lock {
    word: AtomicU32,
}

/// A counter in a cache line of its own.
#[repr(align(64))]
struct PaddedCount(AtomicU32);

const SLEEPER_COUNTS: usize = 32;

static SLEEPERS: [PaddedCount; SLEEPER_COUNTS] =
    [const { PaddedCount(AtomicU32::new(0)) }; SLEEPER_COUNTS];

// SAFETY: there is one holder at a time. UNLOCKED becomes LOCKED by one exchange only or, in a process with one
// thread, by a load and a store that no other thread can interrupt. Only unlock stores UNLOCKED.
unsafe impl RawMutex for Lock {
    #[allow(clippy::declare_interior_mutable_const, reason = "how lock_api begins a lock")]
    const INIT: Lock = Lock { word: AtomicU32::new(UNLOCKED) };
    type GuardMarker = GuardNoSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            self.lock_contended();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        if is_single_threaded() {
            // Atomic exchanges would be a large part of the library's own cost per call.
            let free = self.word.load(Relaxed) == UNLOCKED;
            if free {
                self.word.store(LOCKED, Relaxed);
            }
            return free;
        }
        self.word.compare_exchange(UNLOCKED, LOCKED, Acquire, Relaxed).is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        let word = &raw const self.word;
        let sleepers = self.sleepers();
        self.word.store(UNLOCKED, Release);
        if sleepers.load(Relaxed) != 0 {
            wake(word);
        }
    }
}

impl Lock {
    #[cold]
    fn lock_contended(&self) {
        for _ in 0..SPINS {
            if self.word.load(Relaxed) == UNLOCKED && self.try_lock() {
                return;
            }
            std::hint::spin_loop();
        }
        let sleepers = self.sleepers();
        sleepers.fetch_add(1, SeqCst);
        while !self.try_lock() {
            wait(&raw const self.word, LOCKED, Some(&LOCK_SLEEP));
        }
        sleepers.fetch_sub(1, Relaxed);
    }

    /// Returns the counter of the threads that sleep for this lock, or for another lock with the same index.
    #[inline]
    fn sleepers(&self) -> &'static AtomicU32 {
        // A Mux is larger than 256 bytes, so neighbours in memory have different counters.
        &SLEEPERS[((&raw const self.word).addr() / 256) % SLEEPER_COUNTS].0
    }
}

/// A lock that the next holder may free: unlocking is the last access of the previous holder.
pub struct LastLock(AtomicU32);

// SAFETY: there is one holder at a time. UNLOCKED becomes LOCKED or CONTENDED by one exchange only, and only
// unlock stores UNLOCKED.
unsafe impl RawMutex for LastLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "how lock_api begins a lock")]
    const INIT: LastLock = LastLock(AtomicU32::new(UNLOCKED));
    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        if self.try_lock() {
            return;
        }
        while self.0.swap(CONTENDED, Acquire) != UNLOCKED {
            wait(&raw const self.0, CONTENDED, None);
        }
    }

    fn try_lock(&self) -> bool {
        self.0.compare_exchange(UNLOCKED, LOCKED, Acquire, Relaxed).is_ok()
    }

    unsafe fn unlock(&self) {
        let word = &raw const self.0;
        if self.0.swap(UNLOCKED, Release) == CONTENDED {
            wake(word);
        }
    }
}

/// Converts nanoseconds to a timespec.
fn timespec(nanoseconds: u64) -> libc::timespec {
    const SECOND: u64 = 1_000_000_000;
    libc::timespec {
        tv_sec: (nanoseconds / SECOND) as _,
        tv_nsec: (nanoseconds % SECOND) as libc::c_long,
    }
}

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const UNPARKED: u32 = 2;

/// Puts one caller to sleep.
pub struct FutexParker(AtomicU32);

impl FutexParker {
    pub const fn new() -> FutexParker {
        FutexParker(AtomicU32::new(AWAKE))
    }
}

// SAFETY: park returns only when it has read UNPARKED, which only unpark writes, with Release. After that
// write unpark uses only the address.
unsafe impl Parker for FutexParker {
    unsafe fn park(this: *const FutexParker) {
        // SAFETY: the caller keeps the parker alive until this returns.
        let word = unsafe { &(*this).0 };
        // The word is already ASLEEP if a deadline has passed before.
        let _ = word.compare_exchange(AWAKE, ASLEEP, Acquire, Acquire);
        while word.load(Acquire) == ASLEEP {
            wait(word, ASLEEP, None);
        }
    }

    unsafe fn park_until(this: *const FutexParker, deadline: u64) -> bool {
        // SAFETY: the caller keeps the parker alive until this returns.
        let word = unsafe { &(*this).0 };
        let _ = word.compare_exchange(AWAKE, ASLEEP, Acquire, Acquire);
        while word.load(Acquire) == ASLEEP {
            let now = clock::now();
            if now >= deadline {
                return false;
            }
            wait(word, ASLEEP, Some(&timespec(deadline - now)));
        }
        true
    }

    unsafe fn unpark(this: *const FutexParker) {
        // SAFETY: the parker is alive until the sleeper reads UNPARKED. After that only its address is used.
        let word = unsafe { &raw const (*this).0 };
        // SAFETY: as above.
        if unsafe { (*word).swap(UNPARKED, Release) } == ASLEEP {
            wake(word);
        }
    }
}
