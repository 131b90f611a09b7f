//! A client as it sees itself: its fids, its requests, and the replies that it may get.

use std::collections::BTreeMap;

use super::disk::{Disk, QT_DIR};
use super::fields::Fields;
use super::ledger::{Entry, Fate, Ledger, fids_of, is_reply};
use super::session::wstat_name;
use super::{Losses, kinds};
use crate::engine::ClientId;
use crate::engine::fuzz::messages::{is_error, is_local_error, u64_at};
use crate::engine::local_error::LocalError;
use crate::wire::{DATA_HEADER, Dialect, HEADER, kind, show, tag, types, u16_at, u32_at};

/// What the client knows of one of its fids.
#[derive(Clone)]
pub struct ClientFid {
    /// Its file, once the request that creates it has its reply.
    pub inode: Option<u64>,
    pub qtype: u8,
    pub identity: usize,
    pub open: Option<u32>,
    pub xattr: bool,
    /// An extended attribute is being written.
    pub xattr_writing: bool,
    /// It has had a lock, and it may have one.
    pub locked: bool,
    pub may_lock: bool,
    /// A request that changes it has no reply.
    pub busy: bool,
    /// That request releases it.
    ends: bool,
    /// The number of losses before it was created, and before it was opened.
    losses: u32,
    /// Others have moved what it was walked through, or from.
    fragile: bool,
    /// It cannot work since the server was lost: 9pmux must not pretend that it does.
    must_fail: bool,
    /// The execution of its last write that the client knows of.
    written: u64,
    /// Its next synchronization must not succeed.
    must_alarm: bool,
    /// It was open at a loss, and has had no alarm since.
    may_alarm: bool,
    /// It must read its directory from the beginning.
    reads_anew: bool,
}

pub struct Peer {
    pub id: ClientId,
    pub number: u32,
    /// Bytes that it has sent and that have not arrived.
    pub pipe: Vec<u8>,
    pub sent: u64,
    pub delivered: u64,
    pub slow: bool,
    pub msize: u32,
    /// It has a session; it waits for a version; or neither.
    pub in_session: bool,
    pub asking: bool,
    pub fids: BTreeMap<u32, ClientFid>,
    /// Its open requests by their tags.
    pub open: BTreeMap<u16, Open>,
    next_tag: u16,
    /// The number of bytes of its output that were examined.
    pub looked: usize,
    pub replies: u64,
}

/// A request without a reply.
pub struct Open {
    /// Its number in the ledger.
    pub number: usize,
    kind: u8,
    fids: Vec<u32>,
}

/// What a reply is compared with.
pub struct View<'a> {
    pub dialect: Dialect,
    pub disk: &'a Disk,
    pub losses: &'a Losses,
    pub msize: u32,
    pub attach_once: bool,
    /// Requests in flight are sent again, some of them.
    pub repeats: bool,
}

impl Peer {
    pub fn new(id: ClientId, number: u32) -> Peer {
        Peer {
            id,
            number,
            pipe: Vec::new(),
            sent: 0,
            delivered: 0,
            slow: false,
            msize: 0,
            in_session: false,
            asking: false,
            fids: BTreeMap::new(),
            open: BTreeMap::new(),
            next_tag: 0,
            looked: 0,
            replies: 0,
        }
    }

    /// Returns a tag that no open request has.
    pub fn tag(&mut self) -> u16 {
        loop {
            self.next_tag = (self.next_tag + 1) % 200;
            if !self.open.contains_key(&self.next_tag) {
                return self.next_tag;
            }
        }
    }

    pub fn free_fid(&self) -> u32 {
        let is_free = |fid: &u32| !self.fids.contains_key(fid) && !self.names(*fid);
        (0..).find(is_free).expect("there is one")
    }

