//! A client as it sees itself: the messages that it has sent, and the replies that each of them may get. Apart from
//! the dialect, it uses no knowledge of 9pmux.
//!
//! A reply belongs to a message with its tag. If a client uses a tag twice, it may be unknown to which of the messages;
//! then any of the possible outcomes is permitted.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};

use super::control::LocalRequests;
use super::messages::{is_error, is_local_error, u64_at};
use super::names::{Consequence, FidOutcome, Intent, Names, names, outcome};
use super::rules::{ModelRules, changes};
use crate::engine::local_error::LocalError;
use crate::engine::{ClientId, Config};
use crate::wire::{
    BadContents, Dialect, Foreign, HEADER, IO_HEADER, Malformed, NOFID, Offer, UNKNOWN,
    check_contents, check_reply, check_request, foreign, kind, put_tag, put_u32, show, tag, types,
    u16_at, u32_at, version,
};

/// A message that has arrived at 9pmux, or the header of one that is too large.
pub struct ClientMessage {
    pub message: Vec<u8>,
    /// The number by which the message is recognized at the server, and its reply at the client.
    pub stamp: Option<u32>,
    /// The server has seen it.
    pub forwarded: Cell<bool>,
    too_large: bool,
    /// It was sent before a version was agreed.
    early: bool,
    /// It may have had its reply.
    maybe: bool,
    intent: Intent,
}

impl ClientMessage {
    /// A well-formed Tflush never gets an error.
    fn must_succeed(&self) -> bool {
        self.is_flush() && !self.too_large && self.message.len() >= HEADER + 2
    }

    fn is_flush(&self) -> bool {
        kind(&self.message) == types::TFLUSH
    }

    fn tag(&self) -> u16 {
        tag(&self.message)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    New,
    /// A Tversion has no reply. The messages behind it are not cut, since the msize is unknown.
    Asking,
    Session,
    /// The server has disconnected; messages have no maximum size.
    Over,
}

pub struct ModelClient {
    pub id: ClientId,
    /// The number of this client in the run.
    pub number: u32,
    pub sessions: u32,
    /// The number of its user, unless it is one for itself.
    pub user: Option<u8>,
    /// The rules of its listener.
    pub rules: ModelRules,
    /// Bytes that have been sent but have not arrived at 9pmux.
    pub pipe: Vec<u8>,
    /// The client does not read, except when an event makes it.
    pub slow: bool,
    pub msize: u32,
    /// The dialect of its session, if it has one.
    dialect: Option<Dialect>,
    phase: Phase,
    unread: Vec<u8>,
    skip: usize,
    /// It has sent bytes after which no message can be found.
    pub garbled: bool,
    /// It sends nothing more.
    pub finished: bool,
    asked: Vec<ClientMessage>,
    /// Its requests for the control tree.
    pub local: LocalRequests,
    /// The bytes that have arrived at 9pmux.
    pub bytes_sent: u64,
    /// The messages that have had their replies in this turn: 9pmux may reply before the server sees the request.
    answered: Vec<ClientMessage>,
    /// The messages of sessions that have ended in this turn.
    former: Vec<ClientMessage>,
    pub names: Names,
    /// It may ask for descriptors.
    pub asks_descriptors: bool,
    /// The numbers of the files of its Ropenfds whose descriptors it has not received.
    pub opened: VecDeque<u64>,
    /// The number of errors with a tag that several messages have.
    errors: BTreeMap<u16, usize>,
    /// The length of the part of its output that has been examined.
    looked: usize,
    /// Nothing is known of it any more.
    lost: bool,
    /// Whether a reply to it was too large: the fid that the request created may be lost.
    had_large_reply: bool,
    /// What a driver knows: the length of its output, whether to read from it, whether to close it.
    pub known: (usize, bool, bool),
    /// The number of replies.
    pub replies: u64,
}

/// What a reply is compared with.
pub struct View<'a> {
    pub config: &'a Config,
    pub dialect: Option<Dialect>,
    /// The server sends anything.
    pub wild: bool,
    /// The server may have performed a flushed request.
    pub sloppy: bool,
    /// The connection to the server has ended.
    pub over: bool,
}

