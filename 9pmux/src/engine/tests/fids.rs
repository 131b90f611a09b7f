//! Fids, tags and auth fids.

use super::LocalError::*;
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{Config, VersionEvent};
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, u16_at, u32_at};

const FID: usize = HEADER;
const NEWFID: usize = HEADER + 4;

#[test]
fn invalid_fids_and_tags_are_refused_locally() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let (id, _) = bench.attached();
        bench.refused(id, &of_fid(120, 1, 5), UnknownFid);
        bench.refused(id, &read(1, NOFID, 0, 1), UnknownFid);
        bench.refused(id, &walk(1, 5, 6, &[]), UnknownFid);
        bench.refused(id, &walk(1, 5, 5, &[]), UnknownFid);
        bench.refused(id, &walk(1, 0, NOFID, &[]), BadFid);
        bench.refused(id, &attach(dialect, 1, 0, NOFID, "u", "a"), FidInUse);
        bench.refused(id, &attach(dialect, 1, NOFID, NOFID, "u", "a"), BadFid);
        bench.refused(id, &auth(dialect, 1, 0, "u", "a"), FidInUse);
        let first = bench.forwarded(id, &read(7, 0, 0, 1));
        bench.refused(id, &read(7, 0, 0, 1), DuplicateTag);
        bench.server(&made(117, tag(&first)).u32(1).u8(3).done());
        assert_eq!(bench.client_received(id), made(117, 7).u32(1).u8(3).done());
        // The tag is free again. Every other tag may be used too, including 0xFFFF.
        let second = bench.forwarded(id, &read(0xFFFF, 0, 0, 1));
        assert_ne!(tag(&second), 0xFFFF);
    }
}

#[test]
fn equal_fid_numbers_of_two_clients_are_different_fids() {
    let mut bench = Bench::new(Dialect::Plain);
    let (one, its) = bench.attached();
    let (two, other) = bench.attached();
    assert_ne!(its, other);
    let first = bench.forwarded(one, &of_fid(124, 1, 0));
    let second = bench.forwarded(two, &of_fid(124, 1, 0));
    assert_eq!((u32_at(&first, FID), u32_at(&second, FID)), (its, other));
    assert_ne!(tag(&first), tag(&second));
    // The replies come in reverse order.
    bench.server(&made(125, tag(&second)).u16(1).u8(2).done());
    bench.server(&made(125, tag(&first)).u16(1).u8(1).done());
    assert_eq!(bench.client_received(one), made(125, 1).u16(1).u8(1).done());
    assert_eq!(bench.client_received(two), made(125, 1).u16(1).u8(2).done());
}

#[test]
fn clunk_and_remove_always_release_the_fid() {
    for dialect in Dialect::ALL {
        for kind in [120, 122] {
            for fails in [false, true] {
                let mut bench = Bench::new(dialect);
                let (id, fid) = bench.attached();
                let request = bench.forwarded(id, &of_fid(kind, 2, 0));
                assert_eq!(u32_at(&request, FID), fid);
                bench.refused(id, &read(3, 0, 0, 1), UnknownFid);
                if fails {
                    bench.failed(&request)
                } else {
                    bench.done(&request)
                }
                assert_eq!(is_error(&bench.client_received(id)), fails);
                assert_eq!(bench.engine.stats().fids, 0);
                assert_eq!(bench.attach(id, 0), fid, "the lowest fid is free again");
            }
        }
    }
}

