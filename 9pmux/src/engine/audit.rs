//! The invariants of the engine, checked after every event of the tests, the simulation and the fuzz
//! targets.
//!
//! Requests:
//!
//! 1. An upstream request of a client that has no reply yet is in the client's table of tags, under the
//!    client's tag. A request with its reply is the target of one of the client's flushes.
//! 2. A request keeps its tag after the reply only while it is being flushed.
//! 3. A request is the target of at most one upstream Tflush, and has one exactly if its flush is marked
//!    as sent. Exactly the flushes marked as due are deferred, each once, in the queue of its user.
//! 4. No upstream tag is NOTAG. A Tattach of 9pmux's own is that of the pending shared attach.
//! 5. The numbers of 9pmux's own Tclunk and of its Tflush in flight are the numbers of such requests.
//!
//! Fids:
//!
//! 6. A fid's count of references is the number of requests that mention it, and no request mentions a
//!    free fid.
//! 7. An allocated fid is bound, or a request mentions it, or it is among the deferred clunks, or lost.
//! 8. A deferred clunk is listed once, in the queue of its user, is of a live or uncertain fid, and no
//!    request mentions that fid.
//! 9. A bound fid is pending or live.
//! 10. A client's table of fids holds exactly the bound fids that it owns. A closing client owns none.
//!
//! Cleanups:
//!
//! 11. A cleanup counts exactly the requests and fids that it owns, and so does the total of all cleanups.
//!
//! Clients:
//!
//! 12. Only a client in a session has tags, fids or flushes. The number of sessions is counted.
//! 13. The reserved reply bytes are the sum of the maximum reply lengths of the client's requests in
//!     flight. Those of its reads exceed the limit only by one read, and by the length of reads that were
//!     reduced as far as they may be.
//! 14. A client has at most `max_inflight` requests in flight.
//! 15. A client is in the ready queue exactly if it is marked so, and is if it is blocked on upstream.
//! 16. A client that is not blocked has no complete message in its inbox. A client that is blocked on
//!     itself has a request or flush in flight, awaits its version or the shared attach, or has to drain
//!     its output.
//! 17. A client is in the list of waiters for the shared attach exactly if it is marked so.
//! 18. A client without output has no output buffer.
//! 19. A client counts exactly its reads in flight. Only a client in a session has waiting reads, and while
//!     it has, it has as many reads in flight as it may, or output to read, or is in the ready queue.
//! 20. The shared attach counts exactly the sessions that use it.
//!
//! Descriptors: `descriptors/audit.rs`.
//!
//! Versions:
//!
//! 21. A client waits for a version only while the server, the driver or what departed clients have left
//!     keeps it waiting. While the connection is settling or lost, no client has a session. After an event
//!     no connection is being left, and of a lost connection nothing is kept.
//!
//! Capacity:
//!
//! 22. The account of a user is the number of its clients, upstream requests and fids, and only users with
//!     some have a record. The first items of all clients are counted. A client that waits for a share of
//!     the tags is in the share queue, and has no share or has not been examined yet.
//! 23. A client is in the turn queue exactly if it is marked so, and is if it waits for its turn, or if its
//!     messages in this turn have cost as much as they may.
//! 24. Exactly the users with deferred flushes, or deferred clunks, have a turn, and one each.
//! 25. While a client waits in the ready queue, there is no capacity upstream. While a clunk is deferred, there is no
//!     tag for it, no room in the adaptive limit, its user has its share of the clunks, or it has not been examined yet.
//! 26. The memory of each client is counted, and perhaps some that it has just returned.
//! 27. The adaptive limit counts exactly the requests of its two periods, permits some, and there is a deadline
//!     while clients wait for it. At most one request of a user has passed it in these periods.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Engine;
use super::clients::{Blocked, ClientState, Firsts};
use super::descriptors::DescriptorUse;
use super::fids::{Fid, FidState, NO_FID, Owner};
use super::flush::FlushState;
use super::inflight_limit::SentMark;
use super::requests::UpstreamRequest;
use super::session::FidEntry;
use super::shared_attach::SharedAttach;
use super::shares::{FIDS, TAGS};
use super::upstream::UpstreamState;
use super::users::{Account, NO_USER};
use crate::wire::{DATA_HEADER, Frame, NOTAG, frame, types};

