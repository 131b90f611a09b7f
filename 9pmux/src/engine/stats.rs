//! Observation: counters, and a trace of all messages.

use std::time::Duration;

use super::{ClientId, ClientState, Engine, Histogram};
use crate::wire::Dialect;

/// The maximum number of notices that are kept for the driver.
const MAX_NOTICES: usize = 1024;

/// Counters since the start, and current totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests forwarded to the server.
    pub forwarded: u64,
    /// Replies forwarded to clients.
    pub replied: u64,
    /// Requests that got an error of 9pmux's own.
    pub local_errors: u64,
    /// Messages of the server that belonged to no request.
    pub dropped: u64,
    /// Replies that do not fit their requests: of another type, with an error in the form of another
    /// dialect, or malformed. Each has become an error for its request.
    pub unexpected: u64,
    /// Messages of clients that have taken effect, refused ones included.
    pub received: u64,
    /// Flushes of clients that have a reply.
    pub flushed: u64,
    /// Clients that have ever connected.
    pub connections: u64,
    /// Connections to the server after the first.
    pub reconnects: u64,
    /// Fids that were restored after a loss of the server.
    pub replayed_fids: u64,
    /// Fids that could not be restored.
    pub lost_fids: u64,
    /// Keepalives that were sent.
    pub keepalives: u64,
    /// Times that a request has waited for the window.
    pub window_waits: u64,
    /// Turns of the driver.
    pub turns: u64,
    /// Bytes that clients have sent.
    pub client_bytes_read: u64,
    /// Bytes that were written to clients.
    pub client_bytes_written: u64,
    /// Bytes that the server has sent.
    pub server_bytes_read: u64,
    /// Bytes that were written to the server.
    pub server_bytes_written: u64,
    /// Connected clients.
    pub clients: usize,
    /// Upstream requests.
    pub requests: usize,
    /// Upstream fids.
    pub fids: usize,
    /// Descriptors that clients have asked for and that are not closed.
    pub descriptors: usize,
    /// Requests and fids of departed clients and ended sessions.
    pub in_cleanup: usize,
    /// Bytes of memory kept for buffers.
    pub spare_bytes: usize,
}

/// The state of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// Whether it has a version.
    pub session: bool,
    /// Its msize.
    pub msize: u32,
    /// The time since it connected, in whole seconds.
    pub age: Duration,
    /// The time since bytes of it last arrived, in whole seconds.
    pub idle: Duration,
    /// Messages that it has sent.
    pub messages: u64,
    /// Bytes that it has sent.
    pub bytes_read: u64,
    /// Bytes that were written to it.
    pub bytes_written: u64,
    /// Requests of it that 9pmux itself has refused.
    pub refused: u32,
    /// Its upstream requests.
    pub requests: usize,
    /// Its fids.
    pub fids: usize,
    /// Bytes of queued and incomplete requests.
    pub queued: usize,
    /// Bytes that are not written to it yet.
    pub output: usize,
    /// Bytes of memory of its buffers.
    pub memory: usize,
}

/// A limit that a client has met, for the log. It is reported once for each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The client.
    pub client: ClientId,
    /// The limit.
    pub limit: Limit,
}

/// A limit that a client has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Config::max_fids`](super::Config::max_fids).
    Fids,
    /// The client's share of [`Config::max_fids_all`](super::Config::max_fids_all).
    FidShare,
    /// [`Config::max_descriptors`](super::Config::max_descriptors).
    Descriptors,
    /// The client's share of [`Config::max_descriptors_all`](super::Config::max_descriptors_all).
    DescriptorShare,
    /// [`Config::max_memory`](super::Config::max_memory), or the system has no more memory. The client is
    /// disconnected.
    Memory,
}

