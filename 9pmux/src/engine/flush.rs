//! Tflush. A client's flush of a request becomes one of ours, after its victim; its Rflush, with the
//! Rflush of every other flush of the same request, is sent when ours is answered. So a request is
//! flushed once upstream, and a server that answers only the last of several flushes makes no
//! difference.

use std::collections::hash_map::Entry;

use super::Engine;
use super::clients::Blocked;
use super::fids::{FidState, NO_FID, Owner};
use super::inbox::Progress;
use super::local_error::LocalError;
use super::requests::FlushState;
use super::session::ClientFlush;
use crate::wire::{HEADER, check_request, tag, u16_at};

/// So many flushes of a client may be open, however many requests it may have: each of its messages is held
/// against them. More wait, as requests do, until one is answered.
const MAX_CLIENT_FLUSHES: usize = 256;

/// What became of a request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyOutcome {
    Success,
    /// A walk that did not get to its end.
    PartialWalk,
    Error,
}

impl Engine {
    /// A client's Tflush. What it flushes is upstream, or nowhere: [`process_out_of_order`](Engine::process_out_of_order)
    /// has looked among those that wait.
    pub(super) fn handle_tflush(&mut self, client_index: u32, message: &[u8]) -> Progress {
        let client_tag = tag(message);
        if check_request(self.upstream.dialect, message).is_err() {
            return self.reject_message(client_index, message, LocalError::Malformed);
        }
        let oldtag = u16_at(message, HEADER);
        let client = self.clients.get(client_index);
        // A tag that is flushed already, though answered meanwhile, is not free for its client before
        // that flush is answered; and the flush of a flush ends with that.
        let flushing =
            client.session.flushes.iter().rev().find(|f| f.oldtag == oldtag || f.tag == oldtag);
        let flush_target =
            client.session.tags.get(&oldtag).copied().or(flushing.map(|f| f.flush_target));
        let Some(flush_target) = flush_target.filter(|_| oldtag != client_tag) else {
            let consumed = self.consume_message(client_index, message);
            self.push_rflush(client_index, client_tag);
            return consumed;
        };
        if client.session.flushes.len() >= self.config.max_inflight.min(MAX_CLIENT_FLUSHES) {
            return Progress::Blocked(Blocked::OnSelf);
        }
        client.session.flushes.push(ClientFlush { tag: client_tag, oldtag, flush_target });
        let consumed = self.consume_message(client_index, message);
        self.flush_request(flush_target);
        consumed
    }

    /// Has a request upstream flushed, if it is not yet.
    pub(super) fn flush_request(&mut self, flush_target: u16) {
        if self.requests.get(flush_target).flush == FlushState::None
            && !self.send_flush(flush_target)
        {
            self.requests.get(flush_target).flush = FlushState::Due;
            self.upstream.deferred_flushes.push_back(flush_target);
        }
    }

    /// The server has answered our flush of this request: its reply has come before, or never will.
    pub(super) fn handle_rflush(&mut self, flush_target: u16) {
        let request = *self.requests.get(flush_target);
        if !request.replied {
            if request.creates != NO_FID {
                self.mark_uncertain(request.creates);
            }
            if request.releases != NO_FID {
                self.restore(request.releases);
            }
            if let Owner::Client(client_index) = request.owner {
                let client = self.clients.get(client_index);
                client.session.tags.remove(&request.tag);
                client.session.reply_bytes_reserved -= request.max_reply_len as usize;
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
            self.unblock(client_index);
        }
        self.finish_request(flush_target);
    }

    /// A fid that was to be created has not been.
    pub(super) fn mark_not_created(&mut self, fid: u32) {
        self.fids.get(fid).state = FidState::Absent;
        self.unbind(fid);
    }

    /// A fid was to be created by a request that has been flushed. By the rules it is not there, but some
    /// servers do what they no longer answer, and the next to have the number should not find out: it
    /// is clunked to be sure. So is one that is there, when its client has been told of an error instead.
    pub(super) fn mark_uncertain(&mut self, fid: u32) {
        self.fids.get(fid).state = FidState::Uncertain;
        self.unbind(fid);
    }

    fn unbind(&mut self, fid: u32) {
        let record = self.fids.get(fid);
        if record.bound {
            record.bound = false;
            if let Owner::Client(client_index) = record.owner {
                let name = record.client_fid;
                let client = self.clients.get(client_index);
                client.session.fids.remove(&name);
                client.session.shrink_fids();
            }
        }
    }

    /// A fid that was to be released has not been. Its client has it again, unless it has given the name
    /// to another meanwhile, or the fid was never made.
    fn restore(&mut self, fid: u32) {
        let record = self.fids.get(fid);
        let (Owner::Client(client_index), FidState::Live | FidState::Pending) =
            (record.owner, record.state)
        else {
            return;
        };
        if let Entry::Vacant(place) =
            self.clients.get(client_index).session.fids.entry(record.client_fid)
        {
            place.insert(fid);
            record.bound = true;
        }
    }

    /// A fid is mentioned once less, or has lost its name: whether it is free now, or is to be clunked.
    #[inline]
    pub(super) fn release_if_unused(&mut self, fid: u32) {
        let record = self.fids.get(fid);
        if record.bound || record.references > 0 {
            return;
        }
        let owner = record.owner;
        if let FidState::Live | FidState::Uncertain = record.state {
            if let Owner::Client(_) = owner {
                record.owner = Owner::Internal;
            }
            self.upstream.deferred_clunks.push_back(fid);
        } else {
            self.fids.free(fid);
            if let Owner::Cleanup(cleanup_index) = owner {
                self.cleanup_progress(cleanup_index);
            }
        }
        if let Owner::Client(client_index) = owner {
            self.clients.get(client_index).session.auths.retain(|auth| auth.fid != fid);
        }
    }
}
