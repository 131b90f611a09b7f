//! The connected clients, with what the event loop knows of each: whether it is readable, and whether a write
//! would block. The engine keeps everything else, under the same client id.

use super::stream::{Origin, Stream};
use crate::engine::ClientId;

/// The server or a client.
pub struct Peer {
    pub stream: Stream,
    pub origin: Origin,
    /// There may be data to read.
    pub readable: bool,
    /// The last write would have blocked; the poller reports when the peer can be written again.
    pub write_blocked: bool,
    /// The poller has been asked to report that.
    pub write_interest: bool,
    /// The peer sends nothing more. There may be bytes before that.
    pub input_ended: bool,
    /// The peer does not read either. There may be bytes before that.
    pub hung_up: bool,
    /// The client is in the queue of clients to be read.
    pub read_queued: bool,
}

impl Peer {
    pub fn new(stream: Stream, origin: Origin) -> Peer {
        // Data that arrived before the registration is reported by it.
        Peer {
            stream,
            origin,
            readable: false,
            write_blocked: false,
            write_interest: false,
            input_ended: false,
            hung_up: false,
            read_queued: false,
        }
    }
}

/// The clients by index.
#[derive(Default)]
pub struct Peers {
    slots: Vec<Option<(ClientId, Peer)>>,
    count: usize,
    /// The clients to be read next.
    read_queue: Vec<ClientId>,
}

impl Peers {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn add(&mut self, id: ClientId, peer: Peer) {
        if self.slots.len() <= id.index() {
            self.slots.resize_with(id.index() + 1, || None);
        }
        self.slots[id.index()] = Some((id, peer));
        self.count += 1;
    }

    #[inline]
    pub fn get(&mut self, id: ClientId) -> Option<&mut Peer> {
        match self.slots.get_mut(id.index()) {
            Some(Some((found, peer))) if *found == id => Some(peer),
            _ => None,
        }
    }

    /// Returns the client that has this index now.
    #[inline]
    pub fn by_index(&mut self, index: usize) -> Option<(ClientId, &mut Peer)> {
        self.slots.get_mut(index)?.as_mut().map(|(id, peer)| (*id, peer))
    }

    /// Returns all clients.
    pub fn ids(&self) -> Vec<ClientId> {
        self.slots.iter().flatten().map(|(id, _)| *id).collect()
    }

    pub fn remove(&mut self, id: ClientId) -> Option<Peer> {
        self.get(id)?;
        self.count -= 1;
        self.slots[id.index()].take().map(|(_, peer)| peer)
    }

    /// Adds the client to the queue of clients to be read, once.
    #[inline]
    pub fn queue_read(&mut self, id: ClientId) {
        let Some(peer) = self.get(id) else {
            return;
        };
        if !std::mem::replace(&mut peer.read_queued, true) {
            self.read_queue.push(id);
        }
    }

    /// Returns true if a client is to be read.
    pub fn has_queued_reads(&self) -> bool {
        !self.read_queue.is_empty()
    }

    /// Moves the queue to `ids`, which must be empty. The memory of `ids` is reused for the next queue.
    pub fn take_queued_reads(&mut self, ids: &mut Vec<ClientId>) {
        std::mem::swap(&mut self.read_queue, ids);
        for id in ids {
            if let Some(peer) = self.get(*id) {
                peer.read_queued = false;
            }
        }
    }
}
