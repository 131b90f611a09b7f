//! msize, counts, and clients that exceed a limit.

use std::time::Duration;

use super::LocalError::*;
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{ClientId, Config};
use crate::wire::{Dialect, HEADER, kind, tag, u32_at};

fn attached(bench: &mut Bench, msize: u32) -> ClientId {
    let id = bench.client_of(msize);
    bench.attach(id, 0);
    id
}

#[test]
fn read_count_is_clamped_to_the_msize() {
    for (dialect, message) in [(Dialect::Plain, 116), (Dialect::U, 116), (Dialect::L, 40)] {
        let mut bench = Bench::new(dialect);
        let id = attached(&mut bench, 1000);
        for (count, clamped) in [(0, 0), (989, 989), (990, 989), (u32::MAX, 989)] {
            let message = made(message, 2).u32(0).u64(7).u32(count).done();
            let request = bench.forwarded(id, &message);
            assert_eq!(u32_at(&request, HEADER + 12), clamped);
            let data = vec![7; clamped as usize];
            let reply = |tag| made(kind(&message) + 1, tag).u32(clamped).raw(&data).done();
            bench.server(&reply(tag(&request)));
            assert_eq!(bench.client_received(id), reply(2));
        }
    }
}

#[test]
fn iounit_is_clamped_to_the_msize() {
    for dialect in Dialect::ALL {
        let opens = if dialect == Dialect::L { [12, 14] } else { [112, 114] };
        let mut bench = Bench::new(dialect);
        let id = attached(&mut bench, 1000);
        for kind in opens {
            for (iounit, clamped) in [(0, 0), (976, 976), (977, 976), (u32::MAX, 976)] {
                let message = match kind {
                    112 => made(kind, 2).u32(0).u8(0),
                    12 => made(kind, 2).u32(0).u32(0),
                    114 => made(kind, 2).u32(0).str("f").u32(0).u8(0).str(""),
                    _ => made(kind, 2).u32(0).str("f").u32(0).u32(0).u32(0),
                };
                let request = bench.forwarded(id, &message.done());
                let reply = |tag, iounit| made(kind + 1, tag).qid(3, 4).u32(iounit).raw(b"more");
                bench.server(&reply(tag(&request), iounit).done());
                assert_eq!(bench.client_received(id), reply(2, clamped).done());
            }
        }
    }
}

#[test]
fn oversized_reply_becomes_an_error() {
    for dialect in Dialect::ALL {
        let (message, reply) = match dialect {
            Dialect::L => (22, made(23, 0).str(vec![b'x'; 300]).done()),
            _ => (124, made(125, 0).str(vec![b'x'; 300]).done()),
        };
        let mut bench = Bench::new(dialect);
        for (msize, fits) in [(256, false), (308, false), (309, true)] {
            let id = attached(&mut bench, msize);
            let request = bench.forwarded(id, &of_fid(message, 2, 0));
            let mut reply = reply.clone();
            crate::wire::put_tag(&mut reply, tag(&request));
            bench.server(&reply);
            let reply = bench.client_received(id);
            assert_eq!(is_local_error(dialect, &reply, ReplyTooLarge), !fits);
            assert!(reply.len() <= msize as usize);
        }
    }
}

#[test]
fn oversized_message_is_refused_and_skipped() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let id = attached(&mut bench, 1000);
        let write = |length: u32| {
            made(118, 5).u32(0).u64(0).u32(length).raw(&vec![1; length as usize]).done()
        };
        let request = bench.forwarded(id, &write(1000 - 23));
        bench.server(&made(119, tag(&request)).u32(977).done());
        bench.client_received(id);
        for cut in [1, 7, 8, 500, 1001] {
            let message = write(1000 - 22);
            bench.client_sends(id, &message[..cut]);
            bench.client_sends(id, &message[cut..]);
            assert!(is_local_error(dialect, &bench.client_received(id), TooLarge));
            assert!(bench.upstream().is_empty());
        }
        bench.forwarded(id, &read(6, 0, 0, 1));
    }
}

