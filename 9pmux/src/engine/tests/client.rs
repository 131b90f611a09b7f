//! A client for the simulation. Its requests are random. It knows the correct replies, since it records the state
//! of its fids as with a server of its own.
//!
//! The client pipelines requests if the outcome is certain or if every outcome is acceptable. If the state of a fid
//! is then unknown, the client clunks the fid before it reuses the number.

use super::made::*;
use crate::engine::local_error::LocalError;
use crate::wire::{Dialect, HEADER, NOFID, kind, show, tag, u16_at, u32_at};

/// The client's knowledge of one of its fids.
#[derive(Clone, Debug, PartialEq)]
enum Fid {
    Absent,
    Live(u64),
    /// An auth fid for this aname.
    Auth(u64, String),
    /// A request that changes the fid is in flight.
    Busy,
    Unknown,
}

/// The expected reply.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    /// Any reply of the server.
    Server,
    /// This error of 9pmux.
    LocalError(LocalError),
    /// A reply of the server or an error of 9pmux.
    Any,
}

#[derive(Clone, Debug)]
struct Asked {
    message: Vec<u8>,
    expect: Expect,
    /// The file that the fid represents, or will represent.
    id: u64,
    /// The fid that is created or released, and its previous state.
    changes: Option<(u32, Fid)>,
    /// The state of that fid if the request succeeds.
    becomes: Fid,
    /// A later request also changes that fid.
    superseded: bool,
    /// The offset of the request's end in all bytes that the client has sent.
    end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    New,
    Asking,
    Session,
    /// The client has sent bytes after which no message can be found.
    Bad,
}

pub struct Client {
    pub name: String,
    pub stage: Stage,
    /// Bytes that have been sent but have not arrived at 9pmux.
    pub pipe: Vec<u8>,
    pub input: Vec<u8>,
    /// The client does not read at present.
    pub slow: bool,
    pub trace: bool,
    /// The client sends nothing more.
    pub finished: bool,
    /// The server may have performed a flushed request.
    pub sloppy: bool,
    /// Names with NUL reach the server.
    pub lax: bool,
    pub answered: u64,
    dialect: Dialect,
    msize: u32,
    fids: Vec<Fid>,
    asked: Vec<Asked>,
    sent: u64,
    sessions: u32,
    /// All clients attach as the same user, and mostly to the same tree.
    pub once: bool,
}

const FIDS: u32 = 14;
const TAGS: u16 = 40;
const MOST: usize = 14;

impl Client {
    pub fn new(name: String, dialect: Dialect) -> Client {
        Client {
            name,
            stage: Stage::New,
            pipe: Vec::new(),
            input: Vec::new(),
            slow: false,
            trace: false,
            finished: false,
            sloppy: false,
            lax: false,
            answered: 0,
            dialect,
            msize: 0,
            fids: vec![Fid::Absent; FIDS as usize],
            asked: Vec::new(),
            sent: 0,
            sessions: 0,
            once: false,
        }
    }

    pub fn outstanding(&self) -> usize {
        self.asked.len()
    }

    /// Returns the number of Tflush without a reply.
    pub fn flushes(&self) -> usize {
        self.asked.iter().filter(|a| kind(&a.message) == 108).count()
    }

    /// Checks, after the server has disconnected, that each request that had arrived has a reply.
    pub fn all_told(&self, delivered: u64) {
        let from = self
            .asked
            .iter()
            .rposition(|a| kind(&a.message) == 100 && a.expect == Expect::Server)
            .unwrap_or(0);
        for asked in &self.asked[from..] {
            assert!(asked.end > delivered, "{} is not told of {asked:?}", self.name);
        }
    }

    /// Returns the number of sent bytes that have arrived at 9pmux.
    pub fn delivered(&self) -> u64 {
        self.sent - self.pipe.len() as u64
    }

    fn send(&mut self, message: Vec<u8>, expect: Expect, id: u64, changes: Option<(u32, Fid)>) {
        if self.trace {
            println!("  {} asks {}: {expect:?}", self.name, show(self.dialect, &message));
        }
        self.sent += message.len() as u64;
        self.pipe.extend_from_slice(&message);
        let changes = changes.map(|(fid, becomes)| {
            for asked in &mut self.asked {
                asked.superseded |= asked.changes.as_ref().is_some_and(|c| c.0 == fid);
            }
            let before = std::mem::replace(&mut self.fids[fid as usize], Fid::Busy);
            (fid, before, becomes)
        });
        let becomes = changes.as_ref().map_or(Fid::Absent, |c| c.2.clone());
        let changes = changes.map(|c| (c.0, c.1));
        let end = self.sent;
        self.asked.push(Asked { message, expect, id, changes, becomes, superseded: false, end });
    }

