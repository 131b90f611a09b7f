//! An engine with clients and a server that the test controls.

use super::messages::*;
use crate::engine::{ClientId, Config, Engine};
use crate::wire::{Dialect, HEADER, kind, show, tag, u32_at};

pub struct Bench {
    pub engine: Engine,
    pub dialect: Dialect,
}

pub const MSIZE: u32 = 8192;

impl Bench {
    /// Returns an engine that has negotiated `dialect` with the server.
    pub fn new(dialect: Dialect) -> Bench {
        Bench::with(dialect, Config::default())
    }

    pub fn with(dialect: Dialect, config: Config) -> Bench {
        let engine = Engine::new(Config { dialect: Some(dialect), msize: MSIZE, ..config });
        let mut bench = Bench { engine, dialect };
        assert_eq!(bench.upstream(), [version(MSIZE, dialect.name())]);
        bench.server(&rversion(MSIZE, dialect.name()));
        bench
    }

    /// Connects a client that has negotiated a version.
    pub fn client(&mut self) -> ClientId {
        self.client_of(MSIZE)
    }

    pub fn client_of(&mut self, msize: u32) -> ClientId {
        let id = self.engine.client_connected();
        self.client_sends(id, &version(msize, self.dialect.name()));
        assert_eq!(self.all_received(id), [rversion(msize, self.dialect.name())]);
        id
    }

    /// Connects a client and attaches it with fid 0. Returns the client and its upstream fid.
    pub fn attached(&mut self) -> (ClientId, u32) {
        let id = self.client();
        let fid = self.attach(id, 0);
        (id, fid)
    }

    pub fn attach(&mut self, id: ClientId, fid: u32) -> u32 {
        self.client_sends(id, &attach(self.dialect, 1, fid, !0, "u", "a"));
        let request = self.server_received();
        self.server(&made(105, tag(&request)).qid(0, 0).done());
        assert_eq!(kind(&self.client_received(id)), 105);
        u32_at(&request, HEADER)
    }

    pub fn client_sends(&mut self, id: ClientId, message: &[u8]) {
        self.engine.client_bytes(id, message);
        self.engine.audit();
        self.run_turns();
    }

    /// Begins turns until no client waits for one.
    pub fn run_turns(&mut self) {
        while !self.engine.turn_queue.is_empty() {
            self.engine.tick(self.engine.now);
            self.engine.audit();
        }
    }

    pub fn disconnect(&mut self, id: ClientId) {
        self.engine.client_gone(id);
        self.engine.audit();
    }

    pub fn server(&mut self, message: &[u8]) {
        self.engine.server_bytes(message);
        self.engine.audit();
        self.run_turns();
    }

    /// Returns the messages that this client has received.
    pub fn all_received(&mut self, id: ClientId) -> Vec<Vec<u8>> {
        let mut bytes = self.engine.output(id).to_vec();
        self.engine.client_wrote(id, bytes.len());
        let messages = cut(&mut bytes);
        assert!(bytes.is_empty());
        self.engine.audit();
        self.run_turns();
        messages
    }

    /// Returns the only message that this client has received.
    #[track_caller]
    pub fn client_received(&mut self, id: ClientId) -> Vec<u8> {
        let mut messages = self.all_received(id);
        assert_eq!(messages.len(), 1, "{}", self.list(&messages));
        messages.remove(0)
    }

    /// Returns the requests that the server has received.
    pub fn upstream(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = self.engine.server_output().to_vec();
        self.engine.server_wrote(bytes.len());
        let messages = cut(&mut bytes);
        assert!(bytes.is_empty());
        self.engine.audit();
        messages
    }

    /// Returns the only request that the server has received.
    #[track_caller]
    pub fn server_received(&mut self) -> Vec<u8> {
        let mut messages = self.upstream();
        assert_eq!(messages.len(), 1, "{}", self.list(&messages));
        messages.remove(0)
    }

    /// Sends a message from this client, and returns the request that reaches the server.
    #[track_caller]
    pub fn forwarded(&mut self, id: ClientId, message: &[u8]) -> Vec<u8> {
        self.client_sends(id, message);
        self.server_received()
    }

    /// Checks that 9pmux itself replies to a message with an error, and that the message does not reach the server.
    #[track_caller]
    pub fn refused(&mut self, id: ClientId, message: &[u8], why: super::LocalError) {
        self.refused_in(self.dialect, id, message, why);
    }

    /// Checks the same for a client whose errors have the form of this dialect.
    #[track_caller]
    pub fn refused_in(
        &mut self,
        dialect: Dialect,
        id: ClientId,
        message: &[u8],
        why: super::LocalError,
    ) {
        self.client_sends(id, message);
        assert!(self.upstream().is_empty());
        let answer = self.client_received(id);
        let (asked, answered) = (show(self.dialect, message), show(self.dialect, &answer));
        assert!(is_local_error(dialect, &answer, why), "{asked}: {answered}");
        assert_eq!(tag(&answer), tag(message));
    }

    /// Replies to a request, as the server, with an empty message of its type.
    pub fn done(&mut self, request: &[u8]) {
        self.server(&made(kind(request) + 1, tag(request)).done());
    }

    pub fn failed(&mut self, request: &[u8]) {
        self.server(&error(self.dialect, tag(request), "srv"));
    }

    pub fn list(&self, messages: &[Vec<u8>]) -> String {
        messages.iter().map(|m| format!("{}\n", show(self.dialect, m))).collect()
    }
}
