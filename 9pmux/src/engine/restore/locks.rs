//! The locks of fids, as far as the replies to Tlock say so.

use std::collections::HashMap;

use super::budget::{Budget, Maker};
use crate::engine::hasher::SeededState;
use crate::wire::{HEADER, put_u32, u32_at};

/// The maximum number of Tlock that are remembered for one fid, and their memory. The locks of a fid with more are
/// lost with the server, and so are all locks for which its client has no memory (`budget.rs`).
const MAX_LOCKS: usize = 256;
const MAX_LOCK_BYTES: usize = 16 * 1024;

/// The memory of a Tlock beyond its bytes.
const LOCK_BYTES: usize = size_of::<Box<[u8]>>();

/// The status of a lock that was granted.
const SUCCESS: u8 = 0;
/// The type of a Tlock that unlocks.
const UNLOCK: u8 = 2;
/// The flag of a Tlock that waits.
const BLOCKING: u32 = 1;

/// The offsets of the fields of a Tlock, counted behind its fid.
const FLAGS: usize = 1;
const START: usize = 5;
const OWNER: usize = 21;

/// Returns true if a reply grants the lock.
pub fn is_granted(reply: &[u8]) -> bool {
    reply.get(HEADER) == Some(&SUCCESS)
}

/// The successful Tlock of one fid that are still in force, each without its fid.
#[derive(Default)]
pub struct FidLocks {
    pub requests: Vec<Box<[u8]>>,
    pub are_too_many: bool,
    /// The memory of the requests, and the client that has it counted.
    bytes: usize,
    client: u32,
}

impl FidLocks {
    /// Remembers a request, if there is memory for it. Otherwise all of them are forgotten.
    fn push(&mut self, request: &[u8], maker: Maker, budget: &mut Budget) {
        let cost = LOCK_BYTES + request.len();
        let has_room = self.requests.len() < MAX_LOCKS && self.bytes + cost <= MAX_LOCK_BYTES;
        if !has_room || !budget.admits(maker, cost) {
            self.are_too_many = true;
            return self.retain(budget, |_| false);
        }
        let mut request: Box<[u8]> = request.into();
        let flags = u32_at(&request, FLAGS) & !BLOCKING;
        put_u32(&mut request, FLAGS, flags);
        self.requests.push(request);
        self.bytes += cost;
        self.client = maker.client;
        budget.add(maker, cost);
    }

    fn retain(&mut self, budget: &mut Budget, mut is_kept: impl FnMut(&[u8]) -> bool) {
        self.requests.retain(|request| is_kept(request));
        let bytes = self.requests.iter().map(|request| LOCK_BYTES + request.len()).sum();
        budget.remove(self.client, std::mem::replace(&mut self.bytes, bytes) - bytes);
    }
}

/// The locks of all fids.
pub struct Locks {
    by_fid: HashMap<u32, FidLocks, SeededState>,
}

impl Locks {
    pub fn new(hasher: SeededState) -> Locks {
        Locks { by_fid: HashMap::with_hasher(hasher) }
    }

    /// Returns the locks of a fid that may hold some.
    pub fn of(&self, fid: u32) -> Option<&FidLocks> {
        self.by_fid.get(&fid)
    }

    /// A Tlock has a reply.
    pub fn record(
        &mut self,
        fid: u32,
        request: &[u8],
        reply: &[u8],
        maker: Maker,
        budget: &mut Budget,
    ) {
        if !is_granted(reply) || request.len() < OWNER {
            return;
        }
        let locks = self.by_fid.entry(fid).or_default();
        if locks.are_too_many {
            return;
        }
        let (unlocks, range, owner) =
            (request[0] == UNLOCK, &request[START..OWNER], &request[OWNER..]);
        let is_all = unlocks && range.iter().all(|byte| *byte == 0);
        let is_replaced =
            |other: &[u8]| other[OWNER..] == *owner && (is_all || other[START..OWNER] == *range);
        locks.retain(budget, |other| !is_replaced(other));
        // A part may have been unlocked of a range that was locked before.
        if !unlocks || !is_all && !locks.requests.is_empty() {
            locks.push(request, maker, budget);
        }
        let are_unlocks = locks.requests.iter().all(|request| request[0] == UNLOCK);
        if are_unlocks && !locks.are_too_many {
            self.forget(fid, budget);
        }
    }

    /// A fid has been freed.
    pub fn forget(&mut self, fid: u32, budget: &mut Budget) {
        if self.by_fid.is_empty() {
            return;
        }
        if let Some(mut locks) = self.by_fid.remove(&fid) {
            locks.retain(budget, |_| false);
        }
    }

    /// Returns the memory of the locks of each fid, and the client that has it counted.
    #[cfg(any(test, mux_fuzz))]
    pub fn costs(&self) -> impl Iterator<Item = (u32, usize)> {
        self.by_fid.values().filter(|l| l.bytes > 0).map(|locks| (locks.client, locks.bytes))
    }
}
