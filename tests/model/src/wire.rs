//! The connection, its server, and the assertions about them.
//!
//! The server has no thread of its own. A reply is available as soon as its request has been sent; a later reply
//! is equivalent to a receiver that runs later. A callback blocks in the checker's mutex and condition variables,
//! so the checker may switch threads in each callback.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock;
use crate::message::{Fate, Frame, Reply, Request};
use crate::prim::{self, choose};
use crate::rpc::{Batch, Polled, Transport};

/// The order in which the server replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    First,
    Last,
    Any,
}

/// The properties of the connection.
#[derive(Clone, Debug)]
pub struct Plan {
    pub tags: Range<u32>,
    /// When this number of replies is unread, the server reads no more requests until all replies have been
    /// read, and no send returns.
    pub room: usize,
    pub order: Order,
    pub can_try: bool,
    pub batches: bool,
    /// Whether the connection can be used again after it has ended.
    pub reopens: bool,
    /// Number of messages that are no replies.
    pub strays: usize,
    /// Whether calls may be abandoned, so that all tags may belong to abandoned calls.
    pub gives_up: bool,
}

impl Plan {
    pub fn new(tags: u32) -> Plan {
        Plan {
            tags: 1..1 + tags,
            room: usize::MAX,
            order: Order::First,
            can_try: false,
            batches: false,
            reopens: false,
            strays: 0,
            gives_up: false,
        }
    }
}

/// The state that the assertions use. It is not part of the model, so the checker does not observe it.
#[derive(Default)]
pub struct Book {
    /// The number of the call whose request is in `send`.
    sender: Option<usize>,
    /// Whether a caller is in `recv` or `try_recv`.
    receiver: bool,
    /// For each tag, the number of its call and whether its request has been sent.
    hands: BTreeMap<u32, (usize, bool)>,
    /// How often `recv` has reported the end of the connection.
    ends: u32,
    /// Number of replies that have been received but not delivered.
    pub replies: usize,
    /// A thread has begun to close the connection or to hang up.
    pub closing: bool,
    pub hung_up: bool,
    /// The Mux has been released, and no caller is inside the library.
    pub retired: bool,
    pub orphans: usize,
}

#[derive(Default)]
pub struct Ledger(Mutex<Book>);

impl Ledger {
    pub fn of<R>(&self, f: impl FnOnce(&mut Book) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records that a call has returned. A tag that was not sent no longer belongs to the call.
    pub fn is_back(&self, number: usize) {
        self.of(|book| book.hands.retain(|_, (call, sent)| *call != number || *sent));
    }
}

/// A request that the server has received.
struct Held {
    tag: u32,
    number: usize,
    mute: bool,
}

struct Flow {
    server: Vec<Held>,
    strays: usize,
    closed: bool,
    /// The number of times that the connection has been reopened.
    epoch: u32,
    receiver_waits: bool,
    sender_waits: bool,
}

impl Flow {
    /// Returns the number of replies that can be read.
    fn unread(&self) -> usize {
        self.server.iter().filter(|held| !held.mute).count()
    }
}

/// The connection.
pub struct Wire {
    pub plan: Plan,
    pub ledger: Arc<Ledger>,
    flow: prim::Mutex<Flow>,
    arrival: prim::Condvar,
    space: prim::Condvar,
}

/// A request could not be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Unsent;

impl Wire {
    pub fn new(plan: Plan) -> Wire {
        let flow = Flow {
            server: Vec::new(),
            strays: plan.strays,
            closed: false,
            epoch: 0,
            receiver_waits: false,
            sender_waits: false,
        };
        let (arrival, space) = (prim::Condvar::new(), prim::Condvar::new());
        Wire { plan, ledger: Arc::default(), flow: prim::Mutex::new(flow), arrival, space }
    }

    /// Closes the connection. Replies that are available can still be received.
    pub fn close(&self) {
        let mut flow = prim::lock(&self.flow);
        flow.closed = true;
        self.ring(&flow);
    }

    fn ring(&self, flow: &Flow) {
        if flow.receiver_waits {
            self.arrival.notify_one();
        }
        if flow.sender_waits {
            self.space.notify_one();
        }
    }

