//! The engine: many clients share one connection to a 9P server.
//!
//! The engine is a state machine without I/O and without a clock: bytes and events go in, bytes and
//! requests to close a connection come out. [`Engine`] documents how it is driven.
//!
//! # Ownership
//!
//! | thing | is identified by | is owned by |
//! |---|---|---|
//! | upstream request | its upstream tag, from libmux's tag pool | a client, a cleanup, a descriptor, or 9pmux itself |
//! | upstream fid | its upstream number, the lowest that is free | a client, a cleanup, a descriptor, or 9pmux itself |
//! | local fid (`control/`) | the number that its client has given it | the session |
//! | session (`session.rs`) | its client | the client |
//! | descriptor (`descriptors/`) | its id | itself, until both directions have ended |
//! | cleanup (`cleanup.rs`) | its index | itself, until all that it counts has been freed |
//!
//! An upstream request ends, and its tag is freed, at one of two events:
//!
//! | the request is | it ends when |
//! |---|---|
//! | sent | its reply arrives |
//! | sent, with a flush due or sent | the Rflush arrives; a reply before that counts in full, and without one the request never happened |
//!
//! At most one Tflush is upstream for a request: further Tflush of the same tag wait for the same Rflush.
//!
//! The life cycle of a fid is in `fids.rs`. Its rules cover all orders of events. A Tclunk that is flushed
//! leaves its fid live, to be bound again or clunked. If the reply to a Twalk arrives after its client has
//! disconnected, the fid is live and unbound, and is clunked. If a Tclunk gets no reply, its fid is never reused.
//!
//! A session ends when its client sends another Tversion or disconnects. Its requests and fids then become
//! a cleanup, which counts them until they are freed; a Tversion is replied to when the cleanup has
//! completed or timed out. When the server has gone, every outstanding request gets an error, and every
//! client is closed, unless clients outlive the server (`away.rs`, `restore/`).
//!
//! # Files
//!
//! | file | content |
//! |---|---|
//! | `inbox.rs` | a client's bytes: framing, order, and messages that take effect out of order |
//! | `forward.rs`, `plan.rs`, `reply_budget.rs` | a client's request: validation, and the way to the server; its fids; the length of its reply |
//! | `waiting_reads.rs` | reads that wait while other requests of their client are forwarded |
//! | `turns.rs` | the turn queue: messages that 9pmux itself replies to |
//! | `ready_queue.rs`, `scheduler.rs` | the clients that wait for capacity, their service, and 9pmux's own Tclunk |
//! | `reply.rs` | the server's bytes: framing, and the way of a reply to its client |
//! | `flush.rs` | Tflush |
//! | `version.rs`, `cleanup.rs`, `end.rs` | Tversion, ended sessions, the end of the server |
//! | `far_end.rs` | the other end of a link, as a client and as a server |
//! | `inflight_limit.rs` | the adaptive limit of requests at the server |
//! | `window.rs` | the bytes that may be outstanding at the server |
//! | `away.rs` | a server that is not there, and dead fids |
//! | `restore/` | a server that goes and comes back, and sessions that are restored |
//! | `descriptors/` | Topenfd: descriptors in place of fids |
//! | `shared_attach.rs`, `policy.rs` | options: one attach for all clients, what clients may do |
//! | `control/` | the files that 9pmux itself serves |
//! | `pserve.rs` | the rules of plan9port's 9pserve, if 9pmux is in its place |
//! | `shares.rs`, `users.rs` | what one client may hold of what all clients use, and the accounts that are counted |
//! | `clients.rs`, `session.rs`, `requests.rs`, `fids.rs`, `upstream.rs` | the records |
//! | `user_queues.rs` | a queue for each user, served round robin |
//! | `output.rs` | messages appended to the outputs of the clients and of the server |
//! | `number_pool.rs`, `client_tags.rs`, `hasher.rs`, `buffer.rs` | the lowest free number, a client's tags, seeded hashing, buffers |
//! | `memory.rs` | the bound over all buffers |
//! | `config.rs`, `stats.rs`, `version_events.rs` | configuration, counters and trace events, what to log about versions |
//! | `counters.rs`, `latency.rs` | counters since the start, and histograms of latencies |
//! | `local_error.rs`, `foreign_error.rs` | 9pmux's own errors, and error replies in the form of another dialect |
#![forbid(unsafe_code)]