const TOO_LARGE: u32 = 16 * 1024 * 1024;

/// The errors for requests that have no reply when the connection ends.
const ENDS: [LocalError; 2] = [LocalError::ServerGone, LocalError::ShuttingDown];

impl ModelClient {
    pub fn new(id: ClientId, number: u32, user: Option<u8>) -> ModelClient {
        ModelClient {
            id,
            number,
            sessions: 0,
            user,
            rules: ModelRules::default(),
            pipe: Vec::new(),
            slow: false,
            msize: 256,
            dialect: None,
            phase: Phase::New,
            unread: Vec::new(),
            skip: 0,
            garbled: false,
            finished: false,
            asked: Vec::new(),
            local: LocalRequests::default(),
            bytes_sent: 0,
            answered: Vec::new(),
            former: Vec::new(),
            names: Names::default(),
            asks_descriptors: false,
            opened: VecDeque::new(),
            errors: BTreeMap::new(),
            looked: 0,
            lost: false,
            had_large_reply: false,
            known: (0, true, false),
            replies: 0,
        }
    }

    /// Returns true if it needs a version before anything else.
    pub fn is_new(&self) -> bool {
        self.phase == Phase::New
    }

    /// Returns the dialect of its session, if it has one as far as it knows.
    pub fn dialect_in_session(&self) -> Option<Dialect> {
        self.dialect.filter(|_| self.in_session())
    }

    /// Returns true if it has a session, as far as it knows.
    pub fn in_session(&self) -> bool {
        self.phase == Phase::Session && !self.garbled
    }

    /// Records that 9pmux disconnects it, and discards its replies.
    pub fn give_up(&mut self) {
        self.lost = true;
    }

    /// Returns true if nothing is known of its replies any more.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Returns true if it has sent messages that are unknown here: 9pmux has disconnected it, and the Rversion that
    /// determines where they end was discarded.
    pub fn hides_messages(&self) -> bool {
        self.lost && self.phase == Phase::Asking && !self.unread.is_empty()
    }

    /// Returns the messages that may be on their way to the server.
    pub fn asked(&self) -> impl Iterator<Item = &ClientMessage> {
        let may = |asked: &&ClientMessage| !asked.intent.never && !asked.early && !asked.too_large;
        self.asked.iter().chain(&self.answered).filter(may)
    }

    /// Returns the tags of the messages without a reply, and those that a Tflush of them names.
    pub fn tags(&self) -> impl Iterator<Item = u16> {
        let flushed =
            |asked: &ClientMessage| asked.must_succeed().then(|| u16_at(&asked.message, HEADER));
        self.asked.iter().flat_map(move |asked| [Some(asked.tag()), flushed(asked)]).flatten()
    }

    /// Ends a turn.
    pub fn end_turn(&mut self) {
        self.answered.clear();
        self.former.clear();
    }

    /// Returns true if it has sent a message with this stamp, perhaps in the session that has just ended.
    pub fn has_asked(&self, stamp: u32) -> bool {
        self.asked().chain(&self.former).any(|asked| asked.stamp == Some(stamp))
    }

    /// Records that these bytes of it have arrived at 9pmux.
    pub fn sent(&mut self, bytes: &[u8], lax: bool) {
        self.bytes_sent += bytes.len() as u64;
        self.unread.extend_from_slice(bytes);
        self.cut(lax);
    }

    fn cut(&mut self, lax: bool) {
        while !self.garbled && self.phase != Phase::Asking && self.unread.len() >= 4 {
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
            let max = match self.phase {
                Phase::New => 8192,
                Phase::Over => u32::MAX,
                _ => self.msize,
            };
            let too_large = size > max;
            let n = if too_large { HEADER } else { size as usize };
            if self.unread.len() < n {
                return;
            }
            let message: Vec<u8> = self.unread.drain(..n).collect();
            if too_large {
                self.skip = size as usize - n;
                let is_tls = self.is_new() && foreign(&message) == Some(Foreign::Tls);
                self.garbled = size > TOO_LARGE || is_tls;
            }
            self.arrives(message, too_large, lax);
        }
        // A part of what is skipped.
        let n = if self.garbled { 0 } else { self.skip.min(self.unread.len()) };
        self.unread.drain(..n);
        self.skip -= n;
    }

