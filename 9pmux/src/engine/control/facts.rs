//! Facts that only the driver knows.

use std::time::Duration;

use crate::engine::Engine;
use crate::wire::Dialect;

/// The origin of a client, for the control tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientOrigin {
    /// The index of its listener in [`Facts::listeners`].
    pub listener: u16,
    /// Whether it may attach to the control tree.
    pub may_control: bool,
    /// Its process, or 0.
    pub pid: u32,
}

/// Facts about a server that its engine does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its address.
    pub address: String,
    /// The number of failed attempts to connect since it was last connected.
    pub tries: u64,
    /// The last error; empty if there was none.
    pub last_error: String,
}

/// A line of the file `upstream`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRow {
    /// The facts that only the driver knows.
    pub server: ServerFacts,
    /// The state of the connection.
    pub state: &'static str,
    /// The time since which it has been in this state.
    pub since: Duration,
    /// The dialect, if it is agreed.
    pub dialect: Option<Dialect>,
    /// The msize, if it is agreed.
    pub msize: u32,
    /// The number of fids at the server.
    pub fids: usize,
    /// The number of requests at the server.
    pub requests: usize,
    /// The bytes that wait to be written to the server.
    pub out: usize,
}

/// Counters of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Requests of the other end.
    pub peer_requests: u64,
    /// Keepalives that were sent.
    pub keepalives: u64,
    /// Times that a request of a client has waited for the window.
    pub window_waits: u64,
}

/// The facts that the driver reports.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The addresses of the listeners.
    pub listeners: Vec<String>,
    /// The server of this engine.
    pub server: ServerFacts,
    /// The server of the other engine of a link.
    pub other: Option<UpstreamRow>,
    /// The number of connections that were accepted and then refused.
    pub refused_connections: u64,
    /// The counters of the link, if there is one.
    pub link: Option<LinkCounters>,
}

impl Engine {
    /// Reports what the driver knows. It should be called before each turn in which
    /// [`has_control_clients`](Engine::has_control_clients).
    pub fn report_facts(&mut self, facts: Facts) {
        self.control.facts = facts;
    }
}
