//! Identities: the users and trees that clients have attached as, without authentication.
//!
//! Each identity with fids is attached once, by 9pmux itself, to a fid of its own or to that of the attach that
//! clients share. The fids of its clients are walked from there. An identity that the server refuses, or for which
//! it has another tree, has no fid that can be restored. An identity is not attached if its clients have left before its
//! Tattach could be sent. The shared attach is made again only if a session uses it.

use std::collections::BTreeMap;

use super::replay::{RETRY_DELAY, Step, Task};
use super::walks::is_temporary;
use super::{Restore, RestoreEvent};
use crate::engine::Engine;
use crate::engine::fids::{Fids, NO_FID, Owner};
use crate::engine::policy::{AttachNames, is_attach_allowed};
use crate::engine::reply::ReplyOutcome;
use crate::engine::requests::UpstreamRequest;
use crate::engine::session::DeadReason;
use crate::engine::shared_attach::SharedAttach;
use crate::wire::{HEADER, NOFID, put_u32, qid, types};

/// The state of an identity in a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootState {
    /// Its Tattach waits for its turn, or for another time.
    Due,
    /// Its Tattach has been sent.
    Asked,
    Attached,
    /// Its fids cannot be restored.
    Refused,
}

/// An identity in a replay. Its node is held.
pub struct Root {
    pub fid: u32,
    pub state: RootState,
    /// Whether the fid is that of the attach that clients share.
    is_shared: bool,
    /// The fids that have had their turn before the reply to its Tattach.
    pub waiting: Vec<u32>,
    /// The fids of clients that are walked to from it. A fid that is restored or released is removed when it is found:
    /// no fid becomes away while the connection lasts.
    needed_by: Vec<u32>,
}

/// The identities of a replay, by node.
pub type Roots = BTreeMap<u32, Root>;

impl Restore {
    /// Adds the identity of a client's fid to the replay, or that of the attach that clients share.
    pub(super) fn add_root(&mut self, node: u32, fid: Option<u32>) {
        if !self.replay.roots.contains_key(&node) {
            self.names.hold(node);
            let root = Root {
                fid: NO_FID,
                state: RootState::Due,
                is_shared: false,
                waiting: Vec::new(),
                needed_by: Vec::new(),
            };
            self.replay.roots.insert(node, root);
            self.replay.due_roots.push_back(node);
        }
        if let Some(root) = self.replay.roots.get_mut(&node) {
            root.needed_by.extend(fid);
        }
    }

    /// Returns true if a fid of a client has to be walked to from an identity.
    fn is_root_needed(&mut self, node: u32, fids: &Fids) -> bool {
        let Some(root) = self.replay.roots.get_mut(&node) else {
            return false;
        };
        while let Some(fid) = root.needed_by.last().copied() {
            let is_away = fids.is_allocated(fid) && fids.get(fid).state.is_away();
            if is_away && matches!(fids.get(fid).owner, Owner::Client(_)) {
                let at = self.places.get(fid).node();
                if at.and_then(|at| self.names.living_root(at)) == Some(node) {
                    return true;
                }
            }
            root.needed_by.pop();
        }
        false
    }
}

impl Engine {
    /// Returns the fid of the attach that clients share, if it has been made.
    pub(super) fn shared_attach_fid(&self) -> Option<u32> {
        match &self.upstream.shared_attach {
            SharedAttach::Live { fid, .. } => Some(*fid),
            _ => None,
        }
    }

    /// Returns true if a session uses the attach that clients share.
    pub(super) fn is_shared_attach_used(&self) -> bool {
        matches!(self.upstream.shared_attach, SharedAttach::Live { users, .. } if users > 0)
    }

