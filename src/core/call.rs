//! The record of a call, the change of its state, and the values that its owner is woken with.

use super::call_state::{CallState, StateKind};
use super::list::Link;

/// The types of the messages that a connection carries.
pub trait Protocol {
    /// A message to the server. The machine stores one only while its owner waits for the turn to
    /// send.
    type Request;
    /// A message from the server.
    type Reply;
    /// The reason why a message could not be sent.
    type Failure;
    /// Shows the owner of a non-blocking call from outside the machine that the reply has arrived.
    type Watch: Copy;
}

/// The id of a call: the slot of its record, valid until the call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallId(pub(super) u32);

impl CallId {
    /// Returns the slot.
    pub(crate) fn slot(self) -> usize {
        self.0 as usize
    }
}

/// How a call has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<R, F> {
    /// The reply has arrived.
    Reply(R),
    /// The connection has ended.
    Ended,
    /// The request could not be sent.
    Failed(F),
    /// The range of tags has become empty.
    EmptyRange,
    /// Every allocated tag belongs to an abandoned call.
    AllTagsAbandoned,
    /// There is no memory for a tag, and no outstanding call could free one.
    NoMemory,
    /// The deadline has passed. If the request had been sent, the call is abandoned.
    TimedOut,
}

/// The value that a sleeping caller or proc is woken with. It contains all that the caller needs: a
/// caller whose call has ended does not have to enter the machine again, unless it has a deadline
/// ([`ack_wake`](super::Machine::ack_wake)).
#[derive(Debug, PartialEq, Eq)]
pub enum Wakeup<P: Protocol> {
    /// The call has ended.
    Completed(Outcome<P::Reply, P::Failure>),
    /// A receive proc has started, so that messages cannot be received by hand.
    Busy,
    /// The call has this tag now. Its request has not been sent yet.
    Tag(u32),
    /// The owner has the turn to send and gets its request back.
    Turn(P::Request),
    /// Another sender has sent the request of a non-blocking call, or a message that is not a call.
    Sent,
    /// The caller or proc has the receiver role now.
    Receive,
    /// A proc has work: its role, a request, or to stop. Also the wake-up of the drain waiter.
    Work,
}

/// The kind of a call.
#[derive(Clone, Copy)]
pub(super) enum Kind<N> {
    /// The owner waits for the reply.
    Blocking,
    /// The owner polls for the reply.
    NonBlocking(N),
    /// Not a call: a message that is sent or received by hand, and waits for the turn or the role
    /// like a call.
    Message,
}

/// The reason of a queued wake-up. The values that belong to it are in the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WakeReason {
    /// The call has ended, or is abandoned because its deadline has passed.
    Completed,
    /// A receive proc has started, so that messages cannot be received by hand.
    Busy,
    Tag,
    Turn,
    /// The request of a non-blocking call has been sent.
    Sent,
    /// A message that is not a call has been sent.
    MessageSent,
    Receive,
    /// A future must poll its non-blocking call again.
    PollFuture,
}

pub(super) struct Call<P: Protocol, H> {
    pub kind: Kind<P::Watch>,
    /// Changed by [`Counts`] only.
    state: CallState<P>,
    pub wake_reason: WakeReason,
    /// The links of the queue that the call is in.
    pub link: Link,
    /// True if the call is in the wake queue.
    pub wake_queued: bool,
    /// The links of the wake queue.
    pub wake_link: Link,
    /// True if the owner waits with a deadline. The owner watches the clock and reports the expiry;
    /// the machine has no clock.
    pub has_deadline: bool,
    /// True if a future waits for the call, which is in the queue of future waiters then.
    pub has_future: bool,
    /// True if the owner sleeps with a deadline and has not called
    /// [`ack_wake`](super::Machine::ack_wake). It may still report the expiry for this id, so the
    /// slot must not be reused, even if the call has completed.
    pub timer_armed: bool,
    /// Wakes the owner, while it sleeps.
    pub wake_handle: Option<H>,
}

impl<P: Protocol, H> Call<P, H> {
    #[inline(always)]
    pub fn state(&self) -> &CallState<P> {
        &self.state
    }

    /// Returns true if the call is in a state of this kind.
    #[inline(always)]
    pub fn is(&self, kind: StateKind) -> bool {
        self.state.kind() == kind
    }

    /// Returns true if this is a message, not a call.
    pub fn is_message(&self) -> bool {
        matches!(self.kind, Kind::Message)
    }

    /// Returns true if the request is being sent and no reply to it is due.
    pub fn no_reply_expected(&self) -> bool {
        match self.state {
            CallState::Granted { no_reply_expected, .. }
            | CallState::Sending { no_reply_expected, .. }
            | CallState::SendingReplied { no_reply_expected, .. } => no_reply_expected,
            _ => false,
        }
    }

