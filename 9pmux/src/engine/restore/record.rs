//! Successful requests are recorded here, as far as they change fids or names.

use super::Restore;
use super::budget::{Maker, NO_MAKER};
use super::copies::Copy;
use super::names::FileId;
use super::places::{AUTH, AUTHENTICATED, Place, UNKNOWN, XATTR, XATTR_WRITE};
use crate::engine::Engine;
use crate::engine::fids::{NO_FID, Owner};
use crate::engine::local_error::LocalError;
use crate::engine::plan::Plan;
use crate::engine::policy::is_sync;
use crate::engine::reply::ReplyOutcome;
use crate::engine::requests::UpstreamRequest;
use crate::engine::shared_attach::SharedAttach;
use crate::wire::{Dialect, HEADER, qid, types, u16_at, u32_at};

/// The offset of the name in the stat of a Twstat, counted from its fid.
const STAT_NAME: usize = 4 + 2 + 41;

/// Returns the string at an offset, and the offset behind it.
fn string_at(message: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let start = at + 2;
    let end = start + message.get(at..start).map(|n| u16_at(n, 0) as usize)?;
    Some((message.get(start..end)?, end))
}

/// Returns the qid at the beginning of a reply's body.
fn qid_of(reply: &[u8]) -> Option<FileId> {
    reply.get(HEADER..HEADER + qid::LEN).map(FileId::of_qid)
}

/// Returns the new name in a Twstat, if it has one.
fn wstat_name(message: &[u8]) -> Option<&[u8]> {
    string_at(message, HEADER + STAT_NAME).map(|found| found.0).filter(|name| !name.is_empty())
}

/// Returns true if a request of this type changes neither fids that exist afterwards nor names.
fn is_without_effect(kind: u8) -> bool {
    use types::{TCLUNK, TGETATTR, TREAD, TREADDIR, TSTAT};
    matches!(kind, TREAD | TCLUNK | TSTAT | TGETATTR | TREADDIR)
}

impl Restore {
    /// Sets the place of a fid.
    pub fn set_place(&mut self, fid: u32, place: Place) {
        self.places.set(&mut self.names, fid, place);
    }

    /// The copy of a request is dropped, which a departed client may have left.
    pub(super) fn forget_departed_copy(&mut self, request: &UpstreamRequest, len: usize) {
        if let Owner::Cleanup(_) = request.owner {
            self.names.budget.remove_for_user(request.user, len);
        }
    }

    fn node_of(&self, fid: u32) -> Option<u32> {
        (fid != NO_FID).then(|| self.places.get(fid).node()).flatten()
    }

    /// Returns the place of the file with this name in the directory at `parent`.
    fn place_of(&mut self, parent: u32, name: &[u8], file: FileId, maker: Maker) -> Place {
        match self.names.enter(parent, name, file, maker) {
            Some(node) => Place::at(node),
            None => {
                self.notice_too_many_names();
                Place::NONE
            }
        }
    }

    fn record_attach(&mut self, fid: u32, identity: &[u8], reply: &[u8], maker: Maker) {
        let Some(file) = qid_of(reply) else { return };
        let place = self.place_of(UNKNOWN, identity, file, maker);
        self.set_place(fid, place);
    }

    /// A Twalk has succeeded in full.
    fn record_walk(&mut self, fids: [u32; 2], message: &[u8], reply: &[u8], maker: Maker) {
        let source = self.places.get(fids[0]);
        let count = u16_at(message, HEADER + 8);
        let target = if fids[1] == NO_FID { fids[0] } else { fids[1] };
        if count == 0 && target == fids[0] {
            return;
        }
        let Some(mut at) = source.node() else {
            let node = if source.node == AUTHENTICATED { AUTHENTICATED } else { UNKNOWN };
            return self.set_place(target, Place::at(node));
        };
        self.names.hold(at);
        let mut names = HEADER + 10;
        let files = reply[HEADER + 2..].chunks_exact(qid::LEN);
        for file in files.take(count as usize) {
            let Some((name, end)) = string_at(message, names) else { break };
            names = end;
            let file = FileId::of_qid(file);
            let next = match name {
                // The file that is above it by now may be another one.
                b".." => Some(self.names.parent(at)).filter(|up| self.names.file(*up) == file),
                _ => self.place_of(at, name, file, maker).node(),
            };
            if let Some(next) = next {
                self.names.hold(next);
            }
            self.names.release(at);
            match next {
                Some(next) => at = next,
                None => return self.set_place(target, Place::NONE),
            }
        }
        self.set_place(target, Place::at(at));
        self.names.release(at);
    }