    fn tag(&self, random: &mut Random) -> u16 {
        loop {
            let free = random.below(TAGS as usize) as u16;
            let used = |a: &Asked| {
                tag(&a.message) == free
                    || (kind(&a.message) == 108 && u16_at(&a.message, HEADER) == free)
            };
            if !self.asked.iter().any(used) {
                return free;
            }
        }
    }

    fn some(&self, random: &mut Random, which: impl Fn(&Fid) -> bool) -> Option<u32> {
        let start = random.below(FIDS as usize) as u32;
        (0..FIDS).map(|i| (start + i) % FIDS).find(|fid| which(&self.fids[*fid as usize]))
    }

    fn live(&self, random: &mut Random) -> Option<(u32, u64)> {
        let fid = self.some(random, |fid| matches!(fid, Fid::Live(_)))?;
        let Fid::Live(id) = self.fids[fid as usize] else { unreachable!() };
        Some((fid, id))
    }

    fn absent(&self, random: &mut Random) -> Option<u32> {
        self.some(random, |fid| *fid == Fid::Absent)
    }

    fn names(&self, random: &mut Random, most: usize) -> Vec<String> {
        let count = if random.one_in(4) { 0 } else { 1 + random.below(most) };
        let end = if self.lax { "\0" } else { "" };
        (0..count).map(|_| format!("{}.{}{end}", self.name, random.below(9))).collect()
    }

    /// Sends a request, unless too many are in flight.
    pub fn act(&mut self, random: &mut Random) {
        if self.asked.len() >= MOST || self.pipe.len() > 4000 || self.finished {
            return;
        }
        match self.stage {
            Stage::Asking | Stage::Bad => {}
            Stage::New if random.one_in(8) => {
                let tag = self.tag(random);
                let early = Expect::LocalError(LocalError::NoVersion);
                self.send(of_fid(120, tag, 0), early, 0, None);
            }
            Stage::New => self.ask_version(random),
            Stage::Session => self.act_in_session(random),
        }
    }

    fn uname(&self) -> String {
        if self.once { "all".to_owned() } else { self.name.clone() }
    }

    fn ask_version(&mut self, random: &mut Random) {
        let name = match random.below(12) {
            0 => "9P1999",
            1 => "9P2000.zz",
            // A dialect that the server does not know is negotiated without its suffix.
            2 | 3 if self.dialect == Dialect::Plain => *random.pick(&["9P2000.u", "9P2000.L"]),
            // Plain 9P2000, a smaller dialect than the server's.
            2 => "9P2000",
            _ => self.dialect.name(),
        };
        let msize = 256 + random.below(1500) as u32;
        // Each session has a user of its own, so that the server can distinguish the sessions.
        self.sessions += 1;
        let base = self.name.split('s').next().unwrap_or_default();
        self.name = format!("{base}s{}", self.sessions);
        self.send(version(msize, name), Expect::Server, 0, None);
        self.stage = Stage::Asking;
        if random.one_in(6) {
            // Sent without waiting for Rversion, so the reply may be an error for a missing version.
            let tag = self.tag(random);
            let message = attach(self.dialect, tag, 0, NOFID, &self.uname(), "x");
            let id = id_of(0, "x");
            self.send(message, Expect::Any, id, Some((0, Fid::Live(id))));
        }
    }

    fn act_in_session(&mut self, random: &mut Random) {
        match random.below(100) {
            0..8 => self.attach(random),
            8..28 => self.walk(random),
            28..58 => self.use_fid(random),
            58..66 => self.release(random),
            66..78 => self.flush(random),
            78..88 => self.pipeline(random),
            88..98 => self.wrong(random),
            98 if random.one_in(3) => self.ask_version(random),
            99 if random.one_in(10) => self.garbage(random),
            _ => {}
        }
    }

