//! The events: clients, sessions of the server that end at any time, other programs, and a driver.

use std::collections::VecDeque;
use std::time::Duration;

use super::client::{ClientFid, Peer, View, makes_busy, moves_names};
use super::disk::{Disk, SUBTREE};
use super::fields::Fields;
use super::ledger::{Fate, Ledger, fids_of};
use super::requests::Asker;
use super::session::{Request, Session};
use super::trouble::Trouble;
use super::{IDENTITIES, Losses};
use crate::engine::fids::Owner;
use crate::engine::fuzz::bytes::Bytes;
use crate::engine::fuzz::messages::cut;
use crate::engine::{Config, EndReason, Engine, LostLocks, Reconnect, Repeat, RestoreEvent};
use crate::wire::{Dialect, HEADER, NOFID, kind, show, tag, types, u32_at};

const CLIENTS: usize = 4;
const CHUNK: usize = 900;
const MSIZE: u32 = 8192;

/// A session whose connection has ended, and which still executes some requests.
struct Zombie {
    session: Session,
    left: VecDeque<(Vec<u8>, usize)>,
}

pub struct World<'a> {
    bytes: Bytes<'a>,
    stays: bool,
    config: Config,
    reconnect: Reconnect,
    engine: Engine,
    dialect: Dialect,
    disk: Disk,
    ledger: Ledger,
    session: Option<Session>,
    sessions: u32,
    zombies: Vec<Zombie>,
    /// The messages of the server's output, the length of the part that was examined, and an incomplete message that
    /// was written.
    outgoing: VecDeque<Request>,
    looked: usize,
    partly_written: usize,
    peers: Vec<Peer>,
    made: u32,
    mark: u32,
    losses: Losses,
    fails: usize,
    pipelines: bool,
    authenticates: bool,
    holds: bool,
    /// The server does not read.
    blocked: bool,
    /// The number of events until the server can be reached.
    wait: usize,
    trouble: Trouble,
    /// The client's index and its number of each upstream fid that a client had before the event.
    owners: Vec<Option<(u32, u32)>>,
    traced: bool,
    pub steps: u64,
    pub replies: u64,
    pub restored: u64,
}

