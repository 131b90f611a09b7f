//! Each kind of malformed message, in each state and dialect. A malformed message from a client costs that client an
//! error or its connection, and does not affect other clients. A malformed reply of the server becomes an error for its
//! request; only bytes that are not messages, or an Rversion that was not asked for, end the connection.

use super::LocalError::{self, *};
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{ClientId, Config, Engine};
use crate::wire::{
    Dialect, FidUse, Field, FieldKind, HEADER, MESSAGES, Message, NOFID, kind, message, put_tag,
    put_u32, show, tag, u32_at,
};

const TAG: u16 = 9;

/// Returns a well-formed message of these fields, which uses fid 0 and creates fid 5, and its length without the
/// optional fields.
fn whole(dialect: Dialect, number: u8, fields: &[Field]) -> (Vec<u8>, usize) {
    let mut message = made(number, TAG);
    let mut least = HEADER;
    for field in fields.iter().filter(|field| field.dialects.contains(dialect)) {
        message = match field.kind {
            FieldKind::U8 => message.u8(0),
            FieldKind::U16 | FieldKind::Oldtag => message.u16(77),
            FieldKind::U32 | FieldKind::OptionalU32 | FieldKind::Count | FieldKind::Iounit => {
                message.u32(0)
            }
            FieldKind::U64 => message.u64(0),
            FieldKind::Fid(FidUse::Authenticates) => message.u32(NOFID),
            FieldKind::Fid(FidUse::Creates | FidUse::CreatesAuth | FidUse::CreatesOnFullWalk) => {
                message.u32(5)
            }
            FieldKind::Fid(_) => message.u32(0),
            FieldKind::String | FieldKind::Name => message.str("abc"),
            FieldKind::Stat => message.str(stat(dialect, "abc")),
            FieldKind::Names => message.u16(2).str("abc").str("de"),
            FieldKind::Qids => message.u16(2).qid(1, 2).qid(3, 4),
            FieldKind::Qid => message.qid(1, 2),
            FieldKind::Data => message.u32(3).raw(b"abc"),
            FieldKind::Bytes(n) => message.raw(&vec![0; n as usize]),
        };
        if field.kind != FieldKind::OptionalU32 {
            least = message.clone().done().len();
        }
    }
    (message.done(), least)
}

/// Returns each truncation of a message with a matching size field, except for the one that only omits optional
/// fields.
fn cut_short(message: &[u8], least: usize) -> impl Iterator<Item = Vec<u8>> {
    (HEADER..message.len()).filter(move |length| *length != least).map(|length| {
        let mut short = message[..length].to_vec();
        put_u32(&mut short, 0, length as u32);
        short
    })
}

fn rows(dialect: Dialect) -> impl Iterator<Item = &'static Message> {
    MESSAGES.iter().filter(move |row| row.dialects.contains(dialect))
}

/// Returns invalid requests, each with the error that it gets in a session. An invalid request without an error is
/// one after which no further message can be found.
fn bad_requests(dialect: Dialect) -> Vec<(Vec<u8>, Option<LocalError>)> {
    let mut bad = Vec::new();
    for row in rows(dialect) {
        let Some(fields) = row.request else { continue };
        let (message, least) = whole(dialect, row.number, fields);
        bad.extend(cut_short(&message, least).map(|short| (short, Some(Malformed))));
        if row.number == 98 {
            let mut message = message;
            message[HEADER + 4] = 0x40;
            bad.push((message, Some(BadOpenfdMode)));
        }
    }
    for number in 0..=255 {
        if message(dialect, number).is_none_or(|row| row.request.is_none() || number % 2 == 1) {
            bad.push((made(number, TAG).raw(&[0; 60]).done(), Some(Unsupported)));
            bad.push((made(number, TAG).done(), Some(Unsupported)));
        }
    }
    let malformed = [
        made(110, TAG).u32(0).u32(5).names(&["x"; 17]),
        made(110, TAG).u32(0).u32(5).u16(u16::MAX),
        made(110, TAG).u32(0).u32(5).u16(2).str("a").u16(9).u8(0),
        made(118, TAG).u32(0).u64(0).u32(u32::MAX).raw(b"abc"),
        made(118, TAG).u32(0).u64(0).u32(4).raw(b"abc"),
        made(104, TAG).u32(5).u32(NOFID).u16(u16::MAX).raw(b"u"),
        made(100, TAG).u32(8192).u16(7).raw(b"9P2000"),
    ];
    bad.extend(malformed.map(|message| (message.done(), Some(Malformed))));
    bad.push((made(100, TAG).u32(255).str(dialect.name()).done(), Some(SmallMsize)));
    bad.push((made(118, TAG).raw(&vec![1; MSIZE as usize - 6]).done(), Some(TooLarge)));
    for size in 0..HEADER as u32 {
        bad.push((size.to_le_bytes().to_vec(), None));
    }
    // The message is too large to be skipped, so it cannot get an error for its tag.
    bad.push((made(100, TAG).done(), None));
    put_u32(&mut bad.last_mut().expect("it was pushed").0, 0, u32::MAX);
    bad
}