    fn is_inside(&self) {
        assert!(!self.ledger.of(|book| book.retired), "a caller is inside after the release");
    }

    /// Sends one request, which the caller keeps for another attempt.
    fn send_one(&self, request: &Request) -> Result<(), Unsent> {
        self.is_inside();
        let number = request.0.number;
        let other = self.ledger.of(|book| book.sender.replace(number));
        assert_eq!(other, None, "two senders");
        let tag = request.tag();
        say!("the request of {number} is being sent, with tag {tag}");
        let result = self.send_it(&request.0, tag);
        // The request must remain valid until this point.
        request.tag();
        say!("the request of {number}: {result:?}");
        self.ledger.of(|book| {
            book.sender = None;
            if result.is_err() && book.hands.get(&tag).is_some_and(|hand| hand.0 == number) {
                book.hands.remove(&tag);
            }
        });
        result
    }

    fn send_it(&self, frame: &Frame, tag: u32) -> Result<(), Unsent> {
        let mut flow = prim::lock(&self.flow);
        let epoch = flow.epoch;
        if frame.fate == Fate::Behind {
            clock::strike();
        }
        if flow.unread() >= self.plan.room || frame.fate == Fate::Behind {
            while flow.unread() > 0 && !flow.closed && flow.epoch == epoch {
                flow.sender_waits = true;
                flow = prim::wait(&self.space, flow);
                flow.sender_waits = false;
            }
        }
        let over = flow.closed && self.ledger.of(|book| book.ends > 0);
        match frame.fate {
            Fate::Unsendable | Fate::Untaggable => return Err(Unsent),
            _ if over => return Err(Unsent),
            // The server does not receive the request.
            Fate::Torn if flow.closed || flow.epoch != epoch => return Err(Unsent),
            _ if flow.closed || flow.epoch != epoch => return Ok(()),
            Fate::Message => return Ok(()),
            Fate::Replied | Fate::Behind | Fate::Mute | Fate::Torn => {}
        }
        let twice = flow.server.iter().find(|held| held.tag == tag);
        assert!(twice.is_none(), "the server gets tag {tag} twice");
        flow.server.push(Held { tag, number: frame.number, mute: frame.fate == Fate::Mute });
        self.ledger.of(|book| book.hands.insert(tag, (frame.number, true)));
        self.ring(&flow);
        if frame.fate == Fate::Torn { Err(Unsent) } else { Ok(()) }
    }

    /// Removes the next available message.
    fn take(&self, flow: &mut Flow) -> Option<Reply> {
        let ready: Vec<usize> =
            (0..flow.server.len()).filter(|&at| !flow.server[at].mute).collect();
        if flow.strays > 0 && (ready.is_empty() || self.plan.order != Order::Any || choose(4) == 0)
        {
            flow.strays -= 1;
            let tag = [None, Some(self.plan.tags.end + 7)][flow.strays % 2];
            return Some(Reply::new(tag, usize::MAX, &self.ledger));
        }
        if ready.is_empty() {
            return None;
        }
        let at = match self.plan.order {
            Order::First => ready[0],
            Order::Last => ready[ready.len() - 1],
            Order::Any => ready[choose(ready.len())],
        };
        let Held { tag, number, .. } = flow.server.remove(at);
        // From now on the tag may belong to another call.
        self.ledger.of(|book| {
            if book.hands.get(&tag).is_some_and(|hand| hand.0 == number) {
                book.hands.remove(&tag);
            }
        });
        say!("the reply to {number} comes, with tag {tag}");
        Some(Reply::new(Some(tag), number, &self.ledger))
    }

    /// Records that the end of the connection is being reported.
    fn ends(&self, flow: &mut Flow) {
        say!("the end of the connection");
        self.ledger.of(|book| {
            // With `try_recv`, a call that finds no tag polls even after the end.
            let strict = !self.plan.reopens && !self.plan.can_try;
            let again = book.ends > 0 && strict && !book.hung_up;
            assert!(!again, "recv is called again after it has reported the end");
            book.ends += 1;
            book.hands.retain(|_, (_, sent)| !*sent);
        });
        flow.server.clear();
        if self.plan.reopens && !self.ledger.of(|book| book.hung_up) {
            flow.closed = false;
            flow.epoch += 1;
        }
        self.ring(flow);
    }