/// Sums over the requests and fids.
#[derive(Default)]
struct Totals {
    /// For each fid, the number of requests that mention it.
    references: BTreeMap<u32, u32>,
    /// For each cleanup, the number of its requests and fids.
    in_cleanup: BTreeMap<u32, usize>,
    /// For each client, the sum of the maximum reply lengths.
    reply_bytes: BTreeMap<u32, usize>,
    /// For each client, the number of its reads in flight, and the sum of their maximum reply lengths.
    reads: BTreeMap<u32, (usize, usize)>,
    /// The number of fids that clients have names for.
    bound_fids: usize,
}

impl Engine {
    /// Checks the invariants.
    ///
    /// # Panics
    /// An invariant does not hold.
    pub fn audit(&mut self) {
        let mut totals = Totals::default();
        self.audit_requests(&mut totals);
        self.audit_fids(&mut totals);
        self.audit_cleanups(&totals);
        self.audit_clients(&totals);
        self.audit_users();
        self.audit_versions();
        self.audit_descriptors();
        self.audit_restore();
        self.audit_adaptive();
        self.ready_queue.audit();
        assert!(
            self.ready_queue.is_empty() || !self.has_capacity(),
            "clients are in the ready queue, and there is capacity"
        );
        let may_send = self.requests.has_flush_tag()
            && self.requests.has_room()
            && self.upstream.deferred_clunks.items().any(|(user, _)| self.has_clunk_share(user));
        assert!(!may_send || self.may_send_clunks(false), "a deferred clunk waits for ever");
    }

    fn audit_adaptive(&self) {
        let limit = &self.requests.adaptive;
        let counted =
            self.requests.iter().filter(|(_, request)| limit.counts(request.sent)).count();
        assert_eq!(counted as u64, limit.counted(), "requests that count for the adaptive limit");
        limit.audit();
        assert!(self.next_deadline().is_some() || !self.waits_for_limit(), "no end of the wait");
    }

    fn audit_requests(&mut self, totals: &mut Totals) {
        let (mut flushed, mut internal_clunks) = (BTreeSet::new(), 0);
        let requests: Vec<_> = self.requests.iter().map(|(tag, r)| (tag, *r)).collect();
        assert_eq!(requests.len(), self.requests.len());
        for (tag, request) in &requests {
            assert_ne!(*tag, NOTAG);
            for fid in request.fids.into_iter().filter(|fid| *fid != NO_FID) {
                *totals.references.entry(fid).or_default() += 1;
            }
            match request.owner {
                Owner::Client(client_index) => {
                    self.audit_client_request(client_index, *tag, request, totals);
                }
                Owner::Cleanup(cleanup_index) => {
                    *totals.in_cleanup.entry(cleanup_index).or_default() += 1;
                }
                Owner::Internal if request.kind == types::TFLUSH => {
                    let target = request.flush_target;
                    assert!(flushed.insert(target), "{target} is flushed twice");
                }
                Owner::Internal if self.is_replay_request(*tag) => {}
                // The reply to a request of the replay has overtaken the Rflush.
                Owner::Internal if request.replied => {}
                Owner::Internal if request.kind == types::TATTACH => {
                    let SharedAttach::Pending { fid, .. } = self.upstream.shared_attach else {
                        panic!("a Tattach of nothing is upstream");
                    };
                    assert_eq!(fid, request.fids[0]);
                }
                Owner::Descriptor(_) => {}
                // It remains of a descriptor that has ended.
                Owner::Internal if request.descriptor_use == DescriptorUse::Moves => {}
                Owner::Internal => {
                    assert!(request.is_internal_clunk());
                    internal_clunks += 1;
                }
            }
            let is_flushed = request.flush != FlushState::None;
            assert!(!request.replied || is_flushed, "tag {tag} is kept for nothing");
        }
        let deferred: BTreeSet<(u32, u16)> = self.upstream.deferred_flushes.items().collect();
        assert_eq!(deferred.len(), self.upstream.deferred_flushes.items().count());
        self.upstream.deferred_flushes.audit();
        for (tag, request) in &requests {
            assert_eq!(request.flush == FlushState::Sent, flushed.contains(tag), "flush of {tag}");
            let is_deferred = deferred.contains(&(request.user, *tag));
            assert!(request.flush != FlushState::Due || is_deferred, "flush of {tag} is lost");
        }
        let due = requests.iter().filter(|(_, request)| request.flush == FlushState::Due).count();
        assert_eq!(due, deferred.len(), "a deferred flush is of no request, or not due");
        assert_eq!(internal_clunks, self.upstream.internal_clunks);
        let flushes = requests.iter().filter(|(_, request)| request.is_counted_flush()).count();
        assert_eq!(flushes, self.requests.flushes());
    }

