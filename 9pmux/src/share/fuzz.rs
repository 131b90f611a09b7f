//! Events out of bytes, for coverage-guided fuzzing, and for the same strings at random.
//!
//! [`clients`] has clients send anything, to a server that answers well or not, in any order, and is seen
//! to be asked only what a server may be asked; at the end nothing is left behind. [`server`] has the
//! server send anything to clients that ask well. In both the tables are audited after each event.

use std::collections::HashSet;
use std::time::Duration;

use super::{ClientId, Config, Share};
use crate::wire::{
    Dialect, Does, Frame, HEADER, check_reply, check_request, frame, kind, message, put_tag,
    put_u32, tag, types, u16_at, u32_at,
};

/// Clients' bytes, any.
pub fn clients(bytes: &[u8]) {
    World::new(bytes, false).run();
}

/// The server's bytes, any.
pub fn server(bytes: &[u8]) {
    World::new(bytes, true).run();
}

const MSIZE: u32 = 600;
const CLIENTS: usize = 4;

struct World<'a> {
    bytes: &'a [u8],
    share: Share,
    dialect: Dialect,
    clients: Vec<ClientId>,
    /// What the server has been asked and has not answered.
    asked: Vec<Vec<u8>>,
    fids: HashSet<u32>,
    /// Whether the server says what it likes.
    wild: bool,
    now: u64,
}

impl<'a> World<'a> {
    fn new(bytes: &'a [u8], wild: bool) -> World<'a> {
        let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
        let dialect = Dialect::ALL[*first as usize % 3];
        let config = Config {
            dialect: Some(dialect).filter(|_| first & 4 == 0),
            msize: MSIZE,
            max_inflight: if first & 8 == 0 { 2 } else { 20 },
            max_inflight_all: if first & 16 == 0 { 4 } else { 1000 },
            max_reply_bytes: if first & 32 == 0 { 700 } else { 10_000 },
            max_held_bytes: 100,
            max_server_bytes: if first & 64 == 0 { 20 } else { 10_000 },
            max_fids: 6,
            ..Config::default()
        };
        let share = Share::new(config);
        let (clients, asked, fids) = (Vec::new(), Vec::new(), HashSet::new());
        World { bytes: rest, share, dialect, clients, asked, fids, wild, now: 0 }
    }

    fn byte(&mut self) -> u8 {
        let (first, rest) = self.bytes.split_first().unwrap_or((&0, &[]));
        self.bytes = rest;
        *first
    }

    fn some(&mut self, most: usize) -> &'a [u8] {
        let n = (self.byte() as usize % (most + 1)).min(self.bytes.len());
        let (some, rest) = self.bytes.split_at(n);
        self.bytes = rest;
        some
    }

    fn run(mut self) {
        while !self.bytes.is_empty() && self.share.ended().is_none() {
            self.event();
            self.share.audit();
            self.see();
        }
        if self.share.ended().is_some() {
            for id in self.clients.clone() {
                assert!(self.share.is_closing(id));
                self.reads(id, usize::MAX);
            }
        }
        for id in std::mem::take(&mut self.clients) {
            self.share.client_gone(id);
            self.share.audit();
        }
        if !self.wild && self.share.ended().is_none() {
            self.settle();
        }
    }

    /// The server answers all, and nothing is left.
    fn settle(&mut self) {
        loop {
            self.see();
            if self.asked.is_empty() {
                break;
            }
            self.answer(0, 0);
            self.share.audit();
        }
        let stats = self.share.stats();
        assert_eq!((stats.requests, stats.fids, stats.left_behind), (0, 0, 0));
        assert!(self.fids.is_empty(), "the server has fids left");
    }

    fn client(&mut self) -> Option<ClientId> {
        let n = self.byte() as usize;
        if self.clients.len() < CLIENTS && (self.clients.is_empty() || n >= 240) {
            let id = self.share.client_connected();
            self.clients.push(id);
            // Most begin as they should.
            if n < 250 {
                let version = self.version();
                self.share.client_bytes(id, &version);
            }
            return Some(id);
        }
        self.clients.get(n % self.clients.len()).copied()
    }

    fn version(&self) -> Vec<u8> {
        let name = self.dialect.name();
        let mut body = MSIZE.to_le_bytes().to_vec();
        body.extend((name.len() as u16).to_le_bytes());
        body.extend(name.as_bytes());
        framed(types::TVERSION, 0xFFFF, &body)
    }

