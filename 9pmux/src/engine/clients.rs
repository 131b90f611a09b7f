//! Clients, and what each has.

use std::collections::VecDeque;

use super::ClientId;
use super::buffer::Buffer;
use super::hasher::SeededState;
use super::session::Session;
use crate::wire::Offer;

/// Where a client is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// It has no version yet.
    New,
    /// It has asked for one.
    AwaitingVersion { tag: u16, msize: u32, offer: Offer },
    /// It has one.
    Session,
    /// It gets what is in its output, and then its end.
    Closing,
}

/// What the messages in its inbox wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Nothing: there is not even a whole one.
    No,
    /// For something of its own: a reply, room in its output, its Rversion.
    OnSelf,
    /// For its turn.
    OnUpstream,
}

pub struct Client {
    pub state: ClientState,
    pub blocked: Blocked,
    /// It is in the ring of those that wait for their turn, perhaps for nothing any more.
    pub in_ready_queue: bool,
    /// It is in the list of those that wait for the root; see `shared_attach.rs`.
    pub waits_for_attach: bool,
    /// It is in the list of those that have changed.
    pub dirty: bool,
    /// So much of a message that was too large is still to come.
    pub bytes_to_skip: u32,
    /// The messages that wait, and the beginning of the next.
    pub inbox: Buffer,
    /// How much of that has been looked at for what can not wait.
    pub scanned: usize,
    pub out: Buffer,
    pub session: Session,
    /// How many messages it has sent.
    pub messages: u64,
}

impl Client {
    fn new(hasher: SeededState) -> Client {
        Client {
            state: ClientState::New,
            blocked: Blocked::No,
            in_ready_queue: false,
            waits_for_attach: false,
            dirty: false,
            bytes_to_skip: 0,
            inbox: Buffer::default(),
            scanned: 0,
            out: Buffer::default(),
            session: Session::new(hasher),
            messages: 0,
        }
    }
}

/// All that are connected, in places that are used again.
pub struct Clients {
    slots: Vec<Slot>,
    free_slots: Vec<u32>,
    hasher: SeededState,
}

struct Slot {
    generation: u32,
    client: Option<Client>,
}

impl Clients {
    pub fn new(hasher: SeededState) -> Clients {
        Clients { slots: Vec::new(), free_slots: Vec::new(), hasher }
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free_slots.len()
    }

    pub fn add(&mut self) -> ClientId {
        let client = Some(Client::new(self.hasher));
        match self.free_slots.pop() {
            Some(index) => {
                let slot = &mut self.slots[index as usize];
                slot.client = client;
                ClientId { index, generation: slot.generation }
            }
            None => {
                self.slots.push(Slot { generation: 0, client });
                ClientId { index: self.slots.len() as u32 - 1, generation: 0 }
            }
        }
    }

    pub fn remove(&mut self, id: ClientId) -> Option<Client> {
        let slot =
            self.slots.get_mut(id.index as usize).filter(|p| p.generation == id.generation)?;
        let client = slot.client.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free_slots.push(id.index);
        Some(client)
    }

    /// The place of a client that is still there.
    #[inline]
    pub fn index_of(&self, id: ClientId) -> Option<u32> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.generation == id.generation && slot.client.is_some()).then_some(id.index)
    }

    /// The client in a place that is known to be taken.
    #[inline]
    pub fn get(&mut self, index: u32) -> &mut Client {
        self.slots[index as usize].client.as_mut().expect("a place is named while it is taken")
    }

    pub fn get_if_connected(&self, id: ClientId) -> Option<&Client> {
        self.slots.get(id.index as usize).filter(|p| p.generation == id.generation)?.client.as_ref()
    }

    pub fn id(&self, index: u32) -> ClientId {
        ClientId { index, generation: self.slots[index as usize].generation }
    }

    /// Puts a client into a queue in which it is not. Those in there that have gone are left where they are,
    /// but not more of them than clients: however many come and go before it is worked off, it is short.
    #[inline]
    pub fn enqueue(&self, queue: &mut VecDeque<ClientId>, index: u32) {
        if queue.len() > 2 * self.len() + 16 {
            queue.retain(|id| self.index_of(*id).is_some());
        }
        queue.push_back(self.id(index));
    }

    /// The places that are taken.
    pub fn connected(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|i| self.slots[*i as usize].client.is_some()).collect()
    }
}
