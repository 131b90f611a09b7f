//! Many clients, one connection to a server: the 9P multiplexor as a state machine.
//!
//! Bytes and events go in, bytes and closings come out. There is no I/O here and no clock but the one
//! handed in. A driver, once a turn:
//!
//! 1. says what time it is ([`tick`](Engine::tick), and again by [`next_deadline`](Engine::next_deadline));
//! 2. accepts ([`client_connected`](Engine::client_connected)) and reads those who
//!    [`want it`](Engine::wants_read) into one large buffer, and hands that over
//!    ([`client_bytes`](Engine::client_bytes), [`server_bytes`](Engine::server_bytes)); an end or an error
//!    of a connection is [`client_gone`](Engine::client_gone) or [`server_gone`](Engine::server_gone);
//! 3. writes [`server_output`](Engine::server_output) once, and says how much of it went
//!    ([`server_wrote`](Engine::server_wrote));
//! 4. goes through [`next_dirty`](Engine::next_dirty): writes each one's [`output`](Engine::output) once
//!    ([`client_wrote`](Engine::client_wrote)), asks anew whether it wants to be read, and closes it when
//!    [`is_closing`](Engine::is_closing) and all is written;
//! 5. stops when [`end_reason`](Engine::end_reason) and the clients' last output is written, or was given up.
//!
//! Buffers are lent to a client only while there is something in them, so an idle one has none.
//!
//! ```
//! use ninepmux::engine::{Config, Engine};
//!
//! let mut engine = Engine::new(Config::default());
//! let client = engine.client_connected();
//! engine.client_bytes(client, b"\x13\0\0\0\x64\xff\xff\0\x20\0\0\x06\09P2000");
//! let asked = engine.server_output(); // our own Tversion, with our msize
//! assert_eq!(asked[4], 100);
//! let n = asked.len();
//! engine.server_wrote(n);
//! engine.server_bytes(b"\x13\0\0\0\x65\xff\xff\0\x10\0\0\x06\09P2000");
//! assert_eq!(engine.next_dirty(), Some(client));
//! assert_eq!(engine.output(client), b"\x13\0\0\0\x65\xff\xff\0\x10\0\0\x06\09P2000");
//! ```
//!
//! # Who holds what
//!
//! A **request** upstream is named by its tag, out of libmux's tag table. From the moment the tag is
//! taken its owner is a client or, once that has gone or has begun a new session, a *cleanup*.
//!
//! | a request is | and ends, its tag free, when |
//! |---|---|
//! | sent | its reply comes |
//! | sent, with a flush due or sent | the Rflush has come; the reply may come before that, and counts; without one it never happened |
//!
//! There is at most one Tflush upstream for a request: a client's second Tflush of the same tag waits for
//! the same Rflush, which answers all of them, in order.
//!
//! A **fid** upstream has an owner too, and is *named* while its client has a fid of its own for it.
//!
//! | a fid is | when |
//! |---|---|
//! | pending | the request that creates it is not answered |
//! | live | that was answered well |
//! | doubtful | that was flushed: the server may have done it |
//! | dead | that failed, or a clunk of it was answered in whatever way |
//!
//! It is unnamed when its client sends a Tclunk or Tremove of it, when its creation fails or is flushed, and
//! when its client goes. One that is unnamed and that no request upstream mentions any more is free if it is dead,
//! and is clunked by ourselves if it is live or doubtful. All that may happen in between follows from this: a
//! Tclunk that is flushed leaves its fid live, to be named again or clunked; a Twalk that is answered
//! after its client has died leaves a live fid without a name; a fid whose clunk is never answered is
//! never used again. One fid may be ours and stay (`shared_attach.rs`).
//!
//! A **cleanup** is what is left of a client, or of a client's earlier session: it counts the requests
//! and fids that are not free yet. A new session begins when that is none, or late. A client that goes
//! takes its number along; replies to what it had asked find the cleanup.
//!
//! When the server goes, every request of every client is answered by an error, then each client ends.
//!
//! # Where it is
//!
//! A client's bytes come in by `inbox.rs`; a request goes on by `forward.rs`, in the order of `scheduler.rs`;
//! a reply comes back by `reply.rs`. `flush.rs`, `version.rs`, `cleanup.rs` and `end.rs` are what else can
//! happen, `shared_attach.rs` and `policy.rs` what can be chosen. Beneath are `clients.rs`, `requests.rs`, `fids.rs`
//! and `upstream.rs` (what each of these is), `number_pool.rs` (the lowest free fid), `hasher.rs`, `buffer.rs` and
//! `local_error.rs`.
#![forbid(unsafe_code)]

mod buffer;
mod cleanup;
mod clients;
mod config;
mod end;
mod fids;
mod flush;
mod forward;
mod hasher;
mod inbox;
mod local_error;
mod number_pool;
mod policy;
mod reply;
mod requests;
mod scheduler;
mod session;
mod shared_attach;
mod stats;
mod upstream;
mod version;

