//! The receive proc and the send proc, which receive and send for all callers until the connection ends.
//!
//! Each proc is a function that runs on the calling thread or coroutine until the connection ends. Procs
//! may start while calls are outstanding: they acquire the receiver role and the turn to send when the
//! present holders release them. When the connection ends, the receive proc stops the send proc, and
//! the callers receive and send for themselves again.

use crate::core::{ReceiverGrant, SendProcAction, Wakeup};
use crate::sched::Sched;
use crate::sched::native::Native;

use super::{Mux, Transport};

/// A receive proc that has not started to run. It counts as a running receive proc from its creation, so
/// that a future that waits before the proc's thread has started does not fail with
/// [`Error::Stuck`](super::Error::Stuck). Dropping it without running it unregisters the proc.
#[must_use = "no message is received until it runs"]
pub struct Receiver<'a, T: Transport, S: Sched = Native>(&'a Mux<T, S>);

impl<T: Transport, S: Sched> Receiver<'_, T, S> {
    /// Receives messages for all callers. Returns when the connection ends.
    pub fn run(self) {
        let mux = self.0;
        // The proc unregisters itself. If the transport unwinds, no other caller may get the role, so that the
        // destructor must not run then either.
        std::mem::forget(self);
        mux.run_receive_proc();
    }
}

impl<T: Transport, S: Sched> Drop for Receiver<'_, T, S> {
    fn drop(&mut self) {
        self.0.with_locked_and_range(|machine| machine.receive_proc_gone());
    }
}

impl<T: Transport, S: Sched> std::fmt::Debug for Receiver<'_, T, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Registers a receive proc, which a thread must then [`run`](Receiver::run). Returns `None` if a
    /// receive proc exists already. For an example, see [`Call`](crate::Call). This may be called from any
    /// thread.
    pub fn receiver(&self) -> Option<Receiver<'_, T, S>> {
        // Not `then_some`, because the destructor of an unused receiver would unregister the other one.
        self.claim_receive_proc().then(|| Receiver(self))
    }

    /// Receives messages for all callers. Returns when the connection ends, or immediately if a receive
    /// proc exists already.
    pub fn receive_proc(&self) {
        if self.claim_receive_proc() {
            self.run_receive_proc();
        }
    }

    /// Registers a receive proc. Returns false if a receive proc exists already. If this returns true, the
    /// caller must ensure that [`run_receive_proc`](Mux::run_receive_proc) is called, or call
    /// [`procs_failed`](Mux::procs_failed).
    pub(crate) fn claim_receive_proc(&self) -> bool {
        self.with_locked(|machine| machine.request_receive_proc())
    }

    /// As [`claim_receive_proc`](Mux::claim_receive_proc), for the send proc.
    pub(crate) fn claim_send_proc(&self) -> bool {
        self.with_locked(|machine| machine.request_send_proc())
    }

    /// Runs the receive proc, which must have been registered. Returns when the connection ends.
    pub(crate) fn run_receive_proc(&self) {
        let mut state = self.lock();
        loop {
            match state.next_receive_proc_grant() {
                ReceiverGrant::Granted => {
                    self.release(state);
                    state = self.receive();
                }
                ReceiverGrant::Wait => {
                    let Wakeup::Work =
                        self.sleep(state, |machine, wake| machine.set_receive_proc_asleep(wake))
                    else {
                        return;
                    };
                    state = self.lock();
                }
                ReceiverGrant::Denied => return self.release(state),
            }
        }
    }

    /// Sends requests for all callers. Returns when the connection ends, or immediately if a send proc
    /// exists already. For an example, see [`receive_proc`](Mux::receive_proc).
    pub fn send_proc(&self) {
        if self.claim_send_proc() {
            self.run_send_proc();
        }
    }

    /// Runs the send proc, which must have been registered. Returns when the connection ends.
    pub(crate) fn run_send_proc(&self) {
        let mut state = self.lock();
        loop {
            match state.next_send_proc_action() {
                SendProcAction::Send(id, request) => {
                    self.release(state);
                    let (result, epoch) = self.send(request, true);
                    state = self.lock_with_range();
                    state.handle_proxy_sent(id, result, epoch);
                }
                SendProcAction::Wait => {
                    let Wakeup::Work =
                        self.sleep(state, |machine, wake| machine.set_send_proc_asleep(wake))
                    else {
                        return;
                    };
                    state = self.lock();
                }
                SendProcAction::Stop => return self.release(state),
            }
        }
    }

    /// Unregisters the procs after one of them could not be started: the send proc or, if `sends` is
    /// true, the receive proc. In the second case the send proc is running already, and is stopped.
    pub(crate) fn procs_failed(&self, sends: bool) {
        self.with_locked(|machine| {
            if sends {
                machine.stop_procs();
                machine.receive_proc_gone();
            } else {
                machine.send_proc_gone();
            }
        });
    }
}
