//! How the world runs out, and what must be true then.
//!
//! Every send succeeds, the server answers what it was asked, and nobody new comes. So whoever blocks
//! must get done without the end of the connection, and without the owners of non-blocking calls, who
//! may never come to see. Then these come, then the connection ends, and the procs with it.

use super::model::Kind;
use super::world::{Doing, Proc, What, Wire, World};

/// More steps than it can take.
const STEPS: usize = 20_000;

impl World<'_> {
    pub fn runs_out(&mut self) {
        self.runs_on(false);
        self.runs_on(true);
        for caller in &self.callers {
            assert_eq!(caller.doing, Doing::Done, "locked up: {caller:?}");
        }
        if self.model.hung_up {
            assert_ne!(self.send_proc, Proc::Asleep, "a send proc is left after the hang-up");
            assert_ne!(self.receive_proc, Proc::Asleep, "a receive proc is left after the hang-up");
        }
        self.wire.push_back(Wire::End);
        for _ in 0..8 {
            self.receive_proc_runs();
            self.send_proc_runs();
        }
        if self.receive_proc == Proc::Absent && self.wire.pop_front().is_some() {
            // Nobody has received it: one that comes by sees it.
            self.connection_ends();
            self.gathers();
        }
        for _ in 0..8 {
            self.send_proc_runs();
        }
        assert_eq!((&self.receive_proc, &self.send_proc), (&Proc::Absent, &Proc::Absent));
        assert_eq!(self.machine.outstanding(), 0, "tags are lost");
        assert_eq!(self.machine.stats().errors, self.model.counts.errors, "calls without a reply");
        assert!(self.machine.is_idle(), "somebody is thought to be inside");
        assert!(!self.closes, "nobody is inside, and it has not been told");
    }

    /// Until nothing can happen any more.
    fn runs_on(&mut self, with_owners: bool) {
        for _ in 0..STEPS {
            if !self.goes_on(with_owners) && !self.is_unstuck(with_owners) {
                return;
            }
        }
        panic!("it does not come to an end");
    }

    /// One step of each that can take one; answers whether anything has come of it.
    fn goes_on(&mut self, with_owners: bool) -> bool {
        // The last event may have changed the range.
        self.ticks();
        let mut has = self.due > 0;
        while self.due > 0 {
            self.gathers_more();
        }
        for at in 0..self.callers.len() {
            if self.is_able(at, with_owners) {
                has = true;
                self.caller_runs(at);
            }
        }
        let can_send = self.send_proc == Proc::Busy && self.can_send(&self.proc_batch);
        if self.send_proc == Proc::Ready || can_send {
            has = true;
            self.send_proc_runs();
        }
        let message = !self.wire.is_empty();
        if self.receive_proc == Proc::Ready || self.receive_proc == Proc::Busy && message {
            has = true;
            self.receive_proc_runs();
        }
        self.settles();
        self.traces(0);
        if !has && !self.server.is_empty() {
            has = true;
            while !self.server.is_empty() {
                self.answers(true);
            }
        }
        has
    }

    fn is_able(&self, at: usize, with_owners: bool) -> bool {
        let caller = &self.callers[at];
        let message = !self.wire.is_empty();
        match caller.doing {
            Doing::Done => false,
            Doing::Asleep => caller.late && !caller.expired || caller.naps && message,
            Doing::Recv | Doing::ByHand(true) => message,
            Doing::Look => message || self.polls || caller.late && !caller.stays,
            Doing::Send => self.can_send(&caller.batch),
            Doing::Started | Doing::Watched if !with_owners => false,
            Doing::Watched => message,
            _ => true,
        }
    }

    /// Nothing goes on. Some may wait for what will never come, as they have been told they might.
    fn is_unstuck(&mut self, with_owners: bool) -> bool {
        if self.callers.is_empty() {
            return false;
        }
        let by_hand = |what| what == What::ByHand;
        let waits = |doing| matches!(doing, Doing::Recv | Doing::ByHand(true) | Doing::Look);
        let in_recv = self.callers.iter().find(|caller| waits(caller.doing));
        // By hand it waits for a message, whatever it is; another's call may have been given up, or its
        // request not sent, while it received for that alone.
        if in_recv.is_some_and(|caller| by_hand(caller.what) || self.unsendable) {
            self.writes(None);
            return true;
        }
        let blocks = |what| what != What::Call(Kind::NonBlocking);
        let stuck = self.callers.iter().find(|caller| blocks(caller.what));
        assert!(with_owners || stuck.is_none(), "locked up: {stuck:?} of {:?}", self.callers);
        false
    }
}
