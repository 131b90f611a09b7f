//! A file server for the tests: its files outlive its sessions, and it remembers what it was asked.

use std::collections::BTreeMap;

use super::super::messages::*;
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, types, u16_at, u32_at};

/// A file: the type and the path of its qid, and its contents.
#[derive(Clone, Debug)]
pub struct File {
    pub kind: u8,
    pub path: u64,
    pub data: Vec<u8>,
}

/// The fid of a session.
#[derive(Clone, Debug)]
struct Fid {
    path: String,
    is_open: bool,
}

pub struct Server {
    pub dialect: Dialect,
    /// The files by their paths. That of the root is empty, and the others begin with a slash.
    pub files: BTreeMap<String, File>,
    fids: BTreeMap<u32, Fid>,
    /// All requests of all sessions.
    pub seen: Vec<Vec<u8>>,
    /// The types of the requests that get no reply.
    pub silent: Vec<u8>,
    /// The types of the requests that get this error number, so many times.
    pub failing: Vec<(u8, u32, usize)>,
    pub msize: u32,
    pub name: &'static str,
}

impl Server {
    pub fn new(dialect: Dialect, msize: u32) -> Server {
        let mut server = Server {
            dialect,
            files: BTreeMap::new(),
            fids: BTreeMap::new(),
            seen: Vec::new(),
            silent: Vec::new(),
            failing: Vec::new(),
            msize,
            name: dialect.name(),
        };
        server.add("", 0x80, 1);
        server.add("/d", 0x80, 2);
        server.add("/d/f", 0, 3);
        server.add("/g", 0, 4);
        server
    }

    pub fn add(&mut self, path: &str, kind: u8, id: u64) {
        let data = format!("file {id}").into_bytes();
        self.files.insert(path.to_owned(), File { kind, path: id, data });
    }

    /// The connection ends, and with it the session.
    pub fn forget_session(&mut self) {
        self.fids.clear();
    }

    /// Returns the number of fids of the session.
    pub fn fids(&self) -> usize {
        self.fids.len()
    }

    /// Returns the requests of this type that it has received.
    pub fn requests(&self, kind_of: u8) -> Vec<&Vec<u8>> {
        self.seen.iter().filter(|message| kind(message) == kind_of).collect()
    }

    fn qid(&self, path: &str) -> Option<[u8; 13]> {
        let file = self.files.get(path)?;
        let mut qid = [0; 13];
        qid[0] = file.kind;
        qid[5..].copy_from_slice(&file.path.to_le_bytes());
        Some(qid)
    }

    fn error(&self, tag: u16, number: u32) -> Vec<u8> {
        let text = format!("error {number}");
        match self.dialect {
            Dialect::L => made(7, tag).u32(number).done(),
            Dialect::U => made(107, tag).str(text).u32(number).done(),
            Dialect::Plain => made(107, tag).str(text).done(),
        }
    }

    /// Returns the reply to a request, if it gets one.
    pub fn reply(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        self.seen.push(message.to_vec());
        let (kind, tag) = (kind(message), tag(message));
        if self.silent.contains(&kind) {
            return None;
        }
        if let Some(failing) = self.failing.iter_mut().find(|f| f.0 == kind && f.2 > 0) {
            failing.2 -= 1;
            let number = failing.1;
            return Some(self.error(tag, number));
        }
        let reply = match kind {
            types::TVERSION => Ok(rversion(self.msize, self.name)),
            types::TAUTH => {
                self.open_fid(u32_at(message, HEADER), "");
                Ok(made(kind + 1, tag).raw(&[8; 13]).done())
            }
            types::TATTACH => {
                let has_afid = u32_at(message, HEADER + 4) != NOFID;
                self.open_fid(u32_at(message, HEADER), "");
                assert!(!has_afid || self.fids.contains_key(&u32_at(message, HEADER + 4)));
                Ok(made(kind + 1, tag).raw(&self.qid("").unwrap_or_default()).done())
            }
            types::TFLUSH => Ok(made(kind + 1, tag).done()),
            types::TWALK => self.walk(message),
            _ => self.of_fid(message),
        };
        Some(reply.unwrap_or_else(|number| self.error(tag, number)))
    }

    fn open_fid(&mut self, fid: u32, path: &str) {
        let before = self.fids.insert(fid, Fid { path: path.to_owned(), is_open: false });
        assert!(before.is_none(), "fid {fid} is in use");
    }

