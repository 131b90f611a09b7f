//! `--reconnect`: the server goes and comes back, and clients keep what they have.
//!
//! Sessions are restored, not bytes: the server may have lost all its state, and needs no support for this. The
//! engine remembers where the file of each fid is, keeps a copy of each request until its reply arrives, and
//! repeats on a new connection what makes the fids exist again.
//!
//! # Ownership
//!
//! | thing | is owned by | freed when |
//! |---|---|---|
//! | node of the name tree (`names.rs`) | the fids at it and the nodes below it | the last of them leaves |
//! | place of a fid (`places.rs`), its locks (`locks.rs`) | the upstream fid | the fid is freed |
//! | copy of a request (`copies.rs`) | the upstream request, counted for its client | its reply arrives, it fails, or its session ends |
//! | *held* request (`held.rs`) | its client, as before: it keeps its tag and its fids | as any request |
//! | identity (`roots.rs`), walks and opens of the replay (`replay.rs`) | 9pmux itself | the replay has completed, or its connection is lost |
//!
//! An upstream fid keeps its number and its owner over a loss. While it does not exist at the server it is *away*;
//! once it has been walked to, and still has to be opened, it is *restoring* (`fids.rs`). A fid that cannot be
//! restored is dead (`away.rs`).
//!
//! # States
//!
//! | state of the upstream | event | effect |
//! |---|---|---|
//! | ready, replaying, awaiting version | the connection is lost | `loss.rs`: all that is upstream ends, fails, or is held; away |
//! | away | the driver has connected | awaiting version; without sessions, no version |
//! | awaiting version | the version of the sessions is agreed | replaying |
//! | replaying | all fids that requests wait for are restored | the outage has ended; what is idle follows |
//! | replaying | every fid is restored or dead | ready |
//! | no version | the connection has lasted, without a session | the outage has ended |
//! | away, awaiting version, replaying | `patience` has passed since the loss | what waits fails, and so does what arrives (`waiting.rs`) |
//!
//! A connection that is lost again, at whatever point, is handled in the same way: the requests of the replay end
//! with it, fids that were restored are away again, and what was held remains so. Nothing of the attempt is kept, and
//! the time of the loss is that of the first.
//!
//! A client may leave, or begin another session, in any of these states: its held requests never happened, and its
//! fids are freed at once if they are not at the server. If 9pmux ends, everything gets an error (`end.rs`).
//!
//! # Waking
//!
//! | waits | continues when |
//! |---|---|
//! | held request | its fids are restored, or one is dead: the client is in the set `woken` of `held.rs` |
//! | request of a client in its inbox | the same, behind the client's held requests |
//! | fid of an identity without a reply to its Tattach | the reply arrives: it is queued again |
//! | step of the replay without a tag | the next event: `advance_replay` is called after each |
//! | step that has failed for the moment | its time in `later` |
//!
//! # Files
//!
//! | file | content |
//! |---|---|
//! | `names.rs`, `places.rs`, `locks.rs`, `copies.rs` | the records |
//! | `budget.rs` | the memory of the records, by client and by user |
//! | `record.rs` | replies, recorded |
//! | `repeat.rs` | which requests are sent again, and what is different after a loss |
//! | `loss.rs` | the loss of the connection |
//! | `waiting.rs` | replies to clients meanwhile |
//! | `held.rs` | requests that are sent again |
//! | `roots.rs`, `replay.rs`, `walks.rs`, `reopening.rs` | identities; the order of the replay; its walks; opens and locks |
//! | `blocked.rs` | opens and locks that the server does not reply to |
//! | `audit.rs` | the invariants |

#[cfg(any(test, mux_fuzz))]
mod audit;
mod blocked;
mod budget;
mod copies;
mod held;
mod locks;
mod loss;
mod names;
mod places;
mod record;
mod reopening;
mod repeat;
mod replay;
mod roots;
mod waiting;
mod walks;

use std::collections::VecDeque;
use std::time::Duration;

use super::Engine;
use super::hasher::SeededState;
use super::policy::AttachNames;
use super::upstream::UpstreamState;
use copies::Copies;
use held::Held;
use locks::Locks;
use names::Names;
use places::Places;
use replay::Replay;
use waiting::NamedFids;

/// The maximum number of events that are kept: a driver need not ask for them.
const MAX_EVENTS: usize = 16;

/// A connection that has lasted for this time, without a client that has needed it, ends an outage. Before that it may
/// be only something before the server, such as ssh, that has connected.
const LASTING: Duration = Duration::from_secs(5);

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
    /// Requests that change nothing at the server.
    Reads,
    /// The same, and a Twrite at an offset to a plain file.
    Writes,
}

/// The treatment of fids that may hold a lock when the server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostLocks {
    /// They are dead.
    Fail,
    /// The locks are taken again; a fid is dead if a lock of it is not granted.
    Again,
}