    fn attach(&mut self, random: &mut Random) {
        let (Some(fid), tag) = (self.absent(random), self.tag(random)) else {
            return;
        };
        let trees = if self.once && !random.one_in(8) { 1 } else { 3 };
        let aname = format!("a{}", random.below(trees));
        let (dialect, name) = (self.dialect, self.uname());
        let auth = self.some(random, |fid| matches!(fid, Fid::Auth(..)));
        match auth {
            None if random.one_in(3) => {
                let message = auth_message(dialect, tag, fid, &name, &aname);
                let id = id_of(1, &aname);
                self.send(message, Expect::Server, id, Some((fid, Fid::Auth(id, aname))));
            }
            Some(afid) if random.one_in(2) => {
                let Fid::Auth(_, made_for) = self.fids[afid as usize].clone() else {
                    return;
                };
                let message = attach(dialect, tag, fid, afid, &name, &aname);
                let id = id_of(0, &aname);
                if made_for == aname {
                    self.send(message, Expect::Server, id, Some((fid, Fid::Live(id))));
                } else {
                    self.send(message, Expect::LocalError(LocalError::OtherAuth), 0, None);
                }
            }
            _ => {
                let message = attach(dialect, tag, fid, NOFID, &name, &aname);
                let id = id_of(0, &aname);
                self.send(message, Expect::Server, id, Some((fid, Fid::Live(id))));
            }
        }
    }

    fn walk(&mut self, random: &mut Random) {
        let (Some((fid, id)), tag) = (self.live(random), self.tag(random)) else {
            return;
        };
        if self.dialect == Dialect::L && random.one_in(5) {
            let Some(newfid) = self.absent(random) else {
                return;
            };
            let name = format!("{}.x", self.name);
            let message = made(30, tag).u32(fid).u32(newfid).str(&name).done();
            let id = id_of(id, &name);
            self.send(message, Expect::Server, id, Some((newfid, Fid::Live(id))));
            return;
        }
        let names = self.names(random, 4);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let id = names.iter().fold(id, |id, name| id_of(id, name));
        // A walk may also move the fid itself. While the walk is in flight, the fid is at no known file.
        let newfid = if random.one_in(5) { Some(fid) } else { self.absent(random) };
        if let Some(newfid) = newfid {
            let message = walk(tag, fid, newfid, &names);
            self.send(message, Expect::Server, id, Some((newfid, Fid::Live(id))));
        }
    }

    fn use_fid(&mut self, random: &mut Random) {
        if let Some((fid, id)) = self.live(random) {
            let tag = self.tag(random);
            let message = self.a_use(fid, tag, random);
            self.send(message, Expect::Server, id, None);
        }
    }

    fn a_use(&self, fid: u32, tag: u16, random: &mut Random) -> Vec<u8> {
        let l = self.dialect == Dialect::L;
        match random.below(if l { 9 } else { 5 }) {
            0 if l => made(12, tag).u32(fid).u32(0).done(),
            0 => made(112, tag).u32(fid).u8(0).done(),
            1 | 2 => {
                let kind = if l && random.one_in(2) { 40 } else { 116 };
                let count = *random.pick(&[0, 20, 300, 5000, u32::MAX]);
                made(kind, tag).u32(fid).u64(random.next()).u32(count).done()
            }
            3 => {
                let mut data = self.name.clone().into_bytes();
                data.resize(random.below(self.msize as usize - 23), 3);
                made(118, tag).u32(fid).u64(1).u32(data.len() as u32).raw(&data).done()
            }
            4 if l => made(24, tag).u32(fid).u64(!0).done(),
            4 => of_fid(124, tag, fid),
            5 => made(72, tag).u32(fid).str("d").u32(0).u32(0).raw(b"more").done(),
            6 => made(52, tag).u32(fid).u8(0).u32(0).u64(0).u64(0).u32(1).str("me").done(),
            _ => {
                let (other, id) =
                    self.live(random).expect("the fid, or that it is made from, is live");
                // The file that the second fid must represent.
                let id = format!("{id:x}");
                match random.below(3) {
                    0 => made(70, tag).u32(fid).u32(other).str(id).done(),
                    1 => made(20, tag).u32(fid).u32(other).str(id).done(),
                    _ => made(74, tag).u32(fid).str("old").u32(other).str(id).done(),
                }
            }
        }
    }

    fn release(&mut self, random: &mut Random) {
        let known = |fid: &Fid| matches!(fid, Fid::Live(_) | Fid::Auth(..) | Fid::Unknown);
        if let Some(fid) = self.some(random, known) {
            let tag = self.tag(random);
            let sure = self.fids[fid as usize] != Fid::Unknown;
            let kind = if sure && random.one_in(4) { 122 } else { 120 };
            let expect = if sure { Expect::Server } else { Expect::Any };
            self.send(of_fid(kind, tag, fid), expect, 0, Some((fid, Fid::Absent)));
        }
    }

