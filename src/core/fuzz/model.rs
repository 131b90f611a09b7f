//! What must come of each event: the reference.
//!
//! It is made to be right at sight, not to be fast, and knows nothing of how the machine does it. It
//! does not say who receives or sends next, which the machine is free to choose, but what a choice may
//! not change: which message is whose, which tags are in use, how a call can end, and the counts.
//!
//! Where wakes are still due (the machine has named whom to wake, and nobody has been told), it can
//! not know what a sleeper is about to be told. It allows each of the things that it may be then, and
//! goes by what the machine does.

use std::collections::BTreeMap;

use crate::core::BeginError;
use crate::core::tags::TagRange;

/// A call, or a message sent by hand: its request as well.
pub type Name = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Blocking,
    NonBlocking,
    /// Not a call.
    Message,
}

/// Where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Tagless,
    Tagged,
    /// It waits for the turn to send, or for the send proc.
    Queued,
    /// Somebody has the turn for it, or is in send with its request.
    Sending,
    Sent,
    /// Over, and its owner is to be told, or will come to see.
    Over,
    /// Its owner is gone, or about to be; its tag is not.
    GivenUp,
    Gone,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Reply(u32),
    /// A message by hand has been sent.
    Sent,
    Ended,
    Failed(i32),
    NoTags,
    AllHeld,
    NoMemory,
    TimedOut,
    /// It can never finish, so it was given up.
    Never,
    Cancelled,
}

#[derive(Debug)]
pub struct Call {
    pub kind: Kind,
    pub at: At,
    pub tag: Option<u32>,
    /// Whether the tag may be free already, since it may have ended.
    doubtful: bool,
    reply: Option<u32>,
    /// What it may be told, if it is over; before that, what it may be told out of turn.
    may: Vec<Fate>,
    /// A deadline has come while another was sending it; or may have, unless it was being told to receive.
    late: bool,
    maybe_late: bool,
    /// It may have been given up.
    maybe_given_up: bool,
    /// Non-blocking, over, and there to be collected.
    finishable: bool,
}

impl Call {
    fn new(kind: Kind, at: At) -> Call {
        Call {
            kind,
            at,
            tag: None,
            doubtful: false,
            reply: None,
            may: Vec::new(),
            late: false,
            maybe_late: false,
            maybe_given_up: false,
            finishable: false,
        }
    }
}

/// Whether the owner of a call that another sends sleeps; it may have been told to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleeps {
    No,
    Yes,
    Maybe,
}

/// Whose a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Calls(Name),
    Nobodys,
    /// That call's or nobody's.
    Either(Name),
}

/// What has been counted.
#[derive(Debug, Default)]
pub struct Counts {
    pub calls: u64,
    pub orphans: u64,
    pub tag_waits: u64,
    pub errors: u64,
    pub most: usize,
}

#[derive(Default)]
pub struct Model {
    pub calls: Vec<Call>,
    pub counts: Counts,
    pub ends: u32,
    pub hung_up: bool,
    /// Whether memory for tags has ever run out.
    pub memory_was_out: bool,
    /// Whether some tag may have been taken or become free unseen.
    blind: bool,
    /// The range has been another: which tag comes next is the machine's business then.
    range_has_changed: bool,
    /// Since when tags that were in use are free.
    freed: BTreeMap<u32, u64>,
    /// How many tags were ever in use.
    used: u32,
    now: u64,
}

impl Model {
    /// The next event.
    pub fn tick(&mut self, range_is_new: bool) {
        self.now += 1;
        self.range_has_changed |= range_is_new;
    }

    pub fn call(&mut self, name: Name) -> &mut Call {
        &mut self.calls[name as usize]
    }