    fn audit_client_request(
        &mut self,
        client_index: u32,
        tag: u16,
        request: &UpstreamRequest,
        totals: &mut Totals,
    ) {
        let session = &self.clients.get(client_index).session;
        if request.replied {
            assert!(session.flushes.iter().any(|f| f.flush_target == tag), "no flush of {tag}");
        } else {
            assert_eq!(session.tags.get(request.tag), Some(tag));
            *totals.reply_bytes.entry(client_index).or_default() += request.max_reply_len as usize;
            if request.kind == types::TREAD {
                let reads = totals.reads.entry(client_index).or_default();
                *reads = (reads.0 + 1, reads.1 + request.max_reply_len as usize);
            }
        }
    }

    fn audit_fids(&mut self, totals: &mut Totals) {
        let deferred: Vec<(u32, u32)> = self.upstream.deferred_clunks.items().collect();
        let is_of_user = |&(user, fid): &(u32, u32)| self.fids.get(fid).user == user;
        assert!(deferred.iter().all(is_of_user), "a deferred clunk is of another user");
        self.upstream.deferred_clunks.audit();
        let clunks: BTreeSet<u32> = deferred.iter().map(|item| item.1).collect();
        assert_eq!(clunks.len(), deferred.len(), "a deferred clunk is listed twice");
        let mut allocated = 0;
        for (number, record) in self.fids.records().to_vec().into_iter().enumerate() {
            let number = number as u32;
            let references = totals.references.remove(&number).unwrap_or(0);
            if !self.fids.is_allocated(number) {
                assert_eq!(references, 0, "a request mentions fid {number}, which is free");
                continue;
            }
            allocated += 1;
            assert_eq!(record.references, references, "references of fid {number}");
            let is_lost = record.state == FidState::Lost;
            let is_held = record.bound || references > 0 || clunks.contains(&number) || is_lost;
            assert!(is_held, "fid {number} is lost: {record:?}");
            let exists = matches!(record.state, FidState::Live | FidState::Uncertain);
            assert!(!clunks.contains(&number) || (references == 0 && exists));
            let is_usable = matches!(record.state, FidState::Pending | FidState::Live);
            assert!(!record.bound || is_usable || record.state.is_away());
            match record.owner {
                Owner::Client(client_index) if record.bound => {
                    totals.bound_fids += 1;
                    let session = &self.clients.get(client_index).session;
                    let entry = session.fids.get(&record.client_fid);
                    assert_eq!(entry, Some(&FidEntry::upstream(number)));
                }
                Owner::Client(client_index) => {
                    assert_ne!(self.clients.get(client_index).state, ClientState::Closing);
                }
                Owner::Cleanup(cleanup_index) => {
                    *totals.in_cleanup.entry(cleanup_index).or_default() += 1;
                }
                Owner::Internal | Owner::Descriptor(_) => {}
            }
        }
        assert!(totals.references.is_empty(), "a request mentions a fid that never was");
        assert_eq!(allocated, self.fids.len());
    }

    fn audit_versions(&self) {
        let waits = |id: &&super::ClientId| {
            let client = self.clients.get_if_connected(**id);
            client.is_some_and(|c| matches!(c.state, ClientState::AwaitingVersion { .. }))
        };
        assert!(self.further_versions.is_none());
        match self.upstream.state() {
            UpstreamState::Leaving(_) => panic!("a connection is left that should be lost"),
            UpstreamState::Lost(_) => {
                let (upstream, sessions) = (&self.upstream, self.clients.sessions());
                assert!(upstream.inbox.is_empty() && upstream.out.is_empty());
                assert_eq!((self.requests.len(), self.fids.len(), sessions), (0, 0, 0));
            }
            UpstreamState::Away => {
                let waiting = self.version_waiters.iter().any(|id| waits(&id));
                assert!(!waiting || self.wants_redial(), "the server is not asked for");
                assert!(self.upstream.inbox.is_empty() && self.upstream.out.is_empty());
                if self.restore.is_some() {
                    return;
                }
                assert_eq!((self.requests.len(), self.fids.len()), (0, 0));
            }
            UpstreamState::Absent => assert_eq!((self.requests.len(), self.fids.len()), (0, 0)),
            UpstreamState::Ready
            | UpstreamState::Replaying
            | UpstreamState::NoVersion
            | UpstreamState::Ended(_) => {
                assert_eq!(self.version_waiters.iter().filter(waits).count(), 0);
            }
            _ => assert!(self.clients.sessions() == 0 || self.upstream.promised.is_some()),
        }
    }

