//! The rules of listeners: clients that may only read, and clients that may attach as themselves only.

use super::LocalError::{NotAllowed, ReadOnly};
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{Caller, ClientId, Config, Rules};
use crate::wire::{
    Dialect, FidUse, FieldKind, HEADER, MESSAGES, Message, NOFID, kind, tag, types, u32_at,
};

/// The types that a client must not send if it may only read, whatever their fields.
const REFUSED: [u8; 13] = [14, 16, 18, 20, 26, 32, 70, 72, 74, 76, 114, 118, 122];

/// The fid of the root, and another one.
const FIDS: [u32; 2] = [0, 1];

impl Bench {
    /// Connects a client by a listener with these rules. It has a version.
    fn client_by(&mut self, rules: Rules) -> ClientId {
        let id = self.engine.client_connected_by(None, rules);
        self.client_sends(id, &version(MSIZE, self.dialect.name()));
        assert_eq!(self.all_received(id), [rversion(MSIZE, self.dialect.name())]);
        id
    }

    /// Connects a client that may only read and has two fids.
    fn reader(&mut self) -> ClientId {
        let id = self.client_by(Rules { read_only: true, ..Rules::default() });
        for fid in FIDS {
            self.attach(id, fid);
        }
        id
    }

    /// Makes the pair of sockets that a Topenfd needs, if one does.
    fn make_pair(&mut self) {
        if let Some(id) = self.engine.next_descriptor() {
            self.engine.pair_made(id);
        }
    }

    /// Sends the reply of success to a request of which the client needs nothing.
    fn succeed(&mut self, id: ClientId, request: &[u8]) {
        let size = HEADER + 200;
        let reply = made(kind(request) + 1, tag(request)).raw(&vec![0; size]).done();
        self.server(&reply);
        self.client_received(id);
    }
}

/// Returns a request with fids that exist and with harmless fields.
fn request(dialect: Dialect, row: &Message) -> Vec<u8> {
    let mut fids = FIDS.into_iter();
    let mut message = made(row.number, 5);
    let fields = row.request.unwrap_or_default().iter();
    for field in fields.filter(|field| field.dialects.contains(dialect)) {
        message = match field.kind {
            FieldKind::Fid(FidUse::Creates | FidUse::CreatesAuth | FidUse::CreatesOnFullWalk) => {
                message.u32(2000)
            }
            FieldKind::Fid(FidUse::Authenticates) => message.u32(NOFID),
            FieldKind::Fid(_) => message.u32(fids.next().expect("at most two")),
            FieldKind::U8 => message.u8(0),
            FieldKind::U16 | FieldKind::Oldtag => message.u16(0),
            FieldKind::U64 => message.u64(0),
            FieldKind::String | FieldKind::Name => message.str("name"),
            FieldKind::Names => message.u16(1).str("name"),
            FieldKind::Data => message.u32(3).raw(b"abc"),
            FieldKind::Stat => message.str(sync_stat(dialect)),
            FieldKind::Bytes(n) => message.raw(&vec![0; n as usize]),
            FieldKind::Qid | FieldKind::Qids => unreachable!("no request has qids"),
            _ => message.u32(0),
        };
    }
    message.done()
}

/// Returns the stat of a Twstat that changes nothing.
fn sync_stat(dialect: Dialect) -> Vec<u8> {
    let mut fields = [&[0xFF; 39][..], &[0; 8]].concat();
    if dialect == Dialect::U {
        fields.extend([0; 2]);
        fields.extend([0xFF; 12]);
    }
    [&(fields.len() as u16).to_le_bytes()[..], &fields].concat()
}

#[test]
fn reader_may_send_what_changes_nothing_in_every_dialect() {
    for dialect in Dialect::ALL {
        for row in MESSAGES.iter().filter(|row| row.dialects.contains(dialect)) {
            if row.request.is_none() || [types::TVERSION, types::TFLUSH].contains(&row.number) {
                continue;
            }
            let mut bench = Bench::new(dialect);
            let id = bench.reader();
            if row.number == types::TOPENFD {
                bench.engine.allow_descriptors(id);
            }
            let message = request(dialect, row);
            bench.client_sends(id, &message);
            bench.make_pair();
            let reached = bench.upstream();
            match REFUSED.contains(&row.number) {
                false => assert_eq!(reached.len(), 1, "T{}", row.name),
                true => {
                    let refused = bench.client_received(id);
                    assert!(is_local_error(dialect, &refused, ReadOnly), "T{}", row.name);
                    if dialect == Dialect::L {
                        assert_eq!(refused, b"\x0b\0\0\0\x07\x05\0\x1e\0\0\0");
                    }
                    let has_clunk = reached.iter().any(|it| kind(it) == types::TCLUNK);
                    let expected = usize::from(row.number == types::TREMOVE);
                    assert!(reached.len() == expected && has_clunk == (expected > 0));
                }
            }
            // Others may send all of them.
            let mut bench = Bench::new(dialect);
            let id = bench.client();
            for fid in FIDS {
                bench.attach(id, fid);
            }
            bench.engine.allow_descriptors(id);
            bench.client_sends(id, &message);
            bench.make_pair();
            assert_eq!(bench.upstream().len(), 1, "T{}", row.name);
        }
    }
}

