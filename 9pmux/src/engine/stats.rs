//! What can be seen from outside: counters, and each message for those who want to log it.

use super::{ClientId, ClientState, Engine};
use crate::wire::Dialect;

/// What has happened so far, and what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that went on to the server.
    pub forwarded: u64,
    /// Replies that went on to clients.
    pub replied: u64,
    /// Requests that were answered here, by an error.
    pub local_errors: u64,
    /// Messages of the server that belonged to no request.
    pub dropped: u64,
    /// Clients.
    pub clients: usize,
    /// Tags taken upstream.
    pub requests: usize,
    /// Fids taken upstream.
    pub fids: usize,
    /// Requests and fids of those of them whose clients have gone or have begun anew.
    pub in_cleanup: usize,
    /// Bytes of memory that are kept for buffers.
    pub spare_bytes: usize,
}

/// What one client has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// Whether it has a version.
    pub session: bool,
    /// Its msize.
    pub msize: u32,
    /// Messages that it has sent.
    pub messages: u64,
    /// Requests of it that are upstream.
    pub requests: usize,
    /// Its fids.
    pub fids: usize,
    /// Bytes of requests that wait, or are not whole yet.
    pub queued: usize,
    /// Bytes that it has not taken yet.
    pub output: usize,
    /// Bytes of memory of its buffers.
    pub memory: usize,
}

/// A message, for whoever logs them.
#[derive(Clone, Copy, Debug)]
pub enum TraceEvent<'a> {
    /// As the client sent it.
    FromClient(ClientId, &'a [u8]),
    /// As the client gets it.
    ToClient(ClientId, &'a [u8]),
    /// As the server sent it.
    FromServer(&'a [u8]),
    /// As the server gets it.
    ToServer(&'a [u8]),
    /// As the server sent it; it belongs to no request.
    Dropped(&'a [u8]),
    /// The client is closed for a message that has no end.
    Garbled(ClientId),
}

/// Is told each message, and in which dialect to read it.
pub type Tracer = Box<dyn FnMut(Dialect, TraceEvent<'_>) + Send>;

impl Engine {
    /// Has each message told, or no longer.
    pub fn set_tracer(&mut self, tracer: Option<Tracer>) {
        self.tracer = tracer;
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            clients: self.clients.len(),
            requests: self.requests.len(),
            fids: self.fids.len(),
            in_cleanup: self.cleanups.remaining(),
            spare_bytes: self.pool.bytes(),
            ..self.stats
        }
    }

    /// What this client has, if it is there.
    #[must_use]
    pub fn client_info(&self, id: ClientId) -> Option<ClientInfo> {
        let client = self.clients.get_if_connected(id)?;
        Some(ClientInfo {
            session: client.state == ClientState::Session,
            msize: client.session.msize,
            messages: client.messages,
            requests: client.session.tags.len(),
            fids: client.session.fids.len(),
            queued: client.inbox.len(),
            output: client.out.len(),
            memory: client.inbox.capacity() + client.out.capacity(),
        })
    }

    #[inline]
    pub(super) fn trace(&mut self, seen: TraceEvent<'_>) {
        if let Some(tracer) = &mut self.tracer {
            tracer(self.upstream.dialect, seen);
        }
    }
}
