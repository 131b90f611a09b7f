//! The server: a set of fids, and requests that get their replies in any order, as far as they do not name the same
//! fid. It performs them well unless it is `wild`.
//!
//! Each message for it is examined as soon as it is in 9pmux's output: that a client has sent it, that its fids are
//! those that the client means, and that no tag and no fid is used twice.

use std::collections::{BTreeMap, BTreeSet};

use super::bytes::Bytes;
use super::descriptors::Files;
use super::messages::{error, made, no_fid, rversion};
use super::model_client::{ClientMessage, ModelClient, stamp};
use super::names::{created, names};
use super::redial::{Dislike, Temper};
use super::rules::changes;
use crate::engine::Config;
use crate::wire::{
    DATA_HEADER, Dialect, FidUse, FieldKind, FieldOffsets, HEADER, NOFID, check_contents,
    check_reply, check_request, kind, put_tag, put_u32, show, tag, types, u16_at, u32_at,
};

/// A request that has no reply.
struct Request {
    message: Vec<u8>,
    fids: Vec<u32>,
    stamp: u32,
    /// The client that has sent it, and in which session.
    owner: Option<(u32, u32)>,
    /// The end of the message in all bytes for the server.
    end: usize,
    /// Whether it is a Topen for a Topenfd; unknown if a client has sent both.
    for_descriptor: Option<bool>,
}

/// The clients that a fid may have been created for: a client, its session, and its name for the fid. There are
/// several if their requests were the same.
type Owners = Vec<(u32, u32, u32)>;

#[derive(Default)]
pub struct Server {
    requests: Vec<Request>,
    /// The number of bytes for it that have been examined, and that it has read.
    looked: usize,
    read: usize,
    /// The tags of the replies in the output, or in the last output that was sent.
    recent: Vec<u16>,
    /// Replies that have not been sent.
    output: Vec<u8>,
    fids: BTreeSet<u32>,
    owners: BTreeMap<u32, Owners>,
    /// The fids that no client has, because the request that creates them was flushed, or because they lost their
    /// name when the request that releases them was flushed. The end of a session does not wait for them.
    unseen: BTreeSet<u32>,
    /// The names that the auth fids are for.
    auths: BTreeMap<u32, Vec<u8>>,
    /// The fid of the shared attach, and the stamp of its Tattach.
    shared: Option<(u32, u32)>,
    /// The reply to that Tattach, which is an error, has not been sent.
    shared_fails: bool,
    msize: u32,
    pub config: Config,
    /// The user of each client, by its number.
    pub users: Vec<Option<u8>>,
    /// It sends anything.
    pub wild: bool,
    /// One in so many requests fails; 0 means none.
    fails: usize,
    /// A flushed request may be performed all the same.
    pub sloppy: bool,
    /// Some reads get no reply until they are flushed.
    pub holds: bool,
    /// That is so for all reads, not for some.
    pub holds_all: bool,
    /// A session may have begun before the cleanup of the last one, because the time limit has passed.
    pub late: bool,
    /// It has refused a version, or has replied with one that was not offered.
    pub refuses: bool,
    pub temper: Temper,
    /// The files of descriptors.
    pub files: Files,
    /// Clients may ask for descriptors.
    pub opens_descriptors: bool,
}

impl Server {
    pub fn new(bytes: &mut Bytes<'_>, wild: bool, config: &Config) -> Server {
        let (fails, sloppy) = (bytes.pick(&[0, 3, 10]), bytes.rarely(3));
        let holds = bytes.rarely(3) && !wild;
        let (msize, config) = (config.msize, config.clone());
        let temper = Temper::new(bytes, config.dialect.is_some());
        Server { wild, msize, config, fails, sloppy, holds, temper, ..Server::default() }
    }

