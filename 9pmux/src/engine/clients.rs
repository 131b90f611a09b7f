//! The connected clients.
//!
//! | state | event | next state |
//! |---|---|---|
//! | new, session, control | a Tversion, once the previous session has been cleaned up | awaiting version |
//! | awaiting version | the version is agreed | session |
//! | awaiting version | the version is unknown | new |
//! | new, session, control | a Tversion for the control tree | control |
//! | any | a message that cannot be framed, or the end of the server | closing |
//!
//! A client that has finished sends nothing more; it is closed as well when it has nothing outstanding.
//! A closing client is sent the rest of its output, and is removed when the driver reports
//! [`client_gone`](super::Engine::client_gone).

use std::collections::VecDeque;

use super::ClientId;
use super::buffer::Buffer;
use super::control::ClientOrigin;
use super::descriptors::ClientDescriptors;
use super::hasher::SeededState;
use super::policy::{Caller, Rules};
use super::session::Session;
use super::shares::{FIDS, TAGS};
use super::waiting_reads::WaitingReads;
use crate::wire::Offer;

/// The state of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// It has no version.
    New,
    /// Its Tversion has no reply yet.
    AwaitingVersion { tag: u16, msize: u32, offer: Offer },
    /// It has a version.
    Session,
    /// It has the version of the control tree, and no session with the server (`control/`).
    Control,
    /// Its connection is closed as soon as its output is written.
    Closing,
}

/// The reason why the first queued message of a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Nothing: the inbox holds no complete message.
    No,
    /// An event of the client's own: a reply, space in its output, its Rversion.
    OnSelf,
    /// Capacity upstream: the client is in the ready queue.
    OnUpstream,
    /// A share of the tags: the client is in the share queue.
    OnShare,
    /// Its next turn: the client is in the turn queue.
    OnTurn,
}

/// The record of a client.
pub struct Client {
    /// The index of its user.
    pub user: u32,
    /// The process that has connected, if it may attach as its own user only.
    pub self_only: Option<Box<Caller>>,
    /// Whether requests of it that could change a file are refused.
    pub read_only: bool,
    /// Whether the server has replied to a request of it.
    pub served: bool,
    /// Whether it is in the share queue, as for the ready queue.
    pub in_share_queue: bool,
    pub state: ClientState,
    pub blocked: Blocked,
    /// Whether it is in the ready queue. It may have ceased to be blocked since it was put there.
    pub in_ready_queue: bool,
    /// Whether it is in the turn queue: its messages wait, and it must not be read.
    pub in_turn_queue: bool,
    /// The last turn in which messages of it were not forwarded, and their cost, with its debt.
    pub turn: u32,
    pub turn_cost: u32,
    /// Whether it is in the list of clients that wait for the shared attach.
    pub waits_for_attach: bool,
    /// Whether it sends nothing more, and is closed when all that it has asked has a reply.
    pub finished: bool,
    /// Whether a notice of its limit of fids was made.
    pub fid_limit_noticed: bool,
    /// Whether a notice of its limit of descriptors was made.
    pub descriptor_limit_noticed: bool,
    /// Whether it is in the list of dirty clients.
    pub dirty: bool,
    /// The number of bytes still to come of a message that was too large.
    pub bytes_to_skip: u32,
    /// The queued messages, and the beginning of the next message.
    pub inbox: Buffer,
    /// The length of the part of the inbox that was searched for messages that take effect out of order.
    pub scanned: usize,
    /// The reads that wait while the inbox is processed.
    pub waiting_reads: WaitingReads,
    /// The bytes to be written to the client.
    pub out: Buffer,
    /// Whether descriptors can be passed to it.
    pub passes_descriptors: bool,
    /// Its descriptors, if it has some.
    pub descriptors: Option<Box<ClientDescriptors>>,
    pub session: Session,
    /// The number of messages that the client has sent.
    pub messages: u64,
    /// The number of bytes that it has sent, and that were written to it.
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// The number of its requests that 9pmux itself has refused.
    pub refused: u32,
    /// The times in seconds at which it connected, and at which bytes of it last arrived.
    pub connected_at: u32,
    pub heard_at: u32,
    /// The time in milliseconds since which its output waits, or at which a part of it was written. It wraps.
    pub took_at: u32,
    /// Its origin, for the control tree.
    pub caller: ClientOrigin,
    /// The user of its last Tattach, or the beginning of a long name. Vec in a box: a client without has a pointer only.
    #[expect(clippy::box_collection, reason = "a client that has none is smaller")]
    pub uname: Option<Box<Vec<u8>>>,
    /// Its memory when it was last counted.
    pub counted_memory: usize,
    /// Its first items when they were last counted.
    firsts: Firsts,
}