    fn enter_recv(&self) {
        self.is_inside();
        let two = self.ledger.of(|book| std::mem::replace(&mut book.receiver, true));
        assert!(!two, "two receivers");
    }

    fn leave_recv(&self) {
        self.ledger.of(|book| book.receiver = false);
    }
}

impl Transport for Wire {
    type Request = Request;
    type Reply = Reply;
    type Failure = Unsent;
    type Watch = ();

    fn range(&self) -> Range<u32> {
        self.plan.tags.clone()
    }

    fn set_tag(&self, request: &mut Request, tag: u32) -> Result<(), Unsent> {
        self.is_inside();
        assert!(self.plan.tags.contains(&tag), "tag {tag} is outside the range");
        request.set_tag(tag);
        let frame = &*request.0;
        if frame.fate == Fate::Untaggable {
            return Err(Unsent);
        }
        self.ledger.of(|book| {
            let loose = book.closing || frame.timed || self.plan.gives_up;
            match book.hands.get(&tag) {
                Some(&(_, false)) if loose => {}
                Some((other, _)) => {
                    panic!("tag {tag} belongs to {other} and to {}", frame.number)
                }
                None => {}
            }
            book.hands.insert(tag, (frame.number, false));
        });
        Ok(())
    }

    fn tag(&self, reply: &Reply) -> Option<u32> {
        reply.tag
    }

    fn send(&self, request: Request) -> Result<(), Unsent> {
        self.send_one(&request)
    }

    fn recv(&self) -> Option<Reply> {
        self.enter_recv();
        let mut flow = prim::lock(&self.flow);
        let reply = loop {
            if let Some(reply) = self.take(&mut flow) {
                self.ring(&flow);
                break Some(reply);
            }
            if flow.closed {
                self.ends(&mut flow);
                break None;
            }
            flow.receiver_waits = true;
            flow = prim::wait(&self.arrival, flow);
            flow.receiver_waits = false;
        };
        self.leave_recv();
        reply
    }

    fn can_send_many(&self) -> bool {
        self.plan.batches
    }

    fn send_many(&self, requests: &mut Batch<Request>) -> Result<NonZeroUsize, Unsent> {
        let mut sent = 0;
        for request in requests.iter_mut() {
            // A torn request is sent again as the first of a batch, and the server would receive it twice.
            if sent > 0 && (request.0.fate == Fate::Torn || choose(3) == 2) {
                break;
            }
            match self.send_one(request) {
                Ok(()) => sent += 1,
                Err(failure) if sent == 0 => return Err(failure),
                // The request fails again as the first of the next batch.
                Err(_) => break,
            }
        }
        NonZeroUsize::new(sent).ok_or(Unsent)
    }

    fn can_recv_many(&self) -> bool {
        self.plan.batches
    }

    fn recv_many(&self, replies: &mut Batch<Reply>) {
        while let Some(reply) = self.recv() {
            let _ = replies.push(reply);
            let flow = prim::lock(&self.flow);
            if replies.is_full() || flow.server.iter().all(|held| held.mute) || choose(2) == 1 {
                return;
            }
        }
    }

    fn can_try(&self) -> bool {
        self.plan.can_try
    }

    fn try_recv(&self) -> Polled<Reply> {
        assert!(self.plan.can_try, "this connection cannot poll");
        self.enter_recv();
        let mut flow = prim::lock(&self.flow);
        // Sometimes the message arrives later.
        let reply = if choose(3) == 2 { None } else { self.take(&mut flow) };
        let polled = match reply {
            Some(reply) => {
                self.ring(&flow);
                Polled::Message(reply)
            }
            None if flow.closed && flow.server.iter().all(|held| held.mute) => {
                self.ends(&mut flow);
                Polled::Ended
            }
            None => Polled::Nothing,
        };
        self.leave_recv();
        polled
    }

    fn orphan(&self, message: Reply) {
        self.is_inside();
        let number = message.settle();
        say!("the reply to {number} is an orphan");
        self.ledger.of(|book| book.orphans += 1);
    }
}