    fn walk(&mut self, message: &[u8]) -> Result<Vec<u8>, u32> {
        let (fid, newfid) = (u32_at(message, HEADER), u32_at(message, HEADER + 4));
        let from = self.fids.get(&fid).ok_or(9_u32)?;
        assert!(!from.is_open && (fid == newfid || !self.fids.contains_key(&newfid)));
        let (mut path, mut qids) = (from.path.clone(), Vec::new());
        let (count, mut at) = (u16_at(message, HEADER + 8), HEADER + 10);
        for _ in 0..count {
            let end = at + 2 + u16_at(message, at) as usize;
            let name = String::from_utf8_lossy(&message[at + 2..end]).into_owned();
            at = end;
            match name.as_str() {
                ".." => path.truncate(path.rfind('/').unwrap_or(0)),
                _ => path = format!("{path}/{name}"),
            }
            match self.qid(&path) {
                Some(qid) => qids.push(qid),
                None if qids.is_empty() => return Err(2),
                None => break,
            }
        }
        if qids.len() == count as usize {
            self.fids.insert(newfid, Fid { path, is_open: false });
        }
        let reply = made(types::TWALK + 1, tag(message)).u16(qids.len() as u16);
        Ok(qids.iter().fold(reply, |reply, qid| reply.raw(qid)).done())
    }

    fn of_fid(&mut self, message: &[u8]) -> Result<Vec<u8>, u32> {
        let (kind, tag, fid) = (kind(message), tag(message), u32_at(message, HEADER));
        let found = self.fids.get_mut(&fid).ok_or(9_u32)?;
        let path = found.path.clone();
        let opened = found.is_open;
        let reply = made(kind + 1, tag);
        match kind {
            types::TOPEN | types::TLOPEN => {
                found.is_open = true;
                let qid = self.qid(&path).ok_or(2_u32)?;
                Ok(reply.raw(&qid).u32(0).done())
            }
            types::TCLUNK => {
                self.fids.remove(&fid);
                Ok(reply.done())
            }
            types::TREMOVE => {
                self.fids.remove(&fid);
                self.files.remove(&path).ok_or(2_u32)?;
                Ok(reply.done())
            }
            types::TLCREATE | types::TCREATE => {
                let end = HEADER + 6 + u16_at(message, HEADER + 4) as usize;
                let name = String::from_utf8_lossy(&message[HEADER + 6..end]).into_owned();
                let path = format!("{path}/{name}");
                *found = Fid { path: path.clone(), is_open: true };
                let id = 100 + self.files.len() as u64;
                self.add(&path, 0, id);
                Ok(reply.raw(&self.qid(&path).unwrap_or_default()).u32(0).done())
            }
            types::TREAD => {
                let file = self.files.get(&path).ok_or(2_u32)?;
                assert!(opened, "a read of a fid that is not open");
                Ok(reply.u32(file.data.len() as u32).raw(&file.data).done())
            }
            types::TWRITE => {
                let data = &message[HEADER + 16..];
                let offset = u32_at(message, HEADER + 4) as usize;
                let file = self.files.get_mut(&path).ok_or(2_u32)?;
                let end = offset + data.len();
                file.data.resize(end.max(file.data.len()), 0);
                file.data[offset..end].copy_from_slice(data);
                Ok(reply.u32(data.len() as u32).done())
            }
            types::TGETATTR => {
                let qid = self.qid(&path).ok_or(2_u32)?;
                Ok(reply.u64(0).raw(&qid).raw(&[0; 132]).done())
            }
            types::TXATTRWALK => {
                let newfid = u32_at(message, HEADER + 4);
                self.open_fid(newfid, &path);
                Ok(reply.u64(5).done())
            }
            types::TLOCK => Ok(reply.u8(0).done()),
            types::TRENAMEAT => self.rename_at(message, &path, tag),
            types::TUNLINKAT => {
                let name = string_at(message, HEADER + 4);
                self.files.remove(&format!("{path}/{name}")).ok_or(2_u32)?;
                Ok(reply.done())
            }
            _ => Ok(reply.done()),
        }
    }

    fn rename_at(&mut self, message: &[u8], from: &str, tag: u16) -> Result<Vec<u8>, u32> {
        let old = string_at(message, HEADER + 4);
        let at = HEADER + 6 + old.len();
        let to = self.fids.get(&u32_at(message, at)).ok_or(9_u32)?.path.clone();
        let new = string_at(message, at + 4);
        self.rename(&format!("{from}/{old}"), &format!("{to}/{new}"));
        Ok(made(types::TRENAMEAT + 1, tag).done())
    }

    /// Renames a file, and the files below it. Open fids follow.
    pub fn rename(&mut self, from: &str, to: &str) {
        let moved: Vec<String> = self.files.keys().filter(|p| is_at(p, from)).cloned().collect();
        for path in moved {
            if let Some(file) = self.files.remove(&path) {
                self.files.insert(format!("{to}{}", &path[from.len()..]), file);
            }
        }
        for fid in self.fids.values_mut().filter(|fid| is_at(&fid.path, from)) {
            fid.path = format!("{to}{}", &fid.path[from.len()..]);
        }
    }
}

fn is_at(path: &str, directory: &str) -> bool {
    path == directory || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

fn string_at(message: &[u8], at: usize) -> String {
    let n = u16_at(message, at) as usize;
    String::from_utf8_lossy(&message[at + 2..at + 2 + n]).into_owned()
}
