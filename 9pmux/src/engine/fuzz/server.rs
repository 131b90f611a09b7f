//! The server: a set of fids, requests that it answers in any order, and what it may be asked.
//!
//! All that goes to it is looked at as soon as it is on its way: whose request it is, and that its fids are
//! those of the client that has asked, and stand for what that client calls them.

use std::collections::{BTreeMap, BTreeSet};

use super::peer::{Peer, essence, stamp};
use super::request::{framed, version};
use crate::wire::{
    Dialect, FidUse, FieldOffsets, HEADER, check_reply, check_request, kind, put_tag, put_u32,
    show, tag, types, u16_at, u32_at,
};

/// A request, and where it ends in all that the server is asked.
struct Asked {
    message: Vec<u8>,
    end: usize,
}

/// For whom a fid was made: the client, which session of it, what it is called there.
type Owner = (u32, u32, u32);

#[derive(Default)]
pub struct Server {
    asked: Vec<Asked>,
    /// How much of what it is asked has been looked at, and how much it has read.
    looked: usize,
    read: usize,
    /// What it has answered and not sent.
    pub output: Vec<u8>,
    fids: BTreeSet<u32>,
    owners: BTreeMap<u32, Owner>,
    /// What auth fids are for.
    auths: BTreeMap<u32, Vec<u8>>,
    /// It says what it likes.
    pub wild: bool,
    /// The msize that was agreed.
    msize: u32,
    /// It has refused a version, or has not said one that was offered.
    pub refuses: bool,
}

impl Server {
    pub fn new(wild: bool, msize: u32) -> Server {
        Server { wild, msize, ..Server::default() }
    }

    pub fn fids(&self) -> usize {
        self.fids.len()
    }

    /// How many requests it has read and not answered.
    pub fn waiting(&self) -> usize {
        self.asked.iter().take_while(|asked| asked.end <= self.read).count()
    }

    pub fn nth(&self, n: usize) -> Option<&[u8]> {
        self.asked.get(n).map(|asked| &asked.message[..])
    }

    /// It has read so much.
    pub fn reads(&mut self, n: usize) {
        self.read += n;
    }

    /// Looks at what is new in all that is on its way.
    pub fn look(&mut self, output: &[u8], dialect: Option<Dialect>, peers: &[Peer]) {
        let mut rest = &output[self.looked - self.read..];
        while !rest.is_empty() {
            let n = u32_at(rest, 0) as usize;
            assert!(n >= HEADER && n <= rest.len() && n <= self.msize as usize, "no whole message");
            let message = rest[..n].to_vec();
            rest = &rest[n..];
            self.looked += n;
            if kind(&message) == types::TVERSION {
                assert_eq!(tag(&message), 0xFFFF);
            } else {
                self.sees(&message, dialect.expect("a version comes first"), peers);
            }
            self.asked.push(Asked { message, end: self.looked });
        }
    }

    fn sees(&mut self, message: &[u8], dialect: Dialect, peers: &[Peer]) {
        let shown = || format!("{}", show(dialect, message));
        let offsets = check_request(dialect, message).expect("what is malformed");
        let in_use = self.asked.iter().any(|asked| tag(&asked.message) == tag(message));
        assert!(tag(message) != 0xFFFF && (self.wild || !in_use), "the tag of {}", shown());
        if kind(message) == types::TFLUSH {
            assert!(message.len() == HEADER + 2 && u16_at(message, HEADER) != tag(message));
            return;
        }
        let essence_of = essence(dialect, message);
        let mut asked = peers.iter().flat_map(|peer| {
            let like = |m: &&[u8]| m.len() == message.len() && kind(m) == kind(message);
            peer.asked().filter(like).map(move |asked| (peer, asked))
        });
        let found = asked.find(|(peer, asked)| {
            essence(dialect, asked) == essence_of && self.fits(message, asked, peer, &offsets)
        });
        let Some((peer, asked)) = found else {
            let ours = kind(message) == types::TCLUNK && message.len() == HEADER + 4;
            assert!(ours, "no client has asked {}", shown());
            assert!(self.owners.contains_key(&u32_at(message, HEADER)), "{}", shown());
            return;
        };
        if let Some(at) = offsets.count {
            assert!(u32_at(message, at as usize) + 11 <= peer.msize, "{}", shown());
        }
        if let Some((at, fid)) = self.created(message, &offsets) {
            assert!(fid < 200, "fid {fid} is not low");
            let there = self.fids.contains(&fid);
            assert!(self.wild || !there, "fid {fid} is there: {}", shown());
            self.owners.insert(fid, (peer.number, peer.sessions, u32_at(asked, at)));
            if kind(message) == types::TAUTH {
                self.auths.insert(fid, names(message, &offsets).to_vec());
            }
        }
    }

