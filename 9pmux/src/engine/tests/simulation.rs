//! The simulation: random clients and a random server. Their bytes arrive in random pieces. After each step the
//! tables must be consistent, memory must be bounded, and each client must receive the replies that a server of its
//! own would send.
//!
//! `MUX_STEPS` is the number of steps of all runs together, and `MUX_SEED` the number of the first run. With
//! `MUX_RUNS=1` only that run is made, and with `MUX_TRACE` it is traced step by step.

use std::time::Duration;

use super::client::{Client, Stage};
use super::made::*;
use super::server::Server;
use crate::engine::{ClientId, Config, Engine};
use crate::wire::Dialect;

struct World {
    random: Random,
    engine: Engine,
    server: Server,
    clients: Vec<(ClientId, Client)>,
    made: usize,
    now: Duration,
    trace: bool,
    answered: u64,
    /// The engine has been notified that the server has disconnected.
    over: bool,
}

const CLIENTS: usize = 5;
const CHUNK: usize = 700;
const STEPS: usize = 2000;

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let dialect = *random.pick(&Dialect::ALL);
        let once = random.one_in(4);
        let config = Config {
            attach_once: once,
            lax: random.one_in(2),
            dialect: if random.one_in(2) { Some(dialect) } else { None },
            msize: 300 + random.below(1500) as u32,
            max_inflight: 1 + random.below(6),
            max_inflight_all: if random.one_in(2) { 1 + random.below(20) } else { usize::MAX },
            max_fids: 4 + random.below(12),
            max_fids_all: 40,
            max_reply_bytes: 300 + random.below(4000),
            min_read_count: 1 + random.below(600) as u32,
            max_inbox_bytes: 1 + random.below(1500),
            max_server_bytes: 1 + random.below(1000),
            seed,
            ..Config::default()
        };
        let fails = *random.pick(&[0, 3, 10]);
        let msize = if random.one_in(3) { 256 + random.below(300) } else { 4096 };
        let trace = std::env::var_os("MUX_TRACE").is_some();
        let mut server = Server::new(dialect, msize as u32, fails);
        server.trace = trace;
        server.sloppy = random.one_in(3);
        server.blocks = random.one_in(3);
        server.once = once;
        if trace {
            println!("run {seed}: {config:?}");
        }
        let engine = Engine::new(config);
        let clients = Vec::new();
        let now = Duration::ZERO;
        World { random, engine, server, clients, made: 0, now, trace, answered: 0, over: false }
    }

    fn chunk(random: &mut Random, length: usize) -> usize {
        let most = length.min(CHUNK);
        match random.below(3) {
            0 => most,
            1 => most.min(1 + random.below(9)),
            _ => 1 + random.below(most.max(1)),
        }
        .min(length)
    }

    fn connect(&mut self) {
        let mut client = Client::new(format!("c{}", self.made), self.server.dialect);
        client.trace = self.trace;
        client.once = self.server.once;
        client.sloppy = self.server.sloppy;
        client.lax = self.engine.config.lax;
        self.made += 1;
        let id = self.engine.client_connected();
        self.clients.push((id, client));
    }

    /// Delivers some bytes of a client to the engine.
    fn clients_bytes(&mut self, i: usize) {
        let (id, client) = &mut self.clients[i];
        if self.engine.wants_read(*id) && !client.pipe.is_empty() {
            let n = World::chunk(&mut self.random, client.pipe.len());
            let bytes: Vec<u8> = client.pipe.drain(..n).collect();
            self.engine.client_bytes(*id, &bytes);
        }
    }

    fn clients_reads(&mut self, i: usize) {
        let (id, client) = &mut self.clients[i];
        let n = World::chunk(&mut self.random, self.engine.output(*id).len());
        client.read(&self.engine.output(*id)[..n]);
        self.engine.client_wrote(*id, n);
    }

    /// Closes the connections that the engine asks to close, as a driver does.
    fn close_some(&mut self) {
        for i in (0..self.clients.len()).rev() {
            let (id, client) = &self.clients[i];
            if self.engine.is_closing(*id) && self.engine.output(*id).is_empty() {
                let done = client.finished && client.outstanding() == 0;
                assert!(
                    client.stage == Stage::Bad || self.over || done,
                    "{} is closed",
                    client.name
                );
                self.forget(i);
            }
        }
    }

    fn forget(&mut self, i: usize) {
        let (id, client) = self.clients.swap_remove(i);
        self.answered += client.answered;
        self.engine.client_gone(id);
    }

    /// A client that has sent everything shuts down its writing side.
    fn finish_client(&mut self, i: usize) {
        let (id, client) = &mut self.clients[i];
        if client.pipe.is_empty() && client.stage != Stage::Bad {
            client.finished = true;
            self.engine.client_finished(*id);
        }
    }

    fn server_reads(&mut self) {
        let n = World::chunk(&mut self.random, self.engine.server_output().len());
        self.server.input.extend_from_slice(&self.engine.server_output()[..n]);
        self.engine.server_wrote(n);
    }

    fn servers_bytes(&mut self) {
        let n = World::chunk(&mut self.random, self.server.output.len());
        let bytes: Vec<u8> = self.server.output.drain(..n).collect();
        self.engine.server_bytes(&bytes);
    }

    fn step(&mut self) {
        let clients = self.clients.len();
        let i = self.random.below(clients.max(1));
        match self.random.below(100) {
            _ if clients == 0 => self.connect(),
            0..30 => self.clients[i].1.act(&mut self.random),
            30..50 => self.clients_bytes(i),
            50..65 if !self.clients[i].1.slow => self.clients_reads(i),
            65..75 => self.server_reads(),
            75..88 => self.server.step(&mut self.random),
            88..95 => self.servers_bytes(),
            95 if clients < CLIENTS => self.connect(),
            96 if self.random.one_in(8) => self.forget(i),
            96 if self.random.one_in(4) => self.finish_client(i),
            97 => self.clients[i].1.slow = self.random.one_in(3),
            // The time does not advance before the server has sent its Rversion.
            98 if self.engine.dialect().is_some() && self.random.one_in(4) => {
                let most = if self.random.one_in(10) { 20_000 } else { 100 };
                self.server.late |= most > 100;
                self.now += Duration::from_millis(self.random.below(most) as u64);
                self.engine.tick(self.now);
            }
            99 => self.stray(),
            _ => {}
        }
        self.check();
    }

    /// Sends a message of the server that is no reply.
    fn stray(&mut self) {
        if self.engine.dialect().is_some() && self.server.output.is_empty() {
            let tag = self.server.free_tag(&mut self.random);
            self.server.output.extend(made(121, tag).done());
        }
    }

    fn check(&mut self) {
        self.close_some();
        self.engine.audit();
        let most = self.engine.config.max_reply_bytes + 2 * 2048;
        for (id, client) in &self.clients {
            let info = self.engine.client_info(*id).expect("it is connected");
            assert!(info.output <= most, "{} bytes wait for {}", info.output, client.name);
            // The limit, an incomplete message, and one more piece.
            assert!(info.queued <= 1500 + 2048 + CHUNK, "{} bytes of {}", info.queued, client.name);
        }
        assert!(self.engine.server_output().len() <= 1000 + 2048 + 200 * 11);
        // Departed clients do not stay in the queues.
        assert!(
            self.engine.ready_queue.len() + self.engine.version_waiters.len()
                <= 2 * (2 * CLIENTS + 18)
        );
        let mut changed = 0;
        while self.engine.next_dirty().is_some() {
            changed += 1;
        }
        assert!(changed <= self.clients.len() + 1);
    }

    /// Makes all clients read and send no more requests, until there is no more progress.
    fn drain(&mut self) {
        for (_, client) in &mut self.clients {
            client.slow = false;
        }
        let mut still = 0;
        for round in 0.. {
            let mut quiet = self.server.is_idle();
            for i in 0..self.clients.len() {
                self.clients_bytes(i);
                self.clients_reads(i);
                let (id, client) = &self.clients[i];
                quiet &= self.engine.output(*id).is_empty();
                let stuck = client.stage == Stage::Bad || self.server.blocks;
                quiet &= client.pipe.is_empty() || stuck;
            }
            self.server_reads();
            quiet &= self.engine.server_output().is_empty() && self.server.input.is_empty();
            self.server.step(&mut self.random);
            self.servers_bytes();
            self.check();
            still = if quiet { still + 1 } else { 0 };
            if still > 50 {
                break;
            }
            assert!(round < 20_000, "no end");
        }
    }

    /// Checks that each request has a reply, and that nothing is left after all clients have disconnected.
    fn finish(&mut self) {
        self.drain();
        for (_, client) in &self.clients {
            let waits = (client.outstanding() > 0 || client.finished) && !self.server.blocks;
            assert!(!waits, "{} waits for ever", client.name);
            // A flush gets its reply even behind requests that never get one.
            let unseen = client.stage == Stage::Bad || !client.pipe.is_empty();
            assert!(unseen || client.flushes() == 0, "a flush of {} waits", client.name);
        }
        while !self.clients.is_empty() {
            self.forget(0);
        }
        self.drain();
        let stats = self.engine.stats();
        assert_eq!((stats.requests, stats.in_cleanup), (0, 0));
        // The fid of the shared attach is kept.
        assert!(stats.fids <= usize::from(self.server.once), "{} fids", stats.fids);
        assert_eq!(self.server.fids(), stats.fids, "fids are left at the server");
        assert!(self.server.largest < 40 + 4, "fid {} is not low", self.server.largest);
    }

    /// Ends the server, by a disconnection or by malformed bytes. All clients must receive their errors.
    fn die(&mut self) {
        let delivered: Vec<u64> = self.clients.iter().map(|(_, c)| c.delivered()).collect();
        self.over = true;
        if self.random.one_in(2) {
            self.engine.server_gone();
        } else {
            // The bytes in transit arrive, and then bytes that are not 9P.
            let mut bytes = std::mem::take(&mut self.server.output);
            bytes.extend(if self.random.one_in(2) { [3, 0, 0, 0] } else { [0xFF; 4] });
            bytes.extend([0; 9]);
            self.engine.server_bytes(&bytes);
        }
        assert!(self.engine.end_reason().is_some());
        for (i, delivered) in delivered.into_iter().enumerate() {
            let (id, client) = &mut self.clients[i];
            assert!(self.engine.is_closing(*id));
            let output = self.engine.output(*id).to_vec();
            client.read(&output);
            assert!(client.input.is_empty());
            self.engine.client_wrote(*id, output.len());
            if client.stage != Stage::Bad {
                client.all_told(delivered);
            }
        }
        self.check();
        assert!(self.clients.is_empty());
        let id = self.engine.client_connected();
        assert!(self.engine.is_closing(id));
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn random_clients_and_a_random_server() {
    let steps = number("MUX_STEPS", 60_000);
    let first = number("MUX_SEED", 1);
    let runs = number("MUX_RUNS", steps.div_ceil(STEPS as u64));
    let mut answered = 0;
    for seed in first..first + runs {
        let run = std::panic::AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            if world.random.one_in(5) {
                world.die()
            } else {
                world.finish()
            }
            world.answered
        });
        match std::panic::catch_unwind(run) {
            Ok(n) => answered += n,
            Err(_) => panic!("run {seed} fails: MUX_SEED={seed} MUX_RUNS=1 MUX_TRACE=1 replays it"),
        }
    }
    println!("{runs} runs, {answered} requests answered");
    assert!(answered > runs * 20, "the clients do not get anywhere");
}