    /// A Topen or Tlopen has succeeded. A file other than the file of the walk, such as a new
    /// conversation of a server for networks, is not found again.
    fn record_open(&mut self, fid: u32, mode: u32, reply: &[u8]) {
        let place = self.places.get(fid);
        let is_known = self.places.file(&self.names, fid) == qid_of(reply);
        let node = if is_known || place.node().is_none() { place.node } else { UNKNOWN };
        self.set_place(fid, Place { mode, is_open: true, ..Place::at(node) });
    }

    /// A Tcreate or Tlcreate has succeeded: the fid is at the new file.
    fn record_create(&mut self, fid: u32, message: &[u8], reply: &[u8], maker: Maker) {
        let Some((name, end)) = string_at(message, HEADER + 4) else { return };
        let mode = match message[4] {
            types::TLCREATE => u32_at(message, end),
            _ => u32::from(message[end + 4]),
        };
        let place = match (self.node_of(fid), qid_of(reply)) {
            (Some(parent), Some(file)) => self.place_of(parent, name, file, maker),
            _ => Place { node: self.places.get(fid).node, ..Place::NONE },
        };
        self.set_place(fid, Place { mode, is_open: true, ..place });
    }

    /// A file has another place: `directory` is the fid of the directory with its new name.
    fn record_rename(&mut self, node: Option<u32>, directory: Option<u32>, name: &[u8]) {
        match (node, directory) {
            (Some(node), Some(directory)) => self.rename(node, directory, name),
            (None, Some(directory)) => self.record_unlink(Some(directory), name),
            (Some(node), None) => self.names.mark_gone(node),
            (None, None) => {}
        }
    }

    fn rename(&mut self, node: u32, directory: u32, name: &[u8]) {
        if !self.names.rename(node, directory, name) {
            self.notice_too_many_names();
        }
    }

    fn record_unlink(&mut self, directory: Option<u32>, name: &[u8]) {
        if let Some(node) = directory.and_then(|directory| self.names.find(directory, name)) {
            self.names.mark_gone(node);
        }
    }

    fn record_renameat(&mut self, fids: [u32; 2], message: &[u8]) {
        let Some((old, end)) = string_at(message, HEADER + 4) else { return };
        let Some((new, _)) = string_at(message, end + 4) else { return };
        let node = self.node_of(fids[0]).and_then(|directory| self.names.find(directory, old));
        self.record_rename(node, self.node_of(fids[1]), new);
    }

    fn record_wstat(&mut self, dialect: Dialect, fid: u32, message: &[u8], serial: u32) {
        let Some(node) = self.node_of(fid) else { return };
        if let Some(name) = wstat_name(message) {
            if !self.names.is_root(node) {
                self.rename(node, self.names.parent(node), name);
            }
        } else if is_sync(dialect, message) {
            self.names.mark_synced(node, serial);
        }
    }

