//! Replies to clients while the server is away, or while their fids are not restored yet.
//!
//! | a client sends | effect |
//! |---|---|
//! | Tversion | the known version at once; without one it waits |
//! | Tflush | at once (`flush.rs`): what it names never happened |
//! | Tclunk of a fid that is not restored | Rclunk at once, also behind requests that wait, unless one of them names the fid |
//! | a request that is not valid, or names an unknown or dead fid | its error, as always |
//! | any other | it waits, and the requests behind it; once `patience` has passed it gets ETIMEDOUT |

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::LASTING;
use super::replay::RETRY_DELAY;
use crate::engine::Engine;
use crate::engine::clients::{Blocked, ClientState};
use crate::engine::fids::{FidState, NO_FID};
use crate::engine::hasher::SeededState;
use crate::engine::inbox::Progress;
use crate::engine::local_error::LocalError;
use crate::engine::plan::Plan;
use crate::engine::session::ClientFid;
use crate::engine::upstream::UpstreamState;
use crate::wire::{Dialect, FieldOffsets, HEADER, Offer, check_request, kind, tag, types, u32_at};

/// For each client, the fids that its waiting messages name, as far as they were searched for a Tclunk. Fids of
/// messages that wait no more may be among them: a Tclunk of such a fid only waits for its turn.
#[derive(Default)]
pub struct NamedFids(BTreeMap<u32, HashSet<u32, SeededState>>);

impl Engine {
    /// Returns true while requests may wait because the server was lost.
    #[inline]
    pub(in crate::engine) fn is_restoring(&self) -> bool {
        self.restore.as_ref().is_some_and(|r| !r.is_settled || self.upstream.is_replaying())
    }

    /// Handles a valid request while the server is away or fids are being restored. Returns `None` if it can be
    /// forwarded.
    #[cold]
    pub(in crate::engine) fn hold_back(
        &mut self,
        client_index: u32,
        (whole, message): (&[u8], &[u8]),
        plan: &Plan,
    ) -> Option<Progress> {
        let restore = self.restore.as_ref()?;
        let is_failing = restore.is_failing;
        let fids = plan.mentioned();
        if kind(message) == types::TCLUNK && self.clunk_away(client_index, fids[0], message) {
            return Some(Progress::Consumed(whole.len()));
        }
        let is_replaying = self.upstream.is_replaying();
        let are_back = self.are_fids_back(&fids);
        if is_replaying && are_back && self.waits_for_root(message) {
            return Some(Progress::Blocked(Blocked::OnSelf));
        }
        let has_held = self.restore.as_ref().is_some_and(|r| r.held.has(client_index));
        if is_replaying && are_back && !has_held {
            return None;
        }
        if is_failing {
            let releases = plan.released();
            let progress = self.reject_message(client_index, whole, LocalError::NotAnswering);
            if releases != NO_FID {
                self.unbind(releases);
                self.fids.keep_for_replay(releases);
                self.release_if_unused(releases);
            }
            return Some(progress);
        }
        Some(Progress::Blocked(if is_replaying { Blocked::OnSelf } else { Blocked::OnUpstream }))
    }

    /// Returns true if a Tattach waits until the attach that clients share exists again.
    fn waits_for_root(&mut self, message: &[u8]) -> bool {
        kind(message) == types::TATTACH
            && self
                .shared_attach_fid()
                .is_some_and(|fid| self.fids.get(fid).state != FidState::Live)
    }

    /// Returns true if a request can name these fids. Fids that are not restored are wanted.
    pub(super) fn are_fids_back(&mut self, fids: &[u32; 2]) -> bool {
        let mut are_back = true;
        for fid in fids.iter().copied().filter(|fid| *fid != NO_FID) {
            if self.fids.get(fid).state.is_away() {
                are_back = false;
                self.want(fid);
            }
        }
        are_back
    }