    fn arrives(&mut self, message: Vec<u8>, too_large: bool, lax: bool) {
        if self.local.arrives(&message) {
            return;
        }
        let same = self.tagged(tag(&message));
        let (mut intent, mut stamp_of) = (Intent::default(), None);
        if let (Some(dialect), Phase::Session, false) = (self.dialect, self.phase, too_large) {
            intent = self.names.sent(dialect, &message, same.is_empty());
            stamp_of = stamp(dialect, lax, &message);
        }
        for i in same {
            self.settle(self.asked[i].intent, FidOutcome::Unknown);
        }
        let begins = kind(&message) == types::TVERSION
            && !too_large
            && version(&message).is_ok_and(|version| version.0 >= 256);
        let early = self.phase == Phase::New;
        let forwarded = Cell::new(false);
        let stamp = stamp_of;
        let asked =
            ClientMessage { message, stamp, forwarded, too_large, early, maybe: false, intent };
        if asked.must_succeed() && asked.tag() != u16_at(&asked.message, HEADER) {
            // Which of several messages it flushes is unknown.
            let same = self.tagged(u16_at(&asked.message, HEADER));
            if same.len() > 1 {
                self.may_be_answered(&same);
            }
        }
        self.asked.push(asked);
        if begins && self.phase != Phase::Over {
            self.phase = Phase::Asking;
        }
    }

    /// Returns the indices of the messages with this tag.
    fn tagged(&self, tag: u16) -> Vec<usize> {
        (0..self.asked.len()).filter(|i| self.asked[*i].tag() == tag).collect()
    }

    fn may_be_answered(&mut self, which: &[usize]) {
        for i in which {
            self.asked[*i].maybe = true;
            self.settle(self.asked[*i].intent, FidOutcome::Unknown);
        }
    }

    fn settle(&mut self, intent: Intent, outcome: FidOutcome) {
        match self.names.settle(intent, outcome) {
            Some(Consequence::Doubt { fid, number }) => self.doubt(fid, number),
            Some(Consequence::Known { fid, number, state }) => {
                self.asked.iter_mut().for_each(|asked| asked.intent.learn(fid, number, state));
            }
            None => {}
        }
    }

    /// Records that nothing is known of what requests later than `number` find at this fid, nor of other fids that they
    /// may change after all.
    fn doubt(&mut self, fid: u32, number: u64) {
        for i in 0..self.asked.len() {
            if let Some((changed, later)) = self.asked[i].intent.doubt(fid, number) {
                self.names.forget(changed, later);
                if changed != fid {
                    self.doubt(changed, later);
                }
            }
        }
    }

    /// Records that the driver has written so much of its output.
    pub fn wrote(&mut self, n: usize) {
        self.looked -= n;
        self.known.0 -= n;
    }

    /// Examines the new part of its output, which consists of complete messages.
    pub fn check_output(&mut self, output: &[u8], view: &View<'_>) {
        while self.looked < output.len() {
            let rest = &output[self.looked..];
            let n = u32_at(rest, 0) as usize;
            assert!((HEADER..=rest.len()).contains(&n), "no complete message");
            self.looked += n;
            if !self.lost {
                self.replies += 1;
                self.receive_message(&rest[..n], view);
            }
        }
    }

