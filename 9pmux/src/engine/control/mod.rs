//! The control tree: files that 9pmux itself serves to clients that attach to `/mux`.
//!
//! # Ownership
//!
//! | thing | is owned by | freed when |
//! |---|---|---|
//! | local fid ([`LocalFids`]) | the session of its client, in a table beside that of the forwarded fids | it is clunked, or the session ends by whatever event |
//! | text of an open file ([`Text`]) | the local fid | the fid is freed |
//! | count of all texts, and of all sessions with local fids | [`Tokens`]: a text and a table hold one, so no event can forget to count | with them |
//! | what the engine does not know ([`Facts`]) | the driver, which reports it while [`Engine::has_control_clients`] | it is replaced |
//!
//! A fid of a client is in one of the two tables. The local one is examined first ([`Engine::is_for_control`]), so a
//! message that names a local fid in any field is never forwarded, and never reaches the tables of upstream fids. A
//! request that is served here has its reply when it has been processed. It has no upstream tag, nothing to be flushed,
//! and nothing to be cleaned up.
//!
//! # Events
//!
//! | event | effect on local fids |
//! |---|---|
//! | Tversion, the end of the client, a message that cannot be framed | they end with the session |
//! | Tflush | the request has its reply already; a request that still waits is removed from the inbox, like any other |
//! | the server goes, is away, comes back | none: they are kept with the session |
//! | the flush of a Tclunk of a forwarded fid | the fid is not bound again if its name is that of a local fid by now |
//! | the engine ends | as for all clients |
//!
//! The first Tversion of a client settles the dialect with the server. A program that only reads these files offers
//! `9P2000.mux` instead ([`VERSION`]): its client state is `Control`, which is no session with the server. It can
//! attach to the control tree only, asks the server nothing, and does not keep the dialect from changing.
//!
//! # Limits
//!
//! A client that may use the tree has at most [`MAX_FIDS`] local fids, which count against `max_fids` as well, and
//! [`MAX_CLIENT_TEXTS`] texts; there are at most [`MAX_TEXTS`] texts of [`MAX_TEXT`](text::MAX_TEXT) bytes. A reply
//! waits for space in the output as one of the server does. A message that is served here counts for the turn of its
//! client, and more if it makes a text, by the length of the text (`turns.rs`).
//!
//! | file | content |
//! |---|---|
//! | `files.rs`, `fids.rs` | the files, and the local fids |
//! | `attach.rs` | which messages are served here; Tversion, Tauth and Tattach |
//! | `requests.rs` | all other messages |
//! | `directory.rs`, `attributes.rs` | the root as a directory; Tstat and Tgetattr |
//! | `text.rs` | texts: escapes, and their maximum length |
//! | `report.rs`, `clients.rs`, `upstreams.rs`, `metrics.rs` | the texts of the files |
//! | `command.rs` | the commands of `ctl` |
//! | `facts.rs` | what the driver reports |

mod attach;
mod attributes;
mod clients;
mod command;
mod directory;
mod facts;
mod fids;
mod files;
mod metrics;
mod report;
mod requests;
mod text;
mod upstreams;

use std::collections::VecDeque;
use std::mem::Discriminant;
use std::sync::Arc;
use std::time::Duration;

use super::ClientId;
use super::upstream::UpstreamState;
pub use command::ControlCommand;
pub use facts::{ClientOrigin, Facts, LinkCounters, ServerFacts, UpstreamRow};
pub use fids::LocalFids;
#[cfg(feature = "stat")]
pub use text::is_plain;

/// The version of clients that only attach to the control tree.
pub const VERSION: &str = "9P2000.mux";

/// The maximum number of local fids of one client.
pub const MAX_FIDS: usize = 256;

/// The maximum number of texts of one client, and of all clients.
pub const MAX_CLIENT_TEXTS: usize = 4;
pub const MAX_TEXTS: usize = 64;

/// The control tree, for [`Config::control`](super::Config::control).
#[derive(Clone, Debug)]
pub struct ControlTree {
    /// The aname by which clients attach to it.
    pub aname: String,
    /// The name and the version of the program.
    pub program: String,
    /// The process.
    pub pid: u32,
    /// The user of the process, which owns the files.
    pub uid: u32,
    /// The group of the process, which has the files.
    pub gid: u32,
    /// The system's time at time 0 of the engine, in seconds since 1970.
    pub epoch: u64,
}

/// Tokens that texts and tables of local fids hold, so that they can be counted.
#[derive(Default)]
struct Tokens {
    texts: Arc<()>,
    sessions: Arc<()>,
}

/// The state of the control tree, besides the local fids.
#[derive(Default)]
pub struct Control {
    tokens: Tokens,
    facts: Facts,
    /// The clients that a command disconnects at the end of this event.
    drops: Vec<ClientId>,
    /// The commands that the driver has not asked for.
    commands: VecDeque<ControlCommand>,
    /// The state of the upstream, and the time since which it has been the same.
    state: Option<Discriminant<UpstreamState>>,
    pub state_since: Duration,
}