    /// Sends the Tattach of an identity, unless the clients that need it have left. Returns false if there is no tag
    /// for it.
    pub(super) fn send_root(&mut self, node: u32) -> bool {
        let Some(restore) = &mut self.restore else {
            return true;
        };
        let is_needed = restore.is_root_needed(node, &self.fids);
        let identity = restore.names.name(node).to_vec();
        if !is_attach_allowed(&self.config, &identity) {
            self.refuse_root(node);
            return true;
        }
        let is_shared = match &self.upstream.shared_attach {
            // Clients may have made it anew meanwhile.
            SharedAttach::Live { fid, names, .. } => {
                **names == *identity && self.fids.get(*fid).state.is_away()
            }
            _ => false,
        };
        let is_used = is_shared && self.is_shared_attach_used();
        if !is_needed && !is_used {
            self.drop_root(node, is_shared);
            return true;
        }
        if !self.requests.has_flush_tag() {
            return false;
        }
        let fid = match self.shared_attach_fid().filter(|_| is_shared) {
            Some(fid) => fid,
            None => self.fids.allocate_internal(),
        };
        let request =
            UpstreamRequest { fids: [fid, NO_FID], ..UpstreamRequest::internal(types::TATTACH) };
        let mut message = vec![0; HEADER + 8];
        put_u32(&mut message, HEADER, fid);
        put_u32(&mut message, HEADER + 4, NOFID);
        message.extend_from_slice(&identity);
        let is_sent = self.send_replay(request, &mut message, Step::new(Task::Root(node), node));
        if !is_sent {
            if !is_shared {
                self.mark_not_created(fid);
                self.release_if_unused(fid);
            }
            return false;
        }
        if let Some(root) = self.restore.as_mut().and_then(|r| r.replay.roots.get_mut(&node)) {
            (root.fid, root.state, root.is_shared) = (fid, RootState::Asked, is_shared);
        }
        true
    }

    /// Removes an identity from the replay: its clients have left. The next Tattach of a client makes the shared attach
    /// anew.
    fn drop_root(&mut self, node: u32, is_shared: bool) {
        let root = self.restore.as_mut().and_then(|r| r.replay.roots.remove(&node));
        for fid in root.map_or_else(Vec::new, |root| root.waiting) {
            // The file of a fid that is still away was removed.
            self.kill_if_away(fid, DeadReason::Gone);
        }
        if let Some(fid) = self.shared_attach_fid().filter(|_| is_shared) {
            self.forget_shared_attach(fid);
        }
        if let Some(restore) = &mut self.restore {
            restore.names.release(node);
        }
    }

    /// The attach that clients share, which is away, is not made again in this replay.
    pub(super) fn forget_shared_attach(&mut self, fid: u32) {
        self.fids.mark_dead(fid);
        self.drop_shared_attach();
        self.release_if_unused(fid);
    }

    /// The server has replied to the Tattach of an identity.
    pub(super) fn handle_root_reply(
        &mut self,
        node: u32,
        fid: u32,
        reply: Option<&[u8]>,
        outcome: ReplyOutcome,
    ) {
        let (now, dialect) = (self.now, self.upstream.dialect);
        let Some(restore) = &mut self.restore else {
            return;
        };
        let success = outcome == ReplyOutcome::Success;
        let is_same =
            reply.filter(|_| success).and_then(|reply| reply.get(HEADER..HEADER + qid::LEN));
        let is_same =
            is_same.is_some_and(|q| super::names::FileId::of_qid(q) == restore.names.file(node));
        if is_same {
            self.fids.mark_live(fid);
            return self.root_is_attached(node);
        }
        if restore.may_try_later(now) && is_temporary(dialect, reply) {
            return self.attach_later(node, fid);
        }
        if outcome == ReplyOutcome::Error {
            let AttachNames { uname, aname, .. } = AttachNames::parse(restore.names.name(node));
            let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            let (uname, aname) = (text(uname), text(aname));
            restore.push_event(RestoreEvent::AttachRefused { uname, aname });
            self.mark_not_created(fid);
        } else {
            // The server may have it: it is clunked.
            self.mark_uncertain(fid);
        }
        if self.shared_attach_fid() == Some(fid) {
            self.drop_shared_attach();
        }
        self.refuse_root(node);
    }

