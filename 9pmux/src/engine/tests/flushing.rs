//! Tflush, Tversion within a session, and departing clients.

use std::time::Duration;

use super::LocalError::*;
use super::bench::Bench;
use super::messages::*;
use crate::engine::{ClientId, Config};
use crate::wire::{Dialect, HEADER, kind, tag, u16_at, u32_at};

const OLDTAG: usize = HEADER;
const FID: usize = HEADER;
const NEWFID: usize = HEADER + 4;

fn rflush(tag: u16) -> Vec<u8> {
    made(109, tag).done()
}

#[test]
fn flush_of_an_unknown_tag_is_replied_to_locally() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    let (other, _) = bench.attached();
    bench.forwarded(other, &read(9, 0, 0, 1));
    for oldtag in [5, 3, 9, 0xFFFF] {
        bench.client_sends(id, &flush(3, oldtag));
        assert_eq!(bench.client_received(id), rflush(3));
    }
    let new = bench.engine.client_connected();
    bench.client_sends(new, &flush(3, 9));
    assert_eq!(bench.client_received(new), rflush(3), "also without a version");
    assert!(bench.upstream().is_empty());
}

#[test]
fn reply_before_the_rflush_counts_in_full() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let (id, _) = bench.attached();
        let request = bench.forwarded(id, &walk(2, 0, 5, &[]));
        let flushed = bench.forwarded(id, &flush(3, 2));
        assert_eq!((kind(&flushed), u16_at(&flushed, OLDTAG)), (108, tag(&request)));
        bench.server(&rwalk(tag(&request), 0));
        assert_eq!(bench.client_received(id), rwalk(2, 0));
        // The upstream tag and fids of the flushed request stay in use until the Rflush.
        let other = bench.forwarded(id, &of_fid(120, 4, 5));
        assert_ne!(tag(&other), tag(&request));
        bench.done(&other);
        assert_eq!(bench.client_received(id), made(121, 4).done());
        assert_eq!(bench.engine.stats().fids, 2);
        bench.done(&flushed);
        assert_eq!(bench.client_received(id), rflush(3));
        assert_eq!((bench.engine.stats().fids, bench.engine.stats().requests), (1, 0));
    }
}

#[test]
fn flushed_request_without_a_reply_never_happened() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let (id, root) = bench.attached();
        let request = bench.forwarded(id, &walk(2, 0, 5, &[]));
        let flushed = bench.forwarded(id, &flush(3, 2));
        bench.done(&flushed);
        assert_eq!(bench.client_received(id), rflush(3));
        // The server may have performed the walk all the same, so its new fid is clunked before it is reused.
        let ours = bench.server_received();
        assert_eq!((kind(&ours), u32_at(&ours, FID)), (120, u32_at(&request, NEWFID)));
        bench.refused(id, &of_fid(120, 4, 5), UnknownFid);
        let again = bench.forwarded(id, &walk(4, 0, 5, &[]));
        assert_ne!(u32_at(&again, NEWFID), u32_at(&request, NEWFID));
        bench.failed(&again);
        assert!(is_error(&bench.client_received(id)));
        bench.failed(&ours);
        assert_eq!(bench.engine.stats().fids, 1);
        // A late reply is dropped.
        bench.server(&rwalk(tag(&request), 0));
        assert!(bench.all_received(id).is_empty());
        assert_eq!(bench.engine.stats().dropped, 1);

        let request = bench.forwarded(id, &of_fid(120, 2, 0));
        let flushed = bench.forwarded(id, &flush(3, 2));
        bench.done(&flushed);
        assert_eq!(bench.client_received(id), rflush(3));
        let read = bench.forwarded(id, &read(2, 0, 0, 1));
        assert_eq!(u32_at(&read, FID), root, "the fid is unchanged");
        assert_ne!(tag(&read), tag(&request));
    }
}

