//! The replay: fids are walked to on a new connection (`walks.rs`), and opened (`reopening.rs`).
//!
//! Each fid keeps its number, and has at most one request of the replay at the server. Walks of different fids do
//! not wait for each other; a path of more names than a Twalk may have takes further ones, each after the reply to
//! the one before, because some servers look a fid up when a request arrives.
//!
//! The first request of a client is sent after three round trips (Tversion, Tattach, Twalk), and after a fourth if its
//! fid was open. None of them can be saved: a Twalk that is sent with its Tattach fails at servers that look a fid up
//! when a request arrives, and a file must not be opened or used before its qid is known to be the same.
//!
//! | order | what | as many as |
//! |---|---|---|
//! | 1 | identities | there is room for |
//! | 2 | fids that waiting requests name, in the order of waiting | there is room for |
//! | 3 | open fids, then the others | half of the room, and [`MAX_BACKGROUND`] |

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::names::Names;
use super::roots::{RootState, Roots};
use super::{Restore, RestoreEvent};
use crate::engine::fids::{NO_FID, Owner};
use crate::engine::reply::ReplyOutcome;
use crate::engine::requests::UpstreamRequest;
use crate::engine::session::DeadReason;
use crate::engine::{EndReason, Engine};

/// The time after which a request that has failed for the moment is repeated.
pub const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The maximum number of requests for idle fids at the server. A request for a fid that a client waits for stands
/// behind them.
const MAX_BACKGROUND: usize = 1024;

/// The length of a reply to a request of the replay, for the window.
const REPLY_COST: u32 = 256;

/// A task of the replay: at most one request at the server at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Attach this identity.
    Root(u32),
    /// Walk to this fid.
    Walk(u32),
    /// Open this fid.
    Open(u32),
    /// Take the lock of this fid with this number.
    Lock(u32, usize),
}

/// A task, and the part of it that the next request does.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub task: Task,
    /// The node that the fid is at, before a walk; the identity for the first one.
    pub from: u32,
    /// The node that the fid is at if the walk succeeds.
    pub to: u32,
    /// The number of changes of names when the request was sent.
    pub changes: u64,
    /// The number of requests of the replay that were sent before.
    pub number: u64,
    /// The number of times that it was repeated because names had changed.
    pub tries: u8,
}

impl Step {
    pub fn new(task: Task, from: u32) -> Step {
        Step { task, from, to: from, changes: 0, number: 0, tries: 0 }
    }
}

/// The state of a replay.
#[derive(Default)]
pub struct Replay {
    pub roots: Roots,
    pub due_roots: VecDeque<u32>,
    /// The number of identities with a Tattach at the server.
    pub asked_roots: usize,
    /// The fids that requests wait for, in order.
    wanted: VecDeque<u32>,
    /// The number of fids that are wanted and not restored.
    wanted_left: usize,
    open: VecDeque<u32>,
    idle: VecDeque<u32>,
    /// Steps for which there was no tag.
    pending: VecDeque<Step>,
    /// Steps that are tried again, by time.
    pub later: VecDeque<(Duration, Step)>,
    /// The steps at the server, by upstream tag.
    steps: BTreeMap<u16, Step>,
    /// The number of requests that were sent.
    sent: u64,
    /// The time at which the server must have replied to one of them.
    silent_until: Option<Duration>,
    /// The numbers of fids that were restored on this connection, and that are dead since the loss.
    back: usize,
    gone: usize,
}

impl Replay {
    /// Forgets the attempt, because the connection is lost.
    pub fn stop(&mut self, names: &mut Names) {
        for node in std::mem::take(&mut self.roots).into_keys() {
            names.release(node);
        }
        *self = Replay { gone: self.gone, ..Replay::default() };
    }

    pub fn count_gone(&mut self) {
        self.gone += 1;
    }

    pub fn forget_gone(&mut self) {
        self.gone = 0;
    }

    /// Returns the time at which something must be done, if any.
    pub fn deadline(&self) -> Option<Duration> {
        let later = self.later.front().map(|(due, _)| *due);
        later.into_iter().chain(self.silent_until).min()
    }

    /// Returns its requests at the server, by upstream tag.
    pub fn steps(&self) -> &BTreeMap<u16, Step> {
        &self.steps
    }

    /// Sets the time until which the server must reply to one of them, if any is at the server.
    pub fn wait_until(&mut self, until: Duration) {
        let is_asking = !self.steps.is_empty();
        self.silent_until = is_asking.then_some(until).filter(|t| *t != Duration::MAX);
    }

