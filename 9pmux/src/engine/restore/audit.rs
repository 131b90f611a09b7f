//! The invariants of sessions that are restored.
//!
//! 1. Nodes, their users, their names and their memory agree (`names.rs`, `budget.rs`). Only fids that exist have a place.
//! 2. A request of a client without its reply has a copy, of which the bytes are counted for the client.
//! 3. A held request is in the queue of its client, once, and is neither replied to nor being flushed. All its fids
//!    exist.
//! 4. A fid is busy exactly if a request of the replay for it is at the server. Such requests are 9pmux's own. The
//!    replay of a fid that is away has begun exactly if it has one step, which is at the server or waits.
//! 5. The fids that are wanted and not restored are counted; so are the fids that are away.
//! 6. While fids are away or requests held, the server is away or being asked for a version, or the replay lasts.

use std::collections::{BTreeMap, BTreeSet};

use super::replay::Task;
use crate::engine::Engine;
use crate::engine::fids::Owner;
use crate::engine::flush::FlushState;
use crate::engine::upstream::UpstreamState;

impl Engine {
    /// Returns true if the request with this upstream tag is one of the replay.
    pub(in crate::engine) fn is_replay_request(&self, tag: u16) -> bool {
        self.restore.as_ref().is_some_and(|r| r.replay.steps().contains_key(&tag))
    }

    /// Returns the memory of the records of sessions, as far as it is counted.
    #[cfg(test)]
    pub(in crate::engine) fn restore_memory(&self) -> usize {
        self.restore.as_ref().map_or(0, |restore| restore.names.budget.bytes())
    }

    /// Returns the memory of the copies of requests.
    #[cfg(test)]
    pub(in crate::engine) fn copies_memory(&self) -> usize {
        self.restore.as_ref().map_or(0, |restore| restore.copies.memory())
    }

    /// Checks the invariants of sessions that are restored.
    pub(in crate::engine) fn audit_restore(&mut self) {
        let Some(restore) = &self.restore else {
            assert_eq!(self.fids.away(), 0);
            return;
        };
        let offers_later = restore.offer_at.is_some();
        let mut users = restore.places.users();
        for root in restore.replay.roots.keys() {
            *users.entry(*root).or_default() += 1;
        }
        let mut made = restore.names.audit(&users);
        for (client, bytes) in restore.locks.costs() {
            *made.entry(client).or_default() += bytes;
        }
        let lens: BTreeMap<u16, usize> = restore.copies.lens().collect();
        let mut departed: BTreeMap<u32, usize> = BTreeMap::new();
        for (tag, request) in self.requests.iter() {
            if let (Owner::Cleanup(_), Some(len)) = (request.owner, lens.get(&tag)) {
                *departed.entry(request.user).or_default() += len;
            }
        }
        restore.names.budget.audit(&made, &departed);
        self.audit_held();
        self.audit_replay();
        self.audit_copies();
        let may_wait = matches!(
            self.upstream.state(),
            UpstreamState::Away | UpstreamState::Replaying | UpstreamState::AwaitingVersion { .. }
        ) || offers_later;
        let held = self.restore.as_ref().map_or(0, |restore| restore.held.len());
        assert!(may_wait || self.fids.away() + held == 0, "what was lost waits for ever");
    }

    fn audit_held(&mut self) {
        let Some(restore) = &self.restore else { return };
        let mut listed = BTreeSet::new();
        for (client_index, tags) in restore.held.all() {
            assert!(!tags.is_empty());
            for tag in tags {
                assert!(listed.insert(*tag), "tag {tag} is held twice");
                let request = self.requests.find(*tag).expect("a held request has its tag");
                assert_eq!(request.owner, Owner::Client(*client_index));
                assert!(!request.replied && request.flush == FlushState::None);
            }
        }
        assert_eq!(listed.len(), restore.held.len());
        for (tag, request) in self.requests.iter() {
            assert_eq!(request.is_held, listed.contains(&tag), "tag {tag} is held");
        }
    }

    fn audit_replay(&mut self) {
        let Some(restore) = &self.restore else { return };
        let mut busy = BTreeSet::new();
        for (tag, step) in restore.replay.steps() {
            let request = self.requests.find(*tag).expect("a step has its tag");
            assert_eq!(request.owner, Owner::Internal);
            if let Task::Walk(fid) | Task::Open(fid) | Task::Lock(fid, _) = step.task {
                assert!(busy.insert(fid), "fid {fid} has two requests of the replay");
            }
        }
        let mut steps: BTreeMap<u32, usize> = BTreeMap::new();
        for step in restore.replay.steps().values().chain(restore.replay.waiting_steps()) {
            if let Task::Walk(fid) | Task::Open(fid) | Task::Lock(fid, _) = step.task {
                *steps.entry(fid).or_default() += 1;
            }
        }
        let (mut away, mut wanted) = (0, 0);
        for fid in 0..self.fids.highest() as u32 {
            let place = restore.places.get(fid);
            assert_eq!(place.is_busy, busy.contains(&fid), "fid {fid} is busy");
            wanted += usize::from(place.is_wanted);
            if self.fids.is_allocated(fid) {
                away += usize::from(self.fids.get(fid).state.is_away());
                let is_away = self.fids.get(fid).state.is_away();
                let n = steps.get(&fid).copied().unwrap_or(0);
                assert!(!is_away || n == usize::from(place.is_begun), "fid {fid}: {n} steps");
                assert!(!place.is_wanted || is_away, "fid {fid} is wanted");
            } else {
                assert_eq!(place, super::places::Place::NONE, "fid {fid} is free");
            }
        }
        assert_eq!((away, wanted), (self.fids.away(), restore.replay.wanted_left()));
    }

    fn audit_copies(&mut self) {
        let Some(restore) = &self.restore else { return };
        let copies: BTreeMap<u16, usize> = restore.copies.lens().collect();
        let mut copied: BTreeMap<u32, usize> = BTreeMap::new();
        for tag in copies.keys() {
            assert!(self.requests.find(*tag).is_some(), "a copy of nothing is kept");
        }
        for (tag, request) in self.requests.iter() {
            if let (Owner::Client(client_index), false) = (request.owner, request.replied) {
                let n = copies.get(&tag).copied().unwrap_or(0);
                assert!(n > 0, "tag {tag} has no copy");
                *copied.entry(client_index).or_default() += n;
            }
        }
        for client_index in self.clients.connected() {
            let counted = self.clients.get(client_index).session.copied;
            assert_eq!(counted, copied.get(&client_index).copied().unwrap_or(0), "copied bytes");
        }
    }
}
