//! Who is connected, and what is known of each: whether there is something to read, whether a write has
//! found no room. The engine has everything else, by the same number.

use super::stream::Stream;
use crate::engine::ClientId;

/// The server, or a client.
pub struct Peer {
    pub stream: Stream,
    /// There may be something to read.
    pub readable: bool,
    /// It takes nothing now; the system tells when it does again.
    pub write_blocked: bool,
    /// The system was asked to tell that.
    pub write_interest: bool,
    /// It has closed its end, perhaps behind bytes that are not read yet.
    pub peer_closed: bool,
    /// It is among those to be read next.
    pub read_queued: bool,
}

impl Peer {
    pub fn new(stream: Stream) -> Peer {
        // What has come before it was watched is told when that begins.
        Peer {
            stream,
            readable: false,
            write_blocked: false,
            write_interest: false,
            peer_closed: false,
            read_queued: false,
        }
    }
}

/// The clients, by number.
#[derive(Default)]
pub struct Peers {
    slots: Vec<Option<(ClientId, Peer)>>,
    count: usize,
    /// Those to be read next.
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

    /// The client that has this number now.
    #[inline]
    pub fn by_index(&mut self, index: usize) -> Option<(ClientId, &mut Peer)> {
        self.slots.get_mut(index)?.as_mut().map(|(id, peer)| (*id, peer))
    }

    pub fn remove(&mut self, id: ClientId) -> Option<Peer> {
        self.get(id)?;
        self.count -= 1;
        self.slots[id.index()].take().map(|(_, peer)| peer)
    }

    /// Has it looked at for something to read.
    #[inline]
    pub fn queue_read(&mut self, id: ClientId) {
        let Some(peer) = self.get(id) else {
            return;
        };
        if !std::mem::replace(&mut peer.read_queued, true) {
            self.read_queue.push(id);
        }
    }

    /// Whether there are some to be read.
    pub fn has_queued_reads(&self) -> bool {
        !self.read_queue.is_empty()
    }

    /// Those to be read, into `ids`, which is empty and leaves its memory.
    pub fn take_queued_reads(&mut self, ids: &mut Vec<ClientId>) {
        std::mem::swap(&mut self.read_queue, ids);
        for id in ids {
            if let Some(peer) = self.get(*id) {
                peer.read_queued = false;
            }
        }
    }
}