mod away;
mod buffer;
mod cleanup;
mod client_tags;
mod clients;
mod config;
mod control;
mod counters;
mod descriptors;
mod end;
mod far_end;
mod fids;
mod flush;
mod foreign_error;
mod forward;
mod hasher;
mod inbox;
mod inflight_limit;
mod latency;
mod local_error;
mod memory;
mod number_pool;
mod output;
mod plan;
mod policy;
mod pserve;
mod ready_queue;
mod reply;
mod reply_budget;
mod requests;
mod restore;
mod scheduler;
mod session;
mod shared_attach;
mod shares;
mod stats;
mod turns;
mod upstream;
mod user_queues;
mod users;
mod version;
mod version_events;
mod waiting_reads;
mod window;

#[cfg(any(test, mux_fuzz))]
mod audit;
#[cfg(any(test, mux_fuzz))]
pub mod fuzz;
#[cfg(test)]
mod tests;

pub use config::{Config, ServerKind};
#[cfg(feature = "stat")]
pub(crate) use control::is_plain;
pub use control::{
    ClientOrigin, ControlCommand, ControlTree, Facts, LinkCounters, ServerFacts, UpstreamRow,
    VERSION as CONTROL_VERSION,
};
pub use descriptors::DescriptorId;
pub use end::EndReason;
pub use far_end::{CloseCause, KEEPALIVE_TAG, Load};
pub use inbox::MAX_SKIPPED_MESSAGE;
pub use latency::Histogram;
pub use policy::{Caller, Rules};
pub use pserve::{AttachAs, PserveRules};
pub use restore::{LostLocks, Outage, Reconnect, Repeat, RestoreEvent};
pub use stats::{ClientInfo, Limit, Notice, Stats, TraceEvent, Tracer};
pub use users::{User, host_of};
pub use version_events::VersionEvent;

use std::collections::VecDeque;
use std::time::Duration;

use buffer::Pool;
use cleanup::Cleanups;
use clients::{Blocked, Client, ClientState, Clients};
use control::Control;
use counters::Counters;
use descriptors::Descriptors;
use fids::Fids;
use hasher::SeededState;
use ready_queue::ReadyQueue;
use requests::Requests;
use restore::Restore;
use shares::ShareQueue;
use upstream::{Upstream, UpstreamState};
use users::Users;
use version_events::VersionEvents;

use crate::wire::Dialect;

/// The id of a client, from [`Engine::client_connected`] to [`Engine::client_gone`]. Ids are not reused,
/// although their indices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId {
    index: u32,
    number: u64,
}

impl ClientId {
    /// Returns a small number that no other connected client has, for a driver's tables.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Returns the number of the client, which no other client of this engine ever has.
    #[must_use]
    pub fn number(self) -> u64 {
        self.number
    }
}