#[cfg(any(test, mux_fuzz))]
mod audit;
#[cfg(any(test, mux_fuzz))]
pub mod fuzz;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use end::EndReason;
pub use stats::{ClientInfo, Stats, TraceEvent, Tracer};

use std::collections::VecDeque;
use std::time::Duration;

use buffer::Pool;
use cleanup::Cleanups;
use clients::{Blocked, ClientState, Clients};
use fids::Fids;
use hasher::SeededState;
use local_error::LocalError;
use requests::Requests;
use upstream::Upstream;

use crate::wire::{self, Dialect, HEADER, types};

/// A client, from [`Engine::client_connected`] to [`Engine::client_gone`]. Its number is used again, but
/// not as the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId {
    index: u32,
    generation: u32,
}

impl ClientId {
    /// A small number, of no other client that is connected now: for logs, and for a driver's tables.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// Many clients, one server.
pub struct Engine {
    config: Config,
    now: Duration,
    upstream: Upstream,
    clients: Clients,
    requests: Requests,
    fids: Fids,
    cleanups: Cleanups,
    /// Clients with messages that wait for their turn, in order.
    ready_queue: VecDeque<ClientId>,
    /// Clients whose Tversion waits for the server's.
    version_waiters: VecDeque<ClientId>,
    dirty: VecDeque<ClientId>,
    pool: Pool,
    stats: Stats,
    tracer: Option<Tracer>,
}

#[cfg(test)]
thread_local! {
    /// How many bytes were moved and places looked at, for tests of what a client can make us do.
    static WORK: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts what a client makes us do beyond looking at its message once.
#[inline(always)]
fn count_work(_n: usize) {
    #[cfg(test)]
    WORK.set(WORK.get() + _n);
}

impl Engine {
    /// No clients. If the dialect is chosen, there is a Tversion to be written to the server already.
    #[must_use]
    pub fn new(config: Config) -> Engine {
        let config = Config {
            max_inflight: config.max_inflight.max(1),
            max_reply_bytes: config.max_reply_bytes.max(1),
            max_inbox_bytes: config.max_inbox_bytes.max(1),
            max_server_bytes: config.max_server_bytes.max(1),
            // So that none is NOFID.
            max_fids_all: config.max_fids_all.min(u32::MAX as usize),
            ..config
        };
        let mut engine = Engine {
            now: Duration::ZERO,
            upstream: Upstream::default(),
            clients: Clients::new(SeededState::new(config.seed)),
            requests: Requests::new(config.max_inflight_all),
            fids: Fids::default(),
            cleanups: Cleanups::default(),
            ready_queue: VecDeque::new(),
            version_waiters: VecDeque::new(),
            dirty: VecDeque::new(),
            pool: Pool::default(),
            stats: Stats::default(),
            tracer: None,
            config,
        };
        engine.upstream.msize = engine.config.msize;
        if let Some(dialect) = engine.config.dialect {
            engine.send_version(dialect);
        }
        engine
    }

    /// It is `now`, counted from when the engine was made. What happens next happens then; what was to
    /// happen by then has happened.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
        self.expire_version();
        self.expire_cleanups();
        self.run_ready();
    }

    /// When [`tick`](Engine::tick) should be called at the latest, if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let version = self.upstream.deadline();
        let cleanup = self.cleanups.deadline();
        version.into_iter().chain(cleanup).min()
    }

    /// A client has connected.
    pub fn client_connected(&mut self) -> ClientId {
        let id = self.clients.add();
        if self.end_reason().is_some() {
            self.clients.get(id.index).state = ClientState::Closing;
            self.mark_dirty(id.index);
        }
        id
    }

    /// It has sent these bytes, cut anywhere. All of them are taken; who hands over large pieces of one
    /// whom it should not read keeps that much more.
    pub fn client_bytes(&mut self, id: ClientId, bytes: &[u8]) {
        if let Some(client_index) = self.clients.index_of(id) {
            self.handle_client_bytes(client_index, bytes);
            self.run_ready();
        }
    }

    /// It has closed its end or can not be written to, or it was closing and has been closed. What it
    /// had is flushed and clunked; the id is nobody's from now on.
    pub fn client_gone(&mut self, id: ClientId) {
        if let Some(client_index) = self.clients.index_of(id) {
            self.begin_cleanup(client_index);
            self.clients.remove(id);
            self.run_ready();
        }
    }

    /// Whether more bytes of this client are welcome. That it goes must be noticed even so.
    #[must_use]
    pub fn wants_read(&self, id: ClientId) -> bool {
        self.clients.get_if_connected(id).is_some_and(|client| {
            // Behind one large request that waits may come the flush of one that it waits for.
            let full = client.session.tags.len() >= self.config.max_inflight;
            let least = if full { client.session.msize as usize } else { 0 };
            let max = self.config.max_inbox_bytes.max(least);
            match client.state {
                ClientState::Closing => false,
                _ => client.blocked == Blocked::No || client.inbox.len() < max,
            }
        })
    }

