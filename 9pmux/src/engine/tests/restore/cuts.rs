//! A fixed script whose connection to the server is cut once between every two bytes, in each direction.
//!
//! The script is run without a cut to count the bytes. Then each run has one cut: the server gets or sends exactly so
//! many bytes, the connection is lost, and the server comes back with its files and without its session. The client
//! gets the right replies, or for a Tcreate or a Tremove that may have been executed the error that says so. It looks
//! then, and asks again only if the file shows that nothing was done.

use super::super::LocalError::*;
use super::super::bench::MSIZE;
use super::super::messages::*;
use super::bench::*;
use crate::engine::ClientId;
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, types};

/// The place of the cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Never,
    /// After so many bytes to the server, which executes a request that ends there or does not.
    ToServer(usize, bool),
    /// After so many bytes from the server, which has executed what it got.
    FromServer(usize),
}

/// The script, and the connection under it.
struct Script {
    net: Net,
    id: ClientId,
    cut: Cut,
    is_lost: bool,
    /// The bytes that the server has got, and those of them that are a part of a message.
    to_server: usize,
    partial: Vec<u8>,
    /// The ends of the requests, counted in the bytes to the server.
    ends: Vec<usize>,
    from_server: usize,
    next_tag: u16,
    /// The number of errors that say that a request may have been executed.
    doubts: usize,
}

impl Script {
    fn new(dialect: Dialect, cut: Cut) -> Script {
        let mut net = Net::new(dialect);
        net.is_blocked = true;
        let id = net.bench.engine.client_connected();
        Script {
            net,
            id,
            cut,
            is_lost: false,
            to_server: 0,
            partial: Vec::new(),
            ends: Vec::new(),
            from_server: 0,
            next_tag: 0,
            doubts: 0,
        }
    }

    /// Exchanges messages with the server until nothing happens. The connection is lost meanwhile if this is its
    /// place.
    fn exchange(&mut self) {
        while !self.is_lost {
            let output = self.net.bench.engine.server_output().to_vec();
            if output.is_empty() {
                return;
            }
            let room = match self.cut {
                Cut::ToServer(at, _) => at - self.to_server,
                _ => usize::MAX,
            };
            let n = output.len().min(room);
            self.net.bench.engine.server_wrote(n);
            self.to_server += n;
            self.partial.extend_from_slice(&output[..n]);
            let requests = cut(&mut self.partial);
            let mut end = self.to_server - self.partial.len();
            let mut ends = Vec::new();
            for request in requests.iter().rev() {
                ends.push(end);
                end -= request.len();
            }
            ends.reverse();
            for (request, end) in requests.iter().zip(ends) {
                self.ends.push(end);
                self.serve(request, end);
            }
            if matches!(self.cut, Cut::ToServer(at, _) if at == self.to_server) {
                self.lose();
            }
        }
        self.net.run();
    }