#[test]
fn failed_request_creates_no_fid() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let (id, _) = bench.attached();
        let auth = auth(dialect, 2, 9, "u", "a");
        let attach = attach(dialect, 2, 9, NOFID, "u", "a");
        let walk_all = walk(2, 0, 9, &["x", "y"]);
        let xattr = made(30, 2).u32(0).u32(9).str("user.x").done();
        for message in [&auth, &attach, &walk_all, &xattr] {
            if kind(message) == 30 && dialect != Dialect::L {
                continue;
            }
            let request = bench.forwarded(id, message);
            bench.failed(&request);
            assert!(is_error(&bench.client_received(id)));
            bench.refused(id, &of_fid(120, 3, 9), UnknownFid);
            assert_eq!(bench.engine.stats().fids, 1);
        }
        for walked in [0, 1] {
            let request = bench.forwarded(id, &walk_all);
            bench.server(&rwalk(tag(&request), walked));
            assert_eq!(bench.client_received(id), rwalk(2, walked));
            bench.refused(id, &of_fid(120, 3, 9), UnknownFid);
        }
        let request = bench.forwarded(id, &walk_all);
        bench.server(&rwalk(tag(&request), 2));
        bench.client_received(id);
        bench.refused(id, &walk_all, FidInUse);
        let used = bench.forwarded(id, &of_fid(120, 3, 9));
        assert_eq!(u32_at(&used, FID), u32_at(&request, NEWFID));
    }
}

/// The client receives an error, so it has no fid. The server has created one, which 9pmux must clunk.
#[test]
fn fid_of_an_oversized_reply_is_clunked() {
    let mut bench = Bench::new(Dialect::Plain);
    let id = bench.client_of(256);
    bench.attach(id, 0);
    let request = bench.forwarded(id, &walk(2, 0, 9, &[]));
    bench.server(&made(111, tag(&request)).u16(0).raw(&[7; 300]).done());
    assert!(is_local_error(Dialect::Plain, &bench.client_received(id), ReplyTooLarge));
    let clunk = bench.server_received();
    assert_eq!((kind(&clunk), u32_at(&clunk, FID)), (120, u32_at(&request, NEWFID)));
    bench.refused(id, &read(3, 9, 0, 1), UnknownFid);
    bench.done(&clunk);
    bench.forwarded(id, &walk(2, 0, 9, &[]));
}

#[test]
fn walk_to_the_same_fid_moves_it() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, fid) = bench.attached();
    for walked in [1, 0] {
        let request = bench.forwarded(id, &walk(2, 0, 0, &["x"]));
        assert_eq!((u32_at(&request, FID), u32_at(&request, NEWFID)), (fid, fid));
        bench.server(&rwalk(tag(&request), walked));
        bench.client_received(id);
        assert_eq!(bench.engine.stats().fids, 1);
    }
}

#[test]
fn fid_number_is_reusable_before_the_rclunk() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let (id, root) = bench.attached();
        let request = bench.forwarded(id, &walk(1, 0, 5, &[]));
        bench.server(&rwalk(tag(&request), 0));
        bench.client_received(id);
        let old = u32_at(&request, NEWFID);
        let clunk = bench.forwarded(id, &of_fid(120, 2, 5));
        let again = bench.forwarded(id, &walk(3, 0, 5, &[]));
        let open = bench.forwarded(id, &read(4, 5, 0, 1));
        let new = u32_at(&again, NEWFID);
        assert!(new != old && new != root, "the old fid may still exist");
        assert_eq!(u32_at(&open, FID), new);
        bench.server(&rwalk(tag(&again), 0));
        bench.done(&clunk);
        assert_eq!(bench.all_received(id), [rwalk(3, 0), made(121, 2).done()]);
        let next = bench.forwarded(id, &walk(5, 5, 6, &[]));
        assert_eq!((u32_at(&next, FID), u32_at(&next, NEWFID)), (new, old));
    }
}

#[test]
fn referenced_fid_is_not_reallocated() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, root) = bench.attached();
    let read = bench.forwarded(id, &read(2, 0, 0, 1));
    let clunk = bench.forwarded(id, &of_fid(120, 3, 0));
    bench.done(&clunk);
    assert_ne!(bench.attach_late(id, 1), root);
    bench.server(&made(117, tag(&read)).u32(0).done());
    assert_eq!(bench.attach_late(id, 2), root);
}

impl Bench {
    /// As `attach`, but the client may also receive other messages.
    fn attach_late(&mut self, id: crate::engine::ClientId, fid: u32) -> u32 {
        let request = self.forwarded(id, &attach(self.dialect, 40, fid, NOFID, "u", "a"));
        self.server(&made(105, tag(&request)).qid(0, 0).done());
        self.all_received(id);
        u32_at(&request, FID)
    }
}

