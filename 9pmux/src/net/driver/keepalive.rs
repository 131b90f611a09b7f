//! Keepalives to the server of `serve`, if they were asked for. A link has its own.
//!
//! The rules are those of [`Keepalive`](crate::link::Keepalive), with two differences: a request that is outstanding
//! is no excuse for silence, and any byte of the server is the reply.

use std::time::Instant;

use super::Driver;
use crate::link::{Action, Situation};

impl Driver {
    /// Asks a silent server whether it is there, or gives it up.
    pub(super) fn tick_keepalive(&mut self) {
        let Some(server) = &self.server else {
            return;
        };
        let now = self.engine_time();
        if server.readable {
            // It may have waited while 9pmux was stopped.
            self.keepalive.heard(now);
        }
        match self.keepalive.act(now, self.server_situation()) {
            Action::Nothing => {}
            Action::Send => self.engine.send_keepalive(),
            Action::Dead(time) => {
                self.close_server();
                self.engine.server_silent(time);
            }
        }
    }

    /// Returns the time at which `tick_keepalive` must be called, if any.
    pub(super) fn keepalive_deadline(&self) -> Option<Instant> {
        self.server.as_ref()?;
        let deadline = self.keepalive.deadline(self.engine_time(), self.server_situation())?;
        Some(self.started + deadline)
    }

    fn server_situation(&self) -> Situation {
        Situation { settled: self.engine.dialect().is_some(), is_busy: false, reads: true }
    }
}
