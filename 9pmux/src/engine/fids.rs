//! The upstream fids and their life cycle.
//!
//! An upstream fid has an owner, a state, and the number of upstream requests that refer to it. It is
//! *bound* while its client has a name for it, or while 9pmux keeps it for itself.
//!
//! | state | meaning |
//! |---|---|
//! | pending | The request that creates it has no reply yet. |
//! | live | That request has succeeded: the fid exists at the server. |
//! | uncertain | That request was flushed, or its reply did not fit: the fid may exist, and its client does not have it. |
//! | lost | The reply to 9pmux's own Tclunk did not fit, or the fid is of another program: the fid may exist, and its number is never used again. |
//! | away | The server has gone. The fid existed there, and is restored when the server is back (`restore/`). |
//! | restoring | As for away, and the fid exists at the new server, but cannot be used yet. |
//! | absent | That request has failed, or a Tclunk or Tremove of the fid has a reply: the fid does not exist. |
//!
//! Each transition is one function, and only [`Fids::set_state`] changes the state:
//!
//! | event | function | new state | bound |
//! |---|---|---|---|
//! | a request that creates the fid is sent | [`Fids::allocate`] | pending | yes |
//! | it succeeds | [`Fids::mark_live`] | live | unchanged |
//! | it fails, or walks only a part of the names | `mark_not_created` | absent | no |
//! | it is flushed, or its reply does not fit the request or the msize | `mark_uncertain` | uncertain | no |
//! | a request that releases the fid is sent | `unbind` | unchanged | no |
//! | that request has a reply, even an error | [`Fids::mark_absent`] | absent | unchanged |
//! | the reply to that request does not fit it | `mark_not_released` | uncertain; lost after a Tclunk of 9pmux's own | no |
//! | that request is flushed without a reply | `restore` | unchanged | yes, unless the name is in use |
//! | the client's session ends | [`Fids::transfer`] | unchanged | no |
//! | its client has got a descriptor for it | `give_to_descriptor` | unchanged | yes |
//! | the server has gone | [`Fids::mark_away`], [`Fids::discard`] | away; absent if it is not to be restored | unchanged; no |
//! | a walk of the replay succeeds | [`Fids::mark_restoring`] | restoring | unchanged |
//! | the replay of the fid has succeeded | [`Fids::mark_live`] | live | unchanged |
//! | it cannot be restored | [`Fids::mark_dead`] | absent; uncertain after a walk | no |
//! | unbound, and the last request that refers to it ends | `release_if_unused` | freed if absent, pending or away, kept if lost, else clunked | no |

use std::collections::hash_map::Entry;

use super::Engine;
use super::number_pool::NumberPool;
use super::reply::ReplyOutcome;
use super::requests::UpstreamRequest;
use super::session::FidEntry;
use super::users::NO_USER;
use crate::wire::{NOFID, types};

/// The owner of an upstream request or fid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// 9pmux itself.
    Internal,
    /// The client with this index.
    Client(u32),
    /// The cleanup with this index, of a departed client or of an ended session.
    Cleanup(u32),
    /// The descriptor with this index (`descriptors/`).
    Descriptor(u32),
}

/// Whether a fid exists at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FidState {
    /// The request that creates it has no reply yet.
    Pending,
    /// It exists.
    Live,
    /// It may exist, and its client does not have it. It must be clunked before its number is reused,
    /// because some servers execute requests that they have acknowledged as flushed.
    Uncertain,
    /// It may exist, and the server did not say whether it has clunked it. Its number is never used again.
    Lost,
    /// It existed at a server that has gone, and is restored when the server is back (`restore/`).
    Away,
    /// As for `Away`, and it exists at the new server. It may not be at its file yet, or not open.
    Restoring,
    /// It does not exist.
    Absent,
}

impl FidState {
    /// Returns true if the fid cannot be used before it is restored.
    #[inline]
    pub fn is_away(self) -> bool {
        matches!(self, FidState::Away | FidState::Restoring)
    }
}