#[test]
fn rclunk_before_rwalk_leaves_no_fid() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    let walk = bench.forwarded(id, &walk(2, 0, 1, &[]));
    let clunk = bench.forwarded(id, &of_fid(120, 3, 1));
    bench.failed(&clunk);
    assert!(bench.upstream().is_empty());
    bench.server(&rwalk(tag(&walk), 0));
    let ours = bench.server_received();
    assert_eq!((kind(&ours), u32_at(&ours, FID)), (120, u32_at(&walk, NEWFID)));
    assert_eq!(bench.engine.stats().fids, 2);
    bench.failed(&ours);
    assert_eq!(bench.engine.stats().fids, 1);
    assert_eq!(
        bench.all_received(id).len(),
        2,
        "no client receives replies to 9pmux's own requests"
    );
}

#[test]
fn upstream_fids_are_dense_and_limited() {
    let mut bench =
        Bench::with(Dialect::Plain, Config { max_fids: 50, max_fids_all: 75, ..Config::default() });
    let (one, _) = bench.attached();
    let grow = |bench: &mut Bench, id, fid| {
        let request = bench.forwarded(id, &walk(2, 0, fid, &[]));
        bench.server(&rwalk(tag(&request), 0));
        bench.client_received(id);
        u32_at(&request, NEWFID)
    };
    for fid in 1..50 {
        assert_eq!(grow(&mut bench, one, fid * 1_000_003), fid);
    }
    bench.refused(one, &walk(2, 0, 5, &[]), TooManyFids);
    let (two, _) = bench.attached();
    for fid in 1..25 {
        assert!(grow(&mut bench, two, fid) < 75);
    }
    bench.refused(two, &walk(2, 0, 77, &[]), TooManyFids);
    bench.refused(two, &attach(Dialect::Plain, 2, 77, NOFID, "u", "a"), TooManyFids);
    let clunk = bench.forwarded(one, &of_fid(120, 2, 30 * 1_000_003));
    bench.done(&clunk);
    bench.client_received(one);
    assert_eq!(grow(&mut bench, two, 77), 30);
}

#[test]
fn hundred_thousand_fids_are_clunked_on_disconnect() {
    const MANY: u32 = 100_000;
    let mut bench = Bench::with(
        Dialect::Plain,
        Config { max_fids: 1 << 20, max_server_bytes: 1 << 30, ..Config::default() },
    );
    let (id, _) = bench.attached();
    for fid in 1..MANY {
        bench.engine.client_bytes(id, &walk(1, 0, fid << 8, &[]));
        let request = bench.engine.server_output();
        let reply = rwalk(tag(request), 0);
        bench.engine.server_wrote(usize::MAX);
        bench.engine.server_bytes(&reply);
        bench.engine.client_wrote(id, usize::MAX);
    }
    assert_eq!(bench.engine.stats().fids, MANY as usize);
    bench.engine.client_gone(id);
    let mut clunked = vec![false; MANY as usize];
    let mut rounds = 0;
    loop {
        let mut bytes = bench.engine.server_output().to_vec();
        bench.engine.server_wrote(bytes.len());
        if bytes.is_empty() {
            break;
        }
        rounds += 1;
        let mut replies = Vec::new();
        for clunk in cut(&mut bytes) {
            assert_eq!(kind(&clunk), 120);
            let fid = u32_at(&clunk, FID) as usize;
            assert!(!std::mem::replace(&mut clunked[fid], true));
            replies.extend(made(121, tag(&clunk)).done());
        }
        bench.engine.server_bytes(&replies);
    }
    assert!(clunked.into_iter().all(|clunked| clunked));
    assert!(rounds <= 100, "{rounds} round trips");
    assert_eq!((bench.engine.stats().fids, bench.engine.stats().in_cleanup), (0, 0));
}