    fn receive_message(&mut self, message: &[u8], view: &View<'_>) {
        let max = self.msize as usize;
        assert!(message.len() <= max, "{} bytes, msize is {max}", message.len());
        let own = self.dialect.unwrap_or(Dialect::Plain);
        let shown = || format!("client {} receives {}", self.number, show(own, message));
        if kind(message) == types::RVERSION {
            return self.version_told(message, view);
        }
        let is_wrong = is_error(message);
        if self.local.is_reply(message, is_wrong) {
            return;
        }
        let same = self.tagged(tag(message));
        assert!(!same.is_empty(), "no message has this tag: {}", shown());
        // Without a session, errors have the form of 9P2000. 9pmux may have ended the session already.
        let ending = [Phase::Asking, Phase::Over].contains(&self.phase);
        let forms = [own, if ending { Dialect::Plain } else { own }];
        let error = forms.iter().any(|form| kind(message) == form.error_type());
        assert!(error || !is_error(message), "an error of another dialect: {}", shown());
        let of = |i: &&usize| {
            let asked = &self.asked[**i];
            asked.stamp.is_some() && asked.stamp == stamp_of_reply(message)
        };
        let stamped: Vec<usize> = same.iter().filter(of).copied().collect();
        if let (Some(i), false) = (stamped.first(), view.wild) {
            let request = kind(&self.asked[*i].message);
            assert!(error || request == kind(message) - 1, "{}", shown());
            self.replied_to_one(&stamped, message, view);
        } else if kind(message) == types::RFLUSH {
            self.flushed(&same, view);
        } else if error {
            // Some errors have the same number.
            let is =
                |why: &LocalError| forms.iter().any(|form| is_local_error(*form, message, *why));
            let why: Vec<LocalError> = LocalError::ALL.into_iter().filter(is).collect();
            assert!(view.wild || !why.is_empty(), "the error of another: {}", shown());
            if view.over && ENDS.iter().any(|end| why.contains(end)) {
                self.over(view);
            }
            self.refused(tag(message), &why, view);
        } else {
            assert!(view.wild, "the reply to another: {}", shown());
            let that = |i: &&usize| {
                let asked = &self.asked[**i];
                kind(&asked.message) == kind(message) - 1 && !asked.too_large && !asked.early
            };
            let fits: Vec<usize> = same.iter().filter(that).copied().collect();
            assert!(!fits.is_empty(), "{}", shown());
            self.replied_to_one(&fits, message, view);
        }
        self.settle_errors(tag(message));
    }

    /// Handles the server's reply to one of these messages: to the one that the server has seen, or else to the first,
    /// unless one of them may have had its reply.
    fn replied_to_one(&mut self, which: &[usize], message: &[u8], view: &View<'_>) {
        if kind(message) == types::ROPENFD {
            self.opened.push_back(u64_at(message, HEADER + 5));
        }
        let mut seen = which.iter().filter(|i| self.asked[**i].forwarded.get());
        if let (Some(i), None) = (seen.next(), seen.next()) {
            return self.replied(*i, message, view);
        }
        let is_unknown =
            self.errors.contains_key(&tag(message)) || which.iter().any(|i| self.asked[*i].maybe);
        if which.len() > 1 && is_unknown {
            self.may_be_answered(which);
        } else {
            self.replied(which[0], message, view);
        }
    }

    /// Handles the server's reply to this message.
    fn replied(&mut self, i: usize, message: &[u8], view: &View<'_>) {
        let asked = self.asked.remove(i);
        assert!(!asked.too_large && !asked.early, "it must not reach the server");
        let dialect = self.dialect.expect("it has a session");
        let sure = self.tagged(asked.tag()).is_empty();
        let result = outcome(dialect, &asked.message, message);
        self.settle(asked.intent, if sure { result } else { FidOutcome::Unknown });
        if !view.wild {
            let exists = view.sloppy || !asked.intent.sure || !super::server::says_no_fid(message);
            assert!(exists, "a fid of {} is not there", show(dialect, &asked.message));
        }
        match kind(message) {
            types::ROPENFD => {}
            13 | 15 | 113 | 115 => assert!(u32_at(message, 20) <= self.msize - IO_HEADER, "iounit"),
            117 | 41 if !view.wild => {
                assert!(u32_at(message, HEADER) <= u32_at(&asked.message, 19), "too much data");
            }
            _ => assert!(view.wild || check_reply(dialect, message).is_ok()),
        }
        self.answered.push(asked);
    }

    /// Removes the messages with this tag if all of them have got errors.
    fn settle_errors(&mut self, tag: u16) {
        let Some(&errors) = self.errors.get(&tag) else {
            return;
        };
        let may = |asked: &ClientMessage| asked.tag() == tag && !asked.must_succeed();
        let all = self.asked.iter().filter(|asked| may(asked)).count();
        assert!(errors <= all, "more errors of tag {tag} than there are requests");
        if errors == all {
            let all = std::mem::take(&mut self.asked).into_iter();
            let (answered, left): (Vec<ClientMessage>, Vec<ClientMessage>) = all.partition(may);
            self.answered.extend(answered);
            self.asked = left;
            self.errors.remove(&tag);
        }
    }

