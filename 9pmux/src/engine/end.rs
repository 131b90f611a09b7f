//! The end of the session with the server: everybody is told.

use std::fmt::{self, Display, Formatter};

use super::Engine;
use super::clients::{Blocked, ClientState};
use super::fids::Fids;
use super::refusal::Refusal;
use super::requests::Requests;
use super::upstream::{Agreed, Upstream};
use crate::wire::{Frame, frame, kind, tag, types};

/// Why the session with the server is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The server has closed the connection.
    Gone,
    /// [`Engine::hang_up`] was called.
    HungUp,
    /// The server has not answered our Tversion in time.
    NoAnswer,
    /// The server has answered it with this instead of a version that was offered.
    NoVersion(String),
    /// The server has sent this, which is not 9P.
    Garbled(String),
}

impl End {
    pub(super) fn garbled(what: impl Into<String>) -> End {
        End::Garbled(what.into())
    }
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            End::Gone => f.write_str("the server has closed the connection"),
            End::HungUp => f.write_str("hung up"),
            End::NoAnswer => f.write_str("the server does not answer Tversion"),
            End::NoVersion(what) => {
                write!(f, "no version in common with the server: it answers {what}")
            }
            End::Garbled(what) => write!(f, "the server has sent {what}"),
        }
    }
}

impl Engine {
    /// The server is no more. What clients have asked is answered, each by an error, and each ends.
    pub(super) fn end(&mut self, end: End) {
        if self.ended().is_some() {
            return;
        }
        for c in self.clients.connected() {
            if self.clients.get(c).state != ClientState::Closing {
                self.end_client(c);
            }
        }
        let dialect = self.upstream.dialect;
        self.upstream = Upstream { agreed: Agreed::Ended(end), dialect, ..Upstream::default() };
        self.requests = Requests::new(self.config.max_inflight_all);
        self.fids = Fids::default();
        self.cleanups.clear();
        self.ready_queue.clear();
        self.version_waiters.clear();
    }

    fn end_client(&mut self, c: u32) {
        let client = self.clients.get(c);
        let state = std::mem::replace(&mut client.state, ClientState::Closing);
        let mut asked: Vec<u16> = client.tags.drain().map(|(tag, _)| tag).collect();
        client.fids = std::collections::HashMap::with_hasher(*client.tags.hasher());
        client.reply_bytes_reserved = 0;
        client.auths = Vec::new();
        client.blocked = Blocked::No;
        client.waits_for_attach = false;
        let flushes = std::mem::take(&mut client.flushes);
        let inbox = std::mem::take(&mut client.inbox);
        let passed = inbox.len().min(client.bytes_to_skip as usize);
        asked.sort_unstable();
        for tag in asked {
            self.refuse(c, tag, Refusal::ServerGone);
        }
        for flushing in flushes {
            self.answer_flush(c, flushing.tag);
        }
        if let ClientState::AwaitingVersion { tag, .. } = state {
            self.refuse(c, tag, Refusal::ServerGone);
        }
        let mut waiting = &inbox.as_slice()[passed..];
        while let Frame::Message(n) = frame(waiting, u32::MAX) {
            match kind(waiting) {
                types::TFLUSH => self.answer_flush(c, tag(waiting)),
                _ => self.refuse(c, tag(waiting), Refusal::ServerGone),
            }
            waiting = &waiting[n..];
        }
        self.mark_dirty(c);
    }
}
