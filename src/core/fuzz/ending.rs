//! The end of a run, and what must hold then.
//!
//! Every `send` succeeds, the server replies to all requests that it has read, and no caller
//! arrives. All blocking callers must then return, without the end of the connection and without
//! the owners of non-blocking calls, because an owner may never collect its call. After that the
//! owners collect their calls, the connection ends, and the procs stop.

use super::model::Kind;
use super::world::{CallerState, Operation, Proc, Wire, World};

/// More steps than a run can need.
const STEPS: usize = 20_000;

impl World<'_> {
    pub fn finish(&mut self) {
        self.run_until_idle(false);
        self.run_until_idle(true);
        for caller in &self.callers {
            assert_eq!(caller.state, CallerState::Done, "locked up: {caller:?}");
        }
        if self.model.hung_up {
            assert_ne!(self.send_proc, Proc::Asleep, "a send proc is left after the hang-up");
            assert_ne!(self.receive_proc, Proc::Asleep, "a receive proc is left after the hang-up");
        }
        self.wire.push_back(Wire::End);
        for _ in 0..8 {
            self.run_receive_proc();
            self.run_send_proc();
        }
        if self.receive_proc == Proc::Absent && self.wire.pop_front().is_some() {
            // No receiver saw the end of the connection: a later caller reports it.
            self.handle_disconnect();
            self.deliver_wakes();
        }
        for _ in 0..8 {
            self.run_send_proc();
        }
        assert_eq!((&self.receive_proc, &self.send_proc), (&Proc::Absent, &Proc::Absent));
        assert_eq!(self.machine.outstanding(), 0, "tags are lost");
        assert_eq!(self.machine.stats().errors, self.model.counts.errors, "calls without a reply");
        assert!(self.machine.is_idle(), "the machine is not idle");
        assert!(!self.has_drain_waiter, "no caller is inside, and the drain waiter was not woken");
    }

    /// Runs until no event is possible.
    fn run_until_idle(&mut self, with_owners: bool) {
        for _ in 0..STEPS {
            if !self.run_each_once(with_owners) && !self.release_stuck_caller(with_owners) {
                return;
            }
        }
        panic!("the run does not end");
    }

    /// Runs one step of each caller and proc that can run. Returns whether any of them did.
    fn run_each_once(&mut self, with_owners: bool) -> bool {
        // The last event may have changed the range.
        self.tick();
        let mut has = self.wakes_due > 0;
        while self.wakes_due > 0 {
            self.deliver_more_wakes();
        }
        for at in 0..self.callers.len() {
            if self.can_run(at, with_owners) {
                has = true;
                self.run_caller(at);
            }
        }
        let can_send = self.send_proc == Proc::Busy && self.can_send(&self.proc_batch);
        if self.send_proc == Proc::Ready || can_send {
            has = true;
            self.run_send_proc();
        }
        let message = !self.wire.is_empty();
        if self.receive_proc == Proc::Ready || self.receive_proc == Proc::Busy && message {
            has = true;
            self.run_receive_proc();
        }
        self.check();
        self.trace(0);
        if !has && !self.server.is_empty() {
            has = true;
            while !self.server.is_empty() {
                self.write_reply(true);
            }
        }
        has
    }

    fn can_run(&self, at: usize, with_owners: bool) -> bool {
        let caller = &self.callers[at];
        let message = !self.wire.is_empty();
        match caller.state {
            CallerState::Done => false,
            CallerState::Asleep => {
                caller.deadline_passed && !caller.expiry_reported || caller.in_backoff && message
            }
            CallerState::InRecv | CallerState::ReceivingByHand(true) => message,
            CallerState::PollingReceiver => {
                message || self.can_poll || caller.deadline_passed && !caller.receives_late
            }
            CallerState::InSend => self.can_send(&caller.batch),
            CallerState::Started | CallerState::AwaitedByFuture if !with_owners => false,
            CallerState::AwaitedByFuture => message,
            _ => true,
        }
    }

    /// No caller can run. A caller may wait for a message that never arrives, as documented.
    fn release_stuck_caller(&mut self, with_owners: bool) -> bool {
        if self.callers.is_empty() {
            return false;
        }
        let by_hand = |operation| operation == Operation::ReceiveByHand;
        let waits = |state| {
            matches!(
                state,
                CallerState::InRecv
                    | CallerState::ReceivingByHand(true)
                    | CallerState::PollingReceiver
            )
        };
        let in_recv = self.callers.iter().find(|caller| waits(caller.state));
        // A caller that receives by hand accepts any message. Another receiver may have received
        // only for a call that was abandoned, or whose request was not sent.
        if in_recv.is_some_and(|caller| by_hand(caller.operation) || self.request_was_lost) {
            self.write_message(None);
            return true;
        }
        let blocks = |operation| operation != Operation::Call(Kind::NonBlocking);
        let stuck = self.callers.iter().find(|caller| blocks(caller.operation));
        assert!(with_owners || stuck.is_none(), "locked up: {stuck:?} of {:?}", self.callers);
        false
    }
}
