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
//! may still take.
//!
//! Neither shares nor floors hold for an attacker that is many users: each of them may take something. A part
//! of the pool is therefore reserved for the *first* items of clients: the first tag, and the first 16 fids.
//! The first items that clients hold are no longer reserved:
//!
//! ```text
//! reserved = (total / reserved_part) - (first items of all connected clients) + (tags kept for flushes)
//! shared   = free - reserved
//! ```
//!
//! | may take one more, while one is free | condition |
//! |---|---|
//! | a client, as a first item, and it has been served before | always |
//! | a new client, as a first item | departed clients have left its user less than its floor, or the user holds less than `shared` |
//! | a client with less than its floor | `shared` is not 0, and its user holds less than its floor, or less than is free |
//! | any other client | it holds less than `shared` - (held by its user) |
//!
//! So only first items come from the reserve, and while no more clients are connected than the reserve has
//! tags, each of them can have a tag, whatever the others hold and however many users they are. The
//! requests of departed clients are no first items any more: while the server does not release them, they use up
//! the reserve, and the new clients of their user wait. A client that begins another session, and has left
//! requests of the one before, is a new client again.
//!
//! A request that a client takes back or leaves needs a second tag, for its Tflush. A sixteenth of the tags is kept
//! for flushes, which have no others but the reserved ones. A user may have one more flush upstream while it has
//! fewer than may still be sent; the rest waits. So a server that replies to no Tflush costs each user a share, and
//! not twice the tags that its clients have left.
//!
//! 9pmux's own Tclunk, for what clients have left, use the reserved tags and at most half of the others. A user may
//! have one more while it has fewer than may still be sent, and they count among the requests that departed clients
//! have left. So a server that replies to no Tclunk costs each user a share of the clunks, and its clients their
//! share of the tags.
//!
//! With one client the limit is more than a fifth of the tags (`held < 11/16 - 2 held`), which is more than the limits
//! of one client by default. `n` busy clients of one user get `1 / (2n + 1)` of the shared part each and
//! leave about half of it free; `k` users get `1 / (k + 1)` each.
//!
//! A request without a share of the tags waits; a request for a fid without a share gets an error. A client that
//! waits is in the share queue, and examined when a tag is freed: at most [`MAX_EXAMINED`] of them for each
//! event, the first of the queue first, so that the cost of an event does not depend on the number of
//! clients. The rest is examined at the next event, which [`next_deadline`](Engine::next_deadline) asks for.

use super::clients::Blocked;
use super::requests::FLUSH_PART;
use super::users::NO_USER;
use super::{ClientId, Engine};

/// The number of waiting clients that are examined for each event.
pub const MAX_EXAMINED: usize = 64;

/// Maximum number of 9pmux's own Tclunk in flight, so that cleaning up one large client does not delay the others.
const MAX_CLUNKS: usize = 2048;

/// One of so many tags of clients may be in use for such Tclunk, which may use the reserved tags as well.
const CLUNK_PART: usize = 2;

/// The share of one client in a pool.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// One of so many items is reserved for the first items of clients.
    pub reserved_part: usize,
    /// The number of a client's first items.
    pub first: usize,
    /// The number that every client may hold while its user holds less than is free.
    pub client_floor: usize,
    /// The number that every user may hold.
    pub user_floor: usize,
}

/// Tags of upstream requests.
pub const TAGS: Share = Share { reserved_part: 4, first: 1, client_floor: 4, user_floor: 16 };

/// Upstream fids.
pub const FIDS: Share = Share { reserved_part: 16, first: 16, client_floor: 64, user_floor: 1024 };

/// Descriptors, of which none are reserved: a client can do without them.
pub const DESCRIPTORS: Share =
    Share { reserved_part: usize::MAX, first: 0, client_floor: 16, user_floor: 64 };

/// The number of items of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Supply {
    pub total: usize,
    pub free: usize,
    /// The first items of all connected clients.
    pub firsts: usize,
    /// The number of free items that are kept for other uses than clients' requests.
    pub kept: usize,
}

/// The numbers that a client and its user hold of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    pub client: usize,
    pub user: usize,
    /// The number that departed clients of the user still have upstream.
    pub departed: usize,
    /// Whether the client has been served before.
    pub served: bool,
}

