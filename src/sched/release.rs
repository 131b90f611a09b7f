//! A value that is released when it is dropped, unless another function has consumed it before.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

/// A value that must not be forgotten.
pub trait Release {
    /// Consumes the value when its owner has dropped it.
    fn release(self);
}

/// Owns a value, and releases it when it is dropped.
pub struct Releasing<V: Release>(ManuallyDrop<V>);

impl<V: Release> Releasing<V> {
    /// Returns the owner of `value`.
    #[inline(always)]
    pub fn new(value: V) -> Releasing<V> {
        Releasing(ManuallyDrop::new(value))
    }

    /// Returns the value, which is not released.
    #[inline(always)]
    pub fn into_inner(self) -> V {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: the destructor of `self` does not run, so the value is taken once.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl<V: Release> Drop for Releasing<V> {
    #[cold]
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: a destructor runs once, and nothing accesses the value afterwards.
        unsafe { ManuallyDrop::take(&mut self.0) }.release();
    }
}

impl<V: Release> Deref for Releasing<V> {
    type Target = V;

    #[inline(always)]
    fn deref(&self) -> &V {
        &self.0
    }
}

impl<V: Release> DerefMut for Releasing<V> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut V {
        &mut self.0
    }
}
