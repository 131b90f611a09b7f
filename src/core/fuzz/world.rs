//! Callers, procs and a server around one machine. Each event is one byte, and what it needs to know
//! some more.

use std::collections::{BTreeMap, VecDeque};

use super::bytes::Bytes;
use super::model::{Fate, Kind, Model, Name, Sleeps, Whose};
use crate::core::tags::{OUT_OF_MEMORY, TagRange};
use crate::core::{
    BeginError, CallId, CollectAction, Machine, Outcome, Protocol, ReceiverGrant, SendProcAction,
    WakeBatch, Wakeup,
};

/// Requests are names, replies and failures are numbers, each used once.
#[derive(Debug, PartialEq, Eq)]
pub struct Numbers;

impl Protocol for Numbers {
    type Request = Name;
    type Reply = u32;
    type Failure = i32;
    type Watch = Name;
}

/// How the world wakes who sleeps; callers by their serial number.
pub const RECEIVE_PROC: u32 = u32::MAX;
pub const SEND_PROC: u32 = u32::MAX - 1;
const CLOSER: u32 = u32::MAX - 2;

/// Callers at a time.
const CROWD: usize = 24;

/// What a caller is doing. `Asleep` waits to be told, `Recv` for a message; the others can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It has its tag, and is about to put it into the request; with the turn to send, or without.
    Tag(bool),
    /// It has had to wait for the turn, and has it.
    Turn,
    /// In send, with a batch.
    Send,
    Recv,
    /// It has the role and a deadline: it looks at the clock, and for messages if it can.
    Look,
    /// It asks the machine what to do.
    Step,
    Asleep,
    /// Wakeup how its call has ended, and not awake yet: its clock may still ring.
    Waking(Fate),
    /// It was refused for want of a tag, and looks for messages that free one; has it the role?
    Refused(bool),
    /// A non-blocking call is sent.
    Started,
    /// A task waits for it.
    Watched,
    /// It has the role for a look.
    Poll,
    /// In recv, or without waiting in nbrecv, by hand.
    ByHand(bool),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Call(Kind),
    /// Receives a message by hand.
    ByHand,
}

#[derive(Debug)]
pub struct Caller {
    pub serial: u32,
    pub what: What,
    pub name: Name,
    pub id: CallId,
    pub doing: Doing,
    /// Whether it has a deadline, whether that has passed, and whether it has said so in this sleep.
    pub timed: bool,
    pub late: bool,
    pub expired: bool,
    pub naps: bool,
    /// It can not leave though it is late, and so receives.
    pub stays: bool,
    pub batch: Sending,
    pub helped: u32,
    /// Which range it began with, by number.
    pub since: usize,
}

