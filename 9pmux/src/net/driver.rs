//! The event loop: wait for events, read, pass to the engine, write.
//!
//! Each turn polls twice. Data that arrives while the first peers are read is then written by the same system
//! calls, and a poll costs far less than waking a peer twice. After each poll the loop reads every readable
//! client once and the server once, so a peer that sends all the time does not delay the others. A peer that
//! may have more data is read again in the next turn, which then begins without a wait. At the end of the
//! turn all output is written, with one write for each peer.
//!
//! New clients are accepted after all events of the turn have been dispatched, so an event for a disconnected
//! client is never taken for one of a new client with the same index.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::fmt::{self, Display, Formatter};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tracing::{info, warn};

use super::ServeOptions;
use super::address::Address;
use super::admission::Admission;
use super::announce::{AcceptOutcome, Announcement, Listener};
use super::child::ChildServer;
use super::descriptors;
use super::dial::{Redial, ServerConnection};
use super::failure::{Failure, error_text};
use super::line_limit::{LineKind, LineLimit};
use super::peers::{Peer, Peers};
use super::redial_pace::RedialPace;
use super::signals::Signals;
use super::stream::{IoOutcome, Origin, Stream};
use super::trace;
use super::watch::{Readiness, Source, Watch};
use crate::engine::{ClientId, Config, EndReason, Engine, Limit, User, VersionEvent};

/// Maximum bytes per read from the server: as much as a socket buffer holds.
const SERVER_READ: usize = 256 * 1024;

/// Maximum number of reads after a write to the server has failed: more than a socket buffer holds.
const MAX_DRAIN_READS: usize = 64;

/// Maximum bytes per read from a client. The engine may have to keep them.
const CLIENT_READ: usize = 64 * 1024;

/// Maximum number of clients accepted per turn and listener, so that connected clients are not delayed.
const MAX_ACCEPTS: usize = 64;

/// Time until the next accept after one has failed for lack of resources.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// Minimum time between two warnings that clients can provoke.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Maximum number of lines about limits of clients in that time.
const MAX_LIMIT_LINES: u32 = 16;

/// Time for clients to read their last replies.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Why a client was disconnected, as a part of a log line.
enum CloseReason {
    /// 9pmux has closed the connection.
    ByUs,
    /// The client has closed the connection, or the connection has failed.
    ByPeer(Option<Errno>),
}

impl Display for CloseReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::ByUs => f.write_str(" (closed by 9pmux)"),
            CloseReason::ByPeer(None) => f.write_str(" (closed by the client)"),
            CloseReason::ByPeer(Some(error)) => {
                write!(f, ": {}", error_text(&(*error).into()))
            }
        }
    }
}

/// The state of the event loop. [`Driver::run`] runs it to the end.
pub struct Driver {
    engine: Engine,
    /// The limits of lines that clients cause, if such lines are logged.
    line_limit: Option<Arc<Mutex<LineLimit>>>,
    watch: Watch,
    server_address: Address,
    server: Option<Peer>,
    /// How to connect to the server again, if that is possible.
    redial: Option<Redial>,
    redial_pace: RedialPace,
    /// The error that has ended the connection to the server.
    server_error: Option<Errno>,
    child: Option<ChildServer>,
    listeners: Vec<Listener>,
    /// The listener that accepts first in the next turn.
    next_listener: usize,
    /// No client is accepted before this time, because the last accept has failed.
    accept_paused_until: Option<Instant>,
    /// The time of the last warning about accepting clients.
    last_warning: Cell<Option<Instant>>,
    /// The time of the last warning about a refused client.
    last_refusal: Cell<Option<Instant>>,
    admission: Admission,
    max_clients: usize,
    /// The number of lines about limits since a time.
    limit_lines: Option<(Instant, u32)>,
    peers: Peers,
    signals: Signals,
    signal_count: u32,
    /// The loop ends at this time, even if clients have not read their replies.
    end_by: Option<Instant>,
    started: Instant,
    now: Instant,
    buffer: Vec<u8>,
    // lists of one turn, kept to reuse their memory
    ready: Vec<Readiness>,
    read_batch: Vec<ClientId>,
}

