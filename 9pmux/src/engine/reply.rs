//! The server's bytes: framed, and each reply forwarded to the client that sent the request.

use super::fids::{FidState, NO_FID, Owner};
use super::local_error::LocalError;
use super::requests::{FlushState, UpstreamRequest};
use super::{EndReason, Engine, TraceEvent, foreign_error};
use crate::wire::{
    Frame, HEADER, IO_HEADER, NOTAG, ReplyFields, check_reply, frame, kind, put_tag, put_u32, tag,
    types, u32_at,
};

/// The content of the reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyOutcome {
    /// The request has succeeded.
    Success,
    /// A Twalk has walked only a part of its names.
    PartialWalk,
    /// An Rerror or Rlerror.
    Error,
    /// The reply does not fit the request. Whether the request has succeeded is unknown.
    Unknown,
}

impl Engine {
    /// Processes the bytes that the server has sent.
    pub(super) fn process_server_bytes(&mut self, bytes: &[u8]) -> Result<(), EndReason> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.upstream.inbox.is_empty() {
                rest = &rest[self.process_replies(rest)?..];
                if !rest.is_empty() {
                    self.pool.lend(&mut self.upstream.inbox);
                    self.upstream.inbox.append(rest);
                }
                return Ok(());
            }
            let part = self.upstream.inbox.as_slice();
            let n = match part.first_chunk() {
                Some(size) if part.len() >= HEADER => u32::from_le_bytes(*size) as usize,
                _ => HEADER,
            };
            let n = n.saturating_sub(part.len()).clamp(1, rest.len());
            self.upstream.inbox.append(&rest[..n]);
            rest = &rest[n..];
            let mut inbox = std::mem::take(&mut self.upstream.inbox);
            let n = self.process_replies(inbox.as_slice())?;
            inbox.consume(n);
            self.pool.take_back(&mut inbox);
            self.upstream.inbox = inbox;
        }
        Ok(())
    }

    /// Processes all complete messages. Returns the number of bytes processed.
    fn process_replies(&mut self, bytes: &[u8]) -> Result<usize, EndReason> {
        let mut offset = 0;
        loop {
            // Until the Rversion arrives, this is the msize that was offered.
            match frame(&bytes[offset..], self.upstream.msize) {
                Frame::Incomplete => return Ok(offset),
                Frame::Message(n) => {
                    self.handle_reply(&bytes[offset..offset + n])?;
                    offset += n;
                }
                Frame::TooSmall => {
                    return Err(EndReason::garbled("a message shorter than its header"));
                }
                Frame::TooLarge(size) => {
                    let max = self.upstream.msize;
                    return Err(EndReason::garbled(format!(
                        "a message of {size} bytes, msize is {max}"
                    )));
                }
            }
        }
    }

    #[inline]
    fn handle_reply(&mut self, message: &[u8]) -> Result<(), EndReason> {
        if self.tracer.is_some() {
            self.trace(TraceEvent::FromServer(message));
        }
        let upstream_tag = tag(message);
        if upstream_tag == NOTAG && self.upstream.deadline().is_some() {
            return self.handle_rversion(message);
        }
        if kind(message) == types::RVERSION {
            return Err(EndReason::garbled("an Rversion that was not asked for"));
        }
        let request = match self.requests.find(upstream_tag) {
            Some(request) if !request.replied => *request,
            _ => {
                self.stats.dropped += 1;
                self.trace(TraceEvent::Dropped(message));
                return Ok(());
            }
        };
        let dialect = self.upstream.dialect;
        let answer = kind(message);
        let failed = answer == dialect.error_type();
        let fits = failed || answer == request.kind + 1;
        match check_reply(dialect, message) {
            Ok(reply) if fits && is_consistent(&request, message, reply) => {
                if request.kind == types::TFLUSH {
                    self.requests.free(upstream_tag);
                    self.handle_rflush(request.flush_target);
                    return Ok(());
                }
                let outcome = match failed {
                    true => ReplyOutcome::Error,
                    false if request.kind == types::TWALK && reply.walked < request.name_count => {
                        ReplyOutcome::PartialWalk
                    }
                    false => ReplyOutcome::Success,
                };
                self.complete_request(upstream_tag, &request, outcome, Some((message, reply)));
            }
            _ => self.handle_unexpected(upstream_tag, &request, message),
        }
        Ok(())
    }

    /// The server has sent a reply that does not fit the request with its tag. Only that request fails.
    #[cold]
    fn handle_unexpected(&mut self, upstream_tag: u16, request: &UpstreamRequest, message: &[u8]) {
        self.stats.unexpected += 1;
        self.trace(TraceEvent::Unexpected(message));
        if request.kind == types::TFLUSH {
            // As after an error reply to a Tflush.
            self.requests.free(upstream_tag);
            self.handle_rflush(request.flush_target);
            return;
        }
        let dialect = self.upstream.dialect;
        match foreign_error::translate(dialect, message) {
            Some(error) => {
                let reply = Some((&error[..], ReplyFields::default()));
                self.complete_request(upstream_tag, request, ReplyOutcome::Error, reply);
            }
            None => self.complete_request(upstream_tag, request, ReplyOutcome::Unknown, None),
        }
    }

    /// A request has its outcome, and a reply unless that is unknown.
    #[inline]
    fn complete_request(
        &mut self,
        upstream_tag: u16,
        request: &UpstreamRequest,
        outcome: ReplyOutcome,
        reply: Option<(&[u8], ReplyFields)>,
    ) {
        self.apply_to_fids(request, outcome);
        if let Owner::Client(client_index) = request.owner {
            self.deliver_reply(client_index, request, reply);
        }
        if request.flush == FlushState::None {
            self.finish_request(upstream_tag);
        } else {
            self.requests.get(upstream_tag).replied = true;
        }
        if request.kind == types::TATTACH && request.owner == Owner::Internal {
            self.handle_shared_attach_reply(reply.map(|reply| reply.0), outcome);
        }
    }

    #[inline]
    fn deliver_reply(
        &mut self,
        client_index: u32,
        request: &UpstreamRequest,
        reply: Option<(&[u8], ReplyFields)>,
    ) {
        let client = self.clients.get(client_index);
        client.session.tags.remove(&request.tag);
        client.session.reply_bytes_reserved -= request.max_reply_len as usize;
        let msize = client.session.msize;
        let Some((message, reply)) = reply else {
            self.push_error(client_index, request.tag, LocalError::UnexpectedReply);
            self.unblock(client_index);
            return;
        };
        if request.attach_by_walk && kind(message) == types::RWALK {
            self.push_rattach(client_index, request.tag);
        } else {
            let fits = message.len() <= msize as usize;
            if !fits
                && request.creates != NO_FID
                && self.fids.get(request.creates).state == FidState::Live
            {
                self.mark_uncertain(request.creates);
            }
            self.forward_reply(client_index, request.tag, message, |message| {
                if let Some(offset) = reply.iounit {
                    let max = msize - IO_HEADER;
                    if u32_at(message, offset as usize) > max {
                        put_u32(message, offset as usize, max);
                    }
                }
            });
        }
        self.unblock(client_index);
    }

    /// Forwards a reply to its client, or an error if the reply does not fit the client's msize.
    #[inline]
    pub(super) fn forward_reply(
        &mut self,
        client_index: u32,
        client_tag: u16,
        message: &[u8],
        patch: impl FnOnce(&mut [u8]),
    ) {
        if message.len() > self.clients.get(client_index).session.msize as usize {
            self.push_error(client_index, client_tag, LocalError::ReplyTooLarge);
        } else {
            self.stats.replied += 1;
            self.push_to_client(client_index, message, |message| {
                put_tag(message, client_tag);
                patch(message);
            });
        }
    }

    /// Ends a request: frees its tag, and releases its fids.
    #[inline]
    pub(super) fn finish_request(&mut self, upstream_tag: u16) {
        let request = *self.requests.get(upstream_tag);
        self.requests.free(upstream_tag);
        if request.kind == types::TCLUNK && request.owner == Owner::Internal && request.tag == NOTAG
        {
            self.upstream.internal_clunks -= 1;
        }
        for fid in request.fids {
            if fid != NO_FID {
                self.fids.drop_reference(fid);
                self.release_if_unused(fid);
            }
        }
        if let Owner::Cleanup(cleanup_index) = request.owner {
            self.cleanup_progress(cleanup_index);
        }
    }
}

/// Returns true if a valid reply is a possible one to this request.
#[inline]
fn is_consistent(request: &UpstreamRequest, message: &[u8], reply: ReplyFields) -> bool {
    // Clients take an Rlerror of 0 for success.
    let no_error = kind(message) == types::RLERROR && u32_at(message, HEADER) == 0;
    reply.walked <= request.name_count && !no_error
}
