//! Whose messages go to the server next: a few of each client that has any, round and round.

use super::Engine;
use super::clients::Blocked;
use super::fids::FidState;
use super::inbox::Progress;
use super::requests::UpstreamRequest;
use crate::wire::{self, HEADER, types};

/// So many clunks of ours are upstream at once: those who go on should not stand behind all that a
/// large client leaves.
const MAX_INTERNAL_CLUNKS: usize = 1024;

/// A turn is so many messages, or bytes: their replies come together too, and are written to the client
/// by one call. With a single message a turn, ten thousand clients that wait cost a call for each.
const MAX_TURN_MESSAGES: usize = 16;
const MAX_TURN_BYTES: usize = 4096;

impl Engine {
    /// Whether the server's output has room for a client's request.
    #[inline]
    pub(super) fn output_has_room(&self) -> bool {
        self.upstream.out.len() < self.config.max_server_bytes
    }

    /// Whether there is a tag for a client's request.
    #[inline]
    pub(super) fn has_tag(&self) -> bool {
        self.requests.has_tag(self.upstream.internal_clunks)
    }

    /// Lets clients that wait for their turn go on, while there is room.
    #[inline]
    pub(super) fn run_ready(&mut self) {
        if !self.upstream.deferred_flushes.is_empty() || !self.upstream.deferred_clunks.is_empty() {
            self.send_deferred();
        }
        while !self.ready_queue.is_empty() && self.output_has_room() && self.has_tag() {
            let next = self.ready_queue.pop_front().and_then(|id| self.clients.index_of(id));
            if let Some(client_index) = next {
                self.clients.get(client_index).in_ready_queue = false;
                if self.clients.get(client_index).blocked == Blocked::OnUpstream {
                    self.run_client(client_index);
                }
            }
        }
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
                    if more && self.output_has_room() && self.has_tag() {
                        continue;
                    }
                    // On to the next that needs a turn, which may be at once, if nobody else waits for one.
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

    /// Something that a client has waited for may be there.
    #[inline]
    pub(super) fn unblock(&mut self, client_index: u32) {
        if self.clients.get(client_index).blocked != Blocked::No {
            self.retry_blocked(client_index);
        }
    }

    pub(super) fn retry_blocked(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        if client.blocked == Blocked::OnSelf {
            client.blocked = Blocked::No;
            self.process_inbox(client_index);
        }
        // It may be read again, also if there was only a part of a message, and nothing has been taken.
        self.mark_dirty(client_index);
        // Its turn may be far: what need not wait for that, as a flush, goes on at once.
        self.process_out_of_order(client_index);
    }

    /// To the end of the ring, unless it is in there.
    pub(super) fn enqueue_ready(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        if !std::mem::replace(&mut client.in_ready_queue, true) {
            self.clients.enqueue(&mut self.ready_queue, client_index);
        }
    }

    /// Sends the flushes and clunks that are due.
    fn send_deferred(&mut self) {
        if !self.send_deferred_flushes() {
            return;
        }
        // While clients wait for their turn, no more than what they can not have.
        let max = if self.ready_queue.is_empty() {
            MAX_INTERNAL_CLUNKS
        } else {
            MAX_INTERNAL_CLUNKS.min(self.requests.reserved())
        };
        while self.upstream.internal_clunks < max {
            let Some(&fid) = self.upstream.deferred_clunks.front() else {
                return;
            };
            let request = UpstreamRequest {
                fids: [fid, u32::MAX],
                releases: fid,
                ..UpstreamRequest::internal(types::TCLUNK)
            };
            let Ok(tag) = self.requests.allocate(request) else {
                return;
            };
            self.upstream.deferred_clunks.pop_front();
            self.upstream.internal_clunks += 1;
            debug_assert!(self.fids.get(fid).references == 0);
            debug_assert!(matches!(self.fids.get(fid).state, FidState::Live | FidState::Uncertain));
            self.fids.add_reference(fid);
            let mut message = [0; HEADER + 4];
            wire::put_u32(&mut message, HEADER, fid);
            self.send_internal(types::TCLUNK, tag, &mut message);
        }
    }

    /// Sends a request of ours; `message` has room for the header.
    pub(super) fn send_internal(&mut self, kind: u8, tag: u16, message: &mut [u8]) {
        let size = message.len() as u32;
        wire::put_u32(message, 0, size);
        message[4] = kind;
        wire::put_tag(message, tag);
        self.push_to_server(message, |_| ());
    }
}
