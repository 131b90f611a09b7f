//! One session of the server: its fids, and what it does with a request.
//!
//! The session ends with its connection; the disk stays.

use std::collections::{BTreeMap, VecDeque};

use super::disk::{Disk, QT_AUTH, QT_DIR};
use super::fields::Fields;
use super::{OEXCL, OTRUNC, kinds};
use crate::engine::fuzz::messages::{MessageBuilder, made, rversion};
use crate::wire::{Dialect, NOFID, kind, tag, types};

/// The inode of an auth fid.
pub const NO_INODE: u64 = 0;

#[derive(Clone)]
pub struct ServerFid {
    pub inode: u64,
    /// The file that it was attached to: the parent of that is the file itself.
    root: u64,
    /// The user that it was attached as.
    pub uname: String,
    /// The mode or the flags that it was opened with.
    pub open: Option<u32>,
    /// It is an auth fid for this uname.
    pub auth: Option<String>,
    /// It is an extended attribute, which is being read or written.
    pub xattr: bool,
    pub locked: bool,
    /// 9pmux has attached it for itself, or walked it from there.
    pub own: bool,
}

impl ServerFid {
    fn at(inode: u64, root: u64, uname: &str) -> ServerFid {
        let uname = uname.to_owned();
        ServerFid {
            inode,
            root,
            uname,
            open: None,
            auth: None,
            xattr: false,
            locked: false,
            own: false,
        }
    }
}

/// A request on its way to the server, or one that has arrived and has not been executed.
pub struct Request {
    pub message: Vec<u8>,
    /// 9pmux has made it for itself.
    pub own: bool,
    /// It is a request of the replay.
    pub replays: bool,
    /// The number of the client's request in the ledger, if it is one.
    pub number: Option<usize>,
    /// It gets no reply until it is flushed or the session ends.
    pub held: bool,
}

pub struct Session {
    /// The number of the session, from 1.
    pub number: u32,
    pub dialect: Dialect,
    msize: u32,
    /// The upper half of the paths of its qids: another one if the server numbers its files anew.
    salt: u64,
    pub fids: BTreeMap<u32, ServerFid>,
    /// The requests that have been written to the connection and have not been read.
    pub pipe: VecDeque<Request>,
    pub waiting: VecDeque<Request>,
    /// Replies that have not been delivered.
    pub output: Vec<u8>,
    pub has_version: bool,
    /// One in so many requests fails; 0 means none.
    pub fails: usize,
}

/// The reasons of the server for an error.
const NO_FID: u32 = 5001;
const REFUSED: u32 = 5000;
const IS_NOT: u32 = 5002;

impl Session {
    pub fn new(number: u32, dialect: Dialect, msize: u32, salt: u64) -> Session {
        Session {
            number,
            dialect,
            msize,
            salt,
            fids: BTreeMap::new(),
            pipe: VecDeque::new(),
            waiting: VecDeque::new(),
            output: Vec::new(),
            has_version: false,
            fails: 0,
        }
    }

    /// Returns the file of a fid, or of none if there is no such fid.
    pub fn inode(&self, fid: u32) -> Option<u64> {
        self.fids.get(&fid).map(|fid| fid.inode)
    }

    /// A fid was attached by 9pmux for itself.
    pub fn mark_own(&mut self, fid: u32) {
        if let Some(fid) = self.fids.get_mut(&fid) {
            fid.own = true;
        }
    }

    fn qid(&self, disk: &Disk, inode: u64, reply: MessageBuilder) -> MessageBuilder {
        let (qtype, version) = match inode {
            NO_INODE => (QT_AUTH, 0),
            _ => (disk.get(inode).qtype, disk.get(inode).version),
        };
        reply.u8(qtype).u32(version).u64(self.salt << 32 | inode)
    }

    fn error(&self, message: &[u8], number: u32) -> Vec<u8> {
        let (name, tag) = (format!("server error {number}"), tag(message));
        match self.dialect {
            Dialect::Plain => made(107, tag).str(name).done(),
            Dialect::U => made(107, tag).str(name).u32(number).done(),
            Dialect::L => made(7, tag).u32(number).done(),
        }
    }

    /// Returns the error with this number, which says nothing of the files.
    pub fn refuse_by(&self, message: &[u8], number: u32) -> Vec<u8> {
        self.error(message, number)
    }

