//! A client's knowledge of its fids, from its own messages alone.
//!
//! The last request that creates or releases a fid determines the fid's state when it has its reply or is flushed.
//! A released fid is absent at once. If it turns out that the fid was not released, or if two replies cannot be told
//! apart, later requests for the fid are in doubt: nothing is expected of them.

use std::collections::BTreeMap;

use crate::engine::local_error::LocalError;
use crate::wire::{
    Dialect, FidUse, FieldOffsets, NOFID, check_request, kind, types, u16_at, u32_at,
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Absent,
    Live,
    /// Live, and an auth fid.
    Auth,
    Unknown,
}

/// The fids of one session; those that are not in the table are absent.
#[derive(Default)]
pub struct Names {
    states: BTreeMap<u32, (State, u64)>,
    /// The names that each auth fid was created for, if they are known.
    auths: BTreeMap<u32, Option<Vec<u8>>>,
    requests: u64,
}

/// The expected fate of a request, as far as it is known when the request is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Intent {
    /// The request must fail with this error, unless it fails for another reason than its fids.
    pub error: Option<LocalError>,
    /// The request must fail for one of its fids.
    pub never: bool,
    /// All fids have the state that the request needs.
    pub sure: bool,
    /// The fid may have been in another state.
    doubted: bool,
    fids: [Option<u32>; 2],
    change: Option<Change>,
    number: u64,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    fid: u32,
    /// The fid's state after success.
    after: State,
    /// A failure leaves the fid as it is.
    only_on_success: bool,
    before: State,
    /// The number of the last request before it that changes the fid.
    previous: u64,
}

impl Change {
    /// Returns true if the fid is absent whatever the reply.
    fn releases(self) -> bool {
        self.after == State::Absent && !self.only_on_success
    }
}

/// What the outcome of a request means for later requests that name its fid.
#[derive(Clone, Copy)]
pub enum Consequence {
    /// They are in doubt.
    Doubt { fid: u32, number: u64 },
    /// The fid had this state before the next request that changes it.
    Known { fid: u32, number: u64, state: State },
}

/// The outcome of a request.
#[derive(Clone, Copy, PartialEq)]
pub enum FidOutcome {
    Success,
    /// The server has refused it.
    Failure,
    /// It has not reached the server, or was flushed.
    Nothing,
    /// Its fid does not exist.
    NoFid,
    Unknown,
}

impl Intent {
    /// Records that the fid may be in another state than was assumed, if this request is later than `number`. Returns
    /// the fid that the request may change for this reason, and the request's number.
    pub fn doubt(&mut self, fid: u32, number: u64) -> Option<(u32, u64)> {
        if self.number <= number || !self.fids.contains(&Some(fid)) {
            return None;
        }
        self.doubted = true;
        let never = self.never;
        (self.error, self.never, self.sure) = (None, false, false);
        let change = self.change.as_mut().filter(|change| never || change.fid == fid)?;
        change.before = State::Unknown;
        Some((change.fid, self.number))
    }

    /// Records the fid's state before this request, if it is the next after `number` that changes the fid.
    pub fn learn(&mut self, fid: u32, number: u64, state: State) {
        if let Some(change) = self.change.as_mut().filter(|change| change.fid == fid) {
            if change.previous == number && change.before == State::Unknown {
                change.before = state;
            }
        }
    }
}

impl Names {
    fn state(&self, fid: u32) -> State {
        self.states.get(&fid).map_or(State::Absent, |state| state.0)
    }

    /// Returns the first of the fids below `n`, beginning with `start`, that is in one of the states.
    pub fn find(&self, n: u32, start: u32, states: &[State]) -> Option<u32> {
        (0..n).map(|i| (start + i) % n).find(|fid| states.contains(&self.state(*fid)))
    }