    /// Releases a fid that is not restored and that no request names, and replies to its Tclunk. Returns false if
    /// there is another case.
    fn clunk_away(&mut self, client_index: u32, fid: u32, message: &[u8]) -> bool {
        let record = self.fids.get(fid);
        let Some(restore) = &self.restore else {
            return false;
        };
        let is_named = record.references != u32::from(restore.places.get(fid).is_busy);
        let name = u32_at(message, HEADER);
        if !record.state.is_away()
            || is_named
            || self.clients.get(client_index).waiting_reads.names(name)
        {
            return false;
        }
        self.consume_message(client_index, message);
        self.unbind(fid);
        self.fids.keep_for_replay(fid);
        self.release_if_unused(fid);
        self.push_reply(client_index, types::TCLUNK + 1, tag(message), &mut [0; HEADER]);
        true
    }

    /// Begins a search for Tclunk among the waiting messages of a client, at the first one if `is_anew`.
    pub(in crate::engine) fn begin_clunk_search(&mut self, client_index: u32, is_anew: bool) {
        if let Some(restore) = self.restore.as_mut().filter(|_| is_anew) {
            restore.named.0.remove(&client_index);
        }
    }

    /// Handles a Tclunk behind messages of its client that wait. Returns false if it must wait as well.
    pub(in crate::engine) fn clunk_early(&mut self, client_index: u32, message: &[u8]) -> bool {
        let Ok(offsets) = check_request(self.upstream.dialect, message) else {
            return false;
        };
        let Some(restore) = &self.restore else {
            return false;
        };
        let name = u32_at(message, HEADER);
        let client = self.clients.get(client_index);
        let named = restore.named.0.get(&client_index);
        if named.is_some_and(|named| named.contains(&name)) || client.has_tag(tag(message)) {
            return false;
        }
        match client.session.fids.get(&name).map(|entry| entry.get()) {
            Some(ClientFid::Upstream(fid)) => self.clunk_away(client_index, fid, message),
            Some(ClientFid::Dead(_)) => {
                self.reply_for_dead_fid(client_index, (message, message), &offsets);
                true
            }
            None => false,
        }
    }

    /// Records the fids that a waiting message of a client names.
    pub(in crate::engine) fn name_fids(&mut self, client_index: u32, message: &[u8]) {
        let Ok(offsets) = check_request(self.upstream.dialect, message) else {
            return;
        };
        let hasher = self.clients.get(client_index).session.hasher();
        if let Some(restore) = &mut self.restore {
            let empty = || HashSet::with_hasher(hasher);
            let named = restore.named.0.entry(client_index).or_insert_with(empty);
            named.extend(names_of(message, &offsets));
        }
    }

    /// Replies to a client's Tversion without a connection. Returns false if there is one with a version, or the
    /// client's offer has to be made to the server.
    pub(in crate::engine) fn complete_version_meanwhile(
        &mut self,
        client_index: u32,
        dialect: Dialect,
    ) -> bool {
        let Some(restore) = &self.restore else {
            return false;
        };
        match (self.upstream.state(), self.upstream.promised) {
            (UpstreamState::Ready | UpstreamState::Settling { .. }, _) => return false,
            (UpstreamState::Leaving(_) | UpstreamState::Lost(_), _) => return false,
            (UpstreamState::Ended(_), _) => return false,
            (UpstreamState::Replaying, _) => self.accept_version(client_index),
            (_, Some(known)) if dialect == known.0 || self.clients.sessions() > 0 => {
                self.accept_version(client_index);
            }
            (UpstreamState::Away, _) if restore.is_failing => self.fail_version(client_index),
            _ => return false,
        }
        true
    }

    /// A Tversion has waited for the first version of the server for too long.
    fn fail_version(&mut self, client_index: u32) {
        let ClientState::AwaitingVersion { tag, offer, .. } = self.clients.get(client_index).state
        else {
            return;
        };
        let dialect = match offer {
            Offer::Dialect(dialect) => dialect,
            Offer::Unknown => Dialect::Plain,
        };
        self.push_error_in(dialect, client_index, tag, LocalError::NotAnswering);
        self.clients.set_state(client_index, ClientState::New);
        self.unblock(client_index);
    }

