//! Clients: accepting and refusing them, and their end.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tracing::info;

use super::Driver;
use crate::engine::{ClientId, Rules, User};
use crate::net::announce::AcceptOutcome;
use crate::net::descriptors;
use crate::net::failure::error_text;
use crate::net::line_limit::LineKind;
use crate::net::peers::Peer;
use crate::net::stream::{Origin, Stream};
use crate::net::watch::Source;

/// Maximum number of clients accepted per turn and listener, so that connected clients are not delayed.
const MAX_ACCEPTS: usize = 64;

/// Time until the next accept after one has failed for lack of resources.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// Why a client was disconnected, as a part of a log line.
pub(super) enum CloseReason {
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

impl Driver {
    pub(super) fn accept(&mut self) {
        if self.accept_paused_until.is_some_and(|until| self.now < until) {
            return;
        }
        let mut paused_until = None;
        // If only one client can be accepted at a time, the listeners take turns.
        let count = self.listeners.len();
        let first = self.next_listener;
        for n in (0..count).map(|n| (first + n) % count) {
            let mut budget = MAX_ACCEPTS;
            while self.listeners[n].ready && budget > 0 && self.accepts(n) {
                budget -= 1;
                match self.listeners[n].accept() {
                    AcceptOutcome::Client(stream) if self.is_for_callers(n) => {
                        self.add_caller(stream);
                    }
                    AcceptOutcome::Client(stream) => {
                        self.next_listener = n + 1;
                        if !self.admission.admits(stream.origin()) {
                            self.control.refused_connections += 1;
                            self.refuse_client(&stream);
                            continue;
                        }
                        let rules = self.listeners[n].rules(&stream);
                        let listener = self.control.of_listener[n];
                        if let Err(error) = self.add_client(stream, rules, listener) {
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

    pub(super) fn add_client(
        &mut self,
        stream: Stream,
        rules: Rules,
        listener: u16,
    ) -> io::Result<()> {
        let origin = stream.origin();
        let user = match origin {
            Origin::User(uid) => Some(User::Local(uid)),
            Origin::Host(address) => Some(User::Host(address)),
            Origin::Machine(cid) => Some(User::Machine(cid)),
            Origin::Unknown => None,
        };
        let id = self.engine.client_connected_by(user, rules);
        if let Err(error) = self.watch.add(Source::Client(id.index()), stream.input()) {
            self.engine.client_gone(id);
            return Err(error);
        }
        self.describe_client(id, &stream, listener);
        if stream.passes_descriptors() {
            self.engine.allow_descriptors(id);
        }
        self.with_line_limit(|limit, _| limit.client_connected(id.index(), origin));
        if self.should_log(LineKind::Connected, id) {
            info!("client {} connected: {}", id.number(), stream.describe_peer());
        }
        self.admission.add(origin);
        self.peers.add(id, Peer::new(stream, origin));
        Ok(())
    }

    /// Removes a client and logs why.
    pub(super) fn disconnect_client(&mut self, id: ClientId, why: &CloseReason) {
        let Some(peer) = self.peers.remove(id) else {
            return;
        };
        self.admission.remove(peer.origin);
        let had = self.engine.client_info(id);
        if let Some(had) = had.filter(|_| self.should_log(LineKind::Disconnected, id)) {
            info!(
                "client {} disconnected{why}; {} messages received, {} fids and {} requests left",
                id.number(),
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
}
