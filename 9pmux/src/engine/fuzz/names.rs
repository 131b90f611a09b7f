//! What a client can know of its fids from what it has asked and has been told.
//!
//! The last request that creates or releases a fid decides, once it is answered or flushed. Until then
//! nothing is said of that fid, and neither where which request was answered is not to be known.

use std::collections::BTreeMap;

use crate::wire::{Dialect, FidUse, NOFID, check_request, types, u32_at};

#[derive(Clone, Copy, PartialEq)]
enum State {
    Absent,
    Live,
    Unknown,
}

/// All fids of one session; those that are not in the table are absent.
#[derive(Default)]
pub struct Names {
    states: BTreeMap<u32, (State, u64)>,
    requests: u64,
}

/// What a request does, as far as it can be known when it is sent.
#[derive(Clone, Copy, Default)]
pub struct Intent {
    /// It can not go on: a fid is not there, or is there already.
    pub never: bool,
    /// No fid is in its way.
    pub sure: bool,
    change: Option<Change>,
}

#[derive(Clone, Copy)]
struct Change {
    fid: u32,
    creates: bool,
    before: State,
    number: u64,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq)]
pub enum Became {
    Done,
    /// By the server.
    Failed,
    /// It has not reached the server, or has not happened.
    Nothing,
    Unknown,
}

impl Names {
    fn state(&self, fid: u32) -> State {
        self.states.get(&fid).map_or(State::Absent, |state| state.0)
    }

    /// A request is sent.
    pub fn sent(&mut self, dialect: Dialect, message: &[u8]) -> Intent {
        let Ok(offsets) = check_request(dialect, message) else {
            return Intent::default();
        };
        let fid = |at: u32| u32_at(message, at as usize);
        let mut intent = Intent { never: false, sure: true, change: None };
        let mut change = None;
        for &(at, fid_use) in offsets.fids() {
            let fid_here = fid(at);
            let moves =
                fid_use == FidUse::CreatesOnFullWalk && fid_here == fid(offsets.fids()[0].0);
            if moves || fid_use.is_no_fid(fid_here) {
                continue;
            }
            let state = self.state(fid_here);
            let creates = matches!(
                fid_use,
                FidUse::Creates | FidUse::CreatesAuth | FidUse::CreatesOnFullWalk
            );
            let fits = if creates { State::Absent } else { State::Live };
            intent.never |= fid_here == NOFID || (state != fits && state != State::Unknown);
            intent.sure &= fid_here != NOFID && state == fits;
            if creates || fid_use == FidUse::Releases {
                change = Some((fid_here, creates, state));
            }
        }
        // Of what goes nowhere, nothing comes.
        if let (Some((fid, creates, before)), false) = (change, intent.never) {
            self.requests += 1;
            let number = self.requests;
            self.states.insert(fid, (State::Unknown, number));
            intent.change = Some(Change { fid, creates, before, number });
        }
        intent
    }

    /// Something has become of it.
    pub fn became(&mut self, intent: Intent, became: Became) {
        let Some(change) = intent.change else {
            return;
        };
        let Some(state) = self.states.get_mut(&change.fid) else {
            return;
        };
        if state.1 != change.number {
            return;
        }
        state.0 = match (became, change.creates) {
            (Became::Unknown, _) => State::Unknown,
            (Became::Done, true) => State::Live,
            (Became::Done | Became::Failed, false) => State::Absent,
            (Became::Failed | Became::Nothing, _) => change.before,
        };
    }
}

/// What a reply says became of it.
pub fn became(dialect: Dialect, request: &[u8], reply: &[u8], server: bool) -> Became {
    if [types::RERROR, types::RLERROR].contains(&reply[4]) {
        return if server { Became::Failed } else { Became::Nothing };
    }
    // A walk that has not got to its end has failed.
    let partly = check_request(dialect, request).is_ok_and(|offsets| {
        request[4] == types::TWALK && crate::wire::u16_at(reply, 7) < offsets.name_count
    });
    if partly { Became::Failed } else { Became::Done }
}
