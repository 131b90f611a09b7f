//! The server's side of the engine: the state of the connection, and what belongs to the server and to
//! no client.
//!
//! | state | event | next state |
//! |---|---|---|
//! | no version | the first Tversion of a client, or a dialect chosen in advance | awaiting version |
//! | awaiting version | an Rversion with a version that was offered | ready |
//! | awaiting version | `unknown`, or an error, for the dialect that a client chose | no version |
//! | awaiting version | any other reply, or no reply in time | ended |
//! | any | the connection ends, or sends bytes that are not 9P | ended |
//!
//! Each transition is one method of [`Upstream`]; other modules read the state. The loss of a
//! connection that will be dialled again will be a further state, entered where [`Upstream::end`] is
//! called today: `end.rs` separates the replies to outstanding requests from the end of the clients.

use std::collections::VecDeque;
use std::time::Duration;

use super::buffer::Buffer;
use super::end::EndReason;
use super::shared_attach::SharedAttach;
use crate::wire::Dialect;

/// The state of the connection to the server.
pub enum UpstreamState {
    /// No version is agreed, and none has been requested.
    NoVersion,
    /// A Tversion has been sent.
    AwaitingVersion { offer: Dialect, deadline: Duration },
    /// A version is agreed; requests can be forwarded.
    Ready,
    /// The connection has ended.
    Ended(EndReason),
}

/// The server's side.
pub struct Upstream {
    state: UpstreamState,
    /// The dialect of the connection; until a version is agreed, the dialect that was offered.
    pub dialect: Dialect,
    /// The maximum length of a message; until a version is agreed, the offered one.
    pub msize: u32,
    /// The beginning of an incomplete message.
    pub inbox: Buffer,
    /// The bytes to be written to the server.
    pub out: Buffer,
    /// Upstream requests with a Tflush that waits for a tag, in order.
    pub deferred_flushes: VecDeque<u16>,
    /// Upstream fids with a Tclunk that waits for a tag, in order.
    pub deferred_clunks: VecDeque<u32>,
    /// The number of 9pmux's own Tclunk in flight.
    pub internal_clunks: usize,
    /// The attach that clients share.
    pub shared_attach: SharedAttach,
}

impl Default for Upstream {
    fn default() -> Upstream {
        Upstream {
            state: UpstreamState::NoVersion,
            dialect: Dialect::Plain,
            msize: 0,
            inbox: Buffer::default(),
            out: Buffer::default(),
            deferred_flushes: VecDeque::new(),
            deferred_clunks: VecDeque::new(),
            internal_clunks: 0,
            shared_attach: SharedAttach::default(),
        }
    }
}

impl Upstream {
    /// Returns the state.
    pub fn state(&self) -> &UpstreamState {
        &self.state
    }

    /// Returns the time at which the server must have replied to a Tversion.
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            UpstreamState::AwaitingVersion { deadline, .. } => Some(deadline),
            _ => None,
        }
    }

    /// Returns the reason for the end of the connection, if it has ended.
    pub fn end_reason(&self) -> Option<&EndReason> {
        match &self.state {
            UpstreamState::Ended(reason) => Some(reason),
            _ => None,
        }
    }

    /// Returns the agreed dialect, if there is one.
    pub fn ready_dialect(&self) -> Option<Dialect> {
        matches!(self.state, UpstreamState::Ready).then_some(self.dialect)
    }

    /// A Tversion is sent.
    pub fn version_sent(&mut self, offer: Dialect, msize: u32, deadline: Duration) {
        self.state = UpstreamState::AwaitingVersion { offer, deadline };
        self.dialect = offer;
        self.msize = msize;
    }

    /// The server has agreed to a version.
    pub fn version_agreed(&mut self, dialect: Dialect, msize: u32) {
        self.state = UpstreamState::Ready;
        self.dialect = dialect;
        self.msize = msize;
    }

    /// The server does not know the offered dialect; another one may be offered.
    pub fn version_refused(&mut self) {
        self.state = UpstreamState::NoVersion;
        self.dialect = Dialect::Plain;
    }

    /// The connection has ended. Nothing of the server's side is left.
    pub fn end(&mut self, reason: EndReason) {
        *self = Upstream { state: UpstreamState::Ended(reason), ..Upstream::default() };
    }
}