    /// Returns the steps that are not at the server.
    #[cfg(any(test, mux_fuzz))]
    pub fn waiting_steps(&self) -> impl Iterator<Item = &Step> {
        self.pending.iter().chain(self.later.iter().map(|(_, step)| step))
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn wanted_left(&self) -> usize {
        self.wanted_left
    }
}

impl Restore {
    /// Appends a fid to the queue that it belongs to.
    pub fn enqueue(&mut self, fid: u32) {
        let place = self.places.get(fid);
        let queue = match (place.is_wanted, place.is_open) {
            (true, _) => &mut self.replay.wanted,
            (false, true) => &mut self.replay.open,
            (false, false) => &mut self.replay.idle,
        };
        queue.push_back(fid);
    }

    /// Records that no request waits for the fid any more.
    pub fn unwant(&mut self, fid: u32) {
        if std::mem::take(&mut self.places.get_mut(fid).is_wanted) {
            self.replay.wanted_left -= 1;
        }
    }
}

impl Engine {
    /// Begins to restore the fids of sessions, which have the version of the new connection.
    pub(in crate::engine) fn begin_replay(&mut self) {
        self.upstream.begin_replay();
        let is_restorable = |restore: &Restore, fid: u32| {
            restore.places.get(fid).node().is_some_and(|n| restore.names.living_root(n).is_some())
        };
        let shared = self.shared_attach_fid().filter(|fid| self.fids.get(*fid).state.is_away());
        if let (Some(fid), Some(restore)) = (shared, &self.restore) {
            if !is_restorable(restore, fid) || !self.is_shared_attach_used() {
                // It is not added to the identities below, and clients must not wait for it.
                self.forget_shared_attach(fid);
            }
        }
        let Some(restore) = &mut self.restore else {
            return;
        };
        for fid in 0..self.fids.highest() as u32 {
            let record = self.fids.get(fid);
            if !record.state.is_away() {
                continue;
            }
            let place = restore.places.get(fid);
            let is_of_client = record.owner != Owner::Internal;
            if let Some(root) = place.node().and_then(|node| restore.names.living_root(node)) {
                restore.add_root(root, is_of_client.then_some(fid));
            }
            if !place.is_wanted && is_of_client {
                restore.enqueue(fid);
            }
        }
        for client_index in restore.held.clients() {
            restore.held.wake(client_index);
        }
    }

    /// Records that a request waits for the fid, which is not restored.
    pub(super) fn want(&mut self, fid: u32) {
        if let (Owner::Internal, Some(_)) | (_, None) = (self.fids.get(fid).owner, &self.restore) {
            return;
        }
        if let Some(restore) = &mut self.restore {
            if !std::mem::replace(&mut restore.places.get_mut(fid).is_wanted, true) {
                restore.replay.wanted_left += 1;
                restore.replay.wanted.push_back(fid);
            }
        }
    }

    /// Makes a client continue at the end of this event, if nothing of it is held then.
    pub(in crate::engine) fn wake_client(&mut self, client_index: u32) {
        if let Some(restore) = &mut self.restore {
            restore.held.wake(client_index);
        }
    }

    /// Sends what there is room for, and ends the replay if everything has been done. Must be called after each
    /// event while the replay lasts.
    #[cold]
    pub(in crate::engine) fn advance_replay(&mut self) {
        self.resume_woken();
        self.send_tasks();
        self.resume_woken();
        let Some(restore) = &self.restore else {
            return;
        };
        let replay = &restore.replay;
        let has_root = !replay.due_roots.is_empty() || replay.asked_roots > 0;
        if replay.wanted_left == 0 && restore.held.len() == 0 && !has_root {
            self.settle_outage();
        }
        self.end_replay();
        if !self.upstream.deferred_clunks.is_empty() {
            self.send_deferred_clunks(usize::MAX, false);
        }
    }

    /// Ends the replay if no fid is away.
    fn end_replay(&mut self) {
        let Some(restore) = &mut self.restore else {
            return;
        };
        let is_busy = !restore.replay.steps.is_empty() || restore.held.len() > 0;
        if self.fids.away() > 0 || is_busy {
            return;
        }
        let Replay { back, gone, .. } = restore.replay;
        self.stats.replayed_fids += back as u64;
        self.stats.lost_fids += gone as u64;
        if back + gone > 0 {
            restore.push_event(RestoreEvent::Restored { fids: back + gone, gone });
        }
        self.release_roots();
        self.upstream.end_replay();
        self.settle_outage();
        if let Some(restore) = &mut self.restore {
            restore.replay = Replay::default();
        }
        // Some requests have waited for the end of the replay.
        for client_index in self.clients.connected() {
            self.unblock(client_index);
        }
    }

