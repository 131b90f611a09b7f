//! The state of a connection, and what touches all of it: a call begins and gets or awaits its tag;
//! sleepers are told, after the event that concerns them; the Mux is hung up and emptied.

use super::call::{Call, CallId, Kind, Protocol, Stage, Told, Wakes};
use super::call::{ROOM, Why};
use super::list::{CalledList, List};
use super::receiving::Muxer;
use super::sending::Sender;
use super::slab::Calls;
use super::tags::{NoTag, Range, Tags};

/// The state of one connection: its calls, its tags, who sends and who receives.
///
/// `P` says what the connection carries, `W` is whatever wakes a sleeping caller. No method blocks.
pub struct Machine<P: Protocol, W> {
    pub(super) tags: Tags,
    pub(super) calls: Calls<P, W>,
    /// Who receives for all.
    pub(super) muxer: Muxer,
    /// Who is in `send`.
    pub(super) sender: Sender,
    /// Sleeping callers that wait for a tag, first come first served. The muxer may wait for one too.
    pub(super) tagless: List,
    /// Calls that have a tag and are not sent yet: no reply is to be expected for them.
    pub(super) on_the_way: u32,
    /// Calls with a request to send, first come first served.
    pub(super) unsent: List,
    /// Those whose requests the sender is sending on their behalf.
    pub(super) helping: List,
    /// Sleeping callers that wait for a reply; the last to go to sleep is first.
    pub(super) waiting: List,
    /// The same, of those that wait for so long and no longer (`deadline.rs`).
    pub(super) waiting_timed: List,
    /// Non-blocking calls for which tasks wait.
    pub(super) looking: List,
    /// Calls whose sleeping owners are to be woken.
    pub(super) called: CalledList,
    /// Some proc is to be woken.
    pub(super) roused: bool,
    pub(super) receive_proc: Proc<W>,
    pub(super) send_proc: Proc<W>,
    /// Tags that are held for replies to calls that have been given up.
    pub(super) held: u32,
    /// Non-blocking calls that are over, and that nobody has come for.
    pub(super) finishable: u32,
    /// How often the connection has ended: a request whose sending began before the last time will
    /// not be answered.
    pub(super) ends: u32,
    /// The connection has been given up for good.
    pub(super) hung_up: bool,
    /// Wakes whoever waits until nobody is inside any more.
    closer: Option<W>,
    /// How many are inside on others' business, with no call of their own any more.
    lingering: u32,
    /// Whether somebody watches for calls that can finish, and what he has been told.
    signalled: Option<bool>,
    pub(super) stats: Stats,
}

/// A proc of muxprocs.
pub(super) enum Proc<W> {
    Absent,
    /// It runs; asleep when there is a wake.
    Present {
        asleep: Option<W>,
        roused: bool,
        stop: bool,
    },
}

impl<W> Proc<W> {
    /// One is wanted: answers whether there is none, and one has to be made.
    pub fn starts(&mut self) -> bool {
        if let Proc::Present { stop, .. } = self {
            *stop = false;
            return false;
        }
        *self = Proc::Present { asleep: None, roused: false, stop: false };
        true
    }

    /// Whether it is there, and is not about to stop.
    pub fn stays(&self) -> bool {
        matches!(self, Proc::Present { stop: false, .. })
    }

    pub fn is_present(&self) -> bool {
        matches!(self, Proc::Present { .. })
    }

    pub fn sleeps(&mut self, wake: W) {
        if let Proc::Present { asleep, .. } = self {
            *asleep = Some(wake);
        }
    }

    /// Has it woken if it sleeps; answers whether it does.
    pub fn rouse(&mut self) -> bool {
        match self {
            Proc::Present { asleep: Some(_), roused, .. } => {
                *roused = true;
                true
            }
            _ => false,
        }
    }

    fn wake(&mut self) -> Option<W> {
        match self {
            Proc::Present { asleep, roused: roused @ true, .. } => {
                *roused = false;
                asleep.take()
            }
            _ => None,
        }
    }
}

/// What has happened so far, since the beginning. See `Mux::stats`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls begun.
    pub calls: u64,
    /// Messages that matched no call.
    pub orphans: u64,
    /// Times that the muxer's role went from one caller to another.
    pub handovers: u64,
    /// Calls that had to wait for a tag.
    pub tag_waits: u64,
    /// Calls that failed: not sent, or the connection ended.
    pub errors: u64,
    /// Most tags taken at once.
    pub most: usize,
}

/// A call that has begun.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its number.
    pub id: CallId,
    /// Its tag; a blocking call without one asks [`Machine::step`] what to do, until it is
    /// [`Step::Tagged`](super::Step).
    pub tag: Option<u32>,
    /// Whether it has the turn to send already.
    pub turn: bool,
}

