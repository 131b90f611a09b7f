//! The service of the ready queue (`ready_queue.rs`): clients that wait for capacity upstream, a few messages each.
//! Capacity is space in the server's output, a tag, room in the window if there is one, and room in the adaptive
//! limit if there is one. Also here: 9pmux's own requests, which are sent as soon as there are tags.

use std::time::Duration;

use mux::tags::NoTag;

use super::Engine;
use super::clients::Blocked;
use super::fids::{FidState, Owner};
use super::inbox::Progress;
use super::inflight_limit::SentMark;
use super::requests::UpstreamRequest;
use super::shares::MAX_EXAMINED;
use crate::wire::{self, HEADER, types};

/// The maximum messages and bytes of one turn. The replies to them arrive together and are written to
/// the client by one call; with one message a turn, ten thousand waiting clients would cost one call
/// each.
const MAX_TURN_MESSAGES: usize = 16;
const MAX_TURN_BYTES: usize = 4096;

/// While clients wait for the adaptive limit, a deferred clunk has one of so many turns.
const CLUNK_TURNS: u32 = 4;

impl Engine {
    /// Returns true if the server's output has space for a client's request.
    #[inline]
    pub(super) fn output_has_room(&self) -> bool {
        self.upstream.can_send() && self.upstream.out.len() < self.config.max_server_bytes
    }

    /// Returns the number of free tags for clients' requests.
    #[inline]
    pub(super) fn free_tags(&self) -> usize {
        self.requests.free_tags(self.upstream.internal_clunks)
    }

    /// Returns true if there is a tag for a client's request.
    #[inline]
    pub(super) fn has_tag(&self) -> bool {
        self.free_tags() > 0
    }

    /// Returns true if there is capacity upstream, as far as it does not depend on the request.
    #[inline]
    pub(super) fn has_capacity(&self) -> bool {
        self.output_has_room()
            && self.has_tag()
            && self.window_blocked.is_none()
            && self.requests.has_room()
    }

    /// Returns true if a message of a client that does not have the turn may be forwarded although others wait
    /// for the adaptive limit: if the client has nothing at the server and nothing that waits, and no other request
    /// of its user has just passed in this way.
    #[inline]
    pub(super) fn passes_limit(&mut self, client_index: u32, has_turn: bool) -> bool {
        if has_turn || self.requests.has_room() || self.ready_queue.has_first() {
            return false;
        }
        let client = self.clients.get(client_index);
        let is_light =
            client.tags() == 0 && !client.in_ready_queue && client.waiting_reads.is_empty();
        let passed = self.users.get(client.user).passed;
        is_light && !self.requests.adaptive.has_passed_recently(passed)
    }

    /// Lets the light clients that wait pass for each user of which a request that had passed has ended.
    #[cold]
    fn hand_passes_on(&mut self) {
        while let Some(user) = self.passes_ended.pop() {
            if self.requests.has_room() || !self.output_has_room() || !self.has_tag() {
                continue;
            }
            while let Some(id) = self.ready_queue.pop_light_of(user) {
                let Some(client_index) = self.clients.index_of(id) else { continue };
                let client = self.clients.get(client_index);
                client.in_ready_queue = false;
                if client.blocked == Blocked::OnUpstream {
                    client.blocked = Blocked::No;
                    self.process_inbox(client_index);
                } else if !client.waiting_reads.is_empty() {
                    self.enqueue_ready(client_index);
                } else {
                    continue;
                }
                break;
            }
        }
    }

    /// Counts a client's request of this user, which is about to be sent. If there is no room for it, it passes.
    #[inline]
    pub(super) fn count_sent(&mut self, user: u32) -> SentMark {
        if self.requests.has_room() {
            return self.requests.count_sent();
        }
        let mark = self.requests.adaptive.passing_mark();
        self.users.change(user, |account| account.passed = mark);
        mark
    }

    /// The connection was lost: the adaptive limit begins anew, and no request counts for it or has passed.
    pub(super) fn renew_limit(&mut self) {
        self.requests.renew_limit();
        self.users.forget_passed();
    }

    /// Returns true if clients, descriptors or deferred clunks wait for the adaptive limit.
    pub(super) fn waits_for_limit(&self) -> bool {
        let is_waiting = !self.ready_queue.is_empty()
            || self.has_waiting_descriptor()
            || self.upstream.deferred_clunks.has_turn();
        is_waiting && !self.requests.has_room()
    }

    /// Reports the time to the adaptive limit.
    pub(super) fn tick_adaptive(&mut self) {
        let is_waiting = self.waits_for_limit();
        self.requests.adaptive.tick(self.now, is_waiting);
    }

    /// Returns the time at which older requests no longer count, if clients wait for that.
    pub(super) fn adaptive_deadline(&self) -> Option<Duration> {
        self.waits_for_limit().then(|| self.requests.adaptive.period_end())
    }