    /// Returns the fids that a request may name now.
    pub fn usable(&self, pipelines: bool) -> Vec<u32> {
        let is_known = |fid: &ClientFid| fid.inode.is_some() && !fid.busy;
        let is_usable = |fid: &ClientFid| !fid.ends && (pipelines || is_known(fid));
        self.fids.iter().filter(|(_, fid)| is_usable(fid)).map(|(name, _)| *name).collect()
    }

    /// Returns true if an open request names this fid.
    pub fn names(&self, fid: u32) -> bool {
        self.open.values().any(|open| open.fids.contains(&fid))
    }

    /// Returns true if the effect of a flush of this tag is known.
    pub fn may_flush(&self, tag: u16) -> bool {
        let never = [types::TVERSION, types::TFLUSH, types::TCLUNK, types::TREMOVE];
        self.open.get(&tag).is_some_and(|open| !never.contains(&open.kind))
    }

    /// Records what a request of this client, with this number in the ledger, does before it has its reply.
    pub fn sends(
        &mut self,
        dialect: Dialect,
        message: &[u8],
        number: usize,
        (identity, losses): (usize, u32),
    ) {
        let fids = fids_of(dialect, message);
        let open =
            Open { number, kind: kind(message), fids: fids.iter().map(|fid| fid.0).collect() };
        self.open.insert(tag(message), open);
        match kind(message) {
            types::TVERSION => {
                self.asking = true;
                self.in_session = false;
            }
            types::TAUTH | types::TATTACH => {
                self.fids.insert(fids[0].0, ClientFid::pending(identity, losses));
            }
            types::TWALK | kinds::TXATTRWALK if fids[0].0 != fids[1].0 => {
                let from = &self.fids[&fids[0].0];
                let new = ClientFid::pending(from.identity, losses);
                self.fids.insert(fids[1].0, new);
            }
            what if makes_busy(what) => {
                let fid = self.fids.get_mut(&fids[0].0).expect("it has the fid");
                fid.busy = true;
                fid.ends |= matches!(what, types::TCLUNK | types::TREMOVE);
            }
            kinds::TLOCK => {
                self.fids.get_mut(&fids[0].0).expect("it has the fid").may_lock = true;
            }
            types::TREAD if u64_at(message, 11) == 0 => {
                self.fids.get_mut(&fids[0].0).expect("it has the fid").reads_anew = false;
            }
            _ => {}
        }
    }

    /// The server is lost, with all that it had.
    pub fn server_lost(&mut self, again: bool, ledger: &Ledger) {
        // One that is on its way counts as sent after the loss.
        let begins = |open: &Open| {
            let message = &ledger.entries[open.number].message;
            open.kind == types::TREAD && u64_at(message, 11) == 0
        };
        let begin: Vec<u32> =
            self.open.values().filter(|open| begins(open)).map(|open| open.fids[0]).collect();
        for (name, fid) in &mut self.fids {
            fid.must_fail |= (fid.locked && !again) || fid.xattr || fid.xattr_writing;
            fid.must_fail |= fid.qtype == super::disk::QT_AUTH;
            fid.may_alarm |= fid.open.is_some() || fid.busy;
            let synced = fid.inode.and_then(|inode| ledger.synced.get(&inode)).copied();
            fid.must_alarm |= fid.written > synced.unwrap_or(0) && fid.open.is_some();
            fid.reads_anew |= fid.qtype & QT_DIR != 0 && !begin.contains(name);
        }
    }

    /// Files have moved for this identity. 9pmux keeps the names of each identity for itself.
    pub fn others_moved(&mut self, files: &[u64], identity: Option<usize>) {
        for fid in self.fids.values_mut().filter(|fid| Some(fid.identity) != identity) {
            fid.fragile |= fid.inode.is_none_or(|inode| files.contains(&inode));
        }
    }

