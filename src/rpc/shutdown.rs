//! The shutdown of a Mux that callers may still be using, as C programs need it.
//!
//! The shutdown hangs up, which wakes all sleeping callers. Callers inside `send` or `recv` leave when
//! that function returns, and so do the procs. The last caller to leave wakes the caller that shuts down.
//!
//! The Mux may be freed afterwards, so the last access of each caller matters. A sleeping caller that has
//! been given its result never touches the Mux again. The exception is a caller with a deadline: its slot
//! stays allocated until the caller acknowledges the wake-up (`ack_wake`). The last access of a running
//! caller is to unlock the state lock. A caller with work left after that (waking others, an orphan
//! callback) holds a pin.
//!
//! After the shutdown the Mux is empty and hung up, but valid: a late call fails with `HungUp`.

use crate::core::Wakeup;
use crate::sched::clock::NEVER;
use crate::sched::{Sched, sleep_until};

use super::{Error, Mux, Transport};

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Hangs up, waits until no caller or proc is inside the library, at most until `deadline`, and
    /// releases all memory. Frees all non-blocking calls that have not been collected: their replies
    /// become orphans, and `uncollected` is called with the watch of each.
    ///
    /// # Errors
    /// [`Error::InUse`] if a caller or proc is still inside at the deadline, if another caller is shutting
    /// down, or if the scheduler has no timer. The Mux has then been hung up, and nothing else is done.
    pub(crate) fn shut_down(
        &self,
        deadline: u64,
        mut uncollected: impl FnMut(T::Watch),
    ) -> Result<(), Error<T::Failure>> {
        self.hang_up();
        if !self.inspect(|machine| machine.is_idle()) {
            self.sched.acquire_timer().map_err(|_| Error::InUse)?;
            let left = self.drain(deadline);
            self.sched.release_timer();
            left?;
        }
        let mut from = 0;
        loop {
            let Some((watch, reply, next)) =
                self.with_locked(|machine| machine.take_uncollected(from))
            else {
                break;
            };
            from = next;
            if let Some(reply) = reply {
                self.transport.orphan(reply);
            }
            uncollected(watch);
        }
        let memory = self.with_locked(|machine| machine.take_storage());
        drop(memory);
        let ready_fd = self.ready_fd.lock().take();
        drop(ready_fd);
        Ok(())
    }

    fn drain(&self, deadline: u64) -> Result<(), Error<T::Failure>> {
        let mut state = self.lock();
        let wakeup = sleep_until(
            &self.sched,
            deadline,
            |handle| {
                let unused = state.set_drain_waiter(handle).err();
                self.release(state);
                // If another caller is shutting down already, dropping the handle wakes this caller.
                drop(unused);
            },
            || {
                let handle = self.with_locked(|machine| machine.take_drain_waiter());
                drop(handle);
                NEVER
            },
        );
        match wakeup {
            Some(Wakeup::Work) => Ok(()),
            _ => Err(Error::InUse),
        }
    }
}