    /// Resumes the clients that have fids which were restored.
    fn resume_woken(&mut self) {
        while self.output_has_room() && self.window_blocked.is_none() {
            let Some(client_index) = self.restore.as_mut().and_then(|r| r.held.next_woken()) else {
                return;
            };
            if self.clients.is_connected(client_index) && self.send_held(client_index) {
                self.unblock(client_index);
            }
        }
    }

    fn send_tasks(&mut self) {
        let max = (self.requests.max() / 2).clamp(1, MAX_BACKGROUND);
        while self.output_has_room() {
            let may_be_idle = self.has_tag();
            let Some(restore) = &mut self.restore else {
                return;
            };
            let replay = &mut restore.replay;
            // Before the identities are attached, idle fids would only be moved from one queue to another.
            let has_background_room =
                may_be_idle && replay.steps.len() < max && replay.asked_roots == 0;
            let is_sent = if let Some(step) = replay.pending.pop_front() {
                let is_sent = self.run_step(step);
                self.put_back(is_sent, |replay| replay.pending.push_front(step));
                is_sent
            } else if let Some(node) = replay.due_roots.pop_front() {
                let is_sent = self.send_root(node);
                self.put_back(is_sent, |replay| replay.due_roots.push_front(node));
                is_sent
            } else if let Some(fid) = replay.wanted.pop_front() {
                let is_sent = self.start(fid);
                self.put_back(is_sent, |replay| replay.wanted.push_front(fid));
                is_sent
            } else if !has_background_room {
                false
            } else if let Some(fid) = replay.open.pop_front() {
                let is_sent = self.start(fid);
                self.put_back(is_sent, |replay| replay.open.push_front(fid));
                is_sent
            } else if let Some(fid) = replay.idle.pop_front() {
                let is_sent = self.start(fid);
                self.put_back(is_sent, |replay| replay.idle.push_front(fid));
                is_sent
            } else {
                false
            };
            if !is_sent {
                return;
            }
        }
    }

    /// Puts work back for which there was no tag.
    fn put_back(&mut self, is_sent: bool, put: impl FnOnce(&mut Replay)) {
        if let Some(restore) = self.restore.as_mut().filter(|_| !is_sent) {
            put(&mut restore.replay);
        }
    }

    /// Begins to restore a fid, unless that was begun before or it does not exist any more. Returns false if there
    /// is no tag.
    fn start(&mut self, fid: u32) -> bool {
        let Some(restore) = &mut self.restore else {
            return true;
        };
        let place = restore.places.get(fid);
        if !self.fids.is_allocated(fid) || !self.fids.get(fid).state.is_away() || place.is_begun {
            return true;
        }
        let Some(root) = place.node().and_then(|node| restore.names.living_root(node)) else {
            self.kill_if_away(fid, DeadReason::Gone);
            return true;
        };
        if !restore.replay.roots.contains_key(&root) {
            restore.add_root(root, Some(fid));
        }
        match restore.replay.roots.get_mut(&root) {
            Some(found) if found.state == RootState::Attached => {
                self.run_step(Step::new(Task::Walk(fid), root))
            }
            Some(found) if found.state != RootState::Refused => {
                found.waiting.push(fid);
                true
            }
            _ => {
                self.kill_if_away(fid, DeadReason::Gone);
                true
            }
        }
    }

    /// A fid cannot be restored, if it has not been yet.
    pub(super) fn kill_if_away(&mut self, fid: u32, reason: DeadReason) {
        if self.fids.is_allocated(fid) && self.fids.get(fid).state.is_away() {
            if let Owner::Client(client_index) = self.fids.get(fid).owner {
                self.kill_fid(client_index, fid, reason);
            }
        }
    }

    /// Sends the request of a step. Returns false if there is no tag for it. A fid that was released or has died
    /// since the step before is not restored any more, and its number may be another fid's. That one is not away: all
    /// that are away have been so since the loss.
    pub(super) fn run_step(&mut self, step: Step) -> bool {
        match step.task {
            Task::Walk(fid) | Task::Open(fid) | Task::Lock(fid, _)
                if !self.fids.is_allocated(fid) || !self.fids.get(fid).state.is_away() =>
            {
                true
            }
            Task::Root(node) => self.send_root(node),
            Task::Walk(fid) => self.send_walk(fid, step),
            Task::Open(fid) => self.send_open(fid, step),
            Task::Lock(fid, i) => self.send_lock(fid, i, step),
        }
    }

