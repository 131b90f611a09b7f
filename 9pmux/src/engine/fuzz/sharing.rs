//! What clients share: tags and memory. Clients of several users, many clients that read much, and what each of them
//! may have.
//!
//! What the server has seen and not replied to is a lower bound of what 9pmux has counted.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::bytes::Bytes;
use super::messages::read;
use super::model_client::ModelClient;
use super::names::State;
use super::request::FIDS;
use super::server::Server;
use super::world::{CHUNK, World};
use crate::engine::{Config, Limit, User};

/// The maximum number of clients in a crowd.
pub const CROWD: usize = 10;

/// One of so many tags is reserved for the first requests of clients.
const RESERVED_PART: usize = 4;

/// The numbers of tags that a client and a user may have although others have less.
const CLIENT_FLOOR: usize = 4;
const USER_FLOOR: usize = 16;

/// The tags of reads are above those of other requests.
const READ_TAGS: u16 = 200;

/// The options of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sharing {
    /// The number of users. A client may also be one for itself.
    pub users: u8,
    /// Many clients read much.
    pub crowd: bool,
}

impl Sharing {
    /// Chooses the options, and the limits of the configuration.
    pub fn new(bytes: &mut Bytes<'_>, config: &mut Config) -> Sharing {
        let crowd = bytes.rarely(4);
        if crowd {
            config.max_inflight = 20;
            config.max_inflight_all = bytes.pick(&[40, 60, 20, 8]);
            config.max_reply_bytes = 20_000;
        }
        if bytes.rarely(5) {
            config.max_memory = 2000 + usize::from(bytes.next()) * 100;
        }
        config.require_auth = bytes.rarely(6);
        Sharing { users: bytes.pick(&[0, 1, 2, 3]), crowd }
    }

    /// Returns the number of a new client's user.
    pub fn user_of(self, bytes: &mut Bytes<'_>) -> Option<u8> {
        (self.users > 0).then(|| bytes.next() % (self.users + 1)).filter(|n| *n > 0)
    }
}

/// Returns the user with this number, at one of the addresses of its network.
pub fn user(number: u8, host: u8) -> User {
    match number {
        1 => User::Host(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host.into()))),
        n => User::Local(n.into()),
    }
}

impl World<'_> {
    /// Lets a client read so much that all its requests cannot be at the server.
    pub fn read_much(&mut self) {
        let i = self.client();
        for _ in 0..self.bytes.below(24) {
            self.serial = self.serial.wrapping_add(1);
            let message = self.peers[i].read_of_any_fid(self.serial);
            if self.peers[i].pipe.len() < 4000 {
                self.peers[i].pipe.extend(message);
            }
        }
        self.delivers(i, CHUNK);
    }

    /// Checks that each client that holds nothing gets a tag while the server holds reads back, if there is one for it
    /// in the reserve.
    pub fn check_first_requests(&self) {
        if !self.server.knows_owners()
            || self.config.max_inflight_all / RESERVED_PART < self.peers.len()
        {
            return;
        }
        for peer in self.peers.iter().filter(|peer| peer.in_session()) {
            if !self.server.has_request_of(peer.number) {
                peer.all_told(false, false);
            }
        }
    }

    /// Checks that users are charged for all that the server has of them, also of departed clients.
    pub fn check_accounts(&self) {
        for number in 1..=self.sharing.users {
            let account = self.engine.users.account_of(user(number, 0)).unwrap_or_default();
            let (tags, fids) = self.server.held_by(number);
            assert!(account.tags >= tags, "user {number} has {tags} tags, not {}", account.tags);
            assert!(account.fids >= fids, "user {number} has {fids} fids, not {}", account.fids);
            let clients = self.peers.iter().filter(|peer| peer.user == Some(number)).count();
            assert_eq!(account.clients, clients, "clients of user {number}");
        }
    }

    /// Reports the time to 9pmux, which then enforces the bound of the memory.
    pub fn tick_engine(&mut self) {
        let engine = &self.engine;
        let queues = [&engine.share_queue.clients, &engine.turn_queue];
        let waits = queues.iter().any(|queue| !queue.is_empty());
        let waits = waits || !engine.ready_queue.is_empty() || !engine.version_waiters.is_empty();
        self.engine.tick(Duration::from_millis(self.now));
        while let Some(notice) = self.engine.next_notice() {
            if notice.limit == Limit::Memory {
                assert!(self.config.max_memory < 1 << 20, "disconnected in spite of free memory");
                if self.reader.is(notice.client) {
                    self.drop_reader();
                    continue;
                }
                let peer = self.peers.iter_mut().find(|peer| peer.id == notice.client);
                peer.expect("it is connected").give_up();
            }
        }
        let memory = |peer: &ModelClient| self.engine.client_info(peer.id).map_or(0, |c| c.memory);
        let all: usize = self.peers.iter().map(memory).sum();
        // Requests that waited may have had replies since.
        let max = self.config.max_memory + if waits { 2 * self.config.max_reply_bytes } else { 0 };
        assert!(all <= max, "{all} bytes of clients");
    }

    /// Checks that 9pmux has forgotten its clients, and all that they held.
    pub fn check_empty(&self) {
        assert_eq!(self.engine.users.accounts().0, 0, "users are left");
        assert_eq!(self.engine.client_memory, 0, "bytes of departed clients are counted");
    }
}

impl Server {
    /// Returns true if it has a request of this client, or one whose client is unknown.
    fn has_request_of(&self, number: u32) -> bool {
        self.owners_of_requests().any(|owner| owner.is_none_or(|owner| owner.0 == number))
    }

    /// Returns the numbers of requests and fids that this user has at the server.
    fn held_by(&self, user: u8) -> (usize, usize) {
        let is_its = |client: &u32| self.users[*client as usize] == Some(user);
        let requests = self.owners_of_requests().flatten().map(|owner| owner.0);
        (requests.filter(is_its).count(), self.owners_of_fids().filter(is_its).count())
    }

    /// Checks that a client may have one more request at the server.
    pub fn check_share(&self, client: &ModelClient) {
        let held: Vec<(u32, u32)> = self.owners_of_requests().flatten().collect();
        let total = self.config.max_inflight_all;
        assert!(held.len() < total, "{} requests, {total} are permitted", held.len());
        let free = total - held.len();
        let of_client = held.iter().filter(|o| **o == (client.number, client.sessions)).count();
        let is_of_user = |owner: &&(u32, u32)| match client.user {
            Some(_) => self.users[owner.0 as usize] == client.user,
            None => owner.0 == client.number,
        };
        let of_user = held.iter().filter(is_of_user).count();
        let admitted = match of_client {
            0 => true,
            n if n < CLIENT_FLOOR => of_user < USER_FLOOR || of_user < free,
            n => n + of_user < free,
        };
        assert!(admitted, "{of_client} of {of_user} requests of a user, {free} are free");
    }
}

impl ModelClient {
    /// Returns a read of the first live fid, or no message.
    fn read_of_any_fid(&self, serial: u16) -> Vec<u8> {
        let Some(fid) = self.names.find(FIDS, 0, &[State::Live]) else {
            return Vec::new();
        };
        let mark = u64::from(self.number as u8) | u64::from(serial) << 8;
        read(READ_TAGS + serial % 1000, fid, mark, 100)
    }
}
