//! Connecting to the server again.
//!
//! | `--reconnect` | the first connection | after a loss | attempts |
//! |---|---|---|---|
//! | no | exists | a connection when a client asks for it, if at all | `redial_pace.rs`, on demand |
//! | yes | is made like further ones | a connection in any case | `redial_pace.rs`, persistent |

use std::time::Instant;

use tracing::{info, warn};

use super::Driver;
use super::control::{record_connection, record_failure};
use crate::engine::{EndReason, Engine, RestoreEvent};
use crate::net::address::Address;
use crate::net::failure::Failure;
use crate::net::outage_log::{OutageLine, OutageLog};
use crate::net::peers::Peer;
use crate::net::stream::Origin;

impl Driver {
    /// Connects to the server again if the engine asks for that.
    pub(super) fn reconnect(&mut self) {
        if let Some(reason) = self.engine.take_lost_server() {
            // Before another session begins, so that the server sees the end of this one.
            self.close_server();
            self.notifier.lost();
            self.log_loss(&reason);
        }
        let is_wanted = self.wants_server();
        if is_wanted {
            self.close_server();
        }
        let hurry = self.signal_count > 1;
        match self.redialler.advance(&self.watch, self.now, is_wanted, hurry) {
            Some(Ok(stream)) => {
                stream.limit_silence(self.max_silence);
                self.keepalive.restart(self.engine_time());
                self.server = Some(Peer::new(stream, Origin::Unknown));
                self.server_error = None;
                record_connection(&mut self.control.server);
                if self.outage.is_none() {
                    self.notifier.returned();
                }
                self.engine.server_connected();
            }
            Some(Err(failure)) => {
                self.notifier.failed();
                self.log_failed_attempt(failure);
                self.engine.redial_failed();
            }
            None => {}
        }
        self.log_return();
    }

    /// Returns true if the server, or the stream of a link, must be connected again.
    pub(super) fn wants_server(&self) -> bool {
        match &self.link {
            Some(link) => link.link.awaits_stream() && link.callers.is_none(),
            None => self.engine.wants_redial(),
        }
    }

    pub(super) fn close_server(&mut self) {
        if let Some(server) = self.server.take() {
            self.watch.remove(&server.stream, server.write_interest);
        }
    }

    /// Logs that the server has gone.
    fn log_loss(&mut self, reason: &EndReason) {
        self.control.server.last_error = reason.to_string();
        match &mut self.outage {
            Some(outage) => log_outage(&self.server_address, outage.lost_to(reason, self.now)),
            None => warn!(
                "{}: {reason}: it is connected again when a client asks for it",
                self.server_address
            ),
        }
    }

    /// Logs that an attempt to connect has failed. Without a shell the first start of a program ends the loop.
    pub(super) fn log_failed_attempt(&mut self, failure: Failure) {
        record_failure(&mut self.control.server, &failure);
        match &mut self.outage {
            Some(outage) if self.redialler.starts() && !outage.has_been_reached() => {
                self.failure = Some(failure);
            }
            Some(outage) => log_line(outage.failed(&failure)),
            None => self.warn_rate_limited(format_args!("{failure}")),
        }
    }

    /// Logs that the server is back, and what has become of the fids.
    pub(super) fn log_return(&mut self) {
        if let Some(outage) = &mut self.outage {
            let is_connected = self.server.is_some();
            let (engine, address) = (&mut self.engine, &self.server_address);
            if log_return(engine, outage, address, is_connected, self.now) {
                self.notifier.returned();
            }
        }
    }
}

/// Logs a line.
pub(super) fn log_line(line: OutageLine) {
    match line {
        OutageLine::Warning(line) => warn!("{line}"),
        OutageLine::Info(line) => info!("{line}"),
    }
}

/// Logs a line about a server.
pub(super) fn log_outage(server: &Address, line: OutageLine) {
    match line {
        OutageLine::Warning(line) => warn!("{server}: {line}"),
        OutageLine::Info(line) => info!("{server}: {line}"),
    }
}

/// Logs what has become of the sessions with a server. Returns true if an outage has ended.
pub(super) fn log_return(
    engine: &mut Engine,
    outage: &mut OutageLog,
    server: &Address,
    is_connected: bool,
    now: Instant,
) -> bool {
    let mut is_settled = is_connected && engine.outage().is_none();
    while let Some(event) = engine.next_restore_event() {
        match event {
            RestoreEvent::Back { .. } => is_settled |= is_connected,
            RestoreEvent::Restored { gone: 0, .. } => {}
            RestoreEvent::Restored { fids, gone } => warn!(
                "{server}: the server is back with other files: {gone} of {fids} fids are gone"
            ),
            RestoreEvent::AttachRefused { uname, aname } => warn!(
                "{server}: the server does not let '{}' attach to '{}' any more: their fids are gone",
                uname.escape_debug(),
                aname.escape_debug()
            ),
            RestoreEvent::TooManyNames => warn!(
                "a client has more names than 9pmux remembers: some of its fids will be gone when the server comes back"
            ),
        }
    }
    let line = is_settled.then(|| outage.settled(now)).flatten();
    let has_ended = line.is_some();
    if let Some(line) = line {
        log_outage(server, line);
    }
    has_ended
}
