//! Tflush: requests that clients take back.
//!
//! A client's Tflush of an upstream request becomes one Tflush of 9pmux's own, which is sent after the
//! request. Its Rflush completes all flushes of that request, in their order. A request is therefore
//! flushed at most once upstream, and a server that replies only to the last of several flushes makes
//! no difference.
//!
//! | event | function | effect |
//! |---|---|---|
//! | a Tflush names a request that is still in the inbox | [`QueuedMessages::take`] | the request is removed, Rflush |
//! | a Tflush names a read that waits (`waiting_reads.rs`) | `handle_tflush` | the read is removed, Rflush |
//! | a Tflush names nothing, or itself | `handle_tflush` | Rflush |
//! | a Tflush names an upstream request, or another flush of it | `handle_tflush`, `flush_request` | a Tflush upstream, or deferred until there is a tag |
//! | a session ends | `flush_request` for each of its requests | the same |
//! | the server sends Rflush | `handle_rflush` | Rflush to the client; without a reply before, the request never happened |

use std::collections::HashMap;

use super::Engine;
use super::clients::Blocked;
use super::descriptors::DescriptorUse;
use super::fids::{NO_FID, Owner};
use super::hasher::SeededState;
use super::inbox::Progress;
use super::local_error::LocalError;
use super::requests::UpstreamRequest;
use super::shares::MAX_EXAMINED;
use crate::wire::{self, Dialect, Frame, HEADER, check_request, frame, kind, tag, types, u16_at};

/// The maximum number of open flushes of one client, whatever its limit of requests: each message of
/// the client is compared with all of them. Further flushes wait until one has completed.
const MAX_CLIENT_FLUSHES: usize = 256;

/// A Tflush of a client that has no reply yet.
#[derive(Clone, Copy, Debug)]
pub struct ClientFlush {
    /// The tag of the Tflush.
    pub tag: u16,
    /// The tag that it flushes.
    pub oldtag: u16,
    /// The upstream tag of the request that it flushes.
    pub flush_target: u16,
}

/// Whether a request is being flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushState {
    None,
    /// The Tflush waits for a tag.
    Due,
    Sent,
}

impl Engine {
    /// Handles a client's Tflush. Requests that are still in the inbox have been searched before, by
    /// [`process_out_of_order`](Engine::process_out_of_order).
    pub(super) fn handle_tflush(&mut self, client_index: u32, message: &[u8]) -> Progress {
        let client_tag = tag(message);
        if check_request(self.upstream.dialect, message).is_err() {
            return self.reject_message(client_index, message, LocalError::Malformed);
        }
        let oldtag = u16_at(message, HEADER);
        let client = self.clients.get(client_index);
        // A waiting read never happened. The tag of a request that has its reply is not free for the client
        // while a flush of it is open: a further flush of the tag, or of that flush, has the same target.
        let flushing =
            client.session.flushes.iter().rev().find(|f| f.oldtag == oldtag || f.tag == oldtag);
        let flush_target = match oldtag != client_tag && client.waiting_reads.remove(oldtag) {
            true => None,
            false => client.session.tags.get(oldtag).or(flushing.map(|f| f.flush_target)),
        };
        let Some(flush_target) = flush_target.filter(|_| oldtag != client_tag) else {
            let consumed = self.consume_message(client_index, message);
            self.push_rflush(client_index, client_tag);
            return consumed;
        };
        if self.take_back_held(client_index, flush_target) {
            let consumed = self.consume_message(client_index, message);
            self.push_rflush(client_index, client_tag);
            // The messages behind the request continue if no other is held.
            self.wake_client(client_index);
            return consumed;
        }
        let client = self.clients.get(client_index);
        if client.session.flushes.len() >= self.config.max_inflight.min(MAX_CLIENT_FLUSHES) {
            return Progress::Blocked(Blocked::OnSelf);
        }
        client.session.flushes.push(ClientFlush { tag: client_tag, oldtag, flush_target });
        let consumed = self.consume_message(client_index, message);
        self.flush_request(flush_target);
        consumed
    }

    /// Flushes an upstream request, unless it is being flushed.
    pub(super) fn flush_request(&mut self, flush_target: u16) {
        if self.requests.get(flush_target).flush == FlushState::None
            && !self.send_flush(flush_target)
        {
            let request = self.requests.get(flush_target);
            request.flush = FlushState::Due;
            self.upstream.deferred_flushes.push(request.user, flush_target);
        }
    }

    /// The server has sent the Rflush for this request. If the reply has not arrived before, it never
    /// will.
    pub(super) fn handle_rflush(&mut self, flush_target: u16) {
        let request = *self.requests.get(flush_target);
        if !request.replied {
            self.drop_copy(flush_target, &request);
            if request.creates != NO_FID {
                self.mark_uncertain(request.creates);
            }
            if request.releases != NO_FID {
                self.restore(request.releases);
            }
            if request.owner == Owner::Internal && self.restore.is_some() {
                self.handle_flushed_step(flush_target);
            }
            if let Owner::Client(client_index) = request.owner {
                let client = self.clients.get(client_index);
                client.session.remove_tag(&request);
                if request.descriptor_use == DescriptorUse::Opens {
                    self.handle_openfd_flushed(client_index, request.tag);
                }
            }
        }
        if let Owner::Client(client_index) = request.owner {
            while let Some(i) = self
                .clients
                .get(client_index)
                .session
                .flushes
                .iter()
                .position(|f| f.flush_target == flush_target)
            {
                let flushing = self.clients.get(client_index).session.flushes.remove(i);
                self.push_rflush(client_index, flushing.tag);
            }
            self.clients.get(client_index).session.shrink_flushes();
            self.clients.count_firsts(client_index);
            self.unblock(client_index);
        }
        self.finish_request(flush_target, &request);
    }

