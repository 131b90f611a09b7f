//! The state of a connection, and the operations that concern all of it: how a call begins, and
//! whether a reply is due.

use super::call::{Call, CallId, Counts, Kind, Protocol};
use super::call_state::{CallState, CallTag, StateKind};
use super::drain::Drain;
use super::list::CallList;
use super::procs::Procs;
use super::ready_fd::ReadyFd;
use super::reply_waiters::ReplyWaiters;
use super::roles::{Muxer, ReceiverRole, Sender, TurnToSend};
use super::slab::CallSlab;
use super::tag_waiters::Tags;
use super::tags::{NoTag, TagRange};
use super::wake_queue::WakeQueue;

/// The state of one connection: its calls, its tags, the receiver role and the turn to send.
///
/// `P` names the types of the messages, and a handle of type `H` wakes a sleeping caller. No method
/// blocks. The driver must call the methods with the lock of the state held, and deliver the
/// wake-ups of [`take_wakes`](Machine::take_wakes) after it has released the lock.
pub struct Machine<P: Protocol, H> {
    pub(super) tags: Tags,
    pub(super) calls: CallSlab<P, H>,
    /// The numbers of calls by state.
    pub(super) counts: Counts,
    /// The receiver role.
    pub(super) role: ReceiverRole,
    /// The turn to send.
    pub(super) turn: TurnToSend,
    /// Calls with a request to send, first come, first served.
    pub(super) send_queue: CallList,
    /// Calls with a request that another sender is sending.
    pub(super) proxy_sends: CallList,
    pub(super) reply_waiters: ReplyWaiters,
    /// Non-blocking calls for which futures wait.
    pub(super) future_waiters: CallList,
    /// Calls with a sleeping owner, or a future, that must be woken.
    pub(super) wake_queue: WakeQueue,
    pub(super) procs: Procs<H>,
    /// Number of times that the connection has ended. A request gets no reply if its
    /// sending began in an earlier epoch.
    pub(super) epoch: u32,
    pub(super) drain: Drain<H>,
    pub(super) ready_fd: ReadyFd,
    pub(super) stats: Stats,
}

/// Counters since the connection was created. See `Mux::stats`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Number of calls that have begun.
    pub calls: u64,
    /// Number of messages that matched no call.
    pub orphans: u64,
    /// Number of times that the receiver role was handed over to a waiting caller.
    pub handovers: u64,
    /// Number of calls that had to wait for a tag.
    pub tag_waits: u64,
    /// Number of calls that failed: their request was not sent, their deadline passed, or the
    /// connection ended.
    pub errors: u64,
    /// Largest number of tags that were allocated at once.
    pub max_outstanding: usize,
}

/// A call that has begun.
#[derive(Debug, PartialEq, Eq)]
pub struct NewCall {
    /// The id of the call.
    pub id: CallId,
    /// The tag. The owner of a blocking call without a tag must ask [`Machine::next_action`] what
    /// to do, until it returns [`Action::Tagged`](super::Action).
    pub tag: Option<u32>,
    /// True if the owner already has the turn to send.
    pub turn: bool,
}

/// The reason why a call cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginError {
    /// `maxtag <= mintag`.
    EmptyRange,
    /// Every tag is allocated, and the call is non-blocking; or every tag belongs to an abandoned
    /// call, so that no tag can be waited for.
    NoTag,
    /// The connection has been hung up.
    HungUp,
    /// There is no memory for one more call.
    NoMemory,
}

impl<P: Protocol, H> Machine<P, H> {
    /// Returns a machine without calls.
    #[must_use]
    pub fn new() -> Machine<P, H> {
        Machine {
            tags: Tags::new(),
            calls: CallSlab::new(),
            counts: Counts::NONE,
            role: ReceiverRole::UNASSIGNED,
            turn: TurnToSend::UNASSIGNED,
            send_queue: CallList::new(),
            proxy_sends: CallList::new(),
            reply_waiters: ReplyWaiters::new(),
            future_waiters: CallList::new(),
            wake_queue: WakeQueue::new(),
            procs: Procs::new(),
            epoch: 0,
            drain: Drain::new(),
            ready_fd: ReadyFd::UNUSED,
            stats: Stats::default(),
        }
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Sets the range of valid tags, which a program may change at any time. The driver must call this before
    /// an event that may allocate a tag, and must not read the program's range otherwise.
    #[inline(always)]
    pub fn set_range(&mut self, range: TagRange) {
        self.tags.set_range(range);
    }

    /// Returns the number of allocated tags.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.tags.allocated()
    }

