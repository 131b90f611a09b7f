//! An engine whose server goes and comes back.

use std::time::Duration;

use super::super::bench::{Bench, MSIZE};
use super::super::messages::*;
use super::server::Server;
use crate::engine::{ClientId, Config, EndReason, Engine, Reconnect, RestoreEvent};
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, types};

pub const TIMEOUT: Duration = Duration::from_secs(10);
pub const SECOND: Duration = Duration::from_secs(1);

pub struct Net {
    pub bench: Bench,
    pub server: Server,
    /// The server takes no bytes.
    pub is_blocked: bool,
    next_tag: u16,
}

impl Net {
    pub fn new(dialect: Dialect) -> Net {
        Net::with(dialect, Reconnect::default(), Config::default())
    }

    pub fn with(dialect: Dialect, reconnect: Reconnect, config: Config) -> Net {
        let config = Config {
            dialect: Some(dialect),
            reconnect: Some(reconnect),
            msize: MSIZE,
            version_timeout: TIMEOUT,
            ..config
        };
        let bench = Bench { engine: Engine::new(config), dialect };
        Net::of(bench, Server::new(dialect, MSIZE))
    }

    /// Returns this engine, connected to this server.
    pub fn of(bench: Bench, server: Server) -> Net {
        let mut net = Net { bench, server, is_blocked: false, next_tag: 100 };
        net.connect();
        net
    }

    /// Connects the server, and exchanges messages until nothing happens.
    pub fn connect(&mut self) {
        assert!(self.bench.engine.wants_redial());
        self.bench.engine.server_connected();
        self.bench.engine.audit();
        self.run();
    }

    /// Exchanges messages with the server until nothing happens.
    pub fn run(&mut self) {
        while !self.is_blocked && !self.bench.engine.wants_redial() {
            let requests = self.bench.upstream();
            if requests.is_empty() {
                return;
            }
            for request in requests {
                if let Some(reply) = self.server.reply(&request) {
                    self.bench.server(&reply);
                }
            }
        }
    }

    /// The server ends the connection.
    #[track_caller]
    pub fn lose(&mut self) {
        self.bench.engine.server_gone();
        self.bench.engine.audit();
        self.server.forget_session();
        assert_eq!(self.bench.engine.take_lost_server(), Some(EndReason::ServerClosed));
        assert!(self.bench.engine.end_reason().is_none());
        assert!(self.bench.engine.wants_redial() && self.bench.engine.server_output().is_empty());
    }

    pub fn tick(&mut self, now: Duration) {
        self.bench.engine.tick(now);
        self.bench.engine.audit();
        self.run();
    }

    /// A client sends a message, and the server replies to what it gets.
    pub fn send(&mut self, id: ClientId, message: &[u8]) {
        self.bench.client_sends(id, message);
        self.run();
    }

    /// Sends a message, and returns the only reply.
    #[track_caller]
    pub fn ask(&mut self, id: ClientId, message: &[u8]) -> Vec<u8> {
        self.send(id, message);
        self.bench.client_received(id)
    }

    pub fn tag(&mut self) -> u16 {
        self.next_tag += 1;
        self.next_tag
    }

    pub fn client(&mut self) -> ClientId {
        let id = self.bench.engine.client_connected();
        self.send(id, &version(MSIZE, self.bench.dialect.name()));
        assert_eq!(self.bench.client_received(id), rversion(MSIZE, self.bench.dialect.name()));
        id
    }

    /// Connects a client that has attached as fid 0.
    pub fn attached(&mut self) -> ClientId {
        let id = self.client();
        let dialect = self.bench.dialect;
        assert_eq!(kind(&self.ask(id, &attach(dialect, 1, 0, NOFID, "u", "a"))), 105);
        id
    }

    #[track_caller]
    pub fn walks(&mut self, id: ClientId, newfid: u32, names: &[&str]) {
        let tag = self.tag();
        let reply = self.ask(id, &walk(tag, 0, newfid, names));
        assert_eq!((kind(&reply), reply[HEADER] as usize), (types::RWALK, names.len()));
    }

    /// Opens a fid by this mode or these flags.
    #[track_caller]
    pub fn opens(&mut self, id: ClientId, fid: u32, mode: u32) {
        let message = self.open_message(fid, mode);
        assert_eq!(kind(&self.ask(id, &message)), kind(&message) + 1);
    }

    pub fn open_message(&mut self, fid: u32, mode: u32) -> Vec<u8> {
        let tag = self.tag();
        match self.bench.dialect {
            Dialect::L => made(12, tag).u32(fid).u32(mode).done(),
            _ => made(112, tag).u32(fid).u8(mode as u8).done(),
        }
    }

    /// Returns the contents that a read of this fid returns.
    #[track_caller]
    pub fn reads(&mut self, id: ClientId, fid: u32) -> String {
        let tag = self.tag();
        let reply = self.ask(id, &read(tag, fid, 0, 100));
        contents(&reply)
    }

    pub fn events(&mut self) -> Vec<RestoreEvent> {
        std::iter::from_fn(|| self.bench.engine.next_restore_event()).collect()
    }

    /// Checks the type and the tag of the replies to a client.
    #[track_caller]
    pub fn got(&mut self, id: ClientId, expected: &[(u8, u16)]) {
        let replies = self.bench.all_received(id);
        let got: Vec<(u8, u16)> = replies.iter().map(|m| (kind(m), tag(m))).collect();
        assert_eq!(got, expected, "{}", self.bench.list(&replies));
    }
}

/// Returns the data of an Rread.
#[track_caller]
pub fn contents(reply: &[u8]) -> String {
    assert_eq!(kind(reply), types::RREAD, "{reply:?}");
    String::from_utf8_lossy(&reply[HEADER + 4..]).into_owned()
}