    /// A request has succeeded. The copy has upstream fids.
    fn record_success(
        &mut self,
        dialect: Dialect,
        request: &UpstreamRequest,
        copy: &Copy,
        reply: &[u8],
        maker: Maker,
    ) {
        let [fid, other] = request.fids;
        let (message, serial) = (&copy.bytes[..], copy.serial);
        match request.kind {
            kind if is_without_effect(kind) => {}
            types::TATTACH if other != NO_FID => self.set_place(fid, Place::at(AUTHENTICATED)),
            types::TATTACH => self.record_attach(fid, &message[HEADER + 8..], reply, maker),
            types::TAUTH => self.set_place(fid, Place::at(AUTH)),
            types::TWALK => self.record_walk(request.fids, message, reply, maker),
            types::TOPEN => self.record_open(fid, u32::from(message[HEADER + 4]), reply),
            types::TLOPEN => self.record_open(fid, u32_at(message, HEADER + 4), reply),
            types::TCREATE | types::TLCREATE => self.record_create(fid, message, reply, maker),
            types::TXATTRWALK => self.set_place(other, Place::at(XATTR)),
            types::TXATTRCREATE => self.set_place(fid, Place::at(XATTR_WRITE)),
            types::TWRITE => self.record_write(fid),
            types::TLOCK => {
                let budget = &mut self.names.budget;
                self.locks.record(fid, &message[HEADER + 4..], reply, maker, budget);
            }
            _ => self.record_change(dialect, request, message, serial),
        }
    }

    fn record_write(&mut self, fid: u32) {
        if let Some(node) = self.node_of(fid) {
            self.names.mark_written(node);
        }
    }

    /// A request that may change names has succeeded, or a Tfsync.
    fn record_change(
        &mut self,
        dialect: Dialect,
        request: &UpstreamRequest,
        message: &[u8],
        serial: u32,
    ) {
        let [fid, other] = request.fids;
        match request.kind {
            types::TFSYNC => {
                if let Some(node) = self.node_of(fid) {
                    self.names.mark_synced(node, serial);
                }
            }
            types::TRENAME => {
                if let Some((name, _)) = string_at(message, HEADER + 8) {
                    self.record_rename(self.node_of(fid), self.node_of(other), name);
                }
            }
            types::TRENAMEAT => self.record_renameat(request.fids, message),
            types::TUNLINKAT => {
                if let Some((name, _)) = string_at(message, HEADER + 4) {
                    self.record_unlink(self.node_of(fid), name);
                }
            }
            types::TREMOVE => {
                if let Some(node) = self.node_of(fid) {
                    self.names.mark_gone(node);
                }
            }
            types::TWSTAT => self.record_wstat(dialect, fid, message, serial),
            _ => {}
        }
    }
}

impl Engine {
    /// Handles the part of a reply that concerns the restoring of sessions.
    #[inline(never)]
    pub(in crate::engine) fn handle_restorable_reply(
        &mut self,
        upstream_tag: u16,
        request: &UpstreamRequest,
        outcome: ReplyOutcome,
        reply: Option<&[u8]>,
    ) {
        if let (Owner::Client(client_index), true) =
            (request.owner, is_without_effect(request.kind))
        {
            let copied = self.restore.as_mut().map_or(0, |r| r.copies.drop(upstream_tag));
            self.clients.get(client_index).session.copied -= copied;
            return;
        }
        self.record_reply(upstream_tag, request, outcome, reply);
        if request.owner == Owner::Internal {
            self.handle_replay_reply(upstream_tag, request, reply, outcome);
        }
    }

    /// Keeps a copy of a request of a client, which is at the end of the server's output.
    #[inline(never)]
    pub(in crate::engine) fn copy_request(&mut self, client_index: u32, tag: u16, len: usize) {
        let out = self.upstream.out.as_slice();
        let ends_at = self.upstream.written + out.len() as u64;
        if let Some(restore) = &mut self.restore {
            let message = &out[out.len() - len..];
            restore.copies.keep(tag, message, ends_at, restore.names.writes());
            restore.note_sent(message);
            self.clients.get(client_index).session.copied += len;
            self.count_memory(client_index);
        }
    }

    /// Returns true if a client with other requests at the server must not have a copy of one more of this length.
    #[inline]
    pub(in crate::engine) fn has_max_copies(&mut self, client_index: u32, len: usize) -> bool {
        let copied = self.clients.get(client_index).session.copied;
        copied > 0 && copied + len > self.config.max_reply_bytes
    }

