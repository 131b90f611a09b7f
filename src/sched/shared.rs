//! What threads share outside the state lock: a number and a cell, which the calls are written in.
//!
//! They are the standard ones. Under `mux_model` this source is part of a model checker's program
//! (`tests/model`), which puts its own in their place, so as to see each use of them and to try what
//! the memory model allows; and its own clock, in [`clock`](super::clock).

#[cfg(mux_model)]
pub use crate::checker::{AtomicU32, Cell};

#[cfg(not(mux_model))]
pub use std::sync::atomic::AtomicU32;

/// A value that one thread at a time has, by an agreement that the compiler does not know of.
#[cfg(not(mux_model))]
pub struct Cell<V>(std::cell::UnsafeCell<V>);

#[cfg(not(mux_model))]
impl<V> Cell<V> {
    #[inline(always)]
    pub const fn new(value: V) -> Cell<V> {
        Cell(std::cell::UnsafeCell::new(value))
    }

    /// Lends the value, by its address.
    #[inline(always)]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut V) -> R) -> R {
        f(self.0.get())
    }

    #[inline(always)]
    pub fn into_inner(self) -> V {
        self.0.into_inner()
    }
}
