//! A server for the simulation: a table of fids, and requests that get their replies at a random time and in a
//! random order. Requests for one fid are performed in the order of their arrival, as by real servers.
//!
//! The server also checks what no client can: that no tag and no fid is used twice, and that a client's requests
//! do not affect the fids of other clients.

use std::collections::HashMap;

use super::made::*;
use crate::wire::{Dialect, HEADER, NOFID, kind, put_tag, show, tag, u16_at, u32_at};

/// The file that a fid represents, and its user.
#[derive(Clone, Debug)]
struct File {
    uname: String,
    id: u64,
    /// An auth fid for this aname.
    auth: Option<String>,
}

pub struct Server {
    pub dialect: Dialect,
    pub msize: u32,
    pub input: Vec<u8>,
    pub output: Vec<u8>,
    fids: HashMap<u32, File>,
    /// Requests that have not been performed, in order of arrival.
    waiting: Vec<Vec<u8>>,
    /// Requests that have been performed, with replies that have not been sent.
    ready: Vec<(Vec<u8>, Vec<u8>)>,
    /// How often a request fails; 0 means never.
    pub fails: usize,
    /// A flushed request may be performed all the same.
    pub sloppy: bool,
    /// Some reads block until they are flushed.
    pub blocks: bool,
    /// The connection may attach only once, and the user is not checked.
    pub once: bool,
    attached: bool,
    /// A new session may begin before the cleanup of the last one has ended, because the time limit has passed.
    pub late: bool,
    pub trace: bool,
    /// The largest fid seen.
    pub largest: u32,
}

impl Server {
    pub fn new(dialect: Dialect, msize: u32, fails: usize) -> Server {
        Server {
            dialect,
            msize,
            input: Vec::new(),
            output: Vec::new(),
            fids: HashMap::new(),
            waiting: Vec::new(),
            ready: Vec::new(),
            fails,
            sloppy: false,
            blocks: false,
            once: false,
            attached: false,
            late: false,
            trace: false,
            largest: 0,
        }
    }

    pub fn fids(&self) -> usize {
        self.fids.len()
    }

    /// Returns a tag that no request has.
    pub fn free_tag(&self, random: &mut Random) -> u16 {
        60_000 + random.below(5000) as u16
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.iter().all(|m| self.is_blocked(m))
            && self.ready.is_empty()
            && self.output.is_empty()
    }

    fn is_blocked(&self, request: &[u8]) -> bool {
        self.blocks && [116, 40].contains(&kind(request)) && u64_at(request, 11) % 8 == 0
    }

    /// Accepts the requests that have arrived completely.
    pub fn take(&mut self) {
        for message in cut(&mut self.input) {
            if self.trace {
                println!("  server has {}", show(self.dialect, &message));
            }
            if kind(&message) == 100 {
                assert_eq!(tag(&message), 0xFFFF);
                let msize = u32_at(&message, HEADER).min(self.msize);
                let offered = strings(&message, 11, 1).remove(0);
                let plain = offered.starts_with("9P2000.") && self.dialect == Dialect::Plain;
                if offered == self.dialect.name() || plain {
                    self.output.extend(rversion(msize, self.dialect.name()));
                    self.msize = msize;
                } else if self.sloppy {
                    self.output.extend(error(self.dialect, 0xFFFF, "what?"));
                } else {
                    self.output.extend(rversion(msize, "unknown"));
                }
                continue;
            }
            let used = |other: &Vec<u8>| tag(other) == tag(&message);
            assert!(
                !self.waiting.iter().any(used) && !self.ready.iter().any(|ready| used(&ready.0)),
                "tag {} is in use",
                tag(&message)
            );
            assert_ne!(tag(&message), 0xFFFF);
            assert!(message.len() <= self.msize as usize);
            self.waiting.push(message);
        }
    }

    /// Performs one waiting request, or sends one reply.
    pub fn step(&mut self, random: &mut Random) {
        self.take();
        if !self.ready.is_empty() && random.one_in(2) {
            let (_, reply) = self.ready.swap_remove(random.below(self.ready.len()));
            self.send(&reply);
        }
        if self.waiting.is_empty() {
            return;
        }
        // Later requests are less likely to be chosen, so that the order is not entirely random.
        let first = self.waiting.iter().position(|m| !self.is_blocked(m)).unwrap_or(0);
        let reach = if random.one_in(4) { self.waiting.len() } else { first + 1 };
        // A flush is sometimes handled before the request that it flushes has been performed.
        let flush = self.waiting.iter().position(|m| kind(m) == 108).filter(|_| random.one_in(3));
        let at = flush.unwrap_or(random.below(reach).max(first));
        let request = &self.waiting[at];
        if self.is_blocked(request) || (kind(request) != 108 && self.has_earlier(request, at)) {
            return;
        }
        if kind(&self.waiting[at]) == 108 {
            self.flush(at, random);
            return;
        }
        let request = self.waiting.remove(at);
        let mut reply = self.answer(&request, random);
        put_tag(&mut reply, tag(&request));
        self.ready.push((request, reply));
    }

