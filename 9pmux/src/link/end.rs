//! The reasons for the end of a link.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::engine::EndReason;

/// The reason for the end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// The stream has ended or failed.
    Closed,
    /// [`Link::hang_up`](super::Link::hang_up) was called.
    HungUp,
    /// Nothing has arrived for this time.
    Silent(Duration),
    /// The other end has sent this, which is not valid 9P.
    Garbled(String),
    /// The other end has sent more than a link allows.
    TooMuch,
    /// There is no memory for what the other end has sent, or does not read.
    NoMemory,
    /// The other end has not replied in time while sessions were restored.
    Unresponsive,
    /// The exported server has come back, and has replied to the Tversion with this instead of the version of its
    /// sessions.
    NoCommonVersion(String),
}

impl LinkEnd {
    /// Returns true if no other stream can make up for it, and the last output should be written.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, LinkEnd::HungUp | LinkEnd::NoCommonVersion(_))
    }

    /// Returns the reason for which the post has given up its server, the other end.
    pub(super) fn of_post(reason: EndReason) -> LinkEnd {
        match reason {
            EndReason::Garbled(what) => LinkEnd::Garbled(what),
            EndReason::VersionTimeout | EndReason::ReplayTimeout | EndReason::Silent(_) => {
                LinkEnd::Unresponsive
            }
            EndReason::NoCommonVersion(_)
            | EndReason::ServerClosed
            | EndReason::HungUp
            | EndReason::Commanded => LinkEnd::Closed,
        }
    }
}

impl Display for LinkEnd {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LinkEnd::Closed => f.write_str("the other end has closed the connection"),
            LinkEnd::HungUp => f.write_str("hung up"),
            LinkEnd::Silent(time) => {
                write!(f, "the other end is silent for {} seconds", time.as_secs_f64())
            }
            LinkEnd::Garbled(what) => write!(f, "the other end has sent {what}"),
            LinkEnd::TooMuch => f.write_str("the other end sends more than a link allows"),
            LinkEnd::NoMemory => f.write_str("there is no more memory for the other end"),
            LinkEnd::Unresponsive => f.write_str("the other end does not reply"),
            LinkEnd::NoCommonVersion(what) => {
                write!(f, "no version in common with the exported server: it replies with {what}")
            }
        }
    }
}