#[test]
fn auth_fid_is_valid_only_for_its_client_and_names() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let (id, _) = bench.attached();
        let other = bench.client();
        let request = bench.forwarded(id, &auth(dialect, 2, 7, "glenda", "tree"));
        let afid = u32_at(&request, FID);
        bench.server(&made(103, tag(&request)).qid(0, 0).done());
        bench.client_received(id);
        // An afid is read and written like any other fid.
        assert_eq!(u32_at(&bench.forwarded(id, &read(3, 7, 0, 9)), FID), afid);

        bench.refused(other, &attach(dialect, 2, 1, 7, "glenda", "tree"), UnknownFid);
        bench.refused(id, &attach(dialect, 2, 1, 7, "root", "tree"), OtherAuth);
        bench.refused(id, &attach(dialect, 2, 1, 7, "glenda", "tre"), OtherAuth);
        bench.refused(id, &attach(dialect, 2, 1, 7, "glendat", "ree"), OtherAuth);
        bench.refused(id, &attach(dialect, 2, 1, 7, "", ""), OtherAuth);
        bench.refused(id, &attach(dialect, 2, 1, 0, "glenda", "tree"), NotAuth);
        if dialect != Dialect::Plain {
            let message = made(104, 2).u32(1).u32(7).str("glenda").str("tree").u32(0).done();
            bench.refused(id, &message, OtherAuth);
        }
        let request = bench.forwarded(id, &attach(dialect, 2, 1, 7, "glenda", "tree"));
        assert_eq!(u32_at(&request, FID + 4), afid);
        bench.server(&made(105, tag(&request)).qid(0, 0).done());
        bench.client_received(id);
        // When an afid is clunked, its user is forgotten.
        let clunk = bench.forwarded(id, &of_fid(120, 4, 7));
        bench.done(&clunk);
        bench.client_received(id);
        bench.refused(id, &attach(dialect, 2, 9, 7, "glenda", "tree"), UnknownFid);
    }
}

#[test]
fn required_authentication_refuses_an_attach_without_an_afid() {
    for dialect in Dialect::ALL {
        for attach_once in [false, true] {
            let config = Config { require_auth: true, attach_once, ..Config::default() };
            let mut bench = Bench::with(dialect, config);
            let (id, other) = (bench.client(), bench.client());
            bench.refused(id, &attach(dialect, 2, 1, !0, "glenda", "tree"), AuthRequired);
            // A client that has authenticated opens the server to itself only, and to one user.
            let request = bench.forwarded(id, &auth(dialect, 2, 7, "glenda", "tree"));
            bench.server(&made(103, tag(&request)).qid(0, 0).done());
            bench.client_received(id);
            let request = bench.forwarded(id, &attach(dialect, 2, 1, 7, "glenda", "tree"));
            bench.server(&made(105, tag(&request)).qid(0, 0).done());
            assert_eq!(kind(&bench.client_received(id)), 105);
            for client in [id, other] {
                bench.refused(client, &attach(dialect, 3, 2, !0, "glenda", "tree"), AuthRequired);
                bench.refused(client, &attach(dialect, 3, 2, !0, "", ""), AuthRequired);
            }
            // The rule holds in the next session too.
            bench.client_sends(other, &version(MSIZE, dialect.name()));
            bench.client_received(other);
            bench.refused(other, &attach(dialect, 3, 2, !0, "glenda", "tree"), AuthRequired);
        }
    }
}

#[test]
fn refused_authentication_is_noticed_where_it_is_required() {
    for require_auth in [false, true] {
        let config = Config { require_auth, ..Config::default() };
        let mut bench = Bench::with(Dialect::Plain, config);
        let id = bench.client();
        while bench.engine.next_version_event().is_some() {}
        let request = bench.forwarded(id, &auth(Dialect::Plain, 2, 7, "glenda", "tree"));
        bench.server(&error(Dialect::Plain, tag(&request), "no authentication required"));
        bench.client_received(id);
        let event = bench.engine.next_version_event();
        assert_eq!(event, require_auth.then_some(VersionEvent::AuthRefused));
    }
}

