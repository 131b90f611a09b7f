//! The state of a connection, and what all of it has to do with: a call begins, with a tag or without;
//! whether there is a reply to wait for.

use super::call::{Call, CallId, CallState, Kind, Protocol};
use super::list::{CallList, WakeList};
use super::roles::{Muxer, ReceiverRole, Sender, TurnToSend};
use super::slab::CallSlab;
use super::tags::{NoTag, TagPool, TagRange};

/// The state of one connection: its calls, its tags, who sends and who receives.
///
/// `P` says what the connection carries, `H` is whatever wakes a sleeping caller. No method blocks.
pub struct Machine<P: Protocol, H> {
    pub(super) tags: TagPool,
    pub(super) calls: CallSlab<P, H>,
    /// The valid tags, as the driver last set them.
    pub(super) range: TagRange,
    /// Who receives for all.
    pub(super) role: ReceiverRole,
    /// Who is in `send`.
    pub(super) turn: TurnToSend,
    /// Sleeping callers that wait for a tag, first come first served. The muxer may wait for one too.
    pub(super) tag_waiters: CallList,
    /// Calls that have a tag and are not sent yet: no reply is to be expected for them.
    pub(super) tagged_unsent: u32,
    /// Calls with a request to send, first come first served.
    pub(super) send_queue: CallList,
    /// Those whose requests the sender is sending on their behalf.
    pub(super) proxy_sends: CallList,
    /// Sleeping callers that wait for a reply; the last to go to sleep is first.
    pub(super) reply_waiters: CallList,
    /// The same, of those that wait for so long and no longer (`deadline.rs`).
    pub(super) timed_reply_waiters: CallList,
    /// Non-blocking calls for which tasks wait.
    pub(super) future_waiters: CallList,
    /// Calls whose sleeping owners are to be woken.
    pub(super) wake_queue: WakeList,
    /// Some proc is to be woken.
    pub(super) proc_wake_queued: bool,
    pub(super) receive_proc: ProcState<H>,
    pub(super) send_proc: ProcState<H>,
    /// Tags that are held for replies to calls that have been given up.
    pub(super) abandoned: u32,
    /// Non-blocking calls that are over, and that nobody has come for.
    pub(super) finishable: u32,
    /// How often the connection has ended: a request whose sending began before the last time will
    /// not be answered.
    pub(super) epoch: u32,
    /// The connection has been given up for good.
    pub(super) hung_up: bool,
    /// Wakes whoever waits until nobody is inside any more.
    pub(super) drain_waiter: Option<H>,
    /// How many are inside on others' business, with no call of their own any more.
    pub(super) pins: u32,
    /// Whether somebody watches for calls that can finish, and what he has been told.
    ready_reported: Option<bool>,
    pub(super) stats: Stats,
}

/// A proc of muxprocs.
pub(super) enum ProcState<H> {
    Absent,
    /// It runs; asleep when there is a wake.
    Present {
        asleep: Option<H>,
        wake_queued: bool,
        stop: bool,
    },
}

impl<H> ProcState<H> {
    /// One is wanted: answers whether there is none, and one has to be made.
    pub fn request_start(&mut self) -> bool {
        if let ProcState::Present { stop, .. } = self {
            *stop = false;
            return false;
        }
        *self = ProcState::Present { asleep: None, wake_queued: false, stop: false };
        true
    }

    /// Whether it is there, and is not about to stop.
    pub fn is_running(&self) -> bool {
        matches!(self, ProcState::Present { stop: false, .. })
    }

    pub fn is_present(&self) -> bool {
        matches!(self, ProcState::Present { .. })
    }

    pub fn set_asleep(&mut self, handle: H) {
        if let ProcState::Present { asleep, .. } = self {
            *asleep = Some(handle);
        }
    }

    /// Has it woken if it sleeps; answers whether it does.
    pub fn queue_wake(&mut self) -> bool {
        match self {
            ProcState::Present { asleep: Some(_), wake_queued, .. } => {
                *wake_queued = true;
                true
            }
            _ => false,
        }
    }