/// The state of a client.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// The client has no version, and the server has not been asked for one.
    New,
    /// The client has no version, and the server has one.
    Late,
    /// The client has received the version "unknown".
    Unknown,
    /// The client's Tversion waits for the server's Rversion.
    Asking,
    /// The client's second Tversion waits for the cleanup of its first session.
    Again,
    Session,
    /// The client has the maximum number of requests in flight, and one more that waits.
    Full,
    /// The client's request waits for a turn.
    Turn,
    /// The client does not read.
    Deaf,
    Closing,
    /// The server has disconnected.
    Over,
}

const STATES: [State; 11] = [
    State::New,
    State::Late,
    State::Unknown,
    State::Asking,
    State::Again,
    State::Session,
    State::Full,
    State::Turn,
    State::Deaf,
    State::Closing,
    State::Over,
];

/// A client in a state; another client, which has a version if there is one; and the requests upstream.
struct Place {
    bench: Bench,
    id: ClientId,
    other: Option<ClientId>,
    upstream: Vec<Vec<u8>>,
}

impl Place {
    fn new(dialect: Dialect, state: State) -> Place {
        let config = Config {
            max_inflight: 2,
            max_server_bytes: if state == State::Turn { 1 } else { 1 << 20 },
            max_reply_bytes: 3000,
            ..Config::default()
        };
        if let State::New | State::Asking = state {
            let engine = Engine::new(Config { msize: MSIZE, ..config });
            let mut bench = Bench { engine, dialect: Dialect::Plain };
            let id = bench.engine.client_connected();
            if state == State::Asking {
                bench.client_sends(id, &version(MSIZE, dialect.name()));
                bench.dialect = dialect;
            }
            let upstream = bench.upstream();
            return Place { bench, id, other: None, upstream };
        }
        let mut bench = Bench::with(dialect, config);
        let (other, _) = bench.attached();
        let id = match state {
            State::Late | State::Unknown => bench.engine.client_connected(),
            _ => bench.attached().0,
        };
        match state {
            State::Unknown => {
                bench.client_sends(id, &version(MSIZE, "9P1"));
                assert_eq!(bench.client_received(id), rversion(MSIZE, "unknown"));
            }
            State::Again => bench.client_sends(id, &version(MSIZE, dialect.name())),
            State::Full => {
                let requests = [read(1, 0, 0, 1), read(2, 0, 0, 1), empty_write(3, 0)];
                bench.client_sends(id, &requests.concat());
            }
            State::Turn => {
                bench.client_sends(id, &read(1, 0, 0, 1));
                let place = Place { bench, id, other: Some(other), upstream: Vec::new() };
                return place.with(&read(2, 0, 0, 1));
            }
            State::Deaf => {
                let refused: Vec<u8> = (0..130).flat_map(|_| of_fid(120, 1, 99)).collect();
                bench.client_sends(id, &refused);
            }
            State::Closing => {
                bench.client_sends(id, &[0; 4]);
                assert!(bench.engine.is_closing(id));
            }
            State::Over => bench.engine.server_gone(),
            _ => {}
        }
        let upstream = bench.upstream();
        Place { bench, id, other: Some(other), upstream }
    }

    fn with(mut self, message: &[u8]) -> Place {
        self.bench.client_sends(self.id, message);
        self
    }