    /// Sends deferred requests, processes the clients of the ready queue while there is capacity, and drops
    /// the connection to the server if it has become useless. Must be called after each event.
    #[inline]
    pub(super) fn run_ready(&mut self) {
        self.send_ready();
        if self.upstream.is_leaving() {
            self.lose_connection();
            // There is capacity now, and the queue may have clients that had sessions.
            self.send_ready();
        }
        self.note_upstream_state();
    }

    #[inline]
    fn send_ready(&mut self) {
        if !self.starved.is_empty() {
            self.drop_starved();
        }
        if self.has_drops() {
            self.run_drops();
        }
        if !self.upstream.deferred_flushes.is_empty() {
            self.send_deferred_flushes();
        }
        if self.share_queue.unexamined > 0 {
            self.examine_shares();
        }
        if self.upstream.is_settling() {
            self.settle();
        }
        self.window_blocked = None;
        if !self.passes_ended.is_empty() {
            self.hand_passes_on();
        }
        self.serve_ready();
        if self.upstream.is_replaying() {
            self.serve_and_replay();
        }
    }

    /// As for `send_ready`, with the fids that are being restored.
    #[cold]
    fn serve_and_replay(&mut self) {
        while self.upstream.is_replaying() {
            self.advance_replay();
            if !self.has_ready_client() && !self.has_ready_descriptor() {
                return;
            }
            self.serve_all();
        }
    }

    #[inline(never)]
    fn serve_all(&mut self) {
        self.serve_ready();
    }

    /// Serves clients and descriptors while there is capacity.
    #[inline(always)]
    fn serve_ready(&mut self) {
        while self.has_ready_client() || self.has_ready_descriptor() {
            if self.clunk_has_turn() {
                self.send_deferred_clunks(1, false);
                continue;
            }
            if self.descriptor_has_turn() {
                self.serve_descriptor();
                continue;
            }
            let next = self.ready_queue.pop().and_then(|id| self.clients.index_of(id));
            if let Some(client_index) = next {
                self.clients.get(client_index).in_ready_queue = false;
                let has_waiting_reads = !self.clients.get(client_index).waiting_reads.is_empty();
                self.send_waiting_reads(client_index, true);
                match self.clients.get(client_index).blocked {
                    Blocked::OnUpstream => self.run_client(client_index),
                    // It may wait behind a waiting read. The reads have had their turn: without one they
                    // would queue up behind the other clients again, which would do the same.
                    Blocked::OnSelf if has_waiting_reads => self.retry_inbox(client_index),
                    _ => {}
                }
            }
        }
        // Clunks may use what clients leave.
        if !self.upstream.deferred_clunks.is_empty() {
            self.send_deferred_clunks(usize::MAX, false);
        }
    }

    /// Returns true if a deferred clunk is to be sent before the next client is served, because the adaptive limit
    /// leaves it nothing behind the clients.
    #[inline]
    fn clunk_has_turn(&mut self) -> bool {
        if self.upstream.deferred_clunks.is_empty() || !self.config.adapts {
            return false;
        }
        self.turns_since_clunk += 1;
        let has_turn = self.turns_since_clunk >= CLUNK_TURNS && self.may_send_clunks(false);
        if has_turn {
            self.turns_since_clunk = 0;
        }
        has_turn
    }

    /// Returns true if a client waits for capacity upstream, and there is some.
    #[inline]
    pub(super) fn has_ready_client(&self) -> bool {
        !self.ready_queue.is_empty() && self.has_capacity()
    }

    fn run_client(&mut self, client_index: u32) {
        let (mut messages, mut bytes) = (0, 0);
        loop {
            match self.process_first_message(client_index) {
                Progress::Consumed(n) => {
                    self.clients.get(client_index).blocked = Blocked::No;
                    messages += 1;
                    bytes += n;
                    let more = messages < MAX_TURN_MESSAGES && bytes < MAX_TURN_BYTES;
                    if more && self.has_capacity() {
                        continue;
                    }
                    // Messages that need no capacity are processed at once. The next message that needs it may
                    // also be processed, if no other client waits.
                    self.process_inbox(client_index);
                }
                Progress::Blocked(blocked) => self.block(client_index, blocked),
                Progress::Incomplete | Progress::Closed => {
                    self.clients.get(client_index).blocked = Blocked::No;
                    self.mark_dirty(client_index);
                }
            }
            return;
        }
    }

    /// Must be called when the reason for which a client is blocked may have ceased.
    #[inline(always)]
    pub(super) fn unblock(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        if client.blocked != Blocked::No || !client.waiting_reads.is_empty() {
            self.retry_blocked(client_index);
        }
    }

