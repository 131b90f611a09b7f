//! Builders for messages, and random numbers.

use crate::engine::local_error::LocalError;
use crate::wire::{Dialect, HEADER, kind, put_u32, u32_at};

/// A message under construction.
#[derive(Clone)]
pub struct MessageBuilder(Vec<u8>);

/// Returns a stat with this name, with its size before it.
pub fn stat(dialect: Dialect, name: impl AsRef<[u8]>) -> Vec<u8> {
    let fields = MessageBuilder(Vec::new()).u16(0).u32(0).qid(0, 0).u32(!0).u32(!0).u32(!0).u64(!0);
    let fields = fields.str(name).str("u").str("g").str("");
    let fields = if dialect == Dialect::U { fields.str("x").u32(1).u32(2).u32(3) } else { fields };
    MessageBuilder(Vec::new()).u16(fields.0.len() as u16).raw(&fields.0).0
}

/// Begins a message with a type and a tag.
pub fn made(kind: u8, tag: u16) -> MessageBuilder {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend([0, 0, 0, 0, kind]);
    bytes.extend_from_slice(&tag.to_le_bytes());
    MessageBuilder(bytes)
}

impl MessageBuilder {
    pub fn u8(mut self, n: u8) -> MessageBuilder {
        self.0.push(n);
        self
    }

    pub fn u16(mut self, n: u16) -> MessageBuilder {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    pub fn u32(mut self, n: u32) -> MessageBuilder {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    pub fn u64(mut self, n: u64) -> MessageBuilder {
        self.0.extend_from_slice(&n.to_le_bytes());
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> MessageBuilder {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn str(self, s: impl AsRef<[u8]>) -> MessageBuilder {
        let s = s.as_ref();
        self.u16(s.len() as u16).raw(s)
    }

    pub fn names(self, names: &[&str]) -> MessageBuilder {
        names.iter().fold(self.u16(names.len() as u16), MessageBuilder::str)
    }

    pub fn qid(self, version: u32, path: u64) -> MessageBuilder {
        self.u8(0).u32(version).u64(path)
    }

    /// Writes the size, and returns the message.
    pub fn done(mut self) -> Vec<u8> {
        let size = self.0.len() as u32;
        put_u32(&mut self.0, 0, size);
        self.0
    }
}

pub fn version(msize: u32, name: &str) -> Vec<u8> {
    made(100, 0xFFFF).u32(msize).str(name).done()
}

pub fn rversion(msize: u32, name: &str) -> Vec<u8> {
    made(101, 0xFFFF).u32(msize).str(name).done()
}

/// Appends the n_uname that ends Tauth and Tattach, if the dialect has it.
pub fn n_uname(dialect: Dialect, message: MessageBuilder) -> MessageBuilder {
    if dialect == Dialect::Plain { message } else { message.u32(7) }
}

pub fn auth(dialect: Dialect, tag: u16, afid: u32, uname: &str, aname: &str) -> Vec<u8> {
    n_uname(dialect, made(102, tag).u32(afid).str(uname).str(aname)).done()
}

pub fn attach(
    dialect: Dialect,
    tag: u16,
    fid: u32,
    afid: u32,
    uname: &str,
    aname: &str,
) -> Vec<u8> {
    n_uname(dialect, made(104, tag).u32(fid).u32(afid).str(uname).str(aname)).done()
}

pub fn flush(tag: u16, oldtag: u16) -> Vec<u8> {
    made(108, tag).u16(oldtag).done()
}

pub fn walk(tag: u16, fid: u32, newfid: u32, names: &[&str]) -> Vec<u8> {
    made(110, tag).u32(fid).u32(newfid).names(names).done()
}

pub fn rwalk(tag: u16, walked: u16) -> Vec<u8> {
    (0..walked).fold(made(111, tag).u16(walked), |m, i| m.qid(0, u64::from(i))).done()
}

/// Returns a message with a fid as its only field.
pub fn of_fid(kind: u8, tag: u16, fid: u32) -> Vec<u8> {
    made(kind, tag).u32(fid).done()
}

pub fn read(tag: u16, fid: u32, offset: u64, count: u32) -> Vec<u8> {
    made(116, tag).u32(fid).u64(offset).u32(count).done()
}

/// Returns a Twrite of no bytes, which is as long as a Tread.
pub fn empty_write(tag: u16, fid: u32) -> Vec<u8> {
    made(118, tag).u32(fid).u64(0).u32(0).done()
}

/// Returns an error reply of the server, with number 5000.
pub fn error(dialect: Dialect, tag: u16, name: &str) -> Vec<u8> {
    match dialect {
        Dialect::Plain => made(107, tag).str(name).done(),
        Dialect::U => made(107, tag).str(name).u32(5000).done(),
        Dialect::L => made(7, tag).u32(5000).done(),
    }
}

/// Returns the server's error reply for an unknown fid, with number 5001.
pub fn no_fid(dialect: Dialect, tag: u16) -> Vec<u8> {
    match dialect {
        Dialect::Plain => made(107, tag).str("no fid").done(),
        Dialect::U => made(107, tag).str("no fid").u32(5001).done(),
        Dialect::L => made(7, tag).u32(5001).done(),
    }
}

/// Returns true if this is the given error of 9pmux, in the dialect's form.
pub fn is_local_error(dialect: Dialect, message: &[u8], why: LocalError) -> bool {
    let (ename, errno) = (why.ename().as_bytes(), why.errno().to_le_bytes());
    let length = (ename.len() as u16).to_le_bytes();
    let fields: [&[u8]; 3] = match dialect {
        Dialect::Plain => [&length, ename, &[]],
        Dialect::U => [&length, ename, &errno],
        Dialect::L => [&errno, &[], &[]],
    };
    let body = &message[HEADER..];
    let rest = fields.iter().try_fold(body, |rest, field| rest.strip_prefix(*field));
    kind(message) == dialect.error_type()
        && u32_at(message, 0) as usize == message.len()
        && rest.is_some_and(<[u8]>::is_empty)
}

pub fn is_error(message: &[u8]) -> bool {
    [7, 107].contains(&kind(message))
}

/// Removes the complete messages from `bytes`, and returns them.
pub fn cut(bytes: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while bytes.len() >= HEADER && u32_at(bytes, 0) as usize <= bytes.len() {
        let rest = bytes.split_off(u32_at(bytes, 0) as usize);
        messages.push(std::mem::replace(bytes, rest));
    }
    messages
}

pub fn u64_at(message: &[u8], at: usize) -> u64 {
    u64::from(u32_at(message, at)) | u64::from(u32_at(message, at + 4)) << 32
}

/// Random numbers that are reproducible from a seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Returns true once in `n` times on average.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