    /// Handles an error of 9pmux, which has one of the meanings `why`.
    fn refused(&mut self, tag: u16, why: &[LocalError], view: &View<'_>) {
        self.had_large_reply |= why.contains(&LocalError::ReplyTooLarge);
        let same = self.tagged(tag);
        let mut may = same.iter().filter(|i| !self.asked[**i].must_succeed());
        let (first, second) = (may.next(), may.next());
        let first = *first.unwrap_or_else(|| panic!("the error of tag {tag} is for a Tflush"));
        if second.is_some() || self.errors.contains_key(&tag) {
            *self.errors.entry(tag).or_default() += 1;
            return;
        }
        let asked = self.asked.remove(first);
        let possible = |why: &LocalError| self.is_possible(&asked, *why, view);
        assert!(view.wild || why.iter().any(possible), "{why:?} for {:?}", asked.message);
        let outcome = match why {
            // The server may have sent it.
            _ if view.wild => FidOutcome::Unknown,
            _ if why.contains(&LocalError::UnknownFid) => FidOutcome::NoFid,
            // A Tremove releases its fid.
            [LocalError::ReadOnly] => FidOutcome::Failure,
            _ => FidOutcome::Nothing,
        };
        self.settle(asked.intent, outcome);
        self.answered.push(asked);
    }

    /// Returns true if 9pmux may refuse this message for this reason.
    fn is_possible(&self, asked: &ClientMessage, why: LocalError, view: &View<'_>) -> bool {
        let (message, intent) = (&asked.message[..], &asked.intent);
        if asked.too_large || ENDS.contains(&why) {
            return why == LocalError::TooLarge || (view.over && ENDS.contains(&why));
        }
        if asked.early || why == LocalError::NoVersion {
            let possible = match kind(message) {
                types::TVERSION => [LocalError::SmallMsize, LocalError::Malformed].contains(&why),
                types::TFLUSH => why == LocalError::Malformed,
                _ => why == LocalError::NoVersion,
            };
            return asked.early && possible;
        }
        let dialect = self.dialect.or(view.dialect).unwrap_or(Dialect::Plain);
        let request = kind(message);
        let is = |kinds: &[u8]| kinds.contains(&request);
        let checked = check_request(dialect, message);
        let contents = match &checked {
            Ok(offsets) if !view.config.lax => check_contents(dialect, offsets, message),
            _ => Ok(()),
        };
        let creates = is(&[types::TAUTH, types::TATTACH, types::TWALK, 30]);
        match why {
            LocalError::TooLarge | LocalError::ServerGone | LocalError::ShuttingDown => false,
            LocalError::NoVersion => false,
            // Only in a link.
            LocalError::FileGone
            | LocalError::NoSuchFile
            | LocalError::NothingExported
            | LocalError::Unreachable
            | LocalError::TooManyRequests => false,
            // Only with sessions that are restored.
            LocalError::NotAnswering
            | LocalError::MaybeDone
            | LocalError::LockLost
            | LocalError::AuthenticateAgain
            | LocalError::WritesLost
            | LocalError::ReadAnew
            | LocalError::NotReopened => false,
            // Only in place of 9pserve.
            LocalError::AuthRejected
            | LocalError::AuthNotRequired
            | LocalError::BadAname
            | LocalError::SpecialFile => false,
            // Only a server that sends anything causes it, or one that has created the fid all the same, or a
            // fid whose Twalk has had a reply that was too large.
            LocalError::UnexpectedReply => {
                let is_lost = !intent.sure && self.had_large_reply;
                request == types::TOPENFD && (view.sloppy || is_lost)
            }
            LocalError::SmallMsize => request == types::TVERSION,
            LocalError::Unsupported => checked.is_err_and(|e| e == Malformed::Type),
            LocalError::BadOpenfdMode => request == types::TOPENFD && message[11] & 0xEC != 0,
            LocalError::NoDescriptors | LocalError::TooManyDescriptors => request == types::TOPENFD,
            LocalError::Malformed => {
                checked.is_err_and(|e| e != Malformed::Type) || contents == Err(BadContents::Stat)
            }
            LocalError::BadString => contents == Err(BadContents::String),
            LocalError::BadName => contents == Err(BadContents::Name),
            LocalError::TooManyAuth => request == types::TAUTH,
            LocalError::AuthRequired => {
                let without_afid = checked.is_ok() && u32_at(message, HEADER + 4) == NOFID;
                view.config.require_auth && request == types::TATTACH && without_afid
            }
            LocalError::NotAllowed => {
                let is_refused = |names: &[u8]| {
                    !is_allowed(view.config, names) || !self.rules.allow(dialect, names)
                };
                is(&[types::TAUTH, types::TATTACH])
                    && checked.is_ok_and(|offsets| is_refused(names(message, &offsets)))
            }
            LocalError::ReadOnly => {
                self.rules.read_only && checked.is_ok() && changes(dialect, message)
            }
            LocalError::TooManyFids => creates,
            LocalError::UnknownFid
            | LocalError::FidInUse
            | LocalError::BadFid
            | LocalError::NotAuth
            | LocalError::OtherAuth => {
                !intent.sure && intent.error.is_none_or(|error| error == why)
            }
            // Treadlink, Tgetlock and Tstat, and a walk whose reply has more bytes than it needs.
            LocalError::ReplyTooLarge => is(&[22, 54, 124, types::TWALK]),
            LocalError::DuplicateTag => !self.tagged(asked.tag()).is_empty(),
            LocalError::NoAuthNeeded
            | LocalError::FileNotFound
            | LocalError::PermissionDenied
            | LocalError::OwnFile
            | LocalError::TwoServers
            | LocalError::UnknownCommand
            | LocalError::NoSuchClient
            | LocalError::NotOpen
            | LocalError::AlreadyOpen
            | LocalError::BadOffset
            | LocalError::IsDirectory
            | LocalError::NotDirectory => false,
        }
    }

