//! What happens: clients, a server, and a driver that does as `engine` says a driver is to do.

use std::time::Duration;

use super::bytes::Bytes;
use super::peer::{Peer, View};
use super::request::{any_version, framed, request};
use super::server::Server;
use crate::engine::{Config, EndReason, Engine, TraceEvent};
use crate::wire::{Dialect, MESSAGES, foreign, show, tag};

const MSIZE: u32 = 600;
const CLIENTS: usize = 4;

pub struct World<'a> {
    bytes: Bytes<'a>,
    config: Config,
    engine: Engine,
    /// What clients speak that know no better.
    dialect: Dialect,
    settled: Option<Dialect>,
    peers: Vec<Peer>,
    made: u32,
    serial: u16,
    server: Server,
    /// The server does not read.
    blocked: bool,
    now: u64,
    /// The end of the session is nobody's fault.
    may_end: bool,
    /// How it ends.
    ending: u8,
}

impl<'a> World<'a> {
    pub fn new(bytes: &'a [u8], wild: bool) -> World<'a> {
        let mut bytes = Bytes::new(bytes);
        let (first, second) = (bytes.next(), bytes.next());
        let dialect = Dialect::ALL[first as usize % 3];
        let config = Config {
            dialect: Some(dialect).filter(|_| first & 4 == 0),
            msize: MSIZE,
            max_inflight: if first & 8 == 0 { 2 } else { 20 },
            max_inflight_all: if first & 16 == 0 { 4 } else { 1000 },
            max_reply_bytes: if first & 32 == 0 { 700 } else { 10_000 },
            max_inbox_bytes: 100,
            max_server_bytes: if first & 64 == 0 { 20 } else { 10_000 },
            max_fids: if second & 1 == 0 { 6 } else { 3 },
            max_fids_all: if second & 2 == 0 { 1000 } else { 7 },
            anames: if second & 192 == 192 { vec!["a".to_owned()] } else { Vec::new() },
            // Requests are recognized at the server by the bytes behind their last field.
            lax: true,
            seed: u64::from(second),
            ..Config::default()
        };
        let mut engine = Engine::new(config.clone());
        if std::env::var_os("MUX_TRACE").is_some() {
            println!("{config:?}");
            engine.set_tracer(Some(Box::new(|dialect, seen| println!("{}", line(dialect, seen)))));
        } else if second & 48 == 48 {
            // Whatever can come can be logged.
            let log = |dialect, seen: TraceEvent<'_>| assert!(!line(dialect, seen).is_empty());
            engine.set_tracer(Some(Box::new(log)));
        }
        World {
            bytes,
            config,
            engine,
            dialect,
            settled: None,
            peers: Vec::new(),
            made: 0,
            serial: 0,
            server: Server::new(wild, MSIZE),
            blocked: false,
            now: 0,
            may_end: false,
            ending: second,
        }
    }

    pub fn run(mut self) {
        self.turn();
        while !self.bytes.is_empty() && self.engine.end_reason().is_none() {
            self.event();
            self.turn();
        }
        let gone = self.ending & 4 == 0 || self.server.wild;
        if !self.server.wild && self.engine.end_reason().is_none() {
            self.quiet();
            self.peers.iter().for_each(|peer| peer.all_told(false));
        }
        if self.engine.end_reason().is_none() && gone {
            self.gone();
            self.turn();
        }
        match self.engine.end_reason() {
            Some(end) => {
                let end = end.clone();
                self.ended(&end);
            }
            None => self.leave(),
        }
    }

    /// Everybody goes, the server answers all, and nothing is left.
    fn leave(&mut self) {
        while let Some(peer) = self.peers.pop() {
            self.engine.client_gone(peer.id);
            self.turn();
        }
        self.quiet();
        let stats = self.engine.stats();
        assert_eq!((stats.clients, stats.requests, stats.fids, stats.in_cleanup), (0, 0, 0, 0));
        assert_eq!(self.server.fids(), 0, "fids are left at the server");
    }

    /// The session is over: everybody is told, and that all.
    fn ended(&mut self, end: &EndReason) {
        assert!(!end.to_string().is_empty());
        match end {
            EndReason::NoCommonVersion(_) => assert!(self.server.wild || self.server.refuses),
            EndReason::Garbled(_) => assert!(self.server.wild, "a good answer ends it: {end}"),
            EndReason::ServerClosed | EndReason::HungUp | EndReason::VersionTimeout => {
                assert!(self.may_end)
            }
        }
        for peer in &mut self.peers {
            assert!(self.engine.is_closing(peer.id), "a client is left");
            peer.all_told(true);
            peer.slow = false;
        }
        self.turn();
        assert!(self.peers.is_empty());
        let id = self.engine.client_connected();
        assert!(self.engine.is_closing(id) && self.engine.next_dirty() == Some(id));
        assert!(self.engine.server_output().is_empty());
    }

    fn gone(&mut self) {
        self.may_end = true;
        match self.ending & 8 {
            0 => self.engine.server_gone(),
            _ => self.engine.hang_up(),
        }
    }

    /// Everybody reads and answers until nothing happens any more.
    fn quiet(&mut self) {
        self.blocked = false;
        self.peers.iter_mut().for_each(|peer| peer.slow = false);
        for round in 0.. {
            assert!(round < 3000, "no end");
            self.turn();
            let mut i = 0;
            while i < self.peers.len() {
                self.delivers(i, usize::MAX);
                self.turn();
                i += 1;
            }
            if self.engine.end_reason().is_some() {
                return;
            }
            if self.server.waiting() > 0 || !self.server.output.is_empty() {
                self.answer(0, 0);
            } else if self.peers.iter().all(|peer| peer.pipe.is_empty()) {
                return;
            }
        }
    }

    /// Which client it is about; perhaps a new one.
    fn client(&mut self) -> usize {
        let n = self.bytes.next();
        if self.peers.len() < CLIENTS && (self.peers.is_empty() || n >= 240) {
            let id = self.engine.client_connected();
            self.peers.push(Peer::new(id, self.made));
            self.made += 1;
            // Most begin as they should.
            if n < 250 {
                // Some with less than the server's msize.
                let msize = if n % 2 == 0 { 172 } else { n / 16 };
                let begin = [16, msize];
                let dialect = self.settled.unwrap_or(self.dialect);
                let version = any_version(&mut Bytes::new(&begin), dialect);
                self.peers.last_mut().expect("it has come").pipe.extend(version);
            }
            return self.peers.len() - 1;
        }
        n as usize % self.peers.len()
    }

    fn event(&mut self) {
        let what = self.bytes.next();
        let wild = self.server.wild;
        match what % 16 {
            5 if !wild => {
                let i = self.client();
                let some = self.bytes.some(40);
                self.peers[i].pipe.extend_from_slice(some);
                self.delivers(i, usize::MAX);
            }
            0..6 => {
                let i = self.client();
                self.serial = self.serial.wrapping_add(1);
                let [low, high] = self.serial.to_le_bytes();
                let mark = [self.peers[i].number as u8, low, high];
                let dialect = self.settled.unwrap_or(self.dialect);
                let message = request(&mut self.bytes, dialect, mark);
                self.peers[i].pipe.extend(message);
                if what & 0x80 == 0 {
                    self.delivers(i, usize::MAX);
                }
            }
            6 => {
                let i = self.client();
                let n = self.bytes.next() as usize;
                self.delivers(i, n);
            }
            7 => {
                let i = self.client();
                let n = self.bytes.next() as usize;
                match n % 4 {
                    0 => self.peers[i].slow = true,
                    1 => self.peers[i].slow = false,
                    _ => self.client_reads(i, n),
                }
            }
            8 => self.rare(what >> 4),
            9 => {
                self.now += u64::from(self.bytes.next()) * u64::from(what & 0x30);
                // The server has not answered in time.
                self.may_end |= self.engine.dialect().is_none();
                self.engine.tick(Duration::from_millis(self.now));
                let next = self.engine.next_deadline();
                assert!(next.is_none_or(|next| next > Duration::from_millis(self.now)));
            }
            10 | 11 if wild => {
                let (n, kind) = (self.bytes.next() as usize, self.bytes.next());
                let which = self.server.nth(n % self.server.waiting().max(1));
                let asked = which.map(|message| (message[4].wrapping_add(1), tag(message)));
                let (right, tag) = asked.unwrap_or((kind, u16::from(kind)));
                let kind = if what & 0x10 == 0 { right } else { kind };
                let body = match (kind, self.bytes.next()) {
                    // An Rwalk of so many names.
                    (111, n @ 0..19) => [&[n, 0][..], &[7; 13 * 18][..13 * n as usize]].concat(),
                    _ => self.bytes.some(60).to_vec(),
                };
                self.engine.server_bytes(&framed(kind, tag, &body));
            }
            12 if wild && what & 0x30 == 0 => {
                let some = self.bytes.some(60);
                self.engine.server_bytes(some);
            }
            _ => {
                let (n, how) = (self.bytes.next() as usize, self.bytes.next());
                self.answer(n % self.server.waiting().max(1), how);
            }
        }
    }

    fn rare(&mut self, what: u8) {
        match what {
            0..4 => {
                let i = self.client();
                let peer = self.peers.swap_remove(i);
                self.engine.client_gone(peer.id);
            }
            4..8 => self.blocked = !self.blocked,
            8..12 => {
                let n = self.bytes.next() as usize;
                self.server_reads(n);
            }
            12 if self.bytes.next() == 7 => self.gone(),
            // A message that answers nothing.
            13 if self.settled.is_some() && self.server.output.is_empty() => {
                self.engine.server_bytes(&framed(MESSAGES[0].number + 1, 60_000, &[0; 4]));
            }
            14 => {
                let i = self.client();
                let peer = &mut self.peers[i];
                peer.finished = true;
                peer.pipe.clear();
                self.engine.client_finished(peer.id);
            }
            _ => {}
        }
    }

    /// Bytes of a client come to the multiplexor, if it is to be read.
    fn delivers(&mut self, i: usize, n: usize) {
        let peer = &mut self.peers[i];
        if peer.finished {
            peer.pipe.clear();
        }
        if self.engine.wants_read(peer.id) && !peer.pipe.is_empty() {
            let n = n.clamp(1, peer.pipe.len());
            let bytes: Vec<u8> = peer.pipe.drain(..n).collect();
            peer.sent(&bytes);
            self.engine.client_bytes(peer.id, &bytes);
        }
    }

    fn client_reads(&mut self, i: usize, n: usize) {
        let peer = &mut self.peers[i];
        let n = n.min(peer.known.0);
        if n > 0 {
            peer.wrote(n);
            self.engine.client_wrote(peer.id, n);
        }
    }

    fn server_reads(&mut self, n: usize) {
        let n = n.min(self.engine.server_output().len());
        self.server.reads(n);
        self.engine.server_wrote(n);
    }

    /// The server answers; what it says may come later, with more, and cut in two.
    fn answer(&mut self, n: usize, how: u8) {
        self.server.answer(n, how, self.settled);
        if how & 0x60 == 0x60 {
            return;
        }
        let output = std::mem::take(&mut self.server.output);
        let (one, two) = output.split_at(usize::from(how).min(output.len()));
        self.engine.server_bytes(one);
        self.engine.server_bytes(two);
    }

    /// A driver's turn, until there is nothing to be done.
    fn turn(&mut self) {
        loop {
            self.look();
            let reads = self.peers.iter().position(|peer| !peer.slow && peer.known.0 > 0);
            let closes = self.peers.iter().position(|peer| peer.known.2 && peer.known.0 == 0);
            if let Some(i) = reads {
                self.client_reads(i, usize::MAX);
            } else if let Some(i) = closes {
                let peer = self.peers.swap_remove(i);
                let over = self.engine.end_reason().is_some();
                assert!(peer.garbled || peer.finished || over, "closed for nothing");
                if !over {
                    peer.all_told(false);
                }
                self.engine.client_gone(peer.id);
            } else if !self.blocked && !self.engine.server_output().is_empty() {
                self.server_reads(usize::MAX);
            } else {
                self.engine.audit();
                return;
            }
        }
    }

    /// Looks at all that there is to be seen from outside.
    fn look(&mut self) {
        // The dialect may change while no client has a session.
        self.settled = self.engine.dialect().or(self.settled);
        let over = self.engine.end_reason().is_some();
        let mut named = Vec::new();
        while let Some(id) = self.engine.next_dirty() {
            assert!(!named.contains(&id), "a client is named twice");
            named.push(id);
        }
        let (dialect, wild) = (self.settled, self.server.wild);
        let view = View { config: &self.config, dialect, wild, over };
        for peer in &mut self.peers {
            let output = self.engine.output(peer.id);
            let (wants, closing) =
                (self.engine.wants_read(peer.id), self.engine.is_closing(peer.id));
            let (length, wanted, closed) = peer.known;
            let news = output.len() != length || (wants && !wanted) || closing != closed;
            assert!(!news || named.contains(&peer.id), "a driver is not told");
            peer.known = (output.len(), wants, closing);
            peer.look(output, &view);
            let info = self.engine.client_info(peer.id).expect("it is there");
            assert_eq!(info.output, output.len());
            let requests = self.config.max_inflight + 2;
            let most = self.config.max_reply_bytes + requests * MSIZE as usize + 1000;
            // At the end all that it has asked is answered, read or not.
            assert!(over || output.len() <= most, "{} bytes wait for a client", output.len());
        }
        if !over {
            self.server.look(self.engine.server_output(), self.settled, &self.peers);
        }
        self.peers.iter_mut().for_each(Peer::looked_at);
    }
}

/// One line of what happens.
fn line(dialect: Dialect, seen: TraceEvent<'_>) -> String {
    match seen {
        TraceEvent::FromClient(id, m) => format!("{} asks {}", id.index(), show(dialect, m)),
        TraceEvent::ToClient(id, m) => format!("{} is told {}", id.index(), show(dialect, m)),
        TraceEvent::FromServer(m) => format!("server says {}", show(dialect, m)),
        TraceEvent::ToServer(m) => format!("server is asked {}", show(dialect, m)),
        TraceEvent::Dropped(m) => format!("dropped: {}", show(dialect, m)),
        TraceEvent::Unexpected(m) => format!("unexpected: {}", show(dialect, m)),
        TraceEvent::Refused(id, m, why) => {
            format!("{} is refused, {why}: {}", id.index(), show(dialect, m))
        }
        TraceEvent::Garbled(id, bytes) => {
            format!("{} is garbled: {:?}", id.index(), foreign(bytes))
        }
    }
}