    /// What is to be written to this client.
    #[must_use]
    pub fn output(&self, id: ClientId) -> &[u8] {
        self.clients.get_if_connected(id).map_or(&[], |client| client.out.as_slice())
    }

    /// The first `n` bytes of its output were written.
    pub fn client_wrote(&mut self, id: ClientId, n: usize) {
        if let Some(client_index) = self.clients.index_of(id) {
            let client = self.clients.get(client_index);
            client.out.consume(n);
            self.pool.take_back(&mut client.out);
            self.unblock(client_index);
            self.run_ready();
        }
    }

    /// Whether its connection is to be closed as soon as its output is written.
    #[must_use]
    pub fn is_closing(&self, id: ClientId) -> bool {
        self.clients.get_if_connected(id).is_some_and(|client| client.state == ClientState::Closing)
    }

    /// A client whose output, wish to be read or closing may have changed since it was last named here.
    pub fn next_dirty(&mut self) -> Option<ClientId> {
        loop {
            let id = self.dirty.pop_front()?;
            if let Some(client_index) = self.clients.index_of(id) {
                self.clients.get(client_index).dirty = false;
                return Some(id);
            }
        }
    }

    /// The server has sent these bytes, cut anywhere.
    pub fn server_bytes(&mut self, bytes: &[u8]) {
        if self.end_reason().is_some() {
            return;
        }
        if let Err(end) = self.process_server_bytes(bytes) {
            self.handle_end(end);
        }
        self.run_ready();
    }

    /// What is to be written to the server.
    #[must_use]
    pub fn server_output(&self) -> &[u8] {
        self.upstream.out.as_slice()
    }

    /// The first `n` bytes of the server's output were written.
    pub fn server_wrote(&mut self, n: usize) {
        self.upstream.out.consume(n);
        self.pool.take_back(&mut self.upstream.out);
        self.run_ready();
    }

    /// The server has closed its end, or can not be written to.
    pub fn server_gone(&mut self) {
        self.handle_end(EndReason::ServerClosed);
    }

    /// The session is to end, though the server is there: everybody is told, as if it were not.
    pub fn hang_up(&mut self) {
        self.handle_end(EndReason::HungUp);
    }

    /// Why the session with the server is over, if it is. Clients have their errors in their outputs
    /// then, and are closing.
    #[must_use]
    pub fn end_reason(&self) -> Option<&EndReason> {
        self.upstream.end_reason()
    }

    /// The dialect that is spoken, once that is settled.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.upstream.ready_dialect()
    }

    /// The output or the state of this client has changed.
    #[inline]
    fn mark_dirty(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        if !client.dirty {
            client.dirty = true;
            self.dirty.push_back(self.clients.id(client_index));
        }
    }

    /// Adds a message to this client's output.
    #[inline]
    fn push_to_client(&mut self, client_index: u32, message: &[u8], patch: impl FnOnce(&mut [u8])) {
        let id = self.clients.id(client_index);
        let client = self.clients.get(client_index);
        self.pool.lend(&mut client.out);
        let message = client.out.append(message);
        patch(message);
        if let Some(tracer) = &mut self.tracer {
            tracer(self.upstream.dialect, TraceEvent::ToClient(id, message));
        }
        self.mark_dirty(client_index);
    }

    /// Adds a message to the server's output.
    #[inline]
    fn push_to_server(&mut self, message: &[u8], patch: impl FnOnce(&mut [u8])) {
        self.pool.lend(&mut self.upstream.out);
        let message = self.upstream.out.append(message);
        patch(message);
        if let Some(tracer) = &mut self.tracer {
            tracer(self.upstream.dialect, TraceEvent::ToServer(message));
        }
    }

    /// Answers a request with an error of our own.
    fn push_error(&mut self, client_index: u32, tag: u16, why: LocalError) {
        self.stats.local_errors += 1;
        let dialect = self.upstream.dialect;
        let ename = why.ename().as_bytes();
        let mut message = [0; 64];
        let mut offset = HEADER;
        if dialect != Dialect::L {
            message[offset..offset + 2].copy_from_slice(&(ename.len() as u16).to_le_bytes());
            message[offset + 2..offset + 2 + ename.len()].copy_from_slice(ename);
            offset += 2 + ename.len();
        }
        if dialect != Dialect::Plain {
            wire::put_u32(&mut message, offset, why.errno());
            offset += 4;
        }
        self.push_reply(client_index, dialect.error_type(), tag, &mut message[..offset]);
    }

    /// Answers with a message of our own; `message` has room for the header.
    fn push_reply(&mut self, client_index: u32, kind: u8, tag: u16, message: &mut [u8]) {
        let size = message.len() as u32;
        wire::put_u32(message, 0, size);
        message[4] = kind;
        wire::put_tag(message, tag);
        self.push_to_client(client_index, message, |_| ());
    }

    /// Answers a Tflush.
    fn push_rflush(&mut self, client_index: u32, tag: u16) {
        self.push_reply(client_index, types::RFLUSH, tag, &mut [0; HEADER]);
    }
}