#[test]
fn flushed_clunk_of_a_reused_number_is_sent_again() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, root) = bench.attached();
    bench.attach(id, 1);
    bench.forwarded(id, &of_fid(120, 2, 0));
    let again = bench.forwarded(id, &walk(3, 1, 0, &[]));
    let flushed = bench.forwarded(id, &flush(4, 2));
    bench.server(&rwalk(tag(&again), 0));
    bench.done(&flushed);
    assert_eq!(bench.all_received(id), [rwalk(3, 0), rflush(4)]);
    let ours = bench.server_received();
    assert_eq!((kind(&ours), u32_at(&ours, FID)), (120, root));
    bench.done(&ours);
    assert_eq!(bench.engine.stats().fids, 2);
}

#[test]
fn flushed_walk_and_clunk_leave_no_fid() {
    for first in [0, 1] {
        let mut bench = Bench::new(Dialect::Plain);
        let (id, _) = bench.attached();
        let walked = bench.forwarded(id, &walk(2, 0, 5, &[]));
        bench.forwarded(id, &of_fid(120, 3, 5));
        let flushed = [bench.forwarded(id, &flush(4, 2)), bench.forwarded(id, &flush(5, 3))];
        bench.done(&flushed[first]);
        bench.done(&flushed[1 - first]);
        assert_eq!(bench.all_received(id).len(), 2);
        // Neither request has taken effect, so the fid does not exist and its number is free.
        let ours = bench.server_received();
        assert_eq!((kind(&ours), u32_at(&ours, FID)), (120, u32_at(&walked, NEWFID)));
        bench.refused(id, &read(6, 5, 0, 1), UnknownFid);
        bench.forwarded(id, &walk(6, 0, 5, &[]));
    }
}

#[test]
fn several_flushes_of_a_tag_complete_in_order() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    bench.forwarded(id, &read(2, 0, 0, 1));
    let flushed = bench.forwarded(id, &flush(3, 2));
    bench.client_sends(id, &flush(4, 2));
    bench.client_sends(id, &flush(5, 3)); // Flushes the Tflush.
    bench.refused(id, &read(4, 0, 0, 1), DuplicateTag);
    assert!(bench.upstream().is_empty() && bench.all_received(id).is_empty());
    bench.done(&flushed);
    assert_eq!(bench.all_received(id), [rflush(3), rflush(4), rflush(5)]);
}

#[test]
fn later_flush_does_not_overtake_an_earlier_one() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    let request = bench.forwarded(id, &read(2, 0, 0, 1));
    let flushed = bench.forwarded(id, &flush(3, 2));
    bench.server(&made(117, tag(&request)).u32(0).done());
    bench.client_sends(id, &flush(4, 2));
    assert_eq!(bench.all_received(id), [made(117, 2).u32(0).done()]);
    bench.done(&flushed);
    assert_eq!(bench.all_received(id), [rflush(3), rflush(4)]);
}

#[test]
fn error_reply_to_tflush_becomes_rflush() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let (id, _) = bench.attached();
        bench.forwarded(id, &read(2, 0, 0, 1));
        let flushed = bench.forwarded(id, &flush(3, 2));
        bench.failed(&flushed);
        assert_eq!(bench.client_received(id), rflush(3));
    }
}

fn full(config: Config) -> (Bench, ClientId) {
    let mut bench = Bench::with(Dialect::Plain, Config { max_inflight: 2, ..config });
    let (id, _) = bench.attached();
    for tag in [11, 12] {
        bench.forwarded(id, &read(tag, 0, 0, 1));
    }
    (bench, id)
}

/// Replies, as the server, to the first of these requests.
fn first_is_read(bench: &mut Bench) {
    let up = bench.engine.requests.iter().find(|(_, request)| request.tag == 11);
    let (up, _) = up.expect("it is upstream");
    bench.server(&made(117, up).u32(0).done());
}

