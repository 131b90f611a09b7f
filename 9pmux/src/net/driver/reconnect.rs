//! Connecting to the server again.

use tracing::warn;

use super::Driver;
use crate::net::peers::Peer;
use crate::net::stream::Origin;

impl Driver {
    /// Connects to the server again if the engine asks for that.
    pub(super) fn reconnect(&mut self) {
        if let Some(reason) = self.engine.take_lost_server() {
            warn!(
                "{}: {reason}: it is connected again when a client asks for it",
                self.server_address
            );
            self.close_server();
        }
        let is_wanted = self.engine.wants_redial();
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
                self.engine.server_connected();
            }
            Some(Err(failure)) => {
                self.warn_rate_limited(format_args!("{failure}"));
                self.engine.redial_failed();
            }
            None => {}
        }
    }

    pub(super) fn close_server(&mut self) {
        if let Some(server) = self.server.take() {
            self.watch.remove(&server.stream, server.write_interest);
        }
    }
}
