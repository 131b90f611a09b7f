//! Callers, procs and a server around one machine. Each event is one byte, followed by the bytes
//! that choose its details.

use std::collections::{BTreeMap, VecDeque};

use super::bytes::Bytes;
use super::model::{CallEnd, Kind, Model, Name, OwnerAsleep, Recipient};
use crate::core::tags::{OUT_OF_MEMORY, TagRange};
use crate::core::{
    BeginError, CallId, CollectAction, Machine, Outcome, Protocol, ReceiverGrant, SendProcAction,
    WakeBatch, Wakeup,
};

/// Requests are names; replies and failures are numbers, each used once.
#[derive(Debug, PartialEq, Eq)]
pub struct Numbers;

impl Protocol for Numbers {
    type Request = Name;
    type Reply = u32;
    type Failure = i32;
    type Watch = Name;
}

/// Wake handles: the serial number of a caller, or one of these.
pub const RECEIVE_PROC: u32 = u32::MAX;
pub const SEND_PROC: u32 = u32::MAX - 1;
const DRAIN_WAITER: u32 = u32::MAX - 2;

/// Maximum number of callers at a time.
const MAX_CALLERS: usize = 24;

/// The state of a caller. An `Asleep` caller waits for a wake-up and an `InRecv` caller for a
/// message; in every other state the caller can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerState {
    /// It has its tag and is about to store it in the request. True if it also has the turn to
    /// send.
    HasTag(bool),
    /// It was woken with the turn to send.
    HasTurn,
    /// In send, with a batch.
    InSend,
    InRecv,
    /// It has the receiver role and a deadline: it checks its deadline, and polls for messages if
    /// it can.
    PollingReceiver,
    /// It asks the machine for the next action.
    AskMachine,
    Asleep,
    /// Woken with the end of its call, and not awake yet: it may still report expiry.
    Waking(CallEnd),
    /// It found no free tag and receives messages that may free one. True if it has the receiver
    /// role.
    NoTag(bool),
    /// Its non-blocking call has been sent.
    Started,
    /// A future waits for the call.
    AwaitedByFuture,
    /// It has the receiver role for one poll.
    Polling,
    /// It receives a message by hand: with recv (true) or nbrecv (false).
    ReceivingByHand(bool),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Call(Kind),
    /// Receives a message by hand.
    ReceiveByHand,
}

#[derive(Debug)]
pub struct Caller {
    pub serial: u32,
    pub operation: Operation,
    pub name: Name,
    pub id: CallId,
    pub state: CallerState,
    /// Whether the caller has a deadline, whether the deadline has passed, and whether the caller
    /// has reported that in this sleep.
    pub has_deadline: bool,
    pub deadline_passed: bool,
    pub expiry_reported: bool,
    pub in_backoff: bool,
    /// It cannot leave although its deadline has passed, and so it receives.
    pub receives_late: bool,
    pub batch: Batch,
    pub proxy_sends: u32,
    /// Index of the tag range that was valid when the call began.
    pub first_range: usize,
}

/// Requests that one sender sends together, in order. The result of the first is reported last.
#[derive(Debug, Default)]
pub struct Batch {
    pub first: Option<(CallId, Name)>,
    /// True if the first request belongs to another caller.
    pub is_proxy: bool,
    pub result: Option<Result<(), i32>>,
    pub rest: VecDeque<(CallId, Name)>,
    pub epoch: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Proc {
    Absent,
    Ready,
    Asleep,
    /// In send, or in recv.
    Busy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Message(Option<u32>, u32),
    End,
}

pub struct World<'a> {
    pub bytes: Bytes<'a>,
    pub machine: Machine<Numbers, u32>,
    pub model: Model,
    pub range: TagRange,
    /// All tag ranges so far.
    pub ranges: Vec<TagRange>,
    range_is_new: bool,
    pub callers: Vec<Caller>,
    serial: u32,
    /// Requests in `send`, each with whether the server has read it already.
    pub in_send: BTreeMap<Name, bool>,
    /// Requests that the server has read and not replied to: their tags and names.
    pub server: Vec<(u32, Name)>,
    pub wire: VecDeque<Wire>,
    messages: u32,
    failures: i32,
    pub send_proc: Proc,
    pub proc_batch: Batch,
    pub receive_proc: Proc,
    /// Whether only four wake-ups are delivered at a time, and how many callers still have to
    /// deliver more.
    delivers_in_part: bool,
    pub wakes_due: u32,
    /// Whether callers can poll for messages without blocking.
    pub can_poll: bool,
    pub batches: bool,
    /// The server reads no request while this many replies wait for blocking callers.
    max_unread_replies: usize,
    /// Whether memory for tags runs out from time to time.
    memory_may_run_out: bool,
    pub watched: bool,
    /// A thread waits until no caller is inside.
    pub has_drain_waiter: bool,
    /// A tagged request could not be sent, or its call was abandoned.
    pub request_was_lost: bool,
}