    /// The connection has ended, and with it everything that the server has for it.
    pub fn disconnect(&mut self) {
        self.requests.clear();
        (self.looked, self.read) = (0, 0);
        self.recent.clear();
        self.output.clear();
        self.fids.clear();
        self.files.clear();
        self.owners.clear();
        self.unseen.clear();
        self.auths.clear();
        (self.shared, self.shared_fails) = (None, false);
        self.msize = self.config.msize;
        self.temper.disconnect();
    }

    pub fn fids(&self) -> usize {
        self.fids.len()
    }

    /// Returns the number of requests that it has read and that have no reply.
    pub fn waiting(&self) -> usize {
        self.requests.iter().take_while(|request| request.end <= self.read).count()
    }

    pub fn nth(&self, n: usize) -> Option<&[u8]> {
        self.requests.get(n).map(|request| &request.message[..])
    }

    /// Returns true if each owner is right: walks of clients that share an attach may be for another client, and a server
    /// that sends anything may have replied.
    pub fn knows_owners(&self) -> bool {
        !self.wild && !self.config.attach_once
    }

    /// Returns the owner of each request: the number of the client and of its session, if they are known. Requests as
    /// 9pmux makes them itself are left out; a Tclunk of a client cannot be told from those.
    pub fn owners_of_requests(&self) -> impl Iterator<Item = Option<(u32, u32)>> {
        let is_own = |kind: u8| [types::TVERSION, types::TFLUSH, types::TCLUNK].contains(&kind);
        let requests = self.requests.iter().map(|r| (r.owner, kind(&r.message)));
        requests.filter(move |request| !is_own(request.1)).map(|request| request.0)
    }

    /// Returns the number of the client of each fid, if it is known.
    pub fn owners_of_fids(&self) -> impl Iterator<Item = u32> {
        let owners = self.fids.iter().filter_map(|fid| self.owners.get(fid));
        owners.filter(|owners| owners.len() == 1).map(|owners| owners[0].0)
    }

    /// Records that it has read so many bytes.
    pub fn reads(&mut self, n: usize) {
        self.read += n;
    }

    /// Examines the new part of the bytes for it.
    /// `shared` is the fid of the shared attach.
    pub fn check_output(
        &mut self,
        output: &[u8],
        dialect: Option<Dialect>,
        peers: &[ModelClient],
        shared: Option<u32>,
    ) {
        let mut rest = &output[self.looked - self.read..];
        while !rest.is_empty() {
            let n = u32_at(rest, 0) as usize;
            assert!(n >= HEADER && n <= rest.len() && n <= self.msize as usize, "its size is {n}");
            let message = rest[..n].to_vec();
            rest = &rest[n..];
            self.looked += n;
            let end = self.looked;
            let request = match kind(&message) {
                types::TVERSION => {
                    assert_eq!(tag(&message), 0xFFFF);
                    let left = !self.requests.is_empty() || !self.fids.is_empty();
                    assert!(self.wild || !left, "a Tversion ends requests or fids");
                    self.requests.clear();
                    Request {
                        message,
                        fids: Vec::new(),
                        stamp: 0,
                        owner: None,
                        end,
                        for_descriptor: Some(false),
                    }
                }
                _ => {
                    let dialect = dialect.expect("a version comes first");
                    if is_attach(&message) && shared == Some(u32_at(&message, HEADER)) {
                        let stamp = stamp(dialect, self.config.lax, &message);
                        self.shared = shared.zip(stamp);
                    }
                    self.sees(message, dialect, peers, end)
                }
            };
            self.requests.push(request);
        }
    }

