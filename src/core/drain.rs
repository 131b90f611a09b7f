//! The Mux is hung up, and emptied when everybody has left. See `rpc::retiring` for who waits for that.

use super::call::{CallState, Kind, Protocol, WakeReason};
use super::machine::Machine;
use super::roles::{Muxer, Sender};
use super::slab::CallSlab;
use super::tags::TagPool;

impl<P: Protocol, H> Machine<P, H> {
    /// The connection is given up for good: every call ends, and later ones are refused. Whoever is
    /// inside `send` or `recv` learns of it when that returns.
    pub fn hang_up(&mut self) {
        self.hung_up = true;
        while let Some(id) = self.tag_waiters.pop_front(&mut self.calls) {
            self.queue_wake(id, WakeReason::Done);
        }
        if let Muxer::Call(id) = self.role.holder() {
            if let Some(call) =
                self.calls.get_mut(id).filter(|call| call.state == CallState::TagWait)
            {
                call.state = CallState::Done;
            }
        }
        self.handle_disconnect();
    }

    /// Whether nobody is inside: no caller, no proc, and no one who wakes others. What calls there are
    /// are over and non-blocking ones, for their owners to collect.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.calls.live() == self.finishable
            && self.role.is(Muxer::Unassigned)
            && self.turn.is(Sender::Unassigned)
            && !self.receive_proc.is_present()
            && !self.send_proc.is_present()
            && self.wake_queue.is_empty()
            && self.pins == 0
    }

    /// Somebody waits until it [is idle](Machine::is_idle), and can be woken with `wake`. One at a time
    /// can.
    ///
    /// # Errors
    /// The wake, when somebody waits already.
    pub fn set_drain_waiter(&mut self, handle: H) -> Result<(), H> {
        match self.drain_waiter {
            Some(_) => Err(handle),
            None => {
                self.drain_waiter = Some(handle);
                Ok(())
            }
        }
    }

    /// It waits no longer: answers its wake, if it has not been used.
    pub fn take_drain_waiter(&mut self) -> Option<H> {
        self.drain_waiter.take()
    }

    /// Somebody goes on to do something for others, after its own call is over.
    pub fn pin(&mut self) {
        self.pins += 1;
    }

    /// And has done it.
    pub fn unpin(&mut self) {
        self.pins -= 1;
    }

    /// A call whose owner has not collected it, from number `from` on, is no more: answers how its
    /// owner watches, the reply, and the number to go on from. For when it is idle.
    pub fn take_uncollected(&mut self, from: u32) -> Option<(P::Watch, Option<P::Reply>, u32)> {
        for id in from..self.calls.slot_count() {
            let Some(call) = self.calls.get_mut(id) else { continue };
            if let (Kind::NonBlocking(watch), CallState::Done) = (call.kind, call.state) {
                let reply = call.reply.take();
                self.finishable -= 1;
                self.calls.free(id);
                return Some((watch, reply, id + 1));
            }
        }
        None
    }

    /// Gives up what memory it has. For when it is idle, and has been hung up.
    pub fn take_storage(&mut self) -> impl Sized + use<P, H> {
        (
            std::mem::replace(&mut self.tags, TagPool::new()),
            std::mem::replace(&mut self.calls, CallSlab::new()),
        )
    }
}