    /// Returns true if a request for one of the same fids is queued before position `at`.
    fn has_earlier(&self, request: &[u8], at: usize) -> bool {
        let fids = fids_of(request);
        let earlier = |m: &Vec<u8>| fids_of(m).iter().any(|fid| fids.contains(fid));
        self.waiting[..at].iter().any(|m| earlier(m) && !self.is_blocked(m))
    }

    /// Handles a Tflush: the reply to the flush target is sent first, or the target has no effect.
    fn flush(&mut self, at: usize, random: &mut Random) {
        let request = self.waiting[at].clone();
        let oldtag = u16_at(&request, HEADER);
        if let Some(i) = self.ready.iter().position(|ready| tag(&ready.0) == oldtag) {
            let (_, reply) = self.ready.remove(i);
            self.send(&reply);
        } else if let Some(i) = self.waiting.iter().position(|m| tag(m) == oldtag) {
            assert!(i < at, "a flush before its victim");
            if random.one_in(2) {
                return; // The Tflush stays queued.
            }
            let victim = self.waiting.remove(i);
            let moves =
                kind(&victim) == 110 && second_fid(&victim) == Some(u32_at(&victim, HEADER));
            if self.sloppy && !moves && random.one_in(2) && !self.has_earlier(&victim, i) {
                // The target is performed all the same, without a reply.
                self.answer(&victim, random);
            }
        }
        self.waiting.retain(|m| tag(m) != tag(&request));
        self.send(&made(109, tag(&request)).done());
    }

    fn send(&mut self, reply: &[u8]) {
        if self.trace {
            println!("  server says {}", show(self.dialect, reply));
        }
        self.output.extend_from_slice(reply);
    }

    fn file(&self, fid: u32) -> Option<File> {
        self.fids.get(&fid).cloned()
    }

    fn create(&mut self, fid: u32, file: File) {
        assert_ne!(fid, NOFID);
        self.largest = self.largest.max(fid);
        let base = file.uname.split_inclusive('s').next().unwrap_or_default();
        for (other, has) in self.fids.iter().filter(|_| !self.late) {
            let session = !has.uname.starts_with(base) || has.uname == file.uname;
            assert!(session, "fid {other} of an earlier session is there: {has:?}");
        }
        let before = self.fids.insert(fid, file);
        assert!(before.is_none(), "fid {fid} is {before:?}, and is to be created");
    }

    fn answer(&mut self, request: &[u8], random: &mut Random) -> Vec<u8> {
        let (fid, dialect) = (u32_at(request, HEADER), self.dialect);
        let fails = self.fails > 0 && random.one_in(self.fails);
        let failed = error(dialect, 0, "srv");
        let unknown = no_fid(dialect, 0);
        match kind(request) {
            102 | 104 if fails => failed,
            102 => {
                let names = strings(request, 11, 2);
                let id = id_of(1, &names[1]);
                let file = File { uname: self.user(&names[0]), id, auth: Some(names[1].clone()) };
                self.create(fid, file);
                made(103, 0).qid(0, id).done()
            }
            104 => {
                let names = strings(request, 15, 2);
                let uname = self.user(&names[0]);
                let afid = u32_at(request, 11);
                if afid != NOFID {
                    let Some(file) = self.file(afid) else {
                        return unknown;
                    };
                    assert_eq!(file.uname, uname, "an afid of another");
                    assert_eq!(file.auth.as_ref(), Some(&names[1]));
                } else if self.once && std::mem::replace(&mut self.attached, true) {
                    return failed;
                }
                let id = id_of(0, &names[1]);
                self.create(fid, File { uname, id, auth: None });
                made(105, 0).qid(0, id).done()
            }
            110 => self.walk(request, fails, random),
            120 | 122 => {
                // The fid is released, even if the request fails.
                match self.fids.remove(&fid) {
                    Some(_) if !fails => made(kind(request) + 1, 0).done(),
                    Some(_) => failed,
                    None => unknown,
                }
            }
            30 => {
                let Some(file) = self.file(fid) else {
                    return unknown;
                };
                if fails {
                    return failed;
                }
                let newfid = u32_at(request, 11);
                let name = strings(request, 15, 1).remove(0);
                assert!(name.starts_with(&file.uname));
                self.create(newfid, File { id: id_of(file.id, &name), ..file });
                made(31, 0).u64(5).done()
            }
            _ => match self.file(fid) {
                Some(file) if !fails => self.answer_use(request, &file, random),
                Some(_) => failed,
                None => unknown,
            },
        }
    }