    /// The server cannot attach an identity now.
    fn attach_later(&mut self, node: u32, fid: u32) {
        if self.shared_attach_fid() != Some(fid) {
            self.mark_not_created(fid);
        }
        let due = self.now.saturating_add(RETRY_DELAY);
        if let Some(restore) = &mut self.restore {
            restore.replay.later.push_back((due, Step::new(Task::Root(node), node)));
            if let Some(root) = restore.replay.roots.get_mut(&node) {
                (root.fid, root.state) = (NO_FID, RootState::Due);
            }
        }
    }

    /// The fids of an identity that were waiting for its Tattach have their turn.
    fn root_is_attached(&mut self, node: u32) {
        let Some(restore) = &mut self.restore else {
            return;
        };
        let Some(root) = restore.replay.roots.get_mut(&node) else {
            return;
        };
        root.state = RootState::Attached;
        let waiting = std::mem::take(&mut root.waiting);
        let is_shared = root.is_shared;
        for fid in waiting {
            restore.enqueue(fid);
        }
        if is_shared {
            // A Tattach of any client may wait for it.
            for client_index in self.clients.connected() {
                self.wake_client(client_index);
            }
        }
    }

    /// None of the fids of an identity can be restored. A fid that has its turn later is found to be dead then.
    fn refuse_root(&mut self, node: u32) {
        let Some(root) = self.restore.as_mut().and_then(|r| r.replay.roots.get_mut(&node)) else {
            return;
        };
        root.state = RootState::Refused;
        for fid in std::mem::take(&mut root.waiting) {
            self.kill_if_away(fid, DeadReason::Gone);
        }
    }

    /// The attach that clients share does not exist any more.
    pub(super) fn drop_shared_attach(&mut self) {
        if let SharedAttach::Live { fid, names, .. } =
            std::mem::take(&mut self.upstream.shared_attach)
        {
            self.attach_without_share(fid, &names);
        }
        for client_index in self.clients.connected() {
            self.clients.get(client_index).session.uses_shared_attach = false;
            self.wake_client(client_index);
        }
    }

    /// Held walks from the shared attach become the clients' own Tattach again: they have got no qid yet, and may
    /// have that of another tree.
    fn attach_without_share(&mut self, shared: u32, identity: &[u8]) {
        let Some(restore) = &mut self.restore else {
            return;
        };
        let mut changed = 0;
        let clients = restore.held.clients();
        for client_index in clients.iter().copied() {
            for tag in restore.held.of(client_index) {
                let request = self.requests.get(tag);
                if !request.attach_by_walk || request.fids[0] != shared {
                    continue;
                }
                (request.kind, request.attach_by_walk) = (types::TATTACH, false);
                request.fids = [request.creates, NO_FID];
                let session = &mut self.clients.get(client_index).session;
                session.copied -= restore.copies.get(tag).len();
                session.copied += restore.copies.replace_by_attach(tag, request.creates, identity);
                changed += 1;
            }
            restore.held.wake(client_index);
        }
        clients.into_iter().for_each(|client_index| self.count_memory(client_index));
        for _ in 0..changed {
            self.fids.drop_reference(shared);
        }
    }

    /// The attach that clients share is replaced. Returns true if fids are walked to from its fid, which belongs to the
    /// replay from now on.
    pub(in crate::engine) fn keep_shared_root(&mut self, fid: u32) -> bool {
        let roots = self.restore.as_mut().map(|restore| restore.replay.roots.values_mut());
        let is_shared = |root: &&mut Root| root.is_shared && root.fid == fid;
        let root = roots.into_iter().flatten().find(is_shared);
        root.is_some_and(|root| std::mem::take(&mut root.is_shared))
    }

    /// Clunks the fids of the identities: the replay has ended.
    pub(super) fn release_roots(&mut self) {
        let Some(restore) = &mut self.restore else {
            return;
        };
        let mut fids = Vec::new();
        let roots = std::mem::take(&mut restore.replay.roots);
        for (node, root) in roots {
            restore.names.release(node);
            if root.state == RootState::Attached && !root.is_shared {
                fids.push(root.fid);
            }
        }
        for fid in fids {
            self.unbind(fid);
            self.release_if_unused(fid);
        }
    }
}