/// The record of an upstream fid.
#[derive(Clone, Copy, Debug)]
pub struct Fid {
    pub owner: Owner,
    /// The user that is counted for it, or [`NO_USER`].
    pub user: u32,
    /// The client's number for it.
    pub client_fid: u32,
    /// The number of upstream requests that refer to it.
    pub references: u32,
    pub state: FidState,
    /// Whether its client has a name for it, or 9pmux keeps it for itself.
    pub bound: bool,
    /// Whether a file is open on it.
    pub opened: bool,
}

/// All allocated upstream fids. The records can be read by all modules and are changed here.
#[derive(Default)]
pub struct Fids {
    pool: NumberPool,
    /// The number of a fid that the server has from another program.
    foreign: Option<u32>,
    records: Vec<Fid>,
    /// The number of fids that are away or restoring.
    away: usize,
    /// Memory is returned when there are no more fids than this.
    shrink_at: usize,
}

/// No upstream fid.
pub const NO_FID: u32 = NOFID;

impl Fids {
    /// Returns no fids. No fid ever gets the number `foreign`.
    pub fn without(foreign: Option<u32>) -> Fids {
        Fids { foreign, ..Fids::default() }
    }

    /// Returns the number of allocated fids.
    pub fn len(&self) -> usize {
        self.pool.allocated()
    }

    /// Makes memory for one more record. Returns false if the system has none.
    pub fn reserve(&mut self) -> bool {
        self.records.try_reserve(1).is_ok()
    }

    /// Allocates a pending, bound fid for a client's `client_fid`. The caller must ensure that the
    /// limit of all fids is not reached.
    pub fn allocate(&mut self, client_index: u32, client_fid: u32, user: u32) -> u32 {
        let mut number = self.pool.allocate();
        debug_assert!(number != NO_FID);
        let fid = Fid {
            owner: Owner::Client(client_index),
            user,
            client_fid,
            references: 0,
            state: FidState::Pending,
            bound: true,
            opened: false,
        };
        if self.foreign == Some(number) {
            let (owner, state) = (Owner::Internal, FidState::Lost);
            self.record(number, Fid { owner, user: NO_USER, state, bound: false, ..fid });
            number = self.pool.allocate();
        }
        self.record(number, fid);
        number
    }

    /// Records a fid with a number that was just allocated.
    #[inline]
    fn record(&mut self, number: u32, fid: Fid) {
        match self.records.get_mut(number as usize) {
            Some(record) => *record = fid,
            // The lowest free number is at most one more than the highest number ever allocated.
            None => {
                self.records.push(fid);
                self.shrink_at = self.records.len() / 8;
            }
        }
    }

    /// Allocates a pending fid that 9pmux keeps for itself.
    pub fn allocate_internal(&mut self) -> u32 {
        let number = self.allocate(0, NO_FID, NO_USER);
        self.get_mut(number).owner = Owner::Internal;
        number
    }

    /// Returns the record of an allocated fid.
    #[inline]
    pub fn get(&self, number: u32) -> &Fid {
        &self.records[number as usize]
    }

    #[inline]
    fn get_mut(&mut self, number: u32) -> &mut Fid {
        &mut self.records[number as usize]
    }

    /// Changes the state of a fid: the only place that does.
    #[inline]
    fn set_state(&mut self, number: u32, state: FidState) {
        let before = std::mem::replace(&mut self.get_mut(number).state, state);
        self.away += usize::from(state.is_away());
        self.away -= usize::from(before.is_away());
    }

    /// Returns the number of fids that are away or restoring.
    pub fn away(&self) -> usize {
        self.away
    }

    /// Returns a number that is above those of all fids.
    pub fn highest(&self) -> usize {
        self.records.len()
    }

    /// The server that had the fid has gone.
    pub fn mark_away(&mut self, number: u32) {
        self.set_state(number, FidState::Away);
    }

    /// The new server has the fid, which cannot be used yet.
    pub fn mark_restoring(&mut self, number: u32) {
        self.set_state(number, FidState::Restoring);
    }

    /// The fid cannot be restored, and its client has no name for it any more.
    pub fn mark_dead(&mut self, number: u32) {
        let state = match self.get(number).state {
            FidState::Restoring => FidState::Uncertain,
            _ => FidState::Absent,
        };
        self.set_state(number, state);
        self.get_mut(number).bound = false;
    }

    /// The server that had the fid has gone, and no client needs it.
    pub fn discard(&mut self, number: u32) {
        self.set_state(number, FidState::Absent);
        let record = self.get_mut(number);
        record.bound = false;
        record.owner = Owner::Internal;
    }