    /// Records that no reply is due to the request, which is being sent.
    pub fn expect_no_reply(&mut self) {
        if let CallState::Granted { no_reply_expected, .. }
        | CallState::Sending { no_reply_expected, .. }
        | CallState::SendingReplied { no_reply_expected, .. } = &mut self.state
        {
            *no_reply_expected = true;
        }
    }

    /// Records that the deadline has passed while another sender was sending the request.
    pub fn expire_while_sending(&mut self) {
        if let CallState::Sending { expired, .. } = &mut self.state {
            *expired = true;
        }
    }

    pub fn free() -> Call<P, H> {
        Call {
            kind: Kind::Message,
            state: CallState::Free,
            wake_reason: WakeReason::Completed,
            link: Link::NONE,
            wake_queued: false,
            wake_link: Link::NONE,
            has_deadline: false,
            timer_armed: false,
            has_future: false,
            wake_handle: None,
        }
    }
}

/// The numbers of calls by state, which [`transition`](Counts::transition) keeps in step.
pub(super) struct Counts {
    /// Calls with a tag and an unsent request: no reply is due for them.
    pub tagged_unsent: u32,
    /// Abandoned calls, which still have a tag.
    pub abandoned: u32,
    /// Completed non-blocking calls that have not been collected.
    pub finishable: u32,
}

impl Counts {
    pub const NONE: Counts = Counts { tagged_unsent: 0, abandoned: 0, finishable: 0 };

    /// Changes the state of `call` from one of the kind `from` to `to`, and returns the old state.
    ///
    /// If the call has a tag and `to` is a state without one, the caller must free the tag before
    /// it calls a method that may ask whether a reply is due, because that compares
    /// `tagged_unsent` with the number of allocated tags.
    #[inline(always)]
    pub fn transition<P: Protocol, H>(
        &mut self,
        call: &mut Call<P, H>,
        from: StateKind,
        to: CallState<P>,
    ) -> CallState<P> {
        let mut old = CallState::Free;
        self.convert(call, from, to.kind(), |state| {
            old = state;
            to
        });
        old
    }

    /// As [`transition`](Counts::transition), to the state of the kind `to` that `next` returns for
    /// the present one. This is the only place where a state changes.
    #[inline(always)]
    fn convert<P: Protocol, H>(
        &mut self,
        call: &mut Call<P, H>,
        from: StateKind,
        to: StateKind,
        next: impl FnOnce(CallState<P>) -> CallState<P>,
    ) {
        debug_assert_eq!(call.state.kind(), from, "the state of the call");
        debug_assert!(from.can_become(to), "no call passes from {from:?} to {to:?}");
        call.state = next(std::mem::replace(&mut call.state, CallState::Free));
        if let Some(count) = self.count_of(from, &call.kind) {
            *count -= 1;
        }
        if let Some(count) = self.count_of(to, &call.kind) {
            *count += 1;
        }
    }

    /// Grants the turn to send to the owner of a queued call.
    pub fn grant_turn<P: Protocol, H>(&mut self, call: &mut Call<P, H>) {
        self.convert(call, StateKind::Queued, StateKind::Granted, |state| match state {
            CallState::Queued { tag, request } => {
                CallState::Granted { tag, request, no_reply_expected: false }
            }
            other => other,
        });
    }

    /// Marks a queued or granted call as being sent, and returns its request.
    pub fn begin_send<P: Protocol, H>(&mut self, call: &mut Call<P, H>) -> Option<P::Request> {
        let tag = call.state.tag();
        let no_reply_expected = call.no_reply_expected();
        let to = CallState::Sending { tag, expired: false, no_reply_expected };
        match self.transition(call, call.state.kind(), to) {
            CallState::Queued { request, .. } | CallState::Granted { request, .. } => Some(request),
            _ => None,
        }
    }

    /// Completes a call after the return of `send`, with the reply that arrived before.
    #[inline(always)]
    pub fn complete_replied<P: Protocol, H>(&mut self, call: &mut Call<P, H>) {
        self.convert(call, StateKind::SendingReplied, StateKind::Done, |state| match state {
            CallState::SendingReplied { reply, .. } => CallState::Done(Outcome::Reply(reply)),
            other => other,
        });
    }

    /// Returns the count that includes the calls of this state and kind.
    #[inline(always)]
    fn count_of<N>(&mut self, state: StateKind, kind: &Kind<N>) -> Option<&mut u32> {
        use StateKind::*;
        match (state, kind) {
            (Tagged | Queued | Granted | Sending, Kind::Message) => None,
            (Tagged | Queued | Granted | Sending, _) => Some(&mut self.tagged_unsent),
            (Abandoned, _) => Some(&mut self.abandoned),
            (Done, Kind::NonBlocking(_)) => Some(&mut self.finishable),
            _ => None,
        }
    }
}
