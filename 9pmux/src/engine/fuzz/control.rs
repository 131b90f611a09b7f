//! The control tree: clients that use it beside the server, in the same sessions, and one that only reads it.
//!
//! Requests for the tree have tags and fids of their own, so that the rest of the model need not know of them. None of
//! them may reach the server, which accepts only requests that the model knows; and no other reply may be different.
//! The reader compares the numbers of its files with those of the model, at the moment at which it opens them.
//!
//! No byte of the string is used for this, so that strings keep their meaning.

use super::messages::{cut, made, of_fid, read, version, walk};
use super::world::World;
use crate::engine::{ClientId, ClientOrigin, Config, ControlTree};
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, types};

/// The aname of the tree.
const TREE: &str = "/mux";

/// The first tag and fid of requests for the tree.
const FIRST_TAG: u16 = 5000;
const ROOT: u32 = 1000;
const FILE: u32 = 1001;

/// The msize of the reader, and the number of bytes that it reads of each file.
const MSIZE: u32 = 2000;
const COUNT: u32 = 1900;

/// Returns the tree of a run, in half of the runs.
pub fn tree(config: &Config) -> Option<ControlTree> {
    (config.seed & 0x40 != 0).then(|| ControlTree {
        aname: TREE.to_owned(),
        program: "9pmux".to_owned(),
        pid: 1,
        uid: 2,
        gid: 3,
        epoch: 0,
    })
}

/// What each client may do.
pub const ORIGIN: ClientOrigin = ClientOrigin { listener: 0, may_control: true, pid: 0 };

fn attach(dialect: Dialect, tag: u16, fid: u32) -> Vec<u8> {
    super::messages::attach(dialect, tag, fid, NOFID, "u", TREE)
}

fn open(dialect: Dialect, tag: u16, fid: u32) -> Vec<u8> {
    match dialect {
        Dialect::L => made(12, tag).u32(fid).u32(0).done(),
        _ => made(types::TOPEN, tag).u32(fid).u8(0).done(),
    }
}

/// The requests of a client for the tree.
#[derive(Default)]
pub struct LocalRequests {
    /// Those that have not arrived at 9pmux.
    sent: Vec<Vec<u8>>,
    /// The tags and types of those without a reply.
    pending: Vec<(u16, u8)>,
    made: u16,
}

impl LocalRequests {
    /// Returns the next request. Some have errors as replies, for example after the session has ended.
    pub fn next(&mut self, dialect: Dialect) -> Vec<u8> {
        let tag = FIRST_TAG + self.made % 50_000;
        let message = match self.made % 8 {
            0 => attach(dialect, tag, ROOT),
            1 => walk(tag, ROOT, FILE, &["stats"]),
            2 => open(dialect, tag, FILE),
            3 | 4 => read(tag, FILE, 0, 100),
            5 => walk(tag, ROOT, ROOT, &["stats", "nothing"]),
            6 => of_fid(types::TCLUNK, tag, FILE),
            _ => of_fid(types::TREMOVE, tag, ROOT),
        };
        self.made += 1;
        self.sent.push(message.clone());
        message
    }

    /// Returns true if a message that has arrived is one of these. It has no reply yet.
    pub fn arrives(&mut self, message: &[u8]) -> bool {
        let Some(i) = self.sent.iter().position(|sent| sent == message) else {
            return false;
        };
        self.sent.remove(i);
        self.pending.push((tag(message), kind(message)));
        true
    }

    /// Returns true if a reply is to one of these.
    pub fn is_reply(&mut self, message: &[u8], is_error: bool) -> bool {
        let asked = self.pending.iter().position(|asked| asked.0 == tag(message));
        let Some((_, kind_of_request)) = asked.map(|i| self.pending.remove(i)) else {
            return false;
        };
        if !is_error {
            assert_eq!(kind(message), kind_of_request + 1, "another reply");
            let is_text = kind(message) == types::TREAD + 1;
            assert!(!is_text || message[HEADER + 4..].starts_with(b"clients "), "another text");
        }
        true
    }

    /// The session has ended.
    pub fn end_session(&mut self) {
        self.pending.clear();
    }

    pub fn all_have_replies(&self) -> bool {
        self.pending.is_empty()
    }
}

/// The numbers that a file must have.
#[derive(Default)]
struct Expected {
    clients: usize,
    bytes_read: u64,
    bytes_written: u64,
    /// The number, the bytes sent and the output of each client.
    of_clients: Vec<(u64, u64, usize)>,
}

/// A client that only reads the tree, one message at a time.
#[derive(Default)]
pub struct Reader {
    id: Option<ClientId>,
    step: u32,
    bytes: (u64, u64),
    expected: Option<Expected>,
    /// The bytes of readers that have left.
    before: (u64, u64),
}