#[test]
fn reader_may_open_for_reading_only() {
    for dialect in [Dialect::Plain, Dialect::U] {
        let mut bench = Bench::new(dialect);
        let id = bench.reader();
        bench.engine.allow_descriptors(id);
        let open = |kind: u8, mode: u8| made(kind, 5).u32(0).u8(mode).done();
        // Reading, executing, and closing on exec.
        for mode in [0, 3, 0x20, 0x23] {
            let request = bench.forwarded(id, &open(types::TOPEN, mode));
            assert_eq!(request[HEADER + 4], mode);
            bench.succeed(id, &request);
        }
        for mode in [1, 2, 0x10, 0x11, 0x13, 0x40, 0x41, 0x43, 0x21, 0x50] {
            bench.refused(id, &open(types::TOPEN, mode), ReadOnly);
        }
        for mode in [1, 2, 0x10, 0x12] {
            bench.refused(id, &open(types::TOPENFD, mode), ReadOnly);
        }
        bench.client_sends(id, &open(types::TOPENFD, 0));
        bench.make_pair();
        assert_eq!(kind(&bench.server_received()), types::TOPEN);
    }
    let mut bench = Bench::new(Dialect::L);
    let id = bench.reader();
    let open = |flags: u32| made(types::TLOPEN, 5).u32(0).u32(flags).done();
    // O_NOFOLLOW, O_DIRECTORY, O_LARGEFILE and the like.
    for flags in [0, 0o400_000, 0o200_000, 0o100_000, 0o4000] {
        let request = bench.forwarded(id, &open(flags));
        bench.succeed(id, &request);
    }
    for flags in [1, 2, 3, 0o100, 0o101, 0o1000, 0o1002, 0o100_001] {
        bench.refused(id, &open(flags), ReadOnly);
    }
}

#[test]
fn reader_may_sync_by_a_stat_without_a_change() {
    for dialect in [Dialect::Plain, Dialect::U] {
        let mut bench = Bench::with(dialect, Config { lax: true, ..Config::default() });
        let id = bench.reader();
        let wstat = |stat: &[u8]| made(types::TWSTAT, 5).u32(0).str(stat).done();
        let sync = sync_stat(dialect);
        let request = bench.forwarded(id, &wstat(&sync));
        bench.succeed(id, &request);
        // Any other byte changes a field, or makes the stat another one.
        for i in 0..sync.len() {
            let mut changed = sync.clone();
            changed[i] ^= 1;
            bench.refused(id, &wstat(&changed), ReadOnly);
        }
        bench.refused(id, &wstat(&sync[..sync.len() - 1]), ReadOnly);
        bench.refused(id, &wstat(&[&sync[..], &[0]].concat()), ReadOnly);
        bench.refused(id, &wstat(&[]), ReadOnly);
        // The stat of the other dialect.
        let other = if dialect == Dialect::U { Dialect::Plain } else { Dialect::U };
        bench.refused(id, &wstat(&sync_stat(other)), ReadOnly);
    }
}

#[test]
fn reader_may_write_to_its_auth_fids_only() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let id = bench.reader();
        let write = |fid: u32| made(types::TWRITE, 5).u32(fid).u64(0).u32(3).raw(b"abc").done();
        let request = bench.forwarded(id, &auth(dialect, 2, 7, "u", "a"));
        bench.server(&made(103, tag(&request)).qid(0, 0).done());
        bench.client_received(id);
        let request = bench.forwarded(id, &write(7));
        bench.succeed(id, &request);
        bench.refused(id, &write(0), ReadOnly);
        bench.refused(id, &write(99), ReadOnly);
        let request = bench.forwarded(id, &of_fid(types::TCLUNK, 4, 7));
        bench.done(&request);
        bench.client_received(id);
        bench.attach(id, 7);
        bench.refused(id, &write(7), ReadOnly);
    }
}

#[test]
fn refused_remove_releases_its_fid_and_clunks_it() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let id = bench.client_by(Rules { read_only: true, ..Rules::default() });
        let fid = bench.attach(id, 0);
        // A read of the fid comes first.
        let read = bench.forwarded(id, &read(3, 0, 0, 100));
        bench.client_sends(id, &of_fid(types::TREMOVE, 4, 0));
        assert!(is_local_error(dialect, &bench.client_received(id), ReadOnly));
        assert!(bench.upstream().is_empty(), "the fid is in use");
        bench.server(&made(types::RREAD, tag(&read)).u32(0).done());
        assert_eq!(kind(&bench.client_received(id)), types::RREAD);
        let clunk = bench.server_received();
        assert_eq!((kind(&clunk), u32_at(&clunk, HEADER)), (types::TCLUNK, fid));
        bench.done(&clunk);
        assert_eq!(bench.engine.stats().fids, 0);
        bench.refused(id, &of_fid(types::TREMOVE, 4, 0), super::LocalError::UnknownFid);
        // The name is free.
        bench.attach(id, 0);
    }
}

