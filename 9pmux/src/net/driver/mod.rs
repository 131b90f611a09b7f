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
//!
//! | event | effect |
//! |---|---|
//! | a client disconnects | the engine cleans up what it has left at the server |
//! | the server disconnects | its clients get errors, and the loop ends when they have read them; or it is connected again |
//! | the last client disconnects, and no other can connect | the loop ends |
//! | SIGTERM, SIGINT | clients get errors, and [`SHUTDOWN_GRACE`] to read them; a second signal ends the loop at once |
//!
//! | file | content |
//! |---|---|
//! | `transfer.rs` | reading and writing |
//! | `clients.rs` | accepting, refusing and disconnecting clients |
//! | `openfd.rs` | descriptors in place of fids |
//! | `reconnect.rs` | connecting to the server again |
//! | `keepalive.rs` | keepalives to the server |
//! | `export.rs` | the link, and the server of its export |
//! | `stream.rs` | the stream of a link that comes back |
//! | `callers.rs` | the callers of a listening end of a link |
//! | `control.rs` | what the driver does for the control tree |
//! | `log_lines.rs` | log lines that clients or the server can cause |

mod callers;
mod clients;
mod control;
mod export;
mod keepalive;
mod log_lines;
mod openfd;
mod reconnect;
mod stream;
mod transfer;

use std::cell::Cell;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tracing::info;

pub use callers::Callers;
use control::ControlFacts;
pub use export::ExportServer;
use export::ExportSide;

use super::ServeOptions;
use super::address::Address;
use super::admission::Admission;
use super::announce::{Announcement, Listener};
use super::descriptors;
use super::dial::{Redial, ServerConnection};
use super::ends::Ends;
use super::failure::Failure;
use super::line_limit::LineLimit;
use super::notify::Notifier;
use super::outage_log::OutageLog;
use super::peers::{Peer, Peers};
use super::redialler::{Redialler, Sources, poll_error_text, random_number};
use super::signals::Signals;
use super::stream::Origin;
use super::trace::{self, Names};
use super::watch::{Readiness, Source, Watch};
use crate::engine::{ClientId, Config, EndReason, Engine, ServerKind};
use crate::link::Keepalive;

/// Maximum bytes per read from the server: as much as a socket buffer holds.
const SERVER_READ: usize = 256 * 1024;

/// The sources of events of the server.
const SOURCES: Sources =
    Sources { server: Source::Server, child: Source::Child, attempt: Source::Attempt };

/// Time for clients to read their last replies.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// The state of the event loop. [`Driver::run`] runs it to the end.
pub struct Driver {
    engine: Engine,
    /// The limits of lines that clients cause, if such lines are logged.
    line_limit: Option<Arc<Mutex<LineLimit>>>,
    watch: Watch,
    server_address: Address,
    server: Option<Peer>,
    redialler: Redialler,
    keepalive: Keepalive,
    /// The time after which the system gives up a network connection to the server without a sign of life.
    max_silence: Duration,
    /// With `--reconnect`: what is logged about the server.
    outage: Option<OutageLog>,
    notifier: Notifier,
    /// The failure that ends the loop at once.
    failure: Option<Failure>,
    /// The error that has ended the connection to the server.
    server_error: Option<Errno>,
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
    control: ControlFacts,
    max_clients: usize,
    /// The number of lines about limits since a time.
    limit_lines: Option<(Instant, u32)>,
    peers: Peers,
    /// 9pmux's ends of descriptors.
    ends: Ends,
    /// The clients to which a descriptor must be passed again, and when.
    pass_again: Vec<ClientId>,
    pass_again_at: Option<Instant>,
    signals: Signals,
    signal_count: u32,
    /// The loop ends at this time, even if clients have not read their replies.
    end_by: Option<Instant>,
    /// The link, if the server is the stream of one. The engine is then its post.
    link: Option<Box<ExportSide>>,
    started: Instant,
    now: Instant,
    buffer: Vec<u8>,
    // lists of one turn, kept to reuse their memory
    ready: Vec<Readiness>,
    read_batch: Vec<ClientId>,
}