/// An event that concerns the sessions, for a log ([`Engine::next_restore_event`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreEvent {
    /// Clients go on: the identities and the fids that requests wait for are restored. Idle fids may follow.
    Back {
        /// The time since the loss.
        after: Duration,
    },
    /// All fids have been restored, or are dead.
    Restored {
        /// The number of fids that were restored or are dead. Fids that clients have clunked meanwhile do not count.
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
    /// Whether the server is connected, and fids are being restored.
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

/// The records by which the engine restores sessions.
pub struct Restore {
    pub options: Reconnect,
    names: Names,
    places: Places,
    locks: Locks,
    copies: Copies,
    held: Held,
    replay: Replay,
    named: NamedFids,
    /// The time of the loss, or of the start, until clients go on.
    since: Duration,
    /// Whether clients go on.
    is_settled: bool,
    /// Whether requests fail instead of waiting.
    is_failing: bool,
    /// The time at which the version of the sessions is offered again.
    offer_at: Option<Duration>,
    /// The time at which a connection without a version has lasted.
    lasting_at: Option<Duration>,
    events: VecDeque<RestoreEvent>,
    has_noticed_names: bool,
}

impl Restore {
    /// Returns the state without a connection.
    pub fn new(options: Reconnect, hasher: SeededState, now: Duration) -> Restore {
        Restore {
            options,
            names: Names::new(hasher),
            places: Places::default(),
            locks: Locks::new(hasher),
            copies: Copies::default(),
            held: Held::default(),
            replay: Replay::default(),
            named: NamedFids::default(),
            since: now,
            is_settled: false,
            is_failing: false,
            offer_at: None,
            lasting_at: None,
            events: VecDeque::new(),
            has_noticed_names: false,
        }
    }

    /// Forgets all records: nothing is upstream any more.
    pub fn clear_upstream(&mut self, hasher: SeededState) {
        self.names = Names::new(hasher);
        self.places = Places::default();
        self.locks = Locks::new(hasher);
        self.copies = Copies::default();
        self.held = Held::default();
        self.replay = Replay::default();
    }

    /// Adds an event for the log, unless there are too many.
    fn push_event(&mut self, event: RestoreEvent) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }

    fn notice_too_many_names(&mut self) {
        if !std::mem::replace(&mut self.has_noticed_names, true) {
            self.push_event(RestoreEvent::TooManyNames);
        }
    }

    /// Returns the time at which requests cease to wait, while they do.
    fn patience_deadline(&self) -> Option<Duration> {
        let waits = !self.is_settled && !self.is_failing;
        Some(self.since.saturating_add(self.options.patience.filter(|_| waits)?))
    }

    /// Returns true if an attempt of the replay that may succeed later should be repeated.
    fn may_try_later(&self, now: Duration) -> bool {
        self.options.patience.is_none_or(|patience| now < self.since.saturating_add(patience))
    }

    /// Returns the path of a fid for people: the aname of its identity, and the names below it. `None` if it is not
    /// known.
    pub fn path_of(&self, fid: u32) -> Option<Vec<u8>> {
        let node = self.places.get(fid).node()?;
        let names = self.names.path(node)?;
        let mut root = node;
        while !self.names.is_root(root) {
            root = self.names.parent(root);
        }
        let AttachNames { aname, .. } = AttachNames::parse(self.names.name(root));
        let mut path = aname.strip_suffix(b"/").unwrap_or(aname).to_vec();
        for name in names {
            path.push(b'/');
            path.extend_from_slice(self.names.name(name));
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Some(path)
    }

    /// Returns the time at which `expire_restore` must be called at the latest, if any.
    pub fn deadline(&self) -> Option<Duration> {
        let replay = self.replay.deadline().into_iter();
        replay.chain(self.patience_deadline()).chain(self.offer_at).chain(self.lasting_at).min()
    }
}

impl Engine {
    /// Returns the next event that concerns the sessions, if there is one. Only with
    /// [`Config::reconnect`](super::Config::reconnect).
    pub fn next_restore_event(&mut self) -> Option<RestoreEvent> {
        self.restore.as_mut()?.events.pop_front()
    }

    /// Returns the state of the sessions while they are not restored.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        let restore = self.restore.as_ref()?;
        let is_replaying = self.upstream.is_replaying();
        if restore.is_settled && !is_replaying {
            return None;
        }
        Some(Outage {
            since: restore.since,
            is_replaying,
            is_failing: restore.is_failing,
            sessions: self.clients.sessions(),
            requests: restore.held.len(),
            fids: self.fids.away(),
        })
    }

    /// Returns true if the server is wanted although no client asks for it.
    pub(super) fn is_server_missed(&self) -> bool {
        self.restore.is_some() && matches!(self.upstream.state(), UpstreamState::Away)
    }
}