    fn event(&mut self) {
        let what = self.byte();
        match what % 16 {
            0..6 => {
                let Some(id) = self.client() else { return };
                let message = self.request();
                self.share.client_bytes(id, &message);
            }
            6 if !self.wild => {
                let Some(id) = self.client() else { return };
                let some = self.some(40);
                self.share.client_bytes(id, some);
            }
            7 => {
                let Some(id) = self.client() else { return };
                let n = self.byte() as usize;
                self.reads(id, n * 4);
            }
            8 if what & 0x30 == 0 => {
                let Some(id) = self.client() else { return };
                self.clients.retain(|other| *other != id);
                self.share.client_gone(id);
            }
            9 => {
                self.now += u64::from(self.byte()) * u64::from(what & 0x30);
                self.share.tick(Duration::from_millis(self.now));
            }
            10 | 11 if self.wild => {
                let (n, kind) = (self.byte() as usize, self.byte());
                let which = self.asked.get(n % self.asked.len().max(1));
                let request = which.cloned().unwrap_or_else(|| framed(kind, u16::from(kind), &[]));
                let kind = if what & 0x10 == 0 { u8::wrapping_add(request[4], 1) } else { kind };
                let body = self.some(60);
                self.share.server_bytes(&framed(kind, tag(&request), body));
            }
            12 if self.wild && what & 0x30 == 0 => {
                let some = self.some(60);
                self.share.server_bytes(some);
            }
            _ => {
                let (n, how) = (self.byte() as usize, self.byte());
                if !self.asked.is_empty() {
                    self.answer(n % self.asked.len(), how);
                }
            }
        }
    }

    /// A request that is whole, of small numbers: of which kind, and what is in it, is the bytes' choice.
    fn request(&mut self) -> Vec<u8> {
        let (kind, its_tag) = (self.byte() & !1, u16::from(self.byte() % 8));
        let kind = if message(self.dialect, kind).is_some() { kind } else { types::TWALK };
        let mut body = Vec::new();
        match kind {
            types::TVERSION => return self.version(),
            types::TFLUSH => body.extend([self.byte() % 8, 0]),
            types::TAUTH | types::TATTACH => {
                body.extend([self.byte() % 8, 0, 0, 0]);
                if kind == types::TATTACH {
                    let afid = self.byte();
                    let afid = if afid < 128 { u32::MAX } else { u32::from(afid % 8) };
                    body.extend(afid.to_le_bytes());
                }
                body.extend([1, 0, b'u', 1, 0, self.byte() % 2]);
                body.extend([0; 4]);
            }
            types::TWALK => {
                body.extend([self.byte() % 8, 0, 0, 0, self.byte() % 8, 0, 0, 0]);
                body.extend([[0, 0, 0, 0, 0], [1, 0, 1, 0, b'x']][self.byte() as usize % 2]);
            }
            _ => {
                body.extend([self.byte() % 8, 0, 0, 0, self.byte() % 8, 0, 0, 0]);
                body.extend(self.some(30));
                body.extend([0; 60]);
            }
        }
        framed(kind, its_tag, &body)
    }

    fn reads(&mut self, id: ClientId, n: usize) {
        let output = self.share.output(id);
        let n = n.min(output.len());
        if n == output.len() {
            // From anywhere in a message on nothing can be said of the first; the last is whole.
            self.share.client_wrote(id, n);
        } else {
            // Whole messages, as many as fit.
            let mut at = 0;
            while let Frame::Message(size) = frame(&output[at..], MSIZE.max(256)) {
                if at + size > n {
                    break;
                }
                assert_eq!(kind(&output[at..]) % 2, 1);
                at += size;
            }
            self.share.client_wrote(id, at);
        }
    }