/// Why a call could not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `maxtag <= mintag`.
    EmptyRange,
    /// Every tag is taken, and the call is not one that waits; or all of them are held for calls
    /// that have been given up, so that there is nothing to wait for.
    NoTag,
    /// The connection has been given up.
    HungUp,
    /// No memory for one more call.
    NoMemory,
}

impl<P: Protocol, W> Machine<P, W> {
    /// Nothing going on.
    #[must_use]
    pub fn new() -> Machine<P, W> {
        Machine {
            tags: Tags::new(),
            calls: Calls::new(),
            muxer: Muxer::Nobody,
            sender: Sender::Nobody,
            tagless: List::new(),
            on_the_way: 0,
            unsent: List::new(),
            helping: List::new(),
            waiting: List::new(),
            waiting_timed: List::new(),
            looking: List::new(),
            called: CalledList::new(),
            roused: false,
            receive_proc: Proc::Absent,
            send_proc: Proc::Absent,
            held: 0,
            finishable: 0,
            ends: 0,
            hung_up: false,
            closer: None,
            lingering: 0,
            signalled: None,
            stats: Stats::default(),
        }
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// How many tags are taken.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.tags.taken()
    }

    /// A call begins. With a `watch` it is a non-blocking one, which is refused rather than made
    /// to wait when all tags are taken. Takes the turn to send too, if it is free.
    ///
    /// # Errors
    /// Why it can not begin; nothing has changed then.
    #[inline(always)]
    pub fn begin(&mut self, range: Range, watch: Option<P::Watch>) -> Result<Begun, Refused> {
        if self.hung_up {
            return Err(Refused::HungUp);
        }
        if range.is_empty() {
            return Err(Refused::EmptyRange);
        }
        let kind = watch.map_or(Kind::Blocking, Kind::NonBlocking);
        if !self.tagless.is_empty() {
            // Those who wait come first, if a change of range has made tags free for them.
            self.grant_tags(range);
        }
        let place = self.calls.reserve().ok_or(Refused::NoMemory)?;
        let tag = if self.tagless.is_empty() {
            self.tags.take(range, place)
        } else {
            Err(NoTag::AllTaken)
        };
        let tag = match tag {
            Ok(tag) => Some(tag),
            Err(NoTag::EmptyRange) => return Err(Refused::EmptyRange),
            Err(NoTag::NoMemory) => return Err(Refused::NoMemory),
            Err(NoTag::AllTaken) if watch.is_some() || self.all_held() => {
                return Err(Refused::NoTag);
            }
            Err(NoTag::AllTaken) => None,
        };
        let turn = tag.is_some() && self.sender == Sender::Nobody;
        let stage = match tag {
            Some(_) if turn => Stage::Sending,
            Some(_) => Stage::Tagged,
            None => Stage::Tagless,
        };
        let id = self.calls.claim(kind, stage);
        if turn {
            self.sender = Sender::Call(id);
        }
        if let Some(call) = self.calls.get_mut(id) {
            call.tag = tag;
        }
        if tag.is_some() {
            self.on_the_way += 1;
        } else {
            self.stats.tag_waits += 1;
        }
        self.stats.calls += 1;
        self.stats.most = self.stats.most.max(self.tags.taken());
        Ok(Begun { id: CallId(id), tag, turn })
    }

    /// The request could not be given its tag (or was not wanted any more): the call is over
    /// without having been sent.
    ///
    /// A reply can have come all the same, from a server that answers what it was not asked.
    pub fn abandon(&mut self, id: CallId, range: Range) -> Option<P::Reply> {
        if self.sender == Sender::Call(id.0) {
            self.pass_turn();
        }
        let reply = self.calls.get_mut(id.0).and_then(|call| call.reply.take());
        let (_, tag) = self.calls.free(id.0);
        self.stats.errors += 1;
        self.stats.orphans += u64::from(reply.is_some());
        self.release_tag(tag, range);
        if reply.is_none() {
            self.off_the_way();
        }
        reply
    }

    /// A sleeping owner can be woken with `wake`. For use straight after the method that told it
    /// to sleep, before the lock is released.
    #[inline]
    pub fn sleeps(&mut self, id: CallId, wake: W) {
        if let Some(call) = self.calls.get_mut(id.0) {
            call.wake = Some(wake);
        }
    }