/// First items, which clients may take from the reserve of each pool (`shares.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Firsts {
    pub tags: u32,
    pub fids: u32,
}

/// Everything that a client has outstanding when it is closed.
pub struct ClosedClient {
    pub session: Session,
    /// The tag of a Tversion without a reply.
    pub tversion: Option<u16>,
    pub waiting_reads: WaitingReads,
    pub inbox: Buffer,
    /// The number of bytes at the beginning of the inbox that belong to a message that was too large.
    pub skipped: usize,
}

impl Client {
    fn new(hasher: SeededState, user: u32, seconds: u32, rules: Rules) -> Client {
        Client {
            user,
            self_only: rules.caller,
            read_only: rules.read_only,
            served: false,
            in_share_queue: false,
            state: ClientState::New,
            blocked: Blocked::No,
            in_ready_queue: false,
            in_turn_queue: false,
            turn: 0,
            turn_cost: 0,
            waits_for_attach: false,
            finished: false,
            fid_limit_noticed: false,
            descriptor_limit_noticed: false,
            dirty: false,
            bytes_to_skip: 0,
            inbox: Buffer::default(),
            scanned: 0,
            waiting_reads: WaitingReads::default(),
            out: Buffer::default(),
            passes_descriptors: false,
            descriptors: None,
            session: Session::new(hasher),
            messages: 0,
            bytes_read: 0,
            bytes_written: 0,
            refused: 0,
            connected_at: seconds,
            heard_at: seconds,
            took_at: 0,
            caller: ClientOrigin::default(),
            uname: None,
            counted_memory: 0,
            firsts: Firsts::default(),
        }
    }

    /// Returns true if the connection must be closed once the output is written.
    pub fn is_closing(&self) -> bool {
        match self.state {
            ClientState::Closing => true,
            ClientState::AwaitingVersion { .. } => false,
            ClientState::New | ClientState::Session | ClientState::Control => {
                self.finished
                    && self.blocked == Blocked::No
                    && self.waiting_reads.is_empty()
                    && self.session.tags.is_empty()
                    && self.session.flushes.is_empty()
            }
        }
    }

    /// Returns true if a message of it waits.
    pub fn is_waiting(&self) -> bool {
        self.blocked != Blocked::No || !self.waiting_reads.is_empty()
    }

    /// Returns the memory that its messages occupy: its buffers, copies of its requests, and the names of its auth fids.
    pub fn memory(&self) -> usize {
        let buffers = self.inbox.capacity() + self.waiting_reads.memory() + self.out.capacity();
        buffers + self.session.copied + self.session.auth_memory()
    }

    /// Returns true if one of its requests has this tag: at the server, being flushed, or a read that waits.
    #[inline]
    pub fn has_tag(&self, tag: u16) -> bool {
        self.session.tags.contains(tag)
            || self.session.flushes.iter().any(|flush| flush.tag == tag)
            || !self.waiting_reads.is_empty() && self.waiting_reads.has_tag(tag)
    }

    /// Returns the number of its requests and flushes.
    pub fn tags(&self) -> usize {
        self.session.tags.len() + self.session.flushes.len()
    }

    /// Takes what is outstanding.
    fn take_outstanding(&mut self) -> ClosedClient {
        let inbox = std::mem::take(&mut self.inbox);
        let closed = ClosedClient {
            session: self.session.take(),
            tversion: match self.state {
                ClientState::AwaitingVersion { tag, .. } => Some(tag),
                _ => None,
            },
            waiting_reads: std::mem::take(&mut self.waiting_reads),
            skipped: inbox.len().min(self.bytes_to_skip as usize),
            inbox,
        };
        self.blocked = Blocked::No;
        closed
    }
}

/// All connected clients, in slots that are reused. The number of a client distinguishes it from others of its slot.
pub struct Clients {
    slots: Vec<Slot>,
    free_slots: Vec<u32>,
    /// The number of clients that have ever connected.
    connections: u64,
    hasher: SeededState,
    /// The number of clients in a session.
    sessions: usize,
    /// The first items of all clients.
    firsts: Firsts,
}

struct Slot {
    /// The number of the client that has or had the slot.
    number: u64,
    client: Option<Client>,
}

impl Clients {
    pub fn new(hasher: SeededState) -> Clients {
        Clients {
            slots: Vec::new(),
            free_slots: Vec::new(),
            connections: 0,
            hasher,
            sessions: 0,
            firsts: Firsts::default(),
        }
    }