impl Reader {
    /// Returns true if this client is the reader.
    pub fn is(&self, id: ClientId) -> bool {
        self.id == Some(id)
    }
}

impl World<'_> {
    /// Lets the reader send one message, and examines the reply if it is there at once.
    pub fn read_control(&mut self) {
        if self.config.control.is_none() || self.engine.end_reason().is_some() {
            return;
        }
        let Some(id) = self.reader.id else {
            let id = self.engine.client_connected();
            self.engine.describe_client(id, ORIGIN);
            self.reader = Reader { id: Some(id), before: self.reader.before, ..Reader::default() };
            return;
        };
        if self.engine.is_closing(id) {
            return self.drop_reader();
        }
        if !self.engine.wants_read(id) || !self.drain_reader(id).is_empty() {
            return;
        }
        let file = if self.reader.step & 8 == 0 { "stats" } else { "clients" };
        let message = match self.reader.step {
            0 => version(MSIZE, "9P2000.mux"),
            1 => attach(Dialect::Plain, 1, 0),
            n => match n % 4 {
                2 => walk(1, 0, 1, &[file]),
                3 => open(Dialect::Plain, 1, 1),
                0 => read(1, 1, 0, COUNT),
                _ => of_fid(types::TCLUNK, 1, 1),
            },
        };
        self.reader.bytes.0 += message.len() as u64;
        let is_open = kind(&message) == types::TOPEN;
        let expected = is_open.then(|| self.expected());
        self.engine.client_bytes(id, &message);
        let replies = self.drain_reader(id);
        let Some(reply) = replies.first() else {
            // It waits. What it is compared with is not known.
            self.reader.expected = None;
            self.reader.step += 1;
            return;
        };
        self.reader.step += 1;
        assert_eq!(kind(reply), kind(&message) + 1, "the reader gets an error");
        if is_open {
            self.reader.expected = expected;
        }
        if kind(reply) == types::TREAD + 1 {
            if let Some(expected) = self.reader.expected.take() {
                let text = String::from_utf8_lossy(&reply[HEADER + 4..]);
                expected.compare(&text);
            }
        }
    }

    fn expected(&self) -> Expected {
        let (read, written) = (self.reader.before.0 + self.reader.bytes.0, self.reader.before.1);
        let of_client = |peer: &super::model_client::ModelClient| {
            let output = self.engine.client_info(peer.id).map_or(0, |info| info.output);
            (peer.id.number(), peer.bytes_sent, output)
        };
        Expected {
            clients: self.peers.len() + 1,
            bytes_read: self.moved.0 + read,
            bytes_written: self.moved.1 + written + self.reader.bytes.1,
            of_clients: self.peers.iter().map(of_client).collect(),
        }
    }

    /// Takes the output of the reader.
    fn drain_reader(&mut self, id: ClientId) -> Vec<Vec<u8>> {
        let mut output = self.engine.output(id).to_vec();
        self.reader.bytes.1 += output.len() as u64;
        if !output.is_empty() {
            self.engine.client_wrote(id, output.len());
        }
        let messages = cut(&mut output);
        assert!(output.is_empty(), "a part of a message");
        messages
    }

    /// Disconnects the reader.
    pub fn drop_reader(&mut self) {
        if let Some(id) = self.reader.id.take() {
            self.drain_reader(id);
            self.engine.client_gone(id);
            let (read, written) = self.reader.bytes;
            self.reader.before.0 += read;
            self.reader.before.1 += written;
        }
    }
}

impl Expected {
    /// Compares the beginning of a text.
    fn compare(&self, text: &str) {
        let Some(value) = text.strip_prefix("clients ") else {
            return self.compare_clients(text);
        };
        let first = value.split('\n').next().unwrap_or_default();
        assert_eq!(first, self.clients.to_string(), "clients");
        for (name, expected) in [
            ("bytes_from_clients_total ", self.bytes_read),
            ("bytes_to_clients_total ", self.bytes_written),
        ] {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            assert_eq!(line, Some(&expected.to_string()[..]), "{name}");
        }
    }

    fn compare_clients(&self, text: &str) {
        let whole = text.rsplit_once('\n').map_or("", |parts| parts.0);
        for line in whole.lines().skip(1) {
            let words: Vec<&str> = line.split(' ').collect();
            let client = self.of_clients.iter().find(|client| client.0.to_string() == words[0]);
            if let Some((_, sent, output)) = client {
                assert_eq!(words[13], sent.to_string(), "bytes of a client: {line}");
                assert_eq!(words[11], output.to_string(), "output of a client: {line}");
            }
        }
    }
}
