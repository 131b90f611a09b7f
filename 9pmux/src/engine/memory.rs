//! The memory of clients: a bound over all of them, and what happens at it.
//!
//! Each client is counted for the memory of its buffers as it is, not for an estimate, and for the names of its
//! auth fids. So is its user.
//!
//! | memory | effect |
//! |---|---|
//! | a part of `max_memory` is free | a client has `max_reply_bytes` for its replies, but not more than is free beyond what its user holds, as in `shares.rs`, and 64 KiB in any case |
//! | more than `max_memory` is in use | spare memory is returned; then the client that holds most, of the user that holds most, is disconnected, and its notice is logged, until the bound holds |
//! | the system has no memory for a buffer | the client that needed it is disconnected |
//!
//! Not everything that a client can make grow is counted here. The rest has bounds of its own:
//!
//! | memory | bound |
//! |---|---|
//! | inbox, waiting reads, output, auth fids with their names, copies of requests (`restore/`) | counted here |
//! | records by which fids are restored (`restore/budget.rs`): names of files, locks, copies of requests that departed clients have left | 8 MiB for each client that makes them, half of what is free for each user, 256 MiB in all |
//! | table of tags, list of flushes | `max_inflight` and 256 entries for each client |
//! | table of fids, fids upstream and their deferred clunks | `max_fids` entries for each client, `max_fids_all` in all |
//! | requests upstream and their deferred flushes, cleanups | `max_inflight_all`; a cleanup has at least a request or a fid |
//! | records of users | one for each client, request or fid upstream |
//! | queues of clients; waiters for a version and for the shared attach | one entry for each client, and entries of departed clients as `Clients::enqueue` permits |
//! | names and error of the shared attach | one message |
//! | a Tversion that waits | its numbers only |
//! | notices of limits | `MAX_NOTICES` |
//! | texts of the control tree (`control/`) | 64 of 4 MiB |
//! | limits of lines of the log (`net/line_limit.rs`) | 4,096 of each table |
//!
//! The bound is enforced by `tick`, when a driver has written all output that clients read: what is left
//! is what they do not read.

use super::clients::ClientState;
use super::far_end::CloseCause;
use super::{Engine, Limit};

/// The bytes of replies that a client may always have, however little memory is free.
const MIN_REPLY_BYTES: usize = 64 * 1024;

impl Engine {
    /// Returns the maximum number of bytes of replies for a client of this user.
    #[inline]
    pub(super) fn max_reply_bytes(&self, user: u32) -> usize {
        let free = self.config.max_memory.saturating_sub(self.client_memory);
        let headroom = free.saturating_sub(self.users.get(user).memory);
        self.config.max_reply_bytes.min(headroom.max(MIN_REPLY_BYTES))
    }

    /// Returns true if a client of this user may have this number of bytes of replies.
    #[inline]
    pub(super) fn may_have_replies(&self, user: u32, bytes: usize) -> bool {
        bytes <= self.config.max_reply_bytes.min(MIN_REPLY_BYTES)
            || bytes <= self.max_reply_bytes(user)
    }

    /// Counts the memory of a client's buffers, which may have changed.
    #[inline]
    pub(super) fn count_memory(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        let memory = client.memory();
        let counted = std::mem::replace(&mut client.counted_memory, memory);
        if memory != counted {
            let user = client.user;
            self.client_memory = self.client_memory - counted + memory;
            self.users.change(user, |account| account.memory = account.memory - counted + memory);
        }
    }

    /// Returns the memory of all buffers.
    pub(super) fn memory_in_use(&self) -> usize {
        let upstream = self.upstream.inbox.capacity() + self.upstream.out.capacity();
        self.client_memory + self.pool.bytes() + upstream + self.descriptors.memory()
    }

    /// Disconnects clients until the bound holds.
    pub(super) fn enforce_memory(&mut self) {
        if self.memory_in_use() <= self.config.max_memory {
            return;
        }
        self.pool.clear();
        let connected = self.clients.connected();
        connected.iter().for_each(|client_index| self.count_memory(*client_index));
        while self.memory_in_use() > self.config.max_memory {
            let most = connected.iter().copied().max_by_key(|client_index| {
                let client = self.clients.get(*client_index);
                let (user, memory) = (client.user, client.counted_memory);
                (memory > 0, self.users.get(user).memory, memory)
            });
            match most {
                Some(client_index) if self.clients.get(client_index).counted_memory > 0 => {
                    self.drop_for_memory(client_index);
                }
                _ => return,
            }
        }
    }

    /// Records that there was no memory for bytes of a client. It is disconnected at the end of the event.
    #[cold]
    pub(super) fn mark_starved(&mut self, client_index: u32) {
        self.starved.push(self.clients.id(client_index));
    }

    /// Disconnects the clients for which there was no memory.
    #[cold]
    pub(super) fn drop_starved(&mut self) {
        while let Some(id) = self.starved.pop() {
            if let Some(client_index) = self.clients.index_of(id) {
                self.pool.clear();
                self.drop_for_memory(client_index);
            }
        }
    }

    fn drop_for_memory(&mut self, client_index: u32) {
        self.drop_client(client_index, CloseCause::NoMemory);
        self.notice_limit(client_index, Limit::Memory);
    }

    /// Closes a client, and frees the memory of its output without writing it.
    pub(super) fn drop_client(&mut self, client_index: u32, cause: CloseCause) {
        if self.clients.get(client_index).state != ClientState::Closing {
            self.close_client(client_index);
        }
        self.record_close(client_index, cause);
        self.clients.get(client_index).out.clear();
        self.drop_unpassed(client_index);
        self.mark_dirty(client_index);
        self.count_memory(client_index);
    }
}
