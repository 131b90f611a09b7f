//! Changes of the connection to the server: clients that alternate dialects, a server that dislikes offers, and a
//! driver that connects again.

use super::bytes::Bytes;
use super::messages::{flush, version};
use super::model_client::ModelClient;
use super::world::{CHUNK, World};
use crate::wire::Dialect;

/// The tags of repeated flushes are below.
const MAX_FLUSH_TAG: u16 = 100;

/// The way of a server to dislike an offer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Dislike {
    #[default]
    Nothing,
    HangsUp,
    IsSilent,
    Error,
}

/// What the server dislikes, and what it has done for that.
#[derive(Debug, Default)]
pub struct Temper {
    how: Dislike,
    /// A dialect that it dislikes, if it does not dislike each Tversion but the first.
    disliked: Option<Dialect>,
    /// The number of Tversion on this connection.
    versions: usize,
    /// It has disconnected.
    pub hung_up: bool,
    /// It does not reply to the last Tversion.
    pub silent: bool,
}

impl Temper {
    /// A dialect that was chosen in advance is not disliked: 9pmux would end.
    pub fn new(bytes: &mut Bytes<'_>, chosen: bool) -> Temper {
        let ways = [Dislike::Nothing, Dislike::HangsUp, Dislike::IsSilent, Dislike::Error];
        let how = bytes.pick(&ways);
        let disliked = bytes.rarely(2).then(|| bytes.pick(&Dialect::ALL));
        Temper { how: if chosen { Dislike::Nothing } else { how }, disliked, ..Temper::default() }
    }

    /// The server has a Tversion. Returns how it dislikes it.
    pub fn handle_version(&mut self, offer: &str) -> Dislike {
        self.versions += 1;
        let dislikes = match self.disliked {
            Some(disliked) => disliked.name() == offer,
            None => self.versions > 1,
        };
        let how = if dislikes { self.how } else { Dislike::Nothing };
        self.hung_up = how == Dislike::HangsUp;
        self.silent = how == Dislike::IsSilent;
        how
    }

    /// The connection has ended.
    pub fn disconnect(&mut self) {
        (self.versions, self.hung_up, self.silent) = (0, false, false);
    }
}

/// What clients and the driver do about the connection.
#[derive(Default)]
pub struct Redials {
    /// Clients offer all dialects.
    pub alternates: bool,
    /// The connection is lost, and has not been made again.
    lost: bool,
    /// The number of events until it is made again.
    wait: usize,
    /// The number of connections after the first.
    pub count: u64,
}

impl Redials {
    pub fn new(alternates: bool) -> Redials {
        Redials { alternates, ..Redials::default() }
    }

    /// An event happens.
    pub fn handle_event(&mut self) {
        self.wait = self.wait.saturating_sub(1);
    }
}

impl World<'_> {
    /// Returns true if no offer of a client can end 9pmux.
    pub fn survives_offers(&self) -> bool {
        self.config.can_redial && self.config.dialect.is_none()
    }

    /// Returns the dialect of a client's next message.
    pub fn dialect_for(&mut self, i: usize) -> Dialect {
        if self.redials.alternates && self.peers[i].is_new() {
            return self.bytes.pick(&Dialect::ALL);
        }
        self.settled.unwrap_or(self.dialect)
    }

    /// Lets clients change the dialect, as far as they may.
    pub fn change_dialect(&mut self) {
        let dialect = self.bytes.pick(&Dialect::ALL);
        match self.bytes.below(4) {
            0 => {
                let i = self.client();
                self.offer(i, dialect);
            }
            1 => (0..self.peers.len()).for_each(|i| self.offer(i, dialect)),
            2 => {
                let i = self.client();
                self.give_up(i, dialect);
            }
            _ => {
                while self.peers.len() > 1 {
                    self.forget(0);
                }
                let i = self.client();
                self.give_up(i, dialect);
            }
        }
    }

    fn offer(&mut self, i: usize, dialect: Dialect) {
        let message = version(self.config.msize, dialect.name());
        self.sends(i, &message);
    }

    /// Lets a client flush all that it has asked, repeatedly, and then offer a dialect.
    fn give_up(&mut self, i: usize, dialect: Dialect) {
        let times = self.bytes.below(4);
        let mut message = self.peers[i].repeated_flushes(times);
        message.extend(version(self.config.msize, dialect.name()));
        self.sends(i, &message);
    }

    fn sends(&mut self, i: usize, bytes: &[u8]) {
        if self.peers[i].pipe.len() < 4000 {
            self.peers[i].pipe.extend_from_slice(bytes);
        }
        self.delivers(i, CHUNK);
    }

    /// Examines whether 9pmux has lost the connection. Must be called before the server examines what it receives.
    pub fn look_for_loss(&mut self) {
        if self.redials.lost || !self.engine.wants_redial() {
            return;
        }
        assert!(self.config.can_redial, "it cannot be made again");
        assert!(
            self.config.dialect.is_none() || self.config.attach_once,
            "it was not to be made again"
        );
        let in_session = |peer: &ModelClient| peer.in_session() && !self.engine.is_closing(peer.id);
        let left = self.peers.iter().any(in_session);
        assert!(self.server.wild || !left, "a client with a session has lost the connection");
        self.redials.lost = true;
        self.redials.wait = self.bytes.pick(&[0, 0, 1, 4]);
        self.server.disconnect();
    }

    /// Connects again, if it is time. Returns true if that happens.
    pub fn redial(&mut self) -> bool {
        let over = self.engine.end_reason().is_some();
        if !self.redials.lost || self.redials.wait > 0 || over {
            return false;
        }
        // What the old connection still says is of no interest.
        match self.bytes.below(16) {
            14 => self.engine.server_gone(),
            15 => self.engine.server_bytes(&[0xFF; 9]),
            _ => {}
        }
        assert!(self.engine.wants_redial() && self.engine.server_output().is_empty());
        self.redials.lost = false;
        if self.bytes.next() == 77 {
            self.may_end = true;
            self.engine.redial_failed();
            assert!(self.engine.end_reason().is_some());
        } else {
            self.redials.count += 1;
            self.engine.server_connected();
        }
        assert!(!self.engine.wants_redial());
        true
    }

    /// Connects again without a wait.
    pub fn hurry(&mut self) {
        self.redials.wait = 0;
    }

    /// Lets the time limit of a Tversion pass to which the server does not reply. Returns false if there is none.
    pub fn outwait_silence(&mut self) -> bool {
        let waits = self.server.temper.silent && self.engine.upstream.is_awaiting_version();
        if waits {
            self.pass(10_000);
        }
        waits
    }

    /// The server may have disconnected instead of a reply.
    pub fn look_for_hang_up(&mut self) {
        if self.server.temper.hung_up && self.engine.end_reason().is_none() {
            self.server.temper.hung_up = false;
            // 9pmux may have had an Rversion from a server that sends anything.
            self.may_end |= !self.survives_offers() || self.server.wild;
            self.engine.server_gone();
        }
    }
}

impl ModelClient {
    /// Returns a Tflush of each message without a reply, so many times.
    fn repeated_flushes(&self, times: usize) -> Vec<u8> {
        let used: Vec<u16> = self.tags().collect();
        let free = (0..MAX_FLUSH_TAG).filter(|tag| !used.contains(tag));
        let oldtags = used.iter().cycle().take(used.len() * times);
        oldtags.zip(free).flat_map(|(oldtag, tag)| flush(tag, *oldtag)).collect()
    }
}