#[test]
fn forbidden_attach_is_refused_locally() {
    for dialect in Dialect::ALL {
        let unames = ["glenda", "7"].map(String::from).to_vec();
        let anames = vec!["tree".to_owned()];
        let mut bench = Bench::with(dialect, Config { unames, anames, ..Config::default() });
        let id = bench.client();
        for (uname, aname) in [("root", "tree"), ("glenda", "etc"), ("", "")] {
            bench.refused(id, &auth(dialect, 2, 7, uname, aname), NotAllowed);
            bench.refused(id, &attach(dialect, 2, 1, !0, uname, aname), NotAllowed);
        }
        let request = bench.forwarded(id, &attach(dialect, 2, 1, !0, "glenda", "tree"));
        bench.server(&made(105, tag(&request)).qid(0, 0).done());
        assert_eq!(kind(&bench.client_received(id)), 105);
        // Other messages are forwarded unchanged.
        bench.forwarded(id, &read(3, 1, 0, 9));
    }
}

#[test]
fn auth_fids_use_bounded_memory() {
    let mut bench = Bench::new(Dialect::Plain);
    let id = bench.client();
    let aname = "x".repeat(MSIZE as usize - 30);
    for fid in 0.. {
        bench.client_sends(id, &auth(Dialect::Plain, 2, fid, "u", &aname));
        let Some(request) = bench.upstream().pop() else {
            assert!((7..9).contains(&fid));
            assert!(is_local_error(Dialect::Plain, &bench.client_received(id), TooManyAuth));
            return;
        };
        bench.server(&made(103, tag(&request)).qid(0, 0).done());
        bench.client_received(id);
    }
}

#[test]
fn exactly_the_fid_fields_are_patched() {
    // With `lax` the names contain NUL and slashes, and arbitrary bytes follow each message.
    for dialect in Dialect::ALL {
        for row in crate::wire::MESSAGES {
            let Some(fields) = row.request.filter(|_| row.dialects.contains(dialect)) else {
                continue;
            };
            if [98, 100, 108].contains(&row.number) {
                continue;
            }
            let lax = Config { lax: true, ..Config::default() };
            let mut bench = Bench::with(dialect, lax);
            let (id, _) = bench.attached();
            // The upstream fids differ from the client's 1000 and 1001.
            let first = bench.attach(id, 1000);
            let second = bench.attach(id, 1001);
            let mut message = made(row.number, 0x1234);
            let mut offsets = Vec::new();
            for field in fields.iter().filter(|field| field.dialects.contains(dialect)) {
                use crate::wire::{FidUse::*, FieldKind::*};
                let at = message.clone().done().len();
                message = match field.kind {
                    Fid(Creates | CreatesAuth | CreatesOnFullWalk) => {
                        offsets.push((at, u32::MAX));
                        message.u32(2000)
                    }
                    Fid(Authenticates) => message.u32(NOFID),
                    Fid(_) => {
                        let n = offsets.len();
                        offsets.push((at, [first, second][n]));
                        message.u32([1000, 1001][n])
                    }
                    U8 => message.u8(0x5A),
                    U16 | Oldtag => message.u16(0x5A5A),
                    U32 | OptionalU32 | Iounit => message.u32(0x5A5A_5A5A),
                    Count => message.u32(100),
                    U64 => message.u64(0x5A5A_5A5A_5A5A_5A5A),
                    Qid | Qids => unreachable!(),
                    String | Name => message.str(b"a/\0\xFFname"),
                    Names => message.u16(2).str(b"\0").str(b"..\x80"),
                    Data => message.u32(3).raw(b"\0\xFF\0"),
                    Stat => message.u16(3).raw(b"\0\xFF\0"),
                    Bytes(n) => message.raw(&vec![0x5A; n as usize]),
                };
            }
            let message = message.raw(b"\0more\xFF").done();
            let mut expected = message.clone();
            let request = bench.forwarded(id, &message);
            for (at, fid) in offsets {
                let fid = if fid == u32::MAX { u32_at(&request, at) } else { fid };
                assert!(fid < 10);
                crate::wire::put_u32(&mut expected, at, fid);
            }
            crate::wire::put_tag(&mut expected, tag(&request));
            assert_eq!(request, expected, "T{}", row.name);
            assert_eq!(u16_at(&request, 5), tag(&request));
        }
    }
}
