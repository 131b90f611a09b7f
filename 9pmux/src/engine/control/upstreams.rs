//! The file `upstream`: a line for the server, and with a link one for the server of the other engine.

use std::mem::discriminant;

use super::facts::{ServerFacts, UpstreamRow};
use super::text::{Lines, word};
use crate::engine::Engine;
use crate::engine::upstream::UpstreamState;
use crate::wire::Dialect;

impl Engine {
    /// Returns the name of the state of the connection to the server.
    fn upstream_state(&self) -> &'static str {
        match self.upstream.state() {
            UpstreamState::NoVersion => "new",
            UpstreamState::AwaitingVersion { .. } => "version",
            UpstreamState::Ready => "ready",
            UpstreamState::Replaying => "replaying",
            UpstreamState::Settling { .. } => "settling",
            UpstreamState::Leaving(_) | UpstreamState::Lost(_) => "lost",
            UpstreamState::Away => "away",
            UpstreamState::Absent => "absent",
            UpstreamState::Ended(_) => "ended",
        }
    }

    /// Records the time at which the state has changed. Must be called after each event.
    #[inline]
    pub(in crate::engine) fn note_upstream_state(&mut self) {
        let state = Some(discriminant(self.upstream.state()));
        if state != self.control.state {
            self.control.state = state;
            self.control.state_since = self.now;
        }
    }

    /// Returns the line of this engine's server in the file `upstream`.
    #[must_use]
    pub fn upstream_row(&self, server: ServerFacts) -> UpstreamRow {
        let dialect = self.dialect();
        UpstreamRow {
            server,
            state: self.upstream_state(),
            since: self.now - self.control.state_since,
            dialect,
            msize: if dialect.is_some() { self.upstream.msize } else { 0 },
            fids: self.fids.len(),
            requests: self.requests.len(),
            out: self.upstream.out.len(),
        }
    }

    pub(super) fn write_upstreams(&self, lines: &mut Lines) {
        lines.push(format_args!(
            "address state since dialect msize tries fids requests out_bytes last_error"
        ));
        let own = self.upstream_row(self.control.facts.server.clone());
        for row in std::iter::once(&own).chain(&self.control.facts.other) {
            let ServerFacts { address, tries, last_error } = &row.server;
            let msize = if row.msize > 0 { row.msize.to_string() } else { "-".to_owned() };
            lines.push(format_args!(
                "{} {} {} {} {msize} {tries} {} {} {} {}",
                word(address.as_bytes()),
                row.state,
                row.since.as_secs(),
                row.dialect.map_or("-", Dialect::name),
                row.fids,
                row.requests,
                row.out,
                word(last_error.as_bytes()),
            ));
        }
    }
}