    /// The server takes what it is asked, and sees that it may be asked that.
    fn see(&mut self) {
        loop {
            let output = self.share.server_output();
            let Frame::Message(n) = frame(output, MSIZE) else {
                assert!(output.is_empty(), "no whole message of at most msize");
                return;
            };
            let request = output[..n].to_vec();
            self.share.server_wrote(n);
            if kind(&request) == types::TVERSION {
                assert_eq!(tag(&request), 0xFFFF);
            } else {
                let dialect = self.share.dialect().expect("a version comes first");
                let places = check_request(dialect, &request).expect("what is malformed");
                let in_use = self.asked.iter().any(|m| tag(m) == tag(&request));
                assert!(tag(&request) != 0xFFFF && (self.wild || !in_use));
                for &(at, does) in places.fids() {
                    let fid = u32_at(&request, at as usize);
                    let moved = does == Does::CreatesIfWalked && fid == u32_at(&request, HEADER);
                    let new =
                        matches!(does, Does::Creates | Does::CreatesAuth | Does::CreatesIfWalked);
                    assert!(fid < 200 || does.is_none(fid), "fid {fid} is not low");
                    assert!(self.wild || !new || moved || !self.fids.contains(&fid));
                }
            }
            self.asked.push(request);
        }
    }

    /// The server answers, in time for what has come before it of the same fid.
    fn answer(&mut self, n: usize, how: u8) {
        let request = self.asked[n].clone();
        let dialect = self.share.dialect().unwrap_or(self.dialect);
        let its_kind = kind(&request);
        if its_kind == types::TVERSION {
            self.asked.remove(n);
            let mut reply = request;
            reply[4] += 1;
            self.share.server_bytes(&reply);
            return;
        }
        if its_kind == types::TFLUSH {
            let oldtag = u16_at(&request, HEADER);
            self.asked.retain(|m| tag(m) != tag(&request) && tag(m) != oldtag);
            self.share.server_bytes(&framed(types::RFLUSH, tag(&request), &[]));
            return;
        }
        let places = check_request(dialect, &request).expect("it was looked at before");
        let fids = |m: &Vec<u8>| -> Vec<u32> {
            let places = check_request(dialect, m).expect("it was looked at before");
            places.fids().iter().map(|fid| u32_at(m, fid.0 as usize)).collect()
        };
        let mine = fids(&request);
        let first = self.asked[..n]
            .iter()
            .any(|m| kind(m) != types::TVERSION && fids(m).iter().any(|fid| mine.contains(fid)));
        if first {
            return self.answer(0, how);
        }
        self.asked.remove(n);
        let mut there = true;
        let mut new = None;
        for (&(_, does), fid) in places.fids().iter().zip(&mine) {
            match does {
                Does::Creates | Does::CreatesAuth => new = Some(*fid),
                Does::CreatesIfWalked if *fid != mine[0] => new = Some(*fid),
                Does::Releases => there = self.fids.remove(fid),
                _ => there &= does.is_none(*fid) || self.fids.contains(fid),
            }
        }
        let mut reply = vec![0; HEADER];
        let fails = how & 1 != 0 || !there;
        if fails {
            reply.extend([0; 6]);
            reply[4] = dialect.error_type();
        } else {
            reply[4] = its_kind + 1;
            let partly = how & 2 != 0 && places.names > 0;
            if its_kind == types::TWALK {
                let walked = places.names - u16::from(partly);
                reply.extend(walked.to_le_bytes());
                reply.extend(vec![0; 13 * walked as usize]);
            } else {
                reply.extend([0; 160]);
            }
            if let Some(fid) = new.filter(|_| !partly) {
                // What it has said at random the server has not done.
                assert!(self.fids.insert(fid) || self.wild, "fid {fid} is there already");
            }
        }
        let size = reply.len() as u32;
        put_u32(&mut reply, 0, size);
        put_tag(&mut reply, tag(&request));
        check_reply(dialect, &reply).expect("the server answers well");
        // Cut in two, somewhere.
        let (one, two) = reply.split_at(usize::from(how).min(reply.len()));
        self.share.server_bytes(one);
        self.share.server_bytes(two);
        assert!(self.wild || self.share.ended().is_none(), "a good answer ends the session");
    }
}

fn framed(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut message = (HEADER as u32 + body.len() as u32).to_le_bytes().to_vec();
    message.push(kind);
    message.extend(tag.to_le_bytes());
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random strings, for those who have no fuzzer; `MUX_BYTES` names a file with one that failed.
    #[test]
    fn random_bytes() {
        if let Some(name) = std::env::var_os("MUX_BYTES") {
            let bytes = std::fs::read(name).expect("the file can be read");
            clients(&bytes);
            server(&bytes);
            return;
        }
        let mut random = 1u64;
        for round in 0..1000 {
            let bytes: Vec<u8> = (0..600)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
                    (random >> 40) as u8
                })
                .collect();
            clients(&bytes);
            server(&bytes);
        }
    }
}
