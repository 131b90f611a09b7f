//! All requests of all clients, and what became of each: the memory of what must not happen twice.
//!
//! The server asks the ledger whose request it executes. A request is recognized by its contents and by the files of
//! its fids: most contents have a mark that no other request has.

use std::collections::BTreeMap;

use super::client::ClientFid;
use super::disk::{QT_APPEND, QT_AUTH, QT_DIR};
use super::session::Session;
use super::{OCREATE, OEXCL, kinds};
use crate::engine::Repeat;
use crate::engine::fuzz::model_client::essence;
use crate::wire::{Dialect, FidUse, NOFID, check_request, kind, show, tag, types, u32_at};

/// The file that a fid of a request must be of, as far as the client knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expected {
    /// The request creates the fid, or names none.
    None,
    File(u64),
    /// The request that creates the fid has no reply yet.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// The client waits for the reply.
    Open,
    /// The client's session has ended while this session of the server was the last.
    Orphan(u32),
    Closed,
}

pub struct Execution {
    pub session: u32,
    /// Its place in the order of all executions.
    pub order: u64,
    pub reply: Vec<u8>,
}

pub struct Entry {
    pub client: u32,
    pub message: Vec<u8>,
    pub key: Vec<u8>,
    pub expected: [Expected; 2],
    pub fate: Fate,
    /// Its executions.
    pub executions: Vec<Execution>,
    /// 9pmux has sent it, at least into its own output.
    pub forwarded: bool,
    /// The sessions in which all of it was written to the connection.
    pub written: Vec<u32>,
    /// It may be sent again after it was written.
    pub repeatable: bool,
    /// The number of losses before it was sent.
    pub losses: u32,
    /// Where it ends in all bytes of the client.
    pub end: u64,
    /// No other request is like it.
    pub marked: bool,
    /// The files whose names it has changed.
    pub moved: Vec<u64>,
}

impl Entry {
    pub fn kind(&self) -> u8 {
        kind(&self.message)
    }

    pub fn is_pipelined(&self) -> bool {
        self.expected.contains(&Expected::Unknown)
    }
}

#[derive(Default)]
pub struct Ledger {
    pub entries: Vec<Entry>,
    by_key: BTreeMap<Vec<u8>, Vec<usize>>,
    executions: u64,
    /// The last synchronization of each file that a client knows of.
    pub synced: BTreeMap<u64, u64>,
}

/// Returns the number of the fid in each place of a request, and what the request does to it.
pub fn fids_of(dialect: Dialect, message: &[u8]) -> Vec<(u32, FidUse)> {
    let offsets = check_request(dialect, message).expect("a well-formed request");
    offsets.fids().iter().map(|(at, fid_use)| (u32_at(message, *at as usize), *fid_use)).collect()
}

/// Returns true if a client's reply is the server's, which may have another tag and another iounit.
pub fn is_reply(given: &[u8], received: &[u8]) -> bool {
    let opens = matches!(kind(received), 13 | 15 | 113 | 115);
    let end = if opens { 20 } else { received.len() };
    given.len() == received.len() && given[4] == received[4] && given[7..end] == received[7..end]
}

fn must_exist((fid, fid_use): (u32, FidUse)) -> bool {
    match fid_use {
        FidUse::Uses | FidUse::Releases | FidUse::ReleasesOnSuccess => true,
        FidUse::Authenticates => fid != NOFID,
        FidUse::Creates | FidUse::CreatesAuth | FidUse::CreatesOnFullWalk => false,
    }
}

/// Returns what identifies a request besides the files of its fids.
fn key(dialect: Dialect, message: &[u8]) -> Vec<u8> {
    let mut key = essence(dialect, false, message).expect("a well-formed request");
    if kind(message) == types::TATTACH {
        let authenticates = u32_at(message, crate::wire::HEADER + 4) != NOFID;
        key.push(u8::from(authenticates));
    }
    key
}

