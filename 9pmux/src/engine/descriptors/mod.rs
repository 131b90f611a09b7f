//! Descriptors: with Topenfd, a client asks for a Unix descriptor in place of an open fid.
//!
//! The driver makes a pair of sockets. It passes one to the client, which may give it to any programs, and
//! keeps the other one. From the Ropen on the fid is the descriptor's: the engine reads and writes it with
//! requests of its own, and the driver moves the bytes between the engine and its socket. The client may
//! disconnect meanwhile; the descriptor then remains until the programs have closed it.
//!
//! | state | meaning | next state |
//! |---|---|---|
//! | wanted | A Topenfd waits for the driver's pair of sockets. | spare, or freed |
//! | spare | The pair has been made, and no Topen has been sent for it. | opening |
//! | opening | The Topen of the client is upstream. | open, or closing if it fails or is flushed |
//! | open | The fid is the descriptor's, and at least one direction moves bytes. | closing |
//! | closing | The driver writes the remaining bytes, and closes its socket when no program has the other one. | freed |
//!
//! Each direction has at most one request upstream, so that a file of which each read removes a message loses
//! at most one, and it takes its turn with the clients:
//!
//! | direction | states |
//! |---|---|
//! | reading, from the server to the socket | due: a Tread waits for capacity; sent; held: the socket has not taken all bytes of the reply; ended |
//! | writing, from the socket to the server | open: the socket may be read; due: a Twrite waits for capacity; sent; ended |
//!
//! | event | effect |
//! |---|---|
//! | a Topenfd is flushed without a reply, fails, or its session ends | The pair is closed. The fid remains the client's. |
//! | the client disconnects before its descriptor was passed | No program can have the other socket: both directions end. |
//! | the client disconnects later | None. |
//! | the reader closes | Reading ends: its Tread is flushed, and what has arrived is dropped. |
//! | the writer closes | Writing ends after the reply to its last Twrite. |
//! | an error, or no bytes, in reply to a Tread | Reading ends: the reader gets end of file. |
//! | an error in reply to a Twrite | These bytes are lost, and the next are written behind them. |
//! | both directions have ended | The fid is 9pmux's own, and is clunked when no request mentions it. |
//! | the connection to the server ends | Both directions end. Bytes that have arrived remain to be written. |
//!
//! | file | content |
//! |---|---|
//! | `mod.rs` | the records, their number and their memory |
//! | `opening.rs` | from the Topenfd to the Ropenfd |
//! | `passing.rs` | the place in a client's output where the driver passes its socket |
//! | `transfer.rs` | the bytes, and the end |
//! | `audit.rs` | the invariants |

#[cfg(any(test, mux_fuzz))]
mod audit;
mod opening;
mod passing;
mod transfer;

use std::collections::VecDeque;

use super::buffer::Buffer;
use super::fids::NO_FID;
use super::local_error::LocalError;
use super::shares::{DESCRIPTORS, Holding, Supply};
use super::user_queues::UserQueues;
use super::{ClientId, Config, Engine, Limit};
use crate::wire::IO_HEADER;

pub use opening::{Opening, is_openfd_mode};
pub use passing::ClientDescriptors;

/// The part of `max_memory` that the data of descriptors may occupy is one of so many.
const MEMORY_PART: usize = 4;

/// The bytes of memory for which one descriptor is admitted: the usual msize of 8 KiB.
const MEMORY_EACH: usize = 8192;

/// The maximum number of descriptors, each of which has up to four requests upstream.
const MAX_DESCRIPTORS: usize = 8192;

/// The id of a descriptor. Ids are not reused, although their indices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DescriptorId {
    index: u32,
    generation: u32,
}

impl DescriptorId {
    /// Returns a small number that no other descriptor has: for a driver's tables.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// The part that a request has in the life of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorUse {
    None,
    /// It is the Topen that a client's Topenfd has become.
    Opens,
    /// It moves the data of a descriptor, or flushes such a request. It does not count among the clients'.
    Moves,
}

/// The state of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorState {
    Wanted,
    Spare,
    Opening,
    Open,
    Closing,
}

/// The direction from the server to the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Ended,
    /// A Tread waits for capacity upstream.
    Due,
    /// The Tread with this upstream tag has no reply.
    Sent(u16),
    /// The socket has not taken all bytes of the reply.
    Held,
}

