//! The replay of what was done with a fid after it was walked to: its open, and its locks.
//!
//! Nothing is created or truncated again. The open file must be the file of the walk. A smaller
//! iounit than before is permitted, since a reply to Twrite may say that less was written.

use super::locks::is_granted;
use super::names::FileId;
use super::repeat::reopening_mode;
use super::replay::{Step, Task};
use crate::engine::Engine;
use crate::engine::fids::NO_FID;
use crate::engine::reply::ReplyOutcome;
use crate::engine::requests::UpstreamRequest;
use crate::engine::session::DeadReason;
use crate::wire::{Dialect, HEADER, put_u32, qid, types};

/// The status of a Tlock while the server waits for the clients that it had before.
const GRACE: u8 = 3;

impl Engine {
    /// The fid is at its file: opens it if it was open.
    pub(super) fn reopen(&mut self, fid: u32) {
        let Some(restore) = &self.restore else {
            return;
        };
        let place = restore.places.get(fid);
        if place.is_open {
            self.run_or_queue(Step::new(Task::Open(fid), place.node));
        } else {
            self.lock_again(fid, 0);
        }
    }

    pub(super) fn send_open(&mut self, fid: u32, step: Step) -> bool {
        let dialect = self.upstream.dialect;
        let Some(restore) = &self.restore else {
            return true;
        };
        let mode = reopening_mode(dialect, restore.places.get(fid).mode);
        let (kind, length) = match dialect {
            Dialect::L => (types::TLOPEN, HEADER + 8),
            Dialect::Plain | Dialect::U => (types::TOPEN, HEADER + 5),
        };
        let mut message = [0; HEADER + 8];
        put_u32(&mut message, HEADER, fid);
        put_u32(&mut message, HEADER + 4, mode);
        let request = UpstreamRequest { fids: [fid, NO_FID], ..UpstreamRequest::internal(kind) };
        self.send_replay(request, &mut message[..length], step)
    }

    /// Takes the locks of a fid from this one on, or ends its replay.
    fn lock_again(&mut self, fid: u32, i: usize) {
        let Some(restore) = &self.restore else {
            return;
        };
        match restore.locks.of(fid) {
            Some(locks) if i < locks.requests.len() => {
                self.run_or_queue(Step::new(Task::Lock(fid, i), restore.places.get(fid).node));
            }
            _ => self.fid_is_back(fid),
        }
    }

    pub(super) fn send_lock(&mut self, fid: u32, i: usize, step: Step) -> bool {
        let locks = self.restore.as_ref().and_then(|restore| restore.locks.of(fid));
        let Some(lock) = locks.and_then(|locks| locks.requests.get(i)) else {
            return true;
        };
        let mut message = vec![0; HEADER + 4];
        put_u32(&mut message, HEADER, fid);
        message.extend_from_slice(lock);
        let request =
            UpstreamRequest { fids: [fid, NO_FID], ..UpstreamRequest::internal(types::TLOCK) };
        self.send_replay(request, &mut message, step)
    }

    /// The server has replied to an open or a lock of the replay.
    pub(super) fn handle_reopening_reply(
        &mut self,
        fid: u32,
        step: Step,
        reply: Option<&[u8]>,
        outcome: ReplyOutcome,
    ) {
        let Some(restore) = &self.restore else {
            return;
        };
        let success = reply.filter(|_| outcome == ReplyOutcome::Success);
        match (step.task, success) {
            (Task::Lock(_, i), Some(reply)) if is_granted(reply) => self.lock_again(fid, i + 1),
            (Task::Lock(..), Some(reply)) if reply.get(HEADER) == Some(&GRACE) => {
                match restore.may_try_later(self.now) {
                    true => self.try_later(step),
                    false => self.kill_if_away(fid, DeadReason::LockLost),
                }
            }
            (Task::Lock(..), Some(_)) => self.kill_if_away(fid, DeadReason::LockLost),
            (Task::Lock(..), None) => self.handle_failure(fid, step, reply, DeadReason::LockLost),
            (_, Some(reply)) => {
                let file = reply.get(HEADER..HEADER + qid::LEN).map(FileId::of_qid);
                match file == restore.places.file(&restore.names, fid) {
                    true => self.lock_again(fid, 0),
                    false => self.kill_if_away(fid, DeadReason::Gone),
                }
            }
            (_, None) => self.handle_failure(fid, step, reply, DeadReason::Gone),
        }
    }

    /// Returns true if the open of a file has failed that the old session may still have open.
    pub(super) fn is_exclusive(&self, fid: u32, task: Task) -> bool {
        let file = self.restore.as_ref().and_then(|r| r.places.file(&r.names, fid));
        matches!(task, Task::Open(_)) && file.is_some_and(|file| file.kind & qid::EXCLUSIVE != 0)
    }
}
