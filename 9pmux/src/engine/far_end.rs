//! The other end of a link, as a client and as a server: what [`Link`](crate::link::Link) does around the
//! engine's own rules.

use super::local_error::LocalError;
use super::session::ClientFid;
use super::{ClientId, Engine};
use crate::wire::{Frame, HEADER, NOTAG, frame, types};

/// The tag of a keepalive. No request has it: the tag pool has fewer tags.
pub const KEEPALIVE_TAG: u16 = 0xFFFE;

/// The requests and bytes that are held for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests at the server, and complete ones that wait.
    pub requests: usize,
    /// Bytes of requests that wait, of replies that were not written, and of the room for further replies.
    pub bytes: usize,
}

/// The reason for which the engine has closed a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// There is no memory for its buffers.
    NoMemory,
    /// It has sent this, which is not valid 9P.
    Garbled(String),
    /// A command of the control tree has named it.
    Dropped,
}

impl Engine {
    /// Returns the reason for which the engine has closed this client, if no other was closed since.
    #[must_use]
    pub fn close_cause(&self, id: ClientId) -> Option<&CloseCause> {
        self.last_close.as_ref().filter(|(closed, _)| *closed == id).map(|(_, reason)| reason)
    }

    /// Records why a client is closed.
    #[cold]
    pub(super) fn record_close(&mut self, client_index: u32, reason: CloseCause) {
        self.last_close = Some((self.clients.id(client_index), reason));
    }

    /// Returns the bytes that are held for a client, as in its [`Load`].
    #[must_use]
    pub fn held_bytes(&self, id: ClientId) -> usize {
        self.clients.get_if_connected(id).map_or(0, |client| {
            let queued = client.inbox.len() + client.waiting_reads.bytes() + client.out.len();
            queued + client.session.expected_reply_bytes()
        })
    }

    /// Returns the maximum message size of a client, or 0 if it has no session.
    #[must_use]
    pub fn session_msize(&self, id: ClientId) -> u32 {
        self.clients.get_if_connected(id).map_or(0, |client| client.session.msize)
    }

    /// Returns the load of a client. The cost of this grows with the number of messages that wait.
    #[must_use]
    pub fn load(&self, id: ClientId) -> Load {
        let Some(client) = self.clients.get_if_connected(id) else {
            return Load::default();
        };
        let mut waiting = client.inbox.as_slice();
        waiting = waiting.get(client.bytes_to_skip as usize..).unwrap_or_default();
        let mut requests = client.session.tags.len() + client.waiting_reads.tags().count();
        while let Frame::Message(n) = frame(waiting, u32::MAX) {
            requests += 1;
            waiting = &waiting[n..];
        }
        Load { requests, bytes: self.held_bytes(id) }
    }

    /// Refuses a request of a client, of which only the header has been seen. The fid of a Tclunk or Tremove is
    /// released all the same. Returns the length of the reply.
    pub fn refuse(&mut self, id: ClientId, tag: u16, releases: Option<u32>) -> usize {
        let Some(client_index) = self.clients.index_of(id) else {
            return 0;
        };
        let before = self.clients.get(client_index).out.len();
        self.push_error(client_index, tag, LocalError::TooManyRequests);
        let client = self.clients.get(client_index);
        let reply = client.out.len() - before;
        if let Some(name) = releases {
            match client.session.fids.get(&name).map(|entry| entry.get()) {
                Some(ClientFid::Upstream(fid)) => {
                    self.unbind(fid);
                    self.release_if_unused(fid);
                }
                Some(ClientFid::Dead(_)) => {
                    client.session.fids.remove(&name);
                }
                None => {}
            }
        }
        self.run_ready();
        reply
    }

    /// Replies to a keepalive of a client, in every state of it. Returns the length of the reply.
    pub fn push_keepalive_reply(&mut self, id: ClientId) -> usize {
        if let Some(client_index) = self.clients.index_of(id) {
            self.push_rflush(client_index, KEEPALIVE_TAG);
        }
        HEADER
    }

    /// Returns true while the server has to reply to a Tversion.
    #[must_use]
    pub fn awaits_version(&self) -> bool {
        self.upstream.is_awaiting_version()
    }

    /// Sends a keepalive to the server: a Tflush of a tag that no request has. Its reply is dropped, whatever it is.
    pub fn send_keepalive(&mut self) {
        let mut message = [0; HEADER + 2];
        message[HEADER..].copy_from_slice(&NOTAG.to_le_bytes());
        self.upstream.awaits_keepalive = true;
        self.stats.keepalives += 1;
        self.send_internal(types::TFLUSH, KEEPALIVE_TAG, &mut message);
    }
}