impl<'a> World<'a> {
    /// With `stays` there are no losses, and 9pmux does not reconnect.
    pub fn new(bytes: &'a [u8], stays: bool) -> World<'a> {
        let mut bytes = Bytes::new(bytes);
        let dialect = bytes.pick(&Dialect::ALL);
        let seconds = |n| Some(Duration::from_secs(n));
        let reconnect = Reconnect {
            patience: bytes.pick(&[seconds(60), seconds(5), None, seconds(0)]),
            repeat: bytes.pick(&[Repeat::Writes, Repeat::Writes, Repeat::Reads, Repeat::None]),
            lost_locks: bytes.pick(&[LostLocks::Fail, LostLocks::Fail, LostLocks::Again]),
        };
        let config = Config {
            dialect: Some(dialect).filter(|_| bytes.below(2) == 0),
            reconnect: (!stays).then_some(reconnect),
            version_timeout: if stays { Duration::MAX } else { super::TIMEOUT },
            attach_once: bytes.rarely(5),
            msize: MSIZE,
            max_inflight: bytes.pick(&[20, 2, 4, 100]),
            max_inflight_all: bytes.pick(&[usize::MAX, 4, 20]),
            max_turn_cost: bytes.pick(&[32, 2]),
            seed: u64::from(bytes.next()),
            ..Config::default()
        };
        let mut engine = Engine::new(config.clone());
        let traced = std::env::var_os("MUX_TRACE").is_some();
        if traced {
            println!("{config:?}");
            let line = super::super::world::line;
            engine.set_tracer(Some(Box::new(move |d, seen| println!("{}", line(d, seen)))));
        }
        let refuses = bytes.rarely(5);
        let losses = Losses {
            patience: reconnect.patience,
            since: (!stays).then_some(Duration::ZERO),
            session: u32::from(stays),
            numbers_anew: bytes.rarely(10),
            refuses,
            ..Losses::default()
        };
        let first = Session::new(1, dialect, MSIZE, 0);
        World {
            stays,
            config,
            reconnect,
            engine,
            dialect,
            disk: Disk::new(),
            ledger: Ledger::default(),
            session: stays.then_some(first),
            sessions: u32::from(stays),
            zombies: Vec::new(),
            outgoing: VecDeque::new(),
            looked: 0,
            partly_written: 0,
            peers: Vec::new(),
            made: 0,
            mark: 0,
            losses,
            fails: if refuses { 8 } else { 0 },
            pipelines: bytes.rarely(4),
            authenticates: bytes.rarely(4),
            holds: bytes.rarely(3),
            blocked: false,
            wait: 0,
            trouble: Trouble::default(),
            owners: Vec::new(),
            traced,
            bytes,
            steps: 0,
            replies: 0,
            restored: 0,
        }
    }

    pub fn run(&mut self) {
        self.turn();
        while !self.bytes.is_empty() {
            self.event();
            self.turn();
        }
        self.finish();
        self.leave();
    }

    /// The server stays: everything gets its reply, and the server has the fids that clients have.
    fn finish(&mut self) {
        self.quiet();
        for peer in &self.peers {
            let left = peer.open.values().map(|open| &self.ledger.entries[open.number]);
            let left: Vec<String> =
                left.map(|e| show(self.dialect, &e.message).to_string()).collect();
            assert!(left.is_empty(), "client {} has no reply to {left:?}", peer.number);
        }
        self.check_fids();
    }

    fn leave(&mut self) {
        while !self.peers.is_empty() {
            self.forget(0);
            self.turn();
        }
        self.quiet();
        self.check_fids();
        let stats = self.engine.stats();
        assert_eq!((stats.clients, stats.requests, stats.in_cleanup), (0, 0, 0));
        assert!(stats.fids <= usize::from(self.config.attach_once), "{} fids", stats.fids);
    }

    /// Checks that the server has the fids that 9pmux believes it to have, and clients have no others.
    fn check_fids(&self) {
        let Some(session) = &self.session else { return };
        let of_clients: usize = self.peers.iter().map(|peer| peer.fids.len()).sum();
        let stats = self.engine.stats();
        let shared = usize::from(self.config.attach_once);
        assert!(
            session.fids.len() <= of_clients + shared,
            "{} fids at the server, {of_clients} of clients",
            session.fids.len()
        );
        let _ = stats;
    }

    /// Lets all arrive and the server execute everything, until nothing happens any more.
    fn quiet(&mut self) {
        (self.blocked, self.holds, self.fails, self.wait) = (false, false, 0, 0);
        self.peers.iter_mut().for_each(|peer| peer.slow = false);
        if let Some(session) = &mut self.session {
            session.fails = 0;
            session.waiting.iter_mut().for_each(|waiting| waiting.held = false);
        }
        let mut idle = 0;
        for round in 0.. {
            assert!(round < 5000, "no end");
            self.wait = 0;
            self.turn();
            let mut busy = false;
            for i in 0..self.peers.len() {
                busy |= self.delivers(i, CHUNK) > 0;
                self.turn();
            }
            busy |= self.server_receives(usize::MAX) | self.execute(0) | self.sends(usize::MAX);
            self.turn();
            idle = if busy { 0 } else { idle + 1 };
            // A fid that the server has refused may be tried again later.
            if !busy {
                self.pass(Duration::from_millis(500));
            }
            // Without a session a version is agreed when a client asks for one.
            let has_sessions = self.engine.outage().is_some_and(|outage| outage.sessions > 0);
            let waits = has_sessions || self.engine.wants_redial();
            if idle > 3 && (!waits || idle > 200) {
                assert!(!waits, "it is never restored");
                return;
            }
        }
    }

    fn client(&mut self) -> usize {
        let n = self.bytes.next() as usize;
        if self.peers.len() < CLIENTS && (self.peers.is_empty() || n >= 240) {
            let id = self.engine.client_connected();
            self.peers.push(Peer::new(id, self.made));
            self.made += 1;
            return self.peers.len() - 1;
        }
        n % self.peers.len()
    }

    fn forget(&mut self, i: usize) {
        let peer = self.peers.swap_remove(i);
        self.replies += peer.replies;
        for open in peer.open.into_values() {
            let last = self.session.as_ref().map_or(0, |session| session.number);
            self.ledger.entries[open.number].fate = Fate::Orphan(last);
        }
        self.trace(|| format!("client {} leaves", peer.number));
        self.engine.client_gone(peer.id);
    }

    fn trace(&self, line: impl Fn() -> String) {
        if self.traced {
            println!("# {}", line());
        }
    }

    fn event(&mut self) {
        self.wait = self.wait.saturating_sub(1);
        let what = self.bytes.next();
        match what % 16 {
            0..6 => {
                let i = self.client();
                self.asks(i);
                if what < 192 {
                    self.delivers(i, CHUNK);
                }
            }
            6 => {
                let i = self.client();
                let n = self.bytes.next() as usize;
                self.delivers(i, n);
            }
            7 => match what >> 4 {
                0 => self.blocked = !self.blocked,
                1..3 => {
                    let i = self.client();
                    self.peers[i].slow = !self.peers[i].slow;
                }
                3 if !self.peers.is_empty() => {
                    let i = self.client();
                    self.forget(i);
                }
                4 => {
                    let n = self.bytes.next() as usize;
                    self.written(n);
                }
                _ => self.other_program(),
            },
            8 => {
                let n = u64::from(self.bytes.next());
                self.pass(Duration::from_millis(if what == 248 { n * 300 } else { n * 4 }));
            }
            9 => {
                let n = self.bytes.next() as usize;
                match self.zombies.is_empty() {
                    false => self.execute_late(n),
                    true => self.other_program(),
                }
            }
            10 if what >= 160 => self.lose(),
            10..12 => {
                let n = self.bytes.next() as usize;
                self.server_receives(1 + n % 8);
            }
            12..15 => {
                let (n, sends) = (self.bytes.next() as usize, self.bytes.next());
                self.server_receives(1 + n % 8);
                self.execute(if n < 128 { 0 } else { n });
                match sends {
                    0..128 => self.sends(usize::MAX),
                    n => self.sends(n as usize - 128),
                };
            }
            _ => {
                let n = self.bytes.next() as usize;
                self.sends(n);
            }
        }
    }

    fn other_program(&mut self) {
        self.disk.other_program(&mut self.bytes);
    }

    /// A client asks something.
    fn asks(&mut self, i: usize) {
        if self.peers[i].pipe.len() > 4000 {
            return;
        }
        self.mark += 1;
        let mut asker = Asker {
            bytes: &mut self.bytes,
            disk: &self.disk,
            dialect: self.dialect,
            mark: self.mark,
            pipelines: self.pipelines,
            authenticates: self.authenticates,
        };
        let peer = &mut self.peers[i];
        let Some(asked) = asker.ask(peer) else { return };
        let message = asked.message;
        if kind(&message) != types::TVERSION && message.len() > peer.msize as usize {
            return;
        }
        let fids = &peer.fids;
        peer.sent += message.len() as u64;
        let repeat = self.reconnect.repeat;
        let entry =
            self.ledger.add(self.dialect, repeat, &message, asked.marked, |fid| fids.get(&fid));
        (entry.client, entry.losses, entry.end) = (peer.number, self.losses.count, peer.sent);
        let number = self.ledger.entries.len() - 1;
        peer.sends(self.dialect, &message, number, (asked.identity, self.losses.count));
        peer.pipe.extend(message);
    }

    /// Delivers bytes of a client to 9pmux, if 9pmux reads from it. Returns their number.
    fn delivers(&mut self, i: usize, n: usize) -> usize {
        let peer = &mut self.peers[i];
        if !self.engine.wants_read(peer.id) || peer.pipe.is_empty() {
            return 0;
        }
        let n = n.clamp(1, peer.pipe.len());
        let bytes: Vec<u8> = peer.pipe.drain(..n).collect();
        peer.delivered += n as u64;
        self.engine.client_bytes(peer.id, &bytes);
        n
    }

    /// The driver writes bytes to the server.
    fn written(&mut self, n: usize) {
        let Some(session) = &mut self.session else { return };
        let n = n.min(self.engine.server_output().len());
        self.engine.server_wrote(n);
        self.looked -= n;
        let mut whole = self.partly_written + n;
        while let Some(next) = self.outgoing.front() {
            if next.message.len() > whole {
                break;
            }
            whole -= next.message.len();
            if let Some(number) = next.number {
                self.ledger.mark_written(number, session, &next.message);
            }
            session.pipe.extend(self.outgoing.pop_front());
        }
        self.partly_written = whole;
    }

    /// The server reads some messages.
    fn server_receives(&mut self, n: usize) -> bool {
        let Some(session) = &mut self.session else { return false };
        let n = n.min(session.pipe.len());
        let once = self.config.attach_once;
        for request in session.pipe.drain(..n) {
            let message = &request.message;
            let reads = kind(message) == types::TREAD;
            let held = self.holds && reads && self.bytes.rarely(4);
            // Nothing of a fid may be asked while a walk of 9pmux moves it.
            let fids = fids_of(session.dialect, message);
            let moved = |waiting: &Request| {
                !once
                    && waiting.own
                    && kind(&waiting.message) == types::TWALK
                    && fids.first().map(|f| f.0) == Some(u32_at(&waiting.message, HEADER + 4))
            };
            assert!(
                !session.waiting.iter().any(moved),
                "{} before the fid is back",
                show(session.dialect, message)
            );
            session.waiting.push_back(Request { held, ..request });
        }
        n > 0
    }

    /// Returns the first executable request, beginning with the `n`th: one that names no fid of one before it.
    fn executable(&self, session: &Session, n: usize) -> Option<usize> {
        let blocked = self.trouble.blocked(session, self.losses.now);
        let count = match &blocked {
            Some(blocked) if blocked.is_all => blocked.first,
            _ => session.waiting.len(),
        };
        let fids = |i: usize| fids_of(session.dialect, &session.waiting[i].message);
        let may = |i: &usize| {
            let mine = fids(*i);
            let waiting = &session.waiting[*i];
            let changes = makes_busy(kind(&waiting.message));
            let shares = |j: usize| {
                let earlier = &session.waiting[j];
                (changes || !earlier.held)
                    && fids(j).iter().any(|fid| mine.iter().any(|f| f.0 == fid.0))
            };
            let is_blocked =
                || blocked.as_ref().is_some_and(|blocked| blocked.requests.contains(i));
            !waiting.held && !is_blocked() && !(0..*i).any(shares)
        };
        (0..count).map(|i| (n + i) % count).find(may)
    }

    /// The server executes a request, and has a reply to send. Returns false if there is none.
    fn execute(&mut self, n: usize) -> bool {
        let Some(mut session) = self.session.take() else { return false };
        let now = self.losses.now;
        let executable = self.executable(&session, n);
        if let Some(i) = executable {
            let request = session.waiting.remove(i).expect("it is there");
            self.check_request(&session, &request);
            let Request { message, own, replays, number, .. } = request;
            let error = match replays && Trouble::may_refuse(kind(&message)) {
                true => self.trouble.error(&mut self.bytes, now),
                false => None,
            };
            let reply = match error {
                Some(error) => {
                    self.losses.be_busy(self.dialect);
                    session.refuse_by(&message, error)
                }
                None => self.perform(&mut session, &message, number),
            };
            if own && kind(&message) == types::TATTACH {
                session.mark_own(u32_at(&message, HEADER));
            }
            self.trace(|| format!("executes {}", show(self.dialect, &message)));
            session.output.extend(reply);
        }
        self.session = Some(session);
        executable.is_some()
    }

    /// Executes a request on the disk, for an entry of the ledger or for 9pmux itself.
    fn perform(&mut self, session: &mut Session, message: &[u8], number: Option<usize>) -> Vec<u8> {
        let never = [types::TVERSION, types::TFLUSH, types::TCLUNK, types::TAUTH, types::TREMOVE];
        if self.fails > 0
            && session.fails > 0
            && !never.contains(&kind(message))
            && self.bytes.rarely(session.fails)
        {
            let reply = session.refuse(message);
            if let Some(number) = number {
                self.ledger.executed(number, session.number, &reply);
            }
            return reply;
        }
        let before = moves_names(message).then(|| self.disk.places());
        let subtree = self.disk.child(self.disk.root, SUBTREE);
        let reply = session.execute(&mut self.disk, message);
        if let Some(number) = number {
            self.ledger.executed(number, session.number, &reply);
            if let Some(before) = before {
                let moved = self.disk.moved_since(&before);
                // No client can attach to it by the name that it had.
                let subtree = subtree.filter(|subtree| moved.contains(subtree));
                subtree.into_iter().for_each(|subtree| self.disk.disturb(subtree));
                self.move_for_others(number, &moved);
                self.ledger.entries[number].moved.extend(moved);
            }
        }
        reply
    }

    /// A client has moved files. The fids of other identities find them at their old names only.
    fn move_for_others(&mut self, number: usize, moved: &[u64]) {
        let entry = &self.ledger.entries[number];
        let first = fids_of(self.dialect, &entry.message).first().map(|named| named.0);
        let mover = self.peers.iter().find(|peer| peer.number == entry.client);
        let fid = mover.and_then(|peer| peer.fids.get(&first?));
        let identity = fid.map(|fid| fid.identity);
        let files: Vec<u64> = moved.iter().flat_map(|inode| self.disk.subtree(*inode)).collect();
        self.peers.iter_mut().for_each(|peer| peer.others_moved(&files, identity));
    }

    /// Checks that the server may have this request.
    fn check_request(&self, session: &Session, request: &Request) {
        let message = &request.message;
        let ours = matches!(kind(message), types::TVERSION | types::TFLUSH | types::TCLUNK);
        if let Some(number) = request.number {
            self.check_users(session, number, message);
        }
        match request.number {
            _ if request.own => {}
            Some(number) => assert!(
                self.ledger.may_execute(number, session, message),
                "client {}, tag {}: {}",
                self.ledger.entries[number].client,
                tag(&self.ledger.entries[number].message),
                self.ledger.explain(session, message)
            ),
            None if ours || (self.config.attach_once && kind(message) == types::TWALK) => {}
            None => panic!("{}", self.ledger.explain(session, message)),
        }
    }

    /// Checks that the fids of a client's request are those of the user that the client has attached as.
    fn check_users(&self, session: &Session, number: usize, message: &[u8]) {
        let entry = &self.ledger.entries[number];
        let Some(peer) = self.peers.iter().find(|peer| peer.number == entry.client) else { return };
        if entry.fate != Fate::Open {
            // The session has ended, and its numbers may be those of other fids.
            return;
        }
        let names = fids_of(self.dialect, &entry.message);
        for ((name, _), (fid, _)) in names.into_iter().zip(fids_of(self.dialect, message)) {
            if let (Some(of_client), Some(at_server)) =
                (peer.fids.get(&name), session.fids.get(&fid))
            {
                let uname = IDENTITIES[of_client.identity].uname;
                assert_eq!(
                    uname,
                    at_server.uname,
                    "{} of another user",
                    show(self.dialect, message)
                );
            }
        }
    }

    /// Sends a part of the replies. Returns false if there are none.
    fn sends(&mut self, n: usize) -> bool {
        let Some(session) = &mut self.session else { return false };
        let n = n.min(session.output.len());
        let bytes: Vec<u8> = session.output.drain(..n).collect();
        self.engine.server_bytes(&bytes);
        n > 0
    }

    /// The connection to the server ends, with any part of everything delivered and executed.
    fn lose(&mut self) {
        if self.session.is_none() || self.stays {
            return;
        }
        let (received, executed, sent) =
            (self.bytes.next() as usize, self.bytes.next() as usize, self.bytes.next() as usize);
        let how = self.bytes.next();
        self.server_receives(received % 8);
        for i in 0..executed % 4 {
            self.execute(i);
        }
        if how & 1 != 0 {
            self.sends(sent);
            self.check();
        }
        if self.session.is_none() {
            return;
        }
        self.trace(|| format!("the server is lost, how {how}"));
        self.end_session(how);
        if how < 16 && self.engine.upstream.inbox.is_empty() {
            // What cannot be a message.
            self.engine.server_bytes(&[3, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        if !self.engine.wants_redial() {
            self.engine.server_gone();
        }
        assert!(self.engine.wants_redial(), "a lost server is not dialled");
    }

    /// The session is over; `how` says what becomes of its requests.
    fn end_session(&mut self, how: u8) {
        let mut session = self.session.take().expect("a session");
        self.losses.begin();
        let again = self.reconnect.lost_locks == LostLocks::Again;
        let ledger = &self.ledger;
        self.peers.iter_mut().for_each(|peer| peer.server_lost(again, ledger));
        // 9pmux does not know of changes whose reply is lost.
        let moved = |entry: &super::ledger::Entry| match entry.fate {
            Fate::Closed => Vec::new(),
            _ => entry.moved.clone(),
        };
        let unknown: Vec<u64> = self.ledger.entries.iter().flat_map(moved).collect();
        unknown.into_iter().for_each(|inode| self.disk.disturb(inode));
        (self.looked, self.partly_written) = (0, 0);
        self.outgoing.clear();
        self.wait = how as usize % 24;
        let mut left = VecDeque::new();
        if how & 2 != 0 {
            for waiting in std::mem::take(&mut session.waiting) {
                left.extend(waiting.number.map(|number| (waiting.message, number)));
            }
        } else if how & 4 != 0 {
            let bytes = &mut self.bytes;
            self.disk.lose_unsynced(|| bytes.rarely(2));
        }
        if left.is_empty() {
            session.end(&mut self.disk);
        } else {
            self.zombies.push(Zombie { session, left });
        }
    }

    /// A session that has ended executes a request that it had received.
    fn execute_late(&mut self, n: usize) {
        let n = n % self.zombies.len();
        let mut zombie = self.zombies.swap_remove(n);
        if let Some((message, number)) = zombie.left.pop_front() {
            self.perform(&mut zombie.session, &message, Some(number));
            let moved = self.ledger.entries[number].moved.clone();
            moved.into_iter().for_each(|inode| self.disk.disturb(inode));
            self.trace(|| format!("executes late {}", show(self.dialect, &message)));
        }
        match zombie.left.is_empty() {
            true => zombie.session.end(&mut self.disk),
            false => self.zombies.push(zombie),
        }
    }

    /// The driver connects to the server.
    fn connect(&mut self) {
        self.sessions += 1;
        let salt = if self.losses.numbers_anew { u64::from(self.sessions) } else { 0 };
        let msize = MSIZE + 1000 * (self.sessions % 2);
        let mut session = Session::new(self.sessions, self.dialect, msize, salt);
        session.fails = self.fails;
        self.losses.session = self.sessions;
        self.session = Some(session);
        let open = |peer: &Peer| -> Vec<u64> {
            peer.fids
                .values()
                .filter(|fid| fid.open.is_some())
                .filter_map(|fid| fid.inode)
                .collect()
        };
        let open: Vec<u64> = self.peers.iter().flat_map(open).collect();
        self.trouble.begin(&mut self.bytes, self.losses.now, &open);
        self.trace(|| format!("session {} begins", self.sessions));
        self.engine.server_connected();
    }

    fn pass(&mut self, time: Duration) {
        self.losses.pass(time);
        self.engine.tick(self.losses.now);
        self.turn();
        let next = self.engine.next_deadline();
        assert!(next.is_none_or(|next| next > self.losses.now), "a deadline has passed");
        self.check_patience();
    }

    /// Checks that nothing waits longer than it may.
    fn check_patience(&self) {
        if !self.losses.is_impatient() || !self.engine.has_no_server() {
            return;
        }
        for peer in self.peers.iter().filter(|peer| !peer.slow) {
            for open in peer.open.values() {
                let entry = &self.ledger.entries[open.number];
                assert!(
                    entry.end > peer.delivered,
                    "client {} (index {}) waits for {}",
                    peer.number,
                    peer.id.index(),
                    show(self.dialect, &entry.message)
                );
            }
        }
    }

    /// Performs a driver's turns until there is nothing to do.
    fn turn(&mut self) {
        loop {
            self.check();
            let reads = |peer: &Peer| !peer.slow && !self.engine.output(peer.id).is_empty();
            if let Some(i) = self.peers.iter().position(reads) {
                let peer = &mut self.peers[i];
                let n = self.engine.output(peer.id).len();
                peer.looked -= n;
                self.engine.client_wrote(peer.id, n);
            } else if !self.blocked
                && self.session.is_some()
                && !self.engine.server_output().is_empty()
            {
                self.written(usize::MAX);
            } else if !self.engine.turn_queue.is_empty() {
                self.engine.tick(self.losses.now);
            } else if self.engine.wants_redial() && self.wait == 0 {
                self.connect();
            } else {
                return;
            }
        }
    }

    /// Examines the tables, and everything that is visible from outside.
    fn check(&mut self) {
        self.steps += 1;
        self.engine.audit();
        while self.engine.next_dirty().is_some() {}
        if self.session.is_some() && self.engine.wants_redial() {
            self.trace(|| "9pmux gives up a session".to_owned());
            self.end_session(0);
        }
        while self.engine.take_lost_server().is_some() {}
        let mut is_back = false;
        while let Some(event) = self.engine.next_restore_event() {
            self.trace(|| format!("{event:?}"));
            is_back |= matches!(event, RestoreEvent::Back { .. });
        }
        while self.engine.next_version_event().is_some() {}
        assert_eq!(self.engine.end_reason(), None::<&EndReason>, "it ends");
        self.look_at_output();
        let view = View {
            dialect: self.dialect,
            disk: &self.disk,
            losses: &self.losses,
            msize: MSIZE,
            attach_once: self.config.attach_once,
            repeats: self.reconnect.repeat != Repeat::None,
        };
        for peer in &mut self.peers {
            assert!(!self.engine.is_closing(peer.id), "client {} is closed", peer.number);
            let output = self.engine.output(peer.id);
            let mut news = output[peer.looked..].to_vec();
            for message in cut(&mut news) {
                peer.looked += message.len();
                peer.receives(&message, &mut self.ledger, &view);
            }
            assert!(news.is_empty(), "a part of a message");
            let max = self.config.max_reply_bytes + 3 * MSIZE as usize;
            assert!(output.len() <= max, "{} bytes wait for a client", output.len());
            let queued = self.engine.client_info(peer.id).map_or(0, |info| info.queued);
            assert!(
                queued <= self.config.max_reply_bytes + 2 * CHUNK,
                "{queued} bytes of a client"
            );
        }
        self.owners.clear();
        self.owners.extend(self.engine.fids.records().iter().map(|record| match record.owner {
            Owner::Client(index) => Some((index, record.client_fid)),
            _ => None,
        }));
        if is_back {
            // Replies of the same event may precede the end of the outage.
            self.losses.since = None;
            self.restored += 1;
        }
    }

    /// Examines what is new in the output for the server.
    fn look_at_output(&mut self) {
        let output = self.engine.server_output();
        if self.session.is_none() {
            return assert!(output.is_empty(), "a message for no server");
        }
        assert!(output.len() >= self.looked, "output is taken back");
        let mut news = output[self.looked..].to_vec();
        for message in cut(&mut news) {
            self.looked += message.len();
            let what = kind(&message);
            let own = match what {
                types::TVERSION | types::TFLUSH | types::TCLUNK => false,
                _ => self.is_own(&message),
            };
            if own {
                self.check_restored(&message);
            }
            let number = self.asker_of(&message);
            let replays = own && self.engine.is_replay_request(tag(&message));
            self.outgoing.push_back(Request { message, own, replays, number, held: false });
        }
        assert!(news.is_empty(), "a part of a message");
    }

    /// Returns the client's request that 9pmux has forwarded as this message.
    fn asker_of(&mut self, message: &[u8]) -> Option<usize> {
        if matches!(kind(message), types::TVERSION | types::TFLUSH) {
            return None;
        }
        let request = *self.engine.requests.get(tag(message));
        let number = match request.owner {
            Owner::Client(index) => {
                let peer = self.peers.iter().find(|peer| peer.id.index() == index as usize)?;
                peer.open.get(&request.tag)?.number
            }
            Owner::Cleanup(_) => {
                let ended: Vec<u32> =
                    self.peers.iter().filter(|peer| peer.asking).map(|peer| peer.number).collect();
                self.ledger.not_forwarded(self.dialect, message, &ended, self.losses.session)?
            }
            Owner::Internal | Owner::Descriptor(_) => return None,
        };
        let entry = &mut self.ledger.entries[number];
        if entry.kind() != kind(message) {
            return None;
        }
        entry.forwarded = true;
        Some(number)
    }

    /// Returns true if 9pmux has made a request for itself, or from the fid that it keeps for all clients.
    fn is_own(&mut self, message: &[u8]) -> bool {
        let shared = self.engine.upstream.shared_attach.fid() == Some(u32_at(message, HEADER));
        shared || self.engine.requests.get(tag(message)).owner == Owner::Internal
    }

    /// Checks that something is only restored for a client that needs it.
    fn check_restored(&self, message: &[u8]) {
        let mut fields = Fields::of(message);
        match kind(message) {
            types::TATTACH => {
                let (_, second) = (fields.u32(), fields.u32());
                assert_eq!(second, NOFID, "an afid of 9pmux itself");
                let uname = fields.str();
                let identity = IDENTITIES.iter().position(|identity| identity.uname == uname);
                let identity = identity.expect("a known uname");
                assert!(!IDENTITIES[identity].authenticates, "{uname} is attached without auth");
                let needs =
                    |fid: &ClientFid| fid.identity == identity && fid.was_at_loss(&self.losses);
                let lives = self.peers.iter().any(|peer| peer.fids.values().any(needs));
                // It may be the shared one, of which a session makes no other use, or not of the replay.
                let shares = self.config.attach_once && !self.peers.is_empty();
                assert!(lives || shares, "{uname} is attached for no client");
            }
            types::TWALK => {
                let (_, second) = (fields.u32(), fields.u32());
                let clones = self.config.attach_once;
                assert!(
                    clones || self.owner_of(second).is_some(),
                    "fid {second} is restored for no client"
                );
            }
            _ => self.check_reopened(message),
        }
    }

    /// Returns the client's index and its number of an upstream fid. The client may have clunked it in this event, after
    /// a request of the replay for it was sent.
    fn owner_of(&self, fid: u32) -> Option<(u32, u32)> {
        let record = self.engine.fids.get(fid);
        match record.owner {
            // Requests before its Tclunk may need a fid that the client has clunked.
            Owner::Client(index) if record.bound || record.references > 1 => {
                Some((index, record.client_fid))
            }
            _ => self.owners.get(fid as usize).copied().flatten(),
        }
    }

    /// Checks that a file is opened or locked again as its client has done it, once it is known to be the same.
    fn check_reopened(&self, message: &[u8]) {
        let shown = || show(self.dialect, message).to_string();
        let first = u32_at(message, HEADER);
        let fid = self.owner_of(first).and_then(|(index, name)| {
            let peer = self.peers.iter().find(|peer| peer.id.index() as u32 == index)?;
            peer.fids.get(&name)
        });
        let fid = fid.unwrap_or_else(|| panic!("{} for no client", shown()));
        let session = self.session.as_ref().expect("a session");
        assert_eq!(session.inode(first), fid.inode, "{} is of another file", shown());
        let once = match self.dialect {
            Dialect::L => super::OTRUNC | super::OCREATE | super::OEXCL,
            _ => u32::from(super::OTRUNC_PLAIN),
        };
        let mode = match kind(message) {
            types::TOPEN => u32::from(message[11]),
            types::TLOPEN => u32_at(message, 11),
            super::kinds::TLOCK => {
                let again = self.reconnect.lost_locks == LostLocks::Again;
                return assert!(again && fid.may_lock, "{} of no lock", shown());
            }
            _ => panic!("{} of 9pmux itself", shown()),
        };
        assert_eq!(Some(mode), fid.open.map(|open| open & !once), "{} in another way", shown());
    }
}

/// Runs the world of these bytes. Returns the number of steps, of replies, and of the times that the server has come
/// back.
pub fn run(bytes: &[u8], stays: bool) -> (u64, u64, u64) {
    let mut world = World::new(bytes, stays);
    world.run();
    (world.steps, world.replies, world.restored)
}
