//! Opens and locks of the replay that the server does not reply to.
//!
//! A server may block in an open: that of a FIFO waits for a program at its other end. Such a fid must not keep the
//! others from being restored, on this connection or on any later one.
//!
//! | no reply for the timeout to | effect |
//! |---|---|
//! | any request of the replay | all its opens and locks are flushed; without one the connection is given up |
//! | these flushes either | the connection is given up |
//! | the same, and the fid of the first of these opens and locks has been the first before | it is dead, with all fids that have its file open in the same way |
//!
//! An Rflush without a reply before it makes the fid dead. A server that does one thing after the other blocks in the
//! first open, and those behind it are not to blame.

use super::repeat::reopening_mode;
use super::replay::{Step, Task};
use crate::engine::Engine;
use crate::engine::flush::FlushState;
use crate::engine::session::DeadReason;

/// Returns the fid of a step in which a server may block, and the reason for its death.
fn may_block(step: &Step) -> Option<(u32, DeadReason)> {
    match step.task {
        Task::Open(fid) => Some((fid, DeadReason::Blocked)),
        Task::Lock(fid, _) => Some((fid, DeadReason::LockLost)),
        Task::Root(_) | Task::Walk(_) => None,
    }
}

impl Engine {
    /// The server has not replied in time: flushes the requests in which it may block. Returns false if there are
    /// none, or if they are being flushed.
    pub(super) fn flush_blocked_steps(&mut self) -> bool {
        let Some(restore) = &mut self.restore else {
            return false;
        };
        let may_block = restore.replay.steps().iter().filter(|(_, step)| may_block(step).is_some());
        let tags: Vec<u16> = may_block.map(|(tag, _)| *tag).collect();
        let requests = &mut self.requests;
        let mut is_unflushed = |tag: &u16| requests.get(*tag).flush == FlushState::None;
        let tags: Vec<u16> = tags.into_iter().filter(|tag| is_unflushed(tag)).collect();
        if tags.is_empty() {
            return false;
        }
        restore.replay.wait_until(self.now.saturating_add(self.config.version_timeout));
        for tag in tags {
            self.flush_request(tag);
        }
        true
    }

    /// The server has replied to no flush either. The fid of the first request in which it may block is dead if
    /// that was so before. Each such fid costs the time of two connections, so all fids that have the same file open in
    /// the same way are dead as well.
    pub(super) fn blame_first_step(&mut self) {
        let Some(restore) = &mut self.restore else {
            return;
        };
        let blocking = restore.replay.steps().values().filter(|step| may_block(step).is_some());
        let Some((fid, reason)) = blocking.min_by_key(|step| step.number).and_then(may_block)
        else {
            return;
        };
        if !std::mem::replace(&mut restore.places.get_mut(fid).has_blocked, true) {
            return;
        }
        if reason == DeadReason::Blocked {
            for alike in self.fids_open_as(fid) {
                self.kill_if_away(alike, reason);
            }
        }
        self.kill_if_away(fid, reason);
    }

    /// Returns the fids that are open on the file of this one in the same way.
    fn fids_open_as(&self, fid: u32) -> Vec<u32> {
        let Some(restore) = &self.restore else {
            return Vec::new();
        };
        let dialect = self.upstream.dialect;
        let way = |fid: u32| {
            let place = restore.places.get(fid);
            place.is_open.then(|| (place.node, reopening_mode(dialect, place.mode)))
        };
        (0..self.fids.highest() as u32)
            .filter(|other| *other != fid && way(*other).is_some() && way(*other) == way(fid))
            .collect()
    }

    /// The server has sent the Rflush for a request of 9pmux's own, and no reply before.
    #[cold]
    pub(in crate::engine) fn handle_flushed_step(&mut self, tag: u16) {
        let Some((fid, reason)) = self.end_step(tag).as_ref().and_then(may_block) else {
            return;
        };
        if let Some(restore) = &mut self.restore {
            restore.places.get_mut(fid).is_busy = false;
        }
        self.kill_if_away(fid, reason);
    }
}
