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
pub type InnerMux = rpc::Mux<Callbacks, DispatchSched>;

/// The private part of a Mux as it is used.
#[repr(C)]
struct PrivateLayout {
    /// The Mux itself, by which one that muxinit has seen, and that has not been moved, is known.
    owner: *mut Mux,
    storage: Storage,
}

/// The Rust Mux: in the private part where that is large enough (build.rs says where); elsewhere in a
/// block of its own.
#[cfg(not(mux_boxed))]
type Storage = std::mem::MaybeUninit<InnerMux>;
#[cfg(mux_boxed)]
type Storage = *mut InnerMux;

const _: () = {
    assert!(size_of::<PrivateLayout>() <= size_of::<MuxPrivate>());
    assert!(align_of::<PrivateLayout>() <= align_of::<MuxPrivate>());
};

impl Mux {
    /// # Safety
    /// `mux` points to the memory of a Mux.
    unsafe fn private_layout(mux: *mut Mux) -> *mut PrivateLayout {
        // SAFETY: the caller's promise; only an address is made.
        unsafe { (&raw mut (*mux).private_).cast() }
    }

    /// Makes it ready for use; false when there is no memory.
    ///
    /// # Safety
    /// `mux` points to the memory of a Mux that nobody is using.
    pub(super) unsafe fn init_private(mux: *mut Mux, inner: InnerMux) -> bool {
        // SAFETY: the private part is ours to fill, is as large and aligned (above), and what was in
        // it is garbage or idle.
        unsafe {
            #[cfg(mux_boxed)]
            {
                let layout = Mux::private_layout(mux);
                (*layout).storage = libc::malloc(size_of::<InnerMux>()).cast();
                if (*layout).storage.is_null() {
                    (*layout).owner = std::ptr::null_mut();
                    return false;
                }
            }
            Mux::inner(mux).write(inner);
            Mux::owner(mux).store(mux, Relaxed);
        }
        true
    }

    /// Ends it: nobody who looks at it from now on finds a Mux.
    ///
    /// # Safety
    /// `mux` points to a Mux that muxinit has seen, and that nobody is using.
    pub(super) unsafe fn clear_private(mux: *mut Mux) {
        // SAFETY: the caller's promise. What is in the private part holds no memory any more; a block
        // of its own is freed.
        unsafe {
            Mux::owner(mux).store(std::ptr::null_mut(), Relaxed);
            #[cfg(mux_boxed)]
            libc::free(Mux::inner(mux).cast());
        }
    }

    /// # Safety
    /// `mux` points to the memory of a Mux.
    unsafe fn owner<'a>(mux: *mut Mux) -> &'a AtomicPtr<Mux> {
        // SAFETY: the caller's promise; it is a pointer, whatever is in it.
        unsafe { AtomicPtr::from_ptr(&raw mut (*Mux::private_layout(mux)).owner) }
    }

    /// Where the Rust Mux is.
    ///
    /// # Safety
    /// `mux` points to a Mux that muxinit has seen.
    pub(super) unsafe fn inner(mux: *mut Mux) -> *mut InnerMux {
        // SAFETY: the caller's promise.
        unsafe {
            let storage = &raw mut (*Mux::private_layout(mux)).storage;
            #[cfg(not(mux_boxed))]
            return storage.cast();
            #[cfg(mux_boxed)]
            return storage.read();
        }
    }
}

/// Runs an entry point; a panic (a fault in this library) becomes `failed` and EFAULT, and does not
/// reach C.
#[inline]
pub fn guard<R>(failed: R, entry: impl FnOnce() -> R) -> R {
    match std::panic::catch_unwind(AssertUnwindSafe(entry)) {
        Ok(result) => result,
        Err(_) => {
            errors::set_fault();
            failed
        }
    }
}

/// The Rust side of `mux`, if it is one that muxinit has seen. Otherwise says why not.
///
/// # Safety
/// `mux` is nil or points to a Mux.
#[inline]
pub unsafe fn checked_mux<'a>(mux: *mut Mux) -> Option<&'a InnerMux> {
    if mux.is_null() {
        errors::set_invalid();
        return None;
    }
    // SAFETY: the caller's promise. A Mux that muxinit has not seen is told by a word that is read
    // as a number before anything else is believed.
    unsafe {
        if Mux::owner(mux).load(Relaxed) != mux {
            errors::set_invalid();
            return None;
        }
        Some(&*Mux::inner(mux))
    }
}

/// As [`checked_mux`], for callers that may wait or wake: a thread that libthread did not make can do
/// neither.
///
/// # Safety
/// As for [`checked_mux`].
#[inline]
pub unsafe fn checked_caller<'a>(mux: *mut Mux) -> Option<&'a InnerMux> {
    // SAFETY: the caller's promise, passed on.
    let inner = unsafe { checked_mux(mux) }?;
    if DispatchSched::is_foreign_thread() {
        errors::set_foreign_thread_error();
        return None;
    }
    Some(inner)
}

/// As [`checked_caller`], for calls: the functions that they need are there.
///
/// # Safety
/// As for [`checked_caller`].
#[inline(always)]
pub unsafe fn checked_call<'a>(mux: *mut Mux) -> Option<&'a InnerMux> {
    // SAFETY: the caller's promise, passed on.
    let inner = unsafe { checked_caller(mux) }?;
    if !inner.transport().is_complete() {
        errors::set_invalid();
        return None;
    }
    Some(inner)
}
