//! The record of a call, and the values that its owner is woken with.

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

/// The state of a call. [`can_become`](CallState::can_become) lists which state may follow which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallState {
    /// The slot is unused.
    Free,
    /// The call waits for a tag.
    TagWait,
    /// The call has a tag. Its owner is putting the tag into the request, or is about to ask for
    /// the turn to send.
    Tagged,
    /// The request is in the send queue.
    Queued,
    /// The owner, another caller or the send proc is inside `send` with the request, or about to
    /// be.
    Sending,
    /// As `Sending`, and the reply has arrived already. The call completes when `send` returns.
    SendingReplied,
    /// The request has been sent, and the reply has not arrived.
    AwaitingReply,
    /// The call has completed, and its owner does not know it yet. The fields `reply` and
    /// `ended_with` contain the outcome.
    Done,
    /// The request of a non-blocking call could not be sent. Its owner, which sleeps until the
    /// request has been sent, is woken with the end of the call and does not collect it.
    StartFailed,
    /// The owner has left. The tag stays allocated until the reply arrives or the connection ends.
    Abandoned,
}

impl CallState {
    /// Returns true if a sender is inside `send` with the request, or about to be.
    pub fn is_sending(self) -> bool {
        matches!(self, CallState::Sending | CallState::SendingReplied)
    }

    /// Returns true if a call may pass from this state to `next`. A message that is received by
    /// hand is never sent: it waits for the receiver role as `AwaitingReply`.
    fn can_become(self, next: CallState) -> bool {
        use CallState::*;
        match self {
            Free => matches!(next, TagWait | Tagged | Sending),
            TagWait => matches!(next, Tagged | Done | Free),
            Tagged => matches!(next, Queued | Sending | AwaitingReply | Free),
            Queued => matches!(next, Sending | StartFailed | Done | Free),
            Sending => {
                matches!(next, SendingReplied | AwaitingReply | StartFailed | Done | Free)
            }
            SendingReplied => matches!(next, Done | Free),
            AwaitingReply => matches!(next, Abandoned | Done | Free),
            Abandoned => matches!(next, Done | Free),
            StartFailed | Done => matches!(next, Free),
        }
    }
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
    /// Changed by [`Counts::transition`] only.
    state: CallState,
    pub wake_reason: WakeReason,
    /// The tag, while it belongs to this call.
    pub tag: Option<u32>,
    /// The links of the queue that the call is in.
    pub link: Link,
    /// True if the call is in the wake queue.
    pub wake_queued: bool,
    /// The links of the wake queue.
    pub wake_link: Link,
    pub request: Option<P::Request>,
    pub reply: Option<P::Reply>,
    /// How the call has ended, if neither with its reply nor with the connection.
    pub ended_with: Option<Outcome<P::Reply, P::Failure>>,
    /// True if the owner waits with a deadline. The owner watches the clock and reports the expiry;
    /// the machine has no clock.
    pub has_deadline: bool,
    /// True if a future waits for the call, which is in the queue of future waiters then.
    pub has_future: bool,
    /// True if the owner sleeps with a deadline and has not called
    /// [`ack_wake`](super::Machine::ack_wake). It may still report the expiry for this id, so the
    /// slot must not be reused, even if the call has completed.
    pub timer_armed: bool,
    /// True if the deadline has passed while another sender was sending the request.
    pub expired_while_sending: bool,
    /// True if no reply is due although the request is still being sent: the connection has ended
    /// meanwhile, or the transport has rejected this request and is still sending others of the
    /// same batch.
    pub no_reply_expected: bool,
    /// Wakes the owner, while it sleeps.
    pub wake_handle: Option<H>,
}

impl<P: Protocol, H> Call<P, H> {
    #[inline(always)]
    pub fn state(&self) -> CallState {
        self.state
    }

    /// Returns true if this is a message, not a call.
    pub fn is_message(&self) -> bool {
        matches!(self.kind, Kind::Message)
    }

