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
    pub blocked: bool,
    /// The system was asked to tell that.
    pub asked: bool,
    /// It has closed its end, perhaps behind bytes that are not read yet.
    pub peer_closed: bool,
    /// It is among those to be read next.
    pub listed: bool,
}

impl Peer {
    pub fn new(stream: Stream) -> Peer {
        // What has come before it was watched is told when that begins.
        Peer {
            stream,
            readable: false,
            blocked: false,
            asked: false,
            peer_closed: false,
            listed: false,
        }
    }
}

/// The clients, by number.
#[derive(Default)]
pub struct Peers {
    places: Vec<Option<(ClientId, Peer)>>,
    count: usize,
    /// Those to be read next.
    next: Vec<ClientId>,
}

impl Peers {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn add(&mut self, id: ClientId, peer: Peer) {
        if self.places.len() <= id.index() {
            self.places.resize_with(id.index() + 1, || None);
        }
        self.places[id.index()] = Some((id, peer));
        self.count += 1;
    }

    #[inline]
    pub fn get(&mut self, id: ClientId) -> Option<&mut Peer> {
        match self.places.get_mut(id.index()) {
            Some(Some((found, peer))) if *found == id => Some(peer),
            _ => None,
        }
    }

    /// The client that has this number now.
    #[inline]
    pub fn numbered(&mut self, index: usize) -> Option<(ClientId, &mut Peer)> {
        self.places.get_mut(index)?.as_mut().map(|(id, peer)| (*id, peer))
    }

    pub fn remove(&mut self, id: ClientId) -> Option<Peer> {
        self.get(id)?;
        self.count -= 1;
        self.places[id.index()].take().map(|(_, peer)| peer)
    }

    /// Has it looked at for something to read.
    #[inline]
    pub fn list(&mut self, id: ClientId) {
        if let Some(peer) = self.get(id)
            && !std::mem::replace(&mut peer.listed, true)
        {
            self.next.push(id);
        }
    }

    /// Whether there are some to be read.
    pub fn any_listed(&self) -> bool {
        !self.next.is_empty()
    }

    /// Those to be read, into `ids`, which is empty and leaves its memory.
    pub fn take_listed(&mut self, ids: &mut Vec<ClientId>) {
        std::mem::swap(&mut self.next, ids);
        for id in ids {
            if let Some(peer) = self.get(*id) {
                peer.listed = false;
            }
        }
    }
}