    /// Whom to wake, once the lock is released; `None` for nobody. To be asked after each event, and
    /// as long as there are [more](Wakes::more), [again](Machine::more_wakes).
    #[inline]
    pub fn wakes(&mut self) -> Option<Wakes<P, W>> {
        if self.called.is_empty() && !self.roused && self.closer.is_none() {
            None
        } else {
            Some(self.gather())
        }
    }

    /// The rest of those to wake, for who has been told that there are more.
    pub fn more_wakes(&mut self) -> Option<Wakes<P, W>> {
        self.lingering -= 1;
        self.wakes()
    }

    fn gather(&mut self) -> Wakes<P, W> {
        let mut room = [const { None }; ROOM];
        let mut places = room.iter_mut();
        if std::mem::take(&mut self.roused) {
            for proc in [&mut self.receive_proc, &mut self.send_proc] {
                if let (Some(wake), Some(place)) = (proc.wake(), places.next()) {
                    *place = Some((wake, Told::Work));
                }
            }
        }
        let mut tasks = [None; ROOM];
        for (place, task) in places.zip(&mut tasks) {
            let Some(id) = self.called.pop_front(&mut self.calls) else {
                break;
            };
            *place = self.told(id);
            if place.is_none() {
                *task = Some(CallId(id));
            }
        }
        let mut more = !self.called.is_empty();
        if !more && self.closer.is_some() && self.is_idle() {
            match room.iter_mut().find(|place| place.is_none()) {
                Some(place) => *place = self.closer.take().map(|wake| (wake, Told::Work)),
                None => more = true,
            }
        }
        self.lingering += u32::from(more);
        Wakes { room, tasks, more }
    }

    /// What the owner of a called call is told, and how it is woken.
    fn told(&mut self, id: u32) -> Option<(W, Told<P>)> {
        let call = self.calls.get_mut(id)?;
        let told = match call.why {
            Why::Over => match (call.reply.take(), call.failure.take()) {
                (Some(reply), _) => Told::Reply(reply),
                (None, Some(failure)) => Told::Failed(failure),
                (None, None) => Told::Ended,
            },
            Why::NoTags => Told::NoTags,
            Why::AllHeld => Told::AllHeld,
            Why::NoMemory => Told::NoMemory,
            Why::TimedOut => Told::TimedOut,
            Why::Busy => Told::Busy,
            Why::Tag => Told::Tag(call.tag?),
            Why::Turn => Told::Turn(call.request.take()?),
            Why::Sent | Why::AllSent => Told::Sent,
            Why::Receive => Told::Receive,
            Why::Look => {
                call.is_called = false;
                return None;
            }
        };
        call.is_called = false;
        let wake = call.wake.take()?;
        match call.why {
            // Its tag is held on, and its number with it.
            Why::TimedOut if call.stage == Stage::GivenUp => self.stats.errors += 1,
            Why::Over
            | Why::NoTags
            | Why::AllHeld
            | Why::NoMemory
            | Why::TimedOut
            | Why::Busy
            | Why::AllSent => {
                let is_call = !matches!(call.kind, Kind::Message);
                if is_call && !matches!(told, Told::Reply(_) | Told::Busy | Told::Sent) {
                    self.stats.errors += 1;
                }
                // One with a clock may yet say that its time has come, before it has woken.
                if !call.timed || call.why == Why::TimedOut {
                    self.calls.free(id);
                }
            }
            Why::Tag | Why::Turn | Why::Sent | Why::Receive | Why::Look => {}
        }
        Some((wake, told))
    }

    /// Has the sleeping owner of `id` told.
    pub(super) fn call(&mut self, id: u32, why: Why) {
        if let Some(call) = self.calls.get_mut(id) {
            debug_assert!(call.wake.is_some() || why == Why::Look, "only a sleeper is told");
            debug_assert!(!call.is_called, "and one thing at a time");
            call.is_called = true;
            call.why = why;
            if matches!(why, Why::Over | Why::Busy) {
                call.stage = Stage::Over;
            }
            self.called.push_back(&mut self.calls, id);
            // One that looks for messages now and then, and has something else to do now.
            self.leave(Muxer::Napping(id));
        }
    }

    /// Has the task look that waits for a non-blocking call, if one does.
    pub(super) fn have_looked(&mut self, id: u32) {
        if let Some(call) = self.calls.get_mut(id).filter(|call| call.looks) {
            call.looks = false;
            self.looking.remove(&mut self.calls, id);
            self.call(id, Why::Look);
        }
    }

    /// The queue of those that wait for a reply in which a call stands.
    pub(super) fn queue_of(&mut self, timed: bool) -> (&mut List, &mut Calls<P, W>) {
        let queue = if timed { &mut self.waiting_timed } else { &mut self.waiting };
        (queue, &mut self.calls)
    }

