//! The two procs: one receives for all, one sends for all, until the connection ends.
//!
//! Each is a plain function that runs until then, on whatever thread or coroutine calls it. The
//! roles of muxer and sender become theirs as soon as whoever has them lets go, so that they can be
//! started while calls are going on. At the end of the connection the receive proc tells the send
//! proc, and the Mux works on as if there had been none.

use crate::core::{ReceiverGrant, SendProcAction, Wakeup};
use crate::sched::Sched;
use crate::sched::native::Native;

use super::{Mux, Transport};

/// A receive proc that has yet to run. The calls count on it from the moment that it is there, so a task
/// that starts before its thread does is not told that nobody receives. Dropping it ends that.
#[must_use = "nobody receives until it runs"]
pub struct Receiver<'a, T: Transport, S: Sched = Native>(&'a Mux<T, S>);

impl<T: Transport, S: Sched> Receiver<'_, T, S> {
    /// Receives for all until the connection ends.
    pub fn run(self) {
        self.0.run_receive_proc();
        // It has said itself that it is gone.
        std::mem::forget(self);
    }
}

impl<T: Transport, S: Sched> Drop for Receiver<'_, T, S> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receive_proc_gone();
        self.0.release(state);
    }
}

impl<T: Transport, S: Sched> std::fmt::Debug for Receiver<'_, T, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl<T: Transport, S: Sched> Mux<T, S> {
    /// A receive proc, for a thread that is about to run; `None` when there is one already. See
    /// [`Call`](crate::Call).
    pub fn receiver(&self) -> Option<Receiver<'_, T, S>> {
        self.claim_receive_proc().then_some(Receiver(self))
    }

    /// Receives for all until the connection ends. Returns at once when somebody does already.
    ///
    /// ```
    /// # mod echo { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/echo.rs")); }
    /// # use echo::*;
    /// use mux::Mux;
    /// use std::thread;
    ///
    /// let mux = Mux::new(Echo::default());
    /// thread::scope(|scope| {
    ///     scope.spawn(|| mux.receive_proc());
    ///     scope.spawn(|| mux.send_proc());
    ///     assert_eq!(mux.rpc(request("hello")).unwrap().1, "hello");
    ///     mux.hang_up();
    ///     mux.transport().close();
    /// });
    /// ```
    pub fn receive_proc(&self) {
        if self.claim_receive_proc() {
            self.run_receive_proc();
        }
    }

    /// Whether a receive proc has to be started: then it is counted on from now on, and whoever is
    /// answered true sees to it that [`run_receive_proc`](Mux::run_receive_proc) is called, or else
    /// calls [`procs_failed`](Mux::procs_failed).
    pub(crate) fn claim_receive_proc(&self) -> bool {
        let mut state = self.lock();
        let first = state.request_receive_proc();
        self.release(state);
        first
    }

    /// As [`claim_receive_proc`](Mux::claim_receive_proc), for the send proc.
    pub(crate) fn claim_send_proc(&self) -> bool {
        self.lock().request_send_proc()
    }

    /// The receive proc.
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
                        self.sleep(state, |core, wake| core.set_receive_proc_asleep(wake))
                    else {
                        return;
                    };
                    state = self.lock();
                }
                ReceiverGrant::Denied => return self.release(state),
            }
        }
    }

    /// Sends for all until the connection ends. Returns at once when somebody does already. See
    /// [`receive_proc`](Mux::receive_proc).
    pub fn send_proc(&self) {
        if self.lock().request_send_proc() {
            self.run_send_proc();
        }
    }

    /// The send proc.
    pub(crate) fn run_send_proc(&self) {
        let mut state = self.lock();
        loop {
            match state.next_send_proc_action() {
                SendProcAction::Send(id, request) => {
                    self.release(state);
                    let (result, epoch) = self.send(request, true);
                    state = self.lock();
                    state.handle_proxy_sent(id, result, epoch);
                }
                SendProcAction::Wait => {
                    let Wakeup::Work =
                        self.sleep(state, |core, wake| core.set_send_proc_asleep(wake))
                    else {
                        return;
                    };
                    state = self.lock();
                }
                SendProcAction::Stop => return self.release(state),
            }
        }
    }

    /// The send proc, or (`sends`) after it the receive proc, could not be started. Neither is
    /// counted on any more; a send proc that runs stops.
    pub(crate) fn procs_failed(&self, sends: bool) {
        let mut state = self.lock();
        if sends {
            state.stop_procs();
            state.receive_proc_gone();
        } else {
            state.send_proc_gone();
        }
        self.release(state);
    }
}
