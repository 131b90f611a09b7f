//! Sleeping on Linux: a lock and a parker of one word each, on the kernel's futex.
//!
//! Our own rather than parking_lot's because that allocates a record when a thread first sleeps,
//! and ends the program when it cannot: a caller of this library gets an error then. The lock is
//! used through parking_lot's lock_api, so that only these few lines know about words. Source:
//! futex(2).

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use parking_lot::lock_api::{GuardNoSend, RawMutex};

use super::{Parker, clock, errno_ptr};

/// Sleeps while `word` holds `value`, and no longer than `at_most`; may return for no reason. errno is
/// left alone: what it says is of no interest to a program.
fn wait(word: *const AtomicU32, value: u32, at_most: Option<&libc::timespec>) {
    let at_most = at_most.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the kernel reads the word at an address that the caller keeps valid, and gives
    // EFAULT for one that is not; the time is nil or a timespec.
    unsafe {
        let errno = errno_ptr();
        let before = errno.read();
        let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, word, wait, value, at_most);
        errno.write(before);
    }
}

/// Wakes one that sleeps on `word`, which need not be there any more: an address is all it is.
fn wake(word: *const AtomicU32) {
    // SAFETY: FUTEX_WAKE does not touch the memory at the address.
    unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
    }
}

/// glibc's variable of that name, from 2.32 on; nil where there is none. Referred to weakly: other C
/// libraries have none.
#[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
mod single {
    use std::ptr::NonNull;

    #[repr(transparent)]
    pub struct Place(pub Option<NonNull<u8>>);

    // SAFETY: an address, and constant.
    unsafe impl Sync for Place {}

    // The name is in the form of a mangled one of this crate, so that a C program has nothing to clash with.
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

/// Whether this thread is the only one of the process, as far as the C library knows, which makes the threads:
/// then there is no other before this one goes on. Nor does a scheduler switch tasks here: mux.h says where.
#[inline]
fn is_single_threaded() -> bool {
    #[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
    {
        // SAFETY: the address of a variable of the C library, which that writes when threads come and go.
        single::SINGLE.0.is_some_and(|place| unsafe { place.as_ptr().read_volatile() } != 0)
    }
    #[cfg(not(all(target_env = "gnu", target_pointer_width = "64")))]
    {
        false
    }
}

const UNLOCKED: u32 = 0;
const LOCKED: u32 = 1;
/// Held, and somebody may be asleep.
const CONTENDED: u32 = 2;

/// How often to look again before sleeping: the lock is held for less than a system call takes.
const SPINS: u32 = 100;

/// How long one sleeps at a time for a [`Lock`].
const LOCK_SLEEP: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// The lock on the machine's state. Its memory may be freed by whoever takes it next.
///
/// Letting go of it is a plain store and a look at whether anybody sleeps, which costs half of what
/// an exchange does. The processor may look before others see its store, so one that goes to sleep
/// just then could be overlooked, if the kernel's look at the word came before the store as well. A
/// store would have to take longer than a system call for that; should it happen, a nap is the
/// price.
///
/// How many sleep is counted outside the lock, since whoever lets go of it looks there last: for all
/// locks whose address has the same remainder, so that at worst a system call is made for nothing.
pub struct Lock {
    word: AtomicU32,
}

/// A number with a cache line of its own.
#[repr(align(64))]
struct PaddedCount(AtomicU32);

const SLEEPER_COUNTS: usize = 32;

static SLEEPERS: [PaddedCount; SLEEPER_COUNTS] =
    [const { PaddedCount(AtomicU32::new(0)) }; SLEEPER_COUNTS];

// SAFETY: one holder at a time: UNLOCKED becomes LOCKED by one exchange only, or, where there is one thread, by a
// load and a store that nothing comes between; and only unlock makes it UNLOCKED.
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
            // Half of what the library itself costs in memory is exchanges, where they are needed.
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

    /// Counts those who sleep for this lock, and some others.
    #[inline]
    fn sleepers(&self) -> &'static AtomicU32 {
        // A Mux is larger than this, so neighbours in memory differ.
        &SLEEPERS[((&raw const self.word).addr() / 256) % SLEEPER_COUNTS].0
    }
}

/// A lock whose memory may be freed by whoever takes it next: letting go of it is its last use.
pub struct LastLock(AtomicU32);

// SAFETY: one holder at a time: UNLOCKED becomes LOCKED or CONTENDED by one exchange only, and only unlock
// makes it UNLOCKED.
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

/// That many nanoseconds.
fn timespec(nanoseconds: u64) -> libc::timespec {
    const SECOND: u64 = 1_000_000_000;
    libc::timespec {
        tv_sec: (nanoseconds / SECOND) as libc::time_t,
        tv_nsec: (nanoseconds % SECOND) as libc::c_long,
    }
}

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const UNPARKED: u32 = 2;

/// Sleeps one caller.
pub struct FutexParker(AtomicU32);

impl FutexParker {
    pub const fn new() -> FutexParker {
        FutexParker(AtomicU32::new(AWAKE))
    }
}

// SAFETY: park returns only when it has read UNPARKED, which only unpark writes, with Release; after
// that write unpark uses the address alone.
unsafe impl Parker for FutexParker {
    unsafe fn park(this: *const FutexParker) {
        // SAFETY: the caller keeps it alive until this returns.
        let word = unsafe { &(*this).0 };
        // It is asleep already when a time has come before.
        let _ = word.compare_exchange(AWAKE, ASLEEP, Acquire, Acquire);
        while word.load(Acquire) == ASLEEP {
            wait(word, ASLEEP, None);
        }
    }

    unsafe fn park_until(this: *const FutexParker, deadline: u64) -> bool {
        // SAFETY: the caller keeps it alive until this returns.
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
        // SAFETY: alive until the sleeper sees UNPARKED; from then on, only its address is used.
        let word = unsafe { &raw const (*this).0 };
        // SAFETY: as above.
        if unsafe { (*word).swap(UNPARKED, Release) } == ASLEEP {
            wake(word);
        }
    }
}