/// Many clients and one server.
///
/// A driver reports events by these methods, in any order:
///
/// | method | event |
/// |---|---|
/// | [`tick`](Engine::tick) | time has passed |
/// | [`client_connected`](Engine::client_connected), [`client_connected_as`](Engine::client_connected_as), [`client_connected_by`](Engine::client_connected_by) | a client has connected |
/// | [`client_bytes`](Engine::client_bytes), [`server_bytes`](Engine::server_bytes) | bytes were read |
/// | [`client_wrote`](Engine::client_wrote), [`server_wrote`](Engine::server_wrote) | bytes were written |
/// | [`client_finished`](Engine::client_finished) | a client has shut down its writing side |
/// | [`client_gone`](Engine::client_gone), [`server_gone`](Engine::server_gone) | a connection has ended or failed |
/// | [`server_connected`](Engine::server_connected), [`redial_failed`](Engine::redial_failed) | the connection to the server was made again, or could not be |
/// | [`hang_up`](Engine::hang_up) | the program ends |
///
/// It obtains actions by these methods:
///
/// | method | action |
/// |---|---|
/// | [`next_dirty`](Engine::next_dirty) | the client that must be examined again by the methods below |
/// | [`output`](Engine::output), [`server_output`](Engine::server_output) | the bytes to be written |
/// | [`wants_read`](Engine::wants_read) | whether to read from a client |
/// | [`is_closing`](Engine::is_closing) | whether to close a client once its output is written |
/// | [`next_deadline`](Engine::next_deadline) | the latest time of the next `tick` |
/// | [`wants_redial`](Engine::wants_redial) | whether to close the connection to the server, and connect again |
/// | [`next_version_event`](Engine::next_version_event) | what to log about versions |
/// | [`end_reason`](Engine::end_reason) | whether to stop |
/// | [`next_notice`](Engine::next_notice) | what to log about a client |
/// | [`has_control_clients`](Engine::has_control_clients), [`next_control_command`](Engine::next_control_command) | whether to report facts, and what a client asks the driver to do, with [`Config::control`] |
/// | [`take_lost_server`](Engine::take_lost_server), [`next_restore_event`](Engine::next_restore_event), [`outage`](Engine::outage) | what to log about a server that goes and comes back |
///
/// A driver that can pass descriptors to a client calls [`allow_descriptors`](Engine::allow_descriptors) when the
/// client has connected. It then has a table of descriptors (Topenfd) as well, with one socket of a pair for each:
///
/// | method | event or action |
/// |---|---|
/// | [`next_descriptor`](Engine::next_descriptor) | the descriptor that must be examined again by the methods below |
/// | [`wants_pair`](Engine::wants_pair) | whether to make a pair of sockets, and report [`pair_made`](Engine::pair_made) or [`pair_failed`](Engine::pair_failed) |
/// | [`descriptor_to_pass`](Engine::descriptor_to_pass) | a descriptor; its other socket must be passed to the client, behind the output; then [`descriptor_passed`](Engine::descriptor_passed) |
/// | [`descriptor_output`](Engine::descriptor_output), [`descriptor_wrote`](Engine::descriptor_wrote) | the bytes to be written to the socket, and how many were |
/// | [`descriptor_output_ended`](Engine::descriptor_output_ended) | whether to shut down writing once the output is written |
/// | [`descriptor_wants_read`](Engine::descriptor_wants_read), [`descriptor_bytes`](Engine::descriptor_bytes) | how many bytes to read from the socket at most, and the bytes |
/// | [`descriptor_reader_gone`](Engine::descriptor_reader_gone) | no program reads from the socket, or writing to it has failed |
/// | [`descriptor_writer_gone`](Engine::descriptor_writer_gone) | no program writes to the socket, and all bytes were reported |
/// | [`descriptor_is_closing`](Engine::descriptor_is_closing) | whether to close the socket once the output is written, and report [`descriptor_closed`](Engine::descriptor_closed) |
///
/// In each turn, a driver should:
///
/// 1. call `tick` with the time;
/// 2. report new clients, and read from the server and from each client that `wants_read`, preferably into
///    one large buffer; the end of a client's bytes is `client_finished`, the end or an error of a
///    connection is `client_gone` or `server_gone`;
/// 3. write `server_output` with one call, and report by `server_wrote` how much was written;
/// 4. call `next_dirty` until it returns `None`; for each client write `output` with one call, report it by
///    `client_wrote`, ask `wants_read` again, and if the client `is_closing` and has no output left, close
///    its connection and report `client_gone`;
/// 5. stop when `end_reason` returns a reason and the clients' last output is written or given up.
///
/// A client's disconnection must be noticed even while `wants_read` returns false. Buffers are lent to a
/// client only while they hold bytes, so an idle client has none.
///
/// ```
/// use ninepmux::engine::{Config, Engine};
///
/// let mut engine = Engine::new(Config::default());
/// let client = engine.client_connected();
/// engine.client_bytes(client, b"\x13\0\0\0\x64\xff\xff\0\x20\0\0\x06\09P2000");
/// let request = engine.server_output(); // the engine's own Tversion, with its own msize
/// assert_eq!(request[4], 100);
/// let n = request.len();
/// engine.server_wrote(n);
/// engine.server_bytes(b"\x13\0\0\0\x65\xff\xff\0\x10\0\0\x06\09P2000");
/// assert_eq!(engine.next_dirty(), Some(client));
/// assert_eq!(engine.output(client), b"\x13\0\0\0\x65\xff\xff\0\x10\0\0\x06\09P2000");
/// ```
pub struct Engine {
    config: Config,
    now: Duration,
    upstream: Upstream,
    clients: Clients,
    users: Users,
    requests: Requests,
    fids: Fids,
    /// The records for sessions that are restored, with that option.
    restore: Option<Box<Restore>>,
    cleanups: Cleanups,
    descriptors: Descriptors,
    /// The clients that wait for capacity upstream.
    ready_queue: ReadyQueue,
    /// The turns of clients since a deferred clunk had one.
    turns_since_clunk: u32,
    /// The users of which a request that had passed the adaptive limit has ended in this event.
    passes_ended: Vec<u32>,
    /// The clients that wait for their next turn, in order.
    turn_queue: VecDeque<ClientId>,
    /// The number of the driver's turn, and the cost that messages may still have in it.
    turn: u32,
    turn_budget: u32,
    /// The clients that wait for a share of the tags.
    share_queue: ShareQueue,
    /// The clients with a Tversion that waits for the server's version.
    version_waiters: VecDeque<ClientId>,
    /// While the version waiters are being resumed: the indices of clients with a further Tversion.
    further_versions: Option<VecDeque<u32>>,
    /// The clients that `next_dirty` has not returned since they changed.
    dirty: VecDeque<ClientId>,
    pool: Pool,
    /// The memory of all clients' buffers.
    client_memory: usize,
    /// The clients for which there was no memory in this event.
    starved: Vec<ClientId>,
    stats: Stats,
    counters: Counters,
    control: Control,
    /// The limits that clients have met, for the log.
    notices: VecDeque<Notice>,
    version_events: VersionEvents,
    /// The client with a request that does not fit into the window, since the ready queue was last processed.
    window_blocked: Option<u32>,
    /// The number of connections to the server.
    connects: u64,
    /// Why the server has gone, until the driver asks for it.
    lost_server: Option<EndReason>,
    /// The client that the engine has closed last for a reason of the client's own.
    last_close: Option<(ClientId, CloseCause)>,
    tracer: Option<Tracer>,
}