/// Returns the configuration of an engine, from that of the options.
fn engine_config(config: &Config, can_redial: bool) -> Config {
    Config {
        // A random number that clients cannot know; it need not be cryptographic.
        seed: random_number(),
        // In a link the other end, not the stream, decides about versions.
        can_redial: can_redial && config.server != ServerKind::FarEnd || config.can_redial,
        // The other half is left for clients.
        max_descriptors_all: config.max_descriptors_all.min(descriptors::limit() / 2),
        ..config.clone()
    }
}

impl Driver {
    /// Registers the server, the listeners and the signals with the poller.
    pub fn new(
        options: &ServeOptions,
        server: Option<ServerConnection>,
        redial: Option<Redial>,
        announced: Vec<Announcement>,
        signals: Signals,
    ) -> Result<Driver, Failure> {
        let now = Instant::now();
        let mut engine = Engine::new(engine_config(&options.config, redial.is_some()));
        // The tracer is called for each message, so it is set only if the log uses it.
        let line_limit = tracing::enabled!(tracing::Level::INFO)
            .then(|| Arc::new(Mutex::new(LineLimit::new(now))));
        if let Some(limit) = &line_limit {
            engine.set_tracer(Some(trace::tracer(Names::Serve, options.messages, limit.clone())));
        }
        let watch = Watch::new().map_err(Failure::system("waiting for input"))?;
        watch.add(Source::Signals, signals.fd()).map_err(Failure::system("waiting for signals"))?;
        let outage = options.config.reconnect.as_ref().map(|_| OutageLog::new(now));
        let address = options.server.clone();
        let mut redialler = Redialler::new(address, SOURCES, redial, outage.is_some(), now);
        let server = server.map(|server| redialler.adopt(&watch, server)).transpose()?;
        if let Some(server) = &server {
            server.limit_silence(options.max_silence);
        }
        let mut driver = Driver {
            engine,
            line_limit,
            watch,
            server_address: options.server.clone(),
            server: server.map(|stream| Peer::new(stream, Origin::Unknown)),
            redialler,
            keepalive: Keepalive::new(options.keepalive, Duration::ZERO),
            max_silence: options.max_silence,
            outage,
            notifier: Notifier::none(),
            failure: None,
            server_error: None,
            listeners: Vec::new(),
            next_listener: 0,
            accept_paused_until: None,
            last_warning: Cell::new(None),
            last_refusal: Cell::new(None),
            admission: Admission::new(options.max_clients),
            control: ControlFacts::new(
                options.control_unknown,
                options.server.to_string(),
                options.set_verbosity,
            ),
            max_clients: options.max_clients,
            limit_lines: None,
            peers: Peers::default(),
            ends: Ends::default(),
            pass_again: Vec::new(),
            pass_again_at: None,
            signals,
            signal_count: 0,
            end_by: None,
            link: None,
            started: now,
            now,
            buffer: vec![0; SERVER_READ],
            ready: Vec::new(),
            read_batch: Vec::new(),
        };
        for announced in announced {
            let address = announced.address().clone();
            driver
                .add_announced(announced, &address)
                .map_err(|error| Failure::Announce(address, poll_error_text(&error)))?;
        }
        Ok(driver)
    }

    fn add_announced(&mut self, announced: Announcement, address: &Address) -> io::Result<()> {
        let name = self.control.add_name(address.to_string());
        match announced {
            Announcement::Client(stream, rules, _) => self.add_client(stream, rules, name),
            Announcement::Listener(listener) => {
                self.watch.add(Source::Listener(self.listeners.len()), listener.fd())?;
                info!("listening on {}", listener.describe());
                self.listeners.push(listener);
                self.control.of_listener.push(name);
                Ok(())
            }
        }
    }

    /// Makes the driver notify the service manager, if there is one, of the state of what is served.
    pub fn notify_service_manager(&mut self, served: &Address) {
        self.notifier = Notifier::from_environment(served, self.now);
    }