    /// The fid that a request creates, and where it is said.
    fn created(&self, message: &[u8], offsets: &FieldOffsets) -> Option<(usize, u32)> {
        let fid = |at: u32| u32_at(message, at as usize);
        let first = fid(offsets.fids().first()?.0);
        let new = |(at, fid_use): &&(u32, FidUse)| match fid_use {
            FidUse::Creates | FidUse::CreatesAuth => true,
            FidUse::CreatesOnFullWalk => fid(*at) != first,
            _ => false,
        };
        offsets.fids().iter().find(new).map(|(at, _)| (*at as usize, fid(*at)))
    }

    /// Whether the fids of a request are those that this client has asked for.
    fn fits(&self, message: &[u8], asked: &[u8], peer: &Peer, offsets: &FieldOffsets) -> bool {
        let new = self.created(message, offsets).map(|(at, _)| at as u32);
        offsets.fids().iter().all(|&(at, fid_use)| {
            let (fid, name) = (u32_at(message, at as usize), u32_at(asked, at as usize));
            if fid_use.is_no_fid(name) {
                return fid_use.is_no_fid(fid);
            }
            let first = offsets.fids[0].0 as usize;
            if fid_use == FidUse::CreatesOnFullWalk && name == u32_at(asked, first) {
                return fid == u32_at(message, first);
            }
            if new == Some(at) {
                return true;
            }
            let owner = (peer.number, peer.sessions, name);
            let proves = fid_use != FidUse::Authenticates
                || self.auths.get(&fid).is_some_and(|made| made == names(message, offsets));
            self.owners.get(&fid) == Some(&owner) && proves
        })
    }

    /// Answers the `n`th of what it has read, in time for what has come before it of the same fid. What it
    /// says is in its output.
    pub fn answer(&mut self, n: usize, how: u8, dialect: Option<Dialect>) {
        if n >= self.waiting() {
            return;
        }
        let request = self.asked[n].message.clone();
        match (kind(&request), dialect) {
            (types::TVERSION, _) => {
                self.asked.remove(n);
                self.answer_version(&request, how);
            }
            (types::TFLUSH, Some(dialect)) => self.answer_flush(n, &request, how, dialect),
            (_, Some(dialect)) => {
                let mine = fids(dialect, &request);
                let first = self.asked[..n].iter().any(|asked| {
                    let theirs = fids(dialect, &asked.message);
                    theirs.iter().any(|fid| mine.contains(fid))
                });
                if first {
                    return self.answer(0, how, Some(dialect));
                }
                self.asked.remove(n);
                let reply = self.fid_use(&request, how, dialect);
                self.output.extend(reply);
            }
            _ => {}
        }
    }

    fn answer_version(&mut self, request: &[u8], how: u8) {
        let offered = &request[HEADER + 6..];
        let (mut msize, mut name) = (u32_at(request, HEADER), offered);
        match how {
            240.. => msize = 100,
            200.. => msize = msize.min(256 + u32::from(how)),
            160.. => name = b"9P2000",
            120.. => name = b"unknown",
            100.. => name = b"9P2000.x",
            90.. => {
                self.refuses = true;
                return self.output.extend(framed(types::RERROR, 0xFFFF, &[0; 6]));
            }
            _ => {}
        }
        self.refuses |= how >= 100 && !(200..240).contains(&how);
        self.msize = if msize < 256 { self.msize } else { msize };
        self.output.extend(version(types::RVERSION, 0xFFFF, msize, name));
    }

    /// What is flushed has been answered before, is answered now, is done all the same, or never happens.
    fn answer_flush(&mut self, n: usize, request: &[u8], how: u8, dialect: Dialect) {
        let oldtag = u16_at(request, HEADER);
        self.asked.remove(n);
        let at = self.asked.iter().position(|asked| tag(&asked.message) == oldtag);
        if let Some(at) = at.filter(|_| how & 4 == 0) {
            let victim = self.asked.remove(at).message;
            let mine = fids(dialect, &victim);
            let turn = !self.asked[..at]
                .iter()
                .any(|asked| fids(dialect, &asked.message).iter().any(|fid| mine.contains(fid)));
            let moves = kind(&victim) == types::TWALK && mine[0] == mine[1];
            if turn && !moves && kind(&victim) != types::TFLUSH && how & 8 != 0 {
                let reply = self.fid_use(&victim, how, dialect);
                if how & 16 != 0 {
                    self.output.extend(reply);
                }
            }
        } else if let Some(at) = at {
            self.asked.remove(at);
        }
        self.output.extend(framed(types::RFLUSH, tag(request), &[]));
    }