    /// Makes the event happen that the client waits for. Returns the messages that the client then receives, without
    /// replies of the server.
    fn unblock(&mut self, state: State) -> Vec<Vec<u8>> {
        match state {
            State::Asking => {
                let version = rversion(MSIZE, self.bench.dialect.name());
                self.bench.server(&version);
            }
            State::Again => {
                let clunk = self.upstream.remove(0);
                self.bench.done(&clunk);
            }
            State::Full => {
                let request = self.upstream.remove(0);
                self.bench.server(&made(117, tag(&request)).u32(0).done());
            }
            _ => {}
        }
        self.upstream.extend(self.bench.upstream());
        let mut replies = self.bench.all_received(self.id);
        if state == State::Deaf {
            replies.extend(self.bench.all_received(self.id));
            replies.retain(|m| !is_local_error(self.bench.dialect, m, UnknownFid));
        }
        replies.retain(|m| ![101, 117].contains(&kind(m)));
        replies
    }

    fn check_other_client(&mut self) {
        let Some(other) = self.other else { return };
        let dialect = self.bench.dialect;
        self.bench.client_sends(other, &read(1, 0, 0, 7));
        // The request may be among or behind the requests of the first client.
        let mut asked = (0..5).flat_map(|_| self.bench.upstream()).collect::<Vec<_>>().into_iter();
        let its = |m: &Vec<u8>| kind(m) == 116 && u32_at(m, HEADER + 12) == 7;
        let request = asked.find(its).expect("it is forwarded");
        self.bench.server(&made(117, tag(&request)).u32(3).raw(b"abc").done());
        let reply = self.bench.client_received(other);
        assert_eq!(reply, made(117, 1).u32(3).raw(b"abc").done(), "{}", show(dialect, &reply));
    }
}

#[test]
fn malformed_requests_affect_only_their_client() {
    let is_expected = |m: &Vec<u8>| match kind(m) {
        118 => m.len() == 23 && u32_at(m, HEADER + 12) == 0,
        kind => [100, 116, 120, 108].contains(&kind),
    };
    for dialect in Dialect::ALL {
        let bad = bad_requests(dialect);
        assert!(bad.len() > 400);
        for state in STATES {
            for (message, why) in &bad {
                let shown = || format!("{state:?}: {}", show(dialect, message));
                let mut place = Place::new(dialect, state);
                let before = place.bench.engine.stats();
                let early = [State::New, State::Late, State::Unknown].contains(&state);
                let why = why.map(|why| match (kind(message), why) {
                    (100, _) | (_, TooLarge) => why,
                    // Tflush needs no version, so it gets the error for its form in every state.
                    (108, _) => why,
                    _ if early => NoVersion,
                    _ => why,
                });
                // Without a session, errors have the form of 9P2000.
                let form = if early { Dialect::Plain } else { place.bench.dialect };
                place.bench.client_sends(place.id, message);
                if let State::Asking | State::Again | State::Full | State::Turn = state {
                    assert!(place.bench.all_received(place.id).is_empty(), "{}", shown());
                    assert!(!place.bench.engine.is_closing(place.id), "{}", shown());
                }
                let replies = place.unblock(state);
                match (state, why) {
                    (State::Closing, _) => assert!(replies.is_empty(), "{}", shown()),
                    (State::Over, _) => {
                        assert!(replies.is_empty() && place.bench.engine.is_closing(place.id));
                        continue;
                    }
                    (_, Some(why)) => {
                        assert_eq!(replies.len(), 1, "{}", shown());
                        let refused = is_local_error(form, &replies[0], why);
                        assert!(refused && tag(&replies[0]) == TAG, "{} {why:?}", shown());
                        assert!(!place.bench.engine.is_closing(place.id), "{}", shown());
                        assert!(place.bench.engine.wants_read(place.id), "{}", shown());
                        // The next message is handled.
                        place.bench.client_sends(place.id, &flush(8, 7777));
                        assert_eq!(
                            place.bench.client_received(place.id),
                            made(109, 8).done(),
                            "{}",
                            shown()
                        );
                    }
                    (_, None) => {
                        let large = message.len() >= HEADER;
                        assert_eq!(replies.len(), usize::from(large), "{}", shown());
                        assert!(replies.iter().all(|m| is_local_error(form, m, TooLarge)));
                        assert!(place.bench.engine.is_closing(place.id), "{}", shown());
                        assert!(!place.bench.engine.wants_read(place.id));
                    }
                }
                // The invalid message has not reached the server.
                let asked = place.bench.engine.stats();
                assert!(asked.forwarded <= before.forwarded + 1, "{}", shown());
                assert!(place.upstream.iter().all(is_expected));
                place.check_other_client();
            }
        }
    }
}

/// The origin of a request upstream: a client, a client that has flushed it, a departed client, or 9pmux itself with a
/// Tflush or a Tclunk.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    Client,
    Flushed,
    Departed,
    Flush,
    Clunk,
}