    /// Removes and returns the outcome of a call that has ended.
    #[inline(always)]
    pub fn take_outcome(&mut self) -> Outcome<P::Reply, P::Failure> {
        match (self.reply.take(), self.ended_with.take()) {
            (Some(reply), _) => Outcome::Reply(reply),
            (None, Some(outcome)) => outcome,
            (None, None) => Outcome::Ended,
        }
    }

    pub fn free() -> Call<P, H> {
        Call {
            kind: Kind::Message,
            state: CallState::Free,
            wake_reason: WakeReason::Completed,
            tag: None,
            link: Link::NONE,
            wake_queued: false,
            wake_link: Link::NONE,
            request: None,
            reply: None,
            ended_with: None,
            has_deadline: false,
            timer_armed: false,
            expired_while_sending: false,
            has_future: false,
            no_reply_expected: false,
            wake_handle: None,
        }
    }
}

/// The numbers of calls by state, which [`transition`](Counts::transition) keeps in step.
pub(super) struct Counts {
    /// Calls that have a tag and whose request has not been sent: no reply is due for them.
    pub tagged_unsent: u32,
    /// Abandoned calls, which still have a tag.
    pub abandoned: u32,
    /// Completed non-blocking calls that have not been collected.
    pub finishable: u32,
}

impl Counts {
    pub const NONE: Counts = Counts { tagged_unsent: 0, abandoned: 0, finishable: 0 };

    /// Changes the state of `call` from `from`, which must be its state, to `to`. This is the only
    /// place where a state changes.
    ///
    /// If the call has a tag and `to` is a state without one, the caller must free the tag before
    /// it calls a method that may ask whether a reply is due, because that compares
    /// `tagged_unsent` with the number of allocated tags.
    #[inline(always)]
    pub fn transition<P: Protocol, H>(
        &mut self,
        call: &mut Call<P, H>,
        from: CallState,
        to: CallState,
    ) {
        debug_assert_eq!(call.state, from, "the state of the call");
        debug_assert!(from.can_become(to), "no call passes from {from:?} to {to:?}");
        if let Some(count) = self.count_of(from, &call.kind) {
            *count -= 1;
        }
        if let Some(count) = self.count_of(to, &call.kind) {
            *count += 1;
        }
        call.state = to;
    }

    /// Returns the count that includes the calls of this state and kind.
    #[inline(always)]
    fn count_of<N>(&mut self, state: CallState, kind: &Kind<N>) -> Option<&mut u32> {
        match (state, kind) {
            (CallState::Tagged | CallState::Queued | CallState::Sending, Kind::Message) => None,
            (CallState::Tagged | CallState::Queued | CallState::Sending, _) => {
                Some(&mut self.tagged_unsent)
            }
            (CallState::Abandoned, _) => Some(&mut self.abandoned),
            (CallState::Done, Kind::NonBlocking(_)) => Some(&mut self.finishable),
            _ => None,
        }
    }
}

/// At most [`WAKE_BATCH`] wake-ups, which the driver must deliver after it has released the lock.
pub struct WakeBatch<P: Protocol, H> {
    pub(super) wakeups: [Option<(H, Wakeup<P>)>; WAKE_BATCH],
    /// Calls with a future that must poll again.
    pub(super) futures: [Option<CallId>; WAKE_BATCH],
    pub(super) more: bool,
}

/// Maximum number of wake-ups in a batch.
pub(super) const WAKE_BATCH: usize = 4;

impl<P: Protocol, H> WakeBatch<P, H> {
    /// Returns true if more wake-ups are queued. The driver must then fetch them with
    /// [`take_more_wakes`](super::Machine::take_more_wakes).
    #[must_use]
    pub fn more(&self) -> bool {
        self.more
    }

    /// Returns the non-blocking calls with a future that must poll again.
    pub fn futures(&self) -> impl Iterator<Item = CallId> + use<P, H> {
        self.futures.into_iter().flatten()
    }
}

impl<P: Protocol, H> IntoIterator for WakeBatch<P, H> {
    type Item = (H, Wakeup<P>);
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<(H, Wakeup<P>)>, WAKE_BATCH>>;

    fn into_iter(self) -> Self::IntoIter {
        self.wakeups.into_iter().flatten()
    }
}