    pub(super) fn retry_blocked(&mut self, client_index: u32) {
        self.send_waiting_reads(client_index, false);
        self.retry_inbox(client_index);
    }

    fn retry_inbox(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        if let Blocked::OnSelf | Blocked::OnShare = client.blocked {
            client.blocked = Blocked::No;
            self.process_inbox(client_index);
        }
        // The client may be read again, even if it has only a part of a message and nothing was
        // consumed.
        self.mark_dirty(client_index);
        // A client that waits for capacity may wait for long. A Tflush takes effect at once all the
        // same.
        self.process_out_of_order(client_index);
    }

    /// Appends the client to the ready queue, unless it is in it.
    pub(super) fn enqueue_ready(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        if std::mem::replace(&mut client.in_ready_queue, true) {
            return;
        }
        let (user, is_light) = (client.user, client.tags() == 0);
        let id = self.clients.id(client_index);
        if self.window_blocked == Some(client_index) && self.ready_queue.put_first(id) {
            return;
        }
        if self.ready_queue.len() > self.clients.max_entries() {
            self.ready_queue.retain(|id| self.clients.index_of(id).is_some());
        }
        self.ready_queue.push(user, id, is_light);
    }

    /// Allocates a tag for `request`, which counts for its user.
    #[inline(always)]
    pub(super) fn allocate_tag(&mut self, request: &UpstreamRequest) -> Result<u16, NoTag> {
        let tag = self.requests.allocate(request)?;
        self.users.add_tag(request.user);
        Ok(tag)
    }

    /// Frees the tag of this request.
    #[inline(always)]
    pub(super) fn free_tag(&mut self, tag: u16, request: &UpstreamRequest) {
        // The descriptor of a request may have ended by the reply.
        debug_assert!(
            matches!(request.owner, Owner::Descriptor(_))
                || self.requests.get(tag).owner == request.owner
        );
        self.requests.free(tag, request);
        if request.sent.has_passed() {
            self.users.end_passed(request.user, request.sent);
            self.passes_ended.push(request.user);
        }
        self.users.remove_tag(request.user, matches!(request.owner, Owner::Cleanup(_)));
        self.shares_have_grown();
    }

    /// Sends at most `max` deferred clunks for which there are tags and, unless they are urgent, room in the adaptive
    /// limit, each user in its turn. A user that has as many upstream as it may is passed over. Examines at most
    /// [`MAX_EXAMINED`] such users; the rest is examined at the next event.
    pub(super) fn send_deferred_clunks(&mut self, max: usize, are_urgent: bool) {
        let (mut budget, mut rest) = (MAX_EXAMINED, max);
        while budget > 0 && rest > 0 && self.may_send_clunks(are_urgent) {
            let Some(fid) = self.upstream.deferred_clunks.first() else {
                return;
            };
            if !self.has_clunk_share(self.fids.get(fid).user) {
                self.upstream.deferred_clunks.pass_turn();
                budget -= 1;
            } else if self.send_clunk(fid) {
                rest -= 1;
            } else {
                return;
            }
        }
    }

    /// Returns true if deferred clunks can be sent, or have not been examined since one has ended.
    pub(super) fn may_send_clunks(&self, are_urgent: bool) -> bool {
        self.upstream.deferred_clunks.has_turn()
            && (are_urgent || self.requests.has_room())
            && self.upstream.internal_clunks < self.max_clunks()
            && self.requests.has_flush_tag()
    }

    /// Sends the next of the deferred clunks, which is that of this fid. Returns false if there is no tag for it.
    fn send_clunk(&mut self, fid: u32) -> bool {
        let user = self.fids.get(fid).user;
        let request = UpstreamRequest {
            fids: [fid, u32::MAX],
            releases: fid,
            user,
            sent: self.requests.count_sent(),
            ..UpstreamRequest::internal(types::TCLUNK)
        };
        let Ok(tag) = self.allocate_tag(&request) else {
            self.requests.adaptive.count_reply(request.sent, false);
            return false;
        };
        self.upstream.deferred_clunks.remove_first();
        self.count_clunk(user, true);
        debug_assert!(self.fids.get(fid).references == 0);
        debug_assert!(matches!(self.fids.get(fid).state, FidState::Live | FidState::Uncertain));
        self.fids.add_reference(fid);
        let mut message = [0; HEADER + 4];
        wire::put_u32(&mut message, HEADER, fid);
        self.send_internal(types::TCLUNK, tag, &mut message);
        true
    }

    /// Sends a request of 9pmux's own. `message` must begin with space for the header.
    pub(super) fn send_internal(&mut self, kind: u8, tag: u16, message: &mut [u8]) {
        let size = message.len() as u32;
        wire::put_u32(message, 0, size);
        message[4] = kind;
        wire::put_tag(message, tag);
        self.push_to_server(message, |_| ());
    }
}