#[cfg(test)]
thread_local! {
    /// The number of bytes moved and of messages examined, for tests of the work that a client can cause.
    static WORK: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts work beyond one examination of each message.
#[inline(always)]
fn count_work(_n: usize) {
    #[cfg(test)]
    WORK.set(WORK.get() + _n);
}

impl Engine {
    /// Returns an engine without clients. If the configuration has a dialect, a Tversion is already in the
    /// server's output.
    #[must_use]
    pub fn new(config: Config) -> Engine {
        Engine::new_at(config, Duration::ZERO)
    }

    /// As `new`, but the time of the driver is `now` already.
    #[must_use]
    pub fn new_at(config: Config, now: Duration) -> Engine {
        let config = Config {
            max_inflight: config.max_inflight.max(1),
            max_reply_bytes: config.max_reply_bytes.max(1),
            max_inbox_bytes: config.max_inbox_bytes.max(1),
            max_server_bytes: config.max_server_bytes.max(1),
            max_turn_cost: config.max_turn_cost.max(1),
            // No fid must be NOFID.
            max_fids_all: config.max_fids_all.min(u32::MAX as usize),
            max_descriptors_all: descriptors::max_descriptors(&config),
            ..config
        };
        let hasher = SeededState::new(config.seed);
        let restore = config.reconnect.map(|options| Box::new(Restore::new(options, hasher, now)));
        let mut engine = Engine {
            restore,
            now,
            upstream: Upstream::default(),
            clients: Clients::new(SeededState::new(config.seed)),
            users: Users::new(SeededState::new(config.seed)),
            requests: Requests::new(&config),
            fids: Fids::without(config.pserve.as_ref().and_then(PserveRules::afid)),
            cleanups: Cleanups::default(),
            descriptors: Descriptors::default(),
            ready_queue: ReadyQueue::default(),
            turns_since_clunk: 0,
            passes_ended: Vec::new(),
            turn_queue: VecDeque::new(),
            turn: 0,
            turn_budget: 0,
            share_queue: ShareQueue::default(),
            version_waiters: VecDeque::new(),
            further_versions: None,
            dirty: VecDeque::new(),
            pool: Pool::new(config.max_spare_bytes),
            client_memory: 0,
            starved: Vec::new(),
            stats: Stats::default(),
            counters: Counters::new(now),
            control: Control::default(),
            notices: VecDeque::new(),
            version_events: VersionEvents::default(),
            window_blocked: None,
            connects: 0,
            lost_server: None,
            last_close: None,
            tracer: None,
            config,
        };
        engine.begin_turn();
        engine.connects =
            u64::from(engine.restore.is_none() && engine.config.server != ServerKind::OnDemand);
        engine.upstream.msize = engine.config.msize;
        match (engine.config.server, engine.config.dialect) {
            (ServerKind::OnDemand, _) => engine.upstream.begin_without_server(UpstreamState::Away),
            _ if engine.restore.is_some() => {
                engine.upstream.begin_without_server(UpstreamState::Away);
            }
            (ServerKind::Absent, _) => engine.upstream.begin_without_server(UpstreamState::Absent),
            (_, Some(dialect)) if engine.has_version() => {
                engine.upstream.version_agreed(dialect, engine.upstream.msize);
            }
            (_, Some(dialect)) => engine.send_version(dialect),
            (_, None) => {}
        }
        engine.control.state_since = now;
        engine
    }

    /// Reports the time, counted from the creation of the engine unless `new_at` was used, and handles deadlines that
    /// have passed. Later events happen at this time. Begins a turn, in which each client may again send some messages that
    /// 9pmux itself replies to.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
        self.counters.set_time(self.now);
        self.stats.turns += 1;
        self.tick_adaptive();
        self.begin_turn();
        self.expire_version();
        self.expire_cleanups();
        if self.restore.is_some() {
            self.expire_restore();
        }
        self.enforce_memory();
        self.run_ready();
    }

    /// Returns the time at which [`tick`](Engine::tick) must be called at the latest, if any.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let version = self.upstream.deadline();
        let cleanup = self.cleanups.deadline();
        let has_own = self.upstream.deferred_flushes.has_turn() && self.requests.has_flush_tag()
            || self.may_send_clunks(false);
        let has_work = self.has_unexamined_shares() || !self.turn_queue.is_empty() || has_own;
        let work = has_work.then_some(self.now);
        let restore = self.restore.as_ref().and_then(|restore| restore.deadline());
        let period = self.adaptive_deadline();
        version.into_iter().chain(cleanup).chain(restore).chain(work).chain(period).min()
    }

    /// Reports that a client has connected.
    pub fn client_connected(&mut self) -> ClientId {
        self.client_connected_by(None, Rules::default())
    }

    /// Reports that a client of this user has connected. The clients of a user share the limits of all
    /// clients as if they were one; a client without a user is one for itself.
    pub fn client_connected_as(&mut self, user: User) -> ClientId {
        self.client_connected_by(Some(user), Rules::default())
    }

    /// Reports that a client has connected by a listener with these rules, which hold until it disconnects, beside those
    /// of the configuration.
    pub fn client_connected_by(&mut self, user: Option<User>, rules: Rules) -> ClientId {
        let read_only = rules.read_only || self.config.read_only;
        let rules = Rules { read_only, ..rules };
        let user = self.users.add_client(user);
        let id = self.clients.add(user, self.counters.seconds, rules);
        self.shares_have_grown();
        if self.end_reason().is_some() {
            self.clients.set_state(id.index, ClientState::Closing);
            self.mark_dirty(id.index);
        }
        id
    }

    /// Reports bytes that a client has sent, cut anywhere. Consumes all of them. Calling this while
    /// `wants_read` returns false makes the client's buffer grow by that amount.
    pub fn client_bytes(&mut self, id: ClientId, bytes: &[u8]) {
        if let Some(client_index) = self.clients.index_of(id) {
            self.count_client_bytes(client_index, bytes.len());
            self.handle_client_bytes(client_index, bytes);
            self.run_ready();
            self.count_memory(client_index);
        }
    }

    /// Reports that a client sends nothing more and still reads. It receives the replies to all that it has
    /// asked, and is then closing. Bytes of an incomplete message are discarded.
    pub fn client_finished(&mut self, id: ClientId) {
        if let Some(client_index) = self.clients.index_of(id) {
            self.clients.get(client_index).finished = true;
            self.mark_dirty(client_index);
        }
    }

    /// Reports that a client's connection has ended or failed, or was closed by the driver. Its requests
    /// are flushed and its fids are clunked; the id is invalid afterwards.
    pub fn client_gone(&mut self, id: ClientId) {
        if let Some(client_index) = self.clients.index_of(id) {
            self.begin_cleanup(client_index);
            self.drop_descriptors_of(client_index);
            if let Some(client) = self.clients.remove(id) {
                self.client_memory -= client.counted_memory;
                self.users.change(client.user, |account| {
                    account.clients -= 1;
                    account.memory -= client.counted_memory;
                });
            }
            self.run_ready();
        }
    }

    /// Returns true if the driver should read from this client. The driver must notice its disconnection in
    /// either case.
    #[must_use]
    pub fn wants_read(&self, id: ClientId) -> bool {
        self.clients.get_if_connected(id).is_some_and(|client| {
            // A large blocked request may be followed by a flush of the request that it waits for.
            let full = client.session.tags.len() >= self.config.max_inflight;
            let least = if full { client.session.msize as usize } else { 0 };
            // A flush of a request that waits for the server must still be read.
            let waiting = if self.is_restoring() { self.config.max_reply_bytes } else { 0 };
            let max = self.config.max_inbox_bytes.max(least).max(waiting);
            match client.state {
                ClientState::Closing => false,
                _ if client.finished || client.in_turn_queue => false,
                _ => client.blocked == Blocked::No || client.inbox.len() < max,
            }
        })
    }

    /// Returns the bytes to be written to this client. They end where a descriptor must be passed.
    #[must_use]
    pub fn output(&self, id: ClientId) -> &[u8] {
        self.clients.get_if_connected(id).map_or(&[], Client::output)
    }

    /// Reports that the first `n` bytes of the client's output were written.
    pub fn client_wrote(&mut self, id: ClientId, n: usize) {
        if let Some(client_index) = self.clients.index_of(id) {
            self.count_written_bytes(client_index, n);
            let client = self.clients.get(client_index);
            client.out.consume(n);
            client.count_written(n);
            self.pool.take_back(&mut client.out);
            self.unblock(client_index);
            self.run_ready();
            self.count_memory(client_index);
        }
    }

    /// Returns true if the client's connection must be closed as soon as its output is written and its descriptors
    /// are passed.
    #[must_use]
    pub fn is_closing(&self, id: ClientId) -> bool {
        self.clients.get_if_connected(id).is_some_and(Client::is_closing)
    }

    /// Returns a client if its `output`, `wants_read` or `is_closing` may have changed since it was last
    /// returned here.
    pub fn next_dirty(&mut self) -> Option<ClientId> {
        loop {
            let id = self.dirty.pop_front()?;
            if let Some(client_index) = self.clients.index_of(id) {
                self.clients.get(client_index).dirty = false;
                return Some(id);
            }
        }
    }

    /// Reports bytes that the server has sent, cut anywhere.
    pub fn server_bytes(&mut self, bytes: &[u8]) {
        if self.end_reason().is_some() || self.upstream.is_disconnected() {
            return;
        }
        self.stats.server_bytes_read += bytes.len() as u64;
        if let Err(end) = self.process_server_bytes(bytes) {
            self.handle_bad_bytes(end);
        }
        self.run_ready();
    }

    /// Returns the bytes to be written to the server.
    #[must_use]
    pub fn server_output(&self) -> &[u8] {
        self.upstream.out.as_slice()
    }

    /// Reports that the first `n` bytes of the server's output were written.
    pub fn server_wrote(&mut self, n: usize) {
        let n = n.min(self.upstream.out.len());
        self.upstream.written += n as u64;
        self.stats.server_bytes_written += n as u64;
        self.upstream.out.consume(n);
        self.pool.take_back(&mut self.upstream.out);
        self.run_ready();
    }

    /// Reports that the server's connection has ended or failed.
    pub fn server_gone(&mut self) {
        self.handle_server_gone(EndReason::ServerClosed);
        self.run_ready();
    }

    /// Reports that the driver gives the server up, which has sent nothing for this time.
    pub fn server_silent(&mut self, time: Duration) {
        self.handle_server_gone(EndReason::Silent(time));
        self.run_ready();
    }

    /// Reports that the driver has closed the connection to the server, because a command asks for another one.
    pub fn server_left(&mut self) {
        self.handle_server_gone(EndReason::Commanded);
        self.run_ready();
    }

    /// Returns true if the driver must close the connection to the server, connect again, and report
    /// `server_connected` or `redial_failed`. Only with [`Config::can_redial`], while no client has a session;
    /// with [`ServerKind::OnDemand`], while a client asks for the server; or with [`Config::reconnect`], always.
    #[must_use]
    pub fn wants_redial(&self) -> bool {
        self.upstream.is_lost() || self.is_asked_for() || self.is_server_missed()
    }

    /// Reports that the driver has connected to the server again.
    pub fn server_connected(&mut self) {
        if self.wants_redial() {
            self.begin_connection();
            self.run_ready();
        }
    }

    /// Reports that the driver cannot connect to the server again.
    pub fn redial_failed(&mut self) {
        if let UpstreamState::Lost(reason) = self.upstream.state() {
            let reason = reason.clone();
            match self.restore {
                Some(_) => self.begin_outage(reason),
                None => self.handle_end(reason),
            }
        } else if self.has_asked_long_enough() {
            self.refuse_askers();
        }
        self.run_ready();
    }

    /// Ends the connection on behalf of the program: requests and clients are treated as if the server had
    /// gone, with an error that says that 9pmux ends.
    pub fn hang_up(&mut self) {
        self.handle_end(EndReason::HungUp);
    }

    /// Returns the reason if the connection to the server has ended. The clients' outputs then contain the
    /// error replies, and all clients are closing.
    #[must_use]
    pub fn end_reason(&self) -> Option<&EndReason> {
        self.upstream.end_reason()
    }

    /// Returns the dialect of the connection, once it is agreed.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.upstream.ready_dialect()
    }
}
