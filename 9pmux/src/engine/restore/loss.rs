//! The loss of the connection.
//!
//! Everything that was upstream ends here, in one pass over the requests and one over the fids, in which no
//! message of a client is processed:
//!
//! | request | effect |
//! |---|---|
//! | of a departed client, of a descriptor, of 9pmux itself | it ends |
//! | being flushed | Rflush; without a reply before, it never happened |
//! | not wholly written, or permitted to be repeated (`repeat.rs`) | it is held |
//! | Tclunk of a fid that no held request names | Rclunk |
//! | any other | an error |
//!
//! | fid | effect |
//! |---|---|
//! | of a client, and it can be restored | it is away |
//! | of a client, and it cannot | it is dead, and held requests that name it get its error |
//! | that is being created by a held request | none |
//! | of the shared attach | it is away |
//! | any other | it is freed |

use std::collections::BTreeSet;

use super::LostLocks;
use super::places::{AUTH, AUTHENTICATED, XATTR_WRITE};
use super::repeat::Fate;
use crate::engine::clients::ClientState;
use crate::engine::fids::{FidState, NO_FID, Owner};
use crate::engine::flush::FlushState;
use crate::engine::local_error::LocalError;
use crate::engine::requests::UpstreamRequest;
use crate::engine::session::{DeadFid, DeadReason, FidEntry};
use crate::engine::shared_attach::SharedAttach;
use crate::engine::upstream::UpstreamState;
use crate::engine::{EndReason, Engine};
use crate::wire::{HEADER, Offer, types};

impl Engine {
    /// The connection is lost, and clients wait for the next one. Must only be called when no event is being
    /// handled.
    pub(in crate::engine) fn begin_outage(&mut self, reason: EndReason) {
        self.lost_server = Some(self.explain_end(reason));
        self.forget_attach_waiters();
        self.end_descriptors();
        self.postpone_lost_offer();
        let written = self.upstream.written;
        self.upstream.lose_for_now();
        let cleaned = self.cleanups.take_waiters();
        let now = self.now;
        if let Some(restore) = &mut self.restore {
            if std::mem::replace(&mut restore.is_settled, false) {
                restore.since = now;
            }
            (restore.offer_at, restore.lasting_at) = (None, None);
            restore.replay.stop(&mut restore.names);
            restore.places.clear_marks();
        }
        self.note_loss();
        self.lose_requests(written);
        self.renew_limit();
        self.lose_fids();
        if let Some(restore) = &mut self.restore {
            restore.names.forget_writes();
        }
        self.fail_held_if_late();
        for client in cleaned {
            self.resume_version_waiter(client);
        }
        self.complete_versions(None);
        self.expire_patience();
        for client_index in self.clients.connected() {
            // A Tclunk may overtake messages from now on, and must know which fids they name.
            self.clients.get(client_index).scanned = 0;
            self.process_without_server(client_index);
        }
    }

    /// The offer at the server is made again after those of the other clients that wait for a version: the server may
    /// have hung up because of it.
    fn postpone_lost_offer(&mut self) {
        let UpstreamState::AwaitingVersion { offer: lost, .. } = *self.upstream.state() else {
            return;
        };
        let waiters = std::mem::take(&mut self.version_waiters).into_iter();
        let (later, first): (Vec<_>, Vec<_>) = waiters.partition(|id| {
            let client = self.clients.get_if_connected(*id);
            client.is_some_and(|client| {
                matches!(client.state, ClientState::AwaitingVersion { offer, .. }
                    if offer == Offer::Dialect(lost))
            })
        });
        self.version_waiters = first.into_iter().chain(later).collect();
    }

    /// Records what the loss means for the next requests of the fids that were at the server. A request in flight may
    /// get the error.
    fn note_loss(&mut self) {
        let dialect = self.upstream.dialect;
        for fid in 0..self.fids.highest() as u32 {
            let is_there =
                self.fids.is_allocated(fid) && self.fids.get(fid).state == FidState::Live;
            if let Some(restore) = self.restore.as_mut().filter(|_| is_there) {
                restore.note_loss(dialect, fid);
            }
        }
    }