    /// Runs the loop until it is finished.
    pub fn run(mut self) -> Result<(), Failure> {
        self.notifier.ready();
        loop {
            self.poll_events(self.poll_timeout())?;
            self.engine.tick(self.now - self.started);
            self.tick_link();
            self.tick_keepalive();
            self.notifier.tick(self.now);
            self.with_line_limit(|limit, now| limit.report(now));
            self.report_facts();
            self.read();
            self.poll_events(Some(Duration::ZERO))?;
            self.read();
            self.run_commands();
            self.judge_candidate();
            self.accept();
            match self.stream_comes_back() {
                true => self.reconnect_stream(),
                false => self.reconnect(),
            }
            self.pass_refused();
            self.connect_export();
            self.write();
            self.log_notices();
            self.log_versions();
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.is_finished() {
                return self.result();
            }
        }
    }

    fn is_finished(&mut self) -> bool {
        if self.link.is_some() {
            return self.is_link_finished();
        }
        if self.engine.end_reason().is_none() {
            // No client is connected and none can connect, and no program uses a descriptor.
            let no_client = self.listeners.is_empty() && self.peers.len() == 0;
            return no_client && !self.ends.is_used();
        }
        self.notifier.stopping();
        if self.end_by.is_none() {
            self.end_by = Some(self.now + SHUTDOWN_GRACE);
            if let Some(server) = self.server.take() {
                self.watch.remove(&server.stream, server.write_interest);
            }
            self.stop_listening();
        }
        self.signal_count > 1
            || self.peers.len() == 0 && self.ends.len() == 0
            || self.end_by.is_some_and(|until| until <= self.now)
    }

    /// From now on connections are refused.
    fn stop_listening(&mut self) {
        self.accept_paused_until = None;
        for listener in self.listeners.drain(..) {
            self.watch.remove_fd(listener.fd());
        }
    }

    fn result(mut self) -> Result<(), Failure> {
        self.notifier.stopping();
        self.with_line_limit(|limit, _| limit.report_now());
        let stats = self.engine.stats();
        info!(
            "{} requests forwarded, {} replies returned, {} requests refused by 9pmux",
            stats.forwarded, stats.replied, stats.local_errors
        );
        // Closing the connection makes a server that was started here exit.
        self.server = None;
        self.end_export();
        let status = self.redialler.shut_down(|| {
            self.signal_count += self.signals.take_count();
            self.signal_count > 1
        });
        if let Some(link) = self.link.take() {
            return link.result(self.server_address, self.server_error, status);
        }
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
        let busy = self.wants_server() && self.redialler.is_busy()
            || self.peers.has_queued_reads()
            || self.server.as_ref().is_some_and(|server| server.readable && self.reads_server())
            || self.is_export_busy()
            || self.accept_paused_until.is_none()
                && self.listeners.iter().enumerate().any(|(n, it)| it.ready && self.accepts(n));
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
        let redial = self.redialler.deadline(self.wants_server());
        let own = [
            self.accept_paused_until,
            self.end_by,
            report,
            redial,
            self.pass_again_at,
            self.link_deadline(),
            self.callers_deadline(),
            self.keepalive_deadline(),
            self.notifier.deadline(),
        ];
        let next = engine.into_iter().chain(own.into_iter().flatten()).min()?;
        if next <= self.now {
            return Some(Duration::ZERO);
        }
        // The system rounds down to milliseconds; one more avoids a wake-up before the deadline.
        Some(next.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn dispatch(&mut self, readiness: Readiness) {
        let peer = match readiness.source {
            Source::Signals => return self.signal(),
            Source::ExportChild => return self.reap_export(),
            Source::Child => return self.redialler.reap(),
            // The next turn of the loop asks for the result.
            Source::Attempt | Source::ExportAttempt => return,
            Source::Listener(n) => {
                if let Some(listener) = self.listeners.get_mut(n) {
                    listener.ready = true;
                }
                return;
            }
            Source::Server => self.server.as_mut(),
            Source::Export => self.link.as_mut().and_then(|link| link.server.as_mut()),
            Source::Client(n) => self.peers.by_index(n).map(|(_, peer)| peer),
            Source::Descriptor(n) => self.ends.queue_by_index(n).map(|end| &mut end.peer),
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
        if self.signal_count > 0 && !self.is_ending() {
            info!("shutting down ({})", self.signals.name());
            self.notifier.stopping();
            self.hang_up();
        }
    }
}
