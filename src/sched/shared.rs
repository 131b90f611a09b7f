//! The types of the values that threads share outside the state lock: an atomic number and a cell.
//!
//! They are the standard ones. Under `mux_model` this source is part of a model checker's program
//! (`tests/model`), which replaces them by its own types to observe each access and to try what the memory
//! model permits. It also replaces the clock in [`clock`](super::clock).

#[cfg(mux_model)]
pub use crate::checker::{AtomicU32, Cell};

#[cfg(not(mux_model))]
pub use std::sync::atomic::AtomicU32;

/// A value that only one thread at a time accesses, by a protocol that the compiler does not know.
#[cfg(not(mux_model))]
pub struct Cell<V>(std::cell::UnsafeCell<V>);

#[cfg(not(mux_model))]
impl<V> Cell<V> {
    #[inline(always)]
    pub const fn new(value: V) -> Cell<V> {
        Cell(std::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with the address of the value.
    #[inline(always)]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut V) -> R) -> R {
        f(self.0.get())
    }

    #[inline(always)]
    pub fn into_inner(self) -> V {
        self.0.into_inner()
    }
}
