//! A server that is not there: it has not been asked for, it has gone, or there is none.
//!
//! With [`ServerKind::OnDemand`] the end of the server is not the end of its clients. A client keeps its
//! connection, its version and its msize, and loses what was at the server:
//!
//! | a client has | when the server goes |
//! |---|---|
//! | a request upstream | it gets an error |
//! | a Tflush upstream | it gets Rflush |
//! | a fid | the fid is *dead*; it counts against `max_fids` until it is clunked |
//! | messages that wait | they are processed |
//! | a descriptor | the reader gets what has arrived, and end of file |
//!
//! The replies to requests for dead fids:
//!
//! | request | reply |
//! |---|---|
//! | Tclunk | Rclunk |
//! | Tremove | ESTALE, and the fid is released |
//! | Tgetattr, Tstat, of a fid that was not open | ENOENT, so that Linux looks the name up again |
//! | any other | ESTALE |
//!
//! A session without a server can therefore only clunk, or attach. A Tversion, Tauth or Tattach *asks for*
//! the server: the driver connects (`wants_redial`), and tries again while something asks. If there are
//! sessions, the server must agree to their dialect, and to their msize or more; otherwise it counts as not
//! reached. Such requests wait until the driver reports a failure [`FAILURE_PATIENCE`] after the first of them,
//! and for `version_timeout` at most. Then a Tversion gets `unknown`, a Tauth or Tattach gets ENXIO, and nothing
//! asks any more. The other end of a link thus receives a reply before its own time limit.
//!
//! | event | function |
//! |---|---|
//! | the server goes | [`Engine::lose_server`] |
//! | a client asks for it | [`Engine::ask_for_server`], [`Engine::wait_for_server`] |
//! | the driver has connected | [`Engine::begin_connection`] |
//! | nothing has come of it in time | [`Engine::refuse_askers`] |
//!
//! With [`ServerKind::Absent`] each Tversion is agreed to, and each Tauth and Tattach gets ENXIO: a mount
//! shows that better than the version `unknown`.

use std::time::Duration;

use super::clients::{Blocked, ClientState};
use super::config::ServerKind;
use super::fids::FidState;
use super::inbox::Progress;
use super::local_error::LocalError;
use super::session::{ClientFid, DeadFid, DeadReason, FidEntry};
use super::upstream::UpstreamState;
use super::{EndReason, Engine};
use crate::wire::{Dialect, FidUse, FieldOffsets, HEADER, kind, tag, types, u32_at};

/// The time for which a server that cannot be connected to is tried again: it may just be restarted.
pub const FAILURE_PATIENCE: Duration = Duration::from_secs(2);

impl Engine {
    /// The server has gone. Everything that is upstream is lost; clients and their sessions are kept. Must
    /// only be called when no event is being handled.
    pub(super) fn lose_server(&mut self, reason: EndReason) {
        let reason = self.explain_end(reason);
        self.forget_attach_waiters();
        let connected = self.clients.connected();
        for client_index in &connected {
            self.lose_session(*client_index);
        }
        self.end_descriptors();
        self.upstream.lose_server(self.clients.sessions() > 0);
        self.lost_server = Some(reason);
        self.clear_upstream();
        for client_index in self.cleanups.take_waiters() {
            self.resume_version_waiter(client_index);
        }
        if !self.version_waiters.is_empty() {
            self.ask_for_server();
        }
        for client_index in connected {
            self.process_without_server(client_index);
        }
    }

    /// Replies to what a client has upstream, and marks its fids as dead.
    fn lose_session(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        let lost = client.session.take();
        let session = &mut client.session;
        (session.msize, session.dialect) = (lost.msize, lost.dialect);
        session.local = lost.local;
        for (name, entry) in lost.fids {
            let is_dead = match entry.get() {
                ClientFid::Dead(_) => Some(entry),
                ClientFid::Upstream(fid) => {
                    let record = self.fids.get(fid);
                    let dead = DeadFid { was_open: record.opened, reason: DeadReason::Gone };
                    (record.state == FidState::Live).then(|| FidEntry::dead(dead))
                }
            };
            if let Some(dead) = is_dead {
                session.fids.insert(name, dead);
                session.dead_fids += 1;
            }
        }
        self.clients.count_firsts(client_index);
        let mut tags: Vec<u16> = lost.tags.tags().collect();
        tags.sort_unstable();
        for tag in tags {
            self.push_error(client_index, tag, LocalError::ServerGone);
        }
        for flushing in lost.flushes {
            self.push_rflush(client_index, flushing.tag);
        }
    }

    /// Processes the messages of a client that wait, while there is no server.
    pub(super) fn process_without_server(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        if client.state == ClientState::Closing || client.blocked == Blocked::OnTurn {
            return;
        }
        self.send_waiting_reads(client_index, true);
        self.clients.get(client_index).blocked = Blocked::No;
        self.process_inbox(client_index);
        self.process_out_of_order(client_index);
        self.mark_dirty(client_index);
    }

