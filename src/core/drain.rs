//! The end of a Mux: it is hung up, and its memory is released when no caller is inside the
//! library. See `rpc::shutdown` for the callers that wait for that.

use super::call::{Kind, Outcome, Protocol, WakeReason};
use super::call_state::{CallState, StateKind};
use super::machine::Machine;
use super::procs::ProcKind;
use super::roles::{Muxer, Sender};
use super::slab::CallSlab;

/// The part of the state that only the end of a Mux concerns.
pub(super) struct Drain<H> {
    /// Wakes the caller that waits until the machine is idle.
    waiter: Option<H>,
    /// Number of callers that are still inside the library without a call of their own.
    pins: u32,
    /// True if the connection has been hung up, which is final.
    hung_up: bool,
}

impl<H> Drain<H> {
    pub const fn new() -> Drain<H> {
        Drain { waiter: None, pins: 0, hung_up: false }
    }

    #[inline]
    pub fn is_hung_up(&self) -> bool {
        self.hung_up
    }

    #[inline]
    pub fn has_waiter(&self) -> bool {
        self.waiter.is_some()
    }

    pub fn take_waiter(&mut self) -> Option<H> {
        self.waiter.take()
    }

    pub fn pin(&mut self) {
        self.pins += 1;
    }

    pub fn unpin(&mut self) {
        self.pins -= 1;
    }

    /// Returns the number of pins.
    #[inline]
    pub fn pins(&self) -> u32 {
        self.pins
    }
}

impl<P: Protocol, H> Machine<P, H> {
    /// Hangs up the connection, which is final: every call ends, and later calls fail. A caller
    /// inside `send` or `recv` learns of it when that function returns.
    pub fn hang_up(&mut self) {
        self.drain.hung_up = true;
        while let Some(id) = self.tags.pop_waiter(&mut self.calls) {
            self.transition(id, StateKind::TagWait, CallState::Done(Outcome::Ended));
            self.queue_wake(id, WakeReason::Completed);
        }
        if let Muxer::Call(id) = self.role.holder() {
            if self.calls.get_mut(id).is_some_and(|call| call.is(StateKind::TagWait)) {
                self.transition(id, StateKind::TagWait, CallState::Done(Outcome::Ended));
            }
        }
        self.handle_disconnect();
    }

    /// Returns true if no caller and no proc is inside the library, and no caller has wake-ups left
    /// to deliver. All remaining calls are completed non-blocking calls that have not been
    /// collected.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.calls.live() == self.counts.finishable
            && self.role.is(Muxer::Unassigned)
            && self.turn.is(Sender::Unassigned)
            && !self.procs.is_present(ProcKind::Receive)
            && !self.procs.is_present(ProcKind::Send)
            && self.wake_queue.is_empty()
            && self.drain.pins() == 0
    }

    /// Records the handle of a caller that waits until the machine [is idle](Machine::is_idle).
    ///
    /// # Errors
    /// Returns the handle if another caller is already waiting.
    pub fn set_drain_waiter(&mut self, handle: H) -> Result<(), H> {
        match self.drain.waiter {
            Some(_) => Err(handle),
            None => {
                self.drain.waiter = Some(handle);
                Ok(())
            }
        }
    }

    /// Ends this wait. Returns the handle if it has not been used.
    pub fn take_drain_waiter(&mut self) -> Option<H> {
        self.drain.take_waiter()
    }

    /// Records that a caller without a call of its own is still inside the library, for example to
    /// deliver wake-ups. The Mux must not be freed until the caller calls `unpin`.
    pub fn pin(&mut self) {
        self.drain.pin();
    }

    /// Ends a `pin`.
    pub fn unpin(&mut self) {
        self.drain.unpin();
    }

    /// Frees the first uncollected call in slot `from` or a later one. Returns its watch, its
    /// reply, and the slot to continue from. Must be called only when the machine is idle.
    pub fn take_uncollected(&mut self, from: u32) -> Option<(P::Watch, Option<P::Reply>, u32)> {
        for id in from..self.calls.slot_count() {
            let Some(call) = self.calls.get_mut(id) else { continue };
            if let (Kind::NonBlocking(watch), CallState::Done(_)) = (call.kind, call.state()) {
                let reply = self.calls.free(id, &mut self.counts).into_reply();
                return Some((watch, reply, id + 1));
            }
        }
        None
    }

    /// Returns the memory of the machine for the caller to drop. Must be called only when the
    /// machine is idle and has been hung up.
    pub fn take_storage(&mut self) -> impl Sized + use<P, H> {
        (self.tags.take_pool(), std::mem::replace(&mut self.calls, CallSlab::new()))
    }
}