    #[inline]
    pub(super) fn release_tag(&mut self, tag: Option<u32>, range: Range) {
        if let Some(tag) = tag {
            self.tags.give_back(tag);
            if !self.tagless.is_empty() {
                self.grant_tags(range);
            }
        }
    }

    /// Whether some reply is to be expected, so that receiving is of use to one that has none of its
    /// own to wait for. Such a one stays out of `recv` otherwise: it would not see that a tag comes
    /// free without a reply, or that its own request could not be sent.
    ///
    /// Of several requests that are being sent at once, the first may be answered already, and the
    /// server may want that to be read before it reads the others. (Should they all fail, who receives
    /// for that reason stays in `recv` until the next message, or the end.)
    pub(super) fn is_reply_due(&mut self) -> bool {
        if self.tags.taken() > self.on_the_way as usize {
            return true;
        }
        if self.helping.is_empty() {
            return false;
        }
        // Two at least are being sent still, of which the sender's own request may be one, and not all of
        // them have been answered. A message by hand never is.
        let (mut sending, mut open) = (0, false);
        let mut is_due = |call: &Call<P, W>| {
            if !call.hopeless {
                sending += 1;
                open |= call.reply.is_none() && !matches!(call.kind, Kind::Message);
            }
            sending >= 2 && open
        };
        if let Some(own) = self.senders_own().and_then(|id| self.calls.get_mut(id)) {
            is_due(own);
        }
        self.helping.rfind(&mut self.calls, is_due).is_some()
    }

    /// The call whose owner has the turn, if it is its own request that it is sending.
    fn senders_own(&mut self) -> Option<u32> {
        let Sender::Call(id) = self.sender else { return None };
        let sending = self.calls.get_mut(id).is_some_and(|call| call.stage == Stage::Sending);
        sending.then_some(id)
    }

    /// Of several requests that are being sent at once, the first could not be; the others are still
    /// being sent. No reply is to be expected for it.
    pub fn first_refused(&mut self) {
        let first = self.senders_own().or_else(|| self.helping.head());
        if let Some(call) = first.and_then(|id| self.calls.get_mut(id)) {
            call.hopeless = true;
        }
    }

    /// The same, of replies that somebody waits for or will collect: what one may hope for that has no
    /// tag. The others may never come.
    pub(super) fn is_useful_reply_due(&self) -> bool {
        self.tags.taken() > self.on_the_way as usize + self.held as usize
    }

    /// A call that was on its way is sent, or over. If nobody receives, one that waits for a tag may
    /// have to: replies free tags.
    #[inline]
    pub(super) fn off_the_way(&mut self) {
        debug_assert!(self.on_the_way > 0);
        self.on_the_way -= 1;
        if self.muxer == Muxer::Nobody && !self.tagless.is_empty() {
            self.pass_role();
        }
    }

    /// Whether every tag that is taken is held for a call that has been given up: then no call that
    /// could free one is left, and the server may never answer the others.
    pub(super) fn all_held(&self) -> bool {
        self.held > 0 && self.held as usize == self.tags.taken()
    }

    /// Those asleep who wait for a tag are told, when there is nothing left to wait for.
    pub(super) fn despair(&mut self) {
        while self.all_held() {
            let Some(id) = self.tagless.pop_front(&mut self.calls) else { return };
            self.call(id, Why::AllHeld);
        }
    }

    /// There is no memory for one more tag. A tag that comes back needs none; where no call is left
    /// whose tag could, those asleep who wait for one are told.
    fn starve(&mut self) {
        if self.tags.taken() != self.held as usize {
            return;
        }
        while let Some(id) = self.tagless.pop_front(&mut self.calls) {
            self.call(id, Why::NoMemory);
        }
    }

    /// The connection is given up for good: every call ends, and later ones are refused. Whoever is
    /// inside `send` or `recv` learns of it when that returns.
    pub fn hang_up(&mut self, range: Range) {
        self.hung_up = true;
        while let Some(id) = self.tagless.pop_front(&mut self.calls) {
            self.call(id, Why::Over);
        }
        if let Muxer::Call(id) = self.muxer {
            if let Some(call) = self.calls.get_mut(id).filter(|call| call.stage == Stage::Tagless) {
                call.stage = Stage::Over;
            }
        }
        self.end(range);
    }