    /// Runs a step, now or when there is a tag.
    pub(super) fn run_or_queue(&mut self, step: Step) {
        let is_sent = self.run_step(step);
        self.put_back(is_sent, |replay| replay.pending.push_back(step));
    }

    /// Sends a request of the replay. Returns false if there is no tag for it, or no room in the window.
    pub(super) fn send_replay(
        &mut self,
        request: UpstreamRequest,
        message: &mut [u8],
        step: Step,
    ) -> bool {
        let cost = self.cost(message, REPLY_COST);
        let sum = self.requests.cost();
        if self.config.window.is_some_and(|window| sum > 0 && sum + cost as usize > window) {
            return false;
        }
        let request = UpstreamRequest { cost, ..request };
        let Ok(tag) = self.allocate_tag(&request) else {
            return false;
        };
        for fid in request.fids.into_iter().filter(|fid| *fid != NO_FID) {
            self.fids.add_reference(fid);
        }
        self.send_internal(request.kind, tag, message);
        let until = self.now.saturating_add(self.config.version_timeout);
        if let Some(restore) = &mut self.restore {
            match step.task {
                Task::Root(_) => restore.replay.asked_roots += 1,
                Task::Walk(fid) | Task::Open(fid) | Task::Lock(fid, _) => {
                    let place = restore.places.get_mut(fid);
                    (place.is_begun, place.is_busy) = (true, true);
                }
            }
            let (changes, number) = (restore.names.changes(), restore.replay.sent);
            restore.replay.sent += 1;
            restore.replay.steps.insert(tag, Step { changes, number, ..step });
            restore.replay.silent_until.get_or_insert(until);
        }
        true
    }

    /// A request of 9pmux's own has ended. Returns its step if it is one of the replay.
    pub(super) fn end_step(&mut self, tag: u16) -> Option<Step> {
        let until = self.now.saturating_add(self.config.version_timeout);
        let replay = &mut self.restore.as_mut()?.replay;
        let step = replay.steps.remove(&tag)?;
        replay.wait_until(until);
        Some(step)
    }

    /// Handles the reply to a request of 9pmux's own, if it is one of the replay.
    #[cold]
    pub(in crate::engine) fn handle_replay_reply(
        &mut self,
        tag: u16,
        request: &UpstreamRequest,
        reply: Option<&[u8]>,
        outcome: ReplyOutcome,
    ) {
        let (Some(step), Some(restore)) = (self.end_step(tag), &mut self.restore) else {
            return;
        };
        let fid = match step.task {
            Task::Root(node) => {
                restore.replay.asked_roots -= 1;
                return self.handle_root_reply(node, request.fids[0], reply, outcome);
            }
            Task::Walk(fid) | Task::Open(fid) | Task::Lock(fid, _) => fid,
        };
        if let (Task::Walk(_), ReplyOutcome::Success | ReplyOutcome::Unknown) = (step.task, outcome)
        {
            self.fids.mark_restoring(fid);
        }
        restore.places.get_mut(fid).is_busy = false;
        let record = self.fids.get(fid);
        if !record.bound && record.references == 1 {
            // The client has clunked it meanwhile.
            restore.places.get_mut(fid).is_begun = false;
            return;
        }
        match step.task {
            Task::Walk(_) => self.handle_walk_reply(fid, step, reply, outcome),
            _ => self.handle_reopening_reply(fid, step, reply, outcome),
        }
    }

    /// A fid has been restored.
    pub(super) fn fid_is_back(&mut self, fid: u32) {
        self.fids.mark_live(fid);
        let Some(restore) = &mut self.restore else {
            return;
        };
        restore.unwant(fid);
        let place = restore.places.get_mut(fid);
        (place.is_begun, place.has_blocked) = (false, false);
        restore.replay.back += 1;
        if let Owner::Client(client_index) = self.fids.get(fid).owner {
            let has_held = restore.held.has(client_index);
            if has_held || self.clients.get(client_index).is_waiting() {
                self.wake_client(client_index);
            }
        }
    }

    /// Handles the deadlines of the replay.
    pub(super) fn expire_replay(&mut self) {
        let now = self.now;
        let Some(restore) = &mut self.restore else {
            return;
        };
        let replay = &mut restore.replay;
        while replay.later.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, step)) = replay.later.pop_front() {
                replay.pending.push_back(step);
            }
        }
        if replay.silent_until.is_some_and(|until| until <= now) && !self.flush_blocked_steps() {
            self.blame_first_step();
            self.handle_end(EndReason::ReplayTimeout);
        }
    }
}
