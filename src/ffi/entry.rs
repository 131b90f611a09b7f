//! What every entry point does first: see whether it was given a Mux, and keep faults inside.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::Relaxed;

use super::callbacks::Callbacks;
use super::errors;
use super::layout::{Mux, MuxPrivate};
use crate::rpc;
use crate::sched::dispatch::DispatchSched;

/// What is in the private part of a Mux.
pub type Inside = rpc::Mux<Callbacks, DispatchSched>;

/// The private part of a Mux as it is used.
#[repr(C)]
struct Room {
    /// The Mux itself, by which one that muxinit has seen, and that has not been moved, is known.
    owner: *mut Mux,
    held: Held,
}

/// The Rust Mux: in the private part where that is large enough (build.rs says where); elsewhere in a
/// block of its own.
#[cfg(not(mux_boxed))]
type Held = std::mem::MaybeUninit<Inside>;
#[cfg(mux_boxed)]
type Held = *mut Inside;

const _: () = {
    assert!(size_of::<Room>() <= size_of::<MuxPrivate>());
    assert!(align_of::<Room>() <= align_of::<MuxPrivate>());
};

impl Mux {
    /// # Safety
    /// `mux` points to the memory of a Mux.
    unsafe fn room(mux: *mut Mux) -> *mut Room {
        // SAFETY: the caller's promise; only an address is made.
        unsafe { (&raw mut (*mux).private_).cast() }
    }

    /// Makes it ready for use; false when there is no memory.
    ///
    /// # Safety
    /// `mux` points to the memory of a Mux that nobody is using.
    pub(super) unsafe fn furnish(mux: *mut Mux, inside: Inside) -> bool {
        // SAFETY: the private part is ours to fill, is as large and aligned (above), and what was in
        // it is garbage or idle.
        unsafe {
            #[cfg(mux_boxed)]
            {
                let room = Mux::room(mux);
                (*room).held = libc::malloc(size_of::<Inside>()).cast();
                if (*room).held.is_null() {
                    (*room).owner = std::ptr::null_mut();
                    return false;
                }
            }
            Mux::inside(mux).write(inside);
            Mux::owner(mux).store(mux, Relaxed);
        }
        true
    }

    /// Ends it: nobody who looks at it from now on finds a Mux.
    ///
    /// # Safety
    /// `mux` points to a Mux that muxinit has seen, and that nobody is using.
    pub(super) unsafe fn vacate(mux: *mut Mux) {
        // SAFETY: the caller's promise. What is in the private part holds no memory any more; a block
        // of its own is freed.
        unsafe {
            Mux::owner(mux).store(std::ptr::null_mut(), Relaxed);
            #[cfg(mux_boxed)]
            libc::free(Mux::inside(mux).cast());
        }
    }

    /// # Safety
    /// `mux` points to the memory of a Mux.
    unsafe fn owner<'a>(mux: *mut Mux) -> &'a AtomicPtr<Mux> {
        // SAFETY: the caller's promise; it is a pointer, whatever is in it.
        unsafe { AtomicPtr::from_ptr(&raw mut (*Mux::room(mux)).owner) }
    }

    /// Where the Rust Mux is.
    ///
    /// # Safety
    /// `mux` points to a Mux that muxinit has seen.
    pub(super) unsafe fn inside(mux: *mut Mux) -> *mut Inside {
        // SAFETY: the caller's promise.
        unsafe {
            let held = &raw mut (*Mux::room(mux)).held;
            #[cfg(not(mux_boxed))]
            return held.cast();
            #[cfg(mux_boxed)]
            return held.read();
        }
    }
}

/// Runs an entry point; a panic (a fault in this library) becomes `failed` and EFAULT, and does not
/// reach C.
#[inline]
pub fn guard<R>(failed: R, entry: impl FnOnce() -> R) -> R {
    match std::panic::catch_unwind(AssertUnwindSafe(entry)) {
        Ok(answer) => answer,
        Err(_) => {
            errors::tell_fault();
            failed
        }
    }
}

/// The Rust side of `mux`, if it is one that muxinit has seen. Otherwise says why not.
///
/// # Safety
/// `mux` is nil or points to a Mux.
#[inline]
pub unsafe fn reachable<'a>(mux: *mut Mux) -> Option<&'a Inside> {
    if mux.is_null() {
        errors::tell_invalid();
        return None;
    }
    // SAFETY: the caller's promise. A Mux that muxinit has not seen is told by a word that is read
    // as a number before anything else is believed.
    unsafe {
        if Mux::owner(mux).load(Relaxed) != mux {
            errors::tell_invalid();
            return None;
        }
        Some(&*Mux::inside(mux))
    }
}

/// As [`reachable`], for callers that may wait or wake: a thread that libthread did not make can do
/// neither.
///
/// # Safety
/// As for [`reachable`].
#[inline]
pub unsafe fn inside<'a>(mux: *mut Mux) -> Option<&'a Inside> {
    // SAFETY: the caller's promise, passed on.
    let inside = unsafe { reachable(mux) }?;
    if DispatchSched::is_foreign_thread() {
        errors::tell_stranger();
        return None;
    }
    Some(inside)
}

/// As [`inside`], for calls: the functions that they need are there.
///
/// # Safety
/// As for [`inside`].
#[inline(always)]
pub unsafe fn callable<'a>(mux: *mut Mux) -> Option<&'a Inside> {
    // SAFETY: the caller's promise, passed on.
    let inside = unsafe { inside(mux) }?;
    if !inside.transport().complete() {
        errors::tell_invalid();
        return None;
    }
    Some(inside)
}
