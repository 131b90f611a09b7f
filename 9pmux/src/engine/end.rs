//! The end of the session with the server: everybody is told.

use std::fmt::{self, Display, Formatter};

use super::Engine;
use super::clients::{Blocked, ClientState};
use super::fids::Fids;
use super::local_error::LocalError;
use super::requests::Requests;
use super::upstream::{Upstream, UpstreamState};
use crate::wire::{Frame, frame, kind, tag, types};

/// Why the session with the server is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The server has closed the connection.
    ServerClosed,
    /// [`Engine::hang_up`] was called.
    HungUp,
    /// The server has not answered our Tversion in time.
    VersionTimeout,
    /// The server has answered it with this instead of a version that was offered.
    NoCommonVersion(String),
    /// The server has sent this, which is not 9P.
    Garbled(String),
}

impl EndReason {
    pub(super) fn garbled(what: impl Into<String>) -> EndReason {
        EndReason::Garbled(what.into())
    }
}

impl Display for EndReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            EndReason::ServerClosed => f.write_str("the server has closed the connection"),
            EndReason::HungUp => f.write_str("hung up"),
            EndReason::VersionTimeout => f.write_str("the server does not answer Tversion"),
            EndReason::NoCommonVersion(what) => {
                write!(f, "no version in common with the server: it answers {what}")
            }
            EndReason::Garbled(what) => write!(f, "the server has sent {what}"),
        }
    }
}

impl Engine {
    /// The server is no more. What clients have asked is answered, each by an error, and each ends.
    pub(super) fn handle_end(&mut self, reason: EndReason) {
        if self.end_reason().is_some() {
            return;
        }
        for client_index in self.clients.connected() {
            if self.clients.get(client_index).state != ClientState::Closing {
                self.fail_client(client_index);
            }
        }
        let dialect = self.upstream.dialect;
        self.upstream =
            Upstream { state: UpstreamState::Ended(reason), dialect, ..Upstream::default() };
        self.requests = Requests::new(self.config.max_inflight_all);
        self.fids = Fids::default();
        self.cleanups.clear();
        self.ready_queue.clear();
        self.version_waiters.clear();
    }

    fn fail_client(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        let state = std::mem::replace(&mut client.state, ClientState::Closing);
        let session = client.session.take();
        let mut tags: Vec<u16> = session.tags.into_keys().collect();
        client.blocked = Blocked::No;
        client.waits_for_attach = false;
        let inbox = std::mem::take(&mut client.inbox);
        let skipped = inbox.len().min(client.bytes_to_skip as usize);
        tags.sort_unstable();
        for tag in tags {
            self.push_error(client_index, tag, LocalError::ServerGone);
        }
        for flushing in session.flushes {
            self.push_rflush(client_index, flushing.tag);
        }
        if let ClientState::AwaitingVersion { tag, .. } = state {
            self.push_error(client_index, tag, LocalError::ServerGone);
        }
        let mut waiting = &inbox.as_slice()[skipped..];
        while let Frame::Message(n) = frame(waiting, u32::MAX) {
            match kind(waiting) {
                types::TFLUSH => self.push_rflush(client_index, tag(waiting)),
                _ => self.push_error(client_index, tag(waiting), LocalError::ServerGone),
            }
            waiting = &waiting[n..];
        }
        self.mark_dirty(client_index);
    }
}