impl Ledger {
    /// Records a request, which `marked` says is like no other. `fid_of` returns what the client knows of a fid.
    pub fn add<'a>(
        &mut self,
        dialect: Dialect,
        repeat: Repeat,
        message: &[u8],
        marked: bool,
        fid_of: impl Fn(u32) -> Option<&'a ClientFid>,
    ) -> &mut Entry {
        let mut expected = [Expected::None; 2];
        let fids = fids_of(dialect, message);
        for (i, named) in fids.iter().enumerate().filter(|(_, named)| must_exist(**named)) {
            let of = fid_of(named.0).filter(|fid| !fid.busy);
            let file = of.and_then(|fid| fid.inode);
            expected[i] = file.map_or(Expected::Unknown, Expected::File);
        }
        let first = fids.first().and_then(|named| fid_of(named.0));
        let key = key(dialect, message);
        self.by_key.entry(key.clone()).or_default().push(self.entries.len());
        self.entries.push(Entry {
            client: 0,
            message: message.to_vec(),
            key,
            expected,
            fate: Fate::Open,
            executions: Vec::new(),
            forwarded: false,
            written: Vec::new(),
            repeatable: is_repeatable(dialect, repeat, message, first),
            losses: 0,
            end: 0,
            marked,
            moved: Vec::new(),
        });
        self.entries.last_mut().expect("it was added")
    }

    /// Records that a session has executed a request.
    pub fn executed(&mut self, number: usize, session: u32, reply: &[u8]) {
        self.executions += 1;
        let execution = Execution { session, order: self.executions, reply: reply.to_vec() };
        self.entries[number].executions.push(execution);
    }

    /// Returns the place of the last execution of a request or of one like it.
    pub fn last_execution(&self, number: usize) -> u64 {
        let all = self.same(&self.entries[number]).flat_map(|entry| &entry.executions);
        all.map(|execution| execution.order).max().unwrap_or(0)
    }

    /// A client knows that a file was synchronized by this execution.
    pub fn synchronized(&mut self, inode: Option<u64>, order: u64) {
        if let Some(inode) = inode {
            let synced = self.synced.entry(inode).or_default();
            *synced = order.max(*synced);
        }
    }

    /// Returns a request with these contents that 9pmux has not forwarded, of a client that has left or whose session
    /// has `ended`, during this session of the server.
    pub fn not_forwarded(
        &self,
        dialect: Dialect,
        message: &[u8],
        ended: &[u32],
        session: u32,
    ) -> Option<usize> {
        let all = self.candidates(dialect, message);
        let is = |i: &usize| {
            let entry = &self.entries[*i];
            let left = entry.fate == Fate::Orphan(session);
            let ends = entry.fate == Fate::Open && ended.contains(&entry.client);
            !entry.forwarded && (left || ends)
        };
        all.into_iter().find(is)
    }

    /// Returns the entries with the contents of an entry.
    pub fn same(&self, entry: &Entry) -> impl Iterator<Item = &Entry> {
        self.by_key[&entry.key].iter().map(|i| &self.entries[*i])
    }

    /// Returns the requests that this one may be, by its contents alone.
    fn candidates(&self, dialect: Dialect, message: &[u8]) -> Vec<usize> {
        self.by_key.get(&key(dialect, message)).cloned().unwrap_or_default()
    }

    /// Records that all of a request was written to the connection.
    pub fn mark_written(&mut self, number: usize, session: &Session, message: &[u8]) {
        let entry = &mut self.entries[number];
        let again = entry.written.iter().any(|other| *other != session.number);
        assert!(!again || entry.repeatable, "{} is sent again", show(session.dialect, message));
        entry.written.push(session.number);
    }

    /// Returns true if a session may execute a request of a client.
    pub fn may_execute(&self, number: usize, session: &Session, message: &[u8]) -> bool {
        let entry = &self.entries[number];
        let is = |(named, expected): (&(u32, FidUse), &Expected)| match expected {
            Expected::File(file) => session.inode(named.0) == Some(*file),
            Expected::None | Expected::Unknown => true,
        };
        let waits = match entry.fate {
            Fate::Open => true,
            Fate::Orphan(number) => number == session.number,
            Fate::Closed => false,
        };
        let again = entry.executions.iter().any(|execution| execution.session == session.number);
        let before = !entry.executions.is_empty();
        waits
            && !again
            && (!before || entry.repeatable)
            && entry.key == key(session.dialect, message)
            && fids_of(session.dialect, message).iter().zip(&entry.expected).all(is)
    }

    /// Returns why no request of a client is this one.
    pub fn explain(&self, session: &Session, message: &[u8]) -> String {
        let all = self.candidates(session.dialect, message);
        let list = |i: &usize| {
            let entry = &self.entries[*i];
            let executions: Vec<u32> = entry.executions.iter().map(|e| e.session).collect();
            format!(
                "\n  of client {}, tag {}: {:?}, expects {:?}, executed in {executions:?}, repeatable {}",
                entry.client,
                tag(&entry.message),
                entry.fate,
                entry.expected,
                entry.repeatable
            )
        };
        let files: Vec<Option<u64>> =
            fids_of(session.dialect, message).iter().map(|fid| session.inode(fid.0)).collect();
        let alike: String = all.iter().rev().take(4).map(list).collect();
        let shown = show(session.dialect, message);
        format!("session {} executes {shown} of files {files:?}, like:{alike}", session.number)
    }
}

/// Returns true if a request of this client may be sent again after all of it was written.
fn is_repeatable(
    dialect: Dialect,
    repeat: Repeat,
    message: &[u8],
    fid: Option<&ClientFid>,
) -> bool {
    // A Tclunk is sent again behind a request that needs the fid.
    if matches!(kind(message), types::TFLUSH | types::TCLUNK) {
        return true;
    }
    if repeat == Repeat::None {
        return false;
    }
    let is_plain = |fid: &ClientFid| {
        let appends = fid.open.is_some_and(|mode| super::appends(dialect, mode));
        fid.qtype & (QT_DIR | QT_APPEND | QT_AUTH) == 0 && !fid.xattr && !appends
    };
    match kind(message) {
        types::TWRITE => repeat == Repeat::Writes && fid.is_some_and(is_plain),
        types::TREAD => {
            let offset = crate::engine::fuzz::messages::u64_at(message, 11);
            let is_directory = fid.is_some_and(|fid| fid.qtype & QT_DIR != 0);
            let special = fid.is_some_and(|fid| fid.xattr || fid.qtype & QT_AUTH != 0);
            !special && (!is_directory || dialect == Dialect::L || offset == 0)
        }
        types::TATTACH => u32_at(message, 11) == NOFID,
        types::TOPEN => message[11] & (super::OTRUNC_PLAIN | super::ORCLOSE) == 0,
        types::TLOPEN => u32_at(message, 11) & (super::OTRUNC | OCREATE | OEXCL) == 0,
        types::TWALK | 124 => true,
        kinds::TREADDIR
        | kinds::TGETATTR
        | kinds::TSTATFS
        | kinds::TREADLINK
        | kinds::TGETLOCK
        | kinds::TFSYNC => true,
        _ => false,
    }
}