    /// Examines a message for this client.
    pub fn receives(&mut self, message: &[u8], ledger: &mut Ledger, view: &View<'_>) {
        self.replies += 1;
        let shown = || format!("client {}: {}", self.number, show(view.dialect, message));
        assert!(message.len() <= view.msize as usize, "too large for {}", shown());
        let Some(Open { number, .. }) = self.open.remove(&tag(message)) else {
            panic!("a reply to nothing for {}", shown());
        };
        let entry = &ledger.entries[number];
        assert!(entry.end <= self.delivered, "a reply before the request for {}", shown());
        let request = entry.message.clone();
        let is_local = is_error(message) && self.is_local(entry, ledger, message, view);
        if !is_local {
            self.check_reply(number, message, ledger, view);
        }
        let error = is_error(message);
        ledger.entries[number].fate = Fate::Closed;
        match kind(&request) {
            types::TFLUSH => self.flushed(u16_at(&request, HEADER), ledger, view),
            types::TVERSION => self.has_version(message, ledger, view),
            what => {
                let first = fids_of(view.dialect, &request).first().map(|fid| fid.0);
                let syncs = what == kinds::TFSYNC || (what == 126 && is_sync(&request));
                if let Some(fid) = first.and_then(|fid| self.fids.get_mut(&fid)) {
                    let last = ledger.last_execution(number);
                    match what {
                        types::TWRITE if !error => fid.written = fid.written.max(last),
                        _ if syncs && is_local && !losses_or_time(message, view) => {
                            (fid.must_alarm, fid.may_alarm) = (false, !view.repeats);
                        }
                        _ if syncs && !error => ledger.synchronized(fid.inode, last),
                        _ => {}
                    }
                }
                self.settle(&request, (!error).then_some(message), view);
            }
        }
    }

    /// Returns true if a message is an error of 9pmux itself, which must be permitted then.
    fn is_local(&self, entry: &Entry, ledger: &Ledger, message: &[u8], view: &View<'_>) -> bool {
        let is = |why: &LocalError| is_local_error(view.dialect, message, *why);
        let whys: Vec<LocalError> = LocalError::ALL.into_iter().filter(is).collect();
        if whys.is_empty() {
            return false;
        }
        let permitted = whys.iter().any(|why| self.is_permitted(entry, why.ename(), view));
        assert!(
            permitted,
            "{whys:?} for client {}: {}, {}",
            self.number,
            show(view.dialect, &entry.message),
            ledger_line(entry, ledger),
        );
        true
    }

    /// Returns true if 9pmux may refuse a request for this reason.
    fn is_permitted(&self, entry: &Entry, why: &str, view: &View<'_>) -> bool {
        let fids = fids_of(view.dialect, &entry.message);
        let what = entry.kind();
        let losses = view.losses;
        let of = |i: usize| fids.get(i).and_then(|named| self.fids.get(&named.0));
        let any = |is: &dyn Fn(&ClientFid) -> bool| (0..2).any(|i| of(i).is_some_and(is));
        let lost_since = losses.count > entry.losses;
        match why {
            "server lost; this may or may not have been done" => {
                let was_written = !entry.written.is_empty();
                let writes_xattr = what == types::TCLUNK && any(&|fid| fid.xattr_writing);
                // The file may have been removed before.
                let removed = fids.iter().any(|f| self.fids.get(&f.0).is_none_or(|fid| fid.ends));
                (lost_since && removed)
                    || (lost_since && !entry.repeatable && was_written && what != types::TCLUNK)
                    || writes_xattr
                    || (lost_since && any(&|fid| fid.is_dead(view)))
            }
            "the server does not answer; still trying" => losses.is_impatient(),
            "file is gone: the server came back without it" => any(&|fid| fid.is_dead(view)),
            "file does not exist" => {
                matches!(what, kinds::TGETATTR | 124)
                    && any(&|fid| fid.open.is_none() && fid.is_dead(view))
            }
            "file not open again: the server does not reply" => {
                any(&|fid| fid.may_be_blocked(view) && fid.has_lost(view))
            }
            "lock lost: the server was away" => any(&|fid| fid.may_lock && fid.has_lost(view)),
            "authenticate again" => {
                any(&|fid| super::IDENTITIES[fid.identity].authenticates && fid.has_lost(view))
            }
            "earlier writes may be lost: the server was away" => {
                matches!(what, kinds::TFSYNC | 126) && any(&|fid| fid.may_alarm)
            }
            "directory must be read anew" => {
                what == types::TREAD
                    && view.dialect != Dialect::L
                    && any(&|fid| fid.qtype & QT_DIR != 0 && fid.has_lost(view))
                    && u64_at(&entry.message, 11) != 0
            }
            "unknown fid" => entry.is_pipelined(),
            _ => false,
        }
    }

