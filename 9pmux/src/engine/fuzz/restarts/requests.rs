//! What clients ask: only what the protocol permits, of fids that they have.

use super::client::{ClientFid, Peer};
use super::disk::{CELL, DEEP, Disk, NAMES, QT_AUTH, QT_DIR, cell};
use super::{IDENTITIES, OAPPEND, OAPPEND_U, OCREATE, OEXCL, ORCLOSE, OTRUNC, OTRUNC_PLAIN, kinds};
use crate::engine::fuzz::bytes::Bytes;
use crate::engine::fuzz::messages::{MessageBuilder, flush, made, of_fid, version, walk};
use crate::wire::{Dialect, HEADER, NOFID, types};

/// A request, the identity that it attaches, and whether no other request is like it.
pub struct Asked {
    pub message: Vec<u8>,
    pub identity: usize,
    pub marked: bool,
}

/// What a client needs to know for a request.
pub struct Asker<'a, 'b> {
    pub bytes: &'a mut Bytes<'b>,
    pub disk: &'a Disk,
    pub dialect: Dialect,
    /// A number that no other request has.
    pub mark: u32,
    pub pipelines: bool,
    pub authenticates: bool,
}

const MAX_FIDS: usize = 12;

impl Asker<'_, '_> {
    /// Returns a client's next request, if it has something to ask.
    pub fn ask(&mut self, peer: &mut Peer) -> Option<Asked> {
        let plain = |message| Some(Asked { message, identity: 0, marked: false });
        if peer.asking || peer.open.len() > 30 {
            return None;
        }
        if !peer.in_session || self.bytes.rarely(200) {
            let msize = 400 + 4 * u32::from(self.bytes.next());
            let mut message = version(msize, self.dialect.name());
            message[5..7].copy_from_slice(&peer.tag().to_le_bytes());
            return plain(message);
        }
        let usable = peer.usable(self.pipelines);
        if usable.is_empty() || (peer.fids.len() < MAX_FIDS && self.bytes.rarely(16)) {
            return self.attach(peer);
        }
        if self.bytes.rarely(12) {
            return self.flush(peer);
        }
        let fid = self.bytes.pick(&usable);
        let of = peer.fids[&fid].clone();
        let idle = |peer: &Peer, fid: u32| !peer.fids[&fid].busy;
        let roll = self.bytes.below(16);
        if roll == 0 && idle(peer, fid) && !self.has_open(peer, fid) {
            return plain(of_fid(types::TCLUNK, peer.tag(), fid));
        }
        if of.qtype & QT_AUTH != 0 {
            let tag = peer.tag();
            return Some(match roll % 2 {
                0 => self.read(tag, fid, true, 0),
                _ => self.write(tag, fid, 0),
            });
        }
        if of.xattr || of.xattr_writing {
            let tag = peer.tag();
            return Some(match of.xattr_writing {
                true => self.write(tag, fid, of.inode.unwrap_or(0)),
                false => self.read(tag, fid, true, 0),
            });
        }
        match roll {
            1..5 if of.open.is_none() && peer.fids.len() < MAX_FIDS => self.walk(peer, fid, &of),
            5..8 if of.open.is_none() && idle(peer, fid) && !self.has_open(peer, fid) => {
                self.open(peer, fid, &of)
            }
            8 | 9 => self.change_names(peer, fid, &of),
            _ => Some(self.use_file(peer, fid, &of)),
        }
    }

    /// Returns true if a request of the client names this fid and has no reply. The order of such requests at the
    /// server is its own.
    fn has_open(&self, peer: &Peer, fid: u32) -> bool {
        !self.pipelines && peer.names(fid)
    }

    fn n_uname(&self, message: MessageBuilder) -> Vec<u8> {
        if self.dialect == Dialect::Plain { message.done() } else { message.u32(7).done() }
    }

