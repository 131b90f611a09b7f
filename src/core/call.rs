//! What a call is to the machine, and what its owner is told when it is woken.

use super::list::Link;

/// The kinds of thing that a connection carries.
pub trait Protocol {
    /// A message to the server. The machine keeps one only while its owner waits for its turn.
    type Request;
    /// A message from the server.
    type Reply;
    /// Why a message could not be sent.
    type Failure;
    /// How the owner of a non-blocking call sees from outside that its reply is there.
    type Watch: Copy;
}

/// A call's number, good from its beginning until it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallId(pub(super) u32);

impl CallId {
    /// Its number.
    pub(crate) fn slot(self) -> usize {
        self.0 as usize
    }
}

/// What a waiting caller (or proc) is told when it is woken. It holds all there is to know: a
/// caller whose call is over need not come back to the machine.
#[derive(Debug, PartialEq, Eq)]
pub enum Wakeup<P: Protocol> {
    /// The reply; the call is over.
    Reply(P::Reply),
    /// The connection has ended; the call is over.
    Ended,
    /// Whoever was sending the request could not; the call is over.
    Failed(P::Failure),
    /// The range of tags has become empty; the call is over.
    EmptyRange,
    /// All tags are held for calls that have been given up; the call is over.
    AllTagsAbandoned,
    /// There is no memory for a tag, and nobody left who could free one; the call is over.
    NoMemory,
    /// The deadline has passed; the call is over, and given up if it had been sent.
    TimedOut,
    /// A receive proc has come, so there is nothing to receive by hand.
    Busy,
    /// Here is a tag, for one that waited for it. It is not sent yet.
    Tag(u32),
    /// The turn to send is this call's: here is the request back.
    Turn(P::Request),
    /// The send proc has sent the request of a non-blocking call, or of a message without a call.
    Sent,
    /// The muxer's role is this caller's (or proc's) now.
    Receive,
    /// A proc has something to do: its role, a request, or to stop.
    Work,
}

/// Where a call is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallState {
    /// There is no call.
    Free,
    /// It waits for a tag.
    TagWait,
    /// It has its tag; its owner is putting it into the request, or going for the turn to send.
    Tagged,
    /// Its owner waits for the turn to send, or for the send proc.
    Queued,
    /// Somebody is inside `send` with its request.
    Sending,
    /// Sent, and no reply yet.
    AwaitingReply,
    /// Over, but nobody has been told: a reply is there, or else the connection has ended.
    Done,
    /// Over before it had a tag: there are no tags any more.
    RangeEmpty,
    /// Its owner is gone: its tag is held until the reply comes, or the end of the connection.
    Abandoned,
}

/// What kind of call.
#[derive(Clone, Copy)]
pub(super) enum Kind<N> {
    /// Its owner waits for the reply.
    Blocking,
    /// Its owner comes to see.
    NonBlocking(N),
    /// Not a call: a message sent or received by hand, which takes its turn like the others.
    Message,
}

/// What a sleeping owner is about to be told; the rest of it is in the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WakeReason {
    /// The call is over: its reply, or the failure to send it, or else the connection has ended.
    Done,
    /// The call is over: there are no tags.
    EmptyRange,
    /// The call is over: all tags are held.
    AllTagsAbandoned,
    /// The call is over: no memory for a tag.
    NoMemory,
    /// The call is over: it is late.
    TimedOut,
    /// Nothing is to be received by hand.
    Busy,
    Tag,
    Turn,
    /// Sent, and the call goes on.
    Sent,
    /// Sent, and that was all.
    MessageSent,
    Receive,
    /// A task is to look how its non-blocking call stands.
    PollFuture,
}

pub(super) struct Call<P: Protocol, H> {
    pub kind: Kind<P::Watch>,
    pub state: CallState,
    pub wake_reason: WakeReason,
    /// The tag, as long as it is this call's.
    pub tag: Option<u32>,
    /// Its place in the queue that it stands in.
    pub link: Link,
    /// Whether it is among those who are called, to be told something.
    pub wake_queued: bool,
    /// Its place among them.
    pub wake_link: Link,
    pub request: Option<P::Request>,
    pub reply: Option<P::Reply>,
    /// Why the send proc could not send it.
    pub failure: Option<P::Failure>,
    /// Whether its owner waits no longer than until some time: it looks at the clock, not we.
    pub has_deadline: bool,
    /// Whether a task waits for it, and stands in the queue of those that look.
    pub has_future: bool,
    /// It has gone to sleep so, and has not [woken](super::Machine::ack_wake): its clock may ring yet, and so
    /// its number is its own, whatever becomes of the call.
    pub timer_armed: bool,
    /// That time has come while another was sending the request.
    pub expired_while_sending: bool,
    /// No reply is to be expected, though it is being sent still: the connection has ended under it, or
    /// it was refused and others of the same batch are not through.
    pub no_reply_expected: bool,
    /// How to wake the owner, while it sleeps.
    pub wake_handle: Option<H>,
}

impl<P: Protocol, H> Call<P, H> {
    pub fn free() -> Call<P, H> {
        Call {
            kind: Kind::Message,
            state: CallState::Free,
            wake_reason: WakeReason::Done,
            tag: None,
            link: Link::NONE,
            wake_queued: false,
            wake_link: Link::NONE,
            request: None,
            reply: None,
            failure: None,
            has_deadline: false,
            timer_armed: false,
            expired_while_sending: false,
            has_future: false,
            no_reply_expected: false,
            wake_handle: None,
        }
    }
}

/// Who is to be woken, and with what, once the machine's lock has been released.
pub struct WakeBatch<P: Protocol, H> {
    pub(super) wakeups: [Option<(H, Wakeup<P>)>; WAKE_BATCH],
    /// Calls whose tasks are to look.
    pub(super) futures: [Option<CallId>; WAKE_BATCH],
    pub(super) more: bool,
}

/// How many are woken at a time.
pub(super) const WAKE_BATCH: usize = 4;

impl<P: Protocol, H> WakeBatch<P, H> {
    /// Whether there are more than these.
    #[must_use]
    pub fn more(&self) -> bool {
        self.more
    }

    /// Non-blocking calls whose tasks are to look how they stand.
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
