//! Held requests: requests of the lost connection that are sent again, each with the bytes, the tag and the fids
//! that it had.
//!
//! | event | effect on a held request |
//! |---|---|
//! | all its fids are restored, and the earlier ones of its client were sent | it is sent |
//! | one of its fids is dead | it gets the error of a dead fid |
//! | its client flushes it, leaves, or begins another session | it never happened |
//! | requests do not wait any more | it gets an error |
//!
//! Later requests of the client wait until none is held.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::engine::Engine;
use crate::engine::fids::{NO_FID, Owner};
use crate::engine::local_error::LocalError;
use crate::engine::requests::UpstreamRequest;
use crate::engine::session::DeadFid;
use crate::wire::{HEADER, types};

/// The held requests of all clients, and the clients that may go on.
#[derive(Default)]
pub struct Held {
    /// The upstream tags of the held requests of each client, in order.
    by_client: BTreeMap<u32, VecDeque<u16>>,
    len: usize,
    /// The clients with a fid that was restored.
    woken: BTreeSet<u32>,
}

impl Held {
    /// Returns the number of held requests.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true if a request of the client is held.
    pub fn has(&self, client_index: u32) -> bool {
        !self.by_client.is_empty() && self.by_client.contains_key(&client_index)
    }

    /// Returns the upstream tags of the held requests of a client, in order.
    pub fn of(&self, client_index: u32) -> Vec<u16> {
        self.by_client
            .get(&client_index)
            .map_or_else(Vec::new, |tags| tags.iter().copied().collect())
    }

    /// Returns the clients with held requests.
    pub fn clients(&self) -> Vec<u32> {
        self.by_client.keys().copied().collect()
    }

    /// Holds a request behind the others of its client.
    pub fn push(&mut self, client_index: u32, tag: u16) {
        self.by_client.entry(client_index).or_default().push_back(tag);
        self.len += 1;
    }

    /// Takes the held requests of all clients.
    pub fn take_all(&mut self) -> BTreeMap<u32, VecDeque<u16>> {
        self.len = 0;
        self.woken.clear();
        std::mem::take(&mut self.by_client)
    }

    fn remove(&mut self, client_index: u32, tag: u16) {
        if let Some(tags) = self.by_client.get_mut(&client_index) {
            let before = tags.len();
            tags.retain(|other| *other != tag);
            self.len -= before - tags.len();
            if tags.is_empty() {
                self.by_client.remove(&client_index);
            }
        }
    }

    /// Marks a client, which may continue, for the end of this event.
    pub fn wake(&mut self, client_index: u32) {
        self.woken.insert(client_index);
    }

    pub fn next_woken(&mut self) -> Option<u32> {
        self.woken.pop_first()
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn all(&self) -> &BTreeMap<u32, VecDeque<u16>> {
        &self.by_client
    }
}

impl Engine {
    /// Holds a request of the lost connection. It has no cost for the window any more.
    pub(super) fn hold_request(&mut self, client_index: u32, tag: u16) {
        let cost = self.requests.suspend(tag);
        self.clients.get(client_index).session.remove_cost(cost);
        if let Some(restore) = &mut self.restore {
            restore.held.push(client_index, tag);
        }
    }

    /// Sends the held requests of a client as far as its fids are restored and there is room. Returns true if
    /// none is left.
    pub(super) fn send_held(&mut self, client_index: u32) -> bool {
        loop {
            let Some(restore) = &self.restore else {
                return true;
            };
            let Some(tag) = restore.held.by_client.get(&client_index).and_then(VecDeque::front)
            else {
                return true;
            };
            let tag = *tag;
            let request = *self.requests.get(tag);
            if !self.are_fids_back(&request.fids) {
                return false;
            }
            let copy = self.restore.as_ref().map_or(&[][..], |restore| restore.copies.get(tag));
            let cost = self.cost(copy, request.max_reply_len);
            if !self.output_has_room() || !self.window_admits(client_index, cost) {
                if let Some(restore) = &mut self.restore {
                    restore.held.wake(client_index);
                }
                return false;
            }
            self.resend(client_index, tag, cost);
        }
    }