    fn holds(&self, tag: u32) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.tag == Some(tag))
    }

    /// Tags in use, as far as it can be seen, and whether all can.
    pub fn outstanding(&self) -> (usize, bool) {
        let tags = self.calls.iter().filter(|call| call.tag.is_some() && !call.doubtful).count();
        let doubt = self.calls.iter().any(|call| call.at == At::Tagless || call.doubtful);
        (tags, !doubt)
    }

    /// The same, if every doubtful one is in use.
    pub fn outstanding_at_most(&self) -> usize {
        let counts = |call: &&Call| call.tag.is_some() || call.at == At::Tagless;
        self.calls.iter().filter(counts).count()
    }

    pub fn finishable(&self) -> usize {
        self.calls.iter().filter(|call| call.finishable).count()
    }

    fn open(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.tag.is_some())
    }

    /// Whether every tag in use may be held for a call that was given up.
    fn all_held(&self) -> bool {
        let held = |call: &Call| call.at == At::GivenUp || call.maybe_given_up || call.doubtful;
        self.open().next().is_some() && self.open().all(held)
    }

    fn free_in(&self, range: TagRange) -> u64 {
        let taken = self
            .open()
            .filter(|call| call.tag.is_some_and(|tag| range.min <= tag && tag < range.max));
        u64::from(range.max.saturating_sub(range.min)).saturating_sub(taken.count() as u64)
    }

    /// After each event: what those may be told that wait for a tag.
    pub fn looks_at_the_tagless(&mut self, range: TagRange) {
        let all_held = self.all_held();
        for call in self.calls.iter_mut().filter(|call| call.at == At::Tagless) {
            let out = self.memory_was_out;
            for (is_so, fate) in
                [(all_held, Fate::AllHeld), (range.is_empty(), Fate::NoTags), (out, Fate::NoMemory)]
            {
                if is_so && !call.may.contains(&fate) {
                    call.may.push(fate);
                }
            }
        }
    }

    pub fn begun(&mut self, kind: Kind, range: TagRange, tag: Option<u32>) -> Name {
        assert!(!self.hung_up, "no call begins after the hang-up");
        assert!(!range.is_empty(), "no call begins without a valid tag");
        let name = self.calls.len() as Name;
        let at = if tag.is_some() { At::Tagged } else { At::Tagless };
        self.counts.calls += 1;
        if tag.is_none() {
            assert_eq!(kind, Kind::Blocking, "only a blocking call waits for a tag");
            self.no_tag_is_free(range);
            self.counts.tag_waits += 1;
            self.blind = true;
        }
        self.calls.push(Call::new(kind, at));
        if let Some(tag) = tag {
            self.takes(name, tag, range);
        }
        name
    }

    /// A message by hand is no call, and has no tag.
    pub fn begun_message(&mut self) -> Name {
        assert!(!self.hung_up);
        self.calls.push(Call::new(Kind::Message, At::Tagged));
        self.calls.len() as Name - 1
    }

    pub fn refused(&mut self, kind: Kind, range: TagRange, why: BeginError) {
        match why {
            BeginError::HungUp => assert!(self.hung_up),
            BeginError::EmptyRange => assert!(range.is_empty()),
            BeginError::NoTag => {
                self.no_tag_is_free(range);
                assert!(kind == Kind::NonBlocking || self.all_held(), "it could have waited");
            }
            BeginError::NoMemory => assert!(self.memory_was_out, "there is memory"),
        }
    }

    /// All of the range are in use, but for those that may have been given to who waits for one.
    fn no_tag_is_free(&self, range: TagRange) {
        let unseen = self.calls.iter().filter(|call| call.at == At::Tagless).count();
        let all_taken = self.free_in(range) <= unseen as u64;
        assert!(all_taken || self.memory_was_out, "a tag is free");
    }

    fn takes(&mut self, name: Name, tag: u32, range: TagRange) {
        assert!(range.min <= tag && tag < range.max, "tag {tag} is out of range");
        assert!(self.holds(tag).all(|call| call.doubtful), "tag {tag} is in two hands");
        for call in self.calls.iter_mut().filter(|call| call.tag == Some(tag)) {
            call.tag = None;
            call.doubtful = false;
        }
        self.comes_in_order(tag, range);
        self.call(name).tag = Some(tag);
        let (outstanding, _) = self.outstanding();
        self.counts.most = self.counts.most.max(outstanding);
    }

    /// A tag that was in use goes to the end of the queue: of those that are free again, the one that
    /// has been for longest comes first, and as long as there are unused ones, 64 others rest with it.
    fn comes_in_order(&mut self, tag: u32, range: TagRange) {
        let since = self.freed.remove(&tag);
        if self.blind || self.range_has_changed || self.memory_was_out {
            return;
        }
        let Some(since) = since else {
            self.used += 1;
            return;
        };
        let first = self.freed.values().copied().min();
        assert!(first.is_none_or(|first| since <= first), "tag {tag} is before its time");
        let all_used = self.used == range.max - range.min;
        assert!(all_used || self.freed.len() >= 64, "tag {tag} has not rested");
    }

    /// Whether what is known of the most tags at once is all there is to know.
    pub fn most_is_known(&self) -> bool {
        !self.blind
    }

    /// One that waited for a tag has it. It may have had it for a while.
    pub fn tagged(&mut self, name: Name, tag: u32, ranges: &[TagRange]) {
        assert_eq!(self.call(name).at, At::Tagless);
        self.call(name).at = At::Tagged;
        let held = self.holds(tag).all(|call| call.doubtful);
        assert!(held, "tag {tag} is in two hands");
        let valid = |range: &TagRange| range.min <= tag && tag < range.max;
        assert!(ranges.iter().any(valid), "tag {tag} was never valid meanwhile");
        self.freed.remove(&tag);
        self.call(name).may.clear();
        self.call(name).tag = Some(tag);
    }

    fn frees(&mut self, name: Name) {
        self.call(name).doubtful = false;
        if let Some(tag) = self.call(name).tag.take() {
            self.freed.insert(tag, self.now);
        }
    }

    pub fn queued(&mut self, name: Name) {
        assert_eq!(self.call(name).at, At::Tagged);
        self.call(name).at = At::Queued;
    }

    /// Somebody sends it.
    pub fn turn(&mut self, name: Name) {
        let call = self.call(name);
        assert!(matches!(call.at, At::Tagged | At::Queued | At::Sending), "{name}: {:?}", call.at);
        call.at = At::Sending;
        // If it may have ended, it has not.
        call.doubtful = false;
        call.may.clear();
    }

    /// It is over without having been sent. Answers its reply, which is an orphan.
    pub fn abandoned(&mut self, name: Name) -> Option<u32> {
        let reply = self.call(name).reply.take();
        self.counts.orphans += u64::from(reply.is_some());
        self.frees(name);
        self.counts.errors += 1;
        self.call(name).at = At::Gone;
        reply
    }

    /// Its send, which began when the connection had ended so often, has returned.
    pub fn sent(&mut self, name: Name, result: Result<(), i32>, began: u32, sleeps: Sleeps) {
        let ended = began != self.ends || self.hung_up;
        let call = self.call(name);
        assert_eq!(call.at, At::Sending);
        let fate = match (call.reply, result, call.kind) {
            // A reply counts more than what send says of itself.
            (Some(reply), _, kind) => {
                call.finishable = kind == Kind::NonBlocking;
                Fate::Reply(reply)
            }
            (None, Err(failure), _) => Fate::Failed(failure),
            (None, Ok(()), Kind::Message) => Fate::Sent,
            (None, Ok(()), _) if ended => Fate::Ended,
            (None, Ok(()), _) if call.late && sleeps == Sleeps::Yes => {
                call.may = vec![Fate::TimedOut];
                call.at = At::GivenUp;
                return;
            }
            (None, Ok(()), _) => {
                call.maybe_given_up = (call.maybe_late || call.late) && sleeps != Sleeps::No;
                call.at = At::Sent;
                return;
            }
        };
        self.is_over(name, vec![fate]);
    }

    fn is_over(&mut self, name: Name, may: Vec<Fate>) {
        self.frees(name);
        let call = self.call(name);
        call.at = At::Over;
        call.may = may;
    }

    /// Whether the message with that tag is the reply for which a blocking caller waits.
    pub fn is_awaited(&self, tag: Option<u32>) -> bool {
        let waits = |call: &Call| call.kind == Kind::Blocking && call.at == At::Sent;
        tag.is_some() && self.calls.iter().any(|call| call.tag == tag && waits(call))
    }

    pub fn is_answered(&self, name: Name) -> bool {
        self.calls.get(name as usize).is_some_and(|call| call.reply.is_some())
    }

    /// Whose the message with that tag is.
    pub fn whose(&self, tag: Option<u32>, sure: bool) -> Whose {
        let mut whose = Whose::Nobodys;
        for (name, call) in (0..).zip(&self.calls) {
            if call.tag.is_none() || call.tag != tag {
                continue;
            }
            whose = match call.at {
                At::Sending | At::Sent if call.maybe_given_up => Whose::Either(name),
                At::Sending | At::Sent => Whose::Calls(name),
                // Its turn may have come, though it has not been told.
                At::Queued if !sure => Whose::Either(name),
                _ => Whose::Nobodys,
            };
            if !call.doubtful {
                break;
            }
        }
        whose
    }

    /// The message is that call's.
    pub fn has_reply(&mut self, name: Name, reply: u32) {
        let call = self.call(name);
        assert_eq!(call.reply, None);
        call.reply = Some(reply);
        call.maybe_given_up = false;
        match call.at {
            At::Sent => {
                call.finishable = call.kind == Kind::NonBlocking;
                self.is_over(name, vec![Fate::Reply(reply)]);
            }
            // It waits for the send to return.
            At::Queued => {
                call.at = At::Sending;
                self.frees(name);
            }
            _ => self.frees(name),
        }
    }

    /// A message was nobody's: that frees its tag if it was held.
    pub fn has_orphan(&mut self, tag: Option<u32>) {
        self.counts.orphans += 1;
        for name in 0..self.calls.len() as Name {
            let call = self.call(name);
            if call.tag.is_none() || call.tag != tag {
                continue;
            }
            if call.at == At::GivenUp {
                self.frees(name);
                if self.call(name).may.is_empty() {
                    self.call(name).at = At::Gone;
                } else {
                    self.call(name).at = At::Over;
                }
            } else if call.maybe_given_up {
                call.maybe_given_up = false;
                self.is_over(name, vec![Fate::TimedOut]);
            }
        }
    }

    /// The connection has ended: whatever is sent, queued or held is over.
    pub fn ended(&mut self, sure: bool, asleep: impl Fn(Name) -> bool) {
        self.ends += 1;
        self.blind |= !sure;
        for name in 0..self.calls.len() as Name {
            let call = self.call(name);
            match call.at {
                At::Sent => {
                    let mut may = vec![Fate::Ended];
                    if std::mem::take(&mut call.maybe_given_up) {
                        may.push(Fate::TimedOut);
                    }
                    call.finishable = call.kind == Kind::NonBlocking;
                    self.is_over(name, may);
                }
                // Its turn may have come.
                At::Queued if !sure && asleep(name) => {
                    call.doubtful = true;
                    call.may.push(Fate::Ended);
                }
                At::Queued => self.is_over(name, vec![Fate::Ended]),
                At::GivenUp => {
                    self.frees(name);
                    let call = self.call(name);
                    call.at = if call.may.is_empty() { At::Gone } else { At::Over };
                }
                _ => {}
            }
        }
    }

    /// The same, for good: whoever waits for a tag is not to have one.
    pub fn hung_up(&mut self, sure: bool, asleep: impl Fn(Name) -> bool) {
        self.hung_up = true;
        for call in self.calls.iter_mut().filter(|call| call.at == At::Tagless) {
            call.may.push(Fate::Ended);
        }
        self.ended(sure, asleep);
    }

    /// A call that has its tag finds at its turn that all is over.
    pub fn refused_at_turn(&mut self, name: Name) {
        assert!(self.hung_up && self.call(name).at == At::Tagged);
        self.is_over(name, vec![Fate::Ended]);
    }

    /// The time has come of a caller that sleeps.
    pub fn expired(&mut self, name: Name, sure: bool) {
        self.blind |= !sure;
        let call = self.call(name);
        match call.at {
            At::Tagless => {
                call.may.push(Fate::TimedOut);
                if sure {
                    call.at = At::Over;
                    call.may = vec![Fate::TimedOut];
                }
            }
            At::Queued if sure => self.is_over(name, vec![Fate::TimedOut]),
            At::Queued => {
                call.doubtful = true;
                call.may.push(Fate::TimedOut);
            }
            At::Sending if sure => call.late = true,
            At::Sending => call.maybe_late = true,
            At::Sent if sure => {
                call.at = At::GivenUp;
                call.may = vec![Fate::TimedOut];
            }
            At::Sent => call.maybe_given_up = true,
            _ => {}
        }
    }

    /// The owner has been told that it receives, or to go on: it was not given up.
    pub fn goes_on(&mut self, name: Name) {
        let call = self.call(name);
        call.maybe_given_up = false;
        if matches!(call.at, At::Queued | At::Sent) {
            call.doubtful = false;
            call.may.clear();
        }
    }

    /// A non-blocking call is cancelled. Answers its reply, if it is there, which is an orphan then.
    pub fn gives_up(&mut self, name: Name, fate: Fate) -> Option<u32> {
        let call = self.call(name);
        assert_eq!(call.kind, Kind::NonBlocking);
        call.finishable = false;
        let reply = call.reply.take();
        match call.at {
            At::Over => call.at = At::Gone,
            At::Sent => {
                call.at = At::GivenUp;
                call.may.clear();
            }
            at => panic!("{at:?} can not be given up"),
        }
        self.counts.orphans += u64::from(reply.is_some());
        self.counts.errors += u64::from(fate == Fate::Never);
        reply
    }

    /// The owner is told that, and will have control back when it is awake.
    pub fn is_about_to_be_told(&mut self, name: Name, fate: Fate, range: TagRange) {
        self.looks_at_the_tagless(range);
        let call = self.call(name);
        assert!(call.may.contains(&fate), "{name} may get {:?}, got {fate:?}", call.may);
        assert!(matches!(call.at, At::Over | At::Tagless | At::Queued));
        call.maybe_given_up = false;
        self.is_over(name, vec![fate]);
    }

    /// The owner has control back, with that.
    pub fn is_told(&mut self, name: Name, fate: Fate, range: TagRange) {
        self.looks_at_the_tagless(range);
        let call = self.call(name);
        match (call.at, fate) {
            // Given up just now, by itself, or some time ago, unseen.
            (At::Sent, Fate::TimedOut) => call.at = At::GivenUp,
            (At::GivenUp, Fate::TimedOut) => assert!(call.may.contains(&fate)),
            (At::Over, _) => {
                assert!(call.may.contains(&fate), "{name} may get {:?}, got {fate:?}", call.may);
                call.at = At::Gone;
            }
            (At::Tagless | At::Queued, _) if call.may.contains(&fate) => {
                self.frees(name);
                self.call(name).at = At::Gone;
            }
            (at, _) => panic!("{name} is {at:?}, got {fate:?}"),
        }
        let call = self.call(name);
        call.maybe_given_up = false;
        call.may.clear();
        call.finishable = false;
        let is_error = !matches!(fate, Fate::Reply(_) | Fate::Sent) && call.kind != Kind::Message;
        self.counts.errors += u64::from(is_error);
    }

    /// One that is awake says that its time has come: it is over if it is not in others' hands.
    pub fn times_out(&mut self, name: Name) {
        let call = self.call(name);
        match call.at {
            At::Tagless => call.may.push(Fate::TimedOut),
            At::Queued => self.is_over(name, vec![Fate::TimedOut]),
            At::Sending => call.late = true,
            _ => {}
        }
    }
}