    /// Checks that the server has given this reply, or that 9pmux may give it.
    fn check_reply(&self, number: usize, message: &[u8], ledger: &Ledger, view: &View<'_>) {
        let entry = &ledger.entries[number];
        let what = entry.kind();
        if matches!(what, types::TFLUSH | types::TVERSION) {
            return assert_eq!(kind(message), what + 1);
        }
        let given = ledger
            .same(entry)
            .flat_map(|same| &same.executions)
            .any(|execution| is_reply(&execution.reply, message));
        let here = what == types::TCLUNK || (what == types::TATTACH && view.attach_once);
        assert!(
            given || (here && (kind(message) == what + 1 || view.attach_once)),
            "client {} gets {} for {}, which the server has not sent: {}",
            self.number,
            show(view.dialect, message),
            show(view.dialect, &entry.message),
            ledger_line(entry, ledger),
        );
        if is_error(message) {
            return;
        }
        let fid = fids_of(view.dialect, &entry.message).first().and_then(|f| self.fids.get(&f.0));
        let Some(fid) = fid else { return };
        let shown = || show(view.dialect, &entry.message).to_string();
        let syncs = what == kinds::TFSYNC || (what == 126 && is_sync(&entry.message));
        assert!(!(syncs && fid.must_alarm), "lost writes count as synchronized: {}", shown());
        assert!(
            what == types::TCLUNK && !fid.xattr_writing || !fid.must_fail,
            "it must not work since the loss: {}",
            shown()
        );
        if matches!(kind(message), types::RREAD | kinds::RREADDIR) {
            for cell in message[DATA_HEADER as usize..].chunks(8) {
                let of_file = fid.inode.is_none_or(|inode| u64::from(u32_at(cell, 0)) == inode);
                assert!(of_file, "client {} reads another file", self.number);
            }
            let plain = view.dialect != Dialect::L && kind(message) == types::RREAD;
            let reads_on = plain && u64_at(&entry.message, 11) != 0;
            assert!(!(reads_on && fid.reads_anew), "a directory is read on: {}", shown());
        }
    }

    /// An Rflush: the request with this tag gets no reply.
    fn flushed(&mut self, oldtag: u16, ledger: &mut Ledger, view: &View<'_>) {
        let Some(Open { number, .. }) = self.open.remove(&oldtag) else { return };
        let victim = &mut ledger.entries[number];
        victim.fate = Fate::Closed;
        let message = victim.message.clone();
        self.settle(&message, None, view);
    }

    fn has_version(&mut self, message: &[u8], ledger: &mut Ledger, view: &View<'_>) {
        self.asking = false;
        for open in std::mem::take(&mut self.open).into_values() {
            ledger.entries[open.number].fate = Fate::Orphan(view.losses.session);
        }
        self.fids.clear();
        if is_error(message) {
            return;
        }
        let mut fields = Fields::of(message);
        let (msize, name) = (fields.u32(), fields.str());
        assert!(msize <= view.msize && msize >= 256, "msize {msize}");
        assert_eq!(name, view.dialect.name());
        self.msize = msize;
        self.in_session = true;
    }

