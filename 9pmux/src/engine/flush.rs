//! Tflush. A client's flush of a request becomes one of ours, after its victim; its Rflush, with the
//! Rflush of every other flush of the same request, is sent when ours is answered. So a request is
//! flushed once upstream, and a server that answers only the last of several flushes makes no
//! difference.

use std::collections::hash_map::Entry;

use super::Engine;
use super::clients::{Blocked, ClientFlush};
use super::fids::{Fate, NONE, Owner};
use super::inbox::Progress;
use super::refusal::Refusal;
use super::requests::Flush;
use crate::wire::{HEADER, check_request, tag, u16_at};

/// So many flushes of a client may be open, however many requests it may have: each of its messages is held
/// against them. More wait, as requests do, until one is answered.
const FLUSHES: usize = 256;

/// What became of a request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    Done,
    /// A walk that did not get to its end.
    Partly,
    Failed,
}

impl Engine {
    /// A client's Tflush. What it flushes is upstream, or nowhere: [`process_out_of_order`](Engine::process_out_of_order)
    /// has looked among those that wait.
    pub(super) fn flush(&mut self, c: u32, message: &[u8]) -> Progress {
        let its_tag = tag(message);
        if check_request(self.upstream.dialect, message).is_err() {
            return self.reject_message(c, message, Refusal::Malformed);
        }
        let oldtag = u16_at(message, HEADER);
        let client = self.clients.get(c);
        // A tag that is flushed already, though answered meanwhile, is not free for its client before
        // that flush is answered; and the flush of a flush ends with that.
        let flushing = client.flushes.iter().rev().find(|f| f.oldtag == oldtag || f.tag == oldtag);
        let victim = client.tags.get(&oldtag).copied().or(flushing.map(|f| f.victim));
        let Some(victim) = victim.filter(|_| oldtag != its_tag) else {
            let consumed = self.consume_message(c, message);
            self.answer_flush(c, its_tag);
            return consumed;
        };
        if client.flushes.len() >= self.config.max_inflight.min(FLUSHES) {
            return Progress::Blocked(Blocked::OnSelf);
        }
        client.flushes.push(ClientFlush { tag: its_tag, oldtag, victim });
        let consumed = self.consume_message(c, message);
        self.flush_request(victim);
        consumed
    }

    /// Has a request upstream flushed, if it is not yet.
    pub(super) fn flush_request(&mut self, victim: u16) {
        if self.requests.get(victim).flush == Flush::None && !self.send_flush(victim) {
            self.requests.get(victim).flush = Flush::Due;
            self.upstream.flushes.push_back(victim);
        }
    }

    /// The server has answered our flush of this request: its reply has come before, or never will.
    pub(super) fn flushed(&mut self, victim: u16) {
        let request = *self.requests.get(victim);
        if !request.answered {
            if request.creates != NONE {
                self.doubt(request.creates);
            }
            if request.releases != NONE {
                self.still_is(request.releases);
            }
            if let Owner::Client(c) = request.owner {
                let client = self.clients.get(c);
                client.tags.remove(&request.tag);
                client.reply_bytes_reserved -= request.room as usize;
            }
        }
        if let Owner::Client(c) = request.owner {
            while let Some(i) = self.clients.get(c).flushes.iter().position(|f| f.victim == victim)
            {
                let flushing = self.clients.get(c).flushes.remove(i);
                self.answer_flush(c, flushing.tag);
            }
            self.clients.get(c).shrink_flushes();
            self.go_on(c);
        }
        self.end_request(victim);
    }

    /// A fid that was to be created has not been.
    pub(super) fn never_was(&mut self, fid: u32) {
        self.fids.get(fid).fate = Fate::Dead;
        self.unname(fid);
    }

    /// A fid was to be created by a request that has been flushed. By the rules it is not there, but some
    /// servers do what they no longer answer, and the next to have the number should not find out: it
    /// is clunked to be sure. So is one that is there, when its client has been told of an error instead.
    pub(super) fn doubt(&mut self, fid: u32) {
        self.fids.get(fid).fate = Fate::Doubtful;
        self.unname(fid);
    }

    fn unname(&mut self, fid: u32) {
        let record = self.fids.get(fid);
        if record.named {
            record.named = false;
            if let Owner::Client(c) = record.owner {
                let name = record.name;
                let client = self.clients.get(c);
                client.fids.remove(&name);
                client.shrink_fids();
            }
        }
    }

    /// A fid that was to be released has not been. Its client has it again, unless it has given the name
    /// to another meanwhile, or the fid was never made.
    fn still_is(&mut self, fid: u32) {
        let record = self.fids.get(fid);
        let (Owner::Client(c), Fate::Live | Fate::Pending) = (record.owner, record.fate) else {
            return;
        };
        if let Entry::Vacant(place) = self.clients.get(c).fids.entry(record.name) {
            place.insert(fid);
            record.named = true;
        }
    }

    /// A fid is mentioned once less, or has lost its name: whether it is free now, or is to be clunked.
    #[inline]
    pub(super) fn let_go(&mut self, fid: u32) {
        let record = self.fids.get(fid);
        if record.named || record.users > 0 {
            return;
        }
        let owner = record.owner;
        if let Fate::Live | Fate::Doubtful = record.fate {
            if let Owner::Client(_) = owner {
                record.owner = Owner::Nobody;
            }
            self.upstream.clunks.push_back(fid);
        } else {
            self.fids.give_back(fid);
            if let Owner::Cleanup(g) = owner {
                self.cleaned(g);
            }
        }
        if let Owner::Client(c) = owner {
            self.clients.get(c).auths.retain(|auth| auth.fid != fid);
        }
    }
}
