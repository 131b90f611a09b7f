//! Cleanups: the requests and fids that a departed client, or an ended session, still has upstream. All
//! requests are flushed and all fids are clunked at once; the cleanup counts them until the last one
//! has been freed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fids::{NO_FID, Owner};
use super::session::{FidEntry, Session};
use super::{ClientId, Engine};

/// The remains of one session.
struct Cleanup {
    remaining: usize,
    /// The time at which the wait ends, and the client with a new session that waits for this cleanup.
    waiter: Option<(Duration, ClientId)>,
}

/// All cleanups that have not completed.
#[derive(Default)]
pub struct Cleanups {
    slots: Vec<Cleanup>,
    free_slots: Vec<u32>,
    /// The cleanups with a waiter, by the time at which the wait ends.
    by_deadline: BTreeSet<(Duration, u32)>,
    remaining: usize,
}

impl Cleanups {
    /// Returns the number of requests and fids of all cleanups.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    fn allocate(&mut self) -> u32 {
        let cleanup = Cleanup { remaining: 0, waiter: None };
        match self.free_slots.pop() {
            Some(cleanup_index) => {
                self.slots[cleanup_index as usize] = cleanup;
                cleanup_index
            }
            None => {
                self.slots.push(cleanup);
                self.slots.len() as u32 - 1
            }
        }
    }

    fn add_one(&mut self, cleanup_index: u32) {
        self.slots[cleanup_index as usize].remaining += 1;
        self.remaining += 1;
    }

    /// Makes a client wait for the cleanup until `deadline`.
    pub fn set_waiter(&mut self, cleanup_index: u32, client: ClientId, deadline: Duration) {
        self.slots[cleanup_index as usize].waiter = Some((deadline, client));
        self.by_deadline.insert((deadline, cleanup_index));
    }

    /// Removes and returns the client that waits for the cleanup.
    fn take_waiter(&mut self, cleanup_index: u32) -> Option<ClientId> {
        let (deadline, client) = self.slots[cleanup_index as usize].waiter.take()?;
        self.by_deadline.remove(&(deadline, cleanup_index));
        Some(client)
    }

    /// Returns the earliest time at which a wait ends.
    pub fn deadline(&self) -> Option<Duration> {
        self.by_deadline.first().map(|waiting| waiting.0)
    }

    pub fn clear(&mut self) {
        *self = Cleanups::default();
    }

    /// Clears all, and returns the clients that waited.
    pub fn take_waiters(&mut self) -> Vec<Option<ClientId>> {
        let waits = |waiting: &(Duration, u32)| Some(self.slots[waiting.1 as usize].waiter?.1);
        let waiters = self.by_deadline.iter().map(waits).collect();
        self.clear();
        waiters
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn remaining_of(&self) -> Vec<usize> {
        self.slots.iter().map(|cleanup| cleanup.remaining).collect()
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn audit(&self) {
        let key = |cleanup_index: u32| {
            self.slots[cleanup_index as usize].waiter.map(|waits| (waits.0, cleanup_index))
        };
        assert!(self.by_deadline.iter().all(|waiting| key(waiting.1) == Some(*waiting)));
        let waiting = self.slots.iter().filter(|cleanup| cleanup.waiter.is_some());
        assert_eq!(waiting.count(), self.by_deadline.len());
        for cleanup_index in &self.free_slots {
            assert!(
                self.slots[*cleanup_index as usize].remaining == 0 && key(*cleanup_index).is_none()
            );
        }
    }
}

impl Engine {
    /// Ends a client's session and begins its cleanup; see [`clean_up_session`](Engine::clean_up_session).
    pub(super) fn begin_cleanup(&mut self, client_index: u32) -> Option<u32> {
        self.drop_held(client_index);
        let client = self.clients.get(client_index);
        let session = client.session.take();
        // A client that leaves requests upstream counts as new, or each of its sessions could leave one.
        client.served &= session.tags.is_empty() && session.flushes.is_empty();
        self.clients.count_firsts(client_index);
        self.clean_up_session(session)
    }

    /// Flushes the requests and clunks the fids of a session that was taken from its client. Returns the
    /// index of the cleanup, or `None` if the session has nothing upstream.
    pub(super) fn clean_up_session(&mut self, session: Session) -> Option<u32> {
        if session.uses_shared_attach {
            self.leave_shared_attach();
        }
        for opening in &session.openings {
            self.abandon_opening(opening);
        }
        if !session.has_anything_upstream() {
            return None;
        }
        let cleanup_index = self.cleanups.allocate();
        for fid in session.fids.values().filter_map(|entry| entry.live()) {
            self.transfer_to_cleanup(cleanup_index, fid);
        }
        // A request that has its reply and awaits an Rflush is no longer among the client's tags.
        let flush_targets = session.flushes.iter().map(|f| f.flush_target);
        for upstream_tag in session.tags.upstream_tags().chain(flush_targets) {
            let request = self.requests.get(upstream_tag);
            if request.owner == Owner::Cleanup(cleanup_index) {
                continue;
            }
            request.owner = Owner::Cleanup(cleanup_index);
            let mentioned = request.fids;
            self.users.change(request.user, |account| account.departed_tags += 1);
            self.cleanups.add_one(cleanup_index);
            self.drop_departed_copy(upstream_tag);
            for fid in mentioned.into_iter().filter(|fid| *fid != NO_FID) {
                self.transfer_to_cleanup(cleanup_index, fid);
            }
            self.flush_request(upstream_tag);
        }
        for fid in session.fids.into_values().filter_map(FidEntry::live) {
            self.release_if_unused(fid);
        }
        // Fids that a lost server had are freed at once.
        (self.cleanups.slots[cleanup_index as usize].remaining > 0).then_some(cleanup_index)
    }

    fn transfer_to_cleanup(&mut self, cleanup_index: u32, fid: u32) {
        if self.fids.transfer(fid, cleanup_index) {
            let user = self.fids.get(fid).user;
            self.users.change(user, |account| account.departed_fids += 1);
            self.cleanups.add_one(cleanup_index);
        }
    }

    /// A request or fid of the cleanup has been freed. The cleanup has completed with the last one.
    pub(super) fn cleanup_progress(&mut self, cleanup_index: u32) {
        self.cleanups.remaining -= 1;
        let cleanup = &mut self.cleanups.slots[cleanup_index as usize];
        cleanup.remaining -= 1;
        if cleanup.remaining == 0 {
            let client = self.cleanups.take_waiter(cleanup_index);
            self.cleanups.free_slots.push(cleanup_index);
            self.resume_version_waiter(client);
        }
    }

    /// Resumes the clients with an expired wait.
    pub(super) fn expire_cleanups(&mut self) {
        while let Some(&(deadline, cleanup_index)) = self.cleanups.by_deadline.first() {
            if deadline > self.now {
                return;
            }
            let client = self.cleanups.take_waiter(cleanup_index);
            self.resume_version_waiter(client);
        }
    }

    pub(super) fn resume_version_waiter(&mut self, client: Option<ClientId>) {
        if let Some(client_index) = client.and_then(|id| self.clients.index_of(id)) {
            self.complete_version(client_index);
        }
    }
}