    fn resend(&mut self, client_index: u32, tag: u16, cost: u32) {
        self.requests.resume(tag, cost);
        self.clients.get(client_index).session.add_cost(cost);
        let Some(mut restore) = self.restore.take() else {
            return;
        };
        restore.held.remove(client_index, tag);
        let copy = restore.copies.take(tag);
        restore.note_sent(&copy.bytes);
        self.push_to_server(&copy.bytes, |_| ());
        let ends_at = self.upstream.written + self.upstream.out.len() as u64;
        restore.copies.put_back(tag, copy, ends_at, restore.names.writes());
        self.restore = Some(restore);
    }

    /// Ends a held request without a reply from a server. `why` is the error that it gets, if it gets one.
    pub(super) fn end_held(&mut self, client_index: u32, tag: u16, why: Option<LocalError>) {
        let request = *self.requests.get(tag);
        let Some(restore) = &mut self.restore else {
            return;
        };
        restore.held.remove(client_index, tag);
        if request.creates != NO_FID {
            self.mark_not_created(request.creates);
        }
        if request.releases != NO_FID && why.is_none() {
            self.restore(request.releases);
        }
        self.discard_request(tag, &request);
        // A request may name the same fid twice, and is the only one to keep it.
        let [first, second] = request.fids;
        let second = if second == first { NO_FID } else { second };
        for fid in [first, second].into_iter().filter(|fid| *fid != NO_FID) {
            if fid == request.releases && why.is_some() {
                self.fids.keep_for_replay(fid);
            }
            self.release_if_unused(fid);
        }
        match why {
            Some(_) if request.kind == types::TCLUNK => {
                self.push_reply(client_index, types::TCLUNK + 1, request.tag, &mut [0; HEADER]);
            }
            Some(why) => self.push_error(client_index, request.tag, why),
            None => {}
        }
    }

    /// Frees the tag of a request that has no reply from a server, with its copy and its references to fids.
    pub(super) fn discard_request(&mut self, tag: u16, request: &UpstreamRequest) {
        let mut copied = 0;
        if let Some(restore) = &mut self.restore {
            copied = restore.copies.drop(tag);
            restore.forget_departed_copy(request, copied);
        }
        if let (Owner::Client(client_index), false) = (request.owner, request.replied) {
            let session = &mut self.clients.get(client_index).session;
            session.copied -= copied;
            // Its cost may have changed since.
            let current = *self.requests.get(tag);
            session.remove_tag(&current);
            self.clients.count_firsts(client_index);
        }
        for fid in request.fids.into_iter().filter(|fid| *fid != NO_FID) {
            self.fids.drop_reference(fid);
        }
        self.free_tag(tag, request);
    }

    /// A client takes a request back. Returns true if it was held: then it never happened.
    pub(in crate::engine) fn take_back_held(&mut self, client_index: u32, tag: u16) -> bool {
        let is_held = self.restore.is_some() && self.requests.get(tag).is_held;
        if is_held {
            self.end_held(client_index, tag, None);
        }
        is_held
    }

    /// The session of a client ends: its held requests never happened.
    #[inline]
    pub(in crate::engine) fn drop_held(&mut self, client_index: u32) {
        if self.restore.as_ref().is_some_and(|restore| restore.held.has(client_index)) {
            self.end_all_held(client_index, None);
        }
    }

    /// Ends all held requests of a client.
    pub(super) fn end_all_held(&mut self, client_index: u32, why: Option<LocalError>) {
        let tags = self.restore.as_ref().map_or_else(Vec::new, |r| r.held.of(client_index));
        for tag in tags {
            self.end_held(client_index, tag, why);
        }
    }

    /// A fid is dead: the held requests that name it get an error.
    pub(super) fn fail_held_of(&mut self, client_index: u32, fid: u32, dead: DeadFid) {
        let tags = self.restore.as_ref().map_or_else(Vec::new, |r| r.held.of(client_index));
        for tag in tags {
            let request = *self.requests.get(tag);
            if request.fids.contains(&fid) {
                self.end_held(client_index, tag, Some(dead.error(request.kind)));
            }
        }
    }
}
