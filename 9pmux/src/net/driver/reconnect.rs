//! Connecting to the server again, and waiting for the end of a server that was started here.

use std::io;
use std::process::ExitStatus;
use std::time::Instant;

use tracing::warn;

use super::{Driver, poll_error_text};
use crate::net::child::ChildServer;
use crate::net::dial::ServerConnection;
use crate::net::failure::Failure;
use crate::net::peers::Peer;
use crate::net::stream::Origin;
use crate::net::watch::{Source, Watch};

impl Driver {
    /// Connects to the server again if the engine asks for that, at the pace of `redial_pace`. This blocks, but
    /// no client has anything at a server at that time.
    pub(super) fn reconnect(&mut self) {
        if let Some(reason) = self.engine.take_lost_server() {
            warn!(
                "{}: {reason}: it is connected again when a client asks for it",
                self.server_address
            );
            if let Some(server) = self.server.take() {
                self.watch.remove(&server.stream, server.write_interest);
            }
        }
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
        self.redial_pace.attempted(Instant::now());
        match connected {
            Ok(server) => {
                self.server = Some(Peer::new(server.stream, Origin::Unknown));
                self.child = server.child;
                self.server_error = None;
                self.engine.server_connected();
            }
            Err(failure) => {
                self.warn_rate_limited(format_args!("{failure}"));
                self.engine.redial_failed();
            }
        }
    }

    /// Waits for the end of a server that was started here.
    pub(super) fn shut_down_child(&mut self, mut child: ChildServer) -> Option<ExitStatus> {
        child.shut_down(|| {
            self.signal_count += self.signals.take_count();
            self.signal_count > 1
        })
    }
}

/// Reports events of the server from now on.
pub(super) fn watch_server(watch: &Watch, server: &ServerConnection) -> io::Result<()> {
    watch_as(watch, server, (Source::Server, Source::Child))
}

/// Reports events of a server and of its program from now on, as those of these sources.
pub(super) fn watch_as(
    watch: &Watch,
    server: &ServerConnection,
    (source, child_source): (Source, Source),
) -> io::Result<()> {
    watch.add(source, server.stream.input())?;
    match &server.child {
        Some(child) => watch.add(child_source, child.notice_fd()),
        None => Ok(()),
    }
}
