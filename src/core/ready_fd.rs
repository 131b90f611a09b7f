//! The readiness of the poll descriptor: it is ready while a non-blocking call can be collected. The
//! driver owns the descriptor itself.

use super::call::Protocol;
use super::machine::Machine;

/// The readiness that was last reported to the poll descriptor, or `None` if it is not in use.
pub(super) struct ReadyFd(Option<bool>);

impl ReadyFd {
    pub const UNUSED: ReadyFd = ReadyFd(None);
}

impl<P: Protocol, H> Machine<P, H> {
    /// Returns true if the poll descriptor is in use and no longer shows whether a non-blocking
    /// call can be collected.
    #[must_use]
    #[inline]
    pub fn ready_fd_is_stale(&self) -> bool {
        let ReadyFd(reported) = self.ready_fd;
        reported.is_some_and(|reported| reported != (self.counts.finishable > 0))
    }

    /// Returns true if a non-blocking call can be collected. The caller must set the poll
    /// descriptor to this readiness. `watched` is true if the descriptor is in use.
    pub fn report_ready(&mut self, watched: bool) -> bool {
        let is_ready = self.counts.finishable > 0;
        self.ready_fd = ReadyFd(watched.then_some(is_ready));
        is_ready
    }
}
