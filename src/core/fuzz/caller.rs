//! The next step of a caller: the code of `src/rpc`, with any other event in between.

use super::model::{CallEnd, Kind, Recipient};
use super::world::Numbers;
use super::world::{Caller, CallerState, Operation, Wire, World};
use crate::core::{
    Action, BeginError, CallId, CollectAction, MAX_PROXY_SENDS, NewCall, ReceiverGrant, TurnGrant,
    Wakeup,
};

impl World<'_> {
    /// Runs the next step of the caller, if it can run.
    pub fn run_caller(&mut self, at: usize) {
        match self.callers[at].state {
            CallerState::HasTag(turn) => self.continue_with_tag(at, turn),
            CallerState::HasTurn => self.continue_with_turn(at),
            CallerState::InSend => self.continue_in_send(at),
            CallerState::InRecv => self.continue_in_recv(at),
            CallerState::PollingReceiver => self.poll_as_receiver(at),
            CallerState::AskMachine => self.ask_machine(at),
            CallerState::Asleep => self.wake_by_timer(at),
            CallerState::Waking(end) => self.acknowledge_wake(at, end),
            CallerState::NoTag(has_role) => self.receive_for_a_tag(at, has_role),
            CallerState::Started => self.check_started_call(at),
            CallerState::AwaitedByFuture => self.run_future(at),
            CallerState::Polling => self.run_poll(at),
            CallerState::ReceivingByHand(waits) => self.receive_by_hand(at, waits),
            CallerState::Done => {}
        }
    }

    fn caller(&mut self, at: usize) -> &mut Caller {
        &mut self.callers[at]
    }

    fn check_deadline(&mut self, at: usize) -> bool {
        if self.callers[at].has_deadline && !self.callers[at].deadline_passed {
            let late = self.bytes.rarely(4);
            self.caller(at).deadline_passed = late;
        }
        self.callers[at].deadline_passed
    }

    /// Carries out the action that the machine returned. A sleeper is registered before the lock is
    /// released.
    fn carry_out(&mut self, at: usize, action: Action<Numbers>) {
        let Caller { id, serial, name, has_deadline, operation, .. } = self.callers[at];
        if action == Action::Sleep {
            self.machine.set_asleep(id, serial);
            self.caller(at).expiry_reported = false;
            self.caller(at).state = CallerState::Asleep;
            return self.deliver_wakes();
        }
        if let Action::Completed(outcome) = &action {
            return self.complete_call(at, World::end_of(outcome));
        }
        match action {
            Action::Tagged(tag) => {
                let first_range = self.callers[at].first_range;
                self.model.tagged(name, tag, &self.ranges[first_range..]);
                self.caller(at).state = CallerState::HasTag(false);
            }
            Action::Turn(request) => {
                assert_eq!(request, name);
                return self.continue_with_turn(at);
            }
            Action::Receive if has_deadline => self.caller(at).state = CallerState::PollingReceiver,
            Action::Receive => self.caller(at).state = CallerState::InRecv,
            Action::ProxySend(other, request) => {
                self.deliver_wakes();
                self.caller(at).proxy_sends += 1;
                let batch = self.take_batch((other, request), true, true);
                self.caller(at).batch = batch;
                self.caller(at).state = CallerState::InSend;
                return;
            }
            // A message sent by hand has been sent.
            Action::Pending if operation == Operation::Call(Kind::Message) => {
                return self.complete_call(at, CallEnd::Sent);
            }
            Action::Pending => self.caller(at).state = CallerState::Started,
            _ => unreachable!(),
        }
        self.deliver_wakes();
    }

    /// The call has completed; its owner has control back when the lock is released.
    fn complete_call(&mut self, at: usize, end: CallEnd) {
        let name = self.callers[at].name;
        if end == CallEnd::TimedOut {
            assert!(self.callers[at].deadline_passed, "the deadline has not passed");
        }
        self.model.completed(name, end, self.range);
        self.leave(at);
        self.deliver_wakes();
    }

    fn leave(&mut self, at: usize) {
        let name = self.callers[at].name;
        assert!(!self.in_send.contains_key(&name), "{name}'s request is in use");
        self.caller(at).state = CallerState::Done;
    }

    fn ask_machine(&mut self, at: usize) {
        self.caller(at).receives_late = false;
        let action = self.machine.next_action(self.callers[at].id);
        self.carry_out(at, action);
    }

    // --- beginning

    pub fn begin(&mut self, at: usize) {
        match self.callers[at].operation {
            Operation::Call(Kind::Message) => match self.machine.begin_message() {
                Ok(id) => {
                    self.caller(at).id = id;
                    self.caller(at).name = self.model.message_begun();
                    self.caller(at).state = CallerState::HasTag(false);
                }
                Err(why) => self.check_begin_error(Kind::Message, why),
            },
            Operation::Call(kind) => self.begin_call(at, kind, false),
            Operation::ReceiveByHand => {
                let waits = self.bytes.choice(3) != 2;
                let serial = self.callers[at].serial;
                let state = match self.machine.begin_receive(waits) {
                    Ok((id, ReceiverGrant::Granted)) => {
                        self.caller(at).id = id;
                        CallerState::ReceivingByHand(waits)
                    }
                    Ok((id, ReceiverGrant::Wait)) if waits => {
                        self.caller(at).id = id;
                        self.machine.set_asleep(id, serial);
                        CallerState::Asleep
                    }
                    Ok(_) => CallerState::Done,
                    Err(why) => {
                        assert!(why == BeginError::HungUp && self.model.hung_up);
                        CallerState::Done
                    }
                };
                self.caller(at).state = state;
                self.deliver_wakes();
            }
        }
    }

    fn begin_call(&mut self, at: usize, kind: Kind, again: bool) {
        // The watch is the call's name, so the name must be known before the call begins.
        let next = self.model.calls.len() as u32;
        let watch = (kind == Kind::NonBlocking).then_some(next);
        let result = self.machine.begin(watch);
        if let (Err(BeginError::NoTag), true, false) = (&result, self.can_poll, again) {
            // It is inside the library, though it has no call.
            self.machine.pin();
            self.deliver_wakes();
            self.caller(at).state = CallerState::NoTag(false);
            return;
        }
        match result {
            Err(why) => {
                // A tag waiter may just have been given the last tag.
                self.deliver_wakes();
                self.check_begin_error(kind, why);
                self.caller(at).state = CallerState::Done;
            }
            Ok(NewCall { id, tag, turn }) => {
                self.caller(at).id = id;
                self.caller(at).name = next;
                self.caller(at).first_range = self.ranges.len() - 1;
                if self.callers[at].has_deadline {
                    self.machine.mark_has_deadline(id);
                }
                let action = match tag {
                    None => Some(self.machine.next_action(id)),
                    Some(_) => None,
                };
                self.caller(at).state = CallerState::HasTag(turn);
                // Callers that are woken now were given their tags before this caller asked for its
                // own.
                if let Some(Action::Sleep) = action {
                    self.machine.set_asleep(id, self.callers[at].serial);
                    self.caller(at).state = CallerState::Asleep;
                }
                self.deliver_wakes();
                assert_eq!(self.model.begun(kind, self.range, tag), next);
                if turn {
                    self.model.turn(next);
                }
                match action {
                    Some(Action::Sleep) | None => {}
                    Some(action) => self.carry_out(at, action),
                }
            }
        }
    }

    /// The call found no tag: replies that have arrived may free one.
    fn receive_for_a_tag(&mut self, at: usize, has_role: bool) {
        let Operation::Call(kind) = self.callers[at].operation else { unreachable!() };
        if !has_role {
            match self.machine.begin_receive(false) {
                Ok((id, ReceiverGrant::Granted)) => {
                    self.caller(at).id = id;
                    self.caller(at).state = CallerState::NoTag(true);
                }
                _ => {
                    self.machine.unpin();
                    self.begin_call(at, kind, true);
                }
            }
            return self.deliver_wakes();
        }
        let (_, ended) = if self.wire.is_empty() { (false, true) } else { self.receive(false) };
        if ended {
            let id = self.callers[at].id;
            self.machine.end_receive(id);
            self.caller(at).state = CallerState::NoTag(false);
            self.deliver_wakes();
            self.machine.unpin();
            self.begin_call(at, kind, true);
        }
        self.deliver_wakes();
    }

    // --- sending

    fn continue_with_tag(&mut self, at: usize, turn: bool) {
        let Caller { id, name, operation, serial, .. } = self.callers[at];
        if operation != Operation::Call(Kind::Message) && self.bytes.rarely(12) {
            // The request does not accept the tag.
            return self.cancel_unsent(at);
        }
        if turn {
            return self.continue_with_turn(at);
        }
        if self.check_deadline(at) {
            return self.cancel_unsent(at);
        }
        let queued = self.machine.request_turn(id, name);
        match queued {
            TurnGrant::Granted(request) => {
                assert_eq!(request, name);
                self.model.turn(name);
                self.continue_with_turn(at);
            }
            TurnGrant::Wait => {
                self.machine.set_asleep(id, serial);
                self.model.queued(name);
                self.caller(at).expiry_reported = false;
                self.caller(at).state = CallerState::Asleep;
            }
            TurnGrant::HungUp => {
                self.model.hung_up_at_turn(name);
                self.complete_call(at, CallEnd::Ended);
            }
        }
        self.deliver_wakes();
    }

    fn cancel_unsent(&mut self, at: usize) {
        let Caller { id, name, .. } = self.callers[at];
        let orphan = self.machine.cancel_unsent(id);
        assert_eq!(orphan, self.model.cancelled_unsent(name));
        self.leave(at);
        self.deliver_wakes();
    }

    fn continue_with_turn(&mut self, at: usize) {
        let Caller { id, name, operation, .. } = self.callers[at];
        self.model.turn(name);
        if self.check_deadline(at) {
            return self.cancel_unsent(at);
        }
        let batch =
            self.take_batch((id, name), false, operation == Operation::Call(Kind::Blocking));
        self.caller(at).batch = batch;
        self.caller(at).state = CallerState::InSend;
        self.deliver_wakes();
    }

    fn continue_in_send(&mut self, at: usize) {
        let batch = std::mem::take(&mut self.caller(at).batch);
        let (first, is_proxy, epoch) = (batch.first, batch.is_proxy, batch.epoch);
        let result = match self.run_send(batch) {
            Ok(rest) => {
                self.caller(at).batch = rest;
                return;
            }
            Err(result) => result,
        };
        let Some((first, name)) = first else { unreachable!() };
        let Caller { id, proxy_sends, .. } = self.callers[at];
        // It has the lock again and is no longer in `send`.
        self.caller(at).state = CallerState::AskMachine;
        self.leave_send(name, result, epoch);
        let action = match is_proxy {
            true => self.machine.handle_proxy_sent_by_caller(
                id,
                proxy_sends < MAX_PROXY_SENDS,
                first,
                result,
                epoch,
            ),
            false => self.machine.handle_sent(id, result, epoch),
        };
        self.carry_out(at, action);
    }

    // --- receiving

    fn continue_in_recv(&mut self, at: usize) {
        if self.wire.is_empty() {
            return;
        }
        let (unlocked, _) = self.receive(true);
        self.return_from_recv(at, unlocked);
    }

    /// Returns from recv. The caller keeps the lock until it has its next action, unless there was
    /// an orphan.
    fn return_from_recv(&mut self, at: usize, unlocked: bool) {
        self.caller(at).state = CallerState::AskMachine;
        match unlocked {
            true => self.deliver_wakes(),
            false => self.ask_machine(at),
        }
    }

    /// A step of a receiver that has a deadline.
    fn poll_as_receiver(&mut self, at: usize) {
        let id = self.callers[at].id;
        if !self.callers[at].receives_late && self.check_deadline(at) {
            self.caller(at).receives_late = true;
            self.model.deadline_passed_awake(self.callers[at].name);
            let action = self.machine.handle_deadline_awake(id);
            return self.carry_out(at, action);
        }
        if !self.wire.is_empty() {
            let several = !self.can_poll;
            let (unlocked, _) = self.receive(several);
            return self.return_from_recv(at, unlocked);
        }
        if !self.can_poll {
            return;
        }
        let action = self.machine.begin_backoff(id);
        let sleeps = action == Action::Sleep;
        self.caller(at).in_backoff = sleeps;
        self.carry_out(at, action);
    }

    /// A sleeper wakes by itself: its back-off has ended, or its deadline has passed.
    fn wake_by_timer(&mut self, at: usize) {
        let Caller { id, name, has_deadline, in_backoff, .. } = self.callers[at];
        if !has_deadline || self.callers[at].expiry_reported {
            return;
        }
        let late = self.check_deadline(at);
        if in_backoff {
            self.caller(at).in_backoff = false;
            if !late {
                self.machine.end_backoff(id);
                return self.deliver_wakes();
            }
        }
        if late {
            self.machine.end_backoff(id);
            // If `end_backoff` has made it the receiver, it cannot be woken with anything else.
            self.model.deadline_passed_asleep(name, self.wakes_due == 0 && !in_backoff);
            self.machine.handle_deadline_asleep(id);
            self.caller(at).expiry_reported = true;
            self.deliver_wakes();
        }
    }

    fn acknowledge_wake(&mut self, at: usize, end: CallEnd) {
        let id = self.callers[at].id;
        if self.bytes.choice(3) == 1 {
            self.machine.end_backoff(id);
            self.machine.handle_deadline_asleep(id);
            return self.deliver_wakes();
        }
        self.machine.ack_wake(id);
        match end {
            CallEnd::TimedOut => {
                self.leave(at);
                self.deliver_wakes();
            }
            end => self.complete_call(at, end),
        }
    }

    pub fn wake_caller(&mut self, at: usize, wakeup: Wakeup<Numbers>) {
        let Caller { name, has_deadline, operation, state, first_range, .. } = self.callers[at];
        assert_eq!(state, CallerState::Asleep, "only a sleeper is woken");
        self.caller(at).in_backoff = false;
        let end = match wakeup {
            Wakeup::Completed(outcome) => World::end_of(&outcome),
            Wakeup::Busy => {
                assert_eq!(operation, Operation::ReceiveByHand);
                self.caller(at).state = CallerState::Done;
                return;
            }
            Wakeup::Tag(tag) => {
                self.model.tagged(name, tag, &self.ranges[first_range..]);
                self.caller(at).state = CallerState::HasTag(false);
                return;
            }
            Wakeup::Turn(request) => {
                assert_eq!(request, name);
                self.model.turn(name);
                self.caller(at).state = CallerState::HasTurn;
                return;
            }
            Wakeup::Sent if operation == Operation::Call(Kind::Message) => CallEnd::Sent,
            Wakeup::Sent => {
                self.leave(at);
                self.caller(at).state = CallerState::Started;
                return;
            }
            Wakeup::Receive if operation == Operation::ReceiveByHand => {
                self.caller(at).state = CallerState::ReceivingByHand(true);
                return;
            }
            Wakeup::Receive => {
                self.model.continued(name);
                self.caller(at).state = CallerState::AskMachine;
                return;
            }
            Wakeup::Work => panic!("a caller is no proc"),
        };
        if operation == Operation::ReceiveByHand {
            assert_eq!(end, CallEnd::Ended);
            self.caller(at).state = CallerState::Done;
            return;
        }
        if end == CallEnd::TimedOut {
            assert!(self.callers[at].deadline_passed, "the deadline has not passed");
        }
        if has_deadline {
            // It may report expiry until it is awake.
            match end {
                CallEnd::TimedOut => self.model.completed(name, end, self.range),
                end => self.model.completed_before_wake(name, end, self.range),
            }
            self.caller(at).state = CallerState::Waking(end);
            return;
        }
        self.model.completed(name, end, self.range);
        self.leave(at);
    }

    // --- non-blocking calls

    fn check_started_call(&mut self, at: usize) {
        let Caller { id, name, .. } = self.callers[at];
        match self.bytes.choice(10) {
            9 => self.cancel(at),
            8 => {
                if self.machine.register_future(id, self.can_poll) {
                    self.caller(at).state = CallerState::AwaitedByFuture;
                }
                self.deliver_wakes();
            }
            _ => {
                let can_poll = self.can_poll;
                let finish = self.machine.try_collect(id, can_poll);
                assert!(finish != CollectAction::Stuck || !can_poll, "{name} can finish yet");
                self.handle_collect_action(at, finish);
            }
        }
    }

    fn cancel(&mut self, at: usize) {
        let Caller { id, name, .. } = self.callers[at];
        self.request_was_lost = true;
        let orphan = self.machine.abandon(id);
        assert_eq!(orphan, self.model.abandon(name, CallEnd::Cancelled));
        self.leave(at);
        self.deliver_wakes();
    }

    fn run_future(&mut self, at: usize) {
        // An executor may poll for no reason, and must poll when a message is there and no caller
        // receives.
        match self.bytes.choice(8) {
            7 => self.cancel(at),
            _ if !self.wire.is_empty() => self.caller(at).state = CallerState::Started,
            _ => {}
        }
    }

    fn handle_collect_action(&mut self, at: usize, finish: CollectAction<Numbers>) {
        self.record_collected(at, &finish);
        match finish {
            CollectAction::Pending => self.caller(at).state = CallerState::Started,
            CollectAction::Poll => self.caller(at).state = CallerState::Polling,
            CollectAction::Reply(_) | CollectAction::Ended | CollectAction::Stuck => self.leave(at),
        }
        self.deliver_wakes();
    }

    fn run_poll(&mut self, at: usize) {
        let id = self.callers[at].id;
        let empty = self.wire.is_empty();
        let (_, ended) = if empty { (false, false) } else { self.receive(false) };
        let finish = match empty || ended {
            true => self.machine.end_poll(id),
            false => self.machine.handle_polled(id),
        };
        self.handle_collect_action(at, finish);
    }

    fn receive_by_hand(&mut self, at: usize, waits: bool) {
        match self.wire.pop_front() {
            None if waits => return,
            None => {}
            // This caller receives the message, even if it is the reply to a call. That call would
            // never end, so the server writes the reply again.
            Some(Wire::Message(tag, _)) if self.model.recipient(tag, true) != Recipient::Orphan => {
                self.write_message(tag);
            }
            Some(Wire::Message(..)) => {}
            Some(Wire::End) => {
                self.wire.push_front(Wire::End);
                self.receive(false);
            }
        }
        let id: CallId = self.callers[at].id;
        self.machine.end_receive(id);
        self.caller(at).state = CallerState::Done;
        self.deliver_wakes();
    }
}