    /// Records what a request has done to the fids. Without a reply it has done nothing.
    fn settle(&mut self, request: &[u8], reply: Option<&[u8]>, view: &View<'_>) {
        let fids = fids_of(view.dialect, request);
        let Some(&(first, _)) = fids.first() else { return };
        let what = kind(request);
        let losses = view.losses.count;
        if matches!(what, types::TCLUNK | types::TREMOVE) {
            self.fids.remove(&first);
            return;
        }
        let moves = what != types::TWALK || fids[1].0 == first;
        if let Some(fid) = self.fids.get_mut(&first).filter(|_| makes_busy(what) && moves) {
            fid.busy = false;
        }
        match (what, reply) {
            (types::TAUTH | types::TATTACH, Some(reply)) => {
                let fid = self.fids.get_mut(&first).expect("it is pending");
                fid.is_at(reply, HEADER);
            }
            (types::TAUTH | types::TATTACH, None) => {
                self.fids.remove(&first);
            }
            (types::TWALK, _) => {
                let (count, newfid) = (u16_at(request, 15), fids[1].0);
                let walked = reply.map_or(0, |reply| u16_at(reply, HEADER));
                if reply.is_none() || walked < count {
                    if newfid != first {
                        self.fids.remove(&newfid);
                    }
                    return;
                }
                let reply = reply.expect("it was walked");
                let from = self.fids.get(&first).cloned();
                let Some(fid) = self.fids.get_mut(&newfid) else { return };
                let mut fragile = from.as_ref().is_some_and(|from| from.fragile);
                match &from {
                    Some(from) if count == 0 => {
                        (fid.inode, fid.qtype) = (from.inode, from.qtype);
                    }
                    Some(_) => fid.is_at(reply, reply.len() - 13),
                    None => {}
                }
                let through = (0..walked as usize).map(|i| path_at(reply, 9 + 13 * i));
                for inode in through.chain(from.and_then(|from| from.inode)) {
                    fragile |= view.disk.get(inode).disturbed;
                }
                fid.fragile |= fragile;
                fid.losses = losses;
            }
            (kinds::TXATTRWALK, reply) => {
                let newfid = fids[1].0;
                if reply.is_none() {
                    self.fids.remove(&newfid);
                    return;
                }
                let from = self.fids.get(&first).cloned();
                if let (Some(from), Some(fid)) = (from, self.fids.get_mut(&newfid)) {
                    let (open, locked) = (None, false);
                    let (busy, ends) = (fid.busy, fid.ends);
                    *fid = ClientFid { xattr: true, losses, open, locked, busy, ends, ..from };
                }
            }
            (_, Some(reply)) => {
                if let Some(fid) = self.fids.get_mut(&first) {
                    // The names of a directory are those of a file that is created in it.
                    let inode = fid.inode.filter(|inode| *inode != 0);
                    fid.fragile |= inode.is_some_and(|inode| view.disk.get(inode).disturbed);
                    fid.succeeded(request, reply, losses);
                }
            }
            (_, None) => {}
        }
    }
}

impl ClientFid {
    fn pending(identity: usize, losses: u32) -> ClientFid {
        ClientFid {
            inode: None,
            qtype: 0,
            identity,
            open: None,
            xattr: false,
            xattr_writing: false,
            locked: false,
            may_lock: false,
            busy: false,
            ends: false,
            losses,
            fragile: false,
            must_fail: false,
            written: 0,
            must_alarm: false,
            may_alarm: false,
            reads_anew: false,
        }
    }

    /// Sets the file from the qid at an offset of a reply.
    fn is_at(&mut self, reply: &[u8], at: usize) {
        self.qtype = reply[at];
        self.inode = Some(path_at(reply, at));
    }