#[test]
fn open_flushes_are_bounded_and_the_rest_wait() {
    let config = Config { max_inflight: 2000, max_inbox_bytes: 1 << 20, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.attached();
    let reads: Vec<u8> = (0..600).flat_map(|n| read(n, 0, 0, 1)).collect();
    bench.client_sends(id, &reads);
    assert_eq!(bench.upstream().len(), 600);
    let flushes: Vec<u8> = (0..600).flat_map(|n| flush(1000 + n, n)).collect();
    bench.client_sends(id, &flushes);
    let mut asked = bench.upstream();
    assert_eq!(asked.len(), 256);
    let mut answered = 0;
    while let Some(flushed) = asked.pop() {
        bench.done(&flushed);
        answered += bench.all_received(id).len();
        asked.extend(bench.upstream());
    }
    assert_eq!((answered, bench.engine.stats().requests), (600, 0));
}

#[test]
fn flush_takes_effect_behind_blocked_requests() {
    let (mut bench, id) = full(Config::default());
    bench.client_sends(id, &empty_write(13, 0));
    bench.client_sends(id, &empty_write(14, 0));
    bench.client_sends(id, &flush(15, 13)); // Flushes a waiting request, which is removed.
    assert_eq!(bench.client_received(id), rflush(15));
    bench.client_sends(id, &flush(16, 11)); // Flushes a request upstream.
    let flushed = bench.server_received();
    assert_eq!(kind(&flushed), 108);
    bench.done(&flushed);
    assert_eq!(bench.client_received(id), rflush(16));
    let next = bench.server_received();
    assert_eq!(kind(&next), 118);
    // An oversized message waits in the queue, and a flush overtakes it.
    bench.client_sends(id, &empty_write(17, 0));
    bench.client_sends(id, &made(118, 18).raw(&[0; 9000]).done());
    bench.client_sends(id, &flush(19, 17));
    assert_eq!(
        bench.all_received(id),
        [rflush(19), error(Dialect::Plain, 18, "message larger than msize")]
    );
    bench.server(&made(119, tag(&next)).u32(0).done());
    assert_eq!(tag(&bench.client_received(id)), 14);
}

#[test]
fn flush_of_its_own_tag_removes_nothing() {
    let (mut bench, id) = full(Config::default());
    bench.client_sends(id, &empty_write(13, 0));
    bench.client_sends(id, &flush(13, 13));
    assert_eq!(bench.client_received(id), rflush(13));
    first_is_read(&mut bench);
    assert_eq!(tag(&bench.client_received(id)), 11);
    assert_eq!(
        kind(&bench.server_received()),
        118,
        "the waiting request with the same tag is forwarded"
    );
}

#[test]
fn queued_malformed_flush_can_be_flushed() {
    // The Tflush must also be rejected if it were well-formed with the bytes of the next message.
    for behind in [false, true] {
        let (mut bench, id) = full(Config::default());
        bench.client_sends(id, &empty_write(13, 0));
        bench.client_sends(id, &made(108, 14).u8(0).done());
        if behind {
            bench.client_sends(id, &empty_write(16, 0));
        }
        bench.client_sends(id, &flush(15, 14));
        assert_eq!(bench.client_received(id), rflush(15));
        first_is_read(&mut bench);
        assert_eq!(
            tag(&bench.client_received(id)),
            11,
            "no message with tag 14 follows its Rflush"
        );
    }
}

#[test]
fn refused_tversion_keeps_queued_requests() {
    let malformed = made(100, 0xFFFF).u32(8192).u16(9).done();
    for (refused, why) in [(version(255, "9P2000"), SmallMsize), (malformed, Malformed)] {
        let (mut bench, id) = full(Config::default());
        bench.client_sends(id, &empty_write(13, 0));
        bench.client_sends(id, &refused);
        first_is_read(&mut bench);
        let replies = bench.all_received(id);
        assert_eq!(tag(&replies[0]), 11);
        assert_eq!(kind(&bench.server_received()), 118, "the earlier request is forwarded");
        assert!(
            is_local_error(Dialect::Plain, &replies[1], why),
            "the Tversion is handled after it"
        );
    }
}

#[test]
fn tversion_and_disconnect_take_effect_behind_blocked_requests() {
    let (mut bench, id) = full(Config::default());
    bench.client_sends(id, &read(13, 0, 0, 1));
    bench.client_sends(id, &version(4096, "9P2000"));
    let flushes = bench.upstream();
    assert_eq!(flushes.iter().map(|m| kind(m)).collect::<Vec<_>>(), [108, 108]);
    bench.done(&flushes[0]);
    assert!(bench.all_received(id).is_empty());
    bench.done(&flushes[1]);
    let clunk = bench.server_received();
    assert_eq!(kind(&clunk), 120);
    bench.done(&clunk);
    assert_eq!(bench.client_received(id), rversion(4096, "9P2000"));

    let (mut bench, id) = full(Config::default());
    bench.client_sends(id, &read(13, 0, 0, 1));
    bench.disconnect(id);
    assert_eq!(bench.upstream().len(), 2);
}

#[test]
fn flush_waits_for_a_tag_only() {
    let config = Config { max_inflight_all: 2, max_server_bytes: 1, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.attached();
    let one = bench.forwarded(id, &read(11, 0, 0, 1));
    let two = bench.forwarded(id, &read(12, 0, 0, 1));
    bench.client_sends(id, &flush(21, 11));
    bench.client_sends(id, &flush(22, 12));
    let flushed = bench.server_received();
    assert_eq!(u16_at(&flushed, OLDTAG), tag(&one));
    // The second Tflush has no upstream tag. The reply to its target may arrive in the meantime.
    bench.server(&made(117, tag(&two)).u32(0).done());
    assert_eq!(bench.all_received(id), [made(117, 12).u32(0).done(), rflush(22)]);
    bench.done(&flushed);
    assert_eq!(bench.client_received(id), rflush(21));
    assert_eq!(bench.engine.stats().requests, 0);
    assert!(bench.upstream().is_empty());
}

#[test]
fn second_tversion_resets_only_its_client() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let (id, root) = bench.attached();
        let (other, _) = bench.attached();
        let its = bench.forwarded(other, &read(2, 0, 0, 1));
        let walked = bench.forwarded(id, &walk(2, 0, 1, &[]));
        let new = bench.attach(id, 7);
        bench.client_sends(id, &version(4096, dialect.name()));
        let asked = bench.upstream();
        // Fids that no request in flight names are clunked at once, and requests in flight are flushed.
        assert_eq!(asked.len(), 2);
        let (flushed, clunk) = (&asked[0], &asked[1]);
        assert_eq!((kind(flushed), u16_at(flushed, OLDTAG)), (108, tag(&walked)));
        assert_eq!((kind(clunk), u32_at(clunk, FID)), (120, new));
        // New requests of the client wait.
        bench.client_sends(id, &attach(dialect, 9, 0, !0, "u", "a"));
        bench.done(clunk);
        // The walk was performed before it was flushed, so its fid is clunked too.
        bench.server(&rwalk(tag(&walked), 0));
        bench.done(flushed);
        let clunks = bench.upstream();
        let mut fids: Vec<u32> = clunks.iter().map(|m| u32_at(m, FID)).collect();
        fids.sort_unstable();
        assert_eq!(fids, [root, u32_at(&walked, NEWFID)]);
        assert!(bench.all_received(id).is_empty());
        bench.done(&clunks[0]);
        bench.failed(&clunks[1]);
        assert_eq!(bench.client_received(id), rversion(4096, dialect.name()));
        assert_eq!(kind(&bench.server_received()), 104);
        bench.server(&made(117, tag(&its)).u32(0).done());
        assert_eq!(bench.client_received(other), made(117, 2).u32(0).done());
    }
}