    /// Whether nobody is inside: no caller, no proc, and no one who wakes others. What calls there are
    /// are over and non-blocking ones, for their owners to collect.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.calls.live() == self.finishable
            && self.muxer == Muxer::Nobody
            && self.sender == Sender::Nobody
            && !self.receive_proc.is_present()
            && !self.send_proc.is_present()
            && self.called.is_empty()
            && self.lingering == 0
    }

    /// Somebody waits until it [is idle](Machine::is_idle), and can be woken with `wake`. One at a time
    /// can.
    ///
    /// # Errors
    /// The wake, when somebody waits already.
    pub fn closes(&mut self, wake: W) -> Result<(), W> {
        match self.closer {
            Some(_) => Err(wake),
            None => {
                self.closer = Some(wake);
                Ok(())
            }
        }
    }

    /// It waits no longer: answers its wake, if it has not been used.
    pub fn closes_not(&mut self) -> Option<W> {
        self.closer.take()
    }

    /// Somebody goes on to do something for others, after its own call is over.
    pub fn lingers(&mut self) {
        self.lingering += 1;
    }

    /// And has done it.
    pub fn lingers_not(&mut self) {
        self.lingering -= 1;
    }

    /// A call whose owner has not collected it, from number `from` on, is no more: answers how its
    /// owner watches, the reply, and the number to go on from. For when it is idle.
    pub fn uncollected(&mut self, from: u32) -> Option<(P::Watch, Option<P::Reply>, u32)> {
        for id in from..self.calls.bound() {
            let Some(call) = self.calls.get_mut(id) else { continue };
            if let (Kind::NonBlocking(watch), Stage::Over) = (call.kind, call.stage) {
                let reply = call.reply.take();
                self.finishable -= 1;
                self.calls.free(id);
                return Some((watch, reply, id + 1));
            }
        }
        None
    }

    /// Gives up what memory it has. For when it is idle, and has been hung up.
    pub fn empties(&mut self) -> impl Sized + use<P, W> {
        (
            std::mem::replace(&mut self.tags, Tags::new()),
            std::mem::replace(&mut self.calls, Calls::new()),
        )
    }

    #[cfg(test)]
    pub(crate) fn muxer_is_nobody(&self) -> bool {
        self.muxer == Muxer::Nobody
    }

    #[cfg(test)]
    pub(crate) fn has_lookers(&self) -> bool {
        !self.looking.is_empty()
    }

    /// How often the connection has ended. Whoever sends says how often it had when he began.
    #[must_use]
    pub fn ends(&self) -> u32 {
        self.ends
    }

    /// Whether whoever watches for calls that can finish has to be told otherwise than he was.
    #[must_use]
    #[inline]
    pub fn signal_is_stale(&self) -> bool {
        self.signalled.is_some_and(|signalled| signalled != (self.finishable > 0))
    }

    /// Whether some non-blocking call can finish; whoever asks tells those who watch, if anybody
    /// (`watched`) does.
    pub fn signal(&mut self, watched: bool) -> bool {
        let can = self.finishable > 0;
        self.signalled = watched.then_some(can);
        can
    }

    /// Gives free tags to those who sleep for one, in the order in which they came.
    #[cold]
    pub(super) fn grant_tags(&mut self, range: Range) {
        while let Some(id) = self.tagless.head() {
            let (tag, stage, why) = match self.tags.take(range, id) {
                Ok(tag) => (Some(tag), Stage::Tagged, Why::Tag),
                Err(NoTag::EmptyRange) => (None, Stage::Untaggable, Why::NoTags),
                // The last tag that was not held may have come free, and be none of the range's.
                Err(NoTag::AllTaken) => return self.despair(),
                Err(NoTag::NoMemory) => return self.starve(),
            };
            self.stats.most = self.stats.most.max(self.tags.taken());
            self.tagless.remove(&mut self.calls, id);
            if let Some(call) = self.calls.get_mut(id) {
                call.tag = tag;
                call.stage = stage;
            }
            self.on_the_way += u32::from(tag.is_some());
            self.call(id, why);
        }
    }

    /// The muxer, if it waits for a tag itself, gets one that is free. Only for the muxer, who is
    /// awake and about to ask: inside `recv` it would have no use of a tag.
    #[cold]
    pub(super) fn grant_muxer(&mut self, range: Range) {
        let Muxer::Call(id) = self.muxer else { return };
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.stage != Stage::Tagless {
            return;
        }
        match self.tags.take(range, id) {
            Ok(tag) => {
                call.tag = Some(tag);
                call.stage = Stage::Tagged;
                self.on_the_way += 1;
                self.stats.most = self.stats.most.max(self.tags.taken());
            }
            Err(NoTag::EmptyRange) => call.stage = Stage::Untaggable,
            Err(NoTag::AllTaken | NoTag::NoMemory) => {}
        }
    }
}

impl<P: Protocol, W> Default for Machine<P, W> {
    fn default() -> Machine<P, W> {
        Machine::new()
    }
}