    fn audit_cleanups(&self, totals: &Totals) {
        let all: usize = totals.in_cleanup.values().sum();
        assert_eq!(all, self.cleanups.remaining());
        for (cleanup_index, counted) in self.cleanups.remaining_of().into_iter().enumerate() {
            let owned = totals.in_cleanup.get(&(cleanup_index as u32)).copied().unwrap_or(0);
            assert_eq!(counted, owned, "cleanup {cleanup_index}");
        }
        self.cleanups.audit();
    }

    fn audit_clients(&mut self, totals: &Totals) {
        let waiters = match &self.upstream.shared_attach {
            SharedAttach::Pending { waiters, .. } => waiters.clone(),
            _ => VecDeque::new(),
        };
        let users = match &self.upstream.shared_attach {
            SharedAttach::Live { users, .. } => *users,
            _ => 0,
        };
        let connected = self.clients.connected();
        let in_session = |c: &&u32| self.clients.get_state(**c) == ClientState::Session;
        assert_eq!(connected.iter().filter(in_session).count(), self.clients.sessions());
        let (mut fids, mut counted) = (0, 0);
        for client_index in self.clients.connected() {
            let is_this = |id: &&super::ClientId| self.clients.index_of(**id) == Some(client_index);
            let listed = waiters.iter().filter(is_this).count();
            let client = self.clients.get(client_index);
            assert_eq!(listed, usize::from(client.waits_for_attach), "waiters for the attach");
            fids += client.session.fids.values().filter(|entry| entry.live().is_some()).count();
            let (reads, bytes) = totals.reads.get(&client_index).copied().unwrap_or_default();
            assert_eq!(client.session.reads(), reads, "reads of client {client_index}");
            let reduced = (self.config.min_read_count + DATA_HEADER).max(256) as usize;
            assert!(
                bytes
                    <= self.config.max_reply_bytes
                        + client.session.msize as usize
                        + reads * reduced,
                "client {client_index} may receive too much"
            );
            counted += usize::from(client.session.uses_shared_attach);
            let reply_bytes = totals.reply_bytes.get(&client_index).copied().unwrap_or(0);
            self.audit_client(client_index, reply_bytes);
            self.audit_waiting_reads(client_index);
        }
        assert_eq!(fids, totals.bound_fids);
        assert_eq!(counted, users, "users of the shared attach");
    }

