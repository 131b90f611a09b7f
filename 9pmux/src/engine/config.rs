//! What whoever runs an engine may choose.

use std::time::Duration;

use crate::wire::Dialect;

/// Limits and choices, with the defaults that [`Default`] gives. A limit of nothing lets one through even so, but
/// for those of fids.
#[derive(Clone, Debug)]
pub struct Config {
    /// The dialect to speak with the server. Without one, the first client's Tversion settles it.
    pub dialect: Option<Dialect>,
    /// Whether all who attach without an afid and with the same names share one Tattach, each by a walk of
    /// its fid: for servers that let a connection attach once.
    pub attach_once: bool,
    /// The users that clients may attach as, by name, and by number where the dialect has one; none for
    /// anybody.
    pub unames: Vec<String>,
    /// The trees that they may attach to; none for any.
    pub anames: Vec<String>,
    /// The msize to offer the server.
    pub msize: u32,
    /// How many requests of one client may be at the server.
    pub max_inflight: usize,
    /// How many of all clients together; no more than tags allow, some 64,000.
    pub max_inflight_all: usize,
    /// How many fids one client may have.
    pub max_fids: usize,
    /// How many fids all may have together, those of the departed counted until the server has let
    /// go of them.
    pub max_fids_all: usize,
    /// How many bytes of replies may wait for one client, those counted that it has asked for. One
    /// request at a time is let through even so.
    pub max_reply_bytes: usize,
    /// From how many bytes of requests that wait on a client is not read; while it has as many at the
    /// server as it may, that is its msize at the least. One more read comes on top.
    pub max_inbox_bytes: usize,
    /// From how many bytes on that the server has not taken yet, requests wait for their turn.
    pub max_server_bytes: usize,
    /// How long the server may take to answer our Tversion.
    pub version_timeout: Duration,
    /// How long a client's second Tversion waits for the server to let go of what the first session had.
    pub cleanup_timeout: Duration,
    /// Any number that clients can not know: what the tables of fids are mixed with.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            dialect: None,
            attach_once: false,
            unames: Vec::new(),
            anames: Vec::new(),
            msize: 128 * 1024,
            max_inflight: 256,
            max_inflight_all: usize::MAX,
            max_fids: 65_536,
            max_fids_all: 1 << 22,
            max_reply_bytes: 1 << 20,
            max_inbox_bytes: 16 * 1024,
            max_server_bytes: 1 << 20,
            version_timeout: Duration::from_secs(10),
            cleanup_timeout: Duration::from_secs(10),
            seed: 0,
        }
    }
}