/// A message, for logging.
#[derive(Clone, Copy, Debug)]
pub enum TraceEvent<'a> {
    /// As the client sent it.
    FromClient(ClientId, &'a [u8]),
    /// As the client receives it.
    ToClient(ClientId, &'a [u8]),
    /// As the server sent it.
    FromServer(&'a [u8]),
    /// As the server receives it.
    ToServer(&'a [u8]),
    /// As the server sent it; it belongs to no request.
    Dropped(&'a [u8]),
    /// As the server sent it; it does not fit its request, which gets an error.
    Unexpected(&'a [u8]),
    /// 9pmux itself has refused this message of the client, or this reply to it, for this reason. The message
    /// may be incomplete.
    Refused(ClientId, &'a [u8], &'static str),
    /// The client is closed, because these bytes of it cannot be framed.
    Garbled(ClientId, &'a [u8]),
}

/// Called with each message and the dialect of the connection.
pub type Tracer = Box<dyn FnMut(Dialect, TraceEvent<'_>) + Send>;

impl Engine {
    /// Sets or removes the function that is called with each message.
    pub fn set_tracer(&mut self, tracer: Option<Tracer>) {
        self.tracer = tracer;
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            received: self.counters.requests.iter().sum(),
            connections: self.clients.connections(),
            reconnects: self.connects.saturating_sub(1),
            clients: self.clients.len(),
            requests: self.requests.len(),
            fids: self.fids.len(),
            descriptors: self.descriptors.len(),
            in_cleanup: self.cleanups.remaining(),
            spare_bytes: self.pool.bytes(),
            ..self.stats
        }
    }

    /// Returns the number of messages of this type that clients have sent and that have taken effect.
    #[must_use]
    pub fn requests_of(&self, kind: u8) -> u64 {
        self.counters.requests[usize::from(kind)]
    }

    /// Returns the latencies of the requests of this type.
    #[must_use]
    pub fn latencies_of(&self, kind: u8) -> &Histogram {
        self.counters.latencies.get(kind)
    }

    /// Goes on with the counters of an earlier engine, and with the numbers of its clients.
    pub fn inherit_counters(&mut self, earlier: Engine) {
        self.stats = earlier.stats;
        self.counters = earlier.counters;
        self.clients.set_connections(earlier.clients.connections());
    }

    /// Counts bytes that a client has sent.
    pub(super) fn count_client_bytes(&mut self, client_index: u32, n: usize) {
        self.stats.client_bytes_read += n as u64;
        let seconds = self.counters.seconds;
        let client = self.clients.get(client_index);
        client.bytes_read += n as u64;
        client.heard_at = seconds;
    }

    /// Counts bytes that were written to a client.
    pub(super) fn count_written_bytes(&mut self, client_index: u32, n: usize) {
        let now = self.counters.milliseconds;
        let client = self.clients.get(client_index);
        let n = n.min(client.out.len()) as u64;
        client.bytes_written += n;
        client.took_at = now;
        self.stats.client_bytes_written += n;
    }

    /// Returns a limit that a client has met since the last call, if there is one.
    pub fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Records that a client has met a limit.
    pub(super) fn notice_limit(&mut self, client_index: u32, limit: Limit) {
        if self.notices.len() < MAX_NOTICES {
            self.notices.push_back(Notice { client: self.clients.id(client_index), limit });
        }
    }

    /// Records that a client has met a limit of fids.
    pub(super) fn notice_fid_limit(&mut self, client_index: u32, limit: Limit) {
        let client = self.clients.get(client_index);
        if !std::mem::replace(&mut client.fid_limit_noticed, true) {
            self.notice_limit(client_index, limit);
        }
    }

    /// Returns the state of a client, if it is connected.
    #[must_use]
    pub fn client_info(&self, id: ClientId) -> Option<ClientInfo> {
        let client = self.clients.get_if_connected(id)?;
        let since = |then: u32| Duration::from_secs(u64::from(self.counters.seconds - then));
        Some(ClientInfo {
            session: client.state == ClientState::Session,
            msize: client.session.msize,
            age: since(client.connected_at),
            idle: since(client.heard_at),
            messages: client.messages,
            bytes_read: client.bytes_read,
            bytes_written: client.bytes_written,
            refused: client.refused,
            requests: client.session.tags.len(),
            fids: client.session.fid_count(),
            queued: client.inbox.len() + client.waiting_reads.bytes(),
            output: client.out.len(),
            memory: client.memory(),
        })
    }

    #[inline]
    pub(super) fn trace(&mut self, seen: TraceEvent<'_>) {
        if self.tracer.is_none() {
            return;
        }
        let dialect = match seen {
            TraceEvent::FromClient(id, _) | TraceEvent::Refused(id, ..)
                if self.clients.get_if_connected(id).is_some_and(|client| {
                    // The version of the control tree is 9P2000, whatever that of the server is.
                    client.state == ClientState::Control
                }) =>
            {
                Dialect::Plain
            }
            _ => self.upstream.dialect,
        };
        if let Some(tracer) = &mut self.tracer {
            tracer(dialect, seen);
        }
    }
}