#[test]
fn rules_hold_in_the_next_session_and_for_their_listener_only() {
    for dialect in Dialect::ALL {
        for by_config in [false, true] {
            let config = Config { read_only: by_config, ..Config::default() };
            let mut bench = Bench::with(dialect, config);
            let caller = Some(Box::new(Caller { uid: Some(7), name: Some("ann".to_owned()) }));
            let id = bench.client_by(Rules { read_only: !by_config, caller });
            let other = bench.client();
            let write = made(types::TWRITE, 5).u32(0).u64(0).u32(3).raw(b"abc").done();
            for _ in 0..2 {
                bench.refused(id, &write, ReadOnly);
                bench.refused(id, &attach(dialect, 2, 0, !0, "bob", "a"), NotAllowed);
                bench.client_sends(id, &version(MSIZE, dialect.name()));
                bench.client_received(id);
            }
            bench.attach(other, 0);
            match by_config {
                true => bench.refused(other, &write, ReadOnly),
                false => drop(bench.forwarded(other, &write)),
            }
        }
    }
}

/// A user, and whether a caller may attach with this name and number.
type Case = (&'static str, u32, bool);

#[test]
fn caller_may_attach_as_itself_only() {
    let named = Caller { uid: Some(7), name: Some("ann".to_owned()) };
    let nameless = Caller { uid: Some(7), name: None };
    let root = Caller { uid: Some(0), name: Some("root".to_owned()) };
    let unknown = Caller { uid: None, name: Some("ann".to_owned()) };
    let without_number: [(&Caller, &[Case]); 4] = [
        (&named, &[("ann", 0, true), ("bob", 0, false), ("", 0, false), ("7", 0, false)]),
        (&nameless, &[("7", 0, true), ("ann", 0, false), ("", 0, false), ("07", 0, false)]),
        (&root, &[("ann", 0, true), ("", 0, true)]),
        (&unknown, &[("ann", 0, false), ("", 0, false)]),
    ];
    let with_number: [(&Caller, &[Case]); 4] = [
        (
            &named,
            &[
                ("ann", 7, true),
                ("", 7, true),
                ("ann", !0, true),
                ("ann", 8, false),
                ("bob", 7, false),
                ("bob", !0, false),
                ("", !0, false),
                ("7", 7, false),
                ("", 0, false),
            ],
        ),
        (&nameless, &[("", 7, true), ("7", 7, false), ("7", !0, false), ("ann", 7, false)]),
        (&root, &[("ann", 7, true), ("ann", !0, true), ("", 0, true), ("bob", 7, true)]),
        (&unknown, &[("ann", 7, false), ("ann", !0, false), ("", !0, false), ("", 0, false)]),
    ];
    for dialect in Dialect::ALL {
        let cases = if dialect == Dialect::Plain { &without_number } else { &with_number };
        for (caller, cases) in cases {
            for (uname, number, may) in *cases {
                let mut bench = Bench::new(dialect);
                let caller = Some(Box::new((*caller).clone()));
                let id = bench.client_by(Rules { caller, ..Rules::default() });
                for (kind, fids) in [(types::TATTACH, &[1, NOFID][..]), (types::TAUTH, &[1])] {
                    let message = fids.iter().fold(made(kind, 5), |message, fid| message.u32(*fid));
                    let message = message.str(*uname).str("a");
                    let has_number = dialect != Dialect::Plain;
                    let message = if has_number { message.u32(*number) } else { message }.done();
                    match may {
                        false => bench.refused(id, &message, NotAllowed),
                        true => {
                            let request = bench.forwarded(id, &message);
                            bench.server(&error(dialect, tag(&request), "no"));
                            bench.client_received(id);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn both_rules_must_allow_an_attach_of_the_superuser() {
    let unames = vec!["ann".to_owned()];
    let mut bench = Bench::with(Dialect::Plain, Config { unames, ..Config::default() });
    let caller = Some(Box::new(Caller { uid: Some(0), name: Some("root".to_owned()) }));
    let id = bench.client_by(Rules { caller, ..Rules::default() });
    bench.refused(id, &attach(Dialect::Plain, 2, 0, !0, "bob", "a"), NotAllowed);
    bench.forwarded(id, &attach(Dialect::Plain, 2, 0, !0, "ann", "a"));
}