    /// Drops the copy of a request that will have no reply.
    pub(in crate::engine) fn drop_copy(&mut self, tag: u16, request: &UpstreamRequest) {
        if let Some(restore) = &mut self.restore {
            let copied = restore.copies.drop(tag);
            match request.owner {
                Owner::Client(client_index) => {
                    self.clients.get(client_index).session.copied -= copied;
                }
                _ => restore.forget_departed_copy(request, copied),
            }
        }
    }

    /// The client of a request has left. Its copy is kept only if its reply may change names, and its user has memory
    /// for it. Without the copy the names are not known any more, but the files are: no fid is at another one.
    pub(in crate::engine) fn drop_departed_copy(&mut self, tag: u16) {
        const CHANGES: [u8; 5] =
            [types::TRENAME, types::TRENAMEAT, types::TUNLINKAT, types::TREMOVE, types::TWSTAT];
        if let Some(restore) = &mut self.restore {
            let (kind, user) = (self.requests.get(tag).kind, self.requests.get(tag).user);
            let len = restore.copies.get(tag).len();
            if CHANGES.contains(&kind) && restore.names.budget.admits_user(user, len) {
                restore.names.budget.add_for_user(user, len);
            } else {
                restore.copies.drop(tag);
            }
        }
    }

    /// Returns the error that a request gets because the server was lost before.
    pub(in crate::engine) fn check_after_loss(
        &mut self,
        message: &[u8],
        plan: &Plan,
    ) -> Option<LocalError> {
        let [fid, _] = plan.mentioned();
        let restore = self.restore.as_mut().filter(|_| fid != NO_FID)?;
        restore.check_after_loss(self.upstream.dialect, fid, message)
    }

    /// Records what the reply to a request says, and drops the copy of the request.
    fn record_reply(
        &mut self,
        upstream_tag: u16,
        request: &UpstreamRequest,
        outcome: ReplyOutcome,
        reply: Option<&[u8]>,
    ) {
        let Some(mut restore) = self.restore.take() else {
            return;
        };
        let dialect = self.upstream.dialect;
        let copy = restore.copies.take(upstream_tag);
        let reply = reply.filter(|_| outcome == ReplyOutcome::Success);
        match (request.owner, reply) {
            (Owner::Client(client_index), Some(reply)) => {
                let user = self.clients.get(client_index).user;
                let maker = Maker { client: client_index, user };
                restore.record_success(dialect, request, &copy, reply, maker);
            }
            (Owner::Cleanup(_) | Owner::Descriptor(_), Some(_))
                if request.kind == types::TWRITE =>
            {
                restore.record_write(request.fids[0]);
            }
            (Owner::Cleanup(_), Some(_)) if !copy.bytes.is_empty() => {
                restore.record_change(dialect, request, &copy.bytes, copy.serial);
            }
            (Owner::Internal, Some(reply)) if request.kind == types::TATTACH => {
                if let SharedAttach::Pending { fid, names, .. } = &self.upstream.shared_attach {
                    if *fid == request.fids[0] {
                        restore.record_attach(*fid, names, reply, NO_MAKER);
                    }
                }
            }
            _ => {}
        }
        match request.owner {
            Owner::Client(client_index) => {
                self.clients.get(client_index).session.copied -= copy.bytes.len();
            }
            _ => restore.forget_departed_copy(request, copy.bytes.len()),
        }
        restore.copies.recycle(upstream_tag, copy);
        self.restore = Some(restore);
    }

    /// A fid has been freed.
    #[inline]
    pub(in crate::engine) fn forget_place(&mut self, fid: u32) {
        if let Some(restore) = &mut self.restore {
            restore.unwant(fid);
            restore.places.forget(&mut restore.names, fid);
            restore.locks.forget(fid, &mut restore.names.budget);
            restore.places.truncate(self.fids.highest());
        }
    }
}