impl Driver {
    /// Registers the server, the listeners and the signals with the poller.
    pub fn new(
        options: &ServeOptions,
        server: ServerConnection,
        redial: Option<Redial>,
        announced: Vec<Announcement>,
        signals: Signals,
    ) -> Result<Driver, Failure> {
        let config = Config {
            // A random number that clients cannot know; it need not be cryptographic.
            seed: RandomState::new().build_hasher().finish(),
            can_redial: redial.is_some(),
            ..options.config.clone()
        };
        let now = Instant::now();
        let mut engine = Engine::new(config);
        // The tracer is called for each message, so it is set only if the log uses it.
        let line_limit = tracing::enabled!(tracing::Level::INFO)
            .then(|| Arc::new(Mutex::new(LineLimit::new(now))));
        if let Some(limit) = &line_limit {
            engine.set_tracer(Some(trace::tracer(options.messages, limit.clone())));
        }
        let watch = Watch::new().map_err(Failure::system("waiting for input"))?;
        watch.add(Source::Signals, signals.fd()).map_err(Failure::system("waiting for signals"))?;
        watch_server(&watch, &server)
            .map_err(|error| Failure::Connect(options.server.clone(), poll_error_text(&error)))?;
        let mut driver = Driver {
            engine,
            line_limit,
            watch,
            server_address: options.server.clone(),
            server: Some(Peer::new(server.stream, Origin::Unknown)),
            redial,
            redial_pace: RedialPace::new(now),
            server_error: None,
            child: server.child,
            listeners: Vec::new(),
            next_listener: 0,
            accept_paused_until: None,
            last_warning: Cell::new(None),
            last_refusal: Cell::new(None),
            admission: Admission::new(options.max_clients),
            max_clients: options.max_clients,
            limit_lines: None,
            peers: Peers::default(),
            signals,
            signal_count: 0,
            end_by: None,
            started: now,
            now,
            buffer: vec![0; SERVER_READ],
            ready: Vec::new(),
            read_batch: Vec::new(),
        };
        for (announced, address) in announced.into_iter().zip(&options.listen) {
            driver
                .add_announced(announced)
                .map_err(|error| Failure::Announce(address.clone(), poll_error_text(&error)))?;
        }
        Ok(driver)
    }

    fn add_announced(&mut self, announced: Announcement) -> io::Result<()> {
        match announced {
            Announcement::Client(stream) => self.add_client(stream),
            Announcement::Listener(listener) => {
                self.watch.add(Source::Listener(self.listeners.len()), listener.fd())?;
                info!("listening on {}", listener.describe());
                self.listeners.push(listener);
                Ok(())
            }
        }
    }

    /// Runs the loop until it is finished.
    pub fn run(mut self) -> Result<(), Failure> {
        loop {
            self.poll_events(self.poll_timeout())?;
            self.engine.tick(self.now - self.started);
            self.with_line_limit(|limit, now| limit.report(now));
            self.read();
            self.poll_events(Some(Duration::ZERO))?;
            self.read();
            self.accept();
            self.reconnect();
            self.write();
            self.log_notices();
            self.log_versions();
            if self.is_finished() {
                return self.result();
            }
        }
    }

    /// Connects to the server again if the engine asks for that, at the pace of `redial_pace`. This blocks, but
    /// no client has a session at that time.
    fn reconnect(&mut self) {
        if !self.engine.wants_redial() {
            return;
        }
        self.close_server();
        if self.redial_pace.may_connect(self.now) {
            self.redial();
        }
        // A signal may have been consumed while the old server ended.
        self.signal();
    }

    /// Closes the connection to the server, and waits for the end of a server that was started here.
    fn close_server(&mut self) {
        if let Some(server) = self.server.take() {
            self.watch.remove(&server.stream, server.write_interest);
        }
        if let Some(child) = self.child.take() {
            self.watch.remove_fd(child.notice_fd());
            self.shut_down_child(child);
        }
    }

    fn redial(&mut self) {
        let Some(redial) = &self.redial else {
            return self.engine.redial_failed();
        };
        let connected = redial.connect().and_then(|server| {
            watch_server(&self.watch, &server).map_err(|error| {
                Failure::Connect(self.server_address.clone(), poll_error_text(&error))
            })?;
            Ok(server)
        });
        match connected {
            Ok(server) => {
                self.server = Some(Peer::new(server.stream, Origin::Unknown));
                self.child = server.child;
                self.server_error = None;
                self.redial_pace.connected(Instant::now());
                self.engine.server_connected();
            }
            Err(failure) => {
                self.warn_rate_limited(format_args!("{failure}"));
                self.engine.redial_failed();
            }
        }
    }

    /// Waits for the end of a server that was started here.
    fn shut_down_child(&mut self, mut child: ChildServer) -> Option<ExitStatus> {
        child.shut_down(|| {
            self.signal_count += self.signals.take_count();
            self.signal_count > 1
        })
    }

