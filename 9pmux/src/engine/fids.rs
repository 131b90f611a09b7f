//! Fids upstream: whose they are, and whether they exist. See the table in `mod.rs`.

use super::numbers::Numbers;
use crate::wire::NOFID;

/// Whose something upstream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Ours: nobody waits for what becomes of it.
    Nobody,
    /// The client's in that place.
    Client(u32),
    /// What is left of a client, or of an earlier session of one.
    Cleanup(u32),
}

/// Whether a fid exists at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Pending,
    Live,
    /// The request that was to create it has been flushed, and some servers do what they no longer
    /// answer; or it is there, and its client can not be told. Its client does not have it.
    Doubtful,
    Dead,
}

#[derive(Clone, Copy, Debug)]
pub struct Fid {
    pub owner: Owner,
    /// What the client calls it.
    pub name: u32,
    /// How many requests upstream mention it.
    pub users: u32,
    pub fate: Fate,
    /// Whether the client has it, or we keep it.
    pub named: bool,
}

/// All that are taken, by number.
#[derive(Default)]
pub struct Fids {
    numbers: Numbers,
    records: Vec<Fid>,
}

/// No fid upstream.
pub const NONE: u32 = NOFID;

impl Fids {
    pub fn taken(&self) -> usize {
        self.numbers.taken()
    }

    /// A number for the fid that its client calls `name`, to be created. The caller has seen to it that
    /// there are fewer than there may be.
    pub fn take(&mut self, client: u32, name: u32) -> u32 {
        let number = self.numbers.take();
        debug_assert!(number != NONE);
        let fid =
            Fid { owner: Owner::Client(client), name, users: 0, fate: Fate::Pending, named: true };
        match self.records.get_mut(number as usize) {
            Some(record) => *record = fid,
            // The lowest free number is at most one more than the highest ever taken.
            None => self.records.push(fid),
        }
        number
    }

    /// A number for a fid of ours, to be created, and kept.
    pub fn take_ours(&mut self) -> u32 {
        let number = self.take(0, NONE);
        self.get(number).owner = Owner::Nobody;
        number
    }

    #[inline]
    pub fn get(&mut self, number: u32) -> &mut Fid {
        &mut self.records[number as usize]
    }

    pub fn give_back(&mut self, number: u32) {
        self.numbers.give_back(number);
        self.records[number as usize].owner = Owner::Nobody;
        self.records[number as usize].fate = Fate::Dead;
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn is_taken(&self, number: u32) -> bool {
        self.numbers.is_taken(number)
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn records(&self) -> &[Fid] {
        &self.records
    }
}