    /// Counts one more upstream request that refers to the fid.
    #[inline]
    pub fn add_reference(&mut self, number: u32) {
        self.get_mut(number).references += 1;
    }

    /// Counts one upstream request less. Returns true if the fid is unbound and no request refers to it any more.
    #[inline]
    pub fn drop_reference(&mut self, number: u32) -> bool {
        let record = self.get_mut(number);
        record.references -= 1;
        record.references == 0 && !record.bound
    }

    /// The request that creates the fid has succeeded.
    #[inline]
    pub fn mark_live(&mut self, number: u32) {
        self.set_state(number, FidState::Live);
    }

    /// A request that opens the fid has succeeded.
    pub fn mark_open(&mut self, number: u32) {
        self.get_mut(number).opened = true;
    }

    /// The request that releases the fid has a reply.
    #[inline]
    pub fn mark_absent(&mut self, number: u32) {
        self.set_state(number, FidState::Absent);
    }

    /// Gives a client's fid to a cleanup, unbound. Returns false if a client does not own it.
    pub fn transfer(&mut self, number: u32, cleanup_index: u32) -> bool {
        let record = self.get_mut(number);
        let owned = matches!(record.owner, Owner::Client(_));
        if owned {
            record.owner = Owner::Cleanup(cleanup_index);
            record.bound = false;
        }
        owned
    }

    /// A client releases a fid. If a request of the replay refers to it, its client may leave before that has a
    /// reply: the fid is 9pmux's own until then.
    pub fn keep_for_replay(&mut self, number: u32) {
        let record = self.get_mut(number);
        if record.references > 0 {
            record.owner = Owner::Internal;
        }
    }

    /// Frees a fid that does not exist at the server and that no request refers to.
    fn free(&mut self, number: u32) {
        self.pool.free(number);
        self.get_mut(number).owner = Owner::Internal;
        self.set_state(number, FidState::Absent);
        if self.len() <= self.shrink_at {
            self.shrink();
        }
    }

    /// Returns memory of the records above the highest fid. The next time is when half of the fids have been
    /// freed, so that the cost of a fid does not depend on their number.
    #[cold]
    fn shrink(&mut self) {
        let used = self.pool.shrink();
        self.records.truncate(used);
        self.records.shrink_to_fit();
        self.shrink_at = self.len() / 2;
    }

    /// Returns the number of records that there is memory for.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.records.capacity()
    }

    pub fn is_allocated(&self, number: u32) -> bool {
        self.pool.is_allocated(number)
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn records(&self) -> &[Fid] {
        &self.records
    }
}

impl Engine {
    /// Applies the reply of a request to the fids that the request creates and releases.
    #[inline(always)]
    pub(super) fn apply_to_fids(&mut self, request: &UpstreamRequest, outcome: ReplyOutcome) {
        if request.creates != NO_FID {
            match outcome {
                ReplyOutcome::Success => self.fids.mark_live(request.creates),
                ReplyOutcome::Unknown => self.mark_uncertain(request.creates),
                ReplyOutcome::Error | ReplyOutcome::PartialWalk => {
                    self.mark_not_created(request.creates);
                }
            }
        }
        if request.releases != NO_FID {
            match outcome {
                ReplyOutcome::Unknown => self.mark_not_released(request),
                _ => self.fids.mark_absent(request.releases),
            }
        }
        let opens =
            matches!(request.kind, types::TOPEN | types::TCREATE | types::TLOPEN | types::TLCREATE);
        if opens && outcome == ReplyOutcome::Success {
            self.fids.mark_open(request.fids[0]);
        }
    }

    /// The reply to a request that releases the fid does not fit it. After a client's request the fid is
    /// clunked, but only once: a server that replies to Tclunk with anything must not be asked for ever.
    fn mark_not_released(&mut self, request: &UpstreamRequest) {
        let is_own = request.kind == types::TCLUNK && request.owner == Owner::Internal;
        let state = if is_own { FidState::Lost } else { FidState::Uncertain };
        if self.fids.get(request.releases).state != FidState::Absent {
            self.fids.set_state(request.releases, state);
        }
    }

