//! The locks of fids, as far as the replies to Tlock say so.

use std::collections::HashMap;

use crate::engine::hasher::SeededState;
use crate::wire::{HEADER, put_u32, u32_at};

/// The maximum number of Tlock that are remembered for one fid. The locks of a fid with more are lost with the
/// server.
const MAX_LOCKS: usize = 256;

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
    pub fn record(&mut self, fid: u32, request: &[u8], reply: &[u8]) {
        if !is_granted(reply) || request.len() < OWNER {
            return;
        }
        let locks = self.by_fid.entry(fid).or_default();
        let (unlocks, range, owner) =
            (request[0] == UNLOCK, &request[START..OWNER], &request[OWNER..]);
        let is_all = unlocks && range.iter().all(|byte| *byte == 0);
        let is_replaced =
            |other: &[u8]| other[OWNER..] == *owner && (is_all || other[START..OWNER] == *range);
        locks.requests.retain(|other| !is_replaced(other));
        // A part may have been unlocked of a range that was locked before.
        if !unlocks || !is_all && !locks.requests.is_empty() {
            if locks.requests.len() < MAX_LOCKS {
                let mut request: Box<[u8]> = request.into();
                let flags = u32_at(&request, FLAGS) & !BLOCKING;
                put_u32(&mut request, FLAGS, flags);
                locks.requests.push(request);
            } else {
                locks.are_too_many = true;
            }
        }
        let are_unlocks = locks.requests.iter().all(|request| request[0] == UNLOCK);
        if are_unlocks && !locks.are_too_many {
            self.by_fid.remove(&fid);
        }
    }

    /// A fid has been freed.
    pub fn forget(&mut self, fid: u32) {
        if !self.by_fid.is_empty() {
            self.by_fid.remove(&fid);
        }
    }
}
