//! The reads of a client that wait while its other requests are forwarded.
//!
//! A server may keep a Tread until its file has data to return, for ever if need be, and programs keep
//! such reads open all the time. A client must not lose the use of its connection by them:
//!
//! | of a client | rule |
//! |---|---|
//! | slots | Some of its `max_inflight` requests are kept for requests other than Tread ([`kept_slots`]). |
//! | order | A Tread without a slot waits here, and the requests behind it are forwarded. Requests are independent (intro(5)), except that a request that changes or releases a fid does not overtake a waiting Tread of it. |
//! | bytes | A read that would exceed `max_reply_bytes` does not wait for other replies: its count is reduced ([`reduced_count`]), which read(5) permits. It waits only if the client has output to read. |
//! | other requests | [`kept_slots`] of them are forwarded whatever the bytes. Their replies are small, or estimated by the largest one so far. Before there is one, at most 32 are forwarded. |
//!
//! Waiting reads are sent in their order, before reads that arrive later. A Tflush removes a waiting
//! read, and so does the failure of the request that creates its fid. A client with [`MAX_WAITING_READS`] of them has to wait with everything behind the next one.

use std::collections::VecDeque;

use super::Engine;
use super::clients::Blocked;
use super::inbox::Progress;
use super::local_error::LocalError;
use crate::wire::{self, DATA_HEADER, HEADER, u32_at};

/// The length of a Tread.
pub const READ_LEN: usize = HEADER + 16;

/// The maximum number of reads of one client that wait here.
const MAX_WAITING_READS: usize = 1024;

/// Returns the number of slots, out of `max` of a client, that are kept for requests other than Tread.
pub fn kept_slots(max: usize) -> usize {
    (max / 8).max((max / 3).min(8))
}

/// Returns the count of a read of `count` bytes while `free` bytes of the client's limit are free: at most
/// half of them, so that a few reads cannot use up the limit, but not less than `min`.
pub fn reduced_count(count: u32, free: usize, min: u32) -> u32 {
    let half = u32::try_from(free / 2).unwrap_or(u32::MAX).saturating_sub(DATA_HEADER);
    count.min(half.max(min))
}

/// The waiting reads of one client, in order.
#[derive(Default)]
pub struct WaitingReads {
    messages: VecDeque<[u8; READ_LEN]>,
}

impl WaitingReads {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns the number of bytes of the waiting messages.
    pub fn bytes(&self) -> usize {
        self.messages.len() * READ_LEN
    }

    /// Returns the bytes of memory that the queue occupies.
    pub fn memory(&self) -> usize {
        self.messages.capacity() * READ_LEN
    }

    /// Appends a Tread. Returns false if it is not of the usual length, or too many wait.
    pub fn push(&mut self, message: &[u8]) -> bool {
        match <[u8; READ_LEN]>::try_from(message) {
            Ok(mut message) if self.messages.len() < MAX_WAITING_READS => {
                wire::put_u32(&mut message, 0, READ_LEN as u32);
                self.messages.push_back(message);
                true
            }
            _ => false,
        }
    }

    /// Returns true if a waiting read has this tag.
    #[inline]
    pub fn has_tag(&self, tag: u16) -> bool {
        self.messages.iter().any(|message| wire::tag(message) == tag)
    }

    /// Returns true if a waiting read is of this fid.
    pub fn names(&self, fid: u32) -> bool {
        self.first(Some(fid)).is_some()
    }

    /// Removes the read with this tag. Returns false if there is none.
    pub fn remove(&mut self, tag: u16) -> bool {
        let found = self.messages.iter().position(|message| wire::tag(message) == tag);
        if let Some(i) = found {
            self.messages.remove(i);
            self.shrink();
        }
        found.is_some()
    }

    /// Returns the index and a copy of the first read of this fid, or of any fid.
    fn first(&self, fid: Option<u32>) -> Option<(usize, [u8; READ_LEN])> {
        let is_of = |m: &[u8; READ_LEN]| fid.is_none_or(|fid| u32_at(m, HEADER) == fid);
        let i = self.messages.iter().position(is_of)?;
        Some((i, self.messages[i]))
    }

    fn remove_at(&mut self, i: usize) {
        self.messages.remove(i);
        self.shrink();
    }

    fn shrink(&mut self) {
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
    }

    /// Returns the tags of the waiting reads, in order.
    pub fn tags(&self) -> impl Iterator<Item = u16> {
        self.messages.iter().map(|message| wire::tag(message))
    }
}

impl Engine {
    /// Returns true if the client has as many reads in flight as it may have.
    #[inline]
    pub(super) fn has_max_reads(&mut self, client_index: u32) -> bool {
        let max = self.config.max_inflight;
        let session = &self.clients.get(client_index).session;
        session.reads() >= max - kept_slots(max) || session.tags.len() >= max
    }

    /// Makes a valid Tread wait. If it cannot, what stands behind it waits as well.
    /// `whole` is its length with the bytes behind its last field, which have been cut off.
    pub(super) fn defer_read(
        &mut self,
        client_index: u32,
        message: &[u8],
        whole: usize,
    ) -> Progress {
        if self.clients.get(client_index).waiting_reads.push(message) {
            if !self.has_max_reads(client_index) {
                // Nothing of its own may happen that makes it try again.
                self.enqueue_for_share(client_index);
            }
            Progress::Consumed(whole)
        } else {
            Progress::Blocked(Blocked::OnSelf)
        }
    }

    /// Sends the waiting reads for which there are slots and capacity.
    pub(super) fn send_waiting_reads(&mut self, client_index: u32, has_turn: bool) {
        let mut has_turn = has_turn;
        while !self.clients.get(client_index).waiting_reads.is_empty() {
            if self.has_max_reads(client_index)
                || !self.send_waiting_read(client_index, None, has_turn)
            {
                return;
            }
            has_turn = false;
        }
    }

    /// Sends the waiting reads of a fid, in the slots that are kept. Returns false if some still wait.
    pub(super) fn send_waiting_reads_of(&mut self, client_index: u32, fid: u32) -> bool {
        while self.clients.get(client_index).waiting_reads.first(Some(fid)).is_some() {
            if !self.send_waiting_read(client_index, Some(fid), true) {
                return false;
            }
        }
        true
    }

    /// Replies to the waiting reads of a fid that has ceased to exist, before its name is used again.
    pub(super) fn refuse_waiting_reads_of(&mut self, client_index: u32, fid: u32) {
        while let Some((i, message)) = self.clients.get(client_index).waiting_reads.first(Some(fid))
        {
            self.clients.get(client_index).waiting_reads.remove_at(i);
            self.reject_message(client_index, &message, LocalError::UnknownFid);
        }
    }

    /// Sends the first waiting read of this fid, or of any fid. Returns false if it still waits.
    fn send_waiting_read(&mut self, client_index: u32, fid: Option<u32>, has_turn: bool) -> bool {
        let Some((i, message)) = self.clients.get(client_index).waiting_reads.first(fid) else {
            return false;
        };
        // While it is being forwarded, its tag must not be in use.
        self.clients.get(client_index).waiting_reads.remove_at(i);
        match self.forward_waiting_read(client_index, &message, has_turn) {
            Progress::Blocked(blocked) => {
                self.clients.get(client_index).waiting_reads.messages.insert(i, message);
                match blocked {
                    Blocked::OnUpstream => self.enqueue_ready(client_index),
                    Blocked::OnShare => self.enqueue_for_share(client_index),
                    Blocked::No | Blocked::OnSelf | Blocked::OnTurn => {}
                }
                false
            }
            _ => true,
        }
    }
}
