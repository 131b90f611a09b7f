//! A session: everything that a client owns upstream from one Tversion to the next one, or to its
//! disconnection.
//!
//! A client always has a session, which is empty until its version is agreed. Ending a session is
//! taking it ([`Session::take`]): the client is left with an empty one, and its previous requests and
//! fids become a cleanup (`cleanup.rs`) or, when the server has gone, are dropped (`end.rs`).

use std::collections::HashMap;

use super::client_tags::ClientTags;
use super::control::LocalFids;
use super::descriptors::Opening;
use super::flush::ClientFlush;
use super::hasher::SeededState;
use super::local_error::LocalError;
use super::requests::UpstreamRequest;
use crate::wire::{Dialect, types};

/// An auth fid, and the user and tree that it may be used for.
pub struct AuthFid {
    /// The upstream fid.
    pub fid: u32,
    /// The fields uname and aname and, where the dialect has one, the numeric uid, as in the Tauth.
    pub names: Box<[u8]>,
}

/// The memory that is counted for an auth fid with short names.
const MIN_AUTH_MEMORY: usize = 64;

/// Returns the memory that is counted for an auth fid with these names.
pub fn auth_memory(names: &[u8]) -> usize {
    names.len().max(MIN_AUTH_MEMORY)
}

/// The object that a client's fid names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFid {
    /// This upstream fid.
    Upstream(u32),
    /// Nothing any more: the server that had it has gone (`away.rs`).
    Dead(DeadFid),
}

/// The facts that are known of a dead fid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadFid {
    /// Whether a file was open on it.
    pub was_open: bool,
    pub reason: DeadReason,
}

/// The reason for which a fid is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// The server has come back without its file.
    Gone,
    /// It may have held a lock.
    LockLost,
    /// It was reached by authentication.
    Authenticated,
    /// An extended attribute was being written, which the Tclunk should have made effective.
    Unfinished,
    /// The server has not replied when its file was opened again.
    Blocked,
}

impl DeadFid {
    /// Returns the error that a request of this type gets.
    pub fn error(self, kind: u8) -> LocalError {
        match (kind, self.reason) {
            // Linux looks the name up again.
            (types::TGETATTR | types::TSTAT, _) if !self.was_open => LocalError::NoSuchFile,
            (types::TWALK, _) => LocalError::FileGone,
            (types::TCLUNK, DeadReason::Unfinished) => LocalError::MaybeDone,
            (_, DeadReason::Gone | DeadReason::Unfinished) => LocalError::FileGone,
            (_, DeadReason::LockLost) => LocalError::LockLost,
            (_, DeadReason::Blocked) => LocalError::NotReopened,
            (_, DeadReason::Authenticated) => LocalError::AuthenticateAgain,
        }
    }
}

/// A [`ClientFid`] in the space of an upstream fid: a client may have millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FidEntry(u32);

impl FidEntry {
    /// The lowest number of a dead fid: two for each reason.
    const DEAD: u32 = u32::MAX - 10;

    #[inline]
    pub fn upstream(fid: u32) -> FidEntry {
        debug_assert!(fid < FidEntry::DEAD);
        FidEntry(fid)
    }

    pub fn dead(dead: DeadFid) -> FidEntry {
        FidEntry(FidEntry::DEAD + 2 * dead.reason as u32 + u32::from(dead.was_open))
    }

    #[inline]
    pub fn get(self) -> ClientFid {
        if self.0 < FidEntry::DEAD { ClientFid::Upstream(self.0) } else { self.get_dead() }
    }

    #[cold]
    fn get_dead(self) -> ClientFid {
        let code = self.0 - FidEntry::DEAD;
        let reason = match code / 2 {
            0 => DeadReason::Gone,
            1 => DeadReason::LockLost,
            2 => DeadReason::Authenticated,
            3 => DeadReason::Unfinished,
            _ => DeadReason::Blocked,
        };
        ClientFid::Dead(DeadFid { was_open: code % 2 == 1, reason })
    }

    /// Returns the upstream fid, if there is one.
    #[inline]
    pub fn live(self) -> Option<u32> {
        match self.get() {
            ClientFid::Upstream(fid) => Some(fid),
            ClientFid::Dead(_) => None,
        }
    }
}

/// Everything that a client owns upstream.
pub struct Session {
    /// The maximum length of a message; 0 until a version is agreed.
    pub msize: u32,
    /// The dialect, which error replies have the form of; 9P2000 until a version is agreed.
    pub dialect: Dialect,
    /// The upstream tag of each client tag in flight.
    pub tags: ClientTags,
    /// The object of each fid of the client.
    pub fids: HashMap<u32, FidEntry, SeededState>,
    /// The number of dead fids among them.
    pub dead_fids: u32,
    /// The fids in the control tree, if there are some.
    pub local: Option<Box<LocalFids>>,
    /// The Tflush without a reply, in the order of arrival.
    pub flushes: Vec<ClientFlush>,
    /// The auth fids among `fids`.
    auths: Vec<AuthFid>,
    /// The memory of the auth fids.
    auth_memory: usize,
    /// The Topenfd without a reply.
    pub openings: Vec<Opening>,
    /// Whether it has attached by the attach that clients share, or is about to.
    pub uses_shared_attach: bool,
    /// The sum of the maximum reply lengths of the requests in `tags`.
    reply_bytes_reserved: usize,
    /// The number of Tread in `tags`.
    reads: u32,
    /// The sum of the costs of the requests in `tags`.
    cost: usize,
    /// The number of requests in `tags` with a reply that may exceed its maximum length.
    unbounded: u32,
    /// The largest number of bytes by which such a reply has exceeded it, once there has been one.
    pub max_excess: Option<u32>,
    /// The bytes of the copies of the requests in `tags`, which are kept for a loss of the server (`restore/`).
    pub copied: usize,
}

