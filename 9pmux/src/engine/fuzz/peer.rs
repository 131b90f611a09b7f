//! A client as it may see itself: what it has sent, cut into messages once more, and by what each of them
//! may be answered. It has nobody else's help, but for what the dialect is.
//!
//! A reply belongs to the message with its tag. Where clients use a tag twice, which may be told which is
//! not always to be known; what is not known is allowed, and nothing else.

use std::collections::BTreeMap;

use super::names::{Became, Intent, Names, became};
use crate::engine::local_error::LocalError;
use crate::engine::{ClientId, Config};
use crate::wire::{
    Dialect, Foreign, HEADER, IO_HEADER, Malformed, Offer, UNKNOWN, check_request, foreign, kind,
    put_tag, put_u32, show, tag, types, u16_at, u32_at,
};

/// A message that has come in whole, or the head of one that is too large.
struct Asked {
    message: Vec<u8>,
    too_large: bool,
    /// It came before there was a version.
    early: bool,
    /// It may be answered, and need not be.
    maybe: bool,
    intent: Intent,
}

impl Asked {
    /// A Tflush that is well formed is never answered by an error.
    fn must_go_well(&self) -> bool {
        kind(&self.message) == types::TFLUSH && !self.too_large && self.message.len() >= HEADER + 2
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    New,
    /// What comes after a Tversion is not cut before that is answered: msize is not known.
    Asking,
    Session,
    /// The server has gone, and what was still there has no msize any more.
    Over,
}

pub struct Peer {
    pub id: ClientId,
    /// Which client of this run.
    pub number: u32,
    pub sessions: u32,
    /// Said, and not at the multiplexor yet.
    pub pipe: Vec<u8>,
    /// It reads only when it is told to.
    pub slow: bool,
    pub msize: u32,
    /// As its Rversion said, if it has had one.
    dialect: Option<Dialect>,
    stage: Stage,
    unread: Vec<u8>,
    skip: usize,
    /// It has sent what has no end.
    pub garbled: bool,
    /// It sends nothing more.
    pub finished: bool,
    asked: Vec<Asked>,
    /// Those of them that have been answered in this turn: who answers before he is asked does so.
    answered: Vec<Asked>,
    names: Names,
    /// Errors of a tag that may be for one or another.
    errors: BTreeMap<u16, usize>,
    /// How much of its output has been looked at.
    looked: usize,
    /// Nothing is known of it any more.
    lost: bool,
    /// What a driver knows: the length of its output, its wish to be read, its closing.
    pub known: (usize, bool, bool),
}

/// What a reply is held against.
pub struct View<'a> {
    pub config: &'a Config,
    pub dialect: Option<Dialect>,
    pub wild: bool,
    /// The session with the server is over.
    pub over: bool,
}

const TOO_LARGE: u32 = 16 * 1024 * 1024;

impl Peer {
    pub fn new(id: ClientId, number: u32) -> Peer {
        Peer {
            id,
            number,
            sessions: 0,
            pipe: Vec::new(),
            slow: false,
            msize: 256,
            dialect: None,
            stage: Stage::New,
            unread: Vec::new(),
            skip: 0,
            garbled: false,
            finished: false,
            asked: Vec::new(),
            answered: Vec::new(),
            names: Names::default(),
            errors: BTreeMap::new(),
            looked: 0,
            lost: false,
            known: (0, true, false),
        }
    }

    /// The messages that may be on their way to the server.
    pub fn asked(&self) -> impl Iterator<Item = &[u8]> {
        let may = |asked: &&Asked| !asked.intent.never && !asked.early && !asked.too_large;
        self.asked.iter().chain(&self.answered).filter(may).map(|asked| &asked.message[..])
    }

    /// The turn is over.
    pub fn looked_at(&mut self) {
        self.answered.clear();
    }