#[test]
fn unframeable_bytes_close_only_their_client() {
    for bytes in [&[0, 0, 0, 0][..], &[6, 0, 0, 0, 1], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut bench = Bench::new(Dialect::Plain);
        let (id, _) = bench.attached();
        let (other, _) = bench.attached();
        bench.client_sends(id, bytes);
        assert!(bench.engine.is_closing(id) && !bench.engine.wants_read(id));
        // The client's fid is cleaned up at once.
        assert_eq!(kind(&bench.server_received()), 120);
        bench.client_sends(id, &read(1, 0, 0, 1));
        assert!(bench.upstream().is_empty());
        bench.disconnect(id);
        bench.forwarded(other, &read(1, 0, 0, 1));
    }
}

#[test]
fn client_of_another_protocol_is_closed_at_once() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"SSH-2.0-client\r\n",
        // the beginning of TLS, with records of 512, 256 and 64 bytes
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x16\x03\x01\x01\x00\x01\x00",
        b"\x16\x03\x01\x00\x40\x01\x00",
    ] {
        let mut bench = Bench::new(Dialect::Plain);
        let id = bench.engine.client_connected();
        bench.client_sends(id, bytes);
        assert!(bench.engine.is_closing(id) && !bench.engine.wants_read(id), "{bytes:?}");
    }
}

#[test]
fn types_of_other_dialects_are_refused() {
    for dialect in Dialect::ALL {
        for kind in 0..=255u8 {
            let row = crate::wire::message(dialect, kind);
            let known = row.is_some_and(|row| row.number == kind && row.request.is_some());
            let mut bench = Bench::new(dialect);
            let (id, _) = bench.attached();
            let message = made(kind, 9).raw(&[0; 200]).done();
            if !known {
                bench.refused(id, &message, Unsupported);
            } else {
                bench.client_sends(id, &message);
                let replies = bench.all_received(id);
                assert!(replies.iter().all(|m| !is_local_error(dialect, m, Unsupported)));
            }
            bench.client_sends(id, &read(10, 0, 0, 1));
            assert!(!bench.engine.is_closing(id));
        }
    }
}

#[test]
fn malformed_message_is_refused() {
    use crate::wire::FieldKind::*;
    for dialect in Dialect::ALL {
        for row in crate::wire::MESSAGES {
            let Some(fields) = row.request.filter(|_| row.dialects.contains(dialect)) else {
                continue;
            };
            if row.number == 100 {
                continue;
            }
            let mut message = made(row.number, 9);
            let mut least = 0;
            for field in fields.iter().filter(|field| field.dialects.contains(dialect)) {
                message = match field.kind {
                    U8 => message.u8(0),
                    U16 | Oldtag => message.u16(77),
                    U32 | OptionalU32 | Iounit | Count => message.u32(0),
                    Fid(_) => message.u32(0),
                    U64 => message.u64(0),
                    String | Name => message.str("abc"),
                    Stat => message.str(stat(dialect, "abc")),
                    Names => message.u16(2).str("abc").str("de"),
                    Data => message.u32(3).raw(b"abc"),
                    Bytes(n) => message.raw(&vec![0; n as usize]),
                    Qid | Qids => unreachable!(),
                };
                if field.kind != OptionalU32 {
                    least = message.clone().done().len();
                }
            }
            let message = message.done();
            let mut bench = Bench::new(dialect);
            let (id, _) = bench.attached();
            for length in HEADER..message.len() {
                let mut short = message[..length].to_vec();
                crate::wire::put_u32(&mut short, 0, length as u32);
                // The shorter length is the Tfsync of an old client.
                if length != least {
                    bench.refused(id, &short, Malformed);
                }
            }
        }
        let mut bench = Bench::new(dialect);
        let (id, _) = bench.attached();
        bench.refused(id, &walk(2, 0, 1, &["x"; 17]), Malformed);
        bench.forwarded(id, &walk(2, 0, 1, &["x"; 16]));
        let write = made(118, 3).u32(0).u64(0).u32(u32::MAX).raw(b"abc").done();
        bench.refused(id, &write, Malformed);
    }
}