/// Requests in one hand, in order; the first is settled last.
#[derive(Debug, Default)]
pub struct Sending {
    pub first: Option<(CallId, Name)>,
    /// Whether the first is another's.
    pub helps: bool,
    pub answer: Option<Result<(), i32>>,
    pub along: VecDeque<(CallId, Name)>,
    pub began: u32,
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
    /// All ranges there have been.
    pub ranges: Vec<TagRange>,
    range_is_new: bool,
    pub callers: Vec<Caller>,
    serial: u32,
    /// Requests in send, which the server may have read already.
    pub in_send: BTreeMap<Name, bool>,
    /// What the server has read: tags and requests.
    pub server: Vec<(u32, Name)>,
    pub wire: VecDeque<Wire>,
    messages: u32,
    failures: i32,
    pub send_proc: Proc,
    pub proc_batch: Sending,
    pub receive_proc: Proc,
    /// Whether wakes are given four at a time, and how many are yet to come for more.
    lazy: bool,
    pub due: u32,
    /// Whether messages can be looked for without waiting.
    pub polls: bool,
    pub batches: bool,
    /// The server does not read a request while this many replies wait for blocking callers.
    room: usize,
    /// Whether memory for tags runs out now and then.
    scarce: bool,
    pub watched: bool,
    /// Somebody waits until nobody is inside.
    pub closes: bool,
    /// Something that was on its way could not be sent, or was given up.
    pub unsendable: bool,
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
            proc_batch: Sending::default(),
            receive_proc: Proc::Absent,
            lazy: settings & 4 != 0,
            due: 0,
            polls: settings & 8 == 0,
            batches: settings & 16 != 0,
            room: if settings & 64 != 0 { 1 } else { usize::MAX },
            scarce: settings & 128 != 0,
            watched: settings & 32 != 0,
            closes: false,
            unsendable: false,
        }
    }

    /// The next event; false when the bytes are used up.
    pub fn event(&mut self) -> bool {
        let Some(event) = self.bytes.next() else { return false };
        self.ticks();
        if event < 128 {
            if !self.callers.is_empty() {
                let at = usize::from(event) % self.callers.len();
                self.caller_runs(at);
            }
        } else {
            self.happens(event % 32);
        }
        self.settles();
        self.traces(event);
        true
    }

    pub fn ticks(&mut self) {
        self.model.tick(std::mem::take(&mut self.range_is_new));
    }

    /// With `MUX_TRACE` it is told, event by event.
    pub fn traces(&self, event: u8) {
        if std::env::var_os("MUX_TRACE").is_none() {
            return;
        }
        eprintln!("{event} of {}: {:?} wire {:?}", event % 32, self.range, self.wire);
        for caller in &self.callers {
            eprintln!("    {caller:?}");
            if let (What::Call(_), Some(call)) =
                (caller.what, self.model.calls.get(caller.name as usize))
            {
                eprintln!("        {call:?}");
            }
        }
        eprintln!("    procs {:?} {:?} due {}", self.receive_proc, self.send_proc, self.due);
    }

    fn happens(&mut self, event: u8) {
        match event {
            0..4 => self.comes(What::Call(Kind::Blocking), false),
            4..6 => self.comes(What::Call(Kind::Blocking), true),
            6..9 => self.comes(What::Call(Kind::NonBlocking), false),
            9 => self.comes(What::Call(Kind::Message), false),
            10 => self.comes(What::ByHand, false),
            11..13 => self.reads_early(),
            13..17 => self.answers(true),
            17 => self.answers(false),
            18 => {
                let tags: Vec<_> = self.model.calls.iter().filter_map(|call| call.tag).collect();
                if !tags.is_empty() {
                    let at = self.bytes.choice(tags.len().min(256));
                    self.writes(tags.get(at).copied());
                }
            }
            19 => {
                let tag = [None, Some(u32::MAX), Some(0), Some(5)][self.bytes.choice(4)];
                self.writes(tag);
            }
            20 => self.ends(),
            21 => self.changes_range(),
            22 => self.starts_procs(),
            23..25 => self.send_proc_runs(),
            25..27 => self.receive_proc_runs(),
            27..29 => self.gathers_more(),
            29 if self.bytes.rarely(8) => self.hangs_up(),
            30 => self.closer_comes_or_goes(),
            31 => match self.bytes.choice(4) {
                0 => self.polls = !self.polls,
                1 => self.batches = !self.batches,
                2 => {
                    self.watched = !self.watched;
                    self.freshens_signal();
                }
                _ if self.scarce => self.changes_memory(),
                _ => {}
            },
            _ => {}
        }
    }

    fn comes(&mut self, what: What, timed: bool) {
        if self.callers.len() == CROWD {
            return;
        }
        self.serial += 1;
        self.callers.push(Caller {
            serial: self.serial,
            what,
            name: 0,
            id: CallId(0),
            doing: Doing::Done,
            timed,
            late: false,
            expired: false,
            naps: false,
            stays: false,
            batch: Sending::default(),
            helped: 0,
            since: self.ranges.len() - 1,
        });
        self.begins(self.callers.len() - 1);
    }

    // --- the server

    /// A message with that tag.
    pub fn writes(&mut self, tag: Option<u32>) {
        self.messages += 1;
        self.wire.push_back(Wire::Message(tag, self.messages));
    }

    /// It answers one of those that it has read, once, or leaves it to be answered again.
    pub fn answers(&mut self, once: bool) {
        if self.server.is_empty() {
            return;
        }
        let at = self.bytes.choice(self.server.len().min(256));
        let (tag, _) = self.server[at];
        if once {
            self.server.remove(at);
        }
        self.writes(Some(tag));
    }

    /// It reads one whose send has not returned.
    fn reads_early(&mut self) {
        let unread: Vec<_> =
            self.in_send.iter().filter(|(_, read)| !**read).map(|(&name, _)| name).collect();
        if unread.is_empty() {
            return;
        }
        let name = unread[self.bytes.choice(unread.len().min(256))];
        self.is_read(name);
    }

    fn is_read(&mut self, name: Name) {
        if let Some(read) = self.in_send.get_mut(&name) {
            if !std::mem::replace(read, true) {
                if let Some(tag) = self.model.call(name).tag {
                    self.server.push((tag, name));
                }
            }
        }
    }

    /// The connection ends: what has been read so far is never answered.
    pub fn ends(&mut self) {
        self.wire.push_back(Wire::End);
        if self.bytes.choice(2) == 0 {
            self.server.clear();
        }
    }

    fn changes_range(&mut self) {
        let min = [0, 3, 300, u32::MAX - 6][self.bytes.choice(4)];
        let width = [256, 1, 0, 4][self.bytes.choice(4)];
        self.range = TagRange { min, max: min.saturating_add(width) };
        self.machine.set_range(self.range);
        self.ranges.push(self.range);
        self.range_is_new = true;
    }

    fn changes_memory(&mut self) {
        let is_out = !OUT_OF_MEMORY.get();
        OUT_OF_MEMORY.set(is_out);
        self.model.memory_was_out |= is_out;
    }

    // --- sending

    /// Whether the server has to be read from before it reads more requests.
    fn is_full(&self) -> bool {
        if self.room == usize::MAX || self.model.hung_up || self.wire.contains(&Wire::End) {
            return false;
        }
        let is_awaited = |message: &&Wire| match message {
            Wire::Message(tag, _) => self.model.is_awaited(*tag),
            Wire::End => false,
        };
        self.wire.iter().filter(is_awaited).count() >= self.room
    }

    /// How many requests of a batch the server lets pass: all, or while it is full those that it has read, or
    /// of which a stray reply says so.
    fn passable(&self, sending: &Sending) -> usize {
        let first = sending.first.filter(|_| sending.answer.is_none());
        let batch = first.iter().chain(&sending.along);
        match self.is_full() {
            true => batch.take_while(|(_, name)| self.has_passed(*name)).count(),
            false => batch.count(),
        }
    }

    fn has_passed(&self, name: Name) -> bool {
        self.in_send.get(&name) == Some(&true) || self.model.is_answered(name)
    }

    /// Whether a send goes on.
    pub fn can_send(&self, sending: &Sending) -> bool {
        self.passable(sending) > 0
    }

    /// What one that has the turn sends: `first`, and some of what others have queued.
    pub fn takes_to_send(&mut self, first: (CallId, Name), helps: bool, along: bool) -> Sending {
        let mut sending = Sending {
            first: Some(first),
            helps,
            answer: None,
            along: VecDeque::new(),
            began: self.model.ends,
        };
        self.goes_into_send(first.1);
        while along && self.batches && sending.along.len() < 4 {
            let Some((id, name)) = self.machine.pop_for_batch() else { break };
            self.goes_into_send(name);
            sending.along.push_back((id, name));
        }
        sending
    }

    fn goes_into_send(&mut self, name: Name) {
        self.model.turn(name);
        assert!(self.in_send.insert(name, false).is_none(), "{name} is in two hands");
    }

    /// One call of the program's function, which sends some of a batch or fails. Answers what came of
    /// the first when all are done with.
    pub fn sends(&mut self, mut sending: Sending) -> Result<Sending, Result<(), i32>> {
        let waiting = self.passable(&sending);
        if waiting == 0 {
            return Ok(sending);
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
            if sending.answer.is_none() {
                sending.answer = Some(result);
                continue;
            }
            let Some((id, name)) = sending.along.pop_front() else { break };
            self.is_sent(id, name, result, sending.began);
        }
        self.gathers();
        match sending.answer {
            Some(answer) if sending.along.is_empty() => Err(answer),
            _ => Ok(sending),
        }
    }

    /// Another than its owner has sent it.
    fn is_sent(&mut self, id: CallId, name: Name, result: Result<(), i32>, began: u32) {
        self.leaves_send(name, result, began);
        self.machine.handle_proxy_sent(id, result, began);
    }

    pub fn leaves_send(&mut self, name: Name, result: Result<(), i32>, began: u32) {
        match result {
            Ok(()) if began == self.model.ends => self.is_read(name),
            // Lost on the way, or refused.
            _ => self.unsendable = true,
        }
        assert!(self.in_send.remove(&name).is_some());
        let sleeps = match self.sleepers().contains(&name) {
            true if self.due == 0 => Sleeps::Yes,
            true => Sleeps::Maybe,
            false => Sleeps::No,
        };
        self.model.sent(name, result, began, sleeps);
    }

    // --- receiving

    /// Whoever has the role receives one message, or some; answers whether an orphan has made it let
    /// go of the lock, and whether the connection has ended.
    pub fn receives(&mut self, several: bool) -> (bool, bool) {
        let mut orphans = false;
        let most = if several && self.batches { 3 } else { 1 };
        for n in 0..most {
            match self.wire.front() {
                Some(&Wire::Message(tag, message)) => {
                    self.wire.pop_front();
                    orphans |= self.delivers(tag, message);
                    self.model.looks_at_the_tagless(self.range);
                }
                Some(Wire::End) if n == 0 => {
                    self.wire.pop_front();
                    self.connection_ends();
                    return (false, true);
                }
                _ => break,
            }
        }
        (orphans, false)
    }

    /// Answers whether it was an orphan.
    fn delivers(&mut self, tag: Option<u32>, message: u32) -> bool {
        let whose = self.model.whose(tag, self.due == 0);
        let mut arrived = None;
        let note = |watch: Name, reply: &u32| arrived = Some((watch, *reply));
        let orphan = self.machine.handle_message(tag, message, note);
        match (whose, orphan) {
            (Whose::Calls(name) | Whose::Either(name), None) => {
                let watches = self.model.call(name).kind == Kind::NonBlocking;
                assert_eq!(arrived, watches.then_some((name, message)), "who is told it is there");
                self.model.has_reply(name, message);
                false
            }
            (Whose::Nobodys | Whose::Either(_), Some(orphan)) => {
                assert_eq!((orphan, arrived), (message, None));
                self.model.has_orphan(tag);
                true
            }
            (whose, orphan) => panic!("{message} with {tag:?} is {whose:?}, but {orphan:?}"),
        }
    }

    pub fn connection_ends(&mut self) {
        let asleep = self.sleepers();
        self.model.ended(self.due == 0, |name| asleep.contains(&name));
        self.machine.handle_disconnect();
        assert_eq!(self.machine.epoch(), self.model.ends);
    }

    fn sleepers(&self) -> Vec<Name> {
        let asleep =
            |caller: &&Caller| caller.doing == Doing::Asleep && caller.what != What::ByHand;
        self.callers.iter().filter(asleep).map(|caller| caller.name).collect()
    }

    // --- procs, and the end

    fn starts_procs(&mut self) {
        let how = self.bytes.choice(8);
        let sends = how != 7;
        if sends && self.machine.request_send_proc() {
            assert_eq!(self.send_proc, Proc::Absent);
            self.send_proc = Proc::Ready;
            if how == 6 {
                self.send_proc = Proc::Absent;
                self.machine.send_proc_gone();
                return self.gathers();
            }
        }
        if self.machine.request_receive_proc() {
            assert_eq!(self.receive_proc, Proc::Absent);
            self.gathers();
            self.receive_proc = Proc::Ready;
            if how == 5 {
                self.receive_proc = Proc::Absent;
                self.machine.stop_procs();
                self.machine.receive_proc_gone();
            }
        }
        self.gathers();
    }

    pub fn send_proc_runs(&mut self) {
        match self.send_proc {
            Proc::Ready => self.send_proc_asks(),
            Proc::Busy => {
                let batch = std::mem::take(&mut self.proc_batch);
                let (first, began) = (batch.first, batch.began);
                match self.sends(batch) {
                    Ok(rest) => self.proc_batch = rest,
                    Err(answer) => {
                        let Some((id, name)) = first else { unreachable!() };
                        self.is_sent(id, name, answer, began);
                        self.send_proc_asks();
                    }
                }
            }
            Proc::Absent | Proc::Asleep => {}
        }
    }

    fn send_proc_asks(&mut self) {
        self.send_proc = match self.machine.next_send_proc_action() {
            SendProcAction::Send(id, name) => {
                self.proc_batch = self.takes_to_send((id, name), false, true);
                Proc::Busy
            }
            SendProcAction::Wait => {
                self.machine.set_send_proc_asleep(SEND_PROC);
                Proc::Asleep
            }
            SendProcAction::Stop => Proc::Absent,
        };
        self.gathers();
    }

    pub fn receive_proc_runs(&mut self) {
        match self.receive_proc {
            Proc::Ready => self.receive_proc_asks(),
            Proc::Busy if !self.wire.is_empty() => {
                let (let_go, _) = self.receives(true);
                self.receive_proc = Proc::Ready;
                match let_go {
                    true => self.gathers(),
                    false => self.receive_proc_asks(),
                }
            }
            _ => {}
        }
    }

    fn receive_proc_asks(&mut self) {
        self.receive_proc = match self.machine.next_receive_proc_grant() {
            ReceiverGrant::Granted => Proc::Busy,
            ReceiverGrant::Wait => {
                self.machine.set_receive_proc_asleep(RECEIVE_PROC);
                Proc::Asleep
            }
            ReceiverGrant::Denied => Proc::Absent,
        };
        self.gathers();
    }

    pub fn hangs_up(&mut self) {
        let asleep = self.sleepers();
        self.model.hung_up(self.due == 0, |name| asleep.contains(&name));
        self.machine.hang_up();
        self.gathers();
    }

    fn closer_comes_or_goes(&mut self) {
        if std::mem::take(&mut self.closes) {
            assert_eq!(self.machine.take_drain_waiter(), Some(CLOSER));
        } else if self.model.hung_up && !self.machine.is_idle() {
            self.closes = true;
            assert_eq!(self.machine.set_drain_waiter(CLOSER), Ok(()));
            self.gathers();
        }
    }

    // --- who is told what

    /// What a driver does when it lets go of the lock.
    pub fn gathers(&mut self) {
        self.machine.check_invariants();
        let stale = self.machine.ready_fd_is_stale();
        if stale {
            self.machine.pin();
        }
        let wakes = self.machine.take_wakes();
        if stale {
            self.freshens_signal();
            self.machine.unpin();
            let wakes = self.machine.take_wakes();
            self.tells(wakes);
        }
        self.tells(wakes);
    }

    /// What the descriptor says to event loops.
    fn freshens_signal(&mut self) {
        assert_eq!(self.machine.report_ready(self.watched), self.model.finishable() > 0);
    }

    /// One of those that have been told that there are more to wake goes on with it.
    pub fn gathers_more(&mut self) {
        if self.due > 0 {
            self.due -= 1;
            let wakes = self.machine.take_more_wakes();
            self.tells(wakes);
        }
    }

    fn tells(&mut self, mut wakes: Option<WakeBatch<Numbers, u32>>) {
        while let Some(some) = wakes {
            let more = some.more();
            for id in some.futures() {
                let watches = |caller: &&mut Caller| {
                    let there =
                        matches!(caller.doing, Doing::Watched | Doing::Started | Doing::Poll);
                    caller.id == id && there
                };
                let caller = self.callers.iter_mut().find(watches);
                let caller = caller.expect("only one that has watched is told to look");
                if caller.doing == Doing::Watched {
                    caller.doing = Doing::Started;
                }
            }
            for (who, told) in some {
                self.is_told(who, told);
            }
            if !more {
                return;
            }
            if self.lazy {
                self.due += 1;
                return;
            }
            wakes = self.machine.take_more_wakes();
        }
    }

    fn is_told(&mut self, who: u32, told: Wakeup<Numbers>) {
        let proc = match who {
            RECEIVE_PROC => &mut self.receive_proc,
            SEND_PROC => &mut self.send_proc,
            CLOSER => {
                assert!(self.machine.is_idle() && std::mem::take(&mut self.closes));
                return;
            }
            _ => {
                let at = self.callers.iter().position(|caller| caller.serial == who);
                return self.caller_is_told(at.expect("who sleeps is there"), told);
            }
        };
        assert_eq!((&*proc, told), (&Proc::Asleep, Wakeup::Work));
        *proc = Proc::Ready;
    }

    // --- what is true after each event

    pub fn settles(&mut self) {
        self.machine.check_invariants();
        self.machine.check_drained();
        self.callers.retain(|caller| caller.doing != Doing::Done);
        self.model.looks_at_the_tagless(self.range);
        let role = |caller: &&Caller| {
            matches!(
                caller.doing,
                Doing::Recv | Doing::Look | Doing::Poll | Doing::ByHand(_) | Doing::Refused(true)
            )
        };
        let receivers = self.callers.iter().filter(role).count();
        assert!(receivers + usize::from(self.receive_proc == Proc::Busy) <= 1, "two receive");
        let senders = self.callers.iter().filter(|caller| caller.doing == Doing::Send).count();
        assert!(senders + usize::from(self.send_proc == Proc::Busy) <= 1, "two send");
        self.counts_agree();
    }

    fn counts_agree(&self) {
        assert!(self.due > 0 || self.machine.wake_queue.is_empty(), "nobody wakes them");
        let refused = self.callers.iter().filter(|c| matches!(c.doing, Doing::Refused(_))).count();
        assert_eq!(self.machine.drain.pins() as usize, self.due as usize + refused, "pins");
        let (stats, counts) = (self.machine.stats(), &self.model.counts);
        assert_eq!(stats.calls, counts.calls, "calls begun");
        assert_eq!(stats.orphans, counts.orphans, "orphans");
        assert_eq!(stats.tag_waits, counts.tag_waits, "calls that had to wait for a tag");
        let outstanding = self.machine.outstanding();
        let (known, all) = self.model.outstanding();
        if all {
            assert_eq!(outstanding, known, "tags in use");
        } else {
            assert!((known..=self.model.outstanding_at_most()).contains(&outstanding));
        }
        if self.model.most_is_known() {
            assert_eq!(stats.max_outstanding, counts.most, "most tags in use at once");
        }
    }

    /// Finish, for the caller's file.
    pub fn collects(&mut self, at: usize, finish: &CollectAction<Numbers>) {
        let name = self.callers[at].name;
        match *finish {
            CollectAction::Reply(reply) => {
                self.model.is_told(name, Fate::Reply(reply), self.range);
            }
            CollectAction::Ended => self.model.is_told(name, Fate::Ended, self.range),
            CollectAction::Stuck => {
                self.unsendable = true;
                assert_eq!(self.model.gives_up(name, Fate::Never), None);
            }
            CollectAction::Pending | CollectAction::Poll => {}
        }
    }

    pub fn refuses(&mut self, kind: Kind, why: BeginError) {
        self.model.refused(kind, self.range, why);
    }

    /// The end of a call, as the model names it.
    pub fn fate_of(outcome: &Outcome<u32, i32>) -> Fate {
        match *outcome {
            Outcome::Reply(reply) => Fate::Reply(reply),
            Outcome::Ended => Fate::Ended,
            Outcome::Failed(failure) => Fate::Failed(failure),
            Outcome::EmptyRange => Fate::NoTags,
            Outcome::AllTagsAbandoned => Fate::AllHeld,
            Outcome::NoMemory => Fate::NoMemory,
            Outcome::TimedOut => Fate::TimedOut,
        }
    }
}
