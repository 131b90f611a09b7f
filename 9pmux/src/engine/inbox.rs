//! A client's bytes: framed, and processed in their order.
//!
//! Messages that cannot be processed stay in the inbox. Two kinds of messages take effect out of order,
//! because a client with the maximum number of requests in flight could otherwise never take one back:
//! a Tflush takes effect when it arrives, on a request that is upstream or still in the inbox; and a
//! valid Tversion discards all messages before it.

use super::buffer::Buffer;
use super::clients::{Blocked, ClientState};
use super::far_end::CloseCause;
use super::flush::QueuedMessages;
use super::local_error::LocalError;
use super::turns::{REPLY_COST, cost};
use super::version::parse_tversion;
use super::{Engine, TraceEvent};
use crate::wire::{
    Foreign, Frame, HEADER, check_request, foreign, frame, kind, tag, types, u16_at,
};

/// The maximum length of a message before a version is agreed.
const MAX_MESSAGE_BEFORE_VERSION: u32 = 8192;

/// The maximum length of a message that is skipped. The sender of a larger one does not speak 9P, and
/// is disconnected.
pub const MAX_SKIPPED_MESSAGE: u32 = 16 * 1024 * 1024;

/// The result of processing the first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This number of bytes has been processed.
    Consumed(usize),
    /// The message is incomplete.
    Incomplete,
    /// The message waits.
    Blocked(Blocked),
    /// The client is closing.
    Closed,
}