    /// If requests do not wait any more, neither do held ones.
    fn fail_held_if_late(&mut self) {
        let Some(restore) = self.restore.as_ref().filter(|restore| restore.is_failing) else {
            return;
        };
        for client_index in restore.held.clients() {
            self.end_all_held(client_index, Some(LocalError::NotAnswering));
        }
    }

    fn lose_requests(&mut self, written: u64) {
        let Some(restore) = &mut self.restore else {
            return;
        };
        let held_before = restore.held.take_all();
        let mut sent: Vec<(u64, u16)> = Vec::new();
        for tag in self.requests.tags() {
            if !self.requests.get(tag).is_held {
                sent.push((restore.copies.ends_at(tag), tag));
            }
        }
        sent.sort_unstable();
        let is_executed = |ends_at: u64| ends_at <= written;
        let mut removed = BTreeSet::new();
        for (ends_at, tag) in &sent {
            let request = self.requests.get(*tag);
            if request.kind == types::TREMOVE && is_executed(*ends_at) {
                removed.insert(request.releases);
            }
        }
        for (ends_at, tag) in sent {
            self.lose_request(tag, is_executed(ends_at), &removed);
        }
        for client_index in self.clients.connected() {
            let session = &mut self.clients.get(client_index).session;
            session.openings.clear();
            for flushing in std::mem::take(&mut session.flushes) {
                self.push_rflush(client_index, flushing.tag);
            }
            self.clients.count_firsts(client_index);
        }
        for (client_index, tags) in held_before {
            for tag in tags {
                if let Some(restore) = &mut self.restore {
                    restore.held.push(client_index, tag);
                }
            }
        }
    }

    /// A request that was sent has no reply. `removed` are the fids that may have been removed with their files.
    fn lose_request(&mut self, tag: u16, may_be_executed: bool, removed: &BTreeSet<u32>) {
        let request = *self.requests.get(tag);
        if request.is_counted_flush() {
            self.count_flush(request.user, false);
        }
        if request.is_internal_clunk() {
            // The number of all of them is kept with the upstream, which has been renewed.
            self.users.change(request.user, |account| account.clunks -= 1);
        }
        let Owner::Client(client_index) = request.owner else {
            return self.discard_request(tag, &request);
        };
        if request.replied || request.flush != FlushState::None {
            return self.forget_request(tag, &request);
        }
        match self.fate_of(tag, &request, may_be_executed, removed) {
            Fate::Again => self.hold_request(client_index, tag),
            Fate::Done if self.is_named_by_held(client_index, request.fids[0]) => {
                self.hold_request(client_index, tag);
            }
            Fate::Done => {
                self.discard_request(tag, &request);
                self.push_reply(client_index, types::TCLUNK + 1, request.tag, &mut [0; HEADER]);
            }
            Fate::Fail(why) => {
                if request.creates != NO_FID {
                    self.mark_not_created(request.creates);
                }
                self.discard_request(tag, &request);
                self.push_error(client_index, request.tag, why);
            }
        }
    }

    fn fate_of(
        &mut self,
        tag: u16,
        request: &UpstreamRequest,
        may_be_executed: bool,
        removed: &BTreeSet<u32>,
    ) -> Fate {
        let dialect = self.upstream.dialect;
        let Some(restore) = &mut self.restore else {
            return Fate::Fail(LocalError::ServerGone);
        };
        let [fid, _] = request.fids;
        if request.opens_descriptor() {
            return Fate::Fail(LocalError::MaybeDone);
        }
        let is_removed = request.fids.iter().any(|fid| removed.contains(fid));
        let fate = match may_be_executed || is_removed {
            true if is_removed && request.kind != types::TREMOVE => {
                Fate::Fail(LocalError::MaybeDone)
            }
            true => restore.fate(dialect, request, restore.copies.get(tag)),
            false if request.kind == types::TCLUNK => {
                restore.fate(dialect, request, restore.copies.get(tag))
            }
            false => Fate::Again,
        };
        if fate != Fate::Again || request.releases != NO_FID {
            return fate;
        }
        let copy = restore.copies.take(tag);
        let why = restore.check_after_loss(dialect, fid, &copy.bytes);
        let (ends_at, serial) = (copy.ends_at, copy.serial);
        restore.copies.put_back(tag, copy, ends_at, serial);
        why.map_or(fate, Fate::Fail)
    }

