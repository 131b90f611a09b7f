//! The link, and the server of its export.
//!
//! In a link the driver's engine is the post, its server is the stream, and its clients are the local ones. The
//! link has the other engine. The exported server is connected when the other end asks for it.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tracing::{info, warn};

use super::Driver;
use super::callers::Callers;
use super::control::{record_connection, record_failure};
use super::reconnect::{log_line, log_outage, log_return};
use super::transfer::update_write_interest;
use crate::engine::EndReason;
use crate::link::{Link, LinkConfig, LinkEnd};
use crate::net::address::Address;
use crate::net::dial::{Redial, ServerConnection};
use crate::net::failure::Failure;
use crate::net::outage_log::OutageLog;
use crate::net::peers::Peer;
use crate::net::redialler::{Redialler, Sources};
use crate::net::stream::{IoOutcome, Origin};
use crate::net::trace::{self, Names};
use crate::net::watch::Source;

/// The sources of events of the export's server.
const SOURCES: Sources =
    Sources { server: Source::Export, child: Source::ExportChild, attempt: Source::ExportAttempt };

/// The means to connect to the server of an export.
pub struct ExportServer {
    pub address: Address,
    /// A connection that was inherited.
    pub inherited: Option<ServerConnection>,
    /// How to connect, if that is possible.
    pub redial: Option<Redial>,
    /// True if the server is called again and again, and sessions are restored (`--reconnect`).
    pub persists: bool,
}

/// The side of a link that serves the other end.
pub(super) struct ExportSide {
    pub link: Link,
    pub server: Option<Peer>,
    /// The means to connect to the server, if there is one.
    redialler: Option<Redialler>,
    /// With `--reconnect`: what is logged about the server.
    outage: Option<OutageLog>,
    /// Whether it was logged that the other end has not agreed to a version.
    pub has_warned: bool,
    /// The configuration of a link that survives the end of its stream (`stream.rs`).
    pub comes_back: Option<LinkConfig>,
    /// With `listen!` and a post: the callers, of which one at a time is the other end.
    pub callers: Option<Callers>,
}

impl ExportSide {
    /// Returns the result of the program.
    pub fn result(
        &self,
        stream: Address,
        error: Option<Errno>,
        status: Option<ExitStatus>,
    ) -> Result<(), Failure> {
        if let (Some(LinkEnd::NoCommonVersion(what)), Some(redialler)) =
            (self.link.end_reason(), &self.redialler)
        {
            let reason = EndReason::NoCommonVersion(what.clone());
            return Err(Failure::End(redialler.address().clone(), reason, None));
        }
        if self.callers.is_some() {
            // Only a signal ends it.
            return Ok(());
        }
        match self.link.end_reason() {
            None | Some(LinkEnd::HungUp) => Ok(()),
            Some(end) => {
                let closed = *end == LinkEnd::Closed;
                // With another reason, 9pmux has ended the command, and its status means nothing.
                let status = status.filter(|_| closed);
                let error = error.filter(|_| closed).map(Into::into);
                Err(Failure::Link(stream, end.clone(), error, status))
            }
        }
    }
}

impl Driver {
    /// Makes the server the stream of a link, with the engine as its post. Each message is logged if `messages` is
    /// true.
    pub fn set_link(&mut self, mut link: Link, source: Option<ExportServer>, messages: bool) {
        if let Some(limit) = &self.line_limit {
            let tracer = |names| Some(trace::tracer(names, messages, limit.clone()));
            self.engine.set_tracer(tracer(Names::Post));
            link.export().set_tracer(tracer(Names::Export));
        }
        if let Some(source) = &source {
            self.control.export.address = source.address.to_string();
        }
        let persists = source.as_ref().is_some_and(|source| source.persists);
        let outage = persists.then(|| OutageLog::new(self.now));
        let redialler = source.map(|ExportServer { address, inherited, redial, .. }| {
            let mut redialler = Redialler::new(address, SOURCES, redial, persists, self.now);
            redialler.set_first(inherited);
            redialler
        });
        if let Some(stream) = &self.server {
            stream.stream.limit_unsent();
        }
        self.link = Some(Box::new(ExportSide {
            link,
            server: None,
            redialler,
            outage,
            has_warned: false,
            comes_back: None,
            callers: None,
        }));
    }

    /// Returns true if the server should be read now.
    pub(super) fn reads_server(&self) -> bool {
        self.link.as_ref().is_none_or(|link| link.link.wants_read(&self.engine))
    }

