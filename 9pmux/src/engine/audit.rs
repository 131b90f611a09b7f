//! That the tables agree with one another: for tests, after every event.

use std::collections::{BTreeMap, BTreeSet};

use super::Engine;
use super::clients::{Blocked, ClientState};
use super::fids::{FidState, NO_FID, Owner};
use super::requests::FlushState;
use super::shared_attach::SharedAttach;
use crate::wire::{Frame, NOTAG, frame, types};

impl Engine {
    /// Panics if something is in two hands, or in none.
    pub fn audit(&mut self) {
        let mut users: BTreeMap<u32, u32> = BTreeMap::new();
        let mut left: BTreeMap<u32, usize> = BTreeMap::new();
        let mut flushed = BTreeSet::new();
        let mut rooms: BTreeMap<u32, usize> = BTreeMap::new();
        let mut clunking = 0;
        let requests: Vec<_> = self.requests.iter().map(|(tag, r)| (tag, *r)).collect();
        assert_eq!(requests.len(), self.requests.len());
        for (tag, request) in &requests {
            assert_ne!(*tag, NOTAG);
            for fid in request.fids.into_iter().filter(|fid| *fid != NO_FID) {
                *users.entry(fid).or_default() += 1;
            }
            match request.owner {
                Owner::Client(client_index) if !request.replied => {
                    assert_eq!(
                        self.clients.get(client_index).session.tags.get(&request.tag),
                        Some(tag)
                    );
                    *rooms.entry(client_index).or_default() += request.max_reply_len as usize;
                }
                Owner::Client(client_index) => {
                    assert!(
                        self.clients
                            .get(client_index)
                            .session
                            .flushes
                            .iter()
                            .any(|f| f.flush_target == *tag)
                    );
                }
                Owner::Cleanup(cleanup_index) => *left.entry(cleanup_index).or_default() += 1,
                Owner::Internal if request.kind == types::TFLUSH => {
                    assert!(
                        flushed.insert(request.flush_target),
                        "{} is flushed twice",
                        request.flush_target
                    );
                }
                Owner::Internal if request.kind == types::TATTACH => {
                    let fid = request.fids[0];
                    assert!(
                        matches!(&self.upstream.shared_attach, SharedAttach::Pending { fid: root, .. } if *root == fid)
                    );
                }
                Owner::Internal => clunking += 1,
            }
            assert!(
                !request.replied || request.flush != FlushState::None,
                "{tag} is kept for nothing"
            );
        }
        for (tag, request) in &requests {
            assert_eq!(request.flush == FlushState::Sent, flushed.contains(tag), "flush of {tag}");
            assert!(
                request.flush != FlushState::Due || self.upstream.deferred_flushes.contains(tag)
            );
        }
        assert_eq!(clunking, self.upstream.internal_clunks);

        let clunks: BTreeSet<u32> = self.upstream.deferred_clunks.iter().copied().collect();
        assert_eq!(
            clunks.len(),
            self.upstream.deferred_clunks.len(),
            "a fid is to be clunked twice"
        );
        let mut names = 0;
        let mut taken = 0;
        for (number, record) in self.fids.records().to_vec().into_iter().enumerate() {
            let number = number as u32;
            let used = users.remove(&number).unwrap_or(0);
            if !self.fids.is_allocated(number) {
                assert_eq!(used, 0, "a request mentions fid {number}, which is free");
                continue;
            }
            taken += 1;
            assert_eq!(record.references, used, "users of fid {number}");
            assert!(
                record.bound || used > 0 || clunks.contains(&number),
                "fid {number} is lost: {record:?}"
            );
            let clunked = used == 0 && matches!(record.state, FidState::Live | FidState::Uncertain);
            assert!(!clunks.contains(&number) || clunked);
            assert!(
                !record.bound
                    || record.state == FidState::Pending
                    || record.state == FidState::Live
            );
            match record.owner {
                Owner::Client(client_index) if record.bound => {
                    names += 1;
                    assert_eq!(
                        self.clients.get(client_index).session.fids.get(&record.client_fid),
                        Some(&number)
                    );
                }
                Owner::Client(client_index) => {
                    assert_ne!(self.clients.get(client_index).state, ClientState::Closing)
                }
                Owner::Cleanup(cleanup_index) => *left.entry(cleanup_index).or_default() += 1,
                Owner::Internal => {}
            }
        }
        assert!(users.is_empty());
        assert_eq!(taken, self.fids.len());

        let all: usize = left.values().sum();
        assert_eq!(all, self.cleanups.remaining());
        for (cleanup_index, counted) in self.cleanups.remaining_of().into_iter().enumerate() {
            assert_eq!(
                counted,
                left.get(&(cleanup_index as u32)).copied().unwrap_or(0),
                "cleanup {cleanup_index}"
            );
        }
        self.cleanups.audit();

        let waiting = match &self.upstream.shared_attach {
            SharedAttach::Pending { waiters, .. } => waiters.clone(),
            _ => Vec::new(),
        };
        for client_index in self.clients.connected() {
            let listed = waiting
                .iter()
                .filter(|id| self.clients.index_of(**id) == Some(client_index))
                .count();
            assert_eq!(
                listed,
                usize::from(self.clients.get(client_index).waits_for_attach),
                "who waits for the root"
            );
            names -= self.clients.get(client_index).session.fids.len();
            self.audit_client(client_index, rooms.get(&client_index).copied().unwrap_or(0));
        }
        assert_eq!(names, 0);
        assert!(
            self.ready_queue.is_empty() || !self.output_has_room() || !self.has_tag(),
            "clients wait for their turn, and there is room"
        );
    }

    fn audit_client(&mut self, client_index: u32, reply_bytes_reserved: usize) {
        let id = self.clients.id(client_index);
        let in_ready_queue = self.ready_queue.iter().filter(|other| **other == id).count();
        let max = self.config.max_reply_bytes;
        let client = self.clients.get(client_index);
        assert_eq!(client.session.reply_bytes_reserved, reply_bytes_reserved);
        if client.state != ClientState::Session {
            assert!(
                client.session.tags.is_empty()
                    && client.session.fids.is_empty()
                    && client.session.flushes.is_empty()
            );
        }
        if client.state == ClientState::Closing {
            return;
        }
        assert_eq!(
            in_ready_queue,
            usize::from(client.in_ready_queue),
            "client {client_index} in the ring"
        );
        assert!(
            client.in_ready_queue || client.blocked != Blocked::OnUpstream,
            "client {client_index} has no turn"
        );
        match client.blocked {
            Blocked::No if client.state == ClientState::Session => {
                let next = frame(client.inbox.as_slice(), client.session.msize);
                assert_eq!(next, Frame::Incomplete, "client {client_index} waits for nothing");
            }
            Blocked::OnSelf => assert!(
                matches!(client.state, ClientState::AwaitingVersion { .. })
                    || !client.session.tags.is_empty()
                    || !client.session.flushes.is_empty()
                    || client.waits_for_attach
                    || client.out.len() >= max,
                "client {client_index} waits for ever"
            ),
            _ => {}
        }
        assert!(client.session.tags.len() <= self.config.max_inflight);
        assert!(
            client.session.reply_bytes_reserved <= max || client.session.tags.len() <= 1,
            "client {client_index} may get too much"
        );
        assert!(
            !client.out.is_empty() || client.out.capacity() == 0,
            "an idle client has a buffer"
        );
    }
}