    /// The client has taken a request back, or has its reply and waits for an Rflush.
    fn forget_request(&mut self, tag: u16, request: &UpstreamRequest) {
        if !request.replied {
            if request.creates != NO_FID {
                self.mark_not_created(request.creates);
            }
            if request.releases != NO_FID {
                self.restore(request.releases);
            }
        }
        self.discard_request(tag, request);
    }

    fn is_named_by_held(&mut self, client_index: u32, fid: u32) -> bool {
        let held = self.restore.as_ref().map_or_else(Vec::new, |r| r.held.of(client_index));
        held.into_iter().any(|tag| self.requests.get(tag).fids.contains(&fid))
    }

    fn lose_fids(&mut self) {
        let shared = match &self.upstream.shared_attach {
            SharedAttach::Live { fid, .. } => *fid,
            _ => NO_FID,
        };
        for fid in 0..self.fids.highest() as u32 {
            if !self.fids.is_allocated(fid) {
                continue;
            }
            let record = *self.fids.get(fid);
            let is_needed = record.bound || record.references > 0;
            if let Some(restore) = &mut self.restore {
                // The replay has ended.
                restore.places.get_mut(fid).is_wanted = false;
            }
            match (record.owner, record.state) {
                (Owner::Client(_), FidState::Pending) if record.references > 0 => {}
                (
                    Owner::Client(client_index),
                    FidState::Live | FidState::Away | FidState::Restoring,
                ) if is_needed => {
                    self.lose_fid(client_index, fid);
                }
                _ if fid == shared => self.fids.mark_away(fid),
                _ => self.discard_fid(fid),
            }
        }
    }

    /// A fid of a client is away, or dead if it cannot be restored.
    fn lose_fid(&mut self, client_index: u32, fid: u32) {
        self.fids.mark_away(fid);
        let Some(restore) = &mut self.restore else {
            return;
        };
        let place = restore.places.get(fid);
        let fails = restore.options.lost_locks == LostLocks::Fail;
        let loses_locks = restore.locks.of(fid).is_some_and(|l| fails || l.are_too_many);
        let reason = match place.node {
            AUTH | AUTHENTICATED => DeadReason::Authenticated,
            XATTR_WRITE => DeadReason::Unfinished,
            _ if loses_locks => DeadReason::LockLost,
            _ if place.node().is_none() => DeadReason::Gone,
            _ => return,
        };
        self.kill_fid(client_index, fid, reason);
    }

    /// A fid of a client cannot be restored. If the server has it, it is clunked.
    pub(super) fn kill_fid(&mut self, client_index: u32, fid: u32, reason: DeadReason) {
        let record = *self.fids.get(fid);
        // It must not be freed before the end of this function.
        self.fids.add_reference(fid);
        let dead = DeadFid { was_open: record.opened, reason };
        if record.bound {
            let session = &mut self.clients.get(client_index).session;
            session.fids.insert(record.client_fid, FidEntry::dead(dead));
            session.dead_fids += 1;
        }
        self.fids.mark_dead(fid);
        if let Some(restore) = &mut self.restore {
            restore.replay.count_gone();
            restore.unwant(fid);
            restore.held.wake(client_index);
        }
        self.fail_held_of(client_index, fid, dead);
        self.fids.drop_reference(fid);
        self.release_if_unused(fid);
    }

    /// The attach that clients share is not made again: there is no session for which fids are restored.
    pub(in crate::engine) fn discard_shared_attach(&mut self) {
        let Some(fid) = self.shared_attach_fid().filter(|fid| self.fids.get(*fid).state.is_away())
        else {
            return;
        };
        self.upstream.shared_attach = SharedAttach::Unattached;
        self.discard_fid(fid);
    }

    /// Frees a fid that was at the lost server, with what is counted for it.
    fn discard_fid(&mut self, fid: u32) {
        let record = *self.fids.get(fid);
        if let Owner::Cleanup(_) = record.owner {
            self.users.change(record.user, |account| account.departed_fids -= 1);
        }
        self.fids.discard(fid);
        self.release_if_unused(fid);
    }
}
