//! Random schedules: callers of every kind, procs that come and go or can not be started, a range of
//! tags that changes, memory that runs out, a server that answers in any order, before send has
//! returned, and with unknown tags, that does not read until it is read from, and that closes. Each
//! step is one event of the machine, or one step of the world around it.
//!
//! `MUX_RUNS` says how many runs; `MUX_SEED` replays the one of that number, and with `MUX_TRACE` it
//! is told step by step.
//!
//! After each step: one sender and one receiver at most, no tag in two hands, no request in use
//! after its owner got control back. At the end: every call is over, once, with its own reply or
//! for a reason, and nothing is kept.

use std::collections::{HashMap, HashSet, VecDeque};

use super::super::tags::OUT_OF_MEMORY;
use super::*;

/// What a caller is doing. `Asleep` waits to be told; the others are ready to run, but for `Recv`,
/// which waits for the server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Idle,
    Tag(CallId, u32, bool),
    Turn(CallId),
    Send(CallId),
    /// In send for another.
    Help(CallId, CallId, u32, u32),
    /// In send still, with what it took along.
    Along(CallId),
    Recv(CallId),
    /// It has the role and a deadline: it looks at the clock, and for messages if it can.
    Look(CallId),
    Step(CallId),
    Asleep(CallId),
    Started(CallId),
    /// Wakeup how its call has ended, and not awake yet; with a clock that may still ring.
    Waking(CallId, Option<u32>),
    /// A task that waits to be told to look.
    Watches(CallId),
    Poll(CallId),
    Looked(CallId, bool),
    /// In recv (or, without waiting, in nbrecv) by hand.
    ByHand(CallId, bool),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Blocking,
    NonBlocking,
    Message,
    /// Receives a message by hand.
    ByHand,
}