impl Engine {
    /// Processes the bytes that a client has sent. Bytes that cannot be processed yet are appended to
    /// its inbox.
    pub(super) fn handle_client_bytes(&mut self, client_index: u32, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let client = self.clients.get(client_index);
            if matches!(client.state, ClientState::Closing) {
                return;
            }
            if client.blocked != Blocked::No {
                self.pool.lend(&mut client.inbox, rest.len());
                if !client.inbox.reserve(rest.len()) {
                    return self.mark_starved(client_index);
                }
                client.inbox.append(rest);
                self.mark_dirty(client_index);
                self.process_out_of_order(client_index);
                return;
            }
            if client.inbox.is_empty() {
                // Messages are processed in the driver's buffer. The rest is incomplete, or waits.
                rest = &rest[self.process_messages(client_index, rest)..];
                let client = self.clients.get(client_index);
                if client.blocked == Blocked::No && !rest.is_empty() {
                    self.pool.lend(&mut client.inbox, rest.len());
                    if !client.inbox.reserve(rest.len()) {
                        return self.mark_starved(client_index);
                    }
                    client.inbox.append(rest);
                    return;
                }
            } else {
                let part = client.inbox.as_slice();
                let n = match part.first_chunk() {
                    Some(size) if part.len() >= HEADER => u32::from_le_bytes(*size) as usize,
                    _ => HEADER,
                };
                let n = n.saturating_sub(part.len()).clamp(1, rest.len());
                if !client.inbox.reserve(n) {
                    return self.mark_starved(client_index);
                }
                client.inbox.append(&rest[..n]);
                rest = &rest[n..];
                self.process_inbox(client_index);
            }
        }
    }

    /// Processes the messages of the inbox until one is incomplete or waits.
    pub(super) fn process_inbox(&mut self, client_index: u32) {
        let mut inbox = std::mem::take(&mut self.clients.get(client_index).inbox);
        let n = self.process_messages(client_index, inbox.as_slice());
        inbox.consume(n);
        self.pool.take_back(&mut inbox);
        self.restore_inbox(client_index, inbox, n);
    }

    /// Processes the first message of the inbox, for which there is capacity upstream.
    pub(super) fn process_first_message(&mut self, client_index: u32) -> Progress {
        let mut inbox = std::mem::take(&mut self.clients.get(client_index).inbox);
        let step = self.process_message(client_index, inbox.as_slice(), true);
        let n = if let Progress::Consumed(n) = step { n } else { 0 };
        inbox.consume(n);
        self.pool.take_back(&mut inbox);
        self.restore_inbox(client_index, inbox, n);
        step
    }

    fn restore_inbox(&mut self, client_index: u32, inbox: Buffer, consumed: usize) {
        let client = self.clients.get(client_index);
        client.scanned = client.scanned.saturating_sub(consumed);
        if client.state != ClientState::Closing {
            client.inbox = inbox;
        }
        // It was not there when the memory was counted for a reply.
        self.count_memory(client_index);
        if consumed > 0 {
            self.mark_dirty(client_index);
        }
    }

    /// Processes the messages at the beginning of `bytes` until one is incomplete or waits. Returns the
    /// number of bytes processed.
    fn process_messages(&mut self, client_index: u32, bytes: &[u8]) -> usize {
        let mut offset = 0;
        loop {
            match self.process_message(client_index, &bytes[offset..], false) {
                Progress::Consumed(n) => offset += n,
                Progress::Incomplete => return offset,
                Progress::Blocked(blocked) => {
                    self.block(client_index, blocked);
                    return offset;
                }
                Progress::Closed => return bytes.len(),
            }
        }
    }

    /// Processes the first message of `bytes`. `has_turn` says that the client was taken from the ready
    /// queue; without it, the message must not overtake the clients in that queue.
    #[inline(always)]
    fn process_message(&mut self, client_index: u32, bytes: &[u8], has_turn: bool) -> Progress {
        if bytes.is_empty() {
            return Progress::Incomplete;
        }
        let client = self.clients.get(client_index);
        if client.bytes_to_skip > 0 {
            let n = bytes.len().min(client.bytes_to_skip as usize);
            client.bytes_to_skip -= n as u32;
            return Progress::Consumed(n);
        }
        if client.in_turn_queue {
            return Progress::Blocked(Blocked::OnTurn);
        }
        let is_new = matches!(client.state, ClientState::New);
        let max = match client.state {
            ClientState::Session | ClientState::Control => client.session.msize,
            ClientState::New => MAX_MESSAGE_BEFORE_VERSION,
            ClientState::AwaitingVersion { .. } => return Progress::Blocked(Blocked::OnSelf),
            ClientState::Closing => return Progress::Closed,
        };
        let (out, user) = (client.out.len(), client.user);
        if out > 0 && !self.may_have_replies(user, out + 1) {
            return Progress::Blocked(Blocked::OnSelf);
        }
        match frame(bytes, max) {
            Frame::Message(n) => {
                let forwarded = self.stats.forwarded;
                let progress = self.dispatch_message(client_index, &bytes[..n], is_new, has_turn);
                if self.stats.forwarded == forwarded && matches!(progress, Progress::Consumed(_)) {
                    self.count_turn(client_index, cost(bytes));
                }
                progress
            }
            Frame::Incomplete => Progress::Incomplete,
            Frame::TooSmall => self.close_garbled(client_index, bytes),
            Frame::TooLarge(size) => {
                let why = LocalError::TooLarge;
                self.count_turn(client_index, REPLY_COST);
                self.push_error(client_index, tag(bytes), why);
                // The beginning of a TLS connection is a smaller size than that of other text.
                let is_tls = || is_new && foreign(bytes) == Some(Foreign::Tls);
                if size > MAX_SKIPPED_MESSAGE || is_tls() {
                    return self.close_garbled(client_index, bytes);
                }
                self.trace_refused(client_index, bytes, why.ename());
                let n = bytes.len().min(size as usize);
                self.clients.get(client_index).bytes_to_skip = size - n as u32;
                Progress::Consumed(n)
            }
        }
    }

    #[inline(always)]
    fn dispatch_message(
        &mut self,
        client_index: u32,
        message: &[u8],
        is_new: bool,
        has_turn: bool,
    ) -> Progress {
        match kind(message) {
            types::TVERSION => self.handle_tversion(client_index, message),
            types::TFLUSH => self.handle_tflush(client_index, message),
            _ if is_new => self.reject_message(client_index, message, LocalError::NoVersion),
            _ if self.is_for_control(client_index, message) => {
                self.serve_control(client_index, message)
            }
            _ => self.forward(client_index, message, has_turn),
        }
    }

    /// Counts and traces a message that is about to take effect.
    #[inline(always)]
    pub(super) fn consume_message(&mut self, client_index: u32, message: &[u8]) -> Progress {
        self.clients.get(client_index).messages += 1;
        self.counters.requests[usize::from(kind(message))] += 1;
        if self.tracer.is_some() {
            self.trace(TraceEvent::FromClient(self.clients.id(client_index), message));
        }
        Progress::Consumed(message.len())
    }

    /// Traces a message that 9pmux itself refuses.
    pub(super) fn trace_refused(&mut self, client_index: u32, message: &[u8], why: &'static str) {
        if self.tracer.is_some() {
            self.trace(TraceEvent::Refused(self.clients.id(client_index), message, why));
        }
    }

    /// Replies to a message with an error of 9pmux's own.
    pub(super) fn reject_message(
        &mut self,
        client_index: u32,
        message: &[u8],
        why: LocalError,
    ) -> Progress {
        let consumed = self.consume_message(client_index, message);
        self.trace_refused(client_index, message, why.ename());
        self.push_error(client_index, tag(message), why);
        consumed
    }

    /// Closes a client after bytes that cannot be framed.
    fn close_garbled(&mut self, client_index: u32, bytes: &[u8]) -> Progress {
        self.trace(TraceEvent::Garbled(self.clients.id(client_index), bytes));
        let what = foreign(bytes).map_or("bytes that are not 9P".to_owned(), |it| it.to_string());
        self.record_close(client_index, CloseCause::Garbled(what));
        self.close_client(client_index);
        Progress::Closed
    }

    /// Closes a client: its session is cleaned up, and its connection ends when its output is written.
    pub(super) fn close_client(&mut self, client_index: u32) {
        self.drop_held(client_index);
        let closed = self.clients.close(client_index);
        self.clean_up_session(closed.session);
        self.mark_dirty(client_index);
    }

    /// Records what the first message of the inbox waits for.
    pub(super) fn block(&mut self, client_index: u32, blocked: Blocked) {
        self.clients.get(client_index).blocked = blocked;
        match blocked {
            Blocked::OnUpstream => self.enqueue_ready(client_index),
            Blocked::OnShare => self.enqueue_for_share(client_index),
            Blocked::No | Blocked::OnSelf | Blocked::OnTurn => {}
        }
        self.mark_dirty(client_index);
    }

    /// Processes the messages that take effect out of order, behind a blocked message.
    pub(super) fn process_out_of_order(&mut self, client_index: u32) {
        loop {
            let client = self.clients.get(client_index);
            let blocked = client.blocked != Blocked::No
                && !client.in_turn_queue
                && client.scanned < client.inbox.len();
            if !blocked || !self.take_out_of_order(client_index) {
                return;
            }
            // The first message may have been removed.
            let client = self.clients.get(client_index);
            if client.blocked == Blocked::OnSelf {
                client.blocked = Blocked::No;
                self.process_inbox(client_index);
            }
        }
    }

    /// Handles a Tflush behind the messages `before` it. If it names one of them, that one is added to the removed
    /// messages. Returns false if the Tflush must wait.
    fn flush_early(
        &mut self,
        client_index: u32,
        message: &[u8],
        before: &[u8],
        queued: &mut QueuedMessages,
        removed: &mut Vec<(usize, usize)>,
    ) -> bool {
        let oldtag = u16_at(message, HEADER);
        let client = self.clients.get(client_index);
        let elsewhere = oldtag == tag(message)
            || client.session.tags.contains(oldtag)
            || client.waiting_reads.has_tag(oldtag);
        let target = if elsewhere { None } else { queued.take(before, oldtag) };
        if target.is_some() {
            self.consume_message(client_index, message);
            self.push_rflush(client_index, tag(message));
        } else if self.handle_tflush(client_index, message) != Progress::Consumed(message.len()) {
            return false;
        }
        removed.extend(target);
        true
    }

    /// Removes and processes the messages that take effect out of order. Returns true if there were
    /// any.
    fn take_out_of_order(&mut self, client_index: u32) -> bool {
        let mut inbox = std::mem::take(&mut self.clients.get(client_index).inbox);
        // The rest of a message that was too large is skipped, blocked or not.
        let client = self.clients.get(client_index);
        let skipped = inbox.len().min(client.bytes_to_skip as usize);
        client.bytes_to_skip -= skipped as u32;
        inbox.consume(skipped);
        let mut offset = client.scanned.saturating_sub(skipped);
        let mut queued = QueuedMessages::new(self.upstream.dialect, client.session.hasher());
        let (mut removed, mut tversion_offset) = (Vec::new(), None);
        let bytes = inbox.as_slice();
        let user = self.clients.get(client_index).user;
        let max_out = self.max_reply_bytes(user);
        let is_restoring = self.is_restoring();
        if is_restoring {
            self.begin_clunk_search(client_index, offset == 0);
        }
        loop {
            let client = self.clients.get(client_index);
            if client.state != ClientState::Session
                || client.bytes_to_skip > 0
                || client.out.len() >= max_out
            {
                break;
            }
            let rest = bytes.get(offset..).unwrap_or_default();
            let n = match frame(rest, client.session.msize) {
                Frame::Message(n) => n,
                Frame::TooLarge(size) if rest.len() >= size as usize => {
                    offset += size as usize;
                    continue;
                }
                _ => break,
            };
            let message = &bytes[offset..offset + n];
            match kind(message) {
                types::TVERSION if parse_tversion(message).is_ok() => {
                    tversion_offset = Some(offset);
                    break;
                }
                types::TFLUSH if check_request(self.upstream.dialect, message).is_ok() => {
                    let before = &bytes[..offset];
                    if !self.flush_early(client_index, message, before, &mut queued, &mut removed) {
                        break;
                    }
                    self.count_turn(client_index, REPLY_COST);
                    removed.push((offset, n));
                    offset += n;
                }
                types::TCLUNK if is_restoring && self.clunk_early(client_index, message) => {
                    self.count_turn(client_index, REPLY_COST);
                    removed.push((offset, n));
                    offset += n;
                }
                _ => {
                    if is_restoring {
                        self.name_fids(client_index, message);
                    }
                    offset += n;
                }
            }
        }
        let any = tversion_offset.is_some() || !removed.is_empty();
        let offset = match tversion_offset {
            Some(before) => {
                inbox.consume(before);
                0
            }
            None => offset - inbox.remove(&mut removed),
        };
        let client = self.clients.get(client_index);
        client.inbox = inbox;
        client.scanned = offset;
        self.count_memory(client_index);
        let client = self.clients.get(client_index);
        if tversion_offset.is_some() {
            client.blocked = Blocked::No;
            self.process_inbox(client_index);
        }
        any
    }
}
