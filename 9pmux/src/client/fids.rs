//! The numbers of fids, and when a number may be used again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Error;
use crate::wire::NOFID;

/// The numbers of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Fids(Arc<Mutex<Numbers>>);

#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The first number that no fid has had.
    pub next: u32,
    /// The numbers that may be used again.
    pub free: Vec<u32>,
}

/// A fid. Its owners are the file, the transfers of the file, and the requests in flight that could still use
/// it at the server. When the last owner drops it, its number may be used again, unless the server still knows
/// the fid.
#[derive(Debug)]
pub(super) struct Fid {
    pub number: u32,
    is_known: AtomicBool,
    fids: Fids,
}

impl Fids {
    pub(super) fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a fid that the server does not know yet.
    ///
    /// # Errors
    /// [`Error::NoFid`] if all numbers are in use.
    pub fn allocate(&self) -> Result<Arc<Fid>, Error> {
        let mut numbers = self.numbers();
        let number = match numbers.free.pop() {
            Some(number) => number,
            None if numbers.next == NOFID => return Err(Error::NoFid),
            None => {
                numbers.next += 1;
                numbers.next - 1
            }
        };
        drop(numbers);
        Ok(Arc::new(Fid { number, is_known: AtomicBool::new(false), fids: self.clone() }))
    }
}

impl Fid {
    /// Records whether the server knows the fid.
    pub fn set_known(&self, is_known: bool) {
        self.is_known.store(is_known, Ordering::Release);
    }
}

impl Drop for Fid {
    fn drop(&mut self) {
        if !self.is_known.load(Ordering::Acquire) {
            self.fids.numbers().free.push(self.number);
        }
    }
}
