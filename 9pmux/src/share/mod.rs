//! Many clients, one connection to a server: the 9P multiplexor as a state machine.
//!
//! Bytes and events go in, bytes and closings come out. There is no I/O here and no clock but the one
//! handed in. A driver, once a turn:
//!
//! 1. says what time it is ([`tick`](Share::tick), and again by [`next_deadline`](Share::next_deadline));
//! 2. accepts ([`client_connected`](Share::client_connected)) and reads those who
//!    [`want it`](Share::wants_read) into one large buffer, and hands that over
//!    ([`client_bytes`](Share::client_bytes), [`server_bytes`](Share::server_bytes)); an end or an error
//!    of a connection is [`client_gone`](Share::client_gone) or [`server_gone`](Share::server_gone);
//! 3. writes [`server_output`](Share::server_output) once, and says how much of it went
//!    ([`server_wrote`](Share::server_wrote));
//! 4. goes through [`next_changed`](Share::next_changed): writes each one's [`output`](Share::output) once
//!    ([`client_wrote`](Share::client_wrote)), asks anew whether it wants to be read, and closes it when
//!    [`is_closing`](Share::is_closing) and all is written;
//! 5. stops when [`ended`](Share::ended) and the clients' last output is written, or was given up.
//!
//! Buffers are lent to a client only while there is something in them, so an idle one has none.
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
//! | dead | that failed, or never happened, or a clunk of it was answered in whatever way |
//!
//! It is unnamed when its client sends a Tclunk or Tremove of it, when its creation fails, and when its
//! client goes. One that is unnamed and that no request upstream mentions any more is free if it is dead,
//! and is clunked by ourselves if it is live. All that may happen in between follows from this: a
//! Tclunk that is flushed leaves its fid live, to be named again or clunked; a Twalk that is answered
//! after its client has died leaves a live fid without a name; a fid whose clunk is never answered is
//! never used again.
//!
//! A **cleanup** is what is left of a client, or of a client's earlier session: it counts the requests
//! and fids that are not free yet. A new session begins when that is none, or late. A client that goes
//! takes its number along; replies to what it had asked find the cleanup.
//!
//! When the server goes, every request of every client is answered by an error, then each client ends.
#![forbid(unsafe_code)]

mod config;

pub use config::Config;

use std::time::Duration;

/// A client, until [`Share::client_gone`]; its number is not used again soon, and not as the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId {
    index: u32,
    round: u32,
}

/// Many clients, one server.
pub struct Share {
    config: Config,
}

impl Share {
    /// No clients; the first thing to write to the server, if the dialect is settled, is a Tversion.
    #[must_use]
    pub fn new(config: Config) -> Share {
        Share { config }
    }

    /// It is `now`, counted from whenever: everything that happens next happens then. Answers
    /// nothing; what was late shows as with any other event.
    pub fn tick(&mut self, now: Duration) {
        let _ = (now, &self.config);
        todo!()
    }

    /// When [`tick`](Share::tick) should be called at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        todo!()
    }

    /// A client has connected.
    pub fn client_connected(&mut self) -> ClientId {
        todo!()
    }

    /// It has sent these bytes, cut anywhere. All of them are taken. Who has gone is ignored.
    pub fn client_bytes(&mut self, id: ClientId, bytes: &[u8]) {
        let _ = (id, bytes);
        todo!()
    }

    /// It has closed its end or cannot be written to, or it was closing and has been closed. What it
    /// had is flushed and clunked; the id is nobody's from now on.
    pub fn client_gone(&mut self, id: ClientId) {
        let _ = id;
        todo!()
    }

    /// Whether more bytes of this client are welcome. That it goes must be noticed even so.
    #[must_use]
    pub fn wants_read(&self, id: ClientId) -> bool {
        let _ = id;
        todo!()
    }

    /// What is to be written to this client.
    #[must_use]
    pub fn output(&self, id: ClientId) -> &[u8] {
        let _ = id;
        todo!()
    }

    /// The first `n` bytes of its output were written.
    pub fn client_wrote(&mut self, id: ClientId, n: usize) {
        let _ = (id, n);
        todo!()
    }

    /// Whether its connection is to be closed as soon as its output is written.
    #[must_use]
    pub fn is_closing(&self, id: ClientId) -> bool {
        let _ = id;
        todo!()
    }

    /// A client whose output, wish to be read or closing has changed since it was last named here.
    pub fn next_changed(&mut self) -> Option<ClientId> {
        todo!()
    }

    /// The server has sent these bytes, cut anywhere.
    pub fn server_bytes(&mut self, bytes: &[u8]) {
        let _ = bytes;
        todo!()
    }

    /// What is to be written to the server.
    #[must_use]
    pub fn server_output(&self) -> &[u8] {
        todo!()
    }

    /// The first `n` bytes of the server's output were written.
    pub fn server_wrote(&mut self, n: usize) {
        let _ = n;
        todo!()
    }

    /// The server has closed its end, or cannot be written to.
    pub fn server_gone(&mut self) {
        todo!()
    }
}
