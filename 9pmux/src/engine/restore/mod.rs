//! `--reconnect`: the server goes and comes back, and clients keep what they have.
//!
//! Sessions are restored, not bytes: the server may have lost all its state, and needs no support for this. The
//! engine remembers where each fid is, keeps a copy of each request until its reply arrives, and repeats on a new
//! connection what makes the fids exist again.

use std::time::Duration;

use super::Engine;

/// How the engine restores sessions when the server has gone and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconnect {
    /// The time, counted from the loss, for which requests wait. Afterwards they get ETIMEDOUT at once, while
    /// the server is still wanted. `None`: requests always wait.
    pub patience: Option<Duration>,
    /// The requests that are sent again after a loss.
    pub repeat: Repeat,
    /// The treatment of fids that may hold a lock.
    pub lost_locks: LostLocks,
}

impl Default for Reconnect {
    fn default() -> Reconnect {
        Reconnect {
            patience: Some(Duration::from_secs(60)),
            repeat: Repeat::Writes,
            lost_locks: LostLocks::Fail,
        }
    }
}

/// The requests that are sent again if the server may have executed them before it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// None.
    None,
    /// Those that change nothing at the server.
    Reads,
    /// Those, and a Twrite at an offset to a plain file.
    Writes,
}

/// The treatment of fids that may hold a lock when the server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostLocks {
    /// They are dead.
    Fail,
    /// The locks are taken again; a fid whose lock is not granted is dead.
    Again,
}

/// What has become of the sessions, for a log ([`Engine::next_restore_event`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreEvent {
    /// Clients go on: the identities and the fids that requests wait for are restored. Idle fids may follow.
    Back {
        /// The time since the loss.
        after: Duration,
    },
    /// All fids have been restored, or are dead.
    Restored {
        /// The number of fids when the server came back, without those that clients have clunked meanwhile.
        fids: usize,
        /// The number of them that are dead.
        gone: usize,
    },
    /// The server does not let this user attach to this tree any more.
    AttachRefused {
        /// The user.
        uname: String,
        /// The tree.
        aname: String,
    },
    /// A fid has more names than are remembered. It cannot be restored. Reported once.
    TooManyNames,
}

/// The state of the sessions while the server is away, or while fids are being restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    /// The time of the loss, or of the start of the engine.
    pub since: Duration,
    /// Whether there is a connection, and fids are being restored.
    pub is_replaying: bool,
    /// Whether requests do not wait any more.
    pub is_failing: bool,
    /// The number of clients in a session.
    pub sessions: usize,
    /// The number of requests of the lost connection that will be sent again.
    pub requests: usize,
    /// The number of fids that are not restored yet.
    pub fids: usize,
}

impl Engine {
    /// Returns the next event that concerns the sessions, if there is one. Only with
    /// [`Config::reconnect`](super::Config::reconnect).
    pub fn next_restore_event(&mut self) -> Option<RestoreEvent> {
        None
    }

    /// Returns the state of the sessions while they are not restored.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        None
    }
}