    fn flush(&mut self, random: &mut Random) {
        let tag_of_its_own = self.tag(random);
        let oldtag = match random.below(8) {
            0 => tag_of_its_own,
            1 => 9999,
            _ if self.asked.is_empty() => return,
            _ => tag(&random.pick(&self.asked).message),
        };
        // A tag that two requests use cannot be flushed unambiguously.
        if self.asked.iter().filter(|a| tag(&a.message) == oldtag).count() < 2 {
            self.send(flush(tag_of_its_own, oldtag), Expect::Server, 0, None);
        }
    }

    /// Sends several requests at once that depend on each other.
    fn pipeline(&mut self, random: &mut Random) {
        let Some((fid, id)) = self.live(random) else {
            return;
        };
        let one = self.tag(random);
        match random.below(4) {
            0 => {
                // The fid is reused at once.
                let Some((from, id)) = self.live(random).filter(|other| other.0 != fid) else {
                    return;
                };
                self.send(of_fid(120, one, fid), Expect::Server, 0, Some((fid, Fid::Absent)));
                let two = self.tag(random);
                let message = walk(two, from, fid, &[]);
                self.send(message, Expect::Server, id, Some((fid, Fid::Live(id))));
            }
            1 | 2 => {
                // A new fid is used, and perhaps clunked, before the reply that creates it.
                let Some(newfid) = self.absent(random) else {
                    return;
                };
                self.send(
                    walk(one, fid, newfid, &[]),
                    Expect::Server,
                    id,
                    Some((newfid, Fid::Live(id))),
                );
                let two = self.tag(random);
                let message = self.a_use(newfid, two, random);
                self.send(message, Expect::Any, id, None);
                if random.one_in(2) {
                    let three = self.tag(random);
                    self.send(
                        of_fid(120, three, newfid),
                        Expect::Any,
                        0,
                        Some((newfid, Fid::Unknown)),
                    );
                    if random.one_in(2) {
                        // The requests are then flushed.
                        for oldtag in [one, three] {
                            let four = self.tag(random);
                            self.send(flush(four, oldtag), Expect::Server, 0, None);
                        }
                    }
                }
            }
            _ => {
                // The fid is clunked while it is in use.
                let message = self.a_use(fid, one, random);
                self.send(message, Expect::Server, id, None);
                let two = self.tag(random);
                self.send(of_fid(120, two, fid), Expect::Server, 0, Some((fid, Fid::Absent)));
            }
        }
    }

    /// Sends a request that 9pmux itself replies to.
    fn wrong(&mut self, random: &mut Random) {
        let tag = self.tag(random);
        let (absent, live) = (self.absent(random), self.live(random));
        let kinds: &[u8] =
            if self.dialect == Dialect::L { &[120, 116, 24] } else { &[120, 116, 124] };
        let (message, why) = match (random.below(12), absent, live) {
            (0 | 1, Some(fid), _) => {
                let message = made(*random.pick(kinds), tag).u32(fid).raw(&[0; 12]).done();
                (message, LocalError::UnknownFid)
            }
            (2, _, Some((fid, _))) => (walk(tag, fid, NOFID, &[]), LocalError::BadFid),
            (3, _, Some((fid, _))) => {
                let Some((other, _)) = self.live(random).filter(|other| other.0 != fid) else {
                    return;
                };
                (walk(tag, other, fid, &[]), LocalError::FidInUse)
            }
            (4, Some(fid), Some((afid, _))) => {
                let message = attach(self.dialect, tag, fid, afid, &self.uname(), "a0");
                (message, LocalError::NotAuth)
            }
            (5, ..) => (
                made(*random.pick(&[0, 1, 106, 117, 150, 255]), tag).done(),
                LocalError::Unsupported,
            ),
            (6, _, Some((fid, _))) => {
                let names = ["n"; 17];
                (walk(tag, fid, 3, &names), LocalError::Malformed)
            }
            (7, _, Some((fid, _))) => {
                let message = made(110, tag).u32(fid).u32(3).u16(2).str("a").u16(9).u8(0).done();
                (message, LocalError::Malformed)
            }
            (8, _, Some((fid, _))) => {
                let size = self.msize as usize + 1 + random.below(3000);
                let message = made(118, tag).u32(fid).raw(&vec![1; size - 11]).done();
                (message, LocalError::TooLarge)
            }
            (11, _, Some((fid, _))) if !self.lax => {
                let (name, why) =
                    *random.pick(&[("a\0", LocalError::BadString), ("a/b", LocalError::BadName)]);
                (walk(tag, fid, 3, &["a", name]), why)
            }
            (10, ..) if random.one_in(2) => {
                (made(100, tag).u32(255).str(self.dialect.name()).done(), LocalError::SmallMsize)
            }
            (10, ..) => (made(100, tag).u32(4096).u16(9).str("9P").done(), LocalError::Malformed),
            (9, _, Some((fid, id))) => {
                // Two requests have the same tag, so one of them may fail.
                let message = self.a_use(fid, tag, random);
                let again = made(116, tag).u32(fid).u64(0).u32(9).done();
                self.send(message, Expect::Any, id, None);
                self.send(again, Expect::Any, id, None);
                return;
            }
            _ => return,
        };
        self.send(message, Expect::LocalError(why), 0, None);
    }

