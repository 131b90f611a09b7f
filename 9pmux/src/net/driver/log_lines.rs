//! Log lines that clients or the server can cause, and the limits of their number.

use std::cell::Cell;
use std::fmt;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Driver;
use crate::engine::{ClientId, Limit, VersionEvent};
use crate::net::line_limit::{LineKind, LineLimit};

/// Minimum time between two warnings that clients can provoke.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Maximum number of lines about limits of clients in that time.
const MAX_LIMIT_LINES: u32 = 16;

impl Driver {
    /// Logs what the server has agreed to and what not.
    pub(super) fn log_versions(&mut self) {
        while let Some(event) = self.engine.next_version_event() {
            let allows = |limit: &mut LineLimit, now| limit.allows(LineKind::Version, None, now);
            let is_allowed = self.with_line_limit(allows).unwrap_or(false);
            match event {
                VersionEvent::VersionAgreed { dialect, msize } if is_allowed => {
                    let agreed = if self.link.is_some() { "other end" } else { "server" };
                    info!("the {agreed} has agreed to {} with msize {msize}", dialect.name());
                }
                VersionEvent::VersionAgreed { .. } => {}
                VersionEvent::AuthRefused if is_allowed => info!(
                    "the server has refused a Tauth: with --auth required no client can attach without one"
                ),
                VersionEvent::AuthRefused => {}
                VersionEvent::VersionRefused { reply, .. } if self.link.is_some() => {
                    self.log_quiet_far_end(&reply);
                }
                VersionEvent::VersionRefused { offer, reply } => self.warn_rate_limited(
                    format_args!("the server has not agreed to {}: {reply}", offer.name()),
                ),
            }
        }
    }

    /// Logs which limits clients have met. The engine reports each client once; clients that connect again and
    /// again are not logged again and again.
    pub(super) fn log_notices(&mut self) {
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
                Limit::Descriptors => {
                    "has as many descriptors as one client may have (--max-descriptors): it gets no more"
                }
                Limit::DescriptorShare => {
                    "has its share of the descriptors of all clients: it gets no more"
                }
                Limit::Memory => "is disconnected: there is no more memory for it (--max-memory)",
            };
            warn!("client {} {what}", notice.client.number());
        }
    }

    /// Logs a warning that clients can provoke, at most once per `WARN_INTERVAL`.
    pub(super) fn warn_rate_limited(&self, what: fmt::Arguments<'_>) {
        self.warn_after_interval(&self.last_warning, what);
    }

    /// Logs a warning if none was logged within `WARN_INTERVAL`, as `last` records.
    pub(super) fn warn_after_interval(
        &self,
        last: &Cell<Option<Instant>>,
        what: fmt::Arguments<'_>,
    ) {
        if last.get().is_none_or(|since| self.now - since >= WARN_INTERVAL) {
            last.set(Some(self.now));
            warn!("{what}");
        }
    }

    /// Calls `f` with the limits of lines and the time, if lines that clients cause are logged.
    pub(super) fn with_line_limit<T>(
        &self,
        f: impl FnOnce(&mut LineLimit, Instant) -> T,
    ) -> Option<T> {
        let limit = self.line_limit.as_ref()?;
        Some(f(&mut limit.lock().unwrap_or_else(PoisonError::into_inner), self.now))
    }

    /// Returns true if a line that this client has caused should be logged.
    pub(super) fn should_log(&self, kind: LineKind, id: ClientId) -> bool {
        let allows = |limit: &mut LineLimit, now| limit.allows(kind, Some(id.index()), now);
        self.with_line_limit(allows).unwrap_or(false)
    }
}
