//! The events: clients, a server, and a driver that does what `engine` requires of a driver.

use std::time::Duration;

use super::bytes::Bytes;
use super::control::{self, Reader};
use super::descriptors::Programs;
use super::messages::{MessageBuilder, made};
use super::model_client::{ModelClient, View};
use super::redial::Redials;
use super::rules::ModelRules;
use super::server::Server;
use super::sharing::{CROWD, Sharing, user};
use crate::engine::waiting_reads::READ_LEN;
use crate::engine::{Config, EndReason, Engine, TraceEvent};
use crate::wire::{Dialect, MESSAGES, foreign, show, tag, types};

const CLIENTS: usize = 5;

/// The maximum number of bytes of a client that arrive at once.
pub(super) const CHUNK: usize = 700;

pub struct World<'a> {
    pub(super) bytes: Bytes<'a>,
    pub(super) config: Config,
    pub(super) engine: Engine,
    /// The dialect that clients offer before the connection has one.
    pub(super) dialect: Dialect,
    pub(super) settled: Option<Dialect>,
    pub(super) peers: Vec<ModelClient>,
    /// The maximum number of clients at the same time.
    max_clients: usize,
    made: u32,
    pub(super) serial: u16,
    pub(super) sharing: Sharing,
    pub(super) server: Server,
    pub(super) redials: Redials,
    pub(super) programs: Programs,
    pub(super) reader: Reader,
    /// The bytes that clients have sent, and that were written to them.
    pub(super) moved: (u64, u64),
    /// The server does not read.
    blocked: bool,
    pub(super) now: u64,
    /// The connection may end now.
    pub(super) may_end: bool,
    /// The driver begins turns only when an event says so.
    delays_turns: bool,
    /// How the run ends.
    ending: u8,
    /// The number of times that the driver has examined the engine after a change, and of replies to clients that have
    /// disconnected.
    pub steps: u64,
    pub replies: u64,
}