/// The direction from the socket to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    Ended,
    /// The socket may be read.
    Open,
    /// A Twrite waits for capacity upstream.
    Due,
    /// The Twrite with this upstream tag has no reply.
    Sent(u16),
}

/// The record of a descriptor.
pub struct Descriptor {
    /// The client that it counts for. The client may have disconnected.
    client: ClientId,
    /// The user that it counts for.
    user: u32,
    state: DescriptorState,
    /// Whether its Ropenfd is in the client's output, and the driver has not passed the socket yet.
    unpassed: bool,
    /// Its fid while it is open.
    fid: u32,
    reading: Reading,
    writing: Writing,
    /// Whether the socket has no more bytes for the server.
    writer_gone: bool,
    read_offset: u64,
    write_offset: u64,
    /// The maximum number of bytes of a Twrite, as far as the file has one.
    iounit: u32,
    /// The bytes to be written to the socket.
    out: Buffer,
    /// The bytes of a Twrite that waits for capacity.
    piece: Buffer,
    /// The maximum number of bytes of the reply to its Tread.
    expected: usize,
    /// The memory of its buffers, and that together with the reply that it expects, when they were last counted.
    counted: (usize, usize),
    /// Whether it is in the queue of descriptors with requests that wait for capacity.
    queued: bool,
    /// Whether it is in the queue of changed descriptors.
    dirty: bool,
}

impl Descriptor {
    fn new(client: ClientId, user: u32) -> Descriptor {
        Descriptor {
            client,
            user,
            state: DescriptorState::Wanted,
            unpassed: false,
            fid: NO_FID,
            reading: Reading::Ended,
            writing: Writing::Ended,
            writer_gone: false,
            read_offset: 0,
            write_offset: 0,
            iounit: 0,
            out: Buffer::default(),
            piece: Buffer::default(),
            expected: 0,
            counted: (0, 0),
            queued: false,
            dirty: false,
        }
    }

    /// Returns the memory of its buffers.
    fn buffered(&self) -> usize {
        self.out.capacity() + self.piece.capacity()
    }
}

struct Slot {
    generation: u32,
    descriptor: Option<Box<Descriptor>>,
}

/// All descriptors.
#[derive(Default)]
pub struct Descriptors {
    slots: Vec<Slot>,
    free_slots: Vec<u32>,
    /// The number of open descriptors.
    open: usize,
    /// The memory of their buffers.
    buffered: usize,
    /// The memory of their buffers and of the replies that they expect.
    claimed: usize,
    /// The descriptors with requests that wait for capacity.
    ready: UserQueues<DescriptorId>,
    /// The turns that descriptors have gained beside clients, as a multiple of the number of users of both.
    turns: usize,
    /// The descriptors that `next_descriptor` has not returned since they changed.
    changed: VecDeque<DescriptorId>,
}