    /// Sends bytes after which no message can be found.
    fn garbage(&mut self, random: &mut Random) {
        let bytes = match random.below(2) {
            0 => random.below(7).to_le_bytes()[..4].to_vec(),
            _ => b"GET / HTTP/1.1\r\n".to_vec(),
        };
        self.sent += bytes.len() as u64;
        self.pipe.extend(bytes);
        self.stage = Stage::Bad;
    }

    /// Handles bytes that have arrived from 9pmux.
    pub fn read(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        for message in cut(&mut self.input) {
            if self.trace {
                println!("  {} is told {}", self.name, show(self.dialect, &message));
            }
            self.told(&message);
        }
    }

    fn told(&mut self, message: &[u8]) {
        assert!(self.stage != Stage::Session || message.len() <= self.msize as usize);
        if self.stage == Stage::Bad && is_local_error(self.dialect, message, LocalError::TooLarge) {
            return; // "GET "
        }
        let mut same =
            (0..self.asked.len()).filter(|i| tag(&self.asked[*i].message) == tag(message));
        let (Some(first), second) = (same.next(), same.next()) else {
            panic!("{} is told what it has not asked: {}", self.name, show(self.dialect, message));
        };
        self.answered += 1;
        let refused_twice = is_local_error(self.dialect, message, LocalError::DuplicateTag);
        let asked = self.asked.remove(second.filter(|_| refused_twice).unwrap_or(first));
        self.check(&asked, message, second.is_some() || refused_twice);
        match kind(&asked.message) {
            100 if asked.expect == Expect::Server => self.version_told(message, first),
            108 => self.flushed(u16_at(&asked.message, HEADER), first),
            _ => self.resolve(asked, Some(message)),
        }
    }

    fn check(&self, asked: &Asked, message: &[u8], twice: bool) {
        let shown =
            || format!("{}: {asked:?} is answered {}", self.name, show(self.dialect, message));
        // Without a session, errors have the form of 9P2000. The client cannot know whether 9pmux has ended the
        // session already.
        let early = self.stage != Stage::Session;
        let ours = |why| {
            let of = |dialect| is_local_error(dialect, message, why);
            of(self.dialect) || (early && of(Dialect::Plain))
        };
        let gone = ours(LocalError::ServerGone);
        let request = kind(&asked.message);
        if request == 108 {
            assert_eq!(kind(message), 109, "{}", shown());
            return;
        }
        if gone || twice {
            return;
        }
        if let Expect::LocalError(why) = asked.expect {
            // A Tattach may also fail for a second reason.
            assert!(ours(why) || (request == 104 && ours(LocalError::TooManyFids)), "{}", shown());
            return;
        }
        if is_error(message) {
            let servers = message == &error(self.dialect, tag(message), "srv")[..];
            // A fid that the client knows exists, unless the server has performed a flushed request.
            let unknown = self.sloppy && message == &no_fid(self.dialect, tag(message))[..];
            let creates = [102, 104, 110, 30].contains(&request);
            let many = creates && is_local_error(self.dialect, message, LocalError::TooManyFids);
            let large = [110, 124].contains(&request)
                && is_local_error(self.dialect, message, LocalError::ReplyTooLarge);
            assert!(
                servers || unknown || many || large || asked.expect == Expect::Any,
                "{}",
                shown()
            );
            return;
        }
        assert_eq!(kind(message), request + 1, "{}", shown());
        let id = match request {
            102 | 104 | 112 | 12 | 72 => Some(u64_at(message, 12)),
            110 if u16_at(message, HEADER) > 0 => {
                Some(u64_at(message, 9 + 13 * u16_at(message, HEADER) as usize - 8))
            }
            24 => Some(u64_at(message, 20)),
            116 | 40 if message.len() >= 19 => Some(u64_at(message, 11)),
            124 if message.len() >= 17 => Some(u64_at(message, 9)),
            _ => None,
        };
        let whole = request != 110 || u16_at(message, HEADER) == u16_at(&asked.message, 15);
        assert!(id.is_none_or(|id| id == asked.id) || !whole, "another's file: {}", shown());
        match request {
            112 | 12 => assert!(u32_at(message, 20) <= self.msize - 24, "{}", shown()),
            118 => assert_eq!(u32_at(message, 7), u32_at(&asked.message, 19), "{}", shown()),
            116 | 40 => {
                assert!(u32_at(message, 7) <= u32_at(&asked.message, 19));
                if message.len() >= 27 {
                    assert_eq!(u64_at(message, 19), u64_at(&asked.message, 11), "{}", shown());
                }
            }
            _ => {}
        }
    }

