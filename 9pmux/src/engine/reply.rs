//! The server's bytes: framed, and each reply forwarded to the client that sent the request.

use super::config::ServerKind;
use super::descriptors::DescriptorUse;
use super::far_end::KEEPALIVE_TAG;
use super::fids::{FidState, NO_FID, Owner};
use super::flush::FlushState;
use super::local_error::LocalError;
use super::requests::UpstreamRequest;
use super::shares::TAGS;
use super::{EndReason, Engine, TraceEvent, VersionEvent, foreign_error};
use crate::wire::{
    Foreign, Frame, HEADER, IO_HEADER, NOTAG, ReplyFields, check_reply, foreign, frame, kind,
    put_tag, put_u32, tag, types, u32_at,
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
        while !rest.is_empty() && !self.upstream.is_leaving() {
            if self.upstream.inbox.is_empty() {
                rest = &rest[self.process_replies(rest)?..];
                if !rest.is_empty() {
                    // The rest of a large message is read into the same memory.
                    let len = message_len(rest);
                    self.pool.lend(&mut self.upstream.inbox, len);
                    self.upstream.inbox.append(rest);
                    self.upstream.inbox.reserve_message(len);
                }
                return Ok(());
            }
            let part = self.upstream.inbox.as_slice();
            let n = message_len(part).saturating_sub(part.len()).clamp(1, rest.len());
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

    /// Processes all complete messages, or those until the connection must be made again: what follows is
    /// dropped with it. Returns the number of bytes processed.
    fn process_replies(&mut self, bytes: &[u8]) -> Result<usize, EndReason> {
        let mut offset = 0;
        loop {
            // Until the Rversion arrives, this is the msize that was offered.
            let max = self.upstream.msize.max(self.upstream.larger_msize);
            match frame(&bytes[offset..], max) {
                Frame::Incomplete => {
                    // A record of TLS may look like the beginning of a large message.
                    if self.upstream.is_awaiting_version()
                        && foreign(&bytes[offset..]) == Some(Foreign::Tls)
                    {
                        return Err(EndReason::garbled(Foreign::Tls.to_string()));
                    }
                    return Ok(offset);
                }
                Frame::Message(n) => {
                    self.handle_reply(&bytes[offset..offset + n])?;
                    offset += n;
                    if self.upstream.is_leaving() {
                        return Ok(bytes.len());
                    }
                }
                Frame::TooSmall => {
                    return Err(EndReason::garbled("a message shorter than its header"));
                }
                Frame::TooLarge(size) => {
                    if let Some(other) = foreign(&bytes[offset..]) {
                        return Err(EndReason::garbled(other.to_string()));
                    }
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
        if upstream_tag == NOTAG && self.take_late_version(message) {
            return self.drop_stray(message);
        }
        if upstream_tag == NOTAG && self.upstream.is_awaiting_version() {
            return self.handle_rversion(message);
        }
        let request = match self.requests.find(upstream_tag) {
            Some(request) if !request.replied && !request.is_held => *request,
            _ if upstream_tag == KEEPALIVE_TAG && self.upstream.awaits_keepalive => {
                self.upstream.awaits_keepalive = false;
                return Ok(());
            }
            _ => return self.drop_stray(message),
        };
        let is_success = |reply: &ReplyFields| {
            kind(message) == request.kind + 1
                && reply.walked == request.name_count
                && request.kind != types::TFLUSH
        };
        match check_reply(self.upstream.dialect, message) {
            Ok(reply) if is_success(&reply) => {
                let reply = Some((message, reply));
                self.complete_request(upstream_tag, &request, ReplyOutcome::Success, reply);
                Ok(())
            }
            checked => self.handle_other_reply(upstream_tag, &request, message, checked.ok()),
        }
    }

    /// Handles an error, a partial Rwalk, a reply to a Tflush, and a reply that does not fit its request.
    #[inline(never)]
    fn handle_other_reply(
        &mut self,
        upstream_tag: u16,
        request: &UpstreamRequest,
        message: &[u8],
        checked: Option<ReplyFields>,
    ) -> Result<(), EndReason> {
        let answer = kind(message);
        let failed = answer == self.upstream.dialect.error_type();
        let translated;
        let (outcome, reply) = match checked {
            Some(reply) if failed && has_error(message) => {
                (ReplyOutcome::Error, Some((message, reply)))
            }
            Some(reply) if answer == request.kind + 1 && reply.walked == request.name_count => {
                (ReplyOutcome::Success, Some((message, reply)))
            }
            Some(reply) if answer == types::RWALK && reply.walked < request.name_count => {
                (ReplyOutcome::PartialWalk, Some((message, reply)))
            }
            _ => {
                translated = self.translate_unexpected(message)?;
                match &translated {
                    Some(error) => {
                        (ReplyOutcome::Error, Some((&error[..], ReplyFields::default())))
                    }
                    None => (ReplyOutcome::Unknown, None),
                }
            }
        };
        if request.kind == types::TAUTH && failed && self.config.require_auth {
            self.version_events.push(VersionEvent::AuthRefused);
        }
        if request.kind == types::TFLUSH {
            // Any reply to a Tflush is taken for an Rflush.
            if request.is_counted_flush() {
                self.count_flush(request.user, false);
            }
            self.free_tag(upstream_tag, request);
            self.handle_rflush(request.flush_target);
        } else {
            self.complete_request(upstream_tag, request, outcome, reply);
        }
        Ok(())
    }

    /// Applies a reply to the request's fids, delivers it to the client, and ends the request.
    #[inline(always)]
    fn complete_request(
        &mut self,
        upstream_tag: u16,
        request: &UpstreamRequest,
        outcome: ReplyOutcome,
        reply: Option<(&[u8], ReplyFields)>,
    ) {
        self.apply_to_fids(request, outcome);
        if self.restore.is_some() {
            self.handle_restorable_reply(upstream_tag, request, outcome, reply.map(|r| r.0));
        }
        match request.owner {
            Owner::Client(client_index) => self.deliver_reply(client_index, request, reply),
            Owner::Descriptor(descriptor) => {
                let reply = reply.map(|reply| reply.0);
                self.handle_descriptor_reply(descriptor, request, reply, outcome);
            }
            Owner::Internal | Owner::Cleanup(_) => {}
        }
        if request.flush == FlushState::None {
            self.finish_request(upstream_tag, request);
        } else {
            self.requests.get(upstream_tag).replied = true;
            self.upstream.deferred_flushes.retry_passed();
        }
        if request.kind == types::TATTACH && request.owner == Owner::Internal {
            let fid = request.fids[0];
            self.handle_shared_attach_reply(fid, reply.map(|reply| reply.0), outcome);
        }
    }

    /// The server has sent a message with a tag that no request has.
    #[cold]
    fn drop_stray(&mut self, message: &[u8]) -> Result<(), EndReason> {
        if self.config.server != ServerKind::FarEnd {
            check_version_due(message)?;
        }
        self.stats.dropped += 1;
        self.trace(TraceEvent::Dropped(message));
        Ok(())
    }

    /// The server has sent a reply that does not fit the request with its tag. Only that request fails,
    /// with the returned error if it is one in another form.
    #[cold]
    fn translate_unexpected(&mut self, message: &[u8]) -> Result<Option<Vec<u8>>, EndReason> {
        check_version_due(message)?;
        self.stats.unexpected += 1;
        self.trace(TraceEvent::Unexpected(message));
        Ok(foreign_error::translate(self.upstream.dialect, message))
    }

    #[inline(always)]
    fn deliver_reply(
        &mut self,
        client_index: u32,
        request: &UpstreamRequest,
        reply: Option<(&[u8], ReplyFields)>,
    ) {
        self.counters.add_latency(request.kind, request.sent_at);
        let client = self.clients.get(client_index);
        client.session.remove_tag(request);
        client.served = true;
        if request.has_unbounded_reply {
            client.session.count_excess(request, reply.map_or(0, |(message, _)| message.len()));
        }
        let msize = client.session.msize;
        if client.tags() < TAGS.first {
            self.clients.count_firsts(client_index);
        }
        if request.descriptor_use == DescriptorUse::Opens {
            self.handle_openfd_reply(client_index, request, reply.map(|reply| reply.0));
            self.unblock(client_index);
            return;
        }
        let Some((message, reply)) = reply else {
            self.push_error(client_index, request.tag, LocalError::UnexpectedReply);
            self.unblock(client_index);
            return;
        };
        if request.attach_by_walk && kind(message) == types::RWALK {
            self.push_rattach(client_index, request.tag);
        } else {
            if message.len() > msize as usize
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
    #[inline(always)]
    pub(super) fn forward_reply(
        &mut self,
        client_index: u32,
        client_tag: u16,
        message: &[u8],
        patch: impl FnOnce(&mut [u8]),
    ) {
        if message.len() > self.clients.get(client_index).session.msize as usize {
            let why = LocalError::ReplyTooLarge;
            self.trace_refused(client_index, message, why.ename());
            self.push_error(client_index, client_tag, why);
        } else {
            self.stats.replied += 1;
            self.push_to_client(client_index, message, |message| {
                put_tag(message, client_tag);
                patch(message);
            });
        }
    }

    /// Ends a request: frees its tag, and releases its fids.
    #[inline(always)]
    pub(super) fn finish_request(&mut self, upstream_tag: u16, request: &UpstreamRequest) {
        self.free_tag(upstream_tag, request);
        if request.is_internal_clunk() {
            self.count_clunk(request.user, false);
        }
        for fid in request.fids {
            if fid != NO_FID {
                self.drop_reference(fid);
            }
        }
        if let Owner::Cleanup(cleanup_index) = request.owner {
            self.cleanup_progress(cleanup_index);
        }
    }
}

/// Returns true if a valid error reply has an error number: clients take an Rlerror of 0 for success.
#[inline]
fn has_error(message: &[u8]) -> bool {
    kind(message) != types::RLERROR || u32_at(message, HEADER) != 0
}

/// Returns an error if a message that was not expected is an Rversion, after which the server has no fids.
fn check_version_due(message: &[u8]) -> Result<(), EndReason> {
    match kind(message) {
        types::RVERSION => Err(EndReason::garbled("an Rversion that was not asked for")),
        _ => Ok(()),
    }
}

/// Returns the length of the message that begins with these bytes, or that of its header if the header is
/// incomplete. A length that the msize does not permit has ended the connection before.
fn message_len(beginning: &[u8]) -> usize {
    match beginning.first_chunk() {
        Some(size) if beginning.len() >= HEADER => u32::from_le_bytes(*size) as usize,
        _ => HEADER,
    }
}