#[test]
fn second_tversion_times_out_waiting_for_the_cleanup() {
    let config = Config { cleanup_timeout: Duration::from_secs(3), ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    bench.engine.tick(Duration::from_secs(100));
    let (id, root) = bench.attached();
    let request = bench.forwarded(id, &read(2, 0, 0, 1));
    let flushed = bench.forwarded(id, &version(4096, "9P2000"));
    assert_eq!(bench.engine.next_deadline(), Some(Duration::from_secs(103)));
    bench.engine.tick(Duration::from_secs(102));
    assert!(bench.all_received(id).is_empty());
    bench.engine.tick(Duration::from_secs(103));
    assert_eq!(bench.client_received(id), rversion(4096, "9P2000"));
    assert_eq!(bench.engine.next_deadline(), None);
    // The state of these requests is unknown, so their fids stay out of use.
    assert_eq!(bench.engine.stats().in_cleanup, 2);
    assert_ne!(bench.attach(id, 0), root);
    // The fids can be reused once the state is known.
    bench.server(&made(117, tag(&request)).u32(0).done());
    bench.done(&flushed);
    let clunk = bench.server_received();
    bench.done(&clunk);
    assert_eq!(bench.engine.stats().in_cleanup, 0);
    assert!(bench.all_received(id).is_empty());
}

#[test]
fn reused_cleanup_slot_has_its_own_deadline() {
    let config = Config { cleanup_timeout: Duration::from_secs(10), ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let begin = |at: u64, bench: &mut Bench| {
        bench.engine.tick(Duration::from_secs(at));
        let (id, _) = bench.attached();
        let clunk = bench.forwarded(id, &version(8192, "9P2000"));
        (id, clunk)
    };
    let (one, its) = begin(1, &mut bench);
    let (two, _) = begin(2, &mut bench);
    assert_eq!(bench.engine.next_deadline(), Some(Duration::from_secs(11)));
    bench.done(&its);
    assert_eq!(bench.client_received(one), rversion(8192, "9P2000"));
    assert_eq!(bench.engine.next_deadline(), Some(Duration::from_secs(12)));
    // The third cleanup reuses the slot of the first. The second client disconnects before its reply.
    let (three, _) = begin(3, &mut bench);
    bench.disconnect(two);
    bench.engine.tick(Duration::from_secs(12));
    assert!(bench.all_received(three).is_empty());
    assert_eq!(bench.engine.next_deadline(), Some(Duration::from_secs(13)));
    bench.engine.tick(Duration::from_secs(13));
    assert_eq!(bench.client_received(three), rversion(8192, "9P2000"));
    assert_eq!((bench.engine.next_deadline(), bench.engine.stats().in_cleanup), (None, 2));
}

#[test]
fn disconnect_flushes_and_clunks_at_once() {
    let mut bench = Bench::new(Dialect::L);
    let (id, _) = bench.attached();
    let (other, _) = bench.attached();
    let fids: Vec<u32> = (1..50).map(|fid| bench.attach(id, fid)).collect();
    let created = bench.forwarded(id, &walk(2, 0, 77, &[]));
    let flushed = bench.forwarded(id, &read(3, 1, 0, 9));
    bench.disconnect(id);
    let asked = bench.upstream();
    assert_eq!(asked.iter().filter(|m| kind(m) == 108).count(), 2);
    // All fids are clunked, except for the two that requests in flight name.
    assert_eq!(asked.iter().filter(|m| kind(m) == 120).count(), fids.len() + 1 - 2);
    for request in &asked {
        if kind(request) == 108 && u16_at(request, OLDTAG) == tag(&created) {
            bench.server(&rwalk(tag(&created), 0));
        }
        bench.done(request);
    }
    let asked = bench.upstream();
    let mut last: Vec<u32> = asked.iter().map(|m| u32_at(m, FID)).collect();
    last.sort_unstable();
    let mut expected = vec![u32_at(&created, FID), u32_at(&created, NEWFID), u32_at(&flushed, FID)];
    expected.sort_unstable();
    assert_eq!(last, expected);
    asked.iter().for_each(|request| bench.done(request));
    assert_eq!((bench.engine.stats().fids, bench.engine.stats().requests), (1, 0));
    assert!(bench.all_received(other).is_empty());
    // The id belongs to no client.
    bench.client_sends(id, &read(1, 0, 0, 1));
    assert!(bench.upstream().is_empty() && bench.engine.client_info(id).is_none());
}

#[test]
fn fid_without_an_rclunk_is_not_reused() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, fid) = bench.attached();
    bench.disconnect(id);
    let clunk = bench.server_received();
    bench.engine.tick(Duration::from_secs(1_000_000));
    assert_eq!(bench.engine.stats().in_cleanup, 1);
    let (_, other) = bench.attached();
    assert_ne!(fid, other);
    bench.failed(&clunk);
    assert_eq!(bench.engine.stats().in_cleanup, 0);
    assert_eq!(bench.attached().1, fid);
}