    /// Records that something waits for the server.
    pub(super) fn ask_for_server(&mut self) {
        self.upstream.ask(self.now.saturating_add(self.config.version_timeout));
    }

    /// Returns true if a failure to connect should be reported to what asks for the server.
    pub(super) fn has_asked_long_enough(&self) -> bool {
        let asked_until = self.upstream.asked_until.filter(|_| self.is_asked_for());
        asked_until.is_some_and(|until| {
            let asked_at = until.saturating_sub(self.config.version_timeout);
            self.now.saturating_sub(asked_at) >= FAILURE_PATIENCE
        })
    }

    /// A valid Tauth or Tattach that cannot be forwarded, because the server is not there.
    pub(super) fn wait_for_server(&mut self, client_index: u32, message: &[u8]) -> Progress {
        if self.config.server == ServerKind::Absent {
            return self.reject_message(client_index, message, LocalError::NothingExported);
        }
        if self.upstream.refuses_askers {
            return self.reject_message(client_index, message, LocalError::Unreachable);
        }
        self.ask_for_server();
        Progress::Blocked(Blocked::OnUpstream)
    }

    /// The driver has connected to the server. If there are sessions, their dialect is offered.
    pub(super) fn begin_connection(&mut self) {
        let promised = self.upstream.promised.filter(|_| self.clients.sessions() > 0);
        self.upstream.promised = promised;
        self.upstream.connected(self.config.msize);
        self.connects += 1;
        if promised.is_none() {
            self.discard_shared_attach();
        }
        let chosen = self.config.dialect.filter(|_| self.restore.is_some());
        match promised.map(|promised| promised.0).or(chosen) {
            Some(dialect) => self.send_version(dialect),
            None => {
                self.complete_versions(None);
                if matches!(self.upstream.state(), UpstreamState::NoVersion) {
                    self.await_lasting();
                }
            }
        }
    }

    /// Returns true if sessions can go on with this version.
    pub(super) fn keeps_promise(&self, dialect: Dialect, msize: u32) -> bool {
        self.clients.sessions() == 0
            || self
                .upstream
                .promised
                .is_none_or(|promised| dialect == promised.0 && msize >= promised.1)
    }

    /// The server could not be reached in time: whatever has asked for it gets an error.
    pub(super) fn refuse_askers(&mut self) {
        self.upstream.refuses_askers = true;
        for id in std::mem::take(&mut self.version_waiters) {
            if let Some(client_index) = self.clients.index_of(id) {
                self.push_unknown(client_index);
            }
        }
        for client_index in self.clients.connected() {
            if self.clients.get(client_index).blocked == Blocked::OnUpstream {
                self.process_without_server(client_index);
            }
        }
        self.upstream.end_asking();
    }

    /// Replies to a request that names a dead fid.
    #[cold]
    pub(super) fn reply_for_dead_fid(
        &mut self,
        client_index: u32,
        (whole, message): (&[u8], &[u8]),
        offsets: &FieldOffsets,
    ) -> Progress {
        let session = &mut self.clients.get(client_index).session;
        let names = offsets
            .fids()
            .iter()
            .map(|&(offset, fid_use)| (u32_at(message, offset as usize), fid_use));
        let mut dead = names.filter_map(|(name, fid_use)| match session.fids.get(&name)?.get() {
            ClientFid::Dead(dead) => Some((name, fid_use, dead)),
            ClientFid::Upstream(_) => None,
        });
        let Some((name, fid_use, dead)) = dead.next() else {
            return self.reject_message(client_index, whole, LocalError::UnknownFid);
        };
        if fid_use == FidUse::Releases {
            session.fids.remove(&name);
            session.dead_fids -= 1;
            session.shrink_fids();
            self.clients.count_firsts(client_index);
        }
        match kind(message) {
            types::TCLUNK if dead.reason != DeadReason::Unfinished => {
                let consumed = self.consume_message(client_index, whole);
                self.push_reply(client_index, types::TCLUNK + 1, tag(message), &mut [0; HEADER]);
                consumed
            }
            kind => self.reject_message(client_index, whole, dead.error(kind)),
        }
    }

    /// Agrees to a version on behalf of a server that does not exist.
    pub(super) fn agree_without_server(&mut self, client_index: u32, dialect: Dialect) {
        self.upstream.dialect = dialect;
        self.accept_version(client_index);
    }

    /// Returns the reason for which the server has gone, once, if clients have been kept.
    pub fn take_lost_server(&mut self) -> Option<EndReason> {
        self.lost_server.take()
    }

    /// Returns true if there is no connection to the server.
    #[must_use]
    pub fn has_no_server(&self) -> bool {
        self.upstream.is_disconnected()
    }

    /// Returns true while something waits for a server that is not connected.
    pub(super) fn is_asked_for(&self) -> bool {
        matches!(self.upstream.state(), UpstreamState::Away) && self.upstream.asked_until.is_some()
    }
}