    /// These bytes of it have come to the multiplexor.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        self.cut();
    }

    fn cut(&mut self) {
        while !self.garbled && self.stage != Stage::Asking && self.unread.len() >= 4 {
            if self.skip > 0 {
                let n = self.skip.min(self.unread.len());
                self.unread.drain(..n);
                self.skip -= n;
                continue;
            }
            let size = u32_at(&self.unread, 0);
            self.garbled = size < 7;
            if self.garbled || self.unread.len() < HEADER {
                return;
            }
            let most = match self.stage {
                Stage::New => 8192,
                Stage::Over => u32::MAX,
                _ => self.msize,
            };
            let too_large = size > most;
            let n = if too_large { HEADER } else { size as usize };
            if self.unread.len() < n {
                return;
            }
            let message: Vec<u8> = self.unread.drain(..n).collect();
            let early = self.stage == Stage::New;
            if too_large {
                self.skip = size as usize - n;
                let is_tls = early && foreign(&message) == Some(Foreign::Tls);
                self.garbled = size > TOO_LARGE || is_tls;
            }
            let is_version = !too_large && kind(&message) == types::TVERSION;
            let begins = is_version && version_of(&message).is_some_and(|v| v.0 >= 256);
            let intent = match self.dialect {
                Some(dialect) if self.stage == Stage::Session && !too_large => {
                    self.names.sent(dialect, &message)
                }
                _ => Intent::default(),
            };
            let asked = Asked { message, too_large, early, maybe: false, intent };
            if asked.must_go_well() {
                self.flushes(tag(&asked.message), u16_at(&asked.message, HEADER));
            }
            self.asked.push(asked);
            if begins && self.stage != Stage::Over {
                self.stage = Stage::Asking;
            }
        }
        // A part of what is passed over.
        let n = if self.garbled { 0 } else { self.skip.min(self.unread.len()) };
        self.unread.drain(..n);
        self.skip -= n;
    }

    /// A Tflush of this tag has been sent: which it means can not be said if there are several.
    fn flushes(&mut self, its_tag: u16, oldtag: u16) {
        let means = |asked: &&mut Asked| tag(&asked.message) == oldtag && its_tag != oldtag;
        let mut same: Vec<&mut Asked> = self.asked.iter_mut().filter(means).collect();
        if same.len() > 1 {
            same.iter_mut().for_each(|asked| asked.maybe = true);
        }
    }

    /// The driver has written so much of its output.
    pub fn wrote(&mut self, n: usize) {
        self.looked -= n;
        self.known.0 -= n;
    }

    /// Looks at what is new in its output, which is whole messages.
    pub fn look(&mut self, output: &[u8], view: &View<'_>) {
        while self.looked < output.len() {
            let rest = &output[self.looked..];
            let n = u32_at(rest, 0) as usize;
            assert!((HEADER..=rest.len()).contains(&n), "no whole message");
            self.looked += n;
            if !self.lost {
                self.told(&rest[..n], view);
            }
        }
    }

    fn told(&mut self, message: &[u8], view: &View<'_>) {
        assert!(
            message.len() <= self.msize as usize,
            "{} bytes, msize is {}",
            message.len(),
            self.msize
        );
        let (its_kind, its_tag) = (kind(message), tag(message));
        let dialect = self.dialect.or(view.dialect).unwrap_or(Dialect::Plain);
        let shown = || format!("client {} is told {}", self.number, show(dialect, message));
        assert!(its_kind % 2 == 1, "{}", shown());
        if its_kind == types::RVERSION {
            return self.version_told(message, view);
        }
        let same: Vec<usize> =
            (0..self.asked.len()).filter(|i| tag(&self.asked[*i].message) == its_tag).collect();
        assert!(!same.is_empty(), "nobody asked: {}", shown());
        let error = match self.stage {
            Stage::Session => its_kind == dialect.error_type(),
            _ => [types::RERROR, types::RLERROR].contains(&its_kind),
        };
        let last = message.last_chunk().map(|last| u32::from_le_bytes(*last));
        let stamped = same.iter().find(|i| stamp(dialect, &self.asked[**i].message) == last);
        if let (Some(i), false) = (stamped, view.wild) {
            let asked = &self.asked[*i];
            assert!(error || kind(&asked.message) == its_kind - 1, "{}", shown());
            self.answered(*i, message);
        } else if its_kind == types::RFLUSH {
            self.flushed(&same, view);
        } else if error {
            // Some have the same number.
            let why: Vec<LocalError> =
                LocalError::ALL.into_iter().filter(|why| is_local_error(message, *why)).collect();
            assert!(view.wild || !why.is_empty(), "the error of another: {}", shown());
            let ends = [LocalError::ServerGone, LocalError::ShuttingDown];
            if view.over && ends.iter().any(|end| why.contains(end)) {
                self.over(view);
            }
            self.refused(its_tag, &why, view);
        } else {
            assert!(view.wild, "the reply to another: {}", shown());
            let that = |i: &&usize| {
                let asked = &self.asked[**i];
                kind(&asked.message) == its_kind - 1 && !asked.too_large && !asked.early
            };
            let i = *same.iter().find(that).unwrap_or_else(|| panic!("{}", shown()));
            if same.iter().any(|i| self.asked[*i].maybe) {
                // Which it was does not come out any more.
                same.iter().for_each(|i| self.asked[*i].maybe = true);
            } else {
                self.answered(i, message);
            }
        }
        self.settle(its_tag);
    }

    /// A reply of the server's to this message.
    fn answered(&mut self, i: usize, message: &[u8]) {
        let asked = self.asked.remove(i);
        assert!(!asked.too_large && !asked.early, "what should not have gone to the server");
        let dialect = self.dialect.expect("it has a session");
        let sure = !self.same_as(&asked);
        let became = became(dialect, &asked.message, message, true);
        self.names.became(asked.intent, if sure { became } else { Became::Unknown });
        self.answered.push(asked);
        match kind(message) {
            13 | 15 | 113 | 115 => assert!(u32_at(message, 20) <= self.msize - IO_HEADER, "iounit"),
            _ => {}
        }
    }

    /// Whether there is another that may be meant by an answer to this one.
    fn same_as(&self, asked: &Asked) -> bool {
        self.asked.iter().any(|other| tag(&other.message) == tag(&asked.message))
    }

    /// What is left of this tag, if all of it has been answered by errors.
    fn settle(&mut self, its_tag: u16) {
        let Some(&errors) = self.errors.get(&its_tag) else {
            return;
        };
        let may = |asked: &Asked| tag(&asked.message) == its_tag && !asked.must_go_well();
        let all = self.asked.iter().filter(|asked| may(asked)).count();
        assert!(errors <= all, "more errors of tag {its_tag} than there are requests");
        if errors == all {
            let all = std::mem::take(&mut self.asked).into_iter();
            let (answered, left): (Vec<Asked>, Vec<Asked>) = all.partition(may);
            self.answered.extend(answered);
            self.asked = left;
            self.errors.remove(&its_tag);
        }
    }

    fn refused(&mut self, its_tag: u16, why: &[LocalError], view: &View<'_>) {
        let may: Vec<usize> = (0..self.asked.len())
            .filter(|i| tag(&self.asked[*i].message) == its_tag && !self.asked[*i].must_go_well())
            .collect();
        assert!(!may.is_empty(), "the error of tag {its_tag} is nobody's, or a Tflush's");
        if may.len() == 1 && !self.errors.contains_key(&its_tag) {
            let asked = self.asked.remove(may[0]);
            let dialect = self.dialect.or(view.dialect).unwrap_or(Dialect::Plain);
            let well = why.iter().any(|why| reasonable(&asked, *why, dialect, view.over));
            assert!(view.wild || well, "{why:?} is told of {:?}", asked.message);
            let fids = [LocalError::UnknownFid, LocalError::BadFid, LocalError::FidInUse];
            let of_fids = !why.is_empty() && why.iter().all(|why| fids.contains(why));
            assert!(view.wild || !of_fids || !asked.intent.sure, "{why:?} of {:?}", asked.message);
            // A server may have said it.
            let became = if view.wild { Became::Unknown } else { Became::Nothing };
            self.names.became(asked.intent, became);
            self.answered.push(asked);
        } else {
            *self.errors.entry(its_tag).or_default() += 1;
        }
    }

    /// An Rflush: what had that tag before, and is not answered, never will be.
    fn flushed(&mut self, same: &[usize], view: &View<'_>) {
        let well = |i: &&usize| {
            self.asked[**i].must_go_well() || (view.over && kind(&self.asked[**i].message) == 108)
        };
        let flushes: Vec<usize> = same.iter().filter(well).copied().collect();
        // One that must be answered before one that need not be, which may have been told so already:
        // that is known when all of its tag have been.
        let must = |i: &&usize| (self.asked[**i].must_go_well(), !self.asked[**i].maybe);
        let first = *flushes.iter().rev().max_by_key(must).expect("an Rflush of no Tflush");
        let flush = self.asked.remove(first);
        if !flush.must_go_well() {
            return;
        }
        let oldtag = u16_at(&flush.message, HEADER);
        if oldtag == tag(&flush.message) {
            return;
        }
        let victims: Vec<usize> =
            (0..first).filter(|i| tag(&self.asked[*i].message) == oldtag).collect();
        // At the end all that waits is answered, flushed or not.
        let sure = !view.over && flushes.len() == 1 && !self.errors.contains_key(&oldtag);
        match victims[..] {
            [victim] if sure && !self.asked[victim].maybe => {
                let victim = self.asked.remove(victim);
                self.names.became(victim.intent, Became::Nothing);
                let late = victim.must_go_well();
                assert!(!late, "the flush of a flush is answered before that");
                self.answered.push(victim);
            }
            _ => victims.into_iter().for_each(|i| self.asked[i].maybe = true),
        }
    }

    fn version_told(&mut self, message: &[u8], view: &View<'_>) {
        assert!(self.stage == Stage::Asking, "an Rversion, and there was no Tversion");
        let asked = self.asked.last().expect("it is the last that was cut");
        assert_eq!(tag(&asked.message), tag(message));
        let (most, offer) = version_of(&asked.message).expect("it was well formed");
        let (msize, name) = version_of(message).expect("an Rversion that is well formed");
        let offer = Offer::parse(offer);
        assert!(msize <= most && msize >= 256);
        if name == UNKNOWN.as_bytes() {
            // One that was chosen, or is settled, and asked for, is not refused.
            let settled = view.config.dialect.is_some_and(|dialect| offer.allows(dialect));
            assert!(!settled, "unknown");
            (self.stage, self.msize) = (Stage::New, 256);
        } else {
            let dialect = Dialect::from_name(name).expect("a version that there is");
            self.dialect = Some(dialect);
            // A dialect that was not chosen in advance may have changed since.
            assert!(offer.allows(dialect));
            assert!(view.config.dialect.is_none_or(|d| d == dialect));
            (self.stage, self.msize) = (Stage::Session, msize);
        }
        self.sessions += 1;
        self.asked.clear();
        self.names = Names::default();
        self.errors.clear();
        self.cut();
    }

    /// It is told that the server has gone: what comes after a Tversion is answered by its size alone.
    fn over(&mut self, view: &View<'_>) {
        if self.stage != Stage::Asking {
            return;
        }
        // The server may have said the same before that.
        self.lost = view.wild;
        self.stage = Stage::Over;
        let before = self.asked.len() - 1;
        self.asked[..before].iter_mut().for_each(|asked| asked.maybe = true);
        self.cut();
    }

    /// Whatever it has asked must have been answered.
    pub fn all_told(&self, over: bool) {
        if self.garbled || self.lost {
            return;
        }
        let mut errors = self.errors.clone();
        for asked in &self.asked {
            // Of what was too large not all need have come.
            if asked.maybe || (over && asked.too_large) {
                continue;
            }
            match errors.get_mut(&tag(&asked.message)) {
                Some(n) if *n > 0 => *n -= 1,
                _ => panic!("client {} is not told of {:?}", self.number, asked.message),
            }
        }
    }
}