    /// Logs what the server has agreed to and what not.
    fn log_versions(&mut self) {
        while let Some(event) = self.engine.next_version_event() {
            let allows = |limit: &mut LineLimit, now| limit.allows(LineKind::Version, None, now);
            let is_allowed = self.with_line_limit(allows).unwrap_or(false);
            match event {
                VersionEvent::VersionAgreed { dialect, msize } if is_allowed => {
                    info!("the server has agreed to {} with msize {msize}", dialect.name());
                }
                VersionEvent::VersionAgreed { .. } => {}
                VersionEvent::VersionRefused { offer, reply } => self.warn_rate_limited(
                    format_args!("the server has not agreed to {}: {reply}", offer.name()),
                ),
            }
        }
    }

    fn is_finished(&mut self) -> bool {
        if self.engine.end_reason().is_none() {
            // No client is connected and none can connect.
            return self.listeners.is_empty() && self.peers.len() == 0;
        }
        if self.end_by.is_none() {
            self.end_by = Some(self.now + SHUTDOWN_GRACE);
            if let Some(server) = self.server.take() {
                self.watch.remove(&server.stream, server.write_interest);
            }
            self.accept_paused_until = None;
            // From now on connections are refused.
            for listener in self.listeners.drain(..) {
                self.watch.remove_fd(listener.fd());
            }
        }
        self.signal_count > 1
            || self.peers.len() == 0
            || self.end_by.is_some_and(|until| until <= self.now)
    }

    fn result(mut self) -> Result<(), Failure> {
        self.with_line_limit(|limit, _| limit.report_now());
        let stats = self.engine.stats();
        info!(
            "{} requests forwarded, {} replies returned, {} requests refused by 9pmux",
            stats.forwarded, stats.replied, stats.local_errors
        );
        // Closing the connection makes a server that was started here exit.
        self.server = None;
        let status = self.child.take().and_then(|child| self.shut_down_child(child));
        match (self.engine.end_reason(), self.server_error) {
            (None | Some(EndReason::HungUp), _) => Ok(()),
            (Some(EndReason::ServerClosed), Some(error)) => {
                Err(Failure::Lost(self.server_address, error.into()))
            }
            (Some(end), _) => {
                // With another reason, 9pmux has ended the server, and its status means nothing.
                let status = status.filter(|_| *end == EndReason::ServerClosed);
                Err(Failure::End(self.server_address, end.clone(), status))
            }
        }
    }

    /// The timeout for the next poll: zero if there is work left.
    fn poll_timeout(&self) -> Option<Duration> {
        let busy = self.engine.wants_redial() && self.redial_pace.due().is_none()
            || self.peers.has_queued_reads()
            || self.server.as_ref().is_some_and(|server| server.readable)
            || self.accept_paused_until.is_none()
                && self.listeners.iter().any(|listener| listener.ready);
        if busy { Some(Duration::ZERO) } else { self.time_to_deadline() }
    }

    /// Waits at most `timeout` for events and dispatches them.
    fn poll_events(&mut self, timeout: Option<Duration>) -> Result<(), Failure> {
        let readiness = self.watch.wait(timeout).map_err(Failure::system("waiting for input"))?;
        self.ready.extend(readiness);
        self.now = Instant::now();
        for n in 0..self.ready.len() {
            self.dispatch(self.ready[n]);
        }
        self.ready.clear();
        Ok(())
    }