    /// Returns an error that says nothing of the files.
    pub fn refuse(&self, message: &[u8]) -> Vec<u8> {
        self.error(message, REFUSED)
    }

    /// Executes a request, and returns the reply.
    pub fn execute(&mut self, disk: &mut Disk, message: &[u8]) -> Vec<u8> {
        let reply = made(kind(message) + 1, tag(message));
        self.perform(disk, message, reply)
            .map_or_else(|number| self.error(message, number), MessageBuilder::done)
    }

    fn perform(
        &mut self,
        disk: &mut Disk,
        message: &[u8],
        reply: MessageBuilder,
    ) -> Result<MessageBuilder, u32> {
        let mut fields = Fields::of(message);
        match kind(message) {
            types::TVERSION => {
                let (msize, name) = (fields.u32().min(self.msize), fields.str());
                self.has_version = true;
                self.fids.clear();
                let name = if name == self.dialect.name() { name } else { "unknown" };
                let body = rversion(msize, name);
                Ok(reply.raw(&body[crate::wire::HEADER..]))
            }
            types::TAUTH => {
                let (fid, uname) = (fields.u32(), fields.str());
                let auth = Some(uname.to_owned());
                self.fids
                    .insert(fid, ServerFid { auth, ..ServerFid::at(NO_INODE, NO_INODE, uname) });
                Ok(self.qid(disk, NO_INODE, reply))
            }
            types::TATTACH => {
                let (fid, afid, uname) = (fields.u32(), fields.u32(), fields.str());
                let aname = fields.str();
                let is_of = |fid: &ServerFid| fid.auth.as_deref() == Some(uname);
                if afid != NOFID && !self.fids.get(&afid).is_some_and(is_of) {
                    return Err(REFUSED);
                }
                let root = match aname {
                    "" => disk.root,
                    name => disk.child(disk.root, name).ok_or(REFUSED)?,
                };
                self.fids.insert(fid, ServerFid::at(root, root, uname));
                Ok(self.qid(disk, root, reply))
            }
            types::TFLUSH => {
                let oldtag = fields.u16();
                self.waiting.retain(|request| tag(&request.message) != oldtag);
                Ok(reply)
            }
            _ => self.perform_on_fid(disk, message, reply),
        }
    }