    /// Returns the number of connected clients.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free_slots.len()
    }

    /// Adds a new client at this time in seconds.
    pub fn add(&mut self, user: u32, seconds: u32, rules: Rules) -> ClientId {
        let client = Some(Client::new(self.hasher, user, seconds, rules));
        let number = self.connections;
        self.connections += 1;
        let slot = Slot { number, client };
        let index = match self.free_slots.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        ClientId { index, number }
    }

    /// Returns the number of clients that have ever connected, which is the number of the next one.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// The next client gets this number.
    pub fn set_connections(&mut self, connections: u64) {
        self.connections = connections;
    }

    /// Removes a client, if it is connected.
    pub fn remove(&mut self, id: ClientId) -> Option<Client> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.number == id.number)?;
        let client = slot.client.take()?;
        self.sessions -= usize::from(client.state == ClientState::Session);
        self.firsts.tags -= client.firsts.tags;
        self.firsts.fids -= client.firsts.fids;
        self.free_slots.push(id.index);
        Some(client)
    }

    /// Returns the number of clients in a session.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// Returns the first items of all clients.
    #[inline]
    pub fn firsts(&self) -> Firsts {
        self.firsts
    }

    /// Counts the first items of a client. Must be called after each change of its tags, flushes and fids.
    #[inline]
    pub fn count_firsts(&mut self, index: u32) {
        let client = self.get(index);
        let firsts = Firsts {
            tags: client.tags().min(TAGS.first) as u32,
            fids: client.session.fids.len().min(FIDS.first) as u32,
        };
        if firsts == client.firsts {
            return;
        }
        let counted = std::mem::replace(&mut client.firsts, firsts);
        self.firsts.tags = self.firsts.tags - counted.tags + firsts.tags;
        self.firsts.fids = self.firsts.fids - counted.fids + firsts.fids;
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn get_state(&self, index: u32) -> ClientState {
        self.slots[index as usize].client.as_ref().expect("it is connected").state
    }

    /// Changes the state of a connected client: the only place that does.
    pub fn set_state(&mut self, index: u32, state: ClientState) {
        let before = std::mem::replace(&mut self.get(index).state, state);
        self.sessions += usize::from(state == ClientState::Session);
        self.sessions -= usize::from(before == ClientState::Session);
    }

    /// Changes the state to closing, and returns what is outstanding. The caller must fail it or give
    /// it to a cleanup, and mark the client as dirty.
    pub fn close(&mut self, index: u32) -> ClosedClient {
        let closed = self.get(index).take_outstanding();
        self.count_firsts(index);
        self.set_state(index, ClientState::Closing);
        closed
    }

    /// Returns the index of a client, if it is connected.
    #[inline]
    pub fn index_of(&self, id: ClientId) -> Option<u32> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.number == id.number && slot.client.is_some()).then_some(id.index)
    }

    /// Returns the connected client with this index.
    #[inline(always)]
    pub fn get(&mut self, index: u32) -> &mut Client {
        self.slots[index as usize].client.as_mut().expect("the index of a connected client")
    }

    /// Returns true if there is a connected client with this index.
    pub fn is_connected(&self, index: u32) -> bool {
        self.slots.get(index as usize).is_some_and(|slot| slot.client.is_some())
    }

    /// Returns a client, if it is connected.
    pub fn get_if_connected(&self, id: ClientId) -> Option<&Client> {
        self.slots.get(id.index as usize).filter(|slot| slot.number == id.number)?.client.as_ref()
    }

    /// Returns the id of the connected client with this index.
    pub fn id(&self, index: u32) -> ClientId {
        ClientId { index, number: self.slots[index as usize].number }
    }

    /// Returns the length from which a queue of clients is compacted: entries of departed clients are removed lazily.
    #[inline]
    pub fn max_entries(&self) -> usize {
        2 * self.len() + 16
    }

    /// Appends a client to a queue that it is not in.
    #[inline]
    pub fn enqueue(&self, queue: &mut VecDeque<ClientId>, index: u32) {
        if queue.len() > self.max_entries() {
            queue.retain(|id| self.index_of(*id).is_some());
        }
        queue.push_back(self.id(index));
    }

    /// Returns the indices of all connected clients.
    pub fn connected(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|i| self.slots[*i as usize].client.is_some()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Slot;

    /// There may be 16,000 clients, and most of them are idle.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn record_of_a_client_is_small() {
        let size = size_of::<Slot>();
        assert!(size <= 464, "{size} bytes");
    }
}