/// Whether a message may be answered by this error.
fn reasonable(asked: &Asked, why: LocalError, dialect: Dialect, over: bool) -> bool {
    let its_kind = kind(&asked.message);
    let read = || check_request(dialect, &asked.message);
    if asked.too_large {
        let ends = [LocalError::ServerGone, LocalError::ShuttingDown];
        return why == LocalError::TooLarge || (over && ends.contains(&why));
    }
    match why {
        LocalError::TooLarge | LocalError::BadString | LocalError::BadName => false,
        // Of a server that replies at random.
        LocalError::UnexpectedReply => false,
        LocalError::ServerGone | LocalError::ShuttingDown => over,
        LocalError::NoVersion => asked.early,
        LocalError::SmallMsize => its_kind == types::TVERSION,
        LocalError::Unsupported => {
            its_kind == types::TOPENFD || read().is_err_and(|e| e == Malformed::Type)
        }
        LocalError::Malformed => read().is_err_and(|e| e != Malformed::Type),
        LocalError::NotAuth | LocalError::OtherAuth => its_kind == types::TATTACH,
        LocalError::TooManyAuth => its_kind == types::TAUTH,
        LocalError::AuthRequired => its_kind == types::TATTACH,
        LocalError::NotAllowed => [types::TAUTH, types::TATTACH].contains(&its_kind),
        LocalError::FidInUse | LocalError::BadFid | LocalError::TooManyFids => {
            [types::TAUTH, types::TATTACH, types::TWALK, 30].contains(&its_kind)
        }
        LocalError::UnknownFid => its_kind != types::TAUTH,
        // Treaddir, Tread, Tstat, Treadlink.
        LocalError::ReplyTooLarge => [40, 116, 124, 22].contains(&its_kind),
        // Of which there is another, or was.
        LocalError::DuplicateTag => true,
    }
}