fn request_upstream(
    dialect: Dialect,
    row: &Message,
    origin: Origin,
) -> Option<(Bench, ClientId, Vec<u8>)> {
    let mut bench = Bench::new(dialect);
    let (other, _) = bench.attached();
    bench.forwarded(other, &read(3, 0, 0, 1));
    let (id, _) = bench.attached();
    match origin {
        Origin::Clunk => {
            bench.disconnect(id);
            return (row.number == 120)
                .then(|| (bench.server_received(), bench))
                .map(|(m, b)| (b, other, m));
        }
        Origin::Flush => {
            bench.forwarded(id, &read(1, 0, 0, 1));
            let flushed = bench.forwarded(id, &flush(2, 1));
            return (row.number == 108).then_some((bench, other, flushed));
        }
        _ => {}
    }
    let fields = row.request.filter(|_| ![98, 100, 108].contains(&row.number))?;
    let request = bench.forwarded(id, &whole(dialect, row.number, fields).0);
    match origin {
        Origin::Flushed => {
            bench.forwarded(id, &flush(2, TAG));
        }
        Origin::Departed => bench.disconnect(id),
        _ => {}
    }
    bench.upstream();
    Some((bench, other, request))
}

/// Returns replies that do not fit a request of this row, and whether each of them is an error in another form.
fn bad_replies(dialect: Dialect, row: &Message) -> Vec<(Vec<u8>, bool)> {
    let error = message(dialect, dialect.error_type()).expect("each has its error");
    let (error, _) = whole(dialect, dialect.error_type(), error.reply);
    let (reply, _) = whole(dialect, row.number + 1, row.reply);
    let short = cut_short(&reply, 0).chain(cut_short(&error, 0));
    // An Rerror of 9P2000.u without its number is one of 9P2000.
    let is_plain = |m: &Vec<u8>| kind(m) == 107 && m.len() >= HEADER + 5;
    let mut bad: Vec<_> = short.map(|m| (is_plain(&m), m)).map(|(is, m)| (m, is)).collect();
    for number in 0..=255u8 {
        let is_right = number == row.number + 1 || number == dialect.error_type();
        let next_to = number.abs_diff(row.number) < 4 || number % 16 == 7 || number < 8;
        if !is_right && number != 101 && next_to {
            bad.push((made(number, TAG).raw(&[0; 40]).done(), [7, 107].contains(&number)));
        }
    }
    if row.number == 110 {
        bad.push((rwalk(TAG, 3), false));
    }
    match dialect {
        Dialect::L => bad.extend([
            (made(107, TAG).str("no").done(), true),
            (made(107, TAG).str("no").u32(2).done(), true),
            (made(107, TAG).u16(9).done(), false),
            (made(7, TAG).u32(0).done(), true),
        ]),
        _ => bad.extend([
            (made(7, TAG).u32(2).done(), true),
            (made(7, TAG).u32(0).done(), true),
            (made(7, TAG).u16(0).done(), false),
        ]),
    }
    bad
}

#[test]
fn reply_that_does_not_fit_fails_only_its_request() {
    let origins = [Origin::Client, Origin::Flushed, Origin::Departed, Origin::Flush, Origin::Clunk];
    for dialect in Dialect::ALL {
        for (row, origin) in rows(dialect).flat_map(|row| origins.map(|origin| (row, origin))) {
            if request_upstream(dialect, row, origin).is_none() {
                continue;
            }
            for (mut bad, is_error_of_another) in bad_replies(dialect, row) {
                let (mut bench, other, request) =
                    request_upstream(dialect, row, origin).expect("it was asked before");
                put_tag(&mut bad, tag(&request));
                let shown = format!("{origin:?} {}: {}", row.name, show(dialect, &bad));
                bench.server(&bad);
                assert_eq!(bench.engine.end_reason(), None, "{shown}");
                assert_eq!(bench.engine.stats().unexpected, 1, "{shown}");
                let mut replies = Vec::new();
                for c in bench.engine.clients.connected() {
                    let id = bench.engine.clients.id(c);
                    assert!(id != other || bench.all_received(id).is_empty(), "{shown}");
                    replies.extend(bench.all_received(id));
                }
                match origin {
                    Origin::Client | Origin::Flushed => {
                        let [error] = &replies[..] else { panic!("{shown}: {replies:?}") };
                        assert_eq!(
                            (kind(error), tag(error)),
                            (dialect.error_type(), TAG),
                            "{shown}"
                        );
                        let is_ours = is_local_error(dialect, error, UnexpectedReply);
                        // In 9P2000.L both may be EIO.
                        let same = dialect == Dialect::L;
                        assert!(is_ours != is_error_of_another || same, "{shown}");
                    }
                    Origin::Flush => assert_eq!(replies, [made(109, 2).done()], "{shown}"),
                    Origin::Departed | Origin::Clunk => assert!(replies.is_empty(), "{shown}"),
                }
                // The other client is served.
                let its = bench.engine.requests.iter().find(|r| r.1.tag == 3).expect("a read").0;
                bench.server(&made(117, its).u32(0).done());
                assert_eq!(bench.client_received(other), made(117, 3).u32(0).done(), "{shown}");
                finish(&mut bench);
                // A fid that the server may still have is not used again.
                let lost = usize::from(origin == Origin::Clunk && !is_error_of_another);
                let stats = bench.engine.stats();
                assert_eq!((stats.fids, stats.requests, stats.in_cleanup), (lost, 0, 0), "{shown}");
            }
        }
    }
}