    /// Records that a request is sent. `alone` says that no other request has its tag.
    pub fn sent(&mut self, dialect: Dialect, message: &[u8], alone: bool) -> Intent {
        let Ok(offsets) = check_request(dialect, message) else {
            return Intent::default();
        };
        self.requests += 1;
        let mut intent = Intent { sure: true, number: self.requests, ..Intent::default() };
        for (i, &(offset, fid_use)) in offsets.fids().iter().enumerate() {
            let fid = u32_at(message, offset as usize);
            let moves = fid_use == FidUse::CreatesOnFullWalk
                && fid == u32_at(message, offsets.fids()[0].0 as usize);
            if moves || fid_use.is_no_fid(fid) {
                continue;
            }
            intent.fids[i] = Some(fid);
            let before = self.state(fid);
            let creates = creates(fid_use);
            let error = match (creates, before) {
                (true, _) if fid == NOFID => Some(LocalError::BadFid),
                (_, State::Unknown) if fid != NOFID => {
                    intent.sure = false;
                    None
                }
                (true, State::Live | State::Auth) => Some(LocalError::FidInUse),
                (false, State::Live) if fid_use == FidUse::Authenticates => {
                    Some(LocalError::NotAuth)
                }
                (false, State::Auth) if fid_use == FidUse::Authenticates => {
                    let made_for = self.auths.get(&fid).and_then(Option::as_deref);
                    intent.sure &= made_for.is_some();
                    let other = made_for.is_some_and(|n| n != names(message, &offsets));
                    other.then_some(LocalError::OtherAuth)
                }
                (false, State::Absent | State::Unknown) => Some(LocalError::UnknownFid),
                _ => None,
            };
            if error.is_some() && !intent.never {
                intent.never = true;
                // An earlier fid, of which nothing is known, may be refused first.
                intent.error = error.filter(|_| intent.sure);
            }
            let after = match fid_use {
                FidUse::CreatesAuth => State::Auth,
                _ if creates => State::Live,
                FidUse::Releases | FidUse::ReleasesOnSuccess => State::Absent,
                _ => continue,
            };
            let only_on_success = fid_use != FidUse::Releases;
            let previous = self.states.get(&fid).map_or(0, |state| state.1);
            intent.change = Some(Change { fid, after, only_on_success, before, previous });
        }
        intent.sure &= !intent.never;
        if let Some(change) = intent.change.filter(|_| !intent.never) {
            let known = change.releases() && intent.sure && alone;
            let state = if known { State::Absent } else { State::Unknown };
            self.states.insert(change.fid, (state, self.requests));
            if change.after == State::Auth {
                let known = change.before == State::Absent;
                let made_for = known.then(|| names(message, &offsets).to_vec());
                self.auths.insert(change.fid, made_for);
            }
        }
        intent
    }

    /// Records that nothing is known of a fid until the request with this number has its reply, or a later one that
    /// changes the fid.
    pub fn forget(&mut self, fid: u32, number: u64) {
        let last = self.states.entry(fid).or_insert((State::Unknown, number));
        *last = (State::Unknown, last.1.max(number));
    }

    /// Records the outcome of a request.
    pub fn settle(&mut self, intent: Intent, outcome: FidOutcome) -> Option<Consequence> {
        let change = intent.change.filter(|_| !intent.never)?;
        let (fid, number) = (change.fid, intent.number);
        let state = match (outcome, change.after) {
            (FidOutcome::Unknown, _) => State::Unknown,
            // An earlier release that was flushed may have been undone since this one was sent.
            (FidOutcome::Success, State::Absent) if intent.doubted => State::Unknown,
            (FidOutcome::Success, after) => after,
            (FidOutcome::Failure | FidOutcome::NoFid, _) if change.releases() => State::Absent,
            _ => change.before,
        };
        let released = change.releases();
        let doubt = released && matches!(outcome, FidOutcome::Nothing | FidOutcome::Unknown);
        let last = self.states.get_mut(&fid)?;
        if last.1 == number {
            last.0 = state;
        } else if doubt {
            last.0 = State::Unknown;
        } else {
            return Some(Consequence::Known { fid, number, state });
        }
        doubt.then_some(Consequence::Doubt { fid, number })
    }
}

fn creates(fid_use: FidUse) -> bool {
    matches!(fid_use, FidUse::Creates | FidUse::CreatesAuth | FidUse::CreatesOnFullWalk)
}

/// Returns the index of the fid that a request creates, if any.
pub fn created(message: &[u8], offsets: &FieldOffsets) -> Option<usize> {
    let fid = |i: usize| u32_at(message, offsets.fids[i].0 as usize);
    offsets.fids().iter().enumerate().position(|(i, (_, fid_use))| match fid_use {
        FidUse::CreatesOnFullWalk => fid(i) != fid(0),
        _ => creates(*fid_use),
    })
}

/// Returns the fields behind the fids of a Tauth or Tattach: the names of the user and the tree.
pub fn names<'a>(message: &'a [u8], offsets: &FieldOffsets) -> &'a [u8] {
    let last = offsets.fids().last().expect("each of them has a fid").0 as usize;
    &message[last + 4..offsets.end as usize]
}

/// Returns the outcome that the server's reply to a request states.
pub fn outcome(dialect: Dialect, request: &[u8], reply: &[u8]) -> FidOutcome {
    if [types::RERROR, types::RLERROR].contains(&kind(reply)) {
        return FidOutcome::Failure;
    }
    let partial = check_request(dialect, request).is_ok_and(|offsets| {
        kind(request) == types::TWALK && u16_at(reply, 7) < offsets.name_count
    });
    if partial { FidOutcome::Failure } else { FidOutcome::Success }
}