    /// Sets the state of the fid that a request creates or releases. Without a reply, the request has no effect.
    fn resolve(&mut self, asked: Asked, answer: Option<&[u8]>) {
        let Some((fid, before)) = asked.changes else {
            return;
        };
        let request = kind(&asked.message);
        let releases = [120, 122].contains(&request);
        let done = answer.is_some_and(|answer| {
            let walked = request != 110 || u16_at(answer, HEADER) == u16_at(&asked.message, 15);
            !is_error(answer) && walked
        });
        let mut later = false;
        for other in &mut self.asked {
            let kind = kind(&other.message);
            if let Some((_, was)) = other.changes.as_mut().filter(|c| c.0 == fid) {
                if !later && !releases && before != Fid::Busy && [120, 122].contains(&kind) {
                    // The state before the later request is now known.
                    *was = if done { asked.becomes.clone() } else { before.clone() };
                }
                later = true;
                if answer.is_none() {
                    // A fid that was to be released may exist, or the reverse.
                    other.expect = Expect::Any;
                }
            }
        }
        let place = &mut self.fids[fid as usize];
        if before == Fid::Busy || asked.superseded || later {
            // More than one request changed the fid.
            *place = match (later, releases, before) {
                (true, ..) => Fid::Busy,
                // The fid was clunked and created again. It is the new one if the creation succeeded.
                (false, false, Fid::Busy) if done && !asked.superseded => asked.becomes,
                (false, ..) => Fid::Unknown,
            };
        } else if (releases && answer.is_some()) || done {
            *place = asked.becomes;
        } else {
            *place = before;
        }
    }

    fn version_told(&mut self, message: &[u8], before: usize) {
        // All earlier requests and their fids are void. Fids of later requests remain.
        self.asked.drain(..before);
        let kept: Vec<u32> =
            self.asked.iter().filter_map(|a| Some(a.changes.as_ref()?.0)).collect();
        for fid in 0..FIDS {
            let kept = kept.contains(&fid);
            self.fids[fid as usize] = if kept { Fid::Busy } else { Fid::Absent };
        }
        for asked in &mut self.asked {
            if let Some((_, before)) = &mut asked.changes {
                *before = Fid::Absent;
            }
        }
        if is_error(message) {
            self.stage = Stage::New;
            return;
        }
        let name = strings(message, 11, 1).remove(0);
        self.msize = u32_at(message, 7);
        if name == self.dialect.name() {
            self.stage = Stage::Session;
        } else {
            assert_eq!(name, "unknown");
            self.stage = Stage::New;
        }
    }

    /// Handles an Rflush: an earlier request with that tag that has no reply has had no effect.
    fn flushed(&mut self, oldtag: u16, before: usize) {
        for i in (0..before).rev() {
            let asked = &self.asked[i];
            if tag(&asked.message) == oldtag && kind(&asked.message) == 108 {
                panic!("{} is told of the flush of a flush before that", self.name);
            }
            if tag(&asked.message) == oldtag {
                let asked = self.asked.remove(i);
                self.resolve(asked, None);
            }
        }
    }
}

fn auth_message(dialect: Dialect, tag: u16, afid: u32, uname: &str, aname: &str) -> Vec<u8> {
    auth(dialect, tag, afid, uname, aname)
}
