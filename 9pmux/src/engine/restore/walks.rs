//! The walks of the replay, and failures of its requests.
//!
//! | reply to a walk | effect |
//! |---|---|
//! | all names, and the last file is the remembered one | the fid is opened if it was open; otherwise it is restored |
//! | another file | Tclunk; the fid is dead |
//! | an error that may pass, while requests wait | the same again after [`RETRY_DELAY`](super::replay::RETRY_DELAY) |
//! | an error or a part of the names, and names have changed meanwhile | the same again, with the new path, a few times |
//! | otherwise | the fid is dead |

use super::names::FileId;
use super::replay::{RETRY_DELAY, Step, Task};
use crate::engine::Engine;
use crate::engine::fids::NO_FID;
use crate::engine::reply::ReplyOutcome;
use crate::engine::requests::UpstreamRequest;
use crate::engine::session::DeadReason;
use crate::wire::{Dialect, HEADER, MAX_NAMES, put_u32, qid, types, u32_at};

/// The number of times that a walk is repeated at once because names have changed. A client could otherwise keep the
/// replay from its end, by renames of files of its own.
const MAX_TRIES: u8 = 16;

/// Returns true if a request that gets this reply may succeed a little later.
pub fn is_temporary(dialect: Dialect, reply: Option<&[u8]>) -> bool {
    // EINTR, EAGAIN, ENOMEM, EBUSY, ENFILE and EMFILE.
    const TEMPORARY: [u32; 6] = [4, 11, 12, 16, 23, 24];
    let number = reply.filter(|_| dialect == Dialect::L).filter(|m| m[4] == types::RLERROR);
    number.is_some_and(|message| TEMPORARY.contains(&u32_at(message, HEADER)))
}

impl Engine {
    pub(super) fn send_walk(&mut self, fid: u32, step: Step) -> bool {
        let Some(restore) = &self.restore else {
            return true;
        };
        let place = restore.places.get(fid);
        let names = &restore.names;
        let path = place.node().and_then(|node| names.path(node));
        let root = place.node().and_then(|node| names.root_of(node));
        let is_first = root == Some(step.from);
        let from = match (&path, is_first) {
            (Some(_), true) => Some(0),
            (Some(path), false) => path.iter().position(|n| *n == step.from).map(|i| i + 1),
            (None, _) => None,
        };
        let (Some(path), Some(from), Some(root)) = (path, from, root) else {
            self.kill_if_away(fid, DeadReason::Gone);
            return true;
        };
        let root_fid = restore.replay.roots.get(&root).map_or(NO_FID, |root| root.fid);
        let source = if is_first { root_fid } else { fid };
        let mut message = vec![0; HEADER + 10];
        put_u32(&mut message, HEADER, source);
        put_u32(&mut message, HEADER + 4, fid);
        let (mut to, mut count) = (step.from, 0_u16);
        for node in &path[from..] {
            let name = names.name(*node);
            if count == MAX_NAMES || message.len() + 2 + name.len() > self.upstream.msize as usize {
                break;
            }
            message.extend_from_slice(&(name.len() as u16).to_le_bytes());
            message.extend_from_slice(name);
            (to, count) = (*node, count + 1);
        }
        if count == 0 && from < path.len() {
            // A name that other messages have room for does not fit into a Twalk.
            self.kill_if_away(fid, DeadReason::Gone);
            return true;
        }
        message[HEADER + 8..HEADER + 10].copy_from_slice(&count.to_le_bytes());
        let fids = if is_first { [source, fid] } else { [fid, NO_FID] };
        let request =
            UpstreamRequest { fids, name_count: count, ..UpstreamRequest::internal(types::TWALK) };
        self.send_replay(request, &mut message, Step { to, ..step })
    }

    pub(super) fn handle_walk_reply(
        &mut self,
        fid: u32,
        step: Step,
        reply: Option<&[u8]>,
        outcome: ReplyOutcome,
    ) {
        let Some(restore) = &self.restore else {
            return;
        };
        match (outcome, reply) {
            (ReplyOutcome::Success, Some(reply)) => {
                let last = reply.len().checked_sub(qid::LEN).filter(|at| *at >= HEADER + 2);
                let file = last.map(|at| FileId::of_qid(&reply[at..]));
                let node = restore.places.get(fid).node;
                if step.to != node {
                    return self.run_or_queue(Step::new(Task::Walk(fid), step.to));
                }
                match file {
                    Some(file) if file != restore.names.file(node) => {
                        self.kill_if_away(fid, DeadReason::Gone);
                    }
                    _ => self.reopen(fid),
                }
            }
            (ReplyOutcome::Unknown, _) | (_, None) => self.kill_if_away(fid, DeadReason::Gone),
            _ => self.handle_failure(fid, step, reply, DeadReason::Gone),
        }
    }

    /// A request of the replay has failed.
    pub(super) fn handle_failure(
        &mut self,
        fid: u32,
        step: Step,
        reply: Option<&[u8]>,
        reason: DeadReason,
    ) {
        let (now, dialect) = (self.now, self.upstream.dialect);
        let Some(restore) = &mut self.restore else {
            return;
        };
        let has_changed = step.changes != restore.names.changes() && step.tries < MAX_TRIES;
        if has_changed && matches!(step.task, Task::Walk(_)) {
            self.run_or_queue(Step { tries: step.tries + 1, ..Step::new(step.task, step.from) });
        } else if restore.may_try_later(now)
            && (is_temporary(dialect, reply) || self.is_exclusive(fid, step.task))
        {
            self.try_later(step);
        } else {
            self.kill_if_away(fid, reason);
        }
    }

    /// Repeats a step after some time.
    pub(super) fn try_later(&mut self, step: Step) {
        let due = self.now.saturating_add(RETRY_DELAY);
        if let Some(restore) = &mut self.restore {
            restore.replay.later.push_back((due, Step::new(step.task, step.from)));
        }
    }
}