    /// A request on this fid has succeeded that does not create or release a fid.
    fn succeeded(&mut self, request: &[u8], reply: &[u8], losses: u32) {
        match kind(request) {
            types::TOPEN => {
                self.open = Some(u32::from(request[11]));
                self.reads_anew = false;
            }
            types::TLOPEN => self.open = Some(u32_at(request, 11)),
            types::TCREATE | types::TLCREATE => {
                self.is_at(reply, HEADER);
                let mut fields = Fields::of(request);
                fields.skip(4);
                fields.str();
                let first = fields.u32();
                let mode = if kind(request) == types::TCREATE { fields.u8().into() } else { first };
                (self.open, self.losses) = (Some(mode), losses);
                self.reads_anew = false;
            }
            kinds::TXATTRCREATE => self.xattr_writing = true,
            kinds::TLOCK if reply[HEADER] == 0 => self.locked = request[11] != 2,
            _ => {}
        }
    }

    fn has_lost(&self, view: &View<'_>) -> bool {
        self.was_at_loss(view.losses)
    }

    /// Returns true if it existed when the server was lost.
    pub fn was_at_loss(&self, losses: &Losses) -> bool {
        losses.count > self.losses
    }

    /// Returns true if the server may have come back without this file, as far as 9pmux can know it.
    fn is_dead(&self, view: &View<'_>) -> bool {
        let inode = self.inode.filter(|inode| *inode != 0);
        let moved = inode.is_none_or(|inode| {
            let file = view.disk.get(inode);
            file.disturbed || !view.disk.is_in_tree(inode)
        });
        let removes = self.open.is_some_and(|mode| super::removes_on_close(view.dialect, mode));
        let authenticates = super::IDENTITIES[self.identity].authenticates;
        let causes = self.fragile || self.must_fail || removes || self.xattr || moved;
        let of_server = view.losses.numbers_anew || view.losses.refuses;
        let of_server = of_server || view.losses.was_busy_too_long;
        let causes = causes || self.may_be_blocked(view);
        self.has_lost(view) && (causes || of_server || authenticates)
    }

    /// Returns true if the server may have blocked when the file was opened again.
    fn may_be_blocked(&self, view: &View<'_>) -> bool {
        self.open.is_some() && view.losses.may_block
    }
}

fn path_at(message: &[u8], at: usize) -> u64 {
    u64::from(u32_at(message, at + 5))
}

/// Returns true if an error of 9pmux says only that the server is away.
fn losses_or_time(message: &[u8], view: &View<'_>) -> bool {
    let away = |why: &LocalError| why.ename() == "the server does not answer; still trying";
    LocalError::ALL.iter().any(|why| away(why) && is_local_error(view.dialect, message, *why))
}

/// Returns true if a Twstat changes nothing.
pub fn is_sync(message: &[u8]) -> bool {
    message[HEADER + 8..].iter().all(|byte| *byte == 0xFF || *byte == 0)
}

/// Returns what a request may do to names.
pub fn moves_names(message: &[u8]) -> bool {
    match kind(message) {
        types::TREMOVE | types::TCREATE | types::TLCREATE => true,
        kinds::TRENAME | kinds::TRENAMEAT | kinds::TUNLINKAT | kinds::TMKDIR => true,
        kinds::TSYMLINK | kinds::TMKNOD => true,
        126 => !wstat_name(message).is_empty(),
        _ => false,
    }
}

fn ledger_line(entry: &Entry, ledger: &Ledger) -> String {
    let of = |same: &Entry| -> Vec<(u32, Vec<u8>)> {
        same.executions.iter().map(|e| (e.session, e.reply.clone())).collect()
    };
    let all: Vec<(u32, Vec<u8>)> = ledger.same(entry).flat_map(of).collect();
    format!(
        "written in {:?}, repeatable {}, expected {:?}, marked {}, executed {all:?}",
        entry.written, entry.repeatable, entry.expected, entry.marked
    )
}

/// Returns true if other requests of a fid wait for the reply to this one.
pub fn makes_busy(what: u8) -> bool {
    let changes = [types::TOPEN, types::TLOPEN, types::TCREATE, types::TLCREATE];
    let ends = [types::TCLUNK, types::TREMOVE, types::TWALK, kinds::TXATTRCREATE];
    changes.contains(&what) || ends.contains(&what)
}