    /// Replies to a Tflush.
    pub(super) fn push_rflush(&mut self, client_index: u32, tag: u16) {
        self.stats.flushed += 1;
        self.push_reply(client_index, types::RFLUSH, tag, &mut [0; HEADER]);
    }

    /// Sends a Tflush for the upstream request. Returns false if there is no tag for it, or if its user has as many
    /// flushes upstream as it may.
    fn send_flush(&mut self, flush_target: u16) -> bool {
        let target = *self.requests.get(flush_target);
        if !self.may_send_flush(&target) {
            return false;
        }
        let descriptor_use = match target.descriptor_use {
            DescriptorUse::Moves => DescriptorUse::Moves,
            _ => DescriptorUse::None,
        };
        let flush = UpstreamRequest {
            flush_target,
            user: target.user,
            descriptor_use,
            ..UpstreamRequest::internal(types::TFLUSH)
        };
        let Ok(tag) = self.allocate_tag(&flush) else {
            return false;
        };
        if flush.is_counted_flush() {
            self.count_flush(flush.user, true);
        }
        self.requests.get(flush_target).flush = FlushState::Sent;
        let mut message = [0; HEADER + 2];
        message[HEADER..].copy_from_slice(&flush_target.to_le_bytes());
        self.send_internal(types::TFLUSH, tag, &mut message);
        true
    }

    /// Sends the flushes that waited, each user in its turn. A user that has as many upstream as it may is passed over
    /// until a flush has ended. Examines at most [`MAX_EXAMINED`] such users; the rest is examined at the next event.
    pub(super) fn send_deferred_flushes(&mut self) {
        let mut budget = MAX_EXAMINED;
        while budget > 0 && self.upstream.deferred_flushes.has_turn() {
            let Some(flush_target) = self.upstream.deferred_flushes.first() else {
                return;
            };
            let request = *self.requests.get(flush_target);
            if request.replied {
                // The reply has arrived before there was a tag: there is nothing left to flush.
                self.upstream.deferred_flushes.remove_first();
                self.handle_rflush(flush_target);
            } else if !self.may_send_flush(&request) {
                self.upstream.deferred_flushes.pass_turn();
                budget -= 1;
            } else if self.send_flush(flush_target) {
                self.upstream.deferred_flushes.remove_first();
            } else {
                return;
            }
        }
    }

    /// Returns true if the user of this request may have one more flush upstream.
    fn may_send_flush(&self, target: &UpstreamRequest) -> bool {
        target.descriptor_use == DescriptorUse::Moves || self.has_flush_share(target.user)
    }
}

/// The number of flushes that are looked up by a linear search. Further ones use a table, so that an
/// inbox full of flushes costs the other clients nothing.
const MAX_LINEAR_LOOKUPS: usize = 8;

/// The complete messages of an inbox that a flush may name: messages that wait and were not removed.
pub struct QueuedMessages {
    dialect: Dialect,
    lookups: usize,
    taken: Vec<usize>,
    /// The offset of each tag's message, for the part of the inbox before `end`.
    by_tag: HashMap<u16, usize, SeededState>,
    end: usize,
}

impl QueuedMessages {
    pub fn new(dialect: Dialect, hasher: SeededState) -> QueuedMessages {
        QueuedMessages {
            dialect,
            lookups: 0,
            taken: Vec::new(),
            by_tag: HashMap::with_hasher(hasher),
            end: 0,
        }
    }

    /// Marks the message with this tag as removed, and returns its offset and length. All messages in
    /// `bytes` must be complete.
    pub fn take(&mut self, bytes: &[u8], tag: u16) -> Option<(usize, usize)> {
        self.lookups += 1;
        let offset = if self.lookups <= MAX_LINEAR_LOOKUPS {
            let found = messages(bytes, 0).find(|offset| self.may_flush(bytes, *offset, tag))?;
            self.taken.push(found);
            found
        } else {
            for offset in messages(bytes, self.end) {
                let client_tag = wire::tag(&bytes[offset..]);
                if self.may_flush(bytes, offset, client_tag) {
                    self.by_tag.entry(client_tag).or_insert(offset);
                }
            }
            self.end = bytes.len();
            self.by_tag.remove(&tag)?
        };
        Some((offset, wire::u32_at(bytes, offset) as usize))
    }

    /// Returns true if a flush may name the complete message at `offset`.
    fn may_flush(&self, bytes: &[u8], offset: usize, tag: u16) -> bool {
        let message = &bytes[offset..offset + wire::u32_at(bytes, offset) as usize];
        // A well-formed Tflush has taken effect before. A malformed one waits for its error reply.
        let has_passed =
            || kind(message) == types::TFLUSH && check_request(self.dialect, message).is_ok();
        wire::tag(message) == tag && !has_passed() && !self.taken.contains(&offset)
    }
}

/// Returns the offsets of the messages from `offset` on.
fn messages(bytes: &[u8], mut offset: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        super::count_work(1);
        let Frame::Message(n) = frame(&bytes[offset..], u32::MAX) else {
            return None;
        };
        offset += n;
        Some(offset - n)
    })
}