/// Makes all clients disconnect, and the server reply to everything.
fn finish(bench: &mut Bench) {
    for c in bench.engine.clients.connected() {
        let id = bench.engine.clients.id(c);
        bench.disconnect(id);
    }
    loop {
        bench.upstream();
        let mut open = bench.engine.requests.iter().filter(|request| !request.1.replied);
        let next = open.next().map(|(tag, request)| made(request.kind, tag).done());
        drop(open);
        let Some(request) = next else { return };
        match kind(&request) {
            108 | 120 => bench.done(&request),
            _ => bench.failed(&request),
        }
    }
}

#[test]
fn fid_of_an_unusable_reply_is_clunked_before_its_number_is_used_again() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let (id, _) = bench.attached();
        let request = bench.forwarded(id, &walk(2, 0, 5, &[]));
        let fid = u32_at(&request, HEADER + 4);
        bench.server(&made(121, tag(&request)).done());
        assert!(is_local_error(dialect, &bench.client_received(id), UnexpectedReply));
        let clunk = bench.server_received();
        assert_eq!((kind(&clunk), u32_at(&clunk, HEADER)), (120, fid));
        bench.refused(id, &read(2, 5, 0, 1), UnknownFid);
        let again = bench.forwarded(id, &walk(2, 0, 5, &[]));
        assert_ne!(u32_at(&again, HEADER + 4), fid);
        bench.done(&clunk);
        let next = bench.forwarded(id, &walk(3, 0, 6, &[]));
        assert_eq!(u32_at(&next, HEADER + 4), fid);
        // After a Tclunk of the client with an unusable reply, 9pmux asks once more, and then no more.
        bench.server(&rwalk(tag(&next), 0));
        bench.client_received(id);
        let clunk = bench.forwarded(id, &of_fid(120, 3, 6));
        bench.server(&made(123, tag(&clunk)).done());
        assert!(is_local_error(dialect, &bench.client_received(id), UnexpectedReply));
        let clunk = bench.server_received();
        assert_eq!((kind(&clunk), u32_at(&clunk, HEADER)), (120, fid));
        bench.server(&made(123, tag(&clunk)).done());
        assert!(bench.upstream().is_empty());
        let next = bench.forwarded(id, &walk(3, 0, 6, &[]));
        assert_ne!(u32_at(&next, HEADER + 4), fid, "its number is never used again");
    }
}