#[test]
fn requests_beyond_max_inflight_wait() {
    let config = Config { max_inflight: 3, max_inbox_bytes: 40, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let id = attached(&mut bench, 256);
    let (other, _) = bench.attached();
    let many = 3 + 256u16.div_ceil(11);
    let batch: Vec<u8> = (0..many - 1).flat_map(|tag| of_fid(124, tag, 0)).collect();
    bench.client_sends(id, &batch);
    let mut requests = bench.upstream();
    assert_eq!(requests.len(), 3);
    assert!(bench.engine.wants_read(id));
    bench.client_sends(id, &of_fid(124, many - 1, 0));
    assert!(!bench.engine.wants_read(id), "264 bytes wait");
    bench.forwarded(other, &of_fid(124, 1, 0));
    for expected in 0..many {
        let request = requests.remove(0);
        bench.server(&made(125, tag(&request)).u16(0).done());
        assert_eq!(tag(&bench.client_received(id)), expected);
        requests.extend(bench.upstream());
        assert!(bench.engine.wants_read(id));
    }
    assert!(requests.is_empty());
}

#[test]
fn slow_reader_is_throttled_and_bounded() {
    let config = Config { max_reply_bytes: 3000, max_inbox_bytes: 500, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (slow, _) = bench.attached();
    let (other, _) = bench.attached();
    let mut most = 0;
    for round in 0..10_000u32 {
        if bench.engine.wants_read(slow) {
            // Reads, flushes and errors all have replies, which the client does not read.
            let message = match round % 3 {
                0 => read((round % 60_000) as u16, 0, 0, 1000),
                1 => flush(1, 60_001),
                _ => of_fid(120, 60_002, 99),
            };
            bench.client_sends(slow, &message);
        }
        for request in bench.upstream() {
            bench.server(&made(117, tag(&request)).u32(1000).raw(&[1; 1000]).done());
        }
        let info = bench.engine.client_info(slow).unwrap();
        most = most.max(info.output);
        assert!(info.queued < 600);
    }
    assert!((2000..4100).contains(&most), "{most} bytes wait");
    assert!(!bench.engine.wants_read(slow));
    bench.forwarded(other, &read(1, 0, 0, 1000));
    // The client reads, and its requests are forwarded again.
    for _ in 0..100 {
        bench.all_received(slow);
        for request in bench.upstream() {
            bench.server(&made(117, tag(&request)).u32(0).done());
        }
    }
    let info = bench.engine.client_info(slow).unwrap();
    assert_eq!((info.queued, info.output, info.requests), (0, 0, 0));
}

/// The server accepts one request at a time.
#[test]
fn client_with_nothing_in_flight_waits_for_few() {
    let config = Config { max_server_bytes: 1, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let busy: Vec<ClientId> = (0..20).map(|_| bench.attached().0).collect();
    let light: Vec<ClientId> = (0..2).map(|_| bench.attached().0).collect();
    for id in &busy {
        let batch: Vec<u8> = (0..200).flat_map(|n| read(n, 0, 7, 1)).collect();
        bench.client_sends(*id, &batch);
    }
    // All of them have something in flight.
    for _ in 0..20 * 20 {
        bench.server_received();
    }
    for _ in 0..10 {
        for id in &light {
            bench.client_sends(*id, &of_fid(124, 1, 0));
        }
        let mut waited = Vec::new();
        let mut others = 0;
        while waited.len() < light.len() {
            let request = bench.server_received();
            match kind(&request) {
                124 => waited.push(request),
                _ => others += 1,
            }
        }
        assert!((1..=3).contains(&others), "{others} requests of others before");
        for request in waited {
            bench.server(&made(125, tag(&request)).u16(0).done());
        }
        for id in &light {
            assert_eq!(kind(&bench.client_received(*id)), 125);
        }
    }
}

#[test]
fn clients_are_served_round_robin() {
    let config = Config { max_server_bytes: 1, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let ids: Vec<ClientId> = (0..4).map(|_| bench.attached().0).collect();
    // The first client has many requests, the others a few.
    for (i, id) in ids.iter().enumerate() {
        let count = if i == 0 { 20 } else { 2 };
        let batch: Vec<u8> = (0..count).flat_map(|n| read(n, 0, i as u64, 1)).collect();
        bench.client_sends(*id, &batch);
    }
    let mut order = Vec::new();
    loop {
        let asked = bench.upstream();
        assert!(asked.len() <= 1, "no more than the server accepts");
        let Some(request) = asked.first() else {
            break;
        };
        order.push(u64_at(request, HEADER + 4));
    }
    // At first the others have nothing in flight.
    assert_eq!(order[..10], [0, 1, 0, 2, 1, 3, 0, 2, 3, 0]);
    assert_eq!(order.len(), 26);
}

/// The replies to a batch then arrive together, and one write passes them on.
#[test]
fn turn_is_a_bounded_batch_of_messages() {
    // The output has room for 40 reads.
    let config = Config { max_server_bytes: 39 * 23 + 1, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let ids: Vec<ClientId> = (0..4).map(|_| bench.attached().0).collect();
    for (i, id) in ids.iter().enumerate() {
        let batch: Vec<u8> = (0..30).flat_map(|n| read(n, 0, i as u64, 1)).collect();
        bench.client_sends(*id, &batch);
    }
    let mut asked = bench.upstream();
    let mut runs: Vec<(u64, usize)> = Vec::new();
    while !asked.is_empty() {
        assert!(asked.len() <= 40);
        for request in &asked {
            let client = u64_at(request, HEADER + 4);
            match runs.last_mut() {
                Some((last, count)) if *last == client => *count += 1,
                _ => runs.push((client, 1)),
            }
        }
        let replies: Vec<u8> = asked
            .iter()
            .flat_map(|request| made(117, tag(request)).u32(1).raw(&[1]).done())
            .collect();
        bench.server(&replies);
        asked = bench.upstream();
    }
    assert_eq!(
        runs,
        // 40 requests, then 16 of each client, at first of those that have nothing in flight, as many as fit.
        [(0, 30), (1, 10), (2, 16), (1, 16), (3, 8), (2, 14), (1, 4), (3, 16 + 6)],
        "clients, and how many requests of each"
    );
}

#[test]
fn cleanup_of_a_large_client_does_not_delay_the_others() {
    for most in [1, 2, 16, 200] {
        let config = Config { max_inflight_all: most, ..Config::default() };
        let mut bench = Bench::with(Dialect::Plain, config);
        let (large, _) = bench.attached();
        let (one, _) = bench.attached();
        let (two, _) = bench.attached();
        for fid in 1..400 {
            bench.attach(large, fid);
        }
        bench.disconnect(large);
        let mut asked: std::collections::VecDeque<Vec<u8>> = bench.upstream().into();
        assert!(asked.len() > most / 4, "no other client has requests");
        // Two clients that always have a request get their turns among the clunks, and the clunks progress too.
        for id in [one, two] {
            bench.client_sends(id, &read(1, 0, 0, 1));
        }
        let (mut reads, mut clunks) = ([0, 0], 0);
        for _ in 0..350 {
            let request = asked.pop_front().expect("something is always asked");
            if kind(&request) == 120 {
                clunks += 1;
                bench.done(&request);
            } else {
                bench.server(&made(117, tag(&request)).u32(0).done());
            }
            for (i, id) in [one, two].into_iter().enumerate() {
                if !bench.all_received(id).is_empty() {
                    reads[i] += 1;
                    bench.client_sends(id, &read(1, 0, 0, 1));
                }
            }
            asked.extend(bench.upstream());
        }
        let least = 350 / (most + 3) / 2;
        assert!(reads.iter().all(|n| *n >= least), "{most} tags: {reads:?} and {clunks} clunks");
        assert!(clunks >= 100, "{most} tags: {reads:?} and {clunks} clunks");
    }
}

/// Clients connect, send requests and disconnect, while the server is busy or does not reply at all.
#[test]
fn departed_clients_leave_no_growing_queues() {
    let config = Config { max_server_bytes: 1, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (stays, _) = bench.attached();
    bench.client_sends(stays, &read(1, 0, 0, 1)); // The server does not read this request.
    let mut silent = crate::engine::Engine::new(Config::default());
    for _ in 0..20_000 {
        let engine = &mut bench.engine;
        let id = engine.client_connected();
        engine.client_bytes(id, &version(8192, "9P2000"));
        engine.client_bytes(id, &attach(Dialect::Plain, 1, 0, !0, "u", "a"));
        engine.client_gone(id);
        while engine.next_dirty().is_some() {}
        let id = silent.client_connected();
        silent.client_bytes(id, &version(8192, "9P2000"));
        silent.client_gone(id);
    }
    assert!(
        bench.engine.ready_queue.len() < 100,
        "{} wait for their turn",
        bench.engine.ready_queue.len()
    );
    assert!(
        silent.version_waiters.len() < 100,
        "{} wait for a version",
        silent.version_waiters.len()
    );
    bench.engine.audit();
    let info = bench.engine.stats();
    assert_eq!((info.clients, info.requests, info.fids, info.in_cleanup), (1, 1, 1, 0));
}

#[test]
fn zero_limit_still_admits_one() {
    let config = Config {
        max_inflight: 0,
        max_inflight_all: 0,
        max_reply_bytes: 0,
        max_inbox_bytes: 0,
        max_server_bytes: 0,
        version_timeout: Duration::MAX,
        cleanup_timeout: Duration::MAX,
        ..Config::default()
    };
    let mut bench = Bench::with(Dialect::Plain, config);
    bench.engine.tick(Duration::from_secs(1));
    let (id, _) = bench.attached();
    bench.client_sends(id, &[read(1, 0, 0, 9), read(2, 0, 0, 9)].concat());
    for n in [1, 2] {
        let request = bench.server_received();
        bench.server(&made(117, tag(&request)).u32(0).done());
        assert_eq!(tag(&bench.client_received(id)), n);
    }
    let clunk = bench.forwarded(id, &version(8192, "9P2000"));
    bench.done(&clunk);
    assert_eq!(bench.client_received(id), rversion(8192, "9P2000"));
}

#[test]
fn idle_client_has_no_buffers() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    for n in 0..100 {
        let message = read(n, 0, 0, 4000);
        let request = {
            bench.client_sends(id, &message[..10]);
            bench.forwarded(id, &message[10..])
        };
        bench.server(&made(117, tag(&request)).u32(4000).raw(&[1; 4000]).done());
        bench.client_received(id);
    }
    assert_eq!(bench.engine.client_info(id).unwrap().memory, 0);
    assert!(bench.engine.stats().spare_bytes < 5 * MSIZE as usize);
    assert!(size_of::<crate::engine::clients::Client>() < 512);
}

#[test]
fn dirty_client_is_returned_once() {
    let mut bench = Bench::new(Dialect::Plain);
    let one = bench.client();
    let two = bench.client();
    while bench.engine.next_dirty().is_some() {}
    bench.client_sends(one, &flush(1, 2));
    bench.client_sends(one, &flush(1, 2));
    bench.client_sends(two, &flush(1, 2));
    assert_eq!(bench.engine.next_dirty(), Some(one));
    bench.disconnect(two);
    assert_eq!(bench.engine.next_dirty(), None);
}

#[test]
fn unblocked_client_with_a_partial_message_is_dirty() {
    let config = Config { max_reply_bytes: 700, max_inbox_bytes: 100, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.attached();
    let request = bench.forwarded(id, &read(1, 0, 0, 800));
    bench.server(&made(117, tag(&request)).u32(800).raw(&[1; 800]).done());
    let large = made(118, 5).raw(&[1; 200]).done();
    bench.client_sends(id, &large[..150]);
    assert!(!bench.engine.wants_read(id));
    while bench.engine.next_dirty().is_some() {}
    bench.engine.client_wrote(id, 200);
    assert!(bench.engine.wants_read(id));
    assert_eq!(bench.engine.next_dirty(), Some(id));
}

#[test]
fn rest_of_an_oversized_message_is_skipped_while_blocked() {
    let config = Config { max_inflight_all: 1, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (other, _) = bench.attached();
    let id = attached(&mut bench, 1000);
    // A request waits for its turn and gets it. Behind it the beginning of an oversized message arrives.
    let first = bench.forwarded(other, &read(1, 0, 0, 1));
    let large = made(118, 5).raw(&[1; 2000]).done();
    bench.client_sends(id, &[&read(2, 0, 0, 1)[..], &large[..500]].concat());
    bench.server(&made(117, tag(&first)).u32(0).done());
    let second = bench.server_received();
    assert_eq!(kind(&second), 116);
    // No client gets a turn before that request has its reply. The error for the oversized message and a
    // flush behind it need no turn.
    assert!(is_local_error(Dialect::Plain, &bench.client_received(id), TooLarge));
    bench.client_sends(id, &large[500..]);
    bench.client_sends(id, &flush(6, 77));
    assert_eq!(bench.client_received(id), made(109, 6).done());
}