    /// Performs a request whose first field is a fid.
    fn perform_on_fid(
        &mut self,
        disk: &mut Disk,
        message: &[u8],
        reply: MessageBuilder,
    ) -> Result<MessageBuilder, u32> {
        let mut fields = Fields::of(message);
        let name = fields.u32();
        let fid = self.fids.get(&name).ok_or(NO_FID)?.clone();
        let inode = fid.inode;
        let what = kind(message);
        if matches!(what, types::TCLUNK | types::TREMOVE) {
            self.fids.remove(&name);
            self.close(disk, &fid);
            return match what {
                types::TREMOVE if inode == NO_INODE || !disk.remove(inode) => Err(REFUSED),
                _ => Ok(reply),
            };
        }
        if fid.xattr || fid.auth.is_some() {
            return match what {
                types::TREAD => Ok(reply.u32(0)),
                types::TWRITE => {
                    fields.skip(8);
                    Ok(reply.u32(fields.u32()))
                }
                _ => Err(IS_NOT),
            };
        }
        match what {
            types::TWALK => self.walk(disk, &fid, name, fields, reply),
            types::TREAD | kinds::TREADDIR => {
                let is_directory = disk.is_directory(inode);
                let (offset, count) = (fields.u64() as u32, fields.u32());
                if fid.open.is_none() || (what == kinds::TREADDIR && !is_directory) {
                    return Err(IS_NOT);
                }
                let data = disk.read(inode, offset as usize, count as usize);
                Ok(reply.u32(data.len() as u32).raw(&data))
            }
            types::TWRITE => {
                let (offset, count) = (fields.u64() as u32, fields.u32());
                if fid.open.is_none() || disk.is_directory(inode) {
                    return Err(IS_NOT);
                }
                let appends = super::appends(self.dialect, fid.open.unwrap_or(0));
                disk.write(inode, offset as usize, fields.rest(), appends);
                Ok(reply.u32(count))
            }
            types::TOPEN | types::TLOPEN => {
                let mode = if what == types::TOPEN { u32::from(fields.u8()) } else { fields.u32() };
                if fid.open.is_some() {
                    return Err(IS_NOT);
                }
                if super::truncates(self.dialect, mode) && !disk.is_directory(inode) {
                    disk.get_mut(inode).cells.clear();
                }
                self.fids.get_mut(&name).expect("it exists").open = Some(mode);
                Ok(self.qid(disk, inode, reply).u32(0))
            }
            types::TCREATE | types::TLCREATE => {
                let new = fields.str();
                let (perm, mode) = match what {
                    types::TCREATE => (fields.u32(), u32::from(fields.u8())),
                    _ => {
                        let flags = fields.u32();
                        (0, flags)
                    }
                };
                if !disk.is_directory(inode) || fid.open.is_some() {
                    return Err(IS_NOT);
                }
                let made = match disk.child(inode, new) {
                    Some(_) if what == types::TCREATE || mode & OEXCL != 0 => return Err(REFUSED),
                    Some(old) if disk.is_directory(old) => return Err(IS_NOT),
                    Some(old) => {
                        if mode & OTRUNC != 0 {
                            disk.get_mut(old).cells.clear();
                        }
                        old
                    }
                    None => disk.add(inode, new, (perm >> 24) as u8),
                };
                let of_client = self.fids.get_mut(&name).expect("it exists");
                (of_client.inode, of_client.open) = (made, Some(mode));
                Ok(self.qid(disk, made, reply).u32(0))
            }
            124 => Ok(self.stat(disk, inode, reply)),
            126 => {
                let sync =
                    message[fields_of_wstat()..].iter().all(|byte| *byte == 0xFF || *byte == 0);
                if sync {
                    disk.sync(inode);
                    return Ok(reply);
                }
                let new = wstat_name(message);
                if !new.is_empty() {
                    let parent = disk.get(inode).place.clone().ok_or(REFUSED)?.0;
                    if disk.child(parent, new).is_some() || !disk.rename(inode, parent, new) {
                        return Err(REFUSED);
                    }
                }
                disk.get_mut(inode).version += 1;
                Ok(reply)
            }
            _ => self.perform_linux(disk, (name, &fid), message, reply),
        }
    }

    fn perform_linux(
        &mut self,
        disk: &mut Disk,
        (name, fid): (u32, &ServerFid),
        message: &[u8],
        reply: MessageBuilder,
    ) -> Result<MessageBuilder, u32> {
        let mut fields = Fields::of(message);
        fields.skip(4);
        let inode = fid.inode;
        let directory =
            |disk: &Disk, inode| if disk.is_directory(inode) { Ok(()) } else { Err(IS_NOT) };
        match kind(message) {
            kinds::TSTATFS => Ok(reply.raw(&[1; 60])),
            kinds::TREADLINK => Ok(reply.str(format!("link {inode}"))),
            kinds::TGETATTR => {
                let reply = self.qid(disk, inode, reply.u64(0x7FF));
                Ok(reply.raw(&[3; 132]))
            }
            kinds::TSETATTR => {
                disk.get_mut(inode).version += 1;
                Ok(reply)
            }
            kinds::TSYMLINK | kinds::TMKNOD | kinds::TMKDIR => {
                directory(disk, inode)?;
                let new = fields.str();
                if disk.child(inode, new).is_some() {
                    return Err(REFUSED);
                }
                let qtype = if kind(message) == kinds::TMKDIR { QT_DIR } else { 0 };
                let made = disk.add(inode, new, qtype);
                Ok(self.qid(disk, made, reply))
            }
            kinds::TRENAME => {
                let target = self.inode(fields.u32()).ok_or(NO_FID)?;
                if target == NO_INODE || !disk.rename(inode, target, fields.str()) {
                    return Err(REFUSED);
                }
                Ok(reply)
            }
            kinds::TRENAMEAT => {
                let old = fields.str();
                let target = self.inode(fields.u32()).ok_or(NO_FID)?;
                let moved = disk.child(inode, old).ok_or(REFUSED)?;
                if target == NO_INODE || !disk.rename(moved, target, fields.str()) {
                    return Err(REFUSED);
                }
                Ok(reply)
            }
            kinds::TUNLINKAT => {
                let old = disk.child(inode, fields.str()).ok_or(REFUSED)?;
                if disk.remove(old) { Ok(reply) } else { Err(REFUSED) }
            }
            kinds::TXATTRWALK => {
                let newfid = fields.u32();
                self.fids.insert(newfid, ServerFid { xattr: true, ..fid.clone() });
                Ok(reply.u64(16))
            }
            kinds::TXATTRCREATE => {
                self.fids.get_mut(&name).expect("it exists").xattr = true;
                Ok(reply)
            }
            kinds::TFSYNC => {
                disk.sync(inode);
                Ok(reply)
            }
            kinds::TLOCK => {
                if fid.open.is_none() {
                    return Err(IS_NOT);
                }
                let unlocks = fields.u8() == 2;
                self.fids.get_mut(&name).expect("it exists").locked = !unlocks;
                Ok(reply.u8(0))
            }
            kinds::TGETLOCK => {
                let what = fields.u8();
                let (start, length, proc_id) = (fields.u64(), fields.u64(), fields.u32());
                Ok(reply.u8(what).u64(start).u64(length).u32(proc_id).str(fields.str()))
            }
            _ => Err(REFUSED),
        }
    }

