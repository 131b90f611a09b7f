//! The end of a Mux that others may still be inside of, as a C program ends one.
//!
//! It is hung up, so everybody who sleeps is told and leaves; who is in `send` or `recv` leaves when
//! that returns, and so do the procs. The last to leave wakes the one who waits here. Who is told while
//! it sleeps does not touch the Mux again, unless it has a clock: its call is kept until then. Who is
//! awake leaves by the state lock, whose memory may go as soon as it is free, and is counted if it has
//! something left to do after that.
//!
//! What remains is empty and hung up, but whole: a caller who comes too late is refused.

use crate::core::Wakeup;
use crate::sched::clock::NEVER;
use crate::sched::{Sched, sleep_until};

use super::{Error, Mux, Transport};

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Hangs up, waits until nobody is inside, but not longer than until `deadline`, and gives up all
    /// memory. Non-blocking calls that nobody has collected are no more: their replies are orphans, and
    /// `uncollected` hears of each.
    ///
    /// # Errors
    /// [`Error::InUse`] when somebody is still inside; it is hung up then, and nothing else is done.
    pub(crate) fn shut_down(
        &self,
        deadline: u64,
        mut uncollected: impl FnMut(T::Watch),
    ) -> Result<(), Error<T::Failure>> {
        self.hang_up();
        if !self.state.lock().is_idle() {
            self.sched.acquire_timer().map_err(|_| Error::InUse)?;
            let left = self.drain(deadline);
            self.sched.release_timer();
            left?;
        }
        let mut from = 0;
        loop {
            let Some((watch, reply, next)) = self.state.lock().take_uncollected(from) else {
                break;
            };
            from = next;
            if let Some(reply) = reply {
                self.transport.orphan(reply);
            }
            uncollected(watch);
        }
        let memory = self.state.lock().take_storage();
        drop(memory);
        let ready_fd = self.ready_fd.lock().take();
        drop(ready_fd);
        Ok(())
    }

    fn drain(&self, deadline: u64) -> Result<(), Error<T::Failure>> {
        let mut state = self.state.lock();
        let told = sleep_until(
            &self.sched,
            deadline,
            |handle| {
                let refused = state.set_drain_waiter(handle).err();
                self.release(state);
                // This ends the sleep.
                drop(refused);
            },
            || {
                let handle = self.state.lock().take_drain_waiter();
                drop(handle);
                NEVER
            },
        );
        match told {
            Some(Wakeup::Work) => Ok(()),
            _ => Err(Error::InUse),
        }
    }
}