    /// The request that creates the fid has failed.
    pub(super) fn mark_not_created(&mut self, fid: u32) {
        self.fids.set_state(fid, FidState::Absent);
        self.unbind(fid);
    }

    /// The request that creates the fid was flushed, or its reply does not fit the client's msize. By the
    /// protocol a flushed request was not executed, but some servers execute it all the same.
    pub(super) fn mark_uncertain(&mut self, fid: u32) {
        self.fids.set_state(fid, FidState::Uncertain);
        self.unbind(fid);
    }

    /// Removes the client's name for the fid, if it has one.
    pub(super) fn unbind(&mut self, fid: u32) {
        let record = self.fids.get_mut(fid);
        if record.bound {
            record.bound = false;
            if let Owner::Client(client_index) = record.owner {
                let name = record.client_fid;
                let client = self.clients.get(client_index);
                client.session.fids.remove(&name);
                client.session.shrink_fids();
                let has_waiting_reads = !client.waiting_reads.is_empty();
                self.clients.count_firsts(client_index);
                if has_waiting_reads {
                    self.refuse_waiting_reads_of(client_index, name);
                }
            }
        }
    }

    /// Gives a client's fid to a descriptor. The client has no name for it any more.
    pub(super) fn give_to_descriptor(&mut self, fid: u32, descriptor: u32) {
        self.unbind(fid);
        let record = self.fids.get_mut(fid);
        record.bound = true;
        let owner = std::mem::replace(&mut record.owner, Owner::Descriptor(descriptor));
        if let Owner::Client(client_index) = owner {
            self.clients.get(client_index).session.remove_auth(fid);
        }
    }

    /// The request that releases the fid was flushed without a reply. The fid is bound again, unless its
    /// client uses the name for another fid, or the fid was never created.
    pub(super) fn restore(&mut self, fid: u32) {
        let record = self.fids.get_mut(fid);
        let Owner::Client(client_index) = record.owner else {
            return;
        };
        if !matches!(record.state, FidState::Live | FidState::Pending) && !record.state.is_away() {
            return;
        }
        let session = &mut self.clients.get(client_index).session;
        if session.is_local(record.client_fid) {
            return;
        }
        if let Entry::Vacant(place) = session.fids.entry(record.client_fid) {
            place.insert(FidEntry::upstream(fid));
            record.bound = true;
            self.clients.count_firsts(client_index);
        }
    }

    /// Frees or clunks the fid if it is unbound and no upstream request refers to it. Must be called after
    /// each event that unbinds a fid.
    #[inline(always)]
    pub(super) fn release_if_unused(&mut self, fid: u32) {
        let record = self.fids.get(fid);
        if !record.bound && record.references == 0 {
            self.release(fid);
        }
    }

    /// A request that refers to the fid has ended. Releases the fid as `release_if_unused` does.
    #[inline(always)]
    pub(super) fn drop_reference(&mut self, fid: u32) {
        if self.fids.drop_reference(fid) {
            self.release(fid);
        }
    }

    /// Frees or clunks a fid that is unbound and that no upstream request refers to.
    fn release(&mut self, fid: u32) {
        let record = self.fids.get_mut(fid);
        let owner = record.owner;
        match record.state {
            FidState::Live | FidState::Uncertain | FidState::Restoring => {
                if let Owner::Client(_) | Owner::Descriptor(_) = owner {
                    record.owner = Owner::Internal;
                }
                self.upstream.deferred_clunks.push(record.user, fid);
                if record.state == FidState::Restoring {
                    self.fids.set_state(fid, FidState::Uncertain);
                    self.forget_place(fid);
                }
            }
            state => {
                let user = record.user;
                if let Owner::Cleanup(_) = owner {
                    self.users.change(user, |account| account.departed_fids -= 1);
                }
                if state == FidState::Lost {
                    record.owner = Owner::Internal;
                } else {
                    self.fids.free(fid);
                    self.forget_place(fid);
                    self.users.change(user, |account| account.fids -= 1);
                }
                if let Owner::Cleanup(cleanup_index) = owner {
                    self.cleanup_progress(cleanup_index);
                }
            }
        }
        if let Owner::Client(client_index) = owner {
            self.clients.get(client_index).session.remove_auth(fid);
        }
    }
}
