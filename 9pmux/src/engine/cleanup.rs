//! What a client leaves behind, when it goes or begins a new session: requests that are flushed, fids
//! that are clunked, all at once, and counted until the last is free.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fids::{NO_FID, Owner};
use super::{ClientId, Engine};

/// What is left of one session.
struct Cleanup {
    left: usize,
    /// The client whose new session waits for this, and until when.
    waits: Option<(Duration, ClientId)>,
}

/// All that are not done.
#[derive(Default)]
pub struct Cleanups {
    places: Vec<Cleanup>,
    vacant: Vec<u32>,
    /// Those that a new session waits for, by when that is late.
    waiting: BTreeSet<(Duration, u32)>,
    left: usize,
}

impl Cleanups {
    /// How many requests and fids there are.
    pub fn left(&self) -> usize {
        self.left
    }

    fn begin(&mut self) -> u32 {
        let cleanup = Cleanup { left: 0, waits: None };
        match self.vacant.pop() {
            Some(g) => {
                self.places[g as usize] = cleanup;
                g
            }
            None => {
                self.places.push(cleanup);
                self.places.len() as u32 - 1
            }
        }
    }

    fn count(&mut self, g: u32) {
        self.places[g as usize].left += 1;
        self.left += 1;
    }

    /// Has the client told when this is done, or `late`.
    pub fn tell(&mut self, g: u32, client: ClientId, late: Duration) {
        self.places[g as usize].waits = Some((late, client));
        self.waiting.insert((late, g));
    }

    /// The client that waits for this, which it does no longer.
    fn told(&mut self, g: u32) -> Option<ClientId> {
        let (late, client) = self.places[g as usize].waits.take()?;
        self.waiting.remove(&(late, g));
        Some(client)
    }

    /// The earliest time that one is late.
    pub fn deadline(&self) -> Option<Duration> {
        self.waiting.first().map(|waiting| waiting.0)
    }

    pub fn clear(&mut self) {
        *self = Cleanups::default();
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn left_of(&self) -> Vec<usize> {
        self.places.iter().map(|cleanup| cleanup.left).collect()
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn audit(&self) {
        let waits = |g: u32| self.places[g as usize].waits.map(|waits| (waits.0, g));
        assert!(self.waiting.iter().all(|waiting| waits(waiting.1) == Some(*waiting)));
        let waiting = self.places.iter().filter(|cleanup| cleanup.waits.is_some());
        assert_eq!(waiting.count(), self.waiting.len());
        for g in &self.vacant {
            assert!(self.places[*g as usize].left == 0 && waits(*g).is_none());
        }
    }
}

impl Engine {
    /// Takes from a client all that it has upstream. Answers what is left of it, if anything.
    pub(super) fn clean_up(&mut self, c: u32) -> Option<u32> {
        let client = self.clients.get(c);
        client.reply_bytes_reserved = 0;
        client.auths = Vec::new();
        let flushes = std::mem::take(&mut client.flushes);
        let mix = *client.tags.hasher();
        let tags = std::mem::replace(&mut client.tags, std::collections::HashMap::with_hasher(mix));
        let fids = std::mem::replace(&mut client.fids, std::collections::HashMap::with_hasher(mix));
        if tags.is_empty() && fids.is_empty() && flushes.is_empty() {
            return None;
        }
        let g = self.cleanups.begin();
        for &fid in fids.values() {
            self.fids.get(fid).bound = false;
            self.inherit(g, fid);
        }
        // Those that are answered and wait for an Rflush have no tag of the client's any more.
        for up in tags.into_values().chain(flushes.into_iter().map(|f| f.flush_target)) {
            let request = self.requests.get(up);
            if request.owner == Owner::Cleanup(g) {
                continue;
            }
            request.owner = Owner::Cleanup(g);
            let mentioned = request.fids;
            self.cleanups.count(g);
            for fid in mentioned.into_iter().filter(|fid| *fid != NO_FID) {
                self.inherit(g, fid);
            }
            self.flush_request(up);
        }
        for fid in fids.into_values() {
            self.release_if_unused(fid);
        }
        Some(g)
    }

    fn inherit(&mut self, g: u32, fid: u32) {
        let record = self.fids.get(fid);
        if let Owner::Client(_) = record.owner {
            record.owner = Owner::Cleanup(g);
            self.cleanups.count(g);
        }
    }

    /// One request or fid less.
    pub(super) fn cleaned(&mut self, g: u32) {
        self.cleanups.left -= 1;
        let cleanup = &mut self.cleanups.places[g as usize];
        cleanup.left -= 1;
        if cleanup.left == 0 {
            let client = self.cleanups.told(g);
            self.cleanups.vacant.push(g);
            self.greet_again(client);
        }
    }

    /// New sessions that have waited long enough begin.
    pub(super) fn late_cleanups(&mut self) {
        while let Some(&(late, g)) = self.cleanups.waiting.first() {
            if late > self.now {
                return;
            }
            let client = self.cleanups.told(g);
            self.greet_again(client);
        }
    }

    fn greet_again(&mut self, client: Option<ClientId>) {
        if let Some(c) = client.and_then(|id| self.clients.index_of(id)) {
            self.greet(c);
        }
    }
}
