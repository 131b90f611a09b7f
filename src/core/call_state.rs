//! The states of a call. A value that a call has in some states only is stored in these states.

use super::call::{Outcome, Protocol};

/// The tag of a call. A message that is sent or received by hand has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallTag(u32);

impl CallTag {
    /// Stands for no tag: the end of a range of tags is not a valid tag.
    pub const NONE: CallTag = CallTag(u32::MAX);

    #[inline(always)]
    pub fn new(tag: u32) -> CallTag {
        CallTag(tag)
    }

    #[inline(always)]
    pub fn get(self) -> Option<u32> {
        (self != CallTag::NONE).then_some(self.0)
    }
}

/// The state of a call, with all that the call has in this state only. A deadline and a wake handle span
/// states, so they are in [`Call`](super::call::Call).
/// [`can_become`](StateKind::can_become) lists which state may follow which.
pub(super) enum CallState<P: Protocol> {
    /// The slot is unused.
    Free,
    /// The call waits for a tag.
    TagWait,
    /// The call has a tag. Its owner is putting the tag into the request, or is about to ask for
    /// the turn to send.
    Tagged { tag: CallTag },
    /// The request is in the send queue.
    Queued { tag: CallTag, request: P::Request },
    /// The owner has the turn to send. It sleeps, and the wake-up that gives it its request is
    /// queued.
    Granted { tag: CallTag, request: P::Request, no_reply_expected: bool },
    /// The owner, another caller or the send proc is inside `send` with the request, or about to
    /// be.
    Sending {
        tag: CallTag,
        /// True if the deadline has passed while another sender was sending the request.
        expired: bool,
        /// True if no reply is due although the request is still being sent: the connection has
        /// ended meanwhile, or the transport has rejected this request and is still sending others
        /// of the same batch.
        no_reply_expected: bool,
    },
    /// As `Sending`, and the reply has arrived already. The call completes when `send` returns.
    SendingReplied { reply: P::Reply, no_reply_expected: bool },
    /// The request has been sent, and the reply has not arrived.
    AwaitingReply { tag: CallTag },
    /// The call has completed, and its owner does not know it yet.
    Done(Outcome<P::Reply, P::Failure>),
    /// The request of a non-blocking call could not be sent. Its owner, which sleeps until the
    /// request has been sent, is woken with the outcome and does not collect it.
    StartFailed(Outcome<P::Reply, P::Failure>),
    /// The owner has been woken with the outcome. It may still report that its deadline has passed,
    /// so the slot must not be reused.
    Delivered,
    /// The owner has left, or is about to be woken because its deadline has passed. The tag stays
    /// allocated until the reply arrives or the connection ends.
    Abandoned { tag: CallTag },
}

impl<P: Protocol> CallState<P> {
    /// Returns the state of a call that is about to be sent.
    #[inline(always)]
    pub fn sending(tag: CallTag) -> CallState<P> {
        CallState::Sending { tag, expired: false, no_reply_expected: false }
    }

    #[inline(always)]
    pub fn kind(&self) -> StateKind {
        match self {
            CallState::Free => StateKind::Free,
            CallState::TagWait => StateKind::TagWait,
            CallState::Tagged { .. } => StateKind::Tagged,
            CallState::Queued { .. } => StateKind::Queued,
            CallState::Granted { .. } => StateKind::Granted,
            CallState::Sending { .. } => StateKind::Sending,
            CallState::SendingReplied { .. } => StateKind::SendingReplied,
            CallState::AwaitingReply { .. } => StateKind::AwaitingReply,
            CallState::Done(_) => StateKind::Done,
            CallState::StartFailed(_) => StateKind::StartFailed,
            CallState::Delivered => StateKind::Delivered,
            CallState::Abandoned { .. } => StateKind::Abandoned,
        }
    }

    /// Returns the tag of a call in this state.
    #[inline]
    pub fn tag(&self) -> CallTag {
        match self {
            CallState::Tagged { tag }
            | CallState::Queued { tag, .. }
            | CallState::Granted { tag, .. }
            | CallState::Sending { tag, .. }
            | CallState::AwaitingReply { tag }
            | CallState::Abandoned { tag } => *tag,
            _ => CallTag::NONE,
        }
    }

    /// Returns the outcome of a call that has ended.
    #[inline(always)]
    pub fn into_outcome(self) -> Outcome<P::Reply, P::Failure> {
        match self {
            CallState::Done(outcome) | CallState::StartFailed(outcome) => outcome,
            _ => Outcome::Ended,
        }
    }

    /// Returns the reply of a call that has not returned it to its owner.
    pub fn into_reply(self) -> Option<P::Reply> {
        match self {
            CallState::Done(Outcome::Reply(reply)) | CallState::SendingReplied { reply, .. } => {
                Some(reply)
            }
            _ => None,
        }
    }
}

/// The name of a [`CallState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateKind {
    Free,
    TagWait,
    Tagged,
    Queued,
    Granted,
    Sending,
    SendingReplied,
    AwaitingReply,
    Done,
    StartFailed,
    Delivered,
    Abandoned,
}

impl StateKind {
    /// Returns true if a sender is inside `send` with the request, or about to be.
    pub fn is_sending(self) -> bool {
        matches!(self, StateKind::Granted | StateKind::Sending | StateKind::SendingReplied)
    }

    /// Returns true if a call may pass from this state to `next`. A message that is received by
    /// hand is never sent: it waits for the receiver role as `AwaitingReply`.
    pub fn can_become(self, next: StateKind) -> bool {
        use StateKind::*;
        match self {
            Free => matches!(next, TagWait | Tagged | Sending),
            TagWait => matches!(next, Tagged | Done | Free),
            Tagged => matches!(next, Queued | Sending | AwaitingReply | Free),
            Queued => matches!(next, Granted | Sending | StartFailed | Done | Free),
            Granted => matches!(next, Sending),
            Sending => {
                matches!(next, SendingReplied | AwaitingReply | StartFailed | Done | Free)
            }
            SendingReplied => matches!(next, Done | Free),
            AwaitingReply => matches!(next, Abandoned | Done | Free),
            Abandoned => matches!(next, Done | Free),
            Done => matches!(next, Delivered | Free),
            StartFailed | Delivered => matches!(next, Free),
        }
    }
}