    fn attach(&mut self, peer: &mut Peer) -> Option<Asked> {
        let identity = self.bytes.below(if self.authenticates { 3 } else { 2 });
        let (uname, aname) = (IDENTITIES[identity].uname, IDENTITIES[identity].aname);
        let (tag, fid) = (peer.tag(), peer.free_fid());
        let mut afid = NOFID;
        if IDENTITIES[identity].authenticates {
            let is_auth = |of: &ClientFid| of.qtype & QT_AUTH != 0 && of.inode == Some(0);
            let known = peer.fids.iter().find(|(_, of)| is_auth(of) && of.identity == identity);
            match known {
                Some((name, of)) if !of.busy => afid = *name,
                Some(_) => return None,
                None => {
                    let message = made(types::TAUTH, tag).u32(fid).str(uname).str(aname);
                    let message = self.n_uname(message);
                    return Some(Asked { message, identity, marked: false });
                }
            }
        }
        let message = made(types::TATTACH, tag).u32(fid).u32(afid).str(uname).str(aname);
        Some(Asked { message: self.n_uname(message), identity, marked: false })
    }

    fn flush(&mut self, peer: &mut Peer) -> Option<Asked> {
        let tags: Vec<u16> = peer.open.keys().copied().collect();
        if tags.is_empty() {
            return None;
        }
        let oldtag = self.bytes.pick(&tags);
        if !peer.may_flush(oldtag) {
            return None;
        }
        let message = flush(peer.tag(), oldtag);
        Some(Asked { message, identity: 0, marked: false })
    }