    /// The time until the next deadline, if there is one.
    fn time_to_deadline(&self) -> Option<Duration> {
        let engine = self.engine.next_deadline().map(|deadline| self.started + deadline);
        let report = self.with_line_limit(|limit, _| limit.report_at()).flatten();
        let redial = self.redial_pace.due().filter(|_| self.engine.wants_redial());
        let own = [self.accept_paused_until, self.end_by, report, redial];
        let next = engine.into_iter().chain(own.into_iter().flatten()).min()?;
        // The system rounds down to milliseconds; one more avoids a wake-up before the deadline.
        Some(next.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn dispatch(&mut self, readiness: Readiness) {
        let peer = match readiness.source {
            Source::Signals => return self.signal(),
            Source::Child => return self.child.iter_mut().for_each(ChildServer::reap),
            Source::Listener(n) => {
                if let Some(listener) = self.listeners.get_mut(n) {
                    listener.ready = true;
                }
                return;
            }
            Source::Server => self.server.as_mut(),
            Source::Client(n) => self.peers.by_index(n).map(|(_, peer)| peer),
        };
        let Some(peer) = peer else {
            return;
        };
        // The end of a descriptor that is only read says nothing about the other one.
        let hung_up =
            readiness.hung_up && (readiness.output_only || peer.stream.output().is_none());
        peer.readable |= readiness.readable || readiness.input_ended || hung_up;
        if readiness.input_ended && !std::mem::replace(&mut peer.input_ended, true) {
            peer.stream.check_peer_often();
        }
        peer.hung_up |= hung_up;
        let unblocked = readiness.writable && std::mem::take(&mut peer.write_blocked);
        let Source::Client(n) = readiness.source else {
            return;
        };
        if let Some((id, _)) = self.peers.by_index(n) {
            if unblocked {
                self.service_client(id);
            }
            self.peers.queue_read(id);
        }
    }

    fn signal(&mut self) {
        self.signal_count += self.signals.take_count();
        if self.signal_count > 0 && self.engine.end_reason().is_none() {
            info!("shutting down ({})", self.signals.name());
            self.engine.hang_up();
        }
    }

    fn read(&mut self) {
        self.read_server();
        self.read_clients();
    }

    fn read_server(&mut self) {
        let Some(server) = self.server.as_mut().filter(|server| server.readable) else {
            return;
        };
        match server.stream.read(&mut self.buffer) {
            IoOutcome::Bytes(n) => {
                server.readable = n == self.buffer.len() || server.input_ended;
                self.engine.server_bytes(&self.buffer[..n]);
            }
            IoOutcome::WouldBlock => server.readable = false,
            IoOutcome::End => self.server_gone(None),
            IoOutcome::Closed(why) => self.server_gone(why),
        }
    }

    fn server_gone(&mut self, why: Option<Errno>) {
        if let Some(server) = self.server.take() {
            self.server_error = why;
            self.watch.remove(&server.stream, server.write_interest);
            self.engine.server_gone();
        }
    }

    /// Reads what the server has sent, after a write to it has failed. The number of reads is bounded, since
    /// the server could send for ever.
    fn drain_server(&mut self, why: Option<Errno>) {
        for _ in 0..MAX_DRAIN_READS {
            let Some(server) = &self.server else {
                return;
            };
            match server.stream.read(&mut self.buffer) {
                IoOutcome::Bytes(n) => self.engine.server_bytes(&self.buffer[..n]),
                IoOutcome::WouldBlock | IoOutcome::End | IoOutcome::Closed(_) => break,
            }
        }
        self.server_gone(why);
    }

    fn read_clients(&mut self) {
        let mut batch = std::mem::take(&mut self.read_batch);
        self.peers.take_queued_reads(&mut batch);
        for id in batch.drain(..) {
            self.read_client(id);
        }
        self.read_batch = batch;
    }

    fn read_client(&mut self, id: ClientId) {
        let Some(peer) = self.peers.get(id).filter(|peer| peer.readable) else {
            return;
        };
        if !self.engine.wants_read(id) {
            // Its end is handled at once, even if its data must not be read now.
            if peer.hung_up {
                self.disconnect_client(id, &CloseReason::ByPeer(None));
            }
            return;
        }
        let buffer = &mut self.buffer[..CLIENT_READ];
        match peer.stream.read(buffer) {
            IoOutcome::Bytes(n) => {
                // A short read has emptied the socket; more data causes a new event.
                peer.readable = n == buffer.len() || peer.input_ended;
                let more = peer.readable;
                self.engine.client_bytes(id, &self.buffer[..n]);
                if more {
                    self.peers.queue_read(id);
                }
            }
            IoOutcome::WouldBlock => peer.readable = false,
            IoOutcome::End if !peer.hung_up => {
                peer.readable = false;
                peer.input_ended = true;
                self.engine.client_finished(id);
            }
            IoOutcome::End => self.disconnect_client(id, &CloseReason::ByPeer(None)),
            IoOutcome::Closed(why) => self.disconnect_client(id, &CloseReason::ByPeer(why)),
        }
    }

    fn accept(&mut self) {
        if self.accept_paused_until.is_some_and(|until| self.now < until) {
            return;
        }
        let mut paused_until = None;
        // If only one client can be accepted at a time, the listeners take turns.
        let count = self.listeners.len();
        let first = self.next_listener;
        for n in (0..count).map(|n| (first + n) % count) {
            let mut budget = MAX_ACCEPTS;
            while self.listeners[n].ready && budget > 0 {
                budget -= 1;
                match self.listeners[n].accept() {
                    AcceptOutcome::Client(stream) => {
                        self.next_listener = n + 1;
                        if !self.admission.admits(stream.origin()) {
                            self.refuse_client(&stream);
                        } else if let Err(error) = self.add_client(stream) {
                            self.warn_rate_limited(format_args!(
                                "cannot watch a new client, disconnecting it: {}",
                                error_text(&error)
                            ));
                        }
                    }
                    AcceptOutcome::Aborted => {}
                    AcceptOutcome::WouldBlock => self.listeners[n].ready = false,
                    AcceptOutcome::OutOfResources(error) => {
                        self.warn_rate_limited(format_args!(
                            "cannot accept more clients: {}: {} are connected, new ones wait until one disconnects{}",
                            error_text(&error.into()),
                            self.peers.len(),
                            descriptors::limit_hint(error)
                        ));
                        paused_until = Some(self.now + ACCEPT_RETRY);
                        break;
                    }
                    AcceptOutcome::Failed(error) => {
                        self.warn_rate_limited(format_args!(
                            "cannot accept a client on {}: {}: retrying every second",
                            self.listeners[n].address(),
                            error_text(&error.into())
                        ));
                        paused_until = Some(self.now + ACCEPT_RETRY);
                        break;
                    }
                }
            }
        }
        self.accept_paused_until = paused_until;
    }

    /// Logs which limits clients have met. The engine reports each client once; clients that connect again and
    /// again are not logged again and again.
    fn log_notices(&mut self) {
        while let Some(notice) = self.engine.next_notice() {
            let (since, lines) = self.limit_lines.unwrap_or((self.now, 0));
            let (since, lines) =
                if self.now - since >= WARN_INTERVAL { (self.now, 0) } else { (since, lines) };
            self.limit_lines = Some((since, lines + 1));
            if lines >= MAX_LIMIT_LINES {
                continue;
            }
            let what = match notice.limit {
                Limit::Fids => {
                    "has as many fids as one client may have (--max-fids): it gets no more"
                }
                Limit::FidShare => {
                    "has its share of the fids of all clients (--max-fids-all): it gets no more"
                }
                Limit::Memory => "is disconnected: there is no more memory for it (--max-memory)",
            };
            warn!("client {} {what}", notice.client.index());
        }
    }

    /// Logs that a client is refused, which the caller then disconnects.
    fn refuse_client(&self, stream: &Stream) {
        self.warn_after_interval(&self.last_refusal, format_args!(
                "client refused: {}: {} clients are connected, {} of the same user or host, and --max-clients is {}",
                stream.describe_peer(),
                self.peers.len(),
                self.admission.of(stream.origin()),
                self.max_clients
            ),
        );
    }

    /// Logs a warning that clients can provoke, at most once per `WARN_INTERVAL`.
    fn warn_rate_limited(&self, what: fmt::Arguments<'_>) {
        self.warn_after_interval(&self.last_warning, what);
    }

    /// Logs a warning if none was logged within `WARN_INTERVAL`, as `last` records.
    fn warn_after_interval(&self, last: &Cell<Option<Instant>>, what: fmt::Arguments<'_>) {
        if last.get().is_none_or(|since| self.now - since >= WARN_INTERVAL) {
            last.set(Some(self.now));
            warn!("{what}");
        }
    }

    /// Calls `f` with the limits of lines and the time, if lines that clients cause are logged.
    fn with_line_limit<T>(&self, f: impl FnOnce(&mut LineLimit, Instant) -> T) -> Option<T> {
        let limit = self.line_limit.as_ref()?;
        Some(f(&mut limit.lock().unwrap_or_else(PoisonError::into_inner), self.now))
    }

    /// Returns true if a line that this client has caused should be logged.
    fn should_log(&self, kind: LineKind, id: ClientId) -> bool {
        let allows = |limit: &mut LineLimit, now| limit.allows(kind, Some(id.index()), now);
        self.with_line_limit(allows).unwrap_or(false)
    }

    fn add_client(&mut self, stream: Stream) -> io::Result<()> {
        let origin = stream.origin();
        let id = match origin {
            Origin::User(uid) => self.engine.client_connected_as(User::Local(uid)),
            Origin::Host(address) => self.engine.client_connected_as(User::Host(address)),
            Origin::Unknown => self.engine.client_connected(),
        };
        if let Err(error) = self.watch.add(Source::Client(id.index()), stream.input()) {
            self.engine.client_gone(id);
            return Err(error);
        }
        self.with_line_limit(|limit, _| limit.client_connected(id.index(), origin));
        if self.should_log(LineKind::Connected, id) {
            info!("client {} connected: {}", id.index(), stream.describe_peer());
        }
        self.admission.add(origin);
        self.peers.add(id, Peer::new(stream, origin));
        Ok(())
    }

    /// Removes a client and logs why.
    fn disconnect_client(&mut self, id: ClientId, why: &CloseReason) {
        let Some(peer) = self.peers.remove(id) else {
            return;
        };
        self.admission.remove(peer.origin);
        let had = self.engine.client_info(id);
        if let Some(had) = had.filter(|_| self.should_log(LineKind::Disconnected, id)) {
            info!(
                "client {} disconnected{why}; {} messages received, {} fids and {} requests left",
                id.index(),
                had.messages,
                had.fids,
                had.requests
            );
        }
        self.watch.remove(&peer.stream, peer.write_interest);
        peer.stream.close(&mut self.buffer);
        self.engine.client_gone(id);
        // Its resources may suffice for a new client, so accept again at once.
        if let Some(until) = &mut self.accept_paused_until {
            *until = self.now;
        }
    }

    /// Writes all output. A write to a client may allow more of its requests to be forwarded, so this repeats
    /// until the server has no more output or blocks.
    fn write(&mut self) {
        loop {
            self.write_server();
            while let Some(id) = self.engine.next_dirty() {
                self.service_client(id);
            }
            let done = match &self.server {
                Some(server) => server.write_blocked || self.engine.server_output().is_empty(),
                None => true,
            };
            if done {
                return;
            }
        }
    }

    fn write_server(&mut self) {
        let Some(server) = &mut self.server else {
            return;
        };
        while !server.write_blocked && !self.engine.server_output().is_empty() {
            match server.stream.write(self.engine.server_output()) {
                IoOutcome::Bytes(n) => self.engine.server_wrote(n),
                IoOutcome::WouldBlock => server.write_blocked = true,
                IoOutcome::End => return self.drain_server(None),
                IoOutcome::Closed(why) => return self.drain_server(why),
            }
        }
        if let Err(error) = update_write_interest(&self.watch, Source::Server, server) {
            self.server_gone(Errno::from_io_error(&error));
        }
    }

    /// Writes the output of a client, closes it if the engine asks for that, and queues it for reading.
    fn service_client(&mut self, id: ClientId) {
        let Some(peer) = self.peers.get(id) else {
            return;
        };
        while !peer.write_blocked && !self.engine.output(id).is_empty() {
            match peer.stream.write(self.engine.output(id)) {
                IoOutcome::Bytes(n) => self.engine.client_wrote(id, n),
                IoOutcome::WouldBlock => peer.write_blocked = true,
                IoOutcome::End => return self.disconnect_client(id, &CloseReason::ByPeer(None)),
                IoOutcome::Closed(why) => {
                    return self.disconnect_client(id, &CloseReason::ByPeer(why));
                }
            }
        }
        if self.engine.is_closing(id) && self.engine.output(id).is_empty() {
            let why = match peer.input_ended {
                true => CloseReason::ByPeer(None),
                false => CloseReason::ByUs,
            };
            return self.disconnect_client(id, &why);
        }
        if let Err(error) = update_write_interest(&self.watch, Source::Client(id.index()), peer) {
            return self.disconnect_client(id, &CloseReason::ByPeer(Errno::from_io_error(&error)));
        }
        if peer.readable {
            self.peers.queue_read(id);
        }
    }
}

/// The text for a descriptor that the poller does not accept, such as a file.
fn poll_error_text(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::PERM) => "not a connection: pass a socket or pipes".to_owned(),
        _ => format!("cannot wait for it: {}", error_text(error)),
    }
}

/// Makes the poller report when a blocked peer can be written again, or stops that. For a peer that sends
/// nothing more it also reports that the peer does not read.
fn update_write_interest(watch: &Watch, source: Source, peer: &mut Peer) -> io::Result<()> {
    let wanted = peer.write_blocked || peer.input_ended;
    if wanted != peer.write_interest {
        watch.set_write_interest(source, &peer.stream, wanted)?;
        peer.write_interest = wanted;
    }
    Ok(())
}

/// Reports events of the server from now on.
fn watch_server(watch: &Watch, server: &ServerConnection) -> io::Result<()> {
    watch.add(Source::Server, server.stream.input())?;
    match &server.child {
        Some(child) => watch.add(Source::Child, child.notice_fd()),
        None => Ok(()),
    }
}