struct Caller {
    kind: Kind,
    doing: Doing,
    /// The request: the caller's number and the round.
    request: u32,
    rounds: u32,
    /// Whether its calls have a deadline, and whether that of this one has passed.
    timed: bool,
    late: bool,
    /// Whether it has said so since it went to sleep.
    expired: bool,
    /// Asleep between two looks.
    naps: bool,
    /// Requests of others in its hands, what it was doing, and what came of that.
    along: Vec<(CallId, u32)>,
    before: Doing,
    result: (Result<(), i32>, u32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ProcDoing {
    Absent,
    Ready,
    Asleep,
    Sending(CallId, u32),
    Receiving,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wire {
    Message(u32, u32),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Closing {
    Not,
    Waits,
    Over,
}

struct World {
    bench: Bench,
    seed: u64,
    callers: Vec<Caller>,
    receive_proc: ProcDoing,
    send_proc: ProcDoing,
    /// Requests at the server: tag and request.
    server: Vec<(u32, u32)>,
    wire: VecDeque<Wire>,
    /// Requests that somebody is sending, and on which connection.
    in_use: HashMap<u32, u32>,
    /// Requests of those that the server has though their send has not returned yet.
    early: HashSet<u32>,
    /// How many replies the server writes before it wants somebody to read: no send returns then.
    room: usize,
    /// Whether the range of tags changes now and then.
    ranges: bool,
    /// Whether there is no memory for more tags now and then.
    scarce: bool,
    /// Whether callers with a deadline can look without blocking.
    polls: bool,
    /// Whether several requests are sent at once.
    batches: bool,
    /// Whether some request could not be sent.
    unsendable: bool,
    proc_along: Vec<(CallId, u32)>,
    /// Whether the server leaves some requests of callers with a deadline unanswered, and has.
    mute: bool,
    muted: bool,

    tag_of: HashMap<u32, u32>,
    ends: u32,
    hang_up: bool,
    /// Whoever hangs up waits then until nobody is inside.
    closing: Closing,
    answered: u32,
    failed: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            bench: Bench::with_tags(1),
            seed,
            callers: Vec::new(),
            receive_proc: ProcDoing::Absent,
            send_proc: ProcDoing::Absent,
            server: Vec::new(),
            wire: VecDeque::new(),
            in_use: HashMap::new(),
            early: HashSet::new(),
            room: usize::MAX,
            ranges: false,
            scarce: false,
            polls: false,
            batches: false,
            unsendable: false,
            proc_along: Vec::new(),
            mute: false,
            muted: false,
            tag_of: HashMap::new(),
            ends: 0,
            hang_up: false,
            closing: Closing::Not,
            answered: 0,
            failed: 0,
        };
        let tags = [1, 2, 3, 200][world.random(4)];
        world.bench = Bench::with_tags(tags);
        world.bench.lazy = true;
        world.ends = [0, 0, 1, 3][world.random(4)];
        world.hang_up = world.random(8) == 0;
        world.room = [usize::MAX, 1, 2][world.random(3)];
        world.ranges = world.random(3) == 0;
        world.scarce = world.random(4) == 0;
        OUT_OF_MEMORY.set(false);
        world.batches = world.random(2) == 0;
        world.polls = world.random(2) == 0;
        world.mute = world.random(4) == 0;
        let timed = [0, 2, 4][world.random(3)];
        for number in 0..2 + world.random(12) as u32 {
            let kind = [
                Kind::Blocking,
                Kind::Blocking,
                Kind::NonBlocking,
                Kind::Message,
                Kind::Blocking,
                Kind::ByHand,
            ][world.random(6)];
            let rounds = 1 + world.random(4) as u32;
            let request = number * 100;
            let timed = kind == Kind::Blocking && world.random(4) < timed;
            world.callers.push(Caller {
                kind,
                doing: Doing::Idle,
                request,
                rounds,
                timed,
                late: false,
                expired: false,
                naps: false,
                along: Vec::new(),
                before: Doing::Idle,
                result: (Ok(()), 0),
            });
        }
        world
    }

    fn random(&mut self, n: usize) -> usize {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as usize % n
    }

    /// Runs until everybody is done.
    fn run(&mut self) {
        for _ in 0..100_000 {
            let mut able = Vec::new();
            for at in 0..self.callers.len() {
                let able_to = match self.callers[at].doing {
                    Doing::Asleep(_) => self.callers[at].timed && !self.callers[at].expired,
                    Doing::Done => false,
                    // An executor may look for no reason; and has to, when nobody receives.
                    Doing::Watches(_) => !self.wire.is_empty(),
                    Doing::Recv(_) | Doing::ByHand(_, true) => !self.wire.is_empty(),
                    // What the server has taken does not wait for its listening.
                    Doing::Help(_, _, request, _) if self.early.contains(&request) => true,
                    Doing::Send(_) | Doing::Help(..) | Doing::Along(_) => !self.stuffed(),
                    _ => true,
                };
                if able_to {
                    able.push(at);
                }
            }
            let server = self.callers.len();
            if !self.server.is_empty() || self.ends > 0 {
                able.push(server);
            }
            if self.send_proc == ProcDoing::Ready
                || matches!(self.send_proc, ProcDoing::Sending(..)) && !self.stuffed()
            {
                able.push(server + 1);
            }
            if self.receive_proc == ProcDoing::Ready
                || self.receive_proc == ProcDoing::Receiving && !self.wire.is_empty()
            {
                able.push(server + 2);
            }
            if self.bench.due > 0 {
                able.push(server + 3);
            }
            if able.is_empty() {
                let by_hand = |c: &Caller| c.kind == Kind::ByHand && c.doing != Doing::Done;
                let done = |c: &Caller| c.doing == Doing::Done;
                let callers = &self.callers;
                if callers.iter().any(by_hand) && callers.iter().all(|c| by_hand(c) || done(c)) {
                    // Those who receive by hand have nothing to come: the connection ends.
                    self.wire.push_back(Wire::End);
                    continue;
                }
                if (self.muted || self.batches && self.unsendable)
                    && callers.iter().any(|c| matches!(c.doing, Doing::Recv(_)))
                {
                    // What it waits for will never come, and it sees no clock; or it has received for a
                    // batch that could not be sent. The connection ends.
                    self.wire.push_back(Wire::End);
                    continue;
                }
                break;
            }
            let who = able[self.random(able.len())];
            match who {
                _ if who < server => self.caller_runs(who),
                _ if who == server => self.server_runs(),
                _ if who == server + 1 => self.send_proc_runs(),
                _ if who == server + 3 => {
                    self.bench.gather_more();
                }
                _ => self.receive_proc_runs(),
            }
            if std::env::var_os("MUX_TRACE").is_some() {
                let doing: Vec<_> =
                    self.callers.iter().map(|c| (c.request, c.kind, c.doing)).collect();
                println!(
                    "{who}: {doing:?} {:?} {:?} server {:?} wire {:?} {:?} {:?} woken {:?}",
                    self.send_proc,
                    self.receive_proc,
                    self.server,
                    self.wire,
                    self.bench.machine.sender,
                    self.bench.machine.muxer,
                    self.bench.woken
                );
            }
            self.tell();
            self.check();
        }
        for caller in &self.callers {
            assert_eq!(caller.doing, Doing::Done, "locked up: caller of {}", caller.request);
        }
        let recv = self.receive_proc == ProcDoing::Receiving;
        assert!(recv || self.closing != Closing::Waits, "nobody is inside, and it is not told");
        if self.bench.machine.hung_up {
            assert_ne!(self.send_proc, ProcDoing::Asleep, "a send proc is left");
            assert_ne!(self.receive_proc, ProcDoing::Asleep, "a receive proc is left");
        }
        assert!(
            self.bench.machine.outstanding() == self.bench.machine.abandoned as usize,
            "tags are lost: {} taken, {} held, {} on the way, range {:?}",
            self.bench.machine.outstanding(),
            self.bench.machine.abandoned,
            self.bench.machine.tagged_unsent,
            self.bench.range
        );
    }

    fn server_runs(&mut self) {
        if self.server.is_empty() || (self.ends > 0 && self.random(40) == 0) {
            if self.ends > 0 {
                self.ends -= 1;
                self.wire.push_back(Wire::End);
                // What it has not answered it never will.
                self.server.clear();
                if self.hang_up && (self.ends == 0 || self.random(2) == 0) {
                    self.hang_up = false;
                    self.bench.machine.hang_up(self.bench.range);
                    self.bench.gather();
                    if self.bench.machine.is_idle() {
                        self.closing = Closing::Over;
                    } else {
                        self.bench.machine.set_drain_waiter(CLOSER).expect("nobody else does");
                        self.closing = Closing::Waits;
                        self.bench.gather();
                    }
                }
            }
            return;
        }
        let at = self.random(self.server.len());
        let (tag, request) = self.server.swap_remove(at);
        match self.random(12) {
            0 => self.wire.push_back(Wire::Message(7000, 99)),
            1 => self.wire.push_back(Wire::Message(u32::MAX, 99)),
            _ => {}
        }
        let timed = self.callers.iter().any(|c| c.request == request && c.timed);
        if timed && self.mute && self.random(4) == 0 {
            self.muted = true;
        } else if request != u32::MAX {
            self.wire.push_back(Wire::Message(tag, request));
        }
    }

    /// The world's half of send: it fails, or the server has it.
    fn sends(&mut self, request: u32, tag: Option<u32>) -> (Result<(), i32>, u32) {
        let early = self.early.remove(&request);
        let began = self.in_use.remove(&request).expect("it is in send");
        if !early && self.random(15) == 0 {
            self.unsendable = true;
            return (Err(5), began);
        }
        if began != self.bench.machine.epoch() || self.wire.contains(&Wire::End) {
            self.unsendable = true;
            return (Ok(()), began); // lost on the way
        }
        if !early {
            self.server.push((tag.unwrap_or(0), if tag.is_some() { request } else { u32::MAX }));
        }
        (Ok(()), began)
    }

    /// Whether the server waits to be read from, with replies for callers that wait, and reads
    /// nothing meanwhile.
    fn stuffed(&self) -> bool {
        let waited_for = |message: &&Wire| {
            let &&Wire::Message(_, reply) = message else { return false };
            reply != 99
                && !self.early.contains(&reply)
                && self.callers.iter().any(|caller| {
                    caller.kind == Kind::Blocking
                        && caller.request == reply
                        && !matches!(caller.doing, Doing::Send(_) | Doing::Along(_) | Doing::Done)
                })
        };
        !self.bench.machine.hung_up
            && !self.wire.contains(&Wire::End)
            && self.wire.iter().filter(waited_for).count() >= self.room
    }

    /// The server has the request, though send has not returned.
    fn gets_early(&mut self, request: u32) -> bool {
        let Some(&tag) = self.tag_of.get(&request) else { return false };
        let began = self.in_use[&request];
        if began != self.bench.machine.epoch()
            || self.wire.contains(&Wire::End)
            || self.early.contains(&request)
            || self.random(3) != 0
        {
            return false;
        }
        self.early.insert(request);
        self.server.push((tag, request));
        true
    }

    /// One message, or the end, is received by whoever has the role.
    fn receives(&mut self) {
        match self.wire.pop_front() {
            Some(Wire::Message(tag, reply)) => {
                if let Some(orphan) = self.bench.deliver(tag, reply) {
                    assert!(orphan == 99 || self.orphaned(orphan), "{orphan} is somebody's");
                }
            }
            Some(Wire::End) | None => self.bench.end(),
        }
    }

    /// Whether nobody waits for the reply to that request any more.
    fn orphaned(&self, request: u32) -> bool {
        let is_over = |doing| matches!(doing, Doing::Done | Doing::Waking(_, None));
        self.callers.iter().all(|caller| caller.request != request || is_over(caller.doing))
            || self.failed > 0
            || self.bench.machine.hung_up
    }

    fn caller_runs(&mut self, at: usize) {
        let Caller { kind, doing, request, .. } = self.callers[at];
        let next = match doing {
            Doing::Idle => self.begins(at),
            Doing::Tag(id, tag, turn) => {
                self.tag_of.insert(request, tag);
                if self.random(20) == 0 {
                    self.abandons(at, id)
                } else if turn {
                    self.goes_to_send(at, id, request)
                } else {
                    Doing::Turn(id)
                }
            }
            Doing::Turn(id) => {
                let queued = self.bench.queue(id, request);
                self.queued(at, id, queued)
            }
            Doing::Send(_) if kind != Kind::Message && self.gets_early(request) => doing,
            Doing::Help(_, _, request, _) if self.gets_early(request) => doing,
            Doing::Send(id) => {
                let tag = (kind != Kind::Message).then(|| self.tag_of[&request]);
                let result = self.sends(request, tag);
                self.goes_along(at, id, result)
            }
            Doing::Help(id, _, request, _) => {
                let tag = self.tag_of.get(&request).copied();
                let result = self.sends(request, tag);
                self.goes_along(at, id, result)
            }
            Doing::Along(id) => match self.callers[at].along.pop() {
                Some(first) if self.gets_early(first.1) => {
                    self.callers[at].along.push(first);
                    doing
                }
                Some((other, request)) => {
                    let tag = self.tag_of.get(&request).copied();
                    let (result, began) = self.sends(request, tag);
                    self.bench.proc_sent_since(other, result, began);
                    self.has_sent(at, id)
                }
                None => unreachable!(),
            },
            Doing::Recv(id) => {
                self.receives();
                Doing::Step(id)
            }
            Doing::Look(id) => self.looks(at, id),
            Doing::Asleep(id)
                if self.callers[at].naps && !self.callers[at].expired && self.random(3) > 0 =>
            {
                self.bench.machine.end_backoff(id);
                self.bench.gather();
                doing
            }
            Doing::Asleep(id) => {
                if self.callers[at].late || self.random(4) == 0 {
                    self.callers[at].late = true;
                    self.callers[at].expired = true;
                    self.bench.machine.handle_deadline_asleep(id, self.bench.range);
                    self.bench.gather();
                }
                doing
            }
            Doing::Step(id) => {
                let step = self.bench.step(id);
                self.steps(at, id, step)
            }
            Doing::Waking(id, reply) => {
                if self.random(2) == 0 {
                    self.bench.machine.end_backoff(id);
                    self.bench.machine.handle_deadline_asleep(id, self.bench.range);
                    self.bench.gather();
                    doing
                } else {
                    self.bench.machine.ack_wake(id);
                    self.bench.gather();
                    self.over(at, reply)
                }
            }
            Doing::Watches(id) if self.random(20) == 0 => {
                self.bench.machine.abandon(id);
                self.bench.gather();
                self.failed += 1;
                self.over(at, None)
            }
            Doing::Watches(id) => Doing::Started(id),
            Doing::Started(id) => match self.random(10) {
                0 => {
                    self.bench.machine.abandon(id);
                    self.bench.gather();
                    self.failed += 1;
                    self.over(at, None)
                }
                _ => {
                    let can_poll = self.random(12) > 0;
                    let finish = self.bench.can_finish(id, can_poll);
                    self.failed += u32::from(finish == CollectAction::Stuck);
                    self.finishes(at, id, finish)
                }
            },
            Doing::Poll(id) => {
                let found = !self.wire.is_empty();
                let ended = self.wire.front() == Some(&Wire::End);
                if found {
                    self.receives();
                }
                Doing::Looked(id, found && !ended)
            }
            Doing::Looked(id, found) => {
                let finish = if found {
                    self.bench.machine.handle_polled(id)
                } else {
                    self.bench.machine.end_poll(id)
                };
                self.bench.gather();
                self.finishes(at, id, finish)
            }
            Doing::ByHand(id, _) => {
                match self.wire.pop_front() {
                    // Were it for a call, that one would never end: it comes again.
                    Some(Wire::Message(tag, reply)) if reply != 99 => {
                        self.wire.push_front(Wire::Message(tag, reply));
                    }
                    Some(Wire::End) => self.bench.machine.handle_disconnect(self.bench.range),
                    _ => {}
                }
                self.bench.machine.end_receive(id);
                self.bench.gather();
                self.over(at, None)
            }
            Doing::Done => unreachable!(),
        };
        self.callers[at].doing = next;
    }

    /// Its own request, or the one that it helps with, is sent; then what it took along.
    fn goes_along(&mut self, at: usize, id: CallId, result: (Result<(), i32>, u32)) -> Doing {
        self.callers[at].before = self.callers[at].doing;
        self.callers[at].result = result;
        if result.0.is_err() && !self.callers[at].along.is_empty() {
            self.bench.machine.first_send_failed();
        }
        self.has_sent(at, id)
    }

    fn has_sent(&mut self, at: usize, id: CallId) -> Doing {
        if !self.callers[at].along.is_empty() {
            return Doing::Along(id);
        }
        let (result, began) = self.callers[at].result;
        let Doing::Help(_, other, _, helped) = self.callers[at].before else {
            let step = self.bench.sent_since(id, result, began);
            return self.steps(at, id, step);
        };
        let range = self.bench.range;
        let step = self.bench.machine.handle_proxy_sent_by_caller(
            id,
            helped < 2,
            other,
            result,
            began,
            range,
        );
        if step == Action::Sleep {
            self.bench.machine.set_asleep(id, id.0);
        }
        self.bench.gather();
        match step {
            Action::ProxySend(other, request) => self.helps(at, id, other, request, helped + 1),
            step => self.steps(at, id, step),
        }
    }

    /// What one takes along that is about to send, besides.
    fn takes_along(&mut self) -> Vec<(CallId, u32)> {
        let mut along = Vec::new();
        while self.batches && along.len() < 3 {
            let Some((other, request)) = self.bench.machine.pop_for_batch() else { break };
            assert_eq!(self.in_use.insert(request, self.bench.machine.epoch()), None);
            along.push((other, request));
        }
        along.reverse();
        along
    }

    /// One that has the role and a deadline.
    fn looks(&mut self, at: usize, id: CallId) -> Doing {
        let range = self.bench.range;
        self.callers[at].late |= self.random(6) == 0;
        if self.callers[at].late {
            let step = self.bench.machine.handle_deadline_awake(id, range);
            if step == Action::Sleep {
                self.bench.machine.set_asleep(id, id.0);
            }
            self.bench.gather();
            return match step {
                // Its request is in another's hands: it has to stay.
                Action::Receive => Doing::Recv(id),
                step => self.steps(at, id, step),
            };
        }
        if !self.polls {
            return Doing::Recv(id);
        }
        if !self.wire.is_empty() {
            self.receives();
            return Doing::Step(id);
        }
        let step = self.bench.machine.begin_backoff(id, range);
        if step == Action::Sleep {
            self.bench.machine.set_asleep(id, id.0);
            self.callers[at].naps = true;
        }
        self.bench.gather();
        self.steps(at, id, step)
    }

    fn abandons(&mut self, at: usize, id: CallId) -> Doing {
        self.bench.machine.cancel_unsent(id, self.bench.range);
        self.bench.gather();
        self.over(at, None)
    }

    fn begins(&mut self, at: usize) -> Doing {
        if self.random(25) == 0 {
            if self.bench.machine.request_send_proc() {
                self.send_proc = ProcDoing::Ready;
            }
            if self.bench.machine.request_receive_proc() {
                self.receive_proc = ProcDoing::Ready;
                if self.random(4) == 0 {
                    // It could not be started.
                    self.receive_proc = ProcDoing::Absent;
                    self.bench.machine.stop_procs();
                    self.bench.machine.receive_proc_gone();
                }
                self.bench.gather();
            }
            // A freed number may be given out anew: who had it is told first.
            while self.bench.due > 0 {
                self.bench.gather_more();
            }
            self.tell();
        }
        let kind = self.callers[at].kind;
        if self.ranges && self.random(10) == 0 {
            let max = [1, 2, 3, 200][self.random(4)];
            self.bench.range = TagRange { min: self.random(2) as u32 * 300, max: 0 };
            self.bench.range.max = self.bench.range.min + max;
        }
        if self.scarce && self.random(5) == 0 {
            OUT_OF_MEMORY.set(!OUT_OF_MEMORY.get());
        }
        if kind == Kind::ByHand {
            let wait = self.random(3) > 0;
            return match self.bench.machine.begin_receive(wait) {
                Ok((id, ReceiverGrant::Granted)) => Doing::ByHand(id, wait),
                Ok((id, ReceiverGrant::Wait)) if wait => {
                    self.bench.machine.set_asleep(id, id.0);
                    Doing::Asleep(id)
                }
                _ => self.over(at, None),
            };
        }
        if kind == Kind::Message {
            return match self.bench.machine.begin_message() {
                Ok(id) => Doing::Turn(id),
                Err(_) => self.over(at, None),
            };
        }
        let begun = self.bench.begin((kind == Kind::NonBlocking).then_some(0));
        if let (Ok(Begun { id, .. }), true) = (&begun, self.callers[at].timed) {
            self.bench.machine.mark_has_deadline(*id);
        }
        match begun {
            Ok(Begun { id, tag: Some(tag), turn }) => Doing::Tag(id, tag, turn),
            Ok(Begun { id, tag: None, .. }) => {
                let step = self.bench.step(id);
                self.steps(at, id, step)
            }
            Err(BeginError::NoTag | BeginError::HungUp) => self.over(at, None),
            Err(BeginError::NoMemory) if self.scarce => self.over(at, None),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn goes_to_send(&mut self, at: usize, id: CallId, request: u32) -> Doing {
        assert_eq!(self.in_use.insert(request, self.bench.machine.epoch()), None);
        if self.callers[at].kind == Kind::Blocking {
            self.callers[at].along = self.takes_along();
        }
        Doing::Send(id)
    }

    fn helps(&mut self, at: usize, id: CallId, other: CallId, request: u32, helped: u32) -> Doing {
        assert_eq!(self.in_use.insert(request, self.bench.machine.epoch()), None);
        self.callers[at].along = self.takes_along();
        Doing::Help(id, other, request, helped)
    }

    fn queued(&mut self, at: usize, id: CallId, queued: SendTurn<Numbers>) -> Doing {
        match queued {
            SendTurn::Granted(request) => self.goes_to_send(at, id, request),
            SendTurn::Wait => Doing::Asleep(id),
            SendTurn::HungUp => self.over(at, None),
        }
    }

    fn steps(&mut self, at: usize, id: CallId, step: Action<Numbers>) -> Doing {
        match step {
            Action::Reply(reply) => self.over(at, Some(reply)),
            Action::Ended
            | Action::Failed(_)
            | Action::EmptyRange
            | Action::AllTagsAbandoned
            | Action::NoMemory
            | Action::TimedOut => self.over(at, None),
            Action::Tagged(tag) => Doing::Tag(id, tag, false),
            Action::Receive if self.callers[at].timed => Doing::Look(id),
            Action::Receive => Doing::Recv(id),
            Action::ProxySend(other, request) => self.helps(at, id, other, request, 0),
            Action::Turn(request) => self.goes_to_send(at, id, request),
            Action::Sleep => Doing::Asleep(id),
            Action::Pending if self.callers[at].kind == Kind::Message => self.over(at, None),
            Action::Pending => Doing::Started(id),
        }
    }

    fn finishes(&mut self, at: usize, id: CallId, finish: CollectAction<Numbers>) -> Doing {
        match finish {
            CollectAction::Reply(reply) => self.over(at, Some(reply)),
            CollectAction::Ended | CollectAction::Stuck => self.over(at, None),
            CollectAction::Pending if self.random(2) == 0 => {
                if self.bench.machine.register_future(id, true) {
                    Doing::Watches(id)
                } else {
                    Doing::Started(id)
                }
            }
            CollectAction::Pending => Doing::Started(id),
            CollectAction::Poll => Doing::Poll(id),
        }
    }

    /// A call is over: the next round, or done.
    fn over(&mut self, at: usize, reply: Option<u32>) -> Doing {
        let caller = &mut self.callers[at];
        match reply {
            Some(reply) => {
                assert_eq!(reply, caller.request, "another's reply");
                self.answered += 1;
            }
            None => self.failed += 1,
        }
        assert!(!self.in_use.contains_key(&caller.request), "the request is in use");
        caller.request += 1;
        caller.late = false;
        caller.rounds -= 1;
        if caller.rounds == 0 { Doing::Done } else { Doing::Idle }
    }

    fn send_proc_runs(&mut self) {
        if let ProcDoing::Sending(id, request) = self.send_proc {
            let (result, began) = self.sends(request, self.tag_of.get(&request).copied());
            self.bench.proc_sent_since(id, result, began);
            self.send_proc = match self.proc_along.pop() {
                Some((other, request)) => ProcDoing::Sending(other, request),
                None => ProcDoing::Ready,
            };
            return;
        }
        self.send_proc = match self.bench.send_proc_work() {
            SendProcAction::Send(id, request) => {
                assert_eq!(self.in_use.insert(request, self.bench.machine.epoch()), None);
                self.proc_along = self.takes_along();
                ProcDoing::Sending(id, request)
            }
            SendProcAction::Wait => ProcDoing::Asleep,
            SendProcAction::Stop => ProcDoing::Absent,
        };
    }

    fn receive_proc_runs(&mut self) {
        if self.receive_proc == ProcDoing::Receiving {
            self.receives();
            self.receive_proc = ProcDoing::Ready;
            return;
        }
        self.receive_proc = match self.bench.receive_proc_seat() {
            ReceiverGrant::Granted => ProcDoing::Receiving,
            ReceiverGrant::Wait => ProcDoing::Asleep,
            ReceiverGrant::Denied => ProcDoing::Absent,
        };
    }

    /// Those woken are ready to run, with what they were told.
    fn tell(&mut self) {
        for id in std::mem::take(&mut self.bench.looked) {
            let watches = |caller: &mut Caller| match caller.doing {
                Doing::Watches(other) if other == id => caller.doing = Doing::Started(id),
                _ => {}
            };
            self.callers.iter_mut().for_each(watches);
        }
        for (who, told) in self.bench.woken() {
            if who == CLOSER {
                assert_eq!(self.closing, Closing::Waits);
                assert!(self.bench.machine.is_idle(), "it is told, and nobody is inside");
                self.closing = Closing::Over;
                continue;
            }
            if who == SEND_PROC {
                assert_eq!(self.send_proc, ProcDoing::Asleep);
                self.send_proc = ProcDoing::Ready;
                continue;
            }
            if who == RECEIVE_PROC {
                assert_eq!(self.receive_proc, ProcDoing::Asleep);
                self.receive_proc = ProcDoing::Ready;
                continue;
            }
            let at = (0..self.callers.len())
                .find(|&at| matches!(self.callers[at].doing, Doing::Asleep(id) if id.0 == who))
                .expect("only a sleeper is told");
            let Doing::Asleep(id) = self.callers[at].doing else { unreachable!() };
            self.callers[at].naps = false;
            self.callers[at].expired = false;
            let timed = self.callers[at].timed;
            let next = match told {
                Wakeup::Reply(reply) if timed => Doing::Waking(id, Some(reply)),
                Wakeup::Ended
                | Wakeup::Failed(_)
                | Wakeup::EmptyRange
                | Wakeup::AllTagsAbandoned
                | Wakeup::NoMemory
                | Wakeup::TimedOut
                    if timed =>
                {
                    Doing::Waking(id, None)
                }
                Wakeup::Reply(reply) => self.over(at, Some(reply)),
                Wakeup::Ended
                | Wakeup::Failed(_)
                | Wakeup::EmptyRange
                | Wakeup::AllTagsAbandoned
                | Wakeup::NoMemory
                | Wakeup::TimedOut
                | Wakeup::Busy => self.over(at, None),
                Wakeup::Turn(_) if self.callers[at].late => self.abandons(at, id),
                Wakeup::Tag(tag) => Doing::Tag(id, tag, false),
                Wakeup::Turn(request) => self.goes_to_send(at, id, request),
                Wakeup::Sent if self.callers[at].kind == Kind::Message => self.over(at, None),
                Wakeup::Sent => Doing::Started(id),
                Wakeup::Receive if self.callers[at].kind == Kind::ByHand => Doing::ByHand(id, true),
                Wakeup::Receive => Doing::Step(id),
                Wakeup::Work => panic!("a caller is no proc"),
            };
            self.callers[at].doing = next;
        }
    }

    fn check(&self) {
        let sending = self
            .callers
            .iter()
            .filter(|c| matches!(c.doing, Doing::Send(_) | Doing::Help(..) | Doing::Along(_)))
            .count()
            + usize::from(matches!(self.send_proc, ProcDoing::Sending(..)));
        assert!(sending <= 1, "two send");
        let receiving = self
            .callers
            .iter()
            .filter(|c| {
                matches!(
                    c.doing,
                    Doing::Recv(_) | Doing::Look(_) | Doing::Poll(_) | Doing::ByHand(..)
                )
            })
            .count()
            + usize::from(self.receive_proc == ProcDoing::Receiving);
        assert!(receiving <= 1, "two receive");
    }
}

#[test]
fn random_schedules() {
    let runs = std::env::var("MUX_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let mut answered = 0;
    let only = std::env::var("MUX_SEED").ok().and_then(|n| n.parse().ok());
    for seed in only.map_or(0..runs, |seed| seed..seed + 1) {
        let mut world = World::new(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
        assert!(result.is_ok(), "seed {seed}");
        answered += u64::from(world.answered);
    }
    assert!(
        answered > runs || only.is_some(),
        "most calls are answered: {answered} of {runs} runs"
    );
}