#[test]
fn error_in_another_form_is_translated() {
    let rerror = |ename: &str| made(107, TAG).str(ename);
    let rlerror = |errno| made(7, TAG).u32(errno).done();
    for (dialect, reply, expected) in [
        (Dialect::L, rerror("no").done(), rlerror(5)),
        (Dialect::L, rerror("no").u32(2).done(), rlerror(2)),
        (Dialect::L, rerror("no").u32(0).done(), rlerror(5)),
        (Dialect::L, rlerror(0), rlerror(5)),
        (Dialect::L, rlerror(7777), rlerror(7777)),
        (Dialect::U, rerror("no").done(), rerror("no").u32(5).done()),
        (Dialect::U, rlerror(2), rerror("file does not exist").u32(2).done()),
        (Dialect::U, rlerror(7777), rerror("error 7777").u32(7777).done()),
        (Dialect::Plain, rlerror(13), rerror("permission denied").done()),
        (Dialect::Plain, rlerror(0), rerror("i/o error").done()),
        (Dialect::Plain, rerror("").done(), rerror("").done()),
    ] {
        let mut bench = Bench::new(dialect);
        let (id, _) = bench.attached();
        let request = bench.forwarded(id, &read(TAG, 0, 0, 1));
        let mut reply = reply;
        put_tag(&mut reply, tag(&request));
        bench.server(&reply);
        assert_eq!(bench.client_received(id), expected, "{}", show(dialect, &reply));
    }
    // Also one that is larger than the client's msize.
    let mut bench = Bench::new(Dialect::U);
    let id = bench.client_of(256);
    let request = bench.forwarded(id, &attach(Dialect::U, 1, 0, NOFID, "u", ""));
    bench.server(&made(107, tag(&request)).str("x".repeat(300)).done());
    assert!(is_local_error(Dialect::U, &bench.client_received(id), ReplyTooLarge));
}

/// After one, the server has no fids.
#[test]
fn rversion_that_was_not_asked_for_ends_the_connection() {
    for dialect in Dialect::ALL {
        for with_tag in [true, false] {
            let mut bench = Bench::new(dialect);
            let (id, _) = bench.attached();
            let request = bench.forwarded(id, &read(TAG, 0, 0, 1));
            let mut reply = rversion(MSIZE, dialect.name());
            if with_tag {
                put_tag(&mut reply, tag(&request));
            }
            bench.server(&reply);
            let end = bench.engine.end_reason().expect("it has ended").to_string();
            assert!(end.contains("an Rversion that was not asked for"), "{end}");
            assert!(is_local_error(dialect, &bench.client_received(id), ServerGone));
            // Bytes that arrive after the end are dropped.
            bench.server(&reply);
            bench.server(&[0; 4]);
            assert!(bench.upstream().is_empty());
        }
    }
}

#[test]
fn unknown_tag_is_dropped_in_every_state() {
    for dialect in Dialect::ALL {
        for state in STATES {
            for row in rows(dialect) {
                let mut place = Place::new(dialect, state);
                let (reply, _) = whole(dialect, row.number + 1, row.reply);
                let mut messages: Vec<Vec<u8>> = cut_short(&reply, 0).collect();
                messages.extend([reply, made(row.number, 0).done()]);
                // An Rversion ends the connection.
                messages.retain(|message| kind(message) != 101);
                let many = messages.len() as u64;
                let replies = place.bench.all_received(place.id);
                for mut message in messages {
                    put_tag(&mut message, 60_000);
                    place.bench.server(&message);
                }
                let dropped = place.bench.engine.stats().dropped;
                let over = state == State::Over;
                assert_eq!(dropped, if over { 0 } else { many }, "{state:?} R{}", row.name);
                assert_eq!(place.bench.engine.end_reason().is_some(), over);
                let by_request = place.bench.all_received(place.id);
                assert!(by_request.is_empty() || !replies.is_empty() && state == State::Deaf);
            }
        }
    }
}

/// While the Tversion of 9pmux is upstream, only an Rversion is a valid reply.
#[test]
fn other_reply_to_tversion_ends_the_connection() {
    for dialect in Dialect::ALL {
        // A well-formed error is valid too: the server does not know the version that a client has requested.
        let (reply, _) = whole(dialect, 101, &[]);
        let good = rversion(MSIZE, dialect.name());
        let mut bad: Vec<Vec<u8>> = cut_short(&good, 0).chain([reply]).collect();
        bad.extend(
            (0..=255)
                .filter(|n| ![7, 101, 107].contains(n))
                .map(|n| made(n, 0).raw(&[0; 30]).done()),
        );
        bad.extend((0..7u32).map(|size| size.to_le_bytes().to_vec()));
        for mut bad in bad {
            if bad.len() >= HEADER {
                put_tag(&mut bad, 0xFFFF);
            }
            let mut place = Place::new(dialect, State::Asking);
            let new = place.bench.engine.client_connected();
            place.bench.server(&bad);
            let end = place.bench.engine.end_reason().map(ToString::to_string).unwrap_or_default();
            assert!(!end.is_empty(), "{} is taken", show(dialect, &bad));
            assert!(is_local_error(
                Dialect::Plain,
                &place.bench.client_received(place.id),
                ServerGone
            ));
            assert!(place.bench.engine.is_closing(place.id) && place.bench.engine.is_closing(new));
        }
    }
}