#[test]
fn reused_slot_is_another_client() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    let request = bench.forwarded(id, &read(2, 0, 0, 1));
    bench.disconnect(id);
    bench.upstream();
    let new = bench.client();
    assert_eq!((new.index(), new == id), (id.index(), false));
    bench.server(&made(117, tag(&request)).u32(0).done());
    assert!(bench.all_received(new).is_empty());
    bench.disconnect(id);
    assert!(bench.engine.client_info(new).is_some());
}

/// The server may reply to a request only after it has been flushed, so a flush that is not handled would block for
/// ever.
#[test]
fn flush_takes_effect_behind_a_full_inbox() {
    let (mut bench, id) = full(Config { max_inbox_bytes: 1 << 20, ..Config::default() });
    let many: Vec<u8> = (0..3000).flat_map(|n| read(100 + n, 0, 0, 1)).collect();
    bench.client_sends(id, &many);
    for (tag, oldtag) in [(50, 3099), (51, 9999), (52, 100), (53, 1500)] {
        bench.client_sends(id, &flush(tag, oldtag));
        assert_eq!(
            bench.client_received(id),
            rflush(tag),
            "a flush of a waiting request, or of an unknown tag"
        );
    }
    // Many flushes arrive at once, some of them for requests that arrive with them.
    let at_once = (0..40).flat_map(|n| {
        let late = read(8000 + n, 0, 0, 1);
        [late, flush(9000, 8000 + n), flush(9001, 200 + n), flush(9002, 8000 + n)].concat()
    });
    bench.client_sends(id, &at_once.collect::<Vec<u8>>());
    assert_eq!(bench.all_received(id).len(), 120);
    assert!(bench.upstream().is_empty());
    bench.client_sends(id, &flush(60, 11)); // Flushes a request upstream.
    let flushed = bench.server_received();
    assert_eq!(kind(&flushed), 108);
    bench.done(&flushed);
    assert_eq!(bench.client_received(id), rflush(60));
    // All other requests are forwarded, in their order.
    let mut answered = Vec::new();
    for request in bench.upstream() {
        bench.server(&made(117, tag(&request)).u32(0).done());
    }
    bench.server(&made(117, 2).u32(0).done());
    for _ in 0..3000 {
        answered.extend(bench.all_received(id).iter().map(|m| tag(m)));
        for request in bench.upstream() {
            bench.engine.server_bytes(&made(117, tag(&request)).u32(0).done());
        }
    }
    let mut expected: Vec<u16> = (100..3100).collect();
    expected.retain(|tag| ![3099, 100, 1500].contains(tag) && !(200..240).contains(tag));
    answered.retain(|tag| *tag != 12);
    assert_eq!(answered, expected);
}