    /// Handles an Rflush: an earlier message with the flushed tag will get no reply.
    fn flushed(&mut self, same: &[usize], view: &View<'_>) {
        let may = |i: &&usize| {
            let asked = &self.asked[**i];
            asked.must_succeed() || (view.over && asked.is_flush())
        };
        let flushes: Vec<usize> = same.iter().filter(may).copied().collect();
        // One that has no reply for certain is taken before one that may have had it.
        let must = |i: &&usize| (self.asked[**i].must_succeed(), !self.asked[**i].maybe);
        let first = *flushes.iter().rev().max_by_key(must).expect("an Rflush without a Tflush");
        let flush = self.asked.remove(first);
        if !flush.must_succeed() {
            return;
        }
        let oldtag = u16_at(&flush.message, HEADER);
        if oldtag == flush.tag() {
            return;
        }
        let mut victims = self.tagged(oldtag);
        victims.retain(|i| *i < first);
        // At the end every message gets a reply, flushed or not.
        let sure = !view.over && flushes.len() == 1 && !self.errors.contains_key(&oldtag);
        match victims[..] {
            [victim] if sure && !self.asked[victim].maybe => {
                let victim = self.asked.remove(victim);
                self.settle(victim.intent, FidOutcome::Nothing);
                assert!(!victim.must_succeed(), "a Tflush has its reply before an earlier one");
                self.answered.push(victim);
            }
            _ => self.may_be_answered(&victims),
        }
    }