    /// Makes requests fail instead of waiting if it is time to. Returns true if it is. The clients must be
    /// examined afterwards.
    pub(super) fn expire_patience(&mut self) -> bool {
        let now = self.now;
        let Some(restore) = &mut self.restore else {
            return false;
        };
        if restore.patience_deadline().is_none_or(|deadline| deadline > now) {
            return false;
        }
        restore.is_failing = true;
        for client_index in restore.held.clients() {
            self.end_all_held(client_index, Some(LocalError::NotAnswering));
        }
        for id in std::mem::take(&mut self.version_waiters) {
            if let Some(client_index) = self.clients.index_of(id) {
                self.complete_version(client_index);
            }
        }
        true
    }

    /// Returns true if clients have sessions that need a version of the server which is being asked for.
    pub(in crate::engine) fn has_sessions_to_restore(&self) -> bool {
        self.restore.is_some() && self.upstream.is_awaiting_version() && self.clients.sessions() > 0
    }

    /// The other end of a link has no version for the sessions: their clients are closed.
    pub(in crate::engine) fn close_sessions(&mut self) {
        if self.restore.is_none() {
            return;
        }
        for client_index in self.clients.connected() {
            if self.clients.get(client_index).state == ClientState::Session {
                self.end_all_held(client_index, Some(LocalError::ServerGone));
                self.close_client(client_index);
            }
        }
        self.upstream.promised = None;
        self.discard_shared_attach();
        self.settle_outage();
    }

    /// The other end of a link cannot say now whether it has the version of the sessions.
    pub(in crate::engine) fn offer_later(&mut self) {
        self.upstream.postpone_version();
        let due = self.now.saturating_add(RETRY_DELAY);
        if let Some(restore) = &mut self.restore {
            restore.offer_at = Some(due);
        }
    }

    /// Offers the version of the sessions again if it is time to.
    fn expire_offer(&mut self) {
        let now = self.now;
        if !self.restore.as_mut().is_some_and(|restore| take_due(&mut restore.offer_at, now)) {
            return;
        }
        if let (UpstreamState::NoVersion, Some((dialect, _))) =
            (self.upstream.state(), self.upstream.promised)
        {
            self.send_version(dialect);
        }
    }

    /// A connection has been made on which no version is being asked for.
    pub(in crate::engine) fn await_lasting(&mut self) {
        let due = self.now.saturating_add(LASTING);
        if let Some(restore) = self.restore.as_mut().filter(|restore| !restore.is_settled) {
            restore.lasting_at = Some(due);
        }
    }

    /// Ends the outage if the connection has lasted without a client that has needed it.
    fn expire_lasting(&mut self) {
        let now = self.now;
        if !self.restore.as_mut().is_some_and(|restore| take_due(&mut restore.lasting_at, now)) {
            return;
        }
        if matches!(self.upstream.state(), UpstreamState::NoVersion) && self.clients.sessions() == 0
        {
            self.settle_outage();
        }
    }

    /// Handles the deadlines of an outage and of a replay.
    #[cold]
    pub(in crate::engine) fn expire_restore(&mut self) {
        if self.expire_patience() {
            for client_index in self.clients.connected() {
                self.process_without_server(client_index);
            }
        }
        self.expire_replay();
        self.expire_offer();
        self.expire_lasting();
    }

    /// Ends the outage: clients continue.
    pub(in crate::engine) fn settle_outage(&mut self) {
        let (now, is_replaying) = (self.now, self.upstream.is_replaying());
        if let Some(restore) = &mut self.restore {
            if !is_replaying {
                // A Tclunk overtakes messages until then.
                restore.named = NamedFids::default();
            }
            if !std::mem::replace(&mut restore.is_settled, true) {
                let after = now.saturating_sub(restore.since);
                restore.is_failing = false;
                if !self.upstream.is_replaying() {
                    // There was nothing to restore. A replay counts to its own end.
                    restore.replay.forget_gone();
                }
                restore.push_event(super::RestoreEvent::Back { after });
            }
        }
    }
}

/// Clears a time that has come. Returns true if it has.
fn take_due(time: &mut Option<Duration>, now: Duration) -> bool {
    time.take_if(|at| *at <= now).is_some()
}

/// Returns the fids that a request names.
fn names_of(message: &[u8], offsets: &FieldOffsets) -> impl Iterator<Item = u32> {
    offsets.fids().iter().map(|(offset, _)| u32_at(message, *offset as usize))
}