    fn sees(
        &mut self,
        message: Vec<u8>,
        dialect: Dialect,
        peers: &[ModelClient],
        end: usize,
    ) -> Request {
        let shown = || format!("{}", show(dialect, &message));
        let offsets = check_request(dialect, &message).expect("it is well-formed");
        if !self.config.lax {
            assert_eq!(offsets.end as usize, message.len(), "{}", shown());
            assert_eq!(check_contents(dialect, &offsets, &message), Ok(()), "{}", shown());
        }
        let needs_afid = self.config.require_auth && is_attach(&message);
        assert!(!needs_afid, "without authentication: {}", shown());
        let in_use = |tag_: u16| self.requests.iter().any(|request| tag(&request.message) == tag_);
        let tag_ = tag(&message);
        assert!(tag_ != 0xFFFF && (self.wild || !in_use(tag_)), "the tag of {}", shown());
        let fids = offsets.fids().iter().map(|fid| u32_at(&message, fid.0 as usize));
        let mut fids: Vec<u32> = fids.filter(|fid| *fid != NOFID).collect();
        fids.dedup();
        let mut stamp = stamp(dialect, self.config.lax, &message).unwrap_or_default();
        let (mut owner, mut for_descriptor) = (None, Some(false));
        let moves = [types::TREAD, types::TWRITE].contains(&kind(&message));
        if kind(&message) == types::TFLUSH {
            let oldtag = u16_at(&message, HEADER);
            assert!(message.len() == HEADER + 2 && oldtag != tag_);
            let known = self.wild || in_use(oldtag) || self.recent.contains(&oldtag);
            assert!(known, "no request has the tag that {} names", shown());
        } else if is_attach(&message) && self.is_shared(fids[0]) {
            let known = peers.iter().any(|peer| peer.has_asked(stamp) || peer.hides_messages());
            assert!(known, "no client has sent {}", shown());
            self.owners.insert(fids[0], Vec::new());
        } else if moves && self.files.has(fids[0]) {
            let is_same = |r: &Request| kind(&r.message) == kind(&message) && r.fids == fids;
            assert!(!self.requests.iter().any(is_same), "two of one direction: {}", shown());
            self.files.check_request(&message, self.msize);
        } else {
            let asked = self.find_asked(&message, &mut stamp, peers, &offsets);
            let is_openfd = |asked: &ClientMessage| kind(&asked.message) == types::TOPENFD;
            let all = asked.iter().filter(|(_, asked)| is_openfd(asked)).count();
            for_descriptor = (all == 0 || all == asked.len()).then_some(all > 0);
            if let Some((peer, _)) = asked.first() {
                self.check_rules(&message, dialect, &asked, &shown);
                if asked.iter().all(|(other, _)| other.number == peer.number) {
                    owner = Some((peer.number, peer.sessions));
                    self.check_session(peer, &shown);
                    if self.knows_owners() && kind(&message) != types::TCLUNK {
                        self.check_share(peer);
                    }
                    let count = offsets.count.map_or(0, |at| u32_at(&message, at as usize));
                    assert!(count <= peer.msize - DATA_HEADER, "{}", shown());
                }
                self.bind(&message, &asked, &offsets);
            } else {
                let own = kind(&message) == types::TCLUNK && message.len() == HEADER + 4;
                let named = self.requests.iter().any(|request| request.fids.contains(&fids[0]));
                assert!(!self.files.has(fids[0]) || !named, "too early: {}", shown());
                // A descriptor of which the server knows nothing, since it sends anything.
                let own = own || (self.wild && self.opens_descriptors && moves);
                let hidden = peers.iter().any(ModelClient::hides_messages);
                assert!(own || hidden, "no client has sent {}", shown());
                if let Some(i) = created(&message, &offsets).filter(|_| !own) {
                    let fid = u32_at(&message, offsets.fids[i].0 as usize);
                    self.owners.insert(fid, Vec::new());
                }
                let known = hidden || self.owners.contains_key(&fids[0]);
                assert!(known, "no client has had the fid of {}", shown());
                if self.is_lost_to_client(fids[0], peers) {
                    self.unseen.insert(fids[0]);
                }
                self.shared = self.shared.filter(|shared| shared.0 != fids[0]);
            }
        }
        if let Some(i) = created(&message, &offsets) {
            let fid = u32_at(&message, offsets.fids[i].0 as usize);
            let max = if self.config.max_fids_all < 100 { self.config.max_fids_all } else { 200 };
            assert!((fid as usize) < max + 4, "fid {fid} is not low");
            let named = self.requests.iter().any(|request| request.fids.contains(&fid));
            let there = self.fids.contains(&fid) || named;
            assert!(self.wild || !there, "fid {fid} is in use: {}", shown());
            self.unseen.remove(&fid);
        }
        Request { message, fids, stamp, owner, end, for_descriptor }
    }