impl Session {
    /// Returns an empty session.
    pub fn new(hasher: SeededState) -> Session {
        Session {
            msize: 0,
            dialect: Dialect::Plain,
            tags: ClientTags::new(hasher),
            fids: HashMap::with_hasher(hasher),
            dead_fids: 0,
            local: None,
            flushes: Vec::new(),
            auths: Vec::new(),
            auth_memory: 0,
            openings: Vec::new(),
            uses_shared_attach: false,
            reply_bytes_reserved: 0,
            reads: 0,
            cost: 0,
            unbounded: 0,
            max_excess: None,
            copied: 0,
        }
    }

    /// Ends the session: returns it, and leaves an empty one.
    pub fn take(&mut self) -> Session {
        let empty = Session::new(self.hasher());
        std::mem::replace(self, empty)
    }

    /// Returns true if the session has no fid and nothing upstream.
    #[cfg(any(test, mux_fuzz))]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.fids.is_empty() && self.flushes.is_empty()
    }

    /// Returns true if a request or fid of the session is upstream.
    pub fn has_anything_upstream(&self) -> bool {
        let is_live = |entry: &FidEntry| entry.live().is_some();
        !self.tags.is_empty() || !self.flushes.is_empty() || self.fids.values().any(is_live)
    }

    /// Returns the number of fids in the control tree.
    pub fn local_fids(&self) -> usize {
        self.local.as_ref().map_or(0, |local| local.len())
    }

    /// Returns the number of all fids.
    pub fn fid_count(&self) -> usize {
        self.fids.len() + self.local_fids()
    }

    /// Returns true if the client uses this name for a fid in the control tree.
    pub fn is_local(&self, name: u32) -> bool {
        self.local.as_ref().is_some_and(|local| local.contains(name))
    }

    /// Returns the hasher of the session's tables.
    pub fn hasher(&self) -> SeededState {
        *self.fids.hasher()
    }

    /// Adds an auth fid.
    pub fn add_auth(&mut self, fid: u32, names: &[u8]) {
        self.auth_memory += auth_memory(names);
        self.auths.push(AuthFid { fid, names: names.into() });
    }

    /// Removes the auth fid, if it is one.
    #[inline]
    pub fn remove_auth(&mut self, fid: u32) {
        if let Some(i) = self.auths.iter().position(|auth| auth.fid == fid) {
            self.auth_memory -= auth_memory(&self.auths[i].names);
            self.auths.swap_remove(i);
        }
    }

    /// Returns the auth fids.
    pub fn auths(&self) -> &[AuthFid] {
        &self.auths
    }

    /// Returns the memory of the auth fids and their names.
    #[inline]
    pub fn auth_memory(&self) -> usize {
        self.auth_memory
    }

    /// Returns memory of the table of fids if the table was once much larger. Should be called after
    /// a fid was removed.
    pub fn shrink_fids(&mut self) {
        if self.fids.capacity() > 64 && self.fids.len() < self.fids.capacity() / 8 {
            self.fids.shrink_to(self.fids.len() * 2);
        }
    }

    /// Returns the sum of the maximum reply lengths of the requests in `tags`.
    #[cfg(any(test, mux_fuzz))]
    pub fn reply_bytes_reserved(&self) -> usize {
        self.reply_bytes_reserved
    }

    /// Returns the number of bytes of replies that are expected for the requests in `tags`.
    #[inline]
    pub fn expected_reply_bytes(&self) -> usize {
        self.reply_bytes_reserved + self.unbounded as usize * self.max_excess.unwrap_or(0) as usize
    }

    /// A request that may exceed its maximum reply length has this reply.
    #[inline]
    pub fn count_excess(&mut self, request: &UpstreamRequest, len: usize) {
        let excess = (len as u32).saturating_sub(request.max_reply_len);
        self.max_excess = self.max_excess.max(Some(excess));
    }

    /// Returns the number of Tread in `tags`.
    #[inline]
    pub fn reads(&self) -> usize {
        self.reads as usize
    }

    /// Returns the sum of the costs of the requests in `tags`.
    #[inline]
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Adds the client's tag of a request, with all that is counted for it.
    #[inline(always)]
    pub fn add_tag(&mut self, request: &UpstreamRequest, upstream_tag: u16) {
        self.tags.insert(request.tag, upstream_tag);
        self.reply_bytes_reserved += request.max_reply_len as usize;
        self.unbounded += u32::from(request.has_unbounded_reply);
        self.reads += u32::from(request.kind == types::TREAD);
        self.cost += request.cost as usize;
    }

    /// A request in `tags` counts for this cost again.
    pub fn add_cost(&mut self, cost: u32) {
        self.cost += cost as usize;
    }

    /// A request in `tags` does not count for its cost any more.
    pub fn remove_cost(&mut self, cost: u32) {
        self.cost -= cost as usize;
    }

    /// Removes the client's tag of a request, with all that is counted for it.
    #[inline(always)]
    pub fn remove_tag(&mut self, request: &UpstreamRequest) {
        self.tags.remove(request.tag);
        self.reply_bytes_reserved -= request.max_reply_len as usize;
        self.unbounded -= u32::from(request.has_unbounded_reply);
        self.cost -= request.cost as usize;
        if request.kind == types::TREAD {
            self.reads -= 1;
        }
    }

    /// Returns memory of the list of flushes if it is empty. Should be called after a flush was
    /// removed.
    pub fn shrink_flushes(&mut self) {
        if self.flushes.is_empty() && self.flushes.capacity() > 8 {
            self.flushes = Vec::new();
        }
    }
}
