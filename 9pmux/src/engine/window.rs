//! The window: the bytes that may be outstanding at the server, where it must not be sent more.
//!
//! The other end of a link must be able to accept every request, because the replies to its own requests
//! stand behind it. The sender therefore limits the sum of the costs of its requests. The *cost* of a request
//! is its length and the room that is reserved for its reply.
//!
//! | rule | reason |
//! |---|---|
//! | A request is sent if the sum, its own cost included, is at most [`Config::window`](super::Config::window). | The other end has room for it. |
//! | If nothing is outstanding, any request is sent. | A request may cost more than the window. |
//! | A client may have a quarter of the window outstanding, and one request in any case. | Requests that have no reply for a long time must not close the window for other clients. |
//! | Treads of a client use at most three quarters of that. | They may stay outstanding for ever, and other requests of the client must not wait for them. |
//! | Tflush, Tversion and 9pmux's own Tclunk do not count. | They make room. |
//!
//! A request that does not fit waits at the front of the ready queue, and no other request passes it. The
//! queue is tried again at each event, so a request that is taken back leaves no trace. A request counts
//! until its tag is free.

use super::Engine;

/// A client may have one part of so many of the window.
const PARTS: usize = 4;

impl Engine {
    /// Returns the cost of a request, if there is a window.
    #[inline(always)]
    pub(super) fn cost(&self, message: &[u8], max_reply_len: u32) -> u32 {
        match self.config.window {
            Some(_) => message.len() as u32 + max_reply_len,
            None => 0,
        }
    }

    /// Returns true if the client may have a further request of this cost outstanding.
    #[inline(always)]
    pub(super) fn has_window_part(&mut self, client_index: u32, cost: u32, is_read: bool) -> bool {
        let Some(window) = self.config.window else {
            return true;
        };
        let part = window / PARTS;
        let part = if is_read { part / 4 * 3 } else { part };
        let held = self.clients.get(client_index).session.cost();
        held == 0 || held + cost as usize <= part
    }

    /// Returns true if the window has room for a request of this cost. If not, the client is recorded.
    #[inline]
    pub(super) fn window_admits(&mut self, client_index: u32, cost: u32) -> bool {
        let sum = self.requests.cost();
        let admits =
            self.config.window.is_none_or(|window| sum == 0 || sum + cost as usize <= window);
        if !admits {
            self.window_blocked = Some(client_index);
            self.stats.window_waits += 1;
        }
        admits
    }

    /// Returns the number of requests at the server.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.requests.len()
    }

    /// Returns the sum of the costs of the requests at the server. It is 0 without a window.
    #[must_use]
    pub fn outstanding_cost(&self) -> usize {
        self.requests.cost()
    }
}