    fn is_shared(&self, fid: u32) -> bool {
        self.shared.is_some_and(|shared| shared.0 == fid)
    }

    /// Returns the messages of clients from which this request may have been made: several only if they are the same
    /// but for their fids. A walk from the shared fid stands for a Tattach, whose stamp it gets.
    fn find_asked<'a>(
        &self,
        message: &[u8],
        stamp: &mut u32,
        peers: &'a [ModelClient],
        offsets: &FieldOffsets,
    ) -> Vec<(&'a ModelClient, &'a ClientMessage)> {
        let shared = self
            .shared
            .filter(|shared| kind(message) == types::TWALK && shared.0 == u32_at(message, HEADER));
        if let Some((_, of_attach)) = shared {
            *stamp = of_attach;
        }
        let all = peers.iter().flat_map(|peer| peer.asked().map(move |asked| (peer, asked)));
        all.filter(|(peer, asked)| {
            asked.stamp == Some(*stamp)
                && !asked.forwarded.get()
                && match shared {
                    Some(_) => is_attach(&asked.message),
                    None => self.fits(message, &asked.message, peer, offsets),
                }
        })
        .collect()
    }

    /// Returns true if the fids of a request are those that this client means.
    fn fits(
        &self,
        message: &[u8],
        asked: &[u8],
        peer: &ModelClient,
        offsets: &FieldOffsets,
    ) -> bool {
        let new = created(message, offsets);
        offsets.fids().iter().enumerate().all(|(i, &(at, fid_use))| {
            let (fid, name) = (u32_at(message, at as usize), u32_at(asked, at as usize));
            if fid_use.is_no_fid(name) {
                return fid_use.is_no_fid(fid);
            }
            let first = offsets.fids[0].0 as usize;
            if fid_use == FidUse::CreatesOnFullWalk && name == u32_at(asked, first) {
                return fid == u32_at(message, first);
            }
            let owner = (peer.number, peer.sessions, name);
            let proves = fid_use != FidUse::Authenticates
                || self.auths.get(&fid).is_some_and(|made_for| made_for == names(message, offsets));
            let owned = self.owners.get(&fid).is_some_and(|owners| owners.contains(&owner));
            new == Some(i) || (owned && proves)
        })
    }

    /// Returns true if 9pmux clunks a fid although the session of its client goes on.
    fn is_lost_to_client(&self, fid: u32, peers: &[ModelClient]) -> bool {
        let Some([(number, session, _)]) = self.owners.get(&fid).map(|owners| &owners[..]) else {
            return false;
        };
        let goes_on = |peer: &ModelClient| peer.sessions == *session && peer.in_session();
        peers.iter().any(|peer| peer.number == *number && goes_on(peer))
    }

    /// Checks that the former session of a client has ended entirely.
    fn check_session(&self, peer: &ModelClient, shown: &dyn Fn() -> String) {
        let former = |number, session| number == peer.number && session != peer.sessions;
        let requests = self.requests.iter().filter_map(|request| request.owner);
        let seen = self.fids.iter().filter(|fid| !self.unseen.contains(fid));
        let owners = seen.filter_map(|fid| self.owners.get(fid));
        let fids =
            owners.filter(|owners| owners.len() == 1).map(|owners| (owners[0].0, owners[0].1));
        let left = requests.chain(fids).any(|(number, session)| former(number, session));
        assert!(self.wild || self.late || !left, "a former session exists: {}", shown());
    }

    /// Checks that the rules of a listener allow a request of one of its clients.
    fn check_rules(
        &self,
        message: &[u8],
        dialect: Dialect,
        asked: &[(&ModelClient, &ClientMessage)],
        shown: &dyn Fn() -> String,
    ) {
        let is_read_only = asked.iter().all(|(peer, _)| peer.rules.read_only);
        let is_for_auth =
            kind(message) == types::TWRITE && self.auths.contains_key(&u32_at(message, HEADER));
        let is_refused = is_read_only && changes(dialect, message) && !is_for_auth;
        assert!(!is_refused, "of a client that may only read: {}", shown());
        let may_attach = |(peer, asked): &(&ModelClient, &ClientMessage)| {
            peer.rules.allow_request(dialect, &asked.message)
        };
        assert!(asked.iter().any(may_attach), "as another user: {}", shown());
    }

    /// Records whose fids a request names.
    fn bind(
        &mut self,
        message: &[u8],
        asked: &[(&ModelClient, &ClientMessage)],
        offsets: &FieldOffsets,
    ) {
        let new = created(message, offsets);
        for (i, &(at, fid_use)) in offsets.fids().iter().enumerate() {
            let fid = u32_at(message, at as usize);
            let owner = |(peer, asked): &(&ModelClient, &ClientMessage)| {
                // The Tattach for which a walk stands has its fid first.
                let at = if is_attach(&asked.message) { HEADER } else { at as usize };
                (peer.number, peer.sessions, u32_at(&asked.message, at))
            };
            let known = fid == NOFID || self.is_shared(fid);
            if !known && (new == Some(i) || asked.len() == 1) {
                self.owners.insert(fid, asked.iter().map(owner).collect());
            }
            if fid_use == FidUse::CreatesAuth {
                self.auths.insert(fid, names(message, offsets).to_vec());
            } else if new == Some(i) {
                self.auths.remove(&fid);
            }
        }
        if let [(_, asked)] = asked {
            asked.forwarded.set(true);
        }
    }

    /// Returns true if a request may get its reply: it is not held back, and no earlier one names its fids.
    fn may_reply(&self, n: usize) -> bool {
        let request = &self.requests[n];
        let is_read = [116, 40].contains(&kind(&request.message));
        let held = self.holds && is_read && (self.holds_all || request.stamp % 4 == 0);
        let shares = |other: &Request| other.fids.iter().any(|fid| request.fids.contains(fid));
        !held && !self.requests[..n].iter().any(shares)
    }

    /// Replies to the first request from the `n`th on that may get a reply. Returns false if there is none.
    pub fn reply(&mut self, n: usize, bytes: &mut Bytes<'_>, dialect: Option<Dialect>) -> bool {
        let waiting = self.waiting();
        let mut order = (n..waiting).chain(0..n.min(waiting));
        let Some(at) = order.find(|n| self.may_reply(*n)) else {
            return false;
        };
        if self.output.is_empty() {
            self.recent.clear();
        }
        let request = self.requests.remove(at);
        self.recent.push(tag(&request.message));
        match (kind(&request.message), dialect) {
            (types::TVERSION, _) => self.reply_version(&request.message, bytes),
            (types::TFLUSH, Some(dialect)) => self.reply_flush(&request.message, bytes, dialect),
            (_, Some(dialect)) => {
                let reply = self.perform(&request, bytes, dialect);
                self.output.extend(reply);
            }
            (_, None) => {}
        }
        true
    }

    /// Returns the replies that have not been sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        if std::mem::take(&mut self.shared_fails) {
            self.shared = None;
        }
        std::mem::take(&mut self.output)
    }

    /// Keeps the rest of the output for later.
    pub fn delay_output(&mut self, rest: &[u8]) {
        self.output = rest.to_vec();
    }

    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    fn reply_version(&mut self, request: &[u8], bytes: &mut Bytes<'_>) {
        let offered = String::from_utf8_lossy(&request[HEADER + 6..]).into_owned();
        let (mut msize, mut name) = (u32_at(request, HEADER), &offered[..]);
        let how = match self.temper.handle_version(&offered) {
            Dislike::HangsUp | Dislike::IsSilent => return,
            Dislike::Error => 7,
            Dislike::Nothing if bytes.rarely(6) => bytes.below(8),
            Dislike::Nothing => 0,
        };
        match how {
            0 => {}
            1 | 2 => msize = msize.min(256 + u32::from(bytes.next())),
            3 => name = "9P2000",
            4 => name = "unknown",
            5 => name = "9P2000.x",
            6 => msize = 100,
            _ => self.output.extend(error(Dialect::Plain, 0xFFFF, "what?")),
        }
        self.refuses |= how > 2;
        // A version ends the session before it.
        self.fids.clear();
        self.files.clear();
        self.shared = None;
        if msize >= 256 {
            self.msize = msize;
        }
        if how < 7 {
            self.output.extend(rversion(msize, name));
        }
    }

    /// Performs the flushed request with its reply, without a reply, or not at all.
    fn reply_flush(&mut self, request: &[u8], bytes: &mut Bytes<'_>, dialect: Dialect) {
        let oldtag = u16_at(request, HEADER);
        let at = self.requests.iter().position(|request| tag(&request.message) == oldtag);
        if let Some(at) = at {
            let may = self.may_reply(at) && kind(&self.requests[at].message) != types::TFLUSH;
            let victim = self.requests.remove(at);
            self.recent.push(oldtag);
            let how = bytes.below(3);
            if may
                && (how == 1 || (how == 2 && self.sloppy && victim.for_descriptor == Some(false)))
            {
                let reply = self.perform(&victim, bytes, dialect);
                if how == 1 {
                    self.output.extend(reply);
                } else {
                    self.unseen.extend(created_fid(dialect, &victim.message));
                }
            }
        }
        self.output.extend(made(types::RFLUSH, tag(request)).done());
    }

    /// Performs a request, and returns the reply, which has the request's stamp.
    fn perform(&mut self, request: &Request, bytes: &mut Bytes<'_>, dialect: Dialect) -> Vec<u8> {
        let message = &request.message;
        let offsets = check_request(dialect, message).expect("it was examined before");
        let new = created(message, &offsets).map(|i| u32_at(message, offsets.fids[i].0 as usize));
        let mut there = true;
        for &(at, fid_use) in offsets.fids() {
            let fid = u32_at(message, at as usize);
            match fid_use {
                FidUse::Releases => there = self.fids.remove(&fid),
                _ if new == Some(fid) => {}
                _ => there &= fid_use.is_no_fid(fid) || self.fids.contains(&fid),
            }
        }
        let failed = self.fails > 0 && bytes.rarely(self.fails) || request.for_descriptor.is_none();
        if failed && self.is_shared(request.fids[0]) && kind(message) == types::TATTACH {
            self.shared_fails = true;
        }
        let mut reply = match there {
            true if failed => error(dialect, 0, "srv"),
            true => {
                let (reply, complete) = self.fill(request, bytes, dialect, &offsets);
                if let Some(fid) = new.filter(|_| complete) {
                    // A wild server does not do what its replies say.
                    assert!(self.fids.insert(fid) || self.wild, "fid {fid} exists");
                }
                reply
            }
            false => no_fid(dialect, 0),
        };
        let stamp = request.stamp.to_le_bytes();
        match (kind(&reply), reply.len()) {
            (types::RATTACH, _) => reply[HEADER + 5..HEADER + 9].copy_from_slice(&stamp),
            // In the data, so that they may be as many as there may be.
            (117 | 41, n) if n >= HEADER + 8 => reply[n - 4..].copy_from_slice(&stamp),
            (types::ROPEN, _) => {
                // A descriptor's Ropenfd has nothing behind it.
                reply[HEADER + 1..HEADER + 5].copy_from_slice(&stamp);
                // Of a server that sends anything, its replies say nothing.
                if request.for_descriptor == Some(true) && !self.wild {
                    let (fid, mode) = (request.fids[0], message[HEADER + 4]);
                    let number = self.files.open(fid, mode);
                    reply[HEADER + 5..HEADER + 13].copy_from_slice(&number.to_le_bytes());
                    // No client has it any more.
                    self.owners.insert(fid, Vec::new());
                }
                reply.extend(stamp);
            }
            _ => reply.extend(stamp),
        }
        match kind(message) {
            types::TCLUNK => self.files.close(request.fids[0]),
            types::TREAD => self.files.record_reply(request.fids[0], &reply),
            _ => {}
        }
        let size = reply.len() as u32;
        put_u32(&mut reply, 0, size);
        put_tag(&mut reply, tag(message));
        check_reply(dialect, &reply).expect("the reply is well-formed");
        reply
    }

    /// Returns a reply of success, and whether it has done all. Only a walk may be incomplete.
    fn fill(
        &self,
        request: &Request,
        bytes: &mut Bytes<'_>,
        dialect: Dialect,
        offsets: &FieldOffsets,
    ) -> (Vec<u8>, bool) {
        let message = &request.message;
        let room = self.msize as usize - HEADER - 100;
        let mut walked = offsets.name_count;
        let mut reply = made(kind(message) + 1, 0);
        for field in offsets.message.reply.iter().filter(|f| f.dialects.contains(dialect)) {
            reply = match field.kind {
                FieldKind::Qid => reply.qid(0, 0),
                FieldKind::Qids => {
                    walked -= u16::from(walked > 0 && bytes.rarely(4));
                    (0..walked).fold(reply.u16(walked), |reply, n| reply.qid(0, u64::from(n)))
                }
                FieldKind::Data => {
                    let count = offsets.count.map_or(0, |at| u32_at(message, at as usize));
                    let count = count.min(u32::from(bytes.next()) * 8);
                    reply.u32(count).raw(&vec![9; count as usize])
                }
                FieldKind::String | FieldKind::Name | FieldKind::Names | FieldKind::Stat => {
                    reply.str(vec![9; room.min(bytes.next() as usize * 4)])
                }
                FieldKind::Iounit => reply.u32(bytes.pick(&[0, 1, 500, 8192, u32::MAX])),
                FieldKind::U8 => reply.u8(0),
                FieldKind::U16 | FieldKind::Oldtag => reply.u16(0),
                FieldKind::U64 => reply.u64(0),
                FieldKind::Bytes(n) => reply.raw(&vec![0; n as usize]),
                FieldKind::U32 | FieldKind::OptionalU32 | FieldKind::Count | FieldKind::Fid(_) => {
                    reply.u32(0)
                }
            };
        }
        if kind(message) == types::TWALK && bytes.rarely(6) {
            // Bytes behind the last field, possibly more than the client's msize permits.
            let used = HEADER + 2 + 13 * walked as usize + 4;
            reply = reply.raw(&vec![5; bytes.below(256) * 4 % (self.msize as usize - used).max(1)]);
        }
        (reply.done(), walked == offsets.name_count)
    }
}

/// Returns the fid that a request creates.
fn created_fid(dialect: Dialect, message: &[u8]) -> Option<u32> {
    let offsets = check_request(dialect, message).ok()?;
    Some(u32_at(message, offsets.fids[created(message, &offsets)?].0 as usize))
}

/// Returns true if this is a Tattach without an afid.
fn is_attach(message: &[u8]) -> bool {
    kind(message) == types::TATTACH && u32_at(message, HEADER + 4) == NOFID
}

/// Returns true if a reply says that a fid does not exist at the server.
pub fn says_no_fid(reply: &[u8]) -> bool {
    Dialect::ALL.iter().any(|dialect| {
        let error = no_fid(*dialect, tag(reply));
        kind(reply) == kind(&error) && reply[HEADER..].starts_with(&error[HEADER..])
    })
}