    fn version_told(&mut self, message: &[u8], view: &View<'_>) {
        assert!(self.phase == Phase::Asking, "an Rversion without a Tversion");
        let asked = self.asked.last().expect("it is the last that was cut");
        assert_eq!(asked.tag(), tag(message));
        let (max, offer) = version(&asked.message).expect("it was well-formed");
        let (msize, name) = version(message).expect("a well-formed Rversion");
        let offer = Offer::parse(offer);
        assert!(msize <= max && msize >= 256);
        if name == UNKNOWN.as_bytes() {
            // A dialect that was chosen is not refused.
            let chosen = view.config.dialect.is_some_and(|dialect| offer.allows(dialect));
            assert!(!chosen, "unknown");
            (self.phase, self.msize, self.dialect) = (Phase::New, 256, None);
        } else {
            let dialect = Dialect::from_name(name).expect("a known version");
            self.dialect = Some(dialect);
            // A dialect that was not chosen may have changed since.
            assert!(offer.allows(dialect));
            assert!(view.config.dialect.is_none_or(|chosen| chosen == dialect));
            (self.phase, self.msize) = (Phase::Session, msize);
        }
        self.sessions += 1;
        self.local.end_session();
        self.former.append(&mut self.asked);
        self.names = Names::default();
        self.errors.clear();
        self.cut(view.config.lax);
    }

    /// Handles the end of the server: the messages behind a Tversion get replies whatever their size.
    fn over(&mut self, view: &View<'_>) {
        if self.phase != Phase::Asking {
            return;
        }
        // The server may have sent the same error before.
        self.lost = view.wild;
        self.phase = Phase::Over;
        let before: Vec<usize> = (0..self.asked.len() - 1).collect();
        self.may_be_answered(&before);
        self.cut(view.config.lax);
    }

    /// Checks that every message has its reply, or every Tflush if the server `holds` other requests back.
    pub fn all_told(&self, over: bool, holds: bool) {
        if self.garbled || self.lost {
            return;
        }
        assert!(over || holds || self.local.all_have_replies(), "no reply from the tree");
        let mut errors = self.errors.clone();
        for asked in &self.asked {
            // The end may have come before all of a message that was too large.
            if asked.maybe || (over && asked.too_large) || (holds && !asked.must_succeed()) {
                continue;
            }
            match errors.get_mut(&asked.tag()) {
                Some(n) if *n > 0 => *n -= 1,
                _ => panic!("client {} has no reply to {:?}", self.number, asked.message),
            }
        }
    }
}

/// Returns true if a client may attach to the tree that these names begin with.
fn is_allowed(config: &Config, names: &[u8]) -> bool {
    let aname = 2 + u16_at(names, 0) as usize;
    let aname = &names[aname + 2..][..u16_at(names, aname) as usize];
    config.anames.is_empty() || config.anames.iter().any(|allowed| allowed.as_bytes() == aname)
}

/// Returns the part of a request that reaches the server unchanged: all but its tag, fids and count, and the bytes
/// behind its last field unless `lax`. Those of a Tattach are not compared when clients share an attach.
pub fn essence(dialect: Dialect, lax: bool, message: &[u8]) -> Option<Vec<u8>> {
    if kind(message) == types::TOPENFD {
        // It becomes a Topen, without the bytes behind the mode.
        let mut open = message.get(..HEADER + 5)?.to_vec();
        open[4] = types::TOPEN;
        return check_request(dialect, message).ok().and(essence(dialect, lax, &open));
    }
    let offsets = check_request(dialect, message).ok()?;
    let mut essence = message.to_vec();
    if !lax || kind(message) == types::TATTACH {
        essence.truncate(offsets.end as usize);
    }
    put_u32(&mut essence, 0, 0);
    put_tag(&mut essence, 0);
    offsets.fids().iter().for_each(|(at, _)| put_u32(&mut essence, *at as usize, 0));
    if let Some(at) = offsets.count {
        put_u32(&mut essence, at as usize, 0);
    }
    Some(essence)
}

/// Returns the number that stands for the essence of a request.
pub fn stamp(dialect: Dialect, lax: bool, message: &[u8]) -> Option<u32> {
    let add = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    Some(essence(dialect, lax, message)?.iter().fold(0x811C_9DC5, add))
}

/// Returns the stamp in a reply: in the qid of an Rattach, which 9pmux keeps for other clients, or at the end.
fn stamp_of_reply(message: &[u8]) -> Option<u32> {
    match kind(message) {
        types::ROPENFD => Some(u32_at(message, HEADER + 1)),
        types::RATTACH => Some(u32_at(message, HEADER + 5)),
        _ => message.last_chunk().map(|last| u32::from_le_bytes(*last)),
    }
}
