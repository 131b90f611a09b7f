//! The configuration of an engine.

use std::time::Duration;

use super::control::ControlTree;
use super::pserve::PserveRules;
use super::requests::MAX_REQUESTS;
use super::restore::Reconnect;
use crate::wire::Dialect;

/// The kind of the server, for the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerKind {
    /// A connection that exists. The engine ends with it.
    #[default]
    Connected,
    /// The driver connects when a client asks for it, and again after a loss. Clients keep their connections
    /// and sessions meanwhile (`away.rs`).
    OnDemand,
    /// There is none: every known version is agreed to, and every attach is refused.
    Absent,
    /// The other end of a link. It may have no server, so a Tversion without agreement only leaves the
    /// connection without a version.
    FarEnd,
}

/// Limits and options; [`Default`] gives the defaults. A limit of zero still admits one, except for the
/// limits of fids.
#[derive(Clone, Debug)]
pub struct Config {
    /// The dialect of the connection to the server. Without one, a client's Tversion determines it while
    /// no client has a session.
    pub dialect: Option<Dialect>,
    /// The kind of the server.
    pub server: ServerKind,
    /// Whether the driver can connect to the server again (`wants_redial`).
    pub can_redial: bool,
    /// Whether the server may go and come back while clients keep their sessions, fids and requests
    /// (`restore/`). The engine then begins without a connection and always wants one: the driver reports
    /// `server_connected`. Only with [`ServerKind::Connected`] and [`ServerKind::FarEnd`].
    pub reconnect: Option<Reconnect>,
    /// Whether clients that attach without an afid and with the same names share one Tattach, and
    /// each of them gets a Twalk of its fid: for servers that permit one attach per connection.
    pub attach_once: bool,
    /// Whether each Tattach must have an afid: for servers that, once a client has authenticated, trust
    /// the connection that all clients share.
    pub require_auth: bool,
    /// Whether requests that could change a file are refused, for all clients.
    pub read_only: bool,
    /// The users that clients may attach as, by name and, where the dialect has one, by numeric uid. An
    /// empty list permits all users.
    pub unames: Vec<String>,
    /// The trees that clients may attach to. An empty list permits all trees.
    pub anames: Vec<String>,
    /// The control tree, if clients may attach to it (`control/`).
    pub control: Option<ControlTree>,
    /// The rules of plan9port's 9pserve, if 9pmux is in its place.
    pub pserve: Option<PserveRules>,
    /// Whether requests are forwarded with strings, names and stats that the protocol forbids, and with
    /// bytes behind their last field.
    pub lax: bool,
    /// The msize to offer the server.
    pub msize: u32,
    /// The maximum number of requests of one client at the server. Some of them are kept for requests
    /// other than Tread.
    pub max_inflight: usize,
    /// The maximum number of requests of all clients; also limited by the tags, to about 64,000. A client
    /// gets a share (`shares.rs`).
    pub max_inflight_all: usize,
    /// Whether the number of requests at the server follows what the server can use (`inflight_limit.rs`).
    pub adapts: bool,
    /// The number of messages of one client that 9pmux itself replies to in a turn (`turns.rs`), such as
    /// requests that it refuses. A Tversion counts for more.
    pub max_turn_cost: u32,
    /// The maximum cost of the requests of all clients at the server, in bytes, if there is one (`window.rs`).
    pub window: Option<usize>,
    /// The maximum number of fids of one client.
    pub max_fids: usize,
    /// The maximum number of fids of all clients, including fids of departed clients that the server
    /// has not released. A client gets a share.
    pub max_fids_all: usize,
    /// The maximum number of descriptors of one client (Topenfd). None are permitted with 0.
    pub max_descriptors: usize,
    /// The maximum number of descriptors of all clients, including those of departed clients;
    /// also limited by `max_memory`, to one for each 32 KiB. A client gets a share.
    pub max_descriptors_all: usize,
    /// The maximum number of bytes of replies that are queued or expected for one client. A read that would
    /// exceed it is reduced; some other requests are always admitted.
    pub max_reply_bytes: usize,
    /// The smallest count to which the count of a read is reduced. With the default, that of a client with
    /// the usual msize of 8 KiB, every server can return at least one entry of a directory.
    pub min_read_count: u32,
    /// 9pmux stops reading a client when this many bytes of its requests are queued. The limit is
    /// raised to the client's msize while the client has `max_inflight` requests in flight. One more
    /// read may exceed it.
    pub max_inbox_bytes: usize,
    /// The maximum memory of all buffers, beyond which the client that holds most is disconnected.
    pub max_memory: usize,
    /// The maximum memory of empty buffers that is kept for further messages.
    pub max_spare_bytes: usize,
    /// Requests wait in the ready queue while this many bytes are queued for the server.
    pub max_server_bytes: usize,
    /// The maximum time for the server's reply to the Tversion; [`Duration::MAX`] for no limit.
    pub version_timeout: Duration,
    /// The maximum time for which a client's second Tversion waits for the cleanup of its first
    /// session.
    pub cleanup_timeout: Duration,
    /// A number that clients cannot know: the seed of the hash tables.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            dialect: None,
            server: ServerKind::Connected,
            can_redial: false,
            reconnect: None,
            attach_once: false,
            require_auth: false,
            read_only: false,
            unames: Vec::new(),
            anames: Vec::new(),
            control: None,
            pserve: None,
            lax: false,
            // The largest msize of Linux: a megabyte of data, and the space that it leaves for headers.
            msize: 1024 * 1024 + 24,
            max_inflight: 256,
            max_inflight_all: MAX_REQUESTS,
            adapts: false,
            max_turn_cost: 32,
            window: None,
            max_fids: 1 << 20,
            max_fids_all: 1 << 22,
            max_descriptors: 1024,
            max_descriptors_all: 8192,
            max_reply_bytes: 1 << 20,
            min_read_count: 8192,
            max_inbox_bytes: 16 * 1024,
            max_memory: 256 << 20,
            max_spare_bytes: 8 << 20,
            max_server_bytes: 1 << 20,
            version_timeout: Duration::from_secs(10),
            cleanup_timeout: Duration::from_secs(10),
            seed: 0,
        }
    }
}