    /// Begins a call, and grants it the turn to send if that is free. A call with a `watch` is
    /// non-blocking: it fails instead of waiting if every tag is allocated.
    ///
    /// # Errors
    /// Returns the reason why the call cannot begin. No call has begun then.
    #[inline(always)]
    pub fn begin(&mut self, watch: Option<P::Watch>) -> Result<NewCall, BeginError> {
        if self.drain.is_hung_up() {
            return Err(BeginError::HungUp);
        }
        if self.tags.has_empty_range() {
            return Err(BeginError::EmptyRange);
        }
        let kind = watch.map_or(Kind::Blocking, Kind::NonBlocking);
        if self.tags.has_waiters() {
            // A change of the range may have made tags free, which tag waiters must get first.
            self.grant_tags();
        }
        let place = self.calls.reserve().ok_or(BeginError::NoMemory)?;
        let tag =
            if !self.tags.has_waiters() { self.tags.allocate(place) } else { Err(NoTag::AllTaken) };
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
        let id = match tag.map(CallTag::new) {
            Some(tag) if turn => {
                let id = self.calls.claim(kind, CallState::sending(tag), &mut self.counts);
                self.turn.assign(Sender::Call(id));
                id
            }
            Some(tag) => self.calls.claim(kind, CallState::Tagged { tag }, &mut self.counts),
            None => {
                self.stats.tag_waits += 1;
                self.calls.claim(kind, CallState::TagWait, &mut self.counts)
            }
        };
        self.stats.calls += 1;
        self.stats.max_outstanding = self.stats.max_outstanding.max(self.tags.allocated());
        Ok(NewCall { id: CallId(id), tag, turn })
    }

    /// Ends a call whose request could not be given its tag, or is no longer wanted, before it was
    /// sent.
    ///
    /// Returns the reply if one has arrived all the same, from a server that replies without a
    /// request.
    pub fn cancel_unsent(&mut self, id: CallId) -> Option<P::Reply> {
        if self.turn.is(Sender::Call(id.0)) {
            self.pass_turn();
        }
        let state = self.calls.free(id.0, &mut self.counts);
        let tag = state.tag();
        let reply = state.into_reply();
        self.stats.errors += 1;
        self.stats.orphans += u64::from(reply.is_some());
        self.release_tag(tag);
        if reply.is_none() {
            self.offer_role_to_tag_waiter();
        }
        reply
    }

    /// As [`Counts::transition`], for the call `id`.
    pub(super) fn transition(&mut self, id: u32, from: StateKind, to: CallState<P>) {
        if let Some(call) = self.calls.get_mut(id) {
            self.counts.transition(call, from, to);
        }
    }

    /// Returns true if the server may still send a reply, so that a caller without a sent request
    /// of its own may become the receiver. Otherwise such a caller must stay out of `recv`: inside,
    /// it would not notice that a tag becomes free without a reply, or that its own request could
    /// not be sent.
    ///
    /// While several requests are being sent at once, the server may have replied to the first, and
    /// may wait until that reply is read before it reads the others. If all these sends fail, a
    /// caller that receives for this reason stays in `recv` until the next message arrives or the
    /// connection ends.
    pub(super) fn is_reply_due(&mut self) -> bool {
        if self.tags.allocated() > self.counts.tagged_unsent as usize {
            return true;
        }
        if self.proxy_sends.is_empty() {
            return false;
        }
        // At least two requests must still be in `send`, one of which may be the own request of the
        // sender, and one of them must be without a reply. A message by hand gets no reply.
        let (mut sending, mut open) = (0, false);
        let mut is_due = |call: &Call<P, H>| {
            if !call.no_reply_expected() {
                sending += 1;
                open |= !call.is(StateKind::SendingReplied) && !call.is_message();
            }
            sending >= 2 && open
        };
        if let Some(own) = self.sender_own_call().and_then(|id| self.calls.get_mut(id)) {
            is_due(own);
        }
        self.proxy_sends.rfind(&mut self.calls, is_due).is_some()
    }

    /// Returns true if the server may not have read all of what is being sent, and may want its
    /// replies to be read first. A request that has its reply has been read.
    pub(super) fn is_send_pending(&mut self) -> bool {
        let is_open =
            |call: &Call<P, H>| !call.no_reply_expected() && !call.is(StateKind::SendingReplied);
        let own = self.sender_own_call().and_then(|id| self.calls.get_mut(id));
        own.is_some_and(|call| is_open(call))
            || self.proxy_sends.rfind(&mut self.calls, is_open).is_some()
    }

    /// Returns the call of the holder of the turn, if it is sending its own request.
    fn sender_own_call(&mut self) -> Option<u32> {
        let Sender::Call(id) = self.turn.holder() else { return None };
        let sending = self.calls.get_mut(id).is_some_and(|call| call.state().kind().is_sending());
        sending.then_some(id)
    }

    /// Handles the failure of the first request of a batch, of which the others are still being
    /// sent. No reply is due for the first.
    pub fn first_send_failed(&mut self) {
        let first = self.sender_own_call().or_else(|| self.proxy_sends.head());
        if let Some(call) = first.and_then(|id| self.calls.get_mut(id)) {
            call.expect_no_reply();
        }
    }

    /// As `is_reply_due`, but counts only calls that are sent and not abandoned. A caller without a
    /// tag may wait for these replies only, because a reply to an abandoned call may never arrive.
    pub(super) fn is_useful_reply_due(&self) -> bool {
        self.tags.allocated() > self.counts.tagged_unsent as usize + self.counts.abandoned as usize
    }

    /// A call has been sent, or has ended before it was sent. If the role is unassigned, a tag
    /// waiter may have to receive, because replies free tags.
    #[inline]
    pub(super) fn offer_role_to_tag_waiter(&mut self) {
        if self.role.is(Muxer::Unassigned) && self.tags.has_waiters() {
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

    /// Returns the number of times that the connection has ended. A sender must read it before it
    /// calls `send`, and pass it to the method that handles the result.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }
}

impl<P: Protocol, H> Default for Machine<P, H> {
    fn default() -> Machine<P, H> {
        Machine::new()
    }
}