impl Descriptors {
    /// Returns the number of descriptors.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free_slots.len()
    }

    /// Returns true if a descriptor has a fid.
    pub fn has_fids(&self) -> bool {
        self.open > 0
    }

    fn add(&mut self, client: ClientId, user: u32) -> u32 {
        let descriptor = Some(Box::new(Descriptor::new(client, user)));
        match self.free_slots.pop() {
            Some(index) => {
                self.slots[index as usize].descriptor = descriptor;
                index
            }
            None => {
                self.slots.push(Slot { generation: 0, descriptor });
                self.slots.len() as u32 - 1
            }
        }
    }

    fn remove(&mut self, index: u32) -> Option<Box<Descriptor>> {
        let slot = &mut self.slots[index as usize];
        let removed = slot.descriptor.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free_slots.push(index);
        self.buffered -= removed.counted.0;
        self.claimed -= removed.counted.1;
        Some(removed)
    }

    fn id(&self, index: u32) -> DescriptorId {
        DescriptorId { index, generation: self.slots[index as usize].generation }
    }

    fn find(&self, id: DescriptorId) -> Option<&Descriptor> {
        let slot = self.slots.get(id.index as usize).filter(|s| s.generation == id.generation)?;
        slot.descriptor.as_deref()
    }

    fn index_of(&self, id: DescriptorId) -> Option<u32> {
        self.find(id).map(|_| id.index)
    }

    fn get(&mut self, index: u32) -> &mut Descriptor {
        self.slots[index as usize].descriptor.as_mut().expect("the index of a descriptor")
    }

    /// Changes the state: the only place that does.
    fn set_state(&mut self, index: u32, state: DescriptorState) {
        let before = std::mem::replace(&mut self.get(index).state, state);
        self.open += usize::from(state == DescriptorState::Open);
        self.open -= usize::from(before == DescriptorState::Open);
        self.mark_changed(index);
    }

    /// Records that the driver must examine a descriptor.
    fn mark_changed(&mut self, index: u32) {
        if !std::mem::replace(&mut self.get(index).dirty, true) {
            self.changed.push_back(self.id(index));
        }
    }

    /// Appends a descriptor to the queue of those with requests that wait for capacity, unless it is in it.
    fn enqueue(&mut self, index: u32) {
        let descriptor = self.get(index);
        if !std::mem::replace(&mut descriptor.queued, true) {
            let user = descriptor.user;
            self.ready.push(user, self.id(index));
        }
    }

    /// Counts the memory of a descriptor, which may have changed.
    fn count_memory(&mut self, index: u32) {
        let descriptor = self.get(index);
        let buffered = descriptor.buffered();
        let claimed = buffered + descriptor.expected;
        let counted = std::mem::replace(&mut descriptor.counted, (buffered, claimed));
        self.buffered = self.buffered - counted.0 + buffered;
        self.claimed = self.claimed - counted.1 + claimed;
    }

    /// Empties the queue of descriptors with requests that wait for capacity.
    fn clear_ready(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        while let Some(id) = ready.pop() {
            if let Some(index) = self.index_of(id) {
                self.get(index).queued = false;
            }
        }
    }

    fn indices(&self) -> Vec<u32> {
        let is_used = |index: &u32| self.slots[*index as usize].descriptor.is_some();
        (0..self.slots.len() as u32).filter(is_used).collect()
    }

    /// Returns the memory of the buffers of all descriptors.
    pub fn memory(&self) -> usize {
        self.buffered
    }
}

/// Returns the maximum number of descriptors of all clients.
pub fn max_descriptors(config: &Config) -> usize {
    let by_memory = config.max_memory / MEMORY_PART / MEMORY_EACH;
    config.max_descriptors_all.min(by_memory).min(MAX_DESCRIPTORS)
}

impl Engine {
    /// Returns the maximum number of bytes of one Tread or Twrite: less while little of the memory is free.
    fn max_descriptor_bytes(&self) -> u32 {
        let budget = self.config.max_memory / MEMORY_PART;
        let half = budget.saturating_sub(self.descriptors.claimed) / 2;
        let most = u32::try_from(half).unwrap_or(u32::MAX).max(self.config.min_read_count);
        most.min(self.upstream.msize.saturating_sub(IO_HEADER))
    }

    /// Checks that the client may have one more descriptor.
    fn check_descriptor_limits(&mut self, client_index: u32) -> Result<(), LocalError> {
        let client = self.clients.get(client_index);
        let held = client.descriptors.as_ref().map_or(0, |own| own.held);
        let user = self.users.get(client.user);
        let holding = Holding { client: held, user: user.descriptors, departed: 0, served: false };
        let total = self.config.max_descriptors_all;
        let free = total.saturating_sub(self.descriptors.len());
        let supply = Supply { total, free, firsts: 0, kept: 0 };
        let limit = match held < self.config.max_descriptors {
            false => Limit::Descriptors,
            true if DESCRIPTORS.admits(supply, holding) => return Ok(()),
            true => Limit::DescriptorShare,
        };
        if self.config.max_descriptors > 0 {
            self.notice_descriptor_limit(client_index, limit);
        }
        Err(LocalError::TooManyDescriptors)
    }

    /// Frees the record of a descriptor.
    fn free_descriptor(&mut self, index: u32) {
        let Some(freed) = self.descriptors.remove(index) else {
            return;
        };
        self.users.change(freed.user, |account| account.descriptors -= 1);
        if let Some(client_index) = self.clients.index_of(freed.client) {
            self.clients.get(client_index).release_descriptor();
        }
    }
}