    pub fn take_handle(&mut self) -> Option<H> {
        match self {
            ProcState::Present { asleep, wake_queued: wake_queued @ true, .. } => {
                *wake_queued = false;
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
    pub max_outstanding: usize,
}

/// A call that has begun.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its number.
    pub id: CallId,
    /// Its tag; a blocking call without one asks [`Machine::next_action`] what to do, until it is
    /// [`Action::Tagged`](super::Action).
    pub tag: Option<u32>,
    /// Whether it has the turn to send already.
    pub turn: bool,
}

/// Why a call could not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginError {
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

impl<P: Protocol, H> Machine<P, H> {
    /// Nothing going on.
    #[must_use]
    pub fn new() -> Machine<P, H> {
        Machine {
            tags: TagPool::new(),
            calls: CallSlab::new(),
            range: TagRange { min: 0, max: 0 },
            role: ReceiverRole::UNASSIGNED,
            turn: TurnToSend::UNASSIGNED,
            tag_waiters: CallList::new(),
            tagged_unsent: 0,
            send_queue: CallList::new(),
            proxy_sends: CallList::new(),
            reply_waiters: CallList::new(),
            timed_reply_waiters: CallList::new(),
            future_waiters: CallList::new(),
            wake_queue: WakeList::new(),
            proc_wake_queued: false,
            receive_proc: ProcState::Absent,
            send_proc: ProcState::Absent,
            abandoned: 0,
            finishable: 0,
            epoch: 0,
            hung_up: false,
            drain_waiter: None,
            pins: 0,
            ready_reported: None,
            stats: Stats::default(),
        }
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Sets the range of valid tags. The driver must call this after each locking of the state, before it
    /// reports an event, because a program may change the range at any time.
    #[inline(always)]
    pub fn set_range(&mut self, range: TagRange) {
        self.range = range;
    }

    /// How many tags are taken.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.tags.allocated()
    }

    /// A call begins. With a `watch` it is a non-blocking one, which is refused rather than made
    /// to wait when all tags are taken. Takes the turn to send too, if it is free.
    ///
    /// # Errors
    /// Why it can not begin; nothing has changed then.
    #[inline(always)]
    pub fn begin(&mut self, watch: Option<P::Watch>) -> Result<Begun, BeginError> {
        if self.hung_up {
            return Err(BeginError::HungUp);
        }
        if self.range.is_empty() {
            return Err(BeginError::EmptyRange);
        }
        let kind = watch.map_or(Kind::Blocking, Kind::NonBlocking);
        if !self.tag_waiters.is_empty() {
            // Those who wait come first, if a change of range has made tags free for them.
            self.grant_tags();
        }
        let place = self.calls.reserve().ok_or(BeginError::NoMemory)?;
        let tag = if self.tag_waiters.is_empty() {
            self.tags.allocate(self.range, place)
        } else {
            Err(NoTag::AllTaken)
        };
        let tag = match tag {
            Ok(tag) => Some(tag),
            Err(NoTag::EmptyRange) => return Err(BeginError::EmptyRange),
            Err(NoTag::NoMemory) => return Err(BeginError::NoMemory),
            Err(NoTag::AllTaken) if watch.is_some() || self.all_tags_abandoned() => {
                return Err(BeginError::NoTag);
            }
            Err(NoTag::AllTaken) => None,
        };
        let turn = tag.is_some() && self.turn.is(Sender::Unassigned);
        let state = match tag {
            Some(_) if turn => CallState::Sending,
            Some(_) => CallState::Tagged,
            None => CallState::TagWait,
        };
        let id = self.calls.claim(kind, state);
        if turn {
            self.turn.assign(Sender::Call(id));
        }
        if let Some(call) = self.calls.get_mut(id) {
            call.tag = tag;
        }
        if tag.is_some() {
            self.tagged_unsent += 1;
        } else {
            self.stats.tag_waits += 1;
        }
        self.stats.calls += 1;
        self.stats.max_outstanding = self.stats.max_outstanding.max(self.tags.allocated());
        Ok(Begun { id: CallId(id), tag, turn })
    }

    /// The request could not be given its tag (or was not wanted any more): the call is over
    /// without having been sent.
    ///
    /// A reply can have come all the same, from a server that answers what it was not asked.
    pub fn cancel_unsent(&mut self, id: CallId) -> Option<P::Reply> {
        if self.turn.is(Sender::Call(id.0)) {
            self.pass_turn();
        }
        let reply = self.calls.get_mut(id.0).and_then(|call| call.reply.take());
        let (_, tag) = self.calls.free(id.0);
        self.stats.errors += 1;
        self.stats.orphans += u64::from(reply.is_some());
        self.release_tag(tag);
        if reply.is_none() {
            self.finish_unsent();
        }
        reply
    }

    /// The queue of those that wait for a reply in which a call stands.
    pub(super) fn reply_waiters_for(
        &mut self,
        has_deadline: bool,
    ) -> (&mut CallList, &mut CallSlab<P, H>) {
        let queue =
            if has_deadline { &mut self.timed_reply_waiters } else { &mut self.reply_waiters };
        (queue, &mut self.calls)
    }

    /// Whether some reply is to be expected, so that receiving is of use to one that has none of its
    /// own to wait for. Such a one stays out of `recv` otherwise: it would not see that a tag comes
    /// free without a reply, or that its own request could not be sent.
    ///
    /// Of several requests that are being sent at once, the first may be answered already, and the
    /// server may want that to be read before it reads the others. (Should they all fail, who receives
    /// for that reason stays in `recv` until the next message, or the end.)
    pub(super) fn is_reply_due(&mut self) -> bool {
        if self.tags.allocated() > self.tagged_unsent as usize {
            return true;
        }
        if self.proxy_sends.is_empty() {
            return false;
        }
        // Two at least are being sent still, of which the sender's own request may be one, and not all of
        // them have been answered. A message by hand never is.
        let (mut sending, mut open) = (0, false);
        let mut is_due = |call: &Call<P, H>| {
            if !call.no_reply_expected {
                sending += 1;
                open |= call.reply.is_none() && !matches!(call.kind, Kind::Message);
            }
            sending >= 2 && open
        };
        if let Some(own) = self.sender_own_call().and_then(|id| self.calls.get_mut(id)) {
            is_due(own);
        }
        self.proxy_sends.rfind(&mut self.calls, is_due).is_some()
    }

    /// Whether the server has yet to take some of what is being sent, and may want to be read before. What it
    /// has answered it has taken.
    pub(super) fn is_send_pending(&mut self) -> bool {
        let is_open = |call: &Call<P, H>| !call.no_reply_expected && call.reply.is_none();
        let own = self.sender_own_call().and_then(|id| self.calls.get_mut(id));
        own.is_some_and(|call| is_open(call))
            || self.proxy_sends.rfind(&mut self.calls, is_open).is_some()
    }

    /// The call whose owner has the turn, if it is its own request that it is sending.
    fn sender_own_call(&mut self) -> Option<u32> {
        let Sender::Call(id) = self.turn.holder() else { return None };
        let sending = self.calls.get_mut(id).is_some_and(|call| call.state == CallState::Sending);
        sending.then_some(id)
    }

    /// Of several requests that are being sent at once, the first could not be; the others are still
    /// being sent. No reply is to be expected for it.
    pub fn first_send_failed(&mut self) {
        let first = self.sender_own_call().or_else(|| self.proxy_sends.head());
        if let Some(call) = first.and_then(|id| self.calls.get_mut(id)) {
            call.no_reply_expected = true;
        }
    }

    /// As `is_reply_due`, of replies that somebody waits for or will collect: what one may hope for that has
    /// no tag. The others may never come.
    pub(super) fn is_useful_reply_due(&self) -> bool {
        self.tags.allocated() > self.tagged_unsent as usize + self.abandoned as usize
    }

    /// A call that was on its way is sent, or over. If nobody receives, one that waits for a tag may
    /// have to: replies free tags.
    #[inline]
    pub(super) fn finish_unsent(&mut self) {
        debug_assert!(self.tagged_unsent > 0);
        self.tagged_unsent -= 1;
        if self.role.is(Muxer::Unassigned) && !self.tag_waiters.is_empty() {
            self.hand_over();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_role_unassigned(&self) -> bool {
        self.role.is(Muxer::Unassigned)
    }

    #[cfg(test)]
    pub(crate) fn has_future_waiters(&self) -> bool {
        !self.future_waiters.is_empty()
    }

    /// How often the connection has ended. Whoever sends says how often it had when he began.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether whoever watches for calls that can finish has to be told otherwise than he was.
    #[must_use]
    #[inline]
    pub fn ready_fd_is_stale(&self) -> bool {
        self.ready_reported.is_some_and(|ready_reported| ready_reported != (self.finishable > 0))
    }

    /// Whether some non-blocking call can finish; whoever asks tells those who watch, if anybody
    /// (`watched`) does.
    pub fn report_ready(&mut self, watched: bool) -> bool {
        let can = self.finishable > 0;
        self.ready_reported = watched.then_some(can);
        can
    }
}

impl<P: Protocol, H> Default for Machine<P, H> {
    fn default() -> Machine<P, H> {
        Machine::new()
    }
}