    /// The server has got a request whose last byte is at `end`.
    fn serve(&mut self, request: &[u8], end: usize) {
        match self.cut {
            Cut::ToServer(at, false) if at == end => return,
            _ if self.is_lost => return,
            _ => {}
        }
        let reply = self.net.server.reply(request).expect("a reply");
        let n = match self.cut {
            Cut::ToServer(at, true) if at == end => 0,
            Cut::FromServer(at) => reply.len().min(at - self.from_server),
            _ => reply.len(),
        };
        self.from_server += n;
        self.net.bench.server(&reply[..n]);
        if self.cut == Cut::FromServer(self.from_server) {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.is_lost = true;
        self.net.lose();
        self.net.is_blocked = false;
        self.net.connect();
    }

    fn tag(&mut self) -> u16 {
        self.next_tag += 1;
        self.next_tag
    }

    /// Sends a request, and returns its only reply.
    fn ask(&mut self, message: &[u8]) -> Vec<u8> {
        let id = self.id;
        self.net.bench.client_sends(id, message);
        self.exchange();
        let reply = self.net.bench.client_received(id);
        assert_eq!(tag(&reply), tag(message), "{:?}", self.cut);
        reply
    }

    /// Sends a request that must succeed, and returns its reply.
    fn must(&mut self, message: &[u8]) -> Vec<u8> {
        let reply = self.ask(message);
        assert_eq!(kind(&reply), kind(message) + 1, "{:?}: {message:?} gets {reply:?}", self.cut);
        reply
    }

    /// Sends a request that must not be executed twice. Returns true if it has succeeded, and false if it may have
    /// been executed.
    fn may(&mut self, message: &[u8]) -> bool {
        let was_lost = self.is_lost;
        let reply = self.ask(message);
        if kind(&reply) == kind(message) + 1 {
            return true;
        }
        let context = format!("{:?}: {message:?} gets {reply:?}", self.cut);
        assert!(is_local_error(self.net.bench.dialect, &reply, MaybeDone), "{context}");
        // Only a request that was in flight as a whole.
        assert!(!was_lost && self.is_lost && self.partial.is_empty(), "{context}");
        self.doubts += 1;
        false
    }

    fn walks(&mut self, fid: u32, names: &[&str]) {
        let message = walk(self.tag(), 0, fid, names);
        let reply = self.must(&message);
        assert_eq!(reply.len(), HEADER + 2 + 13 * names.len(), "{:?}", self.cut);
    }

    /// Returns true if a file exists, which the client finds out by a walk.
    fn exists(&mut self, fid: u32, names: &[&str]) -> bool {
        let message = walk(self.tag(), 0, fid, names);
        let reply = self.ask(&message);
        kind(&reply) == types::RWALK && reply.len() == HEADER + 2 + 13 * names.len()
    }

    fn opens(&mut self, fid: u32) {
        let message = self.net.open_message(fid, 2);
        self.must(&message);
    }

    fn clunks(&mut self, fid: u32) {
        let message = of_fid(types::TCLUNK, self.tag(), fid);
        self.must(&message);
    }

    fn writes(&mut self, fid: u32, data: &[u8]) {
        let n = data.len() as u32;
        let message = made(types::TWRITE, self.tag()).u32(fid).u64(0).u32(n).raw(data).done();
        assert_eq!(self.must(&message)[HEADER..], n.to_le_bytes());
    }

    fn reads(&mut self, fid: u32, expected: &str) {
        let message = read(self.tag(), fid, 0, 100);
        let reply = self.must(&message);
        assert_eq!(contents(&reply), expected, "{:?}", self.cut);
    }

    /// Creates /d/new as fid 2, which is open then.
    fn creates(&mut self) {
        let names = ["d", "new"];
        self.walks(2, &names[..1]);
        let tag = self.tag();
        let message = match self.net.bench.dialect {
            Dialect::L => made(14, tag).u32(2).str("new").u32(2).u32(0o644).u32(0).done(),
            Dialect::U => made(114, tag).u32(2).str("new").u32(0o644).u8(2).str("").done(),
            Dialect::Plain => made(114, tag).u32(2).str("new").u32(0o644).u8(2).done(),
        };
        if self.may(&message) {
            return;
        }
        // The fid is where it was.
        if self.exists(3, &names) {
            self.clunks(2);
            self.clunks(3);
            self.walks(2, &names);
            self.opens(2);
        } else {
            assert!(self.may(&message), "{:?}", self.cut);
        }
    }

    fn removes(&mut self) {
        let names = ["d", "new"];
        self.walks(4, &names);
        let message = of_fid(types::TREMOVE, self.tag(), 4);
        if !self.may(&message) && self.exists(4, &names) {
            assert!(self.may(&message), "{:?}", self.cut);
        }
        assert!(!self.exists(4, &names), "{:?}", self.cut);
    }

    /// Runs the script, and checks what is left of it.
    fn run(&mut self) {
        let dialect = self.net.bench.dialect;
        let name = dialect.name();
        assert_eq!(self.ask(&version(MSIZE, name)), rversion(MSIZE, name), "{:?}", self.cut);
        let message = attach(dialect, self.tag(), 0, NOFID, "u", "a");
        self.must(&message);
        self.walks(1, &["d", "f"]);
        self.opens(1);
        self.reads(1, "file 3");
        self.writes(1, b"new!");
        self.reads(1, "new! 3");
        self.creates();
        self.writes(2, b"second");
        self.clunks(2);
        self.removes();
        self.reads(1, "new! 3");
        self.clunks(1);
        self.clunks(0);
        self.check_end();
    }

    fn check_end(&mut self) {
        let server = &self.net.server;
        let paths: Vec<&str> = server.files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["", "/d", "/d/f", "/g"], "{:?}", self.cut);
        for kind in [types::TCREATE, types::TLCREATE, types::TREMOVE] {
            assert!(server.requests(kind).len() <= 1, "{:?}: type {kind}, twice", self.cut);
        }
        let left = (server.fids(), self.net.bench.engine.stats().fids);
        assert_eq!(left, (0, 0), "{:?}: fids are left", self.cut);
        assert_eq!(self.is_lost, self.cut != Cut::Never);
    }
}

#[test]
fn script_goes_on_after_a_cut_between_any_two_bytes() {
    for dialect in Dialect::ALL {
        let mut whole = Script::new(dialect, Cut::Never);
        whole.run();
        assert!(whole.doubts == 0 && whole.to_server > 250 && whole.from_server > 250);
        let mut doubts = 0;
        let mut run = |cut| {
            let mut script = Script::new(dialect, cut);
            script.run();
            doubts += script.doubts;
        };
        for at in 0..=whole.to_server {
            run(Cut::ToServer(at, true));
            if whole.ends.contains(&at) {
                run(Cut::ToServer(at, false));
            }
        }
        // At the last byte the script has ended.
        for at in 0..whole.from_server {
            run(Cut::FromServer(at));
        }
        // Two requests: after their last byte, executed or not, and between the bytes of their replies, of which the
        // Rcreate has 24.
        let between = (24 - 1) + (HEADER - 1);
        assert_eq!(doubts, 2 * 2 + between, "{dialect:?}");
    }
}
