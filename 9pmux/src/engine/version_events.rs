//! The versions and the authentication that the server has agreed to or not, for a log.

use std::collections::VecDeque;

use super::Engine;
use crate::wire::Dialect;

/// The maximum number of events that are kept: a driver need not ask for them.
const MAX_EVENTS: usize = 16;

/// The result of an offer to the server, or of a Tauth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionEvent {
    /// The server has agreed to this dialect and msize.
    VersionAgreed {
        /// The dialect of the connection.
        dialect: Dialect,
        /// The maximum length of a message.
        msize: u32,
    },
    /// The server has not agreed to the dialect that a client offered.
    VersionRefused {
        /// The dialect that was offered.
        offer: Dialect,
        /// The reply, or why there is none.
        reply: String,
    },
    /// The server has refused a Tauth, although clients must authenticate ([`require_auth`](super::Config::require_auth)).
    AuthRefused,
}

/// The events that the driver has not asked for.
#[derive(Default)]
pub struct VersionEvents(VecDeque<VersionEvent>);

impl VersionEvents {
    /// Adds an event, unless there are too many.
    pub fn push(&mut self, event: VersionEvent) {
        if self.0.len() < MAX_EVENTS {
            self.0.push_back(event);
        }
    }
}

impl Engine {
    /// Returns the next version or Tauth that the server has agreed to or not, if there is one.
    pub fn next_version_event(&mut self) -> Option<VersionEvent> {
        self.version_events.0.pop_front()
    }
}
