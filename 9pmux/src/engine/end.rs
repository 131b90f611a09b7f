//! The end of the connection to the server.
//!
//! Every outstanding request gets an error ([`Engine::fail_outstanding`]), and every client is closed. A
//! connection that is only made again, while no client has a session, keeps its clients.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::Engine;
use super::clients::ClientState;
use super::config::ServerKind;
use super::fids::Fids;
use super::hasher::SeededState;
use super::local_error::LocalError;
use super::ready_queue::ReadyQueue;
use super::requests::Requests;
use super::shared_attach::SharedAttach;
use super::shares::ShareQueue;
use super::upstream::UpstreamState;
use crate::wire::{Frame, foreign, frame, kind, tag, types};

/// The reason for the end of the connection to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The server has closed the connection.
    ServerClosed,
    /// [`Engine::hang_up`] was called.
    HungUp,
    /// The server has not replied to the Tversion in time.
    VersionTimeout,
    /// The server has not replied in time while sessions are being restored.
    ReplayTimeout,
    /// The server has replied to the Tversion with this instead of a version that was offered.
    NoCommonVersion(String),
    /// The server has sent this, which is not valid 9P.
    Garbled(String),
    /// The server has sent nothing for this time, although it was asked by a keepalive.
    Silent(Duration),
    /// A client of the control tree has asked for another connection.
    Commanded,
}

impl EndReason {
    pub(super) fn garbled(what: impl Into<String>) -> EndReason {
        EndReason::Garbled(what.into())
    }

    /// Returns true if another connection cannot make up for it, with `--reconnect`.
    fn is_final(&self) -> bool {
        matches!(self, EndReason::HungUp | EndReason::NoCommonVersion(_))
    }
}

impl Display for EndReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            EndReason::ServerClosed => f.write_str("the server has closed the connection"),
            EndReason::HungUp => f.write_str("hung up"),
            EndReason::VersionTimeout => f.write_str("the server does not reply to Tversion"),
            EndReason::ReplayTimeout => {
                f.write_str("the server does not reply while sessions are restored")
            }
            EndReason::NoCommonVersion(what) => {
                write!(f, "no version in common with the server: it replies with {what}")
            }
            EndReason::Garbled(what) => write!(f, "the server has sent {what}"),
            EndReason::Silent(time) => {
                write!(f, "the server is silent for {} seconds", time.as_secs_f64())
            }
            EndReason::Commanded => f.write_str("closed by the command reconnect"),
        }
    }
}

impl Engine {
    /// The connection to the server has ended: fails every outstanding request, and closes every client.
    /// Has no effect if the connection had ended before.
    pub(super) fn handle_end(&mut self, reason: EndReason) {
        if self.end_reason().is_some() {
            return;
        }
        if self.config.server == ServerKind::OnDemand && reason != EndReason::HungUp {
            return self.lose_server(reason);
        }
        if self.restore.is_some() && !reason.is_final() {
            return self.begin_outage(reason);
        }
        let reason = self.explain_end(reason);
        let why = match reason {
            EndReason::HungUp => LocalError::ShuttingDown,
            _ => LocalError::ServerGone,
        };
        for client_index in self.clients.connected() {
            if self.clients.get(client_index).state != ClientState::Closing {
                self.fail_outstanding(client_index, why);
            }
        }
        self.end_descriptors();
        self.upstream.end(reason);
        self.clear_upstream();
        self.cleanups.clear();
        self.share_queue = ShareQueue::default();
        self.ready_queue = ReadyQueue::default();
        self.version_waiters.clear();
    }

    /// Drops the connection, which must be made again, if the event has made this necessary. No client has a
    /// session, so what is upstream belongs to departed clients and is gone with the connection. Only
    /// [`run_ready`](Engine::run_ready) may call this: nothing that an event has begun to handle must be left.
    pub(super) fn lose_connection(&mut self) {
        let UpstreamState::Leaving(reason) = self.upstream.state() else {
            return;
        };
        let reason = reason.clone();
        debug_assert!(self.clients.sessions() == 0);
        self.forget_attach_waiters();
        self.end_descriptors();
        self.upstream.lose(reason);
        self.clear_upstream();
        for client_index in self.cleanups.take_waiters() {
            self.resume_version_waiter(client_index);
        }
    }

    /// The connection to the server is gone: no request, fid or count of a user is upstream any more.
    pub(super) fn clear_upstream(&mut self) {
        self.requests = Requests::new(&self.config);
        self.fids = Fids::default();
        if let Some(restore) = &mut self.restore {
            restore.clear_upstream(SeededState::new(self.config.seed));
        }
        self.users.clear_upstream();
    }

    /// No client waits for the pending shared attach any more.
    pub(super) fn forget_attach_waiters(&mut self) {
        if let SharedAttach::Pending { waiters, .. } = &self.upstream.shared_attach {
            for id in waiters {
                if let Some(client_index) = self.clients.index_of(*id) {
                    self.clients.get(client_index).waits_for_attach = false;
                }
            }
        }
    }

    /// A server that has sent the beginning of a text, and nothing more, does not speak 9P.
    pub(super) fn explain_end(&self, reason: EndReason) -> EndReason {
        match (&reason, foreign(self.upstream.inbox.as_slice())) {
            (EndReason::ServerClosed | EndReason::VersionTimeout, Some(other)) => {
                EndReason::garbled(other.to_string())
            }
            _ => reason,
        }
    }

    /// Closes a client, and replies to everything that it has outstanding: its requests upstream, its
    /// waiting reads, its flushes, its Tversion, and the messages of its inbox, in this order.
    fn fail_outstanding(&mut self, client_index: u32, why: LocalError) {
        let closed = self.clients.close(client_index);
        self.clients.get(client_index).waits_for_attach = false;
        // The session has ended, but the client still expects errors in its form.
        let dialect = closed.session.dialect;
        let mut tags: Vec<u16> = closed.session.tags.tags().collect();
        tags.sort_unstable();
        for tag in tags {
            self.push_error_in(dialect, client_index, tag, why);
        }
        for tag in closed.waiting_reads.tags() {
            self.push_error_in(dialect, client_index, tag, why);
        }
        for flushing in closed.session.flushes {
            self.push_rflush(client_index, flushing.tag);
        }
        if let Some(tag) = closed.tversion {
            self.push_error_in(dialect, client_index, tag, why);
        }
        let mut waiting = &closed.inbox.as_slice()[closed.skipped..];
        while let Frame::Message(n) = frame(waiting, u32::MAX) {
            match kind(waiting) {
                types::TFLUSH => self.push_rflush(client_index, tag(waiting)),
                _ => self.push_error_in(dialect, client_index, tag(waiting), why),
            }
            waiting = &waiting[n..];
        }
        self.mark_dirty(client_index);
    }
}