    fn user(&self, uname: &str) -> String {
        if self.once { String::new() } else { uname.to_owned() }
    }

    fn walk(&mut self, request: &[u8], fails: bool, random: &mut Random) -> Vec<u8> {
        let (fid, newfid) = (u32_at(request, HEADER), u32_at(request, HEADER + 4));
        let Some(mut file) = self.file(fid) else {
            return no_fid(self.dialect, 0);
        };
        let count = u16_at(request, 15) as usize;
        let names = strings(request, 17, count);
        if fails && (count < 2 || random.one_in(2)) {
            return error(self.dialect, 0, "srv");
        }
        let walked = if fails { 1 + random.below(count - 1) } else { count };
        let mut reply = made(111, 0).u16(walked as u16);
        for name in &names[..walked] {
            assert!(name.starts_with(&file.uname), "{name} in the files of {}", file.uname);
            file.id = id_of(file.id, name);
            reply = reply.qid(0, file.id);
        }
        if walked == count {
            if newfid == fid {
                self.fids.insert(fid, file);
            } else {
                self.create(newfid, file);
                if random.one_in(8) {
                    // Arbitrary bytes, possibly more than the client's msize permits.
                    let most = self.msize.saturating_sub(300) as usize;
                    reply = reply.raw(&vec![5; random.below(most.clamp(1, 1500))]);
                }
            }
        }
        reply.done()
    }

    /// Performs a request that neither creates nor releases a fid, and returns the reply.
    fn answer_use(&mut self, request: &[u8], file: &File, random: &mut Random) -> Vec<u8> {
        let answer = kind(request) + 1;
        match kind(request) {
            112 | 12 => {
                let iounit = *random.pick(&[0, 100, 500, 8192, u32::MAX]);
                made(answer, 0).qid(0, file.id).u32(iounit).done()
            }
            116 | 40 => {
                let offset = u64_at(request, 11);
                let count = u32_at(request, 19) as usize;
                assert!(count + 11 <= self.msize as usize, "a read of {count}");
                let mut data = file.id.to_le_bytes().to_vec();
                data.extend(offset.to_le_bytes());
                data.resize(16 + random.below(600), 9);
                data.truncate(if random.one_in(2) { count } else { count.min(16) });
                made(answer, 0).u32(data.len() as u32).raw(&data).done()
            }
            118 => {
                let data = &request[HEADER + 16..];
                let uname = file.uname.as_bytes();
                assert!(data.starts_with(&uname[..uname.len().min(data.len())]));
                made(answer, 0).u32(data.len() as u32).done()
            }
            124 => {
                let mut stat = file.id.to_le_bytes().to_vec();
                stat.resize(8 + random.below(self.msize as usize - 30), 7);
                made(answer, 0).u16(stat.len() as u16).raw(&stat).done()
            }
            24 => made(answer, 0).u64(0).qid(0, file.id).raw(&[0; 132]).done(),
            70 | 20 | 74 => {
                let other = second_fid(request).and_then(|fid| self.file(fid));
                match other {
                    Some(other) => {
                        assert_eq!(other.uname, file.uname, "a fid of another");
                        let at = if kind(request) == 74 { 20 } else { 15 };
                        let id = strings(request, at, 1).remove(0);
                        assert_eq!(id, format!("{:x}", other.id), "another fid");
                        made(answer, 0).done()
                    }
                    None => no_fid(self.dialect, 0),
                }
            }
            72 => made(answer, 0).qid(0, file.id).done(),
            52 => made(answer, 0).u8(0).done(),
            other => panic!("a message of type {other} has come through"),
        }
    }
}

fn second_fid(request: &[u8]) -> Option<u32> {
    match kind(request) {
        20 | 30 | 70 | 104 | 110 => Some(u32_at(request, HEADER + 4)),
        74 => Some(u32_at(request, HEADER + 6 + u16_at(request, HEADER + 4) as usize)),
        _ => None,
    }
}

/// Returns the fids that a request names.
fn fids_of(request: &[u8]) -> Vec<u32> {
    if kind(request) == 108 {
        return Vec::new();
    }
    let second = second_fid(request).filter(|fid| *fid != NOFID);
    [u32_at(request, HEADER)].into_iter().chain(second).collect()
}
