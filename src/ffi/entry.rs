//! The first steps of every entry point: checks the Mux that it was given, and catches panics in a
//! build that can catch them.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::Relaxed;

use super::callbacks::Callbacks;
use super::errors;
use super::layout::{Mux, MuxPrivate};
use crate::rpc;
use crate::sched::dispatch::DispatchSched;

/// The Rust Mux behind a C Mux.
pub type InnerMux = rpc::Mux<Callbacks, DispatchSched>;

/// The layout that this library gives to the private part of a Mux.
#[repr(C)]
struct PrivateLayout {
    /// The address of the Mux itself, by which an initialised Mux that has not been moved is
    /// recognised.
    owner: *mut Mux,
    storage: Storage,
}

/// The Rust Mux: in the private part itself where that is large enough (see build.rs),
/// elsewhere in a block of its own.
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

    /// Initialises the private part. Returns false if there is no memory.
    ///
    /// # Safety
    /// `mux` points to the memory of a Mux that no thread uses.
    pub(super) unsafe fn init_private(mux: *mut Mux, inner: InnerMux) -> bool {
        // SAFETY: the private part belongs to the library, and is large enough and aligned (see
        // above). Its former content is garbage or not in use.
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

    /// Marks the Mux as not initialised, and frees a separate block.
    ///
    /// # Safety
    /// `mux` points to an initialised Mux that no thread uses.
    pub(super) unsafe fn clear_private(mux: *mut Mux) {
        // SAFETY: the caller's promise. The Rust Mux owns no memory any more; a separate block is freed.
        unsafe {
            Mux::owner(mux).store(std::ptr::null_mut(), Relaxed);
            #[cfg(mux_boxed)]
            libc::free(Mux::inner(mux).cast());
        }
    }

    /// # Safety
    /// `mux` points to the memory of a Mux.
    unsafe fn owner<'a>(mux: *mut Mux) -> &'a AtomicPtr<Mux> {
        // SAFETY: the caller's promise; any bit pattern is a valid pointer value.
        unsafe { AtomicPtr::from_ptr(&raw mut (*Mux::private_layout(mux)).owner) }
    }

    /// The Rust Mux.
    ///
    /// # Safety
    /// `mux` points to an initialised Mux.
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

/// Runs an entry point. In a build with `panic = "unwind"` (the tests), a panic, which is a fault in
/// this library, does not reach C: errno is set to EFAULT, and `failed` is returned. A panic
/// cannot be caught in a build with `panic = "abort"`, which is how the C library is built. There,
/// on x86-64 Linux, the object refers to no function that panics (`tests/size.sh`), and the
/// compiler removes the second arm.
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

/// The Rust Mux of `mux` if it has been initialised. Otherwise returns `None` and sets errno.
///
/// # Safety
/// `mux` is NULL or points to a Mux.
#[inline]
pub unsafe fn checked_mux<'a>(mux: *mut Mux) -> Option<&'a InnerMux> {
    if mux.is_null() {
        errors::set_invalid();
        return None;
    }
    // SAFETY: the caller's promise. The owner word is read before the rest of the private part is
    // trusted, so that a Mux that has not been initialised is recognised.
    unsafe {
        if Mux::owner(mux).load(Relaxed) != mux {
            errors::set_invalid();
            return None;
        }
        Some(&*Mux::inner(mux))
    }
}

/// As [`checked_mux`], for callers that may sleep or wake other callers, which a foreign thread
/// cannot do.
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

/// As [`checked_caller`], for calls: checks also that all callbacks are set.
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
