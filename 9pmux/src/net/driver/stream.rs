//! The stream of a link that comes back (`--reconnect`).
//!
//! The end of the stream is not the end of the link then. The post keeps its clients, and restores their fids at the
//! other end when there is another stream; the export gets a new client. The stream is called again, or the next
//! caller is the other end.

use super::control::record_connection;
use super::reconnect::log_outage;
use super::{Callers, Driver};
use crate::link::{LinkConfig, LinkEnd};
use crate::net::failure::error_text;
use crate::net::peers::Peer;
use crate::net::stream::{Origin, Stream};

impl Driver {
    /// Makes the link, which must have been set, survive the end of its stream. It has no stream yet.
    pub fn set_stream_comes_back(&mut self, config: LinkConfig) {
        if let Some(link) = &mut self.link {
            link.link.await_stream();
            link.comes_back = Some(config);
        }
    }

    /// Returns true if the link survives the end of its stream.
    pub(super) fn stream_comes_back(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.comes_back.is_some())
    }

    /// Closes a stream that has ended, and connects to the other end again.
    pub(super) fn reconnect_stream(&mut self) {
        self.lose_stream();
        let is_wanted = self.wants_server();
        let hurry = self.signal_count > 1;
        match self.redialler.advance(&self.watch, self.now, is_wanted, hurry) {
            Some(Ok(stream)) => self.begin_stream(stream),
            Some(Err(failure)) => {
                self.notifier.failed();
                self.log_failed_attempt(failure.of_far_end());
            }
            None => {}
        }
        self.log_return();
    }

    /// Begins with a stream that has been connected and is watched.
    pub(super) fn begin_stream(&mut self, stream: Stream) {
        let now = self.engine_time();
        let Some(link) = &mut self.link else {
            return;
        };
        let Some(config) = &link.comes_back else {
            return;
        };
        record_connection(&mut self.control.server);
        link.link.restart(config, now);
        link.has_warned = false;
        self.server_error = None;
        stream.limit_silence(self.max_silence);
        stream.limit_unsent();
        self.server = Some(Peer::new(stream, Origin::Unknown));
        self.engine.server_connected();
    }

    /// Closes a stream that has ended, unless 9pmux ends too.
    fn lose_stream(&mut self) {
        let Some(link) = &mut self.link else {
            return;
        };
        let why = match link.link.end_reason() {
            Some(why) if !why.is_final() => why.clone(),
            _ => return,
        };
        link.link.await_stream();
        // The reason is that of the link.
        self.engine.take_lost_server();
        let error = self.server_error.take();
        self.control.server.last_error = why.to_string();
        self.notifier.lost();
        self.close_server();
        let Some(outage) = &mut self.outage else {
            return;
        };
        let line = match error {
            Some(error) => {
                let why = format!("the connection is broken: {}", error_text(&error.into()));
                outage.lost(self.now, &why, false)
            }
            None => {
                let is_remarkable =
                    matches!(why, LinkEnd::Garbled(_) | LinkEnd::TooMuch | LinkEnd::NoMemory);
                outage.lost(self.now, &why, is_remarkable)
            }
        };
        log_outage(&self.server_address, line);
        let callers = self.link.as_mut().and_then(|link| link.callers.as_mut());
        if let Some(candidate) = callers.and_then(Callers::await_next) {
            self.connect_caller(candidate);
        }
    }
}