impl Share {
    /// Returns true if the client may take one more.
    pub fn admits(self, supply: Supply, holding: Holding) -> bool {
        let Supply { total, free, firsts, kept } = supply;
        let Holding { client, user, departed, served } = holding;
        let reserved = (total / self.reserved_part).saturating_sub(firsts) + kept;
        let shared = free.saturating_sub(reserved);
        if client < self.first {
            free > 0 && (served || departed < self.user_floor || user < shared)
        } else if client < self.client_floor {
            shared > 0 && (user < self.user_floor || user < free)
        } else {
            client < shared.saturating_sub(user)
        }
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
    /// Returns true if the client may have one more upstream request, while this number of tags is free. Reads, which
    /// may stay in flight for ever, leave a part of the share to other requests.
    #[inline(always)]
    pub(super) fn has_tag_share(&mut self, client_index: u32, free: usize, is_read: bool) -> bool {
        let client = self.clients.get(client_index);
        let held = client.tags() + self.users.get(client.user).tags;
        // The most frequent case, in which no rule refuses.
        let total = self.requests.max();
        let most_reserved = total / TAGS.reserved_part + total / FLUSH_PART;
        2 * held < free.saturating_sub(most_reserved)
            || self.is_tag_admitted(client_index, free, is_read)
    }

    fn is_tag_admitted(&mut self, client_index: u32, free: usize, is_read: bool) -> bool {
        let supply = Supply {
            total: self.requests.max(),
            free,
            firsts: self.clients.firsts().tags as usize,
            kept: self.requests.kept_for_flushes(),
        };
        let client = self.clients.get(client_index);
        let user = self.users.get(client.user);
        let held = client.tags();
        let is_first = held < TAGS.first;
        let margin = |n: usize| if is_read && !is_first { n + n / 8 + 1 } else { n };
        let holding = Holding {
            client: margin(held),
            user: margin(user.tags),
            departed: user.departed_tags + user.clunks,
            served: client.served,
        };
        TAGS.admits(supply, holding)
    }

    /// Returns true if the client may have one more fid.
    pub(super) fn has_fid_share(&mut self, client_index: u32) -> bool {
        let client = self.clients.get(client_index);
        let user = self.users.get(client.user);
        let holding = Holding {
            client: client.session.fids.len(),
            user: user.fids,
            departed: user.departed_fids,
            served: client.served,
        };
        let total = self.config.max_fids_all;
        let free = total.saturating_sub(self.fids.len());
        let firsts = self.clients.firsts().fids as usize;
        FIDS.admits(Supply { total, free, firsts, kept: 0 }, holding)
    }

    /// Returns true if this user may have one more flush upstream.
    pub(super) fn has_flush_share(&self, user: u32) -> bool {
        let held = if user == NO_USER { 0 } else { self.users.get(user).flushes };
        held < self.requests.free_flushes()
    }

    /// Counts a flush of this user, which was sent, or has its reply.
    pub(super) fn count_flush(&mut self, user: u32, was_sent: bool) {
        self.requests.count_flush(was_sent);
        self.upstream.deferred_flushes.retry_passed();
        self.users.change(user, |account| {
            account.flushes = if was_sent { account.flushes + 1 } else { account.flushes - 1 };
        });
    }

    /// Returns the maximum number of 9pmux's own Tclunk in flight.
    pub(super) fn max_clunks(&self) -> usize {
        MAX_CLUNKS.min(self.requests.reserved() + self.requests.max() / CLUNK_PART)
    }

    /// Returns true if one more Tclunk may be upstream for the fids of this user.
    pub(super) fn has_clunk_share(&self, user: u32) -> bool {
        let held = if user == NO_USER { 0 } else { self.users.get(user).clunks };
        held < self.max_clunks().saturating_sub(self.upstream.internal_clunks)
    }

    /// Counts a Tclunk of 9pmux's own for this user, which was sent, or has its reply.
    pub(super) fn count_clunk(&mut self, user: u32, was_sent: bool) {
        let change = |n: usize| if was_sent { n + 1 } else { n - 1 };
        self.upstream.internal_clunks = change(self.upstream.internal_clunks);
        self.upstream.deferred_clunks.retry_passed();
        self.users.change(user, |account| account.clunks = change(account.clunks));
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
            let free = self.free_tags();
            if is_blocked && self.has_tag_share(client_index, free, false) {
                self.block(client_index, Blocked::OnUpstream);
            } else if is_blocked || has_reads {
                if has_reads && self.has_tag_share(client_index, free, true) {
                    self.enqueue_ready(client_index);
                } else {
                    self.enqueue_for_share(client_index);
                }
            }
        }
    }
}