#[test]
fn inbox_full_of_flushes_costs_little_work() {
    const MANY: usize = 10_000;
    let config = Config { max_inbox_bytes: 1 << 30, max_reply_bytes: 1 << 30, ..Config::default() };
    let reads: Vec<u8> = (0..MANY as u16).flat_map(|n| empty_write(100 + n, 0)).collect();
    let flushes = |oldtag: fn(u16) -> u16| -> Vec<u8> {
        (0..MANY as u16).flat_map(|n| flush(99, oldtag(n))).collect()
    };
    for (bytes, left) in [
        ([&reads[..], &flushes(|_| 50_000)].concat(), reads.len()),
        ([&reads[..], &flushes(|n| 100 + n)].concat(), 0),
        ([&reads[..], &flushes(|n| 10_099 - n)].concat(), 0),
        (flushes(|n| 20_000 + n), 0),
        (
            (0..MANY as u16)
                .flat_map(|n| [empty_write(99, 0), flush(98, 99 + n % 2)].concat())
                .collect(),
            1,
        ),
    ] {
        let (mut bench, id) = full(config.clone());
        bench.client_sends(id, &empty_write(13, 0));
        let before = crate::engine::WORK.get();
        bench.engine.client_bytes(id, &bytes);
        let effort = crate::engine::WORK.get() - before;
        assert!(effort < 20 * bytes.len(), "{effort} for {} bytes", bytes.len());
        assert_eq!(bench.all_received(id).len(), MANY);
        let held = bench.engine.client_info(id).unwrap().queued - 23;
        assert!(held == left || left == 1, "{held} bytes wait");
    }
}