/// Whether this is that error, in the form of any dialect.
fn is_local_error(message: &[u8], why: LocalError) -> bool {
    let (rest, errno) = (&message[HEADER..], why.errno().to_le_bytes());
    if kind(message) == types::RLERROR {
        return rest == errno;
    }
    let ename = why.ename().as_bytes();
    let length = (ename.len() as u16).to_le_bytes();
    let rest = rest.strip_prefix(&length).and_then(|rest| rest.strip_prefix(ename));
    rest.is_some_and(|rest| rest.is_empty() || rest == errno)
}

/// The msize and the version of a Tversion or an Rversion.
fn version_of(message: &[u8]) -> Option<(u32, &[u8])> {
    let body = &message[HEADER..];
    let length = u16::from_le_bytes(*body.get(4..)?.first_chunk()?) as usize;
    (kind(message) & !1 == types::TVERSION).then_some(())?;
    Some((u32_at(body, 0), body.get(6..6 + length)?))
}

/// What of a request reaches the server as it was: all but its tag, its fids and a count.
pub fn essence(dialect: Dialect, message: &[u8]) -> Option<Vec<u8>> {
    let offsets = check_request(dialect, message).ok()?;
    let mut essence = message.to_vec();
    put_tag(&mut essence, 0);
    offsets.fids().iter().for_each(|(at, _)| put_u32(&mut essence, *at as usize, 0));
    if let Some(at) = offsets.count {
        put_u32(&mut essence, at as usize, 0);
    }
    Some(essence)
}

/// A number for that, with which the server ends its reply.
pub fn stamp(dialect: Dialect, message: &[u8]) -> Option<u32> {
    let add = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    Some(essence(dialect, message)?.iter().fold(0x811C_9DC5, add))
}