    fn audit_users(&mut self) {
        let (count, mut accounts) = self.users.accounts();
        let (mut tags, mut fids) = (0, 0);
        let holders = self.clients.len() + self.requests.len() + self.fids.len();
        assert!(count <= holders + self.descriptors.len());
        for (_, request) in self.requests.iter().filter(|(_, request)| request.user != NO_USER) {
            let account = &mut accounts[request.user as usize];
            account.tags -= 1;
            account.flushes -= usize::from(request.is_counted_flush());
            account.clunks -= usize::from(request.is_internal_clunk());
            account.departed_tags -= usize::from(matches!(request.owner, Owner::Cleanup(_)));
            if request.sent.has_passed() && account.passed == request.sent {
                account.passed = SentMark::NOT_COUNTED;
            } else {
                let has_passed = self.requests.adaptive.has_passed_recently(request.sent);
                assert!(!has_passed, "two requests of a user have passed the adaptive limit");
            }
        }
        for number in 0..self.fids.records().len() as u32 {
            let Fid { user, owner, .. } = self.fids.records()[number as usize];
            if self.fids.is_allocated(number) && user != NO_USER {
                let account = &mut accounts[user as usize];
                account.fids -= 1;
                account.departed_fids -= usize::from(matches!(owner, Owner::Cleanup(_)));
            }
        }
        for user in self.users_of_descriptors() {
            accounts[user as usize].descriptors -= 1;
        }
        for client_index in self.clients.connected() {
            let client = self.clients.get(client_index);
            accounts[client.user as usize].clients -= 1;
            accounts[client.user as usize].memory -= client.counted_memory;
            tags += client.tags().min(TAGS.first);
            fids += client.session.fids.len().min(FIDS.first);
            let id = self.clients.id(client_index);
            let listed = self.share_queue.clients.iter().filter(|other| **other == id).count();
            let client = self.clients.get(client_index);
            let is_closing = client.state == ClientState::Closing;
            assert!(is_closing || (listed > 0) == client.in_share_queue, "in the share queue");
            let (is_blocked, is_listed) = (client.blocked == Blocked::OnShare, listed > 0);
            assert!(!is_blocked || is_listed, "client {client_index} waits for a share for ever");
            assert!(
                !is_blocked
                    || self.has_unexamined_shares()
                    || !self.has_tag()
                    || !self.has_tag_share(client_index, self.free_tags(), false),
                "client {client_index} has a share and waits for it"
            );
        }
        let firsts = Firsts { tags: tags as u32, fids: fids as u32 };
        assert_eq!(self.clients.firsts(), firsts, "first items of clients");
        let empty = Account::default();
        assert!(accounts.iter().all(|account| *account == empty), "what users hold");
    }

    fn audit_waiting_reads(&mut self, client_index: u32) {
        let has_max_reads = self.has_max_reads(client_index);
        let is_replaying = self.upstream.is_replaying();
        let client = self.clients.get(client_index);
        assert!(client.state == ClientState::Session || client.waiting_reads.is_empty());
        assert!(
            client.waiting_reads.is_empty()
                || has_max_reads
                || client.session.cost() > 0
                || !client.out.is_empty()
                || client.in_ready_queue
                || client.in_share_queue
                || is_replaying,
            "reads of client {client_index} wait for nothing"
        );
    }

    fn audit_client(&mut self, client_index: u32, reply_bytes: usize) {
        let id = self.clients.id(client_index);
        let is_replaying = self.upstream.is_replaying();
        let listed = self.ready_queue.iter().filter(|other| *other == id).count();
        let client = self.clients.get(client_index);
        let session = &client.session;
        assert!(
            client.memory() <= client.counted_memory,
            "{} bytes of client {client_index}, {} are counted",
            client.memory(),
            client.counted_memory
        );
        assert_eq!(session.reply_bytes_reserved(), reply_bytes);
        assert!(client.state == ClientState::Session || session.is_empty());
        if client.state == ClientState::Closing {
            return;
        }
        assert_eq!(listed, usize::from(client.in_ready_queue), "client {client_index} is listed");
        let turns = self.turn_queue.iter().filter(|other| **other == id).count();
        assert_eq!(turns, usize::from(client.in_turn_queue), "turn of client {client_index}");
        assert!(
            client.in_turn_queue || client.blocked != Blocked::OnTurn,
            "client {client_index} waits for its turn for ever"
        );
        let has_used_turn =
            client.turn == self.turn && client.turn_cost >= self.config.max_turn_cost;
        assert!(client.in_turn_queue || !has_used_turn, "client {client_index} has another turn");
        assert!(
            client.in_ready_queue || client.blocked != Blocked::OnUpstream,
            "client {client_index} is blocked and not in the ready queue"
        );
        match client.blocked {
            Blocked::No if client.state == ClientState::Session => {
                let next = frame(client.inbox.as_slice(), session.msize);
                assert_eq!(next, Frame::Incomplete, "client {client_index} is not blocked");
            }
            Blocked::OnSelf => assert!(
                matches!(client.state, ClientState::AwaitingVersion { .. })
                    || !session.tags.is_empty()
                    || !session.flushes.is_empty()
                    || !client.waiting_reads.is_empty()
                    || client.waits_for_attach
                    || is_replaying
                    || client.descriptors.as_ref().is_some_and(|own| own.wanted.is_some())
                    || !client.out.is_empty(),
                "client {client_index} is blocked for ever"
            ),
            _ => {}
        }
        assert!(session.tags.len() <= self.config.max_inflight);
        assert!(
            !client.out.is_empty() || client.out.capacity() == 0,
            "an idle client has a buffer"
        );
    }
}