    /// Passes on bytes that were read from the server, at the beginning of the buffer.
    pub(super) fn pass_server_bytes(&mut self, n: usize) {
        let bytes = &self.buffer[..n];
        match &mut self.link {
            Some(link) => link.link.stream_bytes(&mut self.engine, bytes),
            None => {
                self.keepalive.heard(self.now - self.started);
                self.keepalive.replied();
                self.engine.server_bytes(bytes);
            }
        }
    }

    pub(super) fn tick_link(&mut self) {
        if let Some(link) = &mut self.link {
            let now = self.now - self.started;
            if self.server.as_ref().is_some_and(|server| server.readable) {
                link.link.stream_readable(now);
            }
            link.link.tick(&mut self.engine, now);
        }
    }

    /// Returns the time of the next event of the link, if one is due.
    pub(super) fn link_deadline(&self) -> Option<Instant> {
        let link = self.link.as_ref()?;
        let deadline = link.link.next_deadline(&self.engine).map(|at| self.started + at);
        let redialler = link.redialler.as_ref();
        let redial = redialler.and_then(|redialler| redialler.deadline(link.link.wants_server()));
        deadline.into_iter().chain(redial).min()
    }

    /// Returns true if there is work for the export's server.
    pub(super) fn is_export_busy(&self) -> bool {
        self.link.as_ref().is_some_and(|link| {
            link.server.as_ref().is_some_and(|server| server.readable)
                || link.link.wants_server()
                    && link.redialler.as_ref().is_some_and(Redialler::is_busy)
        })
    }

    /// Returns true if the program is about to end.
    pub(super) fn is_ending(&self) -> bool {
        match &self.link {
            Some(link) if link.comes_back.is_some() => {
                link.link.end_reason().is_some_and(LinkEnd::is_final)
            }
            Some(link) => link.link.end_reason().is_some() && !self.is_waiting(),
            None => self.engine.end_reason().is_some(),
        }
    }

    /// Ends everything on behalf of a signal.
    pub(super) fn hang_up(&mut self) {
        match &mut self.link {
            Some(link) => link.link.hang_up(&mut self.engine),
            None => self.engine.hang_up(),
        }
    }

    /// As `is_finished`: the last output to the other end is written too. A listening end is finished after a
    /// signal only.
    pub(super) fn is_link_finished(&mut self) -> bool {
        if self.is_waiting() && !self.stream_comes_back() {
            return self.signal_count > 0;
        }
        if !self.is_ending() {
            return false;
        }
        let is_final = |link: &ExportSide| link.link.end_reason().is_some_and(LinkEnd::is_final);
        let is_last = !self.has_callers()
            || self.signal_count > 0
            || self.link.as_deref().is_some_and(is_final);
        if self.end_by.is_none() {
            self.end_by = Some(self.now + super::SHUTDOWN_GRACE);
            if is_last {
                self.stop_listening();
            }
        }
        let has_output = self.server.is_some()
            && self
                .link
                .as_mut()
                .is_some_and(|link| is_final(link) && !link.link.output(&self.engine).is_empty());
        let is_over = self.signal_count > 1
            || self.peers.len() == 0 && !has_output
            || self.end_by.is_some_and(|until| until <= self.now);
        if is_over && !is_last {
            self.await_caller();
            return false;
        }
        is_over
    }

    /// Connects to the export's server if the other end asks for it.
    pub(super) fn connect_export(&mut self) {
        let Some(link) = &mut self.link else {
            return;
        };
        link.link.check_export(&mut self.engine);
        let Some(redialler) = &mut link.redialler else {
            return;
        };
        if let Some(reason) = link.link.export().take_lost_server() {
            let address = redialler.address();
            match &mut link.outage {
                Some(outage) => {
                    log_outage(address, outage.lost_to(&reason, self.now));
                }
                None => warn!(
                    "{address}: {reason}: it is connected again when the other end asks for it"
                ),
            }
        }
        let is_wanted = link.link.wants_server();
        if is_wanted {
            if let Some(server) = link.server.take() {
                self.watch.remove(&server.stream, server.write_interest);
            }
        }
        match redialler.advance(&self.watch, self.now, is_wanted, self.signal_count > 1) {
            Some(Ok(stream)) => {
                info!("connected to {}", redialler.address());
                record_connection(&mut self.control.export);
                link.server = Some(Peer::new(stream, Origin::Unknown));
                link.link.export().server_connected();
            }
            Some(Err(failure)) => {
                link.link.export().redial_failed();
                self.log_failed_export(failure);
            }
            None => {}
        }
        self.log_export_return();
    }