impl<'a> World<'a> {
    pub fn new(bytes: &'a [u8], wild: bool) -> World<'a> {
        let mut bytes = Bytes::new(bytes);
        let dialect = bytes.pick(&Dialect::ALL);
        let alternates = bytes.rarely(3);
        let config = Config {
            dialect: Some(dialect).filter(|_| bytes.below(2) == 0 && !alternates),
            can_redial: bytes.rarely(2) || (alternates && bytes.rarely(2)),
            attach_once: bytes.rarely(if alternates { 2 } else { 4 }) && !wild,
            lax: bytes.rarely(2),
            msize: 300 + u32::from(bytes.next()) * 5,
            max_inflight: bytes.pick(&[20, 1, 2, 3, 4, 6]),
            max_inflight_all: bytes.pick(&[usize::MAX, 1, 2, 4, 8, 20]),
            max_fids: 4 + bytes.below(12),
            max_fids_all: bytes.pick(&[40, 7, 1000]),
            max_reply_bytes: 300 + bytes.next() as usize * 16,
            min_read_count: 1 + u32::from(bytes.next()) * 2,
            max_inbox_bytes: 1 + bytes.next() as usize * 6,
            max_server_bytes: 1 + bytes.next() as usize * 4,
            anames: if bytes.rarely(6) { vec!["a".to_owned()] } else { Vec::new() },
            seed: u64::from(bytes.next()),
            ..Config::default()
        };
        let max_turn_cost = [32, 1, 2, 5][config.seed as usize % 4];
        let adapts = config.seed & 4 != 0;
        let control = control::tree(&config);
        let mut config = Config { max_turn_cost, adapts, control, ..config };
        let sharing = Sharing::new(&mut bytes, &mut config);
        let mut engine = Engine::new(config.clone());
        let traced = bytes.rarely(16);
        if std::env::var_os("MUX_TRACE").is_some() {
            println!("{config:?}");
            engine.set_tracer(Some(Box::new(|dialect, seen| println!("{}", line(dialect, seen)))));
        } else if traced {
            // Whatever happens can be logged.
            let log = |dialect, seen: TraceEvent<'_>| assert!(!line(dialect, seen).is_empty());
            engine.set_tracer(Some(Box::new(log)));
        }
        let ending = bytes.next();
        let mut server = Server::new(&mut bytes, wild, &config);
        let opens_descriptors = ending & 4 != 0 && !sharing.crowd;
        server.opens_descriptors = opens_descriptors;
        server.holds_all = sharing.crowd && bytes.rarely(2);
        server.holds |= server.holds_all && !wild;
        World {
            server,
            sharing,
            ending,
            delays_turns: ending & 8 != 0,
            max_clients: match alternates {
                true => 1 + bytes.below(3),
                false if sharing.crowd => CROWD,
                false => CLIENTS,
            },
            redials: Redials::new(alternates),
            programs: Programs::new(opens_descriptors),
            reader: Reader::default(),
            moved: (0, 0),
            bytes,
            config,
            engine,
            dialect,
            settled: None,
            peers: Vec::new(),
            made: 0,
            serial: 0,
            blocked: false,
            now: 0,
            may_end: false,
            steps: 0,
            replies: 0,
        }
    }

    pub fn run(&mut self) {
        self.turn();
        while !self.bytes.is_empty() && self.engine.end_reason().is_none() {
            self.event();
            self.turn();
        }
        if !self.server.wild && self.engine.end_reason().is_none() {
            self.finish();
        }
        if self.server.wild || self.ending % 4 == 0 {
            for n in 0.. {
                // After each of its dialects has been refused, the next end is final.
                assert!(n < 10, "no end");
                if self.engine.end_reason().is_some() {
                    break;
                }
                self.hurry();
                self.server_gone();
                self.turn();
            }
        }
        match self.engine.end_reason() {
            Some(end) => {
                let end = end.clone();
                self.check_end(&end);
            }
            None => self.leave(),
        }
    }

    /// Checks that every request gets a reply, and that a Tflush gets it even if the requests before it get none.
    fn finish(&mut self) {
        if self.server.holds {
            self.quiet();
            self.peers.iter().for_each(|peer| peer.all_told(false, true));
            self.check_first_requests();
            // Some runs end while the server holds requests back.
            self.server.holds = self.ending & 16 != 0;
        }
        if !self.server.holds {
            self.quiet();
            self.peers.iter().for_each(|peer| peer.all_told(false, false));
            self.check_readers();
            assert!(self.peers.iter().all(|peer| !peer.finished), "a finished client is left");
        }
    }

    /// Disconnects all clients, and checks that nothing is left behind.
    fn leave(&mut self) {
        self.drop_reader();
        while !self.peers.is_empty() {
            self.forget(0);
            self.turn();
        }
        self.end_programs();
        self.quiet();
        self.check_empty();
        let stats = self.engine.stats();
        assert!(self.programs.is_empty() && stats.descriptors == 0, "descriptors are left");
        assert_eq!((stats.clients, stats.requests, stats.in_cleanup), (0, 0, 0));
        // The fid of the shared attach is kept.
        assert!(stats.fids <= usize::from(self.config.attach_once), "{} fids", stats.fids);
        assert_eq!(self.server.fids(), stats.fids, "fids are left at the server");
    }

    /// Checks that every client is told that the connection has ended, and for a permitted reason.
    fn check_end(&mut self, end: &EndReason) {
        assert!(!end.to_string().is_empty());
        self.drop_reader();
        match end {
            EndReason::NoCommonVersion(_) => assert!(self.server.wild || self.server.refuses),
            EndReason::Garbled(_) => {
                assert!(self.server.wild || self.may_end, "a valid reply ends it: {end}");
            }
            EndReason::ServerClosed
            | EndReason::HungUp
            | EndReason::VersionTimeout
            | EndReason::Silent(_)
            | EndReason::Commanded
            | EndReason::ReplayTimeout => {
                assert!(self.may_end);
            }
        }
        for peer in &mut self.peers {
            assert!(self.engine.is_closing(peer.id), "a client is left");
            peer.all_told(true, false);
            peer.slow = false;
        }
        self.hurry_programs();
        self.turn();
        assert!(self.peers.is_empty() && self.programs.is_empty());
        self.check_empty();
        let id = self.engine.client_connected();
        assert!(self.engine.is_closing(id) && self.engine.next_dirty() == Some(id));
        assert!(self.engine.server_output().is_empty());
    }

    fn server_gone(&mut self) {
        let may_end = std::mem::replace(&mut self.may_end, true);
        self.end_connection();
        if self.engine.end_reason().is_none() {
            self.may_end = may_end;
        }
    }

    fn end_connection(&mut self) {
        match self.ending / 32 {
            0..3 => self.engine.server_gone(),
            3..5 => self.engine.hang_up(),
            // Its last message may be incomplete, and the bytes would be the rest of it.
            _ if self.server.wild => self.engine.hang_up(),
            // Bytes that are no message follow the replies that are on their way.
            n => {
                let mut bytes = self.server.take_output();
                bytes.extend([[3, 0, 0, 0], [0xFF; 4]][usize::from(n % 2)]);
                bytes.extend([0; 9]);
                self.engine.server_bytes(&bytes);
            }
        }
    }

    /// Lets all read and the server reply until nothing happens any more.
    fn quiet(&mut self) {
        self.blocked = false;
        self.delays_turns = false;
        self.peers.iter_mut().for_each(|peer| peer.slow = false);
        self.hurry_programs();
        for round in 0.. {
            assert!(round < 5000, "no end");
            self.hurry();
            self.turn();
            let mut arrived = 0;
            for i in (0..self.peers.len()).rev() {
                arrived += self.delivers(i, CHUNK);
                self.turn();
            }
            if self.engine.end_reason().is_some() {
                return;
            }
            let busy = self.reply(0, u8::MAX) || arrived > 0 || self.server.has_output();
            if !busy
                && !self.outwait_silence()
                && !self.outwait_limit()
                && !self.engine.wants_redial()
            {
                return;
            }
        }
    }

    /// Lets a period of the adaptive limit pass if clients wait for it. Returns false if none does.
    fn outwait_limit(&mut self) -> bool {
        let waits = self.engine.adaptive_deadline().is_some();
        if waits {
            self.pass(50);
        }
        waits
    }

    /// Chooses a client, which may be a new one.
    pub(super) fn client(&mut self) -> usize {
        let n = self.bytes.next();
        let is_new = n >= if self.sharing.crowd { 128 } else { 240 };
        if self.peers.len() < self.max_clients && (self.peers.is_empty() || is_new) {
            let number = self.sharing.user_of(&mut self.bytes);
            let rules = ModelRules::new(&self.config, n, self.made);
            let user = number.map(|number| user(number, n));
            let id = self.engine.client_connected_by(user, rules.rules());
            self.server.users.push(number);
            self.engine.describe_client(id, control::ORIGIN);
            let mut peer = ModelClient::new(id, self.made, number);
            peer.rules = rules;
            if self.programs.on {
                self.engine.allow_descriptors(id);
                peer.asks_descriptors = true;
            }
            self.peers.push(peer);
            self.made += 1;
            return self.peers.len() - 1;
        }
        n as usize % self.peers.len()
    }

    /// Removes a client that disconnects.
    pub(super) fn forget(&mut self, i: usize) {
        let peer = self.peers.swap_remove(i);
        self.replies += peer.replies;
        self.engine.client_gone(peer.id);
    }

    fn event(&mut self) {
        let what = self.bytes.next();
        let wild = self.server.wild;
        self.redials.handle_event();
        match what % 16 {
            0..6 => {
                let i = self.client();
                self.serial = self.serial.wrapping_add(1);
                let dialect = self.dialect_for(i);
                let once = self.config.attach_once;
                if self.peers[i].pipe.len() < 4000 {
                    let message = match what {
                        240.. => self.peers[i].interrupt(),
                        _ => self.peers[i].request(&mut self.bytes, dialect, self.serial, once),
                    };
                    self.peers[i].pipe.extend(message);
                    self.ask_tree(i);
                }
                if !(192..240).contains(&what) {
                    self.delivers(i, CHUNK);
                }
            }
            6 => {
                let i = self.client();
                let n = self.bytes.next() as usize;
                self.delivers(i, n);
            }
            7 if self.programs.on && what & 0x10 == 0 => self.descriptor_event(),
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
            9 if self.redials.alternates && what & 0x10 == 0 => self.change_dialect(),
            9 if self.sharing.crowd && what & 0x20 == 0 => self.read_much(),
            9 => self.tick(what),
            10 | 11 if wild => self.any_reply(what),
            12 if wild && what & 0x30 == 0 => {
                let some = self.bytes.some(60);
                self.engine.server_bytes(some);
            }
            _ => {
                let (n, how) = (self.bytes.next() as usize, self.bytes.next());
                // Mostly the first.
                let n = if n < 128 { 0 } else { n % self.server.waiting().max(1) };
                self.reply(n, how);
            }
        }
    }

    fn rare(&mut self, what: u8) {
        match what {
            0 | 1 if !self.peers.is_empty() => {
                let i = self.client();
                self.forget(i);
            }
            // Bytes that need not be messages.
            2 if !self.server.wild => {
                let i = self.client();
                let some = self.bytes.some(40);
                self.peers[i].pipe.extend_from_slice(some);
                self.delivers(i, CHUNK);
            }
            3..8 => self.blocked = !self.blocked,
            8..12 => {
                let n = self.bytes.next() as usize;
                self.server_reads(n);
            }
            12 if self.bytes.next() == 7 => self.server_gone(),
            // A message that is no reply.
            13 if self.settled.is_some() && !self.server.has_output() => {
                let stray = made(MESSAGES[0].number + 1, 60_000).u32(0).done();
                self.engine.server_bytes(&stray);
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

    /// Lets time pass: seldom so much that time limits pass.
    fn tick(&mut self, what: u8) {
        let n = u64::from(self.bytes.next());
        self.pass(if what == 249 { n * 80 } else { n % 64 });
        self.read_control();
    }

    /// Lets a client in a session ask the control tree, after every fourth of its messages.
    fn ask_tree(&mut self, i: usize) {
        let peer = &mut self.peers[i];
        if let Some(dialect) = peer.dialect_in_session() {
            if self.config.control.is_some() && self.serial % 4 == 0 {
                let message = peer.local.next(dialect);
                peer.pipe.extend(message);
            }
        }
    }

    pub(super) fn pass(&mut self, time: u64) {
        self.now += time;
        // The server may not have replied in time.
        self.may_end |= self.engine.dialect().is_none() && !self.survives_offers();
        self.tick_engine();
        self.server.late |= self.now >= 10_000;
        let mut turns = 0;
        while self.engine.turn_queue.is_empty() && self.is_due() {
            // Work of which a turn does only a part goes on at once, and ends.
            turns += 1;
            assert!(turns < 100, "a deadline that stays in the past");
            self.check();
            self.tick_engine();
        }
    }

    fn is_due(&self) -> bool {
        let next = self.engine.next_deadline();
        next.is_some_and(|next| next <= Duration::from_millis(self.now))
    }

    /// Sends any message as a reply.
    fn any_reply(&mut self, what: u8) {
        let (n, kind) = (self.bytes.next() as usize, self.bytes.next());
        let which = self.server.nth(n % self.server.waiting().max(1));
        let asked = which.map(|message| (message[4].wrapping_add(1), tag(message)));
        let (right, tag) = asked.unwrap_or((kind, u16::from(kind)));
        let kind = if what & 0x10 == 0 { right } else { kind };
        let reply = made(kind, tag);
        let reply = match (kind, self.bytes.next()) {
            (types::RWALK, n @ 0..19) => (0..n).fold(reply.u16(u16::from(n)), |r, _| r.qid(7, 7)),
            _ => reply.raw(self.bytes.some(60)),
        };
        self.engine.server_bytes(&MessageBuilder::done(reply));
    }

    /// Delivers bytes of a client to 9pmux, if 9pmux reads from it. Returns their number.
    pub(super) fn delivers(&mut self, i: usize, n: usize) -> usize {
        let peer = &mut self.peers[i];
        if peer.finished {
            peer.pipe.clear();
        }
        if !self.engine.wants_read(peer.id) || peer.pipe.is_empty() {
            return 0;
        }
        let n = n.clamp(1, peer.pipe.len());
        let bytes: Vec<u8> = peer.pipe.drain(..n).collect();
        peer.sent(&bytes, self.config.lax);
        self.moved.0 += n as u64;
        self.engine.client_bytes(peer.id, &bytes);
        n
    }

    fn client_reads(&mut self, i: usize, n: usize) {
        let peer = &mut self.peers[i];
        let n = n.min(peer.known.0);
        if n > 0 {
            peer.wrote(n);
            self.moved.1 += n as u64;
            self.engine.client_wrote(peer.id, n);
        }
    }

    fn server_reads(&mut self, n: usize) {
        let n = n.min(self.engine.server_output().len());
        self.server.reads(n);
        self.engine.server_wrote(n);
    }

    /// Lets the server reply. Its reply may arrive later, with others, or in two parts, the second one perhaps later.
    /// Returns false if it had nothing to send.
    fn reply(&mut self, n: usize, how: u8) -> bool {
        let replied = self.server.reply(n, &mut self.bytes, self.settled);
        if how < 40 && !self.server.temper.hung_up {
            return replied;
        }
        let output = self.server.take_output();
        let (one, two) = output.split_at(usize::from(how.saturating_sub(40)).min(output.len()));
        self.engine.server_bytes(one);
        if how % 2 == 1 && how < u8::MAX && !self.server.wild && !self.server.temper.hung_up {
            self.server.delay_output(two);
        } else {
            self.engine.server_bytes(two);
        }
        self.look_for_hang_up();
        replied || !output.is_empty()
    }

    /// Performs a driver's turns until there is nothing to do.
    fn turn(&mut self) {
        loop {
            self.check();
            let reads = self.peers.iter().position(|peer| !peer.slow && peer.known.0 > 0);
            let has_all = |id| self.engine.descriptor_to_pass(id).is_none();
            let may_close =
                |peer: &ModelClient| peer.known.2 && peer.known.0 == 0 && has_all(peer.id);
            let closes = self.peers.iter().position(may_close);
            if self.serve_descriptors() {
            } else if let Some(i) = reads {
                self.client_reads(i, usize::MAX);
            } else if let Some(i) = closes {
                let (over, peer) = (self.engine.end_reason().is_some(), &self.peers[i]);
                let has_reason = peer.garbled || peer.finished || peer.is_lost();
                assert!(has_reason || over, "closed without a reason");
                if !over {
                    peer.all_told(false, false);
                }
                self.forget(i);
            } else if !self.blocked && !self.engine.server_output().is_empty() {
                self.server_reads(usize::MAX);
            } else if !self.delays_turns && !self.engine.turn_queue.is_empty() {
                self.tick_engine();
            } else if !self.redial() {
                return;
            }
        }
    }

    /// Examines the tables, and everything that is visible from outside.
    fn check(&mut self) {
        self.steps += 1;
        self.engine.audit();
        self.look_for_loss();
        // The dialect may change while no client has a session.
        self.settled = self.engine.dialect().or(self.settled);
        let over = self.engine.end_reason().is_some();
        let mut named = Vec::new();
        while let Some(id) = self.engine.next_dirty() {
            assert!(!named.contains(&id), "a client is named twice");
            named.push(id);
        }
        let (config, dialect) = (&self.config, self.settled);
        let (wild, sloppy) = (self.server.wild, self.server.sloppy);
        let view = View { config, dialect, wild, sloppy, over };
        for peer in &mut self.peers {
            let output = self.engine.output(peer.id);
            let (wants, closing) =
                (self.engine.wants_read(peer.id), self.engine.is_closing(peer.id));
            let (length, wanted, closed) = peer.known;
            let news = output.len() != length || (wants && !wanted) || closing != closed;
            assert!(!news || named.contains(&peer.id), "a driver is not told");
            peer.known = (output.len(), wants, closing);
            // The output ends where a descriptor must be passed. The client has more replies behind that.
            let client = self.engine.clients.get_if_connected(peer.id).expect("it is connected");
            let whole = client.out.as_slice();
            assert!(whole.starts_with(output) && (self.programs.on || whole.len() == output.len()));
            peer.check_output(whole, &view);
            let info = self.engine.client_info(peer.id).expect("it is connected");
            assert_eq!(info.output, whole.len());
            let max = config.max_reply_bytes + 2 * config.msize as usize + 1000;
            // At the end every request gets a reply, read or not.
            assert!(over || output.len() <= max, "{} bytes wait for a client", output.len());
            // The limit, an incomplete message, and one more piece.
            let message = if peer.is_new() { 8192 } else { config.msize as usize };
            let max = config.max_inbox_bytes + message + CHUNK;
            let client = self.engine.clients.get_if_connected(peer.id);
            let waiting = client.map_or(0, |client| client.waiting_reads.bytes());
            assert!(info.queued - waiting <= max, "{} bytes of a client", info.queued);
            assert!(waiting <= 1024 * READ_LEN, "{waiting} bytes of waiting reads");
        }
        if !over {
            let output = self.engine.server_output();
            let max = config.max_server_bytes + config.msize as usize + 200 * 11;
            assert!(output.len() <= max, "{} bytes wait for the server", output.len());
            let shared = self.engine.upstream.shared_attach.fid();
            self.server.check_output(output, self.settled, &self.peers, shared);
            if self.server.knows_owners() {
                self.check_accounts();
            }
        }
        self.check_programs();
        // Clients that have disconnected do not stay in the queues.
        let queues = self.engine.ready_queue.len() + self.engine.version_waiters.len();
        assert!(queues <= 2 * (2 * self.max_clients + 18), "{queues} clients wait");
        self.peers.iter_mut().for_each(ModelClient::end_turn);
    }
}

/// Returns a line that describes the event.
pub fn line(dialect: Dialect, seen: TraceEvent<'_>) -> String {
    match seen {
        TraceEvent::FromClient(id, m) => format!("{} asks {}", id.index(), show(dialect, m)),
        TraceEvent::ToClient(id, m) => format!("{} receives {}", id.index(), show(dialect, m)),
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