    fn walk(
        &mut self,
        disk: &Disk,
        fid: &ServerFid,
        name: u32,
        mut fields: Fields<'_>,
        reply: MessageBuilder,
    ) -> Result<MessageBuilder, u32> {
        let (newfid, count) = (fields.u32(), fields.u16());
        if fid.open.is_some() && newfid == name {
            return Err(IS_NOT);
        }
        let (mut at, mut qids, mut walked) = (fid.inode, made(0, 0), 0);
        let start = qids.clone().done().len();
        for _ in 0..count {
            let next = match fields.str() {
                ".." if at == fid.root => Some(at),
                name => disk.step(at, name),
            };
            let Some(next) = next else { break };
            at = next;
            walked += 1;
            qids = self.qid(disk, at, qids);
        }
        if walked == 0 && count > 0 {
            return Err(IS_NOT);
        }
        if walked == count {
            let own = fid.own && count > 0;
            self.fids.insert(newfid, ServerFid { own, ..ServerFid::at(at, fid.root, &fid.uname) });
        }
        Ok(reply.u16(walked).raw(&qids.done()[start..]))
    }

    fn stat(&self, disk: &Disk, inode: u64, reply: MessageBuilder) -> MessageBuilder {
        let name = disk.get(inode).place.as_ref().map_or("/", |place| &place.1).to_owned();
        let empty = made(0, 0);
        let fields = self.qid(disk, inode, empty.u16(0).u32(0)).u32(0o644).u32(1).u32(2).u64(3);
        let fields = fields.str(name).str("u").str("g").str("");
        let fields = match self.dialect {
            Dialect::U => fields.str("x").u32(1).u32(2).u32(3),
            _ => fields,
        };
        let fields = &fields.done()[crate::wire::HEADER..];
        let length = fields.len() as u16;
        reply.u16(length + 2).u16(length).raw(fields)
    }

    /// A fid ends: the file is removed with it if it was opened for that.
    fn close(&mut self, disk: &mut Disk, fid: &ServerFid) {
        let removes = fid.open.is_some_and(|mode| super::removes_on_close(self.dialect, mode));
        if removes && !fid.xattr && fid.auth.is_none() {
            disk.disturb(fid.inode);
            disk.remove(fid.inode);
        }
    }

    /// The connection has ended, and the server has noticed it.
    pub fn end(&mut self, disk: &mut Disk) {
        for fid in std::mem::take(&mut self.fids).into_values() {
            self.close(disk, &fid);
        }
    }
}

/// The offset of the fields of a Twstat that may all be without a change: behind fid, stat[n] and size.
fn fields_of_wstat() -> usize {
    crate::wire::HEADER + 4 + 2 + 2
}

/// Returns the name in a Twstat.
pub fn wstat_name(message: &[u8]) -> &str {
    let mut fields = Fields::of(message);
    fields.skip(4 + 2 + 2 + 2 + 4 + 13 + 4 + 4 + 4 + 8);
    fields.str()
}