    fn walk(&mut self, peer: &mut Peer, fid: u32, of: &ClientFid) -> Option<Asked> {
        let moves = self.bytes.rarely(5) && !of.busy && !peer.names(fid);
        let newfid = if moves { fid } else { peer.free_fid() };
        let mut names: Vec<String> = Vec::new();
        let mut at = of.inode.filter(|inode| *inode != 0);
        let count = self.bytes.pick(&[0, 1, 1, 2, 2, 3, 4, 16]);
        let deep = count == 16;
        for _ in 0..count {
            let known = at.map(|at| self.disk.list(at)).unwrap_or_default();
            let name = match self.bytes.below(8) {
                0 if !deep => "..".to_owned(),
                1 if !deep => self.bytes.pick(&NAMES).to_owned(),
                _ if deep && known.iter().any(|(name, _)| name == DEEP) => DEEP.to_owned(),
                n if known.is_empty() => NAMES[n % NAMES.len()].to_owned(),
                n => known[(n + self.bytes.below(8)) % known.len()].0.clone(),
            };
            at = at.and_then(|at| self.disk.step(at, &name));
            names.push(name);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let message = walk(peer.tag(), fid, newfid, &names);
        Some(Asked { message, identity: 0, marked: false })
    }

    fn open(&mut self, peer: &mut Peer, fid: u32, of: &ClientFid) -> Option<Asked> {
        let tag = peer.tag();
        let is_directory = of.qtype & QT_DIR != 0;
        let roll = self.bytes.below(8);
        if is_directory && roll < 4 {
            return self.create(tag, fid);
        }
        let message = match self.dialect {
            Dialect::L => {
                let flags = match roll {
                    _ if is_directory => 0,
                    5 => 2 | OTRUNC,
                    6 => 1 | OAPPEND,
                    _ => 2,
                };
                made(types::TLOPEN, tag).u32(fid).u32(flags)
            }
            dialect => {
                let mode = match roll {
                    _ if is_directory => 0,
                    5 => 2 | OTRUNC_PLAIN,
                    6 => 2 | ORCLOSE,
                    7 if dialect == Dialect::U => 1 | OAPPEND_U as u8,
                    _ => 2,
                };
                made(types::TOPEN, tag).u32(fid).u8(mode)
            }
        };
        Some(Asked { message: message.done(), identity: 0, marked: false })
    }

    /// A name that no file has had, or one that many have.
    fn new_name(&mut self) -> (String, bool) {
        match self.bytes.rarely(3) {
            true => (self.bytes.pick(&NAMES).to_owned(), false),
            false => (format!("n{}", self.mark), true),
        }
    }

    fn create(&mut self, tag: u16, fid: u32) -> Option<Asked> {
        let name = self.new_name().0;
        let mark = self.mark;
        let message = match self.dialect {
            Dialect::L => {
                let flags = OCREATE | self.bytes.pick(&[2, 2 | OEXCL, 2 | OTRUNC, 1 | OAPPEND]);
                made(types::TLCREATE, tag).u32(fid).str(name).u32(flags).u32(0o644).u32(mark)
            }
            dialect => {
                let perm = self.bytes.pick(&[0, 0x8000_0000, 0x4000_0000]) | (mark & 0xFF_FFFF);
                let mode = if perm >> 31 != 0 { 0 } else { 2 };
                let message = made(types::TCREATE, tag).u32(fid).str(name).u32(perm).u8(mode);
                if dialect == Dialect::U { message.str("") } else { message }
            }
        };
        Some(Asked { message: message.done(), identity: 0, marked: true })
    }

    /// A request that changes what names mean.
    fn change_names(&mut self, peer: &mut Peer, fid: u32, of: &ClientFid) -> Option<Asked> {
        let tag = peer.tag();
        let (name, marked) = self.new_name();
        let mark = self.mark;
        let is_directory = of.qtype & QT_DIR != 0;
        let roll = self.bytes.below(8);
        if roll == 0 && !of.busy && !self.has_open(peer, fid) && !is_directory {
            return Some(Asked {
                message: of_fid(types::TREMOVE, tag, fid),
                identity: 0,
                marked: false,
            });
        }
        if self.dialect != Dialect::L {
            let name = if roll < 5 { name } else { String::new() };
            return Some(Asked {
                message: self.wstat(tag, fid, &name, mark),
                identity: 0,
                marked: true,
            });
        }
        let mut directories: Vec<u32> = peer
            .usable(false)
            .into_iter()
            .filter(|fid| peer.fids[fid].qtype & QT_DIR != 0 && !peer.fids[fid].xattr)
            .collect();
        if directories.is_empty() {
            directories.push(fid);
        }
        let target = self.bytes.pick(&directories);
        let known = of.inode.map(|inode| self.disk.list(inode)).unwrap_or_default();
        let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
        let old = if names.is_empty() { "a" } else { self.bytes.pick(&names) }.to_owned();
        let (message, marked) = match roll {
            1 | 2 if !is_directory => {
                (made(kinds::TRENAME, tag).u32(fid).u32(target).str(name), marked)
            }
            3 | 4 => (made(kinds::TRENAMEAT, tag).u32(fid).str(old).u32(target).str(name), marked),
            5 => (made(kinds::TUNLINKAT, tag).u32(fid).str(old).u32(mark << 10), true),
            6 => (made(kinds::TMKDIR, tag).u32(fid).str(name).u32(0o755).u32(mark), true),
            7 => (made(kinds::TSYMLINK, tag).u32(fid).str(name).str("a").u32(mark), true),
            _ => (
                made(kinds::TMKNOD, tag).u32(fid).str(name).u32(0o644).u32(0).u32(0).u32(mark),
                true,
            ),
        };
        Some(Asked { message: message.done(), identity: 0, marked })
    }

    /// A Twstat with this name, or one that changes nothing if the mark is 0.
    fn wstat(&self, tag: u16, fid: u32, name: &str, mark: u32) -> Vec<u8> {
        let mtime = if mark == 0 { !0 } else { mark };
        let fields = made(0, 0).u16(!0).u32(!0).u8(!0).u32(!0).u64(!0);
        let fields = fields.u32(!0).u32(!0).u32(mtime).u64(!0).str(name).str("").str("").str("");
        let fields = match self.dialect {
            Dialect::U => fields.str("").u32(!0).u32(!0).u32(!0),
            _ => fields,
        };
        let fields = &fields.done()[HEADER..];
        let length = fields.len() as u16;
        made(126, tag).u32(fid).u16(length + 2).u16(length).raw(fields).done()
    }

    fn read(&mut self, tag: u16, fid: u32, marked: bool, cells: u64) -> Asked {
        let offset = if marked { u64::from(self.mark) << 32 | cells } else { cells };
        let count = CELL as u32 * (1 + self.bytes.below(6) as u32);
        let message = made(types::TREAD, tag).u32(fid).u64(offset).u32(count).done();
        Asked { message, identity: 0, marked }
    }

    fn write(&mut self, tag: u16, fid: u32, inode: u64) -> Asked {
        let mark = self.mark;
        let (at, count) = (self.bytes.below(6) as u64, 1 + self.bytes.below(5));
        let data = cell(inode, mark).repeat(count);
        let offset = u64::from(mark) << 32 | at;
        let message = made(types::TWRITE, tag).u32(fid).u64(offset).u32(data.len() as u32);
        Asked { message: message.raw(&data).done(), identity: 0, marked: true }
    }

    /// A request that leaves the names as they are.
    fn use_file(&mut self, peer: &mut Peer, fid: u32, of: &ClientFid) -> Asked {
        let tag = peer.tag();
        let mark = self.mark;
        let is_directory = of.qtype & QT_DIR != 0;
        let linux = self.dialect == Dialect::L;
        let roll = self.bytes.below(16);
        let marked =
            |message: MessageBuilder| Asked { message: message.done(), identity: 0, marked: true };
        match roll {
            0..10 if of.open.is_some() => {
                let at = self.bytes.below(5) as u64;
                match (is_directory, linux) {
                    (true, true) => {
                        let offset = u64::from(mark) << 32 | at;
                        marked(made(kinds::TREADDIR, tag).u32(fid).u64(offset).u32(64))
                    }
                    (true, false) => self.read(tag, fid, false, at.saturating_sub(2)),
                    (false, _) if roll < 6 && of.inode.is_some() && !of.busy => {
                        self.write(tag, fid, of.inode.unwrap_or(0))
                    }
                    (false, _) => self.read(tag, fid, true, at),
                }
            }
            10 | 11 if linux => marked(made(kinds::TFSYNC, tag).u32(fid).u32(mark)),
            10 | 11 => Asked { message: self.wstat(tag, fid, "", 0), identity: 0, marked: false },
            12 if linux => marked(made(kinds::TGETATTR, tag).u32(fid).u64(u64::from(mark) << 16)),
            13 if linux && of.open.is_some() && !is_directory && !of.busy => {
                let what = self.bytes.pick(&[1, 2]);
                let lock = made(kinds::TLOCK, tag).u32(fid).u8(what).u32(0).u64(0).u64(0);
                marked(lock.u32(mark).str("host"))
            }
            14 if linux && of.open.is_none() && !of.busy && of.inode.is_some() => {
                let (n, newfid) = (self.bytes.below(3), peer.free_fid());
                let name = format!("user.{mark}");
                match n {
                    0 if !peer.names(fid) => {
                        marked(made(kinds::TXATTRCREATE, tag).u32(fid).str(name).u64(8).u32(mark))
                    }
                    _ => marked(made(kinds::TXATTRWALK, tag).u32(fid).u32(newfid).str(name)),
                }
            }
            15 if linux => {
                let message = made(kinds::TSETATTR, tag).u32(fid).u32(mark).u32(0).u32(0).u32(0);
                marked(message.u64(0).raw(&[0; 32]))
            }
            9 if linux => {
                let lock = made(kinds::TGETLOCK, tag).u32(fid).u8(1).u64(0).u64(0).u32(mark);
                marked(lock.str("host"))
            }
            8 if linux => {
                Asked { message: of_fid(kinds::TSTATFS, tag, fid), identity: 0, marked: false }
            }
            7 if linux => {
                Asked { message: of_fid(kinds::TREADLINK, tag, fid), identity: 0, marked: false }
            }
            _ if linux => marked(made(kinds::TGETATTR, tag).u32(fid).u64(u64::from(mark) << 16)),
            _ => Asked { message: of_fid(124, tag, fid), identity: 0, marked: false },
        }
    }
}
