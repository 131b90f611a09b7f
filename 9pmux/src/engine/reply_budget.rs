//! The length of the reply that a request may have, which is reserved in its client's output before it is forwarded.
//!
//! A read must not stop its client, so its count is reduced rather than made to wait.

use super::Engine;
use super::waiting_reads::{kept_slots, reduced_count};
use crate::wire::{DATA_HEADER, FieldOffsets, u32_at};

/// The maximum number of requests other than Tread in flight before it is known how long replies without a maximum length
/// are.
const MAX_UNKNOWN_REPLIES: usize = 32;

/// The reply that a request may have.
#[derive(Clone, Copy)]
pub(super) struct ReplyBudget {
    /// The count of bytes to ask for, if the request has one.
    pub count: u32,
    /// The number of bytes to be reserved in the client's output.
    pub max_len: u32,
    /// Whether the reply may be longer.
    pub is_unbounded: bool,
    /// By how much such replies have been longer so far.
    pub excess: u32,
}

impl Engine {
    /// Returns what a request may have as its reply, or `None` if it must wait until the client has read its
    /// output or has received other replies.
    #[inline(always)]
    pub(super) fn reply_budget(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> Option<ReplyBudget> {
        let client = self.clients.get(client_index);
        let (user, session) = (client.user, &client.session);
        let mut count = offsets.count.map_or(0, |offset| u32_at(message, offset as usize));
        let msize = session.msize;
        count = count.min(msize - DATA_HEADER);
        let mut max_len = offsets.message.max_reply_len(count);
        let is_unbounded = offsets.count.is_none() && offsets.message.has_unbounded_reply();
        let known_excess = if is_unbounded { session.max_excess } else { Some(0) };
        let excess = known_excess.unwrap_or(0);
        let due = client.out.len() + session.expected_reply_bytes() + session.copied;
        let (is_alone, out) = (session.tags.is_empty(), client.out.len());
        let others = session.tags.len() - session.reads();
        if is_alone {
            // One request is always admitted as it is, unless unread replies have filled the output.
            let max_len = max_len.min(msize);
            return (out == 0 || out < self.max_reply_bytes(user)).then_some(ReplyBudget {
                count,
                max_len,
                is_unbounded,
                excess,
            });
        }
        if self.has_max_copies(client_index, message.len()) {
            return None;
        }
        if offsets.count.is_some() && out == 0 {
            let min = self.config.min_read_count;
            if count > min {
                let free = self.max_reply_bytes(user).saturating_sub(due);
                count = reduced_count(count, free, min);
                max_len = offsets.message.max_reply_len(count);
            }
        } else {
            if known_excess.is_none() && others >= MAX_UNKNOWN_REPLIES {
                return None;
            }
            let has_slot = || out == 0 && others < kept_slots(self.config.max_inflight);
            if !self.may_have_replies(user, due + (max_len + excess) as usize) && !has_slot() {
                return None;
            }
        }
        Some(ReplyBudget { count, max_len: max_len.min(msize), is_unbounded, excess })
    }
}