    /// Logs that an attempt to connect to the export's server has failed. Without a shell the first start of a
    /// program ends the loop, if the server should come back.
    fn log_failed_export(&mut self, failure: Failure) {
        record_failure(&mut self.control.export, &failure);
        let Some(link) = &mut self.link else {
            return;
        };
        let starts = link.redialler.as_ref().is_some_and(Redialler::starts);
        match &mut link.outage {
            Some(outage) if starts && !outage.has_been_reached() => self.failure = Some(failure),
            Some(outage) => log_line(outage.failed(&failure)),
            None => self.warn_rate_limited(format_args!("{failure}")),
        }
    }

    /// Logs that the export's server is back, and what has become of the fids.
    fn log_export_return(&mut self) {
        let Some(link) = &mut self.link else {
            return;
        };
        let is_connected = link.server.is_some();
        if let (Some(outage), Some(redialler)) = (&mut link.outage, &link.redialler) {
            log_return(link.link.export(), outage, redialler.address(), is_connected, self.now);
        }
    }

    /// Closes the connection to the export's server, and waits for its end if it was started here.
    pub(super) fn end_export(&mut self) {
        self.drop_export();
        if let Some(redialler) = self.link.as_mut().and_then(|link| link.redialler.as_mut()) {
            redialler.shut_down(|| {
                self.signal_count += self.signals.take_count();
                self.signal_count > 1
            });
        }
    }

    pub(super) fn reap_export(&mut self) {
        if let Some(redialler) = self.link.as_mut().and_then(|link| link.redialler.as_mut()) {
            redialler.reap();
        }
    }

    pub(super) fn read_export(&mut self) {
        let Some(link) = &mut self.link else {
            return;
        };
        let Some(server) = link.server.as_mut().filter(|server| server.readable) else {
            return;
        };
        match server.stream.read(&mut self.buffer) {
            IoOutcome::Bytes(n) => {
                server.readable = n == self.buffer.len() || server.input_ended;
                link.link.export().server_bytes(&self.buffer[..n]);
                // A server that has sent anything else than 9P is lost.
                if link.link.export().has_no_server() {
                    self.drop_export();
                }
            }
            IoOutcome::WouldBlock => server.readable = false,
            IoOutcome::End | IoOutcome::Closed(_) => self.export_gone(),
        }
    }

    pub(super) fn export_gone(&mut self) {
        self.drop_export();
        if let Some(link) = &mut self.link {
            link.link.export().server_gone();
        }
    }

    /// Closes the connection to the export's server, if there is one, so that it is connected again.
    pub(super) fn leave_export(&mut self) {
        if self.link.as_ref().is_some_and(|link| link.server.is_some()) {
            self.drop_export();
            if let Some(link) = &mut self.link {
                link.link.export().server_left();
            }
        }
    }

    /// Closes the connection to the export's server. A server that was started here is waited for when it is
    /// started again, or at the end.
    fn drop_export(&mut self) {
        if let Some(link) = &mut self.link {
            if let Some(server) = link.server.take() {
                self.watch.remove(&server.stream, server.write_interest);
            }
        }
    }

    /// Returns true if there is output for the export's server, and it can be written.
    pub(super) fn export_has_output(&mut self) -> bool {
        self.link.as_mut().is_some_and(|link| {
            let can_write = link.server.as_ref().is_some_and(|server| !server.write_blocked);
            can_write && !link.link.export().server_output().is_empty()
        })
    }

    pub(super) fn write_export(&mut self) {
        let Some(link) = &mut self.link else {
            return;
        };
        let (export, Some(server)) = (link.link.export(), &mut link.server) else {
            return;
        };
        while !server.write_blocked && !export.server_output().is_empty() {
            match server.stream.write(export.server_output()) {
                IoOutcome::Bytes(n) => export.server_wrote(n),
                IoOutcome::WouldBlock => server.write_blocked = true,
                IoOutcome::End | IoOutcome::Closed(_) => return self.export_gone(),
            }
        }
        if update_write_interest(&self.watch, Source::Export, server).is_err() {
            self.export_gone();
        }
    }

    /// Logs once that the other end has not agreed to a version.
    pub(super) fn log_quiet_far_end(&mut self, reply: &str) {
        if let Some(link) = self.link.as_mut().filter(|link| !link.has_warned) {
            link.has_warned = true;
            warn!(
                "the other end does not agree to a Tversion: {reply}: its server cannot be reached, it exports nothing, or it is no 9pmux link"
            );
        }
    }

    /// Returns the time of the engine.
    pub fn engine_time(&self) -> Duration {
        self.now - self.started
    }
}
