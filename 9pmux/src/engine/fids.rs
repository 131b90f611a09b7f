//! Fids upstream: whose they are, and whether they exist. See the table in `mod.rs`.

use super::number_pool::NumberPool;
use crate::wire::NOFID;

/// Whose something upstream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Ours: nobody waits for what becomes of it.
    Internal,
    /// The client's in that place.
    Client(u32),
    /// What is left of a client, or of an earlier session of one.
    Cleanup(u32),
}

/// Whether a fid exists at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FidState {
    Pending,
    Live,
    /// The request that was to create it has been flushed, and some servers do what they no longer
    /// answer; or it is there, and its client can not be told. Its client does not have it.
    Uncertain,
    Absent,
}

#[derive(Clone, Copy, Debug)]
pub struct Fid {
    pub owner: Owner,
    /// What the client calls it.
    pub client_fid: u32,
    /// How many requests upstream mention it.
    pub references: u32,
    pub state: FidState,
    /// Whether the client has it, or we keep it.
    pub bound: bool,
}

/// All that are taken, by number.
#[derive(Default)]
pub struct Fids {
    pool: NumberPool,
    records: Vec<Fid>,
}

/// No fid upstream.
pub const NO_FID: u32 = NOFID;

impl Fids {
    pub fn len(&self) -> usize {
        self.pool.allocated()
    }

    /// A number for the fid that its client calls `name`, to be created. The caller has seen to it that
    /// there are fewer than there may be.
    pub fn allocate(&mut self, client: u32, client_fid: u32) -> u32 {
        let number = self.pool.allocate();
        debug_assert!(number != NO_FID);
        let fid = Fid {
            owner: Owner::Client(client),
            client_fid,
            references: 0,
            state: FidState::Pending,
            bound: true,
        };
        match self.records.get_mut(number as usize) {
            Some(record) => *record = fid,
            // The lowest free number is at most one more than the highest ever taken.
            None => self.records.push(fid),
        }
        number
    }

    /// A number for a fid of ours, to be created, and kept.
    pub fn allocate_internal(&mut self) -> u32 {
        let number = self.allocate(0, NO_FID);
        self.get(number).owner = Owner::Internal;
        number
    }

    #[inline]
    pub fn get(&mut self, number: u32) -> &mut Fid {
        &mut self.records[number as usize]
    }

    pub fn free(&mut self, number: u32) {
        self.pool.free(number);
        self.records[number as usize].owner = Owner::Internal;
        self.records[number as usize].state = FidState::Absent;
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn is_allocated(&self, number: u32) -> bool {
        self.pool.is_allocated(number)
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn records(&self) -> &[Fid] {
        &self.records
    }
}