/// The request upstream may end only after the flush, so 9pmux must read the flush.
#[test]
fn large_blocked_request_does_not_hide_a_flush() {
    let (mut bench, id) = full(Config { max_inbox_bytes: 100, ..Config::default() });
    let write = |tag| made(118, tag).u32(0).u64(0).u32(5000).raw(&[7; 5000]).done();
    bench.client_sends(id, &write(13));
    assert!(bench.engine.wants_read(id));
    let flushed = bench.forwarded(id, &flush(14, 11));
    bench.done(&flushed);
    assert_eq!(bench.client_received(id), rflush(14));
    assert_eq!(kind(&bench.server_received()), 118);
    // The queue is bounded: it may contain as many bytes as the largest message.
    bench.client_sends(id, &write(15));
    assert!(bench.engine.wants_read(id));
    bench.client_sends(id, &write(16));
    assert!(!bench.engine.wants_read(id));
}

#[test]
fn malformed_tversion_ends_no_session() {
    for (bad, why) in [
        (made(100, 7).u32(8192).u16(9).str("9P2000").done(), Malformed),
        (made(100, 7).u8(0).done(), Malformed),
        (version(255, "9P2000"), SmallMsize),
    ] {
        let (mut bench, id) = full(Config::default());
        bench.client_sends(id, &[&empty_write(13, 0)[..], &bad, &flush(14, 12)].concat());
        // Messages before and behind the malformed one are handled.
        let flushed = bench.server_received();
        assert_eq!((kind(&flushed), bench.all_received(id).len()), (108, 0));
        bench.done(&flushed);
        let replies = bench.all_received(id);
        assert_eq!((replies.len(), &replies[0]), (2, &rflush(14)));
        assert!(is_local_error(Dialect::Plain, &replies[1], why));
        assert_eq!(kind(&bench.server_received()), 118);
    }
}

#[test]
fn large_tables_shrink() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    for fid in 1..2000 {
        let request = bench.engine.walks(id, fid);
        bench.engine.server_bytes(&rwalk(request, 0));
    }
    for tag in 0..20 {
        bench.engine.client_bytes(id, &read(100 + tag, 0, 0, 1));
        bench.engine.client_bytes(id, &flush(200 + tag, 100 + tag));
    }
    for request in bench.upstream() {
        if kind(&request) == 108 {
            bench.done(&request);
        }
    }
    bench.all_received(id);
    let flushes = |bench: &mut Bench| bench.engine.clients.get(0).session.flushes.capacity();
    assert_eq!((id.index(), flushes(&mut bench)), (0, 0));
    for fid in 1..2000 {
        bench.engine.client_bytes(id, &of_fid(120, 9, fid));
        let clunk = bench.engine.server_output().to_vec();
        bench.engine.server_wrote(clunk.len());
        bench.engine.server_bytes(&made(121, tag(&clunk)).done());
    }
    bench.all_received(id);
    let client = bench.engine.clients.get(0);
    assert_eq!(client.session.fids.len(), 1);
    assert!(
        client.session.fids.capacity() < 100,
        "{} places for one fid",
        client.session.fids.capacity()
    );
}

impl crate::engine::Engine {
    /// Walks to a new fid, and returns the upstream tag.
    fn walks(&mut self, id: ClientId, newfid: u32) -> u16 {
        self.client_bytes(id, &walk(9, 0, newfid, &[]));
        let request = tag(self.server_output());
        self.server_wrote(usize::MAX);
        request
    }
}

#[test]
fn blocked_flush_resumes_when_output_is_drained() {
    let config = Config { max_inflight_all: 1, max_reply_bytes: 300, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.attached();
    let (other, _) = bench.attached();
    bench.forwarded(other, &read(1, 0, 0, 1));
    // The client's output is full, and its request waits for an upstream tag.
    for _ in 0..20 {
        bench.client_sends(id, &of_fid(120, 5, 99));
    }
    bench.client_sends(id, &read(6, 0, 0, 1));
    bench.client_sends(id, &flush(7, 1234));
    let tags = |messages: Vec<Vec<u8>>| messages.iter().map(|m| tag(m)).collect::<Vec<_>>();
    assert_eq!(tags(bench.all_received(id)), [5; 15]);
    // A request that needs no upstream tag does not wait for one.
    assert_eq!(tags(bench.all_received(id)), [5, 5, 5, 5, 5, 7]);
    assert!(bench.upstream().is_empty());
    bench.client_sends(id, &flush(8, 6));
    assert_eq!(bench.all_received(id), [rflush(8)]);
}