    /// FidUse what it is asked, and answers the reply.
    fn fid_use(&mut self, request: &[u8], how: u8, dialect: Dialect) -> Vec<u8> {
        let offsets = check_request(dialect, request).expect("it was looked at before");
        let (its_kind, mine) = (kind(request), fids(dialect, request));
        let new = self.created(request, &offsets).map(|(_, fid)| fid);
        let mut there = true;
        for (&(_, fid_use), fid) in offsets.fids().iter().zip(&mine) {
            match fid_use {
                FidUse::Releases => there = self.fids.remove(fid),
                _ if new == Some(*fid) => {}
                _ => there &= fid_use.is_no_fid(*fid) || self.fids.contains(fid),
            }
        }
        let mut reply = vec![0; HEADER];
        if how & 1 != 0 || !there {
            if dialect != Dialect::L {
                reply.extend([0; 2]); // no words
            }
            if dialect != Dialect::Plain {
                reply.extend(5000u32.to_le_bytes());
            }
            reply[4] = dialect.error_type();
        } else {
            reply[4] = its_kind + 1;
            let partly = how & 2 != 0 && offsets.name_count > 0;
            self.fill(&mut reply, request, how, &offsets);
            if let Some(fid) = new.filter(|_| !partly) {
                // What it has said at random it has not done.
                assert!(self.fids.insert(fid) || self.wild, "fid {fid} is there already");
            }
        }
        let stamp = stamp(dialect, request).unwrap_or_default().to_le_bytes();
        match (reply[4], reply.len()) {
            // In the data, so that they may be as many as there may be.
            (117 | 41, n) if n >= HEADER + 8 => reply[n - 4..].copy_from_slice(&stamp),
            _ => reply.extend(stamp),
        }
        let size = reply.len() as u32;
        put_u32(&mut reply, 0, size);
        put_tag(&mut reply, tag(request));
        check_reply(dialect, &reply).expect("the server answers well");
        reply
    }

    /// What a good reply says.
    fn fill(&self, reply: &mut Vec<u8>, request: &[u8], how: u8, offsets: &FieldOffsets) {
        let room = self.msize as usize - HEADER - 8;
        match kind(request) {
            types::TWALK => {
                let walked = offsets.name_count - u16::from(how & 2 != 0 && offsets.name_count > 0);
                reply.extend(walked.to_le_bytes());
                reply.resize(reply.len() + 13 * walked as usize, 0);
            }
            // Tread, Treaddir.
            116 | 40 => {
                let count = offsets.count.map_or(0, |at| u32_at(request, at as usize));
                let count = count.min(u32::from(how) * 4);
                reply.extend(count.to_le_bytes());
                reply.resize(reply.len() + count as usize, 9);
            }
            // Tstat, Treadlink.
            124 | 22 => {
                let length = room.min(how as usize * 4);
                reply.extend((length as u16).to_le_bytes());
                reply.resize(reply.len() + length, 9);
            }
            // Tlopen, Tlcreate, Topen, Tcreate.
            12 | 14 | 112 | 114 => {
                reply.extend([0; 13]);
                reply.extend([0, 1, 500, u32::MAX][how as usize / 4 % 4].to_le_bytes());
            }
            _ => reply.extend([0; 160]),
        }
    }
}

/// The fids of a request.
fn fids(dialect: Dialect, request: &[u8]) -> Vec<u32> {
    let Ok(offsets) = check_request(dialect, request) else {
        return Vec::new();
    };
    let fids = offsets.fids().iter().map(|fid| u32_at(request, fid.0 as usize));
    fids.filter(|fid| *fid != u32::MAX).collect()
}

/// For whom a Tauth or a Tattach is.
fn names<'a>(message: &'a [u8], offsets: &FieldOffsets) -> &'a [u8] {
    let last = offsets.fids()[offsets.fids().len() - 1].0 as usize;
    &message[last + 4..offsets.end as usize]
}
