//! What a caller does next: `src/rpc`, step by step, with everything that could happen in between.

use super::model::{Fate, Kind, Whose};
use super::world::Numbers;
use super::world::{Caller, Doing, What, Wire, World};
use crate::core::{
    Action, BeginError, Begun, CallId, CollectAction, MAX_PROXY_SENDS, ReceiverGrant, SendTurn,
    Wakeup,
};

impl World<'_> {
    /// Goes on with what it is doing, if it can.
    pub fn caller_runs(&mut self, at: usize) {
        match self.callers[at].doing {
            Doing::Tag(turn) => self.has_tag(at, turn),
            Doing::Turn => self.has_turn(at),
            Doing::Send => self.is_in_send(at),
            Doing::Recv => self.is_in_recv(at),
            Doing::Look => self.looks(at),
            Doing::Step => self.asks(at),
            Doing::Asleep => self.clock_rings(at),
            Doing::Waking(fate) => self.wakes_up(at, fate),
            Doing::Refused(has_role) => self.looks_for_a_tag(at, has_role),
            Doing::Started => self.sees_how_it_stands(at),
            Doing::Watched => self.is_watched(at),
            Doing::Poll => self.polls(at),
            Doing::ByHand(waits) => self.receives_by_hand(at, waits),
            Doing::Done => {}
        }
    }

    fn me(&mut self, at: usize) -> &mut Caller {
        &mut self.callers[at]
    }

    fn is_late(&mut self, at: usize) -> bool {
        if self.callers[at].timed && !self.callers[at].late {
            let late = self.bytes.rarely(4);
            self.me(at).late = late;
        }
        self.callers[at].late
    }

    /// The machine's answer, and with it the way on. Sleepers are named before the lock goes.
    fn steps(&mut self, at: usize, step: Action<Numbers>) {
        let Caller { id, serial, name, timed, what, .. } = self.callers[at];
        if step == Action::Sleep {
            self.machine.set_asleep(id, serial);
            self.me(at).expired = false;
            self.me(at).doing = Doing::Asleep;
            return self.gathers();
        }
        if let Action::Completed(outcome) = &step {
            return self.is_over(at, World::fate_of(outcome));
        }
        match step {
            Action::Tagged(tag) => {
                let since = self.callers[at].since;
                self.model.tagged(name, tag, &self.ranges[since..]);
                self.me(at).doing = Doing::Tag(false);
            }
            Action::Turn(request) => {
                assert_eq!(request, name);
                return self.has_turn(at);
            }
            Action::Receive if timed => self.me(at).doing = Doing::Look,
            Action::Receive => self.me(at).doing = Doing::Recv,
            Action::ProxySend(other, request) => {
                self.gathers();
                self.me(at).helped += 1;
                let batch = self.takes_to_send((other, request), true, true);
                self.me(at).batch = batch;
                self.me(at).doing = Doing::Send;
                return;
            }
            // A message by hand has been sent.
            Action::Pending if what == What::Call(Kind::Message) => {
                return self.is_over(at, Fate::Sent);
            }
            Action::Pending => self.me(at).doing = Doing::Started,
            _ => unreachable!(),
        }
        self.gathers();
    }

    /// The owner has control back, as soon as the lock is released.
    fn is_over(&mut self, at: usize, fate: Fate) {
        let name = self.callers[at].name;
        if fate == Fate::TimedOut {
            assert!(self.callers[at].late, "its time has not come");
        }
        self.model.is_told(name, fate, self.range);
        self.returns(at);
        self.gathers();
    }

    fn returns(&mut self, at: usize) {
        let name = self.callers[at].name;
        assert!(!self.in_send.contains_key(&name), "{name}'s request is in use");
        self.me(at).doing = Doing::Done;
    }

    fn asks(&mut self, at: usize) {
        self.me(at).stays = false;
        let step = self.machine.next_action(self.callers[at].id);
        self.steps(at, step);
    }

    // --- it begins

    pub fn begins(&mut self, at: usize) {
        match self.callers[at].what {
            What::Call(Kind::Message) => match self.machine.begin_message() {
                Ok(id) => {
                    self.me(at).id = id;
                    self.me(at).name = self.model.begun_message();
                    self.me(at).doing = Doing::Tag(false);
                }
                Err(why) => self.refuses(Kind::Message, why),
            },
            What::Call(kind) => self.begins_call(at, kind, false),
            What::ByHand => {
                let waits = self.bytes.choice(3) != 2;
                let serial = self.callers[at].serial;
                let doing = match self.machine.begin_receive(waits) {
                    Ok((id, ReceiverGrant::Granted)) => {
                        self.me(at).id = id;
                        Doing::ByHand(waits)
                    }
                    Ok((id, ReceiverGrant::Wait)) if waits => {
                        self.me(at).id = id;
                        self.machine.set_asleep(id, serial);
                        Doing::Asleep
                    }
                    Ok(_) => Doing::Done,
                    Err(why) => {
                        assert!(why == BeginError::HungUp && self.model.hung_up);
                        Doing::Done
                    }
                };
                self.me(at).doing = doing;
                self.gathers();
            }
        }
    }

    fn begins_call(&mut self, at: usize, kind: Kind, again: bool) {
        // Its name is what its owner watches by, so it has to be known before.
        let next = self.model.calls.len() as u32;
        let watch = (kind == Kind::NonBlocking).then_some(next);
        let result = self.machine.begin(watch);
        if let (Err(BeginError::NoTag), true, false) = (&result, self.polls, again) {
            // It is inside, though it has no call.
            self.machine.pin();
            self.gathers();
            self.me(at).doing = Doing::Refused(false);
            return;
        }
        match result {
            Err(why) => {
                // Those who wait for a tag may have got the last of them just now.
                self.gathers();
                self.refuses(kind, why);
                self.me(at).doing = Doing::Done;
            }
            Ok(Begun { id, tag, turn }) => {
                self.me(at).id = id;
                self.me(at).name = next;
                self.me(at).since = self.ranges.len() - 1;
                if self.callers[at].timed {
                    self.machine.mark_has_deadline(id);
                }
                let step = match tag {
                    None => Some(self.machine.next_action(id)),
                    Some(_) => None,
                };
                self.me(at).doing = Doing::Tag(turn);
                // Others that are told now have got their tags before this one asked for its own.
                if let Some(Action::Sleep) = step {
                    self.machine.set_asleep(id, self.callers[at].serial);
                    self.me(at).doing = Doing::Asleep;
                }
                self.gathers();
                assert_eq!(self.model.begun(kind, self.range, tag), next);
                if turn {
                    self.model.turn(next);
                }
                match step {
                    Some(Action::Sleep) | None => {}
                    Some(step) => self.steps(at, step),
                }
            }
        }
    }

    /// It was refused: replies that are there may free a tag.
    fn looks_for_a_tag(&mut self, at: usize, has_role: bool) {
        let What::Call(kind) = self.callers[at].what else { unreachable!() };
        if !has_role {
            match self.machine.begin_receive(false) {
                Ok((id, ReceiverGrant::Granted)) => {
                    self.me(at).id = id;
                    self.me(at).doing = Doing::Refused(true);
                }
                _ => {
                    self.machine.unpin();
                    self.begins_call(at, kind, true);
                }
            }
            return self.gathers();
        }
        let (_, ended) = if self.wire.is_empty() { (false, true) } else { self.receives(false) };
        if ended {
            let id = self.callers[at].id;
            self.machine.end_receive(id);
            self.me(at).doing = Doing::Refused(false);
            self.gathers();
            self.machine.unpin();
            self.begins_call(at, kind, true);
        }
        self.gathers();
    }

    // --- it sends

    fn has_tag(&mut self, at: usize, turn: bool) {
        let Caller { id, name, what, serial, .. } = self.callers[at];
        if what != What::Call(Kind::Message) && self.bytes.rarely(12) {
            // The request does not take it.
            return self.abandons(at);
        }
        if turn {
            return self.has_turn(at);
        }
        if self.is_late(at) {
            return self.abandons(at);
        }
        let queued = self.machine.request_turn(id, name);
        match queued {
            SendTurn::Granted(request) => {
                assert_eq!(request, name);
                self.model.turn(name);
                self.has_turn(at);
            }
            SendTurn::Wait => {
                self.machine.set_asleep(id, serial);
                self.model.queued(name);
                self.me(at).expired = false;
                self.me(at).doing = Doing::Asleep;
            }
            SendTurn::HungUp => {
                self.model.refused_at_turn(name);
                self.is_over(at, Fate::Ended);
            }
        }
        self.gathers();
    }

    fn abandons(&mut self, at: usize) {
        let Caller { id, name, .. } = self.callers[at];
        let orphan = self.machine.cancel_unsent(id);
        assert_eq!(orphan, self.model.abandoned(name));
        self.returns(at);
        self.gathers();
    }

    fn has_turn(&mut self, at: usize) {
        let Caller { id, name, what, .. } = self.callers[at];
        self.model.turn(name);
        if self.is_late(at) {
            return self.abandons(at);
        }
        let batch = self.takes_to_send((id, name), false, what == What::Call(Kind::Blocking));
        self.me(at).batch = batch;
        self.me(at).doing = Doing::Send;
        self.gathers();
    }

    fn is_in_send(&mut self, at: usize) {
        let batch = std::mem::take(&mut self.me(at).batch);
        let (first, helps, began) = (batch.first, batch.helps, batch.began);
        let answer = match self.sends(batch) {
            Ok(rest) => {
                self.me(at).batch = rest;
                return;
            }
            Err(answer) => answer,
        };
        let Some((first, name)) = first else { unreachable!() };
        let Caller { id, helped, .. } = self.callers[at];
        // The lock is taken anew: it is in no send any more.
        self.me(at).doing = Doing::Step;
        self.leaves_send(name, answer, began);
        let step = match helps {
            true => self.machine.handle_proxy_sent_by_caller(
                id,
                helped < MAX_PROXY_SENDS,
                first,
                answer,
                began,
            ),
            false => self.machine.handle_sent(id, answer, began),
        };
        self.steps(at, step);
    }

    // --- it receives

    fn is_in_recv(&mut self, at: usize) {
        if self.wire.is_empty() {
            return;
        }
        let (let_go, _) = self.receives(true);
        self.comes_back(at, let_go);
    }

    /// From recv. The lock is held until it knows what is next, unless there was an orphan.
    fn comes_back(&mut self, at: usize, let_go: bool) {
        self.me(at).doing = Doing::Step;
        match let_go {
            true => self.gathers(),
            false => self.asks(at),
        }
    }

    /// One with a deadline, that has the role.
    fn looks(&mut self, at: usize) {
        let id = self.callers[at].id;
        if !self.callers[at].stays && self.is_late(at) {
            self.me(at).stays = true;
            self.model.times_out(self.callers[at].name);
            let step = self.machine.handle_deadline_awake(id);
            return self.steps(at, step);
        }
        if !self.wire.is_empty() {
            let several = !self.polls;
            let (let_go, _) = self.receives(several);
            return self.comes_back(at, let_go);
        }
        if !self.polls {
            return;
        }
        let step = self.machine.begin_backoff(id);
        let sleeps = step == Action::Sleep;
        self.me(at).naps = sleeps;
        self.steps(at, step);
    }

    /// A sleeper wakes by itself: its nap is over, or its time has come.
    fn clock_rings(&mut self, at: usize) {
        let Caller { id, name, timed, naps, .. } = self.callers[at];
        if !timed || self.callers[at].expired {
            return;
        }
        let late = self.is_late(at);
        if naps {
            self.me(at).naps = false;
            if !late {
                self.machine.end_backoff(id);
                return self.gathers();
            }
        }
        if late {
            self.machine.end_backoff(id);
            // If that has called it to receive, it can not be told anything else.
            self.model.expired(name, self.due == 0 && !naps);
            self.machine.handle_deadline_asleep(id);
            self.me(at).expired = true;
            self.gathers();
        }
    }

    fn wakes_up(&mut self, at: usize, fate: Fate) {
        let id = self.callers[at].id;
        if self.bytes.choice(3) == 1 {
            self.machine.end_backoff(id);
            self.machine.handle_deadline_asleep(id);
            return self.gathers();
        }
        self.machine.ack_wake(id);
        match fate {
            Fate::TimedOut => {
                self.returns(at);
                self.gathers();
            }
            fate => self.is_over(at, fate),
        }
    }

    pub fn caller_is_told(&mut self, at: usize, told: Wakeup<Numbers>) {
        let Caller { name, timed, what, doing, since, .. } = self.callers[at];
        assert_eq!(doing, Doing::Asleep, "only a sleeper is told");
        self.me(at).naps = false;
        let fate = match told {
            Wakeup::Completed(outcome) => World::fate_of(&outcome),
            Wakeup::Busy => {
                assert_eq!(what, What::ByHand);
                self.me(at).doing = Doing::Done;
                return;
            }
            Wakeup::Tag(tag) => {
                self.model.tagged(name, tag, &self.ranges[since..]);
                self.me(at).doing = Doing::Tag(false);
                return;
            }
            Wakeup::Turn(request) => {
                assert_eq!(request, name);
                self.model.turn(name);
                self.me(at).doing = Doing::Turn;
                return;
            }
            Wakeup::Sent if what == What::Call(Kind::Message) => Fate::Sent,
            Wakeup::Sent => {
                self.returns(at);
                self.me(at).doing = Doing::Started;
                return;
            }
            Wakeup::Receive if what == What::ByHand => {
                self.me(at).doing = Doing::ByHand(true);
                return;
            }
            Wakeup::Receive => {
                self.model.goes_on(name);
                self.me(at).doing = Doing::Step;
                return;
            }
            Wakeup::Work => panic!("a caller is no proc"),
        };
        if what == What::ByHand {
            assert_eq!(fate, Fate::Ended);
            self.me(at).doing = Doing::Done;
            return;
        }
        if fate == Fate::TimedOut {
            assert!(self.callers[at].late, "its time has not come");
        }
        if timed {
            // Its clock may ring until it is awake.
            match fate {
                Fate::TimedOut => self.model.is_told(name, fate, self.range),
                fate => self.model.is_about_to_be_told(name, fate, self.range),
            }
            self.me(at).doing = Doing::Waking(fate);
            return;
        }
        self.model.is_told(name, fate, self.range);
        self.returns(at);
    }

    // --- non-blocking calls

    fn sees_how_it_stands(&mut self, at: usize) {
        let Caller { id, name, .. } = self.callers[at];
        match self.bytes.choice(10) {
            9 => self.cancels(at),
            8 => {
                if self.machine.register_future(id, self.polls) {
                    self.me(at).doing = Doing::Watched;
                }
                self.gathers();
            }
            _ => {
                let can_poll = self.polls;
                let finish = self.machine.try_collect(id, can_poll);
                assert!(finish != CollectAction::Stuck || !can_poll, "{name} can finish yet");
                self.finishes(at, finish);
            }
        }
    }

    fn cancels(&mut self, at: usize) {
        let Caller { id, name, .. } = self.callers[at];
        self.unsendable = true;
        let orphan = self.machine.abandon(id);
        assert_eq!(orphan, self.model.gives_up(name, Fate::Cancelled));
        self.returns(at);
        self.gathers();
    }

    fn is_watched(&mut self, at: usize) {
        // An executor may look for no reason, and has to when there is something and nobody receives.
        match self.bytes.choice(8) {
            7 => self.cancels(at),
            _ if !self.wire.is_empty() => self.me(at).doing = Doing::Started,
            _ => {}
        }
    }

    fn finishes(&mut self, at: usize, finish: CollectAction<Numbers>) {
        self.collects(at, &finish);
        match finish {
            CollectAction::Pending => self.me(at).doing = Doing::Started,
            CollectAction::Poll => self.me(at).doing = Doing::Poll,
            CollectAction::Reply(_) | CollectAction::Ended | CollectAction::Stuck => {
                self.returns(at)
            }
        }
        self.gathers();
    }

    fn polls(&mut self, at: usize) {
        let id = self.callers[at].id;
        let empty = self.wire.is_empty();
        let (_, ended) = if empty { (false, false) } else { self.receives(false) };
        let finish = match empty || ended {
            true => self.machine.end_poll(id),
            false => self.machine.handle_polled(id),
        };
        self.finishes(at, finish);
    }

    fn receives_by_hand(&mut self, at: usize, waits: bool) {
        match self.wire.pop_front() {
            None if waits => return,
            None => {}
            // Whosever it is, it is this one's. A call whose reply it was would never end: the server
            // writes it again.
            Some(Wire::Message(tag, _)) if self.model.whose(tag, true) != Whose::Nobodys => {
                self.writes(tag);
            }
            Some(Wire::Message(..)) => {}
            Some(Wire::End) => {
                self.wire.push_front(Wire::End);
                self.receives(false);
            }
        }
        let id: CallId = self.callers[at].id;
        self.machine.end_receive(id);
        self.me(at).doing = Doing::Done;
        self.gathers();
    }
}