impl<'a> World<'a> {
    pub fn new(mut bytes: Bytes<'a>) -> World<'a> {
        let settings = bytes.choice(256);
        let range = match settings & 3 {
            0 => TagRange { min: 0, max: 256 },
            1 => TagRange { min: 1, max: 2 },
            2 => TagRange { min: u32::MAX - 3, max: u32::MAX },
            _ => TagRange { min: 0, max: 6 },
        };
        let mut machine = Machine::new();
        machine.set_range(range);
        machine.report_ready(settings & 32 != 0);
        OUT_OF_MEMORY.set(false);
        World {
            bytes,
            machine,
            model: Model::default(),
            range,
            ranges: vec![range],
            range_is_new: false,
            callers: Vec::new(),
            serial: 0,
            in_send: BTreeMap::new(),
            server: Vec::new(),
            wire: VecDeque::new(),
            messages: 0,
            failures: 0,
            send_proc: Proc::Absent,
            proc_batch: Batch::default(),
            receive_proc: Proc::Absent,
            delivers_in_part: settings & 4 != 0,
            wakes_due: 0,
            can_poll: settings & 8 == 0,
            batches: settings & 16 != 0,
            max_unread_replies: if settings & 64 != 0 { 1 } else { usize::MAX },
            memory_may_run_out: settings & 128 != 0,
            watched: settings & 32 != 0,
            has_drain_waiter: false,
            request_was_lost: false,
        }
    }

    /// Runs the next event. Returns false when the bytes are used up.
    pub fn event(&mut self) -> bool {
        let Some(event) = self.bytes.next() else { return false };
        self.tick();
        if event < 128 {
            if !self.callers.is_empty() {
                let at = usize::from(event) % self.callers.len();
                self.run_caller(at);
            }
        } else {
            self.run_world_event(event % 32);
        }
        self.check();
        self.trace(event);
        true
    }

    pub fn tick(&mut self) {
        self.model.tick(std::mem::take(&mut self.range_is_new));
    }

    /// Prints the event and the state of the world if `MUX_TRACE` is set.
    pub fn trace(&self, event: u8) {
        if std::env::var_os("MUX_TRACE").is_none() {
            return;
        }
        eprintln!("{event} of {}: {:?} wire {:?}", event % 32, self.range, self.wire);
        for caller in &self.callers {
            eprintln!("    {caller:?}");
            if let (Operation::Call(_), Some(call)) =
                (caller.operation, self.model.calls.get(caller.name as usize))
            {
                eprintln!("        {call:?}");
            }
        }
        eprintln!("    procs {:?} {:?} due {}", self.receive_proc, self.send_proc, self.wakes_due);
    }

    fn run_world_event(&mut self, event: u8) {
        match event {
            0..4 => self.add_caller(Operation::Call(Kind::Blocking), false),
            4..6 => self.add_caller(Operation::Call(Kind::Blocking), true),
            6..9 => self.add_caller(Operation::Call(Kind::NonBlocking), false),
            9 => self.add_caller(Operation::Call(Kind::Message), false),
            10 => self.add_caller(Operation::ReceiveByHand, false),
            11..13 => self.read_before_send_returns(),
            13..17 => self.write_reply(true),
            17 => self.write_reply(false),
            18 => {
                let tags: Vec<_> = self.model.calls.iter().filter_map(|call| call.tag).collect();
                if !tags.is_empty() {
                    let at = self.bytes.choice(tags.len().min(256));
                    self.write_message(tags.get(at).copied());
                }
            }
            19 => {
                let tag = [None, Some(u32::MAX), Some(0), Some(5)][self.bytes.choice(4)];
                self.write_message(tag);
            }
            20 => self.end_connection(),
            21 => self.change_range(),
            22 => self.start_procs(),
            23..25 => self.run_send_proc(),
            25..27 => self.run_receive_proc(),
            27..29 => self.deliver_more_wakes(),
            29 if self.bytes.rarely(8) => self.hang_up(),
            30 => self.toggle_drain_waiter(),
            31 => match self.bytes.choice(4) {
                0 => self.can_poll = !self.can_poll,
                1 => self.batches = !self.batches,
                2 => {
                    self.watched = !self.watched;
                    self.check_ready_fd();
                }
                _ if self.memory_may_run_out => self.toggle_memory(),
                _ => {}
            },
            _ => {}
        }
    }

    fn add_caller(&mut self, operation: Operation, has_deadline: bool) {
        if self.callers.len() == MAX_CALLERS {
            return;
        }
        self.serial += 1;
        self.callers.push(Caller {
            serial: self.serial,
            operation,
            name: 0,
            id: CallId(0),
            state: CallerState::Done,
            has_deadline,
            deadline_passed: false,
            expiry_reported: false,
            in_backoff: false,
            receives_late: false,
            batch: Batch::default(),
            proxy_sends: 0,
            first_range: self.ranges.len() - 1,
        });
        self.begin(self.callers.len() - 1);
    }

    // --- the server

    /// The server writes a message with this tag.
    pub fn write_message(&mut self, tag: Option<u32>) {
        self.messages += 1;
        self.wire.push_back(Wire::Message(tag, self.messages));
    }

    /// The server replies to one of the requests that it has read. Unless `once` is set, it may
    /// reply again.
    pub fn write_reply(&mut self, once: bool) {
        if self.server.is_empty() {
            return;
        }
        let at = self.bytes.choice(self.server.len().min(256));
        let (tag, _) = self.server[at];
        if once {
            self.server.remove(at);
        }
        self.write_message(Some(tag));
    }

    /// The server reads a request whose `send` has not returned.
    fn read_before_send_returns(&mut self) {
        let unread: Vec<_> =
            self.in_send.iter().filter(|(_, read)| !**read).map(|(&name, _)| name).collect();
        if unread.is_empty() {
            return;
        }
        let name = unread[self.bytes.choice(unread.len().min(256))];
        self.read_request(name);
    }

    fn read_request(&mut self, name: Name) {
        if let Some(read) = self.in_send.get_mut(&name) {
            if !std::mem::replace(read, true) {
                if let Some(tag) = self.model.call(name).tag {
                    self.server.push((tag, name));
                }
            }
        }
    }

    /// The connection ends. The server may lose the requests that it has read.
    pub fn end_connection(&mut self) {
        self.wire.push_back(Wire::End);
        if self.bytes.choice(2) == 0 {
            self.server.clear();
        }
    }

    fn change_range(&mut self) {
        let min = [0, 3, 300, u32::MAX - 6][self.bytes.choice(4)];
        let width = [256, 1, 0, 4][self.bytes.choice(4)];
        self.range = TagRange { min, max: min.saturating_add(width) };
        self.machine.set_range(self.range);
        self.ranges.push(self.range);
        self.range_is_new = true;
    }

    fn toggle_memory(&mut self) {
        let is_out = !OUT_OF_MEMORY.get();
        OUT_OF_MEMORY.set(is_out);
        self.model.memory_was_out |= is_out;
    }

    // --- sending

    /// Returns true if the server reads no more requests until replies have been received.
    fn server_is_full(&self) -> bool {
        if self.max_unread_replies == usize::MAX
            || self.model.hung_up
            || self.wire.contains(&Wire::End)
        {
            return false;
        }
        let is_awaited = |message: &&Wire| match message {
            Wire::Message(tag, _) => self.model.is_awaited(*tag),
            Wire::End => false,
        };
        self.wire.iter().filter(is_awaited).count() >= self.max_unread_replies
    }

    /// Number of requests of a batch that the server accepts: all of them, or, while the server is
    /// full, only the requests that it has read or that a stray reply acknowledges.
    fn acceptable(&self, batch: &Batch) -> usize {
        let first = batch.first.filter(|_| batch.result.is_none());
        let batch = first.iter().chain(&batch.rest);
        match self.server_is_full() {
            true => batch.take_while(|(_, name)| self.server_accepted(*name)).count(),
            false => batch.count(),
        }
    }

    fn server_accepted(&self, name: Name) -> bool {
        self.in_send.get(&name) == Some(&true) || self.model.has_reply(name)
    }

    /// Returns true if `send` can proceed.
    pub fn can_send(&self, batch: &Batch) -> bool {
        self.acceptable(batch) > 0
    }

    /// Returns the batch of a sender that has the turn: `first`, and some of the queued requests.
    pub fn take_batch(&mut self, first: (CallId, Name), is_proxy: bool, along: bool) -> Batch {
        let mut batch = Batch {
            first: Some(first),
            is_proxy,
            result: None,
            rest: VecDeque::new(),
            epoch: self.model.epoch,
        };
        self.enter_send(first.1);
        while along && self.batches && batch.rest.len() < 4 {
            let Some((id, name)) = self.machine.pop_for_batch() else { break };
            self.enter_send(name);
            batch.rest.push_back((id, name));
        }
        batch
    }

    fn enter_send(&mut self, name: Name) {
        self.model.turn(name);
        assert!(self.in_send.insert(name, false).is_none(), "{name} is sent twice");
    }

    /// One call of the program's `send`, which sends some requests of a batch or fails. Returns the
    /// result of the first request as an error when the batch is finished, and the rest of the
    /// batch otherwise.
    pub fn run_send(&mut self, mut batch: Batch) -> Result<Batch, Result<(), i32>> {
        let waiting = self.acceptable(&batch);
        if waiting == 0 {
            return Ok(batch);
        }
        let fails = self.bytes.rarely(6);
        let done = match fails {
            true => 1,
            false => waiting - self.bytes.choice(waiting),
        };
        for _ in 0..done {
            let result = match fails {
                true => {
                    self.failures += 1;
                    Err(self.failures)
                }
                false => Ok(()),
            };
            if batch.result.is_none() {
                batch.result = Some(result);
                continue;
            }
            let Some((id, name)) = batch.rest.pop_front() else { break };
            self.proxy_sent(id, name, result, batch.epoch);
        }
        self.deliver_wakes();
        match batch.result {
            Some(answer) if batch.rest.is_empty() => Err(answer),
            _ => Ok(batch),
        }
    }

    /// A sender other than the owner has sent the request.
    fn proxy_sent(&mut self, id: CallId, name: Name, result: Result<(), i32>, epoch: u32) {
        self.leave_send(name, result, epoch);
        self.machine.handle_proxy_sent(id, result, epoch);
    }

    pub fn leave_send(&mut self, name: Name, result: Result<(), i32>, epoch: u32) {
        match result {
            Ok(()) if epoch == self.model.epoch => self.read_request(name),
            // Lost in transit, or rejected.
            _ => self.request_was_lost = true,
        }
        assert!(self.in_send.remove(&name).is_some());
        let sleeps = match self.sleepers().contains(&name) {
            true if self.wakes_due == 0 => OwnerAsleep::Yes,
            true => OwnerAsleep::Maybe,
            false => OwnerAsleep::No,
        };
        self.model.sent(name, result, epoch, sleeps);
    }

    // --- receiving

    /// The receiver receives one message, or up to three. Returns whether the lock was released for
    /// an orphan, and whether the connection has ended.
    pub fn receive(&mut self, several: bool) -> (bool, bool) {
        let mut orphans = false;
        let most = if several && self.batches { 3 } else { 1 };
        for n in 0..most {
            match self.wire.front() {
                Some(&Wire::Message(tag, message)) => {
                    self.wire.pop_front();
                    orphans |= self.dispatch_message(tag, message);
                    self.model.update_tag_waiters(self.range);
                }
                Some(Wire::End) if n == 0 => {
                    self.wire.pop_front();
                    self.handle_disconnect();
                    return (false, true);
                }
                _ => break,
            }
        }
        (orphans, false)
    }

    /// Returns true if the message is an orphan.
    fn dispatch_message(&mut self, tag: Option<u32>, message: u32) -> bool {
        let recipient = self.model.recipient(tag, self.wakes_due == 0);
        let mut arrived = None;
        let note = |watch: Name, reply: &u32| arrived = Some((watch, *reply));
        let orphan = self.machine.handle_message(tag, message, note);
        match (recipient, orphan) {
            (Recipient::Call(name) | Recipient::CallOrOrphan(name), None) => {
                let watches = self.model.call(name).kind == Kind::NonBlocking;
                assert_eq!(
                    arrived,
                    watches.then_some((name, message)),
                    "only the watch of a non-blocking call is notified"
                );
                self.model.reply_arrived(name, message);
                false
            }
            (Recipient::Orphan | Recipient::CallOrOrphan(_), Some(orphan)) => {
                assert_eq!((orphan, arrived), (message, None));
                self.model.orphan_arrived(tag);
                true
            }
            (recipient, orphan) => {
                panic!("{message} with {tag:?} is {recipient:?}, but {orphan:?}")
            }
        }
    }

    pub fn handle_disconnect(&mut self) {
        let asleep = self.sleepers();
        self.model.connection_ended(self.wakes_due == 0, |name| asleep.contains(&name));
        self.machine.handle_disconnect();
        assert_eq!(self.machine.epoch(), self.model.epoch);
    }

    fn sleepers(&self) -> Vec<Name> {
        let asleep = |caller: &&Caller| {
            caller.state == CallerState::Asleep && caller.operation != Operation::ReceiveByHand
        };
        self.callers.iter().filter(asleep).map(|caller| caller.name).collect()
    }

    // --- procs, and the end

    fn start_procs(&mut self) {
        let how = self.bytes.choice(8);
        let sends = how != 7;
        if sends && self.machine.request_send_proc() {
            assert_eq!(self.send_proc, Proc::Absent);
            self.send_proc = Proc::Ready;
            if how == 6 {
                self.send_proc = Proc::Absent;
                self.machine.send_proc_gone();
                return self.deliver_wakes();
            }
        }
        if self.machine.request_receive_proc() {
            assert_eq!(self.receive_proc, Proc::Absent);
            self.deliver_wakes();
            self.receive_proc = Proc::Ready;
            if how == 5 {
                self.receive_proc = Proc::Absent;
                self.machine.stop_procs();
                self.machine.receive_proc_gone();
            }
        }
        self.deliver_wakes();
    }

    pub fn run_send_proc(&mut self) {
        match self.send_proc {
            Proc::Ready => self.ask_as_send_proc(),
            Proc::Busy => {
                let batch = std::mem::take(&mut self.proc_batch);
                let (first, epoch) = (batch.first, batch.epoch);
                match self.run_send(batch) {
                    Ok(rest) => self.proc_batch = rest,
                    Err(answer) => {
                        let Some((id, name)) = first else { unreachable!() };
                        self.proxy_sent(id, name, answer, epoch);
                        self.ask_as_send_proc();
                    }
                }
            }
            Proc::Absent | Proc::Asleep => {}
        }
    }

    fn ask_as_send_proc(&mut self) {
        self.send_proc = match self.machine.next_send_proc_action() {
            SendProcAction::Send(id, name) => {
                self.proc_batch = self.take_batch((id, name), false, true);
                Proc::Busy
            }
            SendProcAction::Wait => {
                self.machine.set_send_proc_asleep(SEND_PROC);
                Proc::Asleep
            }
            SendProcAction::Stop => Proc::Absent,
        };
        self.deliver_wakes();
    }

    pub fn run_receive_proc(&mut self) {
        match self.receive_proc {
            Proc::Ready => self.ask_as_receive_proc(),
            Proc::Busy if !self.wire.is_empty() => {
                let (unlocked, _) = self.receive(true);
                self.receive_proc = Proc::Ready;
                match unlocked {
                    true => self.deliver_wakes(),
                    false => self.ask_as_receive_proc(),
                }
            }
            _ => {}
        }
    }

    fn ask_as_receive_proc(&mut self) {
        self.receive_proc = match self.machine.next_receive_proc_grant() {
            ReceiverGrant::Granted => Proc::Busy,
            ReceiverGrant::Wait => {
                self.machine.set_receive_proc_asleep(RECEIVE_PROC);
                Proc::Asleep
            }
            ReceiverGrant::Denied => Proc::Absent,
        };
        self.deliver_wakes();
    }

    pub fn hang_up(&mut self) {
        let asleep = self.sleepers();
        self.model.hang_up(self.wakes_due == 0, |name| asleep.contains(&name));
        self.machine.hang_up();
        self.deliver_wakes();
    }

    fn toggle_drain_waiter(&mut self) {
        if std::mem::take(&mut self.has_drain_waiter) {
            assert_eq!(self.machine.take_drain_waiter(), Some(DRAIN_WAITER));
        } else if self.model.hung_up && !self.machine.is_idle() {
            self.has_drain_waiter = true;
            assert_eq!(self.machine.set_drain_waiter(DRAIN_WAITER), Ok(()));
            self.deliver_wakes();
        }
    }

    // --- wake-ups

    /// What a driver does when it releases the lock.
    pub fn deliver_wakes(&mut self) {
        self.machine.check_invariants();
        let stale = self.machine.ready_fd_is_stale();
        if stale {
            self.machine.pin();
        }
        let wakes = self.machine.take_wakes();
        if stale {
            self.check_ready_fd();
            self.machine.unpin();
            let wakes = self.machine.take_wakes();
            self.deliver_batch(wakes);
        }
        self.deliver_batch(wakes);
    }

    /// Reports to the machine whether the poll descriptor is in use, and checks its readiness.
    fn check_ready_fd(&mut self) {
        assert_eq!(self.machine.report_ready(self.watched), self.model.finishable() > 0);
    }

    /// A caller that has been notified that more wake-ups are queued delivers them.
    pub fn deliver_more_wakes(&mut self) {
        if self.wakes_due > 0 {
            self.wakes_due -= 1;
            let wakes = self.machine.take_more_wakes();
            self.deliver_batch(wakes);
        }
    }

    fn deliver_batch(&mut self, mut wakes: Option<WakeBatch<Numbers, u32>>) {
        while let Some(some) = wakes {
            let more = some.more();
            for id in some.futures() {
                let watches = |caller: &&mut Caller| {
                    let there = matches!(
                        caller.state,
                        CallerState::AwaitedByFuture | CallerState::Started | CallerState::Polling
                    );
                    caller.id == id && there
                };
                let caller = self.callers.iter_mut().find(watches);
                let caller = caller.expect("the future of a call that no task awaits is woken");
                if caller.state == CallerState::AwaitedByFuture {
                    caller.state = CallerState::Started;
                }
            }
            for (handle, wakeup) in some {
                self.wake(handle, wakeup);
            }
            if !more {
                return;
            }
            if self.delivers_in_part {
                self.wakes_due += 1;
                return;
            }
            wakes = self.machine.take_more_wakes();
        }
    }

    fn wake(&mut self, handle: u32, wakeup: Wakeup<Numbers>) {
        let proc = match handle {
            RECEIVE_PROC => &mut self.receive_proc,
            SEND_PROC => &mut self.send_proc,
            DRAIN_WAITER => {
                assert!(self.machine.is_idle() && std::mem::take(&mut self.has_drain_waiter));
                return;
            }
            _ => {
                let at = self.callers.iter().position(|caller| caller.serial == handle);
                return self.wake_caller(at.expect("the sleeper exists"), wakeup);
            }
        };
        assert_eq!((&*proc, wakeup), (&Proc::Asleep, Wakeup::Work));
        *proc = Proc::Ready;
    }

    // --- invariants after each event

    pub fn check(&mut self) {
        self.machine.check_invariants();
        self.machine.check_drained();
        self.callers.retain(|caller| caller.state != CallerState::Done);
        self.model.update_tag_waiters(self.range);
        let role = |caller: &&Caller| {
            matches!(
                caller.state,
                CallerState::InRecv
                    | CallerState::PollingReceiver
                    | CallerState::Polling
                    | CallerState::ReceivingByHand(_)
                    | CallerState::NoTag(true)
            )
        };
        let receivers = self.callers.iter().filter(role).count();
        assert!(receivers + usize::from(self.receive_proc == Proc::Busy) <= 1, "two receive");
        let senders =
            self.callers.iter().filter(|caller| caller.state == CallerState::InSend).count();
        assert!(senders + usize::from(self.send_proc == Proc::Busy) <= 1, "two send");
        self.check_counts();
    }

    fn check_counts(&self) {
        assert!(
            self.wakes_due > 0 || self.machine.wake_queue.is_empty(),
            "wake-ups are queued, and no caller delivers them"
        );
        let refused =
            self.callers.iter().filter(|c| matches!(c.state, CallerState::NoTag(_))).count();
        assert_eq!(self.machine.drain.pins() as usize, self.wakes_due as usize + refused, "pins");
        let (stats, counts) = (self.machine.stats(), &self.model.counts);
        assert_eq!(stats.calls, counts.calls, "calls begun");
        assert_eq!(stats.orphans, counts.orphans, "orphans");
        assert_eq!(stats.tag_waits, counts.tag_waits, "calls that had to wait for a tag");
        let outstanding = self.machine.outstanding();
        let (known, all) = self.model.outstanding();
        if all {
            assert_eq!(outstanding, known, "tags in use");
        } else {
            assert!((known..=self.model.max_possible_outstanding()).contains(&outstanding));
        }
        if self.model.max_is_known() {
            assert_eq!(stats.max_outstanding, counts.max_outstanding, "most tags in use at once");
        }
    }

    /// Records the result of `try_collect`, `handle_polled` or `end_poll`.
    pub fn record_collected(&mut self, at: usize, finish: &CollectAction<Numbers>) {
        let name = self.callers[at].name;
        match *finish {
            CollectAction::Reply(reply) => {
                self.model.completed(name, CallEnd::Reply(reply), self.range);
            }
            CollectAction::Ended => self.model.completed(name, CallEnd::Ended, self.range),
            CollectAction::Stuck => {
                self.request_was_lost = true;
                assert_eq!(self.model.abandon(name, CallEnd::CannotFinish), None);
            }
            CollectAction::Pending | CollectAction::Poll => {}
        }
    }

    pub fn check_begin_error(&mut self, kind: Kind, why: BeginError) {
        self.model.refused(kind, self.range, why);
    }

    /// The end of a call in the terms of the model.
    pub fn end_of(outcome: &Outcome<u32, i32>) -> CallEnd {
        match *outcome {
            Outcome::Reply(reply) => CallEnd::Reply(reply),
            Outcome::Ended => CallEnd::Ended,
            Outcome::Failed(failure) => CallEnd::Failed(failure),
            Outcome::EmptyRange => CallEnd::EmptyRange,
            Outcome::AllTagsAbandoned => CallEnd::AllTagsAbandoned,
            Outcome::NoMemory => CallEnd::NoMemory,
            Outcome::TimedOut => CallEnd::TimedOut,
        }
    }
}
