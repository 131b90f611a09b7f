//! Shares: how much of a pool that all clients use one client may hold.
//!
//! A pool (the upstream tags, the upstream fids, the memory of buffers) has a fixed size. No client must be able
//! to use up a pool, because the others would then wait or fail; but a client that is alone should have
//! most of it. The rule is that of the *dynamic thresholds* of switches with a shared buffer: a holder may
//! take one more while it holds less than is still free. Nothing needs to be known about the other holders,
//! and nothing is taken back.
//!
//! Holders have two levels. A *user* is an account, such as a user of this machine, or another machine
//! (`users.rs`). It holds what all its clients hold, and what their ended sessions still have upstream, so
//! that a user that connects again and again gains nothing. Within a user, its clients share what the user
//! may still take:
//!
//! ```text
//! shared   = free - reserve
//! headroom = shared - held by the user
//! ```
//!
//! | may take one more, while something is free | condition |
//! |---|---|
//! | a client | it holds less than `headroom` |
//! | a client that holds less than its floor | its user holds less than its floor, or less than is free |
//! | a client that holds nothing and has been served before | always |
//! | a client that holds nothing and is new | its user holds less than its floor and one for each of its clients, or less than is free |
//!
//! With one client the limit is a third of the pool (`held < free - held`), which is more than the limits of
//! one client by default. `n` busy clients of one user get `1 / (2n + 1)` each and leave about half of the
//! pool free; `k` users get `1 / (k + 1)` each. The reserve is left to clients that hold nothing: a client
//! is never without a tag because of what others hold, as long as there are more tags than clients.
//!
//! A request without a share of the tags waits; a request for a fid without a share gets an error. A client that
//! waits is in the share queue, and examined when a tag is freed: at most [`MAX_EXAMINED`] of them for each
//! event, the first of the queue first, so that the cost of an event does not depend on the number of
//! clients. The rest is examined at the next event, which [`next_deadline`](Engine::next_deadline) asks for.

use super::clients::Blocked;
use super::{ClientId, Engine};

/// The number of waiting clients that are examined for each event.
const MAX_EXAMINED: usize = 64;

/// The share of one client in a pool.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The number that every client may hold while its user holds less than is free.
    pub client_floor: usize,
    /// The number that every user may hold.
    pub user_floor: usize,
}

/// Tags of upstream requests.
pub const TAGS: Share = Share { client_floor: 4, user_floor: 16 };

/// Upstream fids.
pub const FIDS: Share = Share { client_floor: 64, user_floor: 1024 };

/// The numbers that a client and its user hold of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    pub client: usize,
    pub user: usize,
    /// The number of the user's clients.
    pub clients: usize,
    /// Whether the client has been served before.
    pub served: bool,
}

impl Share {
    /// Returns true if the client may take one more, while `free` of `total` are free.
    pub fn admits(self, total: usize, free: usize, holding: Holding) -> bool {
        if free == 0 {
            return false;
        }
        let Holding { client, user, clients, served } = holding;
        if client == 0 {
            return served || user < self.user_floor + clients || user < free;
        }
        if client < self.client_floor {
            return user < self.user_floor || user < free;
        }
        let shared = free.saturating_sub(total / 16);
        client < shared.saturating_sub(user)
    }
}

/// The clients that wait for a share of the tags.
#[derive(Default)]
pub struct ShareQueue {
    pub clients: std::collections::VecDeque<ClientId>,
    /// The number of clients at the front that have not been examined since a tag was freed.
    pub unexamined: usize,
}

impl Engine {
    /// Returns true if the client may have one more upstream request. Reads, which may stay in flight for
    /// ever, leave a part of the share to other requests.
    #[inline]
    pub(super) fn has_tag_share(&mut self, client_index: u32, is_read: bool) -> bool {
        let client = self.clients.get(client_index);
        let held = client.session.tags.len() + client.session.flushes.len();
        let user = self.users.get(client.user);
        let margin = |held: usize| if is_read && held > 0 { held + held / 8 + 1 } else { held };
        let holding = Holding {
            client: margin(held),
            user: margin(user.tags),
            clients: user.clients,
            served: client.served,
        };
        let free = self.requests.free_tags(self.upstream.internal_clunks);
        TAGS.admits(self.requests.max(), free, holding)
    }

    /// Returns true if the client may have one more fid.
    pub(super) fn has_fid_share(&mut self, client_index: u32) -> bool {
        let client = self.clients.get(client_index);
        let user = self.users.get(client.user);
        let holding = Holding {
            client: client.session.fids.len(),
            user: user.fids,
            clients: user.clients,
            served: client.served,
        };
        let total = self.config.max_fids_all;
        FIDS.admits(total, total.saturating_sub(self.fids.len()), holding)
    }

    /// Appends the client to the share queue, unless it is in it.
    pub(super) fn enqueue_for_share(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        if !std::mem::replace(&mut client.in_share_queue, true) {
            self.clients.enqueue(&mut self.share_queue.clients, client_index);
        }
    }

    /// Records that the share of every client may have grown.
    #[inline]
    pub(super) fn shares_have_grown(&mut self) {
        self.share_queue.unexamined = self.share_queue.clients.len();
    }

    /// Returns true if a client that waits for a share may have one.
    pub(super) fn has_unexamined_shares(&self) -> bool {
        self.share_queue.unexamined > 0 && self.has_tag()
    }

    /// Moves clients that have a share to the ready queue.
    #[inline]
    pub(super) fn examine_shares(&mut self) {
        let mut budget = MAX_EXAMINED;
        while budget > 0 && self.has_unexamined_shares() {
            budget -= 1;
            let Some(id) = self.share_queue.clients.pop_front() else {
                self.share_queue.unexamined = 0;
                return;
            };
            self.share_queue.unexamined -= 1;
            let Some(client_index) = self.clients.index_of(id) else {
                continue;
            };
            let client = self.clients.get(client_index);
            client.in_share_queue = false;
            let is_blocked = client.blocked == Blocked::OnShare;
            let has_reads = !client.waiting_reads.is_empty();
            if is_blocked && self.has_tag_share(client_index, false) {
                self.block(client_index, Blocked::OnUpstream);
            } else if is_blocked || has_reads {
                if has_reads && self.has_tag_share(client_index, true) {
                    self.enqueue_ready(client_index);
                } else {
                    self.enqueue_for_share(client_index);
                }
            }
        }
    }
}
