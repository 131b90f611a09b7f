//! Reads that stay in flight, and the bytes of replies of one client.

use super::LocalError::*;
use super::bench::Bench;
use super::messages::*;
use crate::engine::{ClientId, Config, Engine};
use crate::wire::{Dialect, HEADER, kind, tag, u32_at};

fn attached(bench: &mut Bench, msize: u32) -> ClientId {
    let id = bench.client_of(msize);
    bench.attach(id, 0);
    id
}

/// Reads of files without data to return, as many and as large as a client likes.
#[test]
fn blocked_reads_do_not_stop_their_client() {
    for dialect in Dialect::ALL {
        for (many, count) in [(8, 131_061), (128, 8192), (256, 1), (300, 4096), (900, 131_061)] {
            let config = Config { dialect: Some(dialect), msize: 131_096, ..Config::default() };
            let mut bench = Bench { engine: Engine::new(config), dialect };
            bench.upstream();
            bench.server(&rversion(131_096, dialect.name()));
            let id = attached(&mut bench, 131_096);
            let reads: Vec<u8> = (0..many).flat_map(|n| read(100 + n, 0, 0, count)).collect();
            bench.client_sends(id, &reads);
            let blocked = bench.upstream();
            assert_eq!(blocked.len(), usize::from(many).min(224));
            let total: usize = blocked.iter().map(|m| u32_at(m, HEADER + 12) as usize).sum();
            assert!(total <= (1 << 20) + 224 * 8192, "{total} bytes of replies");
            assert!(blocked.iter().all(|m| u32_at(m, HEADER + 12) >= count.min(8192)));
            // Requests of every other kind are forwarded, and so is the other end of such a file.
            for message in [walk(5, 0, 9, &[]), empty_write(5, 0), of_fid(120, 5, 9)] {
                let request = bench.forwarded(id, &message);
                match kind(&request) {
                    110 => bench.server(&rwalk(tag(&request), 0)),
                    118 => bench.server(&made(119, tag(&request)).u32(0).done()),
                    _ => bench.done(&request),
                }
                assert_eq!(tag(&bench.client_received(id)), 5);
            }
            // A read that has its data makes room for one that waits, in order.
            bench.server(&made(117, tag(&blocked[0])).u32(0).done());
            assert_eq!(tag(&bench.client_received(id)), 100);
            assert_eq!(bench.upstream().len(), usize::from(many > 224));
        }
    }
}

#[test]
fn waiting_read_is_flushed_failed_or_forgotten_as_any_request() {
    let full = || {
        let mut bench = Bench::new(Dialect::Plain);
        let (id, _) = bench.attached();
        let reads: Vec<u8> = (0..230).flat_map(|n| read(100 + n, 0, 0, 9)).collect();
        bench.client_sends(id, &reads);
        let asked = bench.upstream();
        assert_eq!(asked.len(), 224);
        (bench, id, asked)
    };
    // A Tflush removes it; its tag is in use before that, and free afterwards.
    let (mut bench, id, asked) = full();
    bench.refused(id, &of_fid(124, 325, 0), DuplicateTag);
    bench.client_sends(id, &flush(9, 325));
    assert_eq!(bench.client_received(id), made(109, 9).done());
    let stat = bench.forwarded(id, &of_fid(124, 325, 0));
    bench.server(&made(125, tag(&stat)).u16(0).done());
    assert_eq!(tag(&bench.client_received(id)), 325);
    for (request, next) in asked.iter().zip([324, 326, 327, 328, 329]) {
        bench.server(&made(117, tag(request)).u32(0).done());
        bench.client_received(id);
        let sent = tag(&bench.server_received());
        assert_eq!(bench.engine.requests.find(sent).unwrap().tag, next);
    }
    // A Tversion forgets it, and so does the disconnection.
    let (mut bench, id, _) = full();
    bench.client_sends(id, &version(8192, "9P2000"));
    assert!(bench.upstream().iter().all(|m| kind(m) == 108));
    bench.disconnect(id);
    assert!(bench.all_received(id).is_empty());
    // It gets an error when the server has gone.
    let (mut bench, id, _) = full();
    bench.engine.server_gone();
    let replies = bench.all_received(id);
    assert_eq!(replies.len(), 230);
    assert!(replies.iter().all(|m| is_local_error(Dialect::Plain, m, ServerGone)));
}

#[test]
fn flush_that_names_itself_takes_no_waiting_read_back() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    let reads: Vec<u8> = (0..225).flat_map(|n| read(100 + n, 0, 0, 9)).collect();
    bench.client_sends(id, &reads);
    let asked = bench.upstream();
    bench.client_sends(id, &flush(324, 324));
    assert_eq!(bench.client_received(id), made(109, 324).done());
    bench.server(&made(117, tag(&asked[0])).u32(0).done());
    assert_eq!(bench.upstream().len(), 1, "the read with the same tag");
}

#[test]
fn waiting_read_is_not_overtaken_by_a_change_of_its_fid() {
    let open = made(112, 9).u32(1).u8(0).done();
    let create = made(114, 9).u32(1).str("f").u32(0).u8(0).done();
    for change in [of_fid(120, 9, 1), of_fid(122, 9, 1), walk(9, 1, 1, &["a"]), open, create] {
        let mut bench = Bench::new(Dialect::Plain);
        let (id, _) = bench.attached();
        bench.attach(id, 1);
        let reads = (0..226).flat_map(|n| read(100 + n, u32::from(n / 225), 0, 9));
        bench.client_sends(id, &reads.collect::<Vec<u8>>());
        assert_eq!(bench.upstream().len(), 224);
        bench.client_sends(id, &change);
        let asked = bench.upstream();
        let kinds: Vec<u8> = asked.iter().map(|m| kind(m)).collect();
        assert_eq!(kinds, [116, kind(&change)]);
        assert_eq!(u32_at(&asked[0], HEADER), u32_at(&asked[1], HEADER));
        // The waiting read of another fid still waits.
        assert_eq!(bench.engine.client_info(id).unwrap().queued, 23);
    }
}

/// The name of the fid may be used for another file before the read has a slot.
#[test]
fn waiting_read_of_a_fid_that_fails_is_refused() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    let reads: Vec<u8> = (0..224).flat_map(|n| read(100 + n, 0, 0, 9)).collect();
    bench.client_sends(id, &reads);
    let asked = bench.upstream();
    let request = bench.forwarded(id, &walk(1, 0, 5, &["a"]));
    bench.client_sends(id, &read(2, 5, 0, 9));
    bench.failed(&request);
    let replies = bench.all_received(id);
    assert!(is_local_error(Dialect::Plain, &replies[0], UnknownFid));
    assert_eq!(replies.iter().map(|m| tag(m)).collect::<Vec<_>>(), [2, 1]);
    bench.forwarded(id, &walk(1, 0, 5, &["b"]));
    bench.server(&made(117, tag(&asked[0])).u32(0).done());
    assert!(bench.upstream().is_empty());
}

/// A client that does not read gets no more than its limit of bytes, even in reads of reduced counts.
#[test]
fn unread_output_makes_reads_wait() {
    let config = Config { max_reply_bytes: 20_000, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.attached();
    let mut most = 0;
    for n in 0..400 {
        if bench.engine.wants_read(id) {
            bench.client_sends(id, &read(n, 0, 0, 8000));
        }
        for request in bench.upstream() {
            bench.server(&made(117, tag(&request)).u32(8000).raw(&[1; 8000]).done());
        }
        most = most.max(bench.engine.client_info(id).unwrap().output);
    }
    assert!((16_000..=24_033).contains(&most), "{most} bytes");
}

/// A client that has no request in flight may always have one, but not because its replies have filled its output.
#[test]
fn waiting_reads_do_not_exceed_the_bytes_of_a_client_that_does_not_read() {
    let dialect = Dialect::Plain;
    let config = Config { dialect: Some(dialect), msize: 131_096, ..Config::default() };
    let mut bench = Bench { engine: Engine::new(config), dialect };
    bench.upstream();
    bench.server(&rversion(131_096, dialect.name()));
    let id = attached(&mut bench, 131_096);
    let reads: Vec<u8> = (0..256).flat_map(|n| read(100 + n, 0, 0, 131_061)).collect();
    bench.client_sends(id, &reads);
    loop {
        let requests = bench.upstream();
        for request in &requests {
            let count = u32_at(request, HEADER + 12);
            let reply = made(117, tag(request)).u32(count).done();
            let mut reply = [reply, vec![7; count as usize]].concat();
            let len = reply.len() as u32;
            reply[..4].copy_from_slice(&len.to_le_bytes());
            bench.server(&reply);
        }
        if requests.is_empty() {
            break;
        }
    }
    let held = bench.engine.output(id).len();
    assert!(held <= (1 << 20) + 224 * 8203 + 131_072, "{held} bytes of replies");
    // They are sent when the client has read.
    bench.engine.client_wrote(id, held);
    assert_eq!(bench.upstream().len(), 32);
}

/// Makes a server reply to 256 Tstat of a client that reads nothing with 60,000 bytes each. Returns how many requests
/// are upstream before the first of these replies, and the bytes of the client's output in the end.
fn flood_with_stats(bench: &mut Bench, id: ClientId) -> (usize, usize) {
    let large = |tag| made(125, tag).str(vec![b'x'; 60_000]).done();
    let stats: Vec<u8> = (0..256).flat_map(|n| of_fid(124, n, 0)).collect();
    bench.client_sends(id, &stats);
    let mut asked = bench.upstream();
    let first = asked.len();
    while let Some(request) = asked.pop() {
        bench.server(&large(tag(&request)));
        asked.extend(bench.upstream());
    }
    (first, bench.engine.client_info(id).unwrap().output)
}

/// A server that replies to Tstat with more than 9pmux expects.
#[test]
fn large_stats_are_counted_as_they_are() {
    let config = Config { dialect: Some(Dialect::Plain), msize: 131_096, ..Config::default() };
    let mut bench = Bench { engine: Engine::new(config), dialect: Dialect::Plain };
    bench.upstream();
    bench.server(&rversion(131_096, "9P2000"));
    // Before the first reply, and after a large one.
    for replied in [None, Some(60_000)] {
        let id = attached(&mut bench, 131_096);
        if let Some(len) = replied {
            let request = bench.forwarded(id, &of_fid(124, 1, 0));
            bench.server(&made(125, tag(&request)).str(vec![b'x'; len]).done());
            bench.client_received(id);
        }
        let (asked, output) = flood_with_stats(&mut bench, id);
        assert_eq!(asked, 32, "after {replied:?}");
        assert!(output < 33 * 61_000, "{output} bytes after {replied:?}, the limit is 1 MiB");
    }
    // After a small one, once.
    let id = attached(&mut bench, 131_096);
    let request = bench.forwarded(id, &of_fid(124, 1, 0));
    bench.server(&made(125, tag(&request)).str(vec![b'x'; 100]).done());
    bench.client_received(id);
    let (asked, output) = flood_with_stats(&mut bench, id);
    assert_eq!(asked, 256);
    assert!(output < 256 * 61_000, "{output} bytes");
    bench.all_received(id);
    let (asked, output) = flood_with_stats(&mut bench, id);
    assert!(asked <= 32 && output < 33 * 61_000, "{asked} requests, {output} bytes");
}

#[test]
fn some_requests_are_admitted_whatever_the_limit_of_bytes() {
    let config = Config { max_reply_bytes: 300, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.attached();
    // A Twalk may have a reply of 217 bytes. Of requests other than Tread some are always admitted.
    let walks: Vec<u8> = (1..60).flat_map(|n| walk(n, 0, u32::from(n), &[])).collect();
    bench.client_sends(id, &walks);
    let mut asked = bench.upstream();
    assert_eq!(asked.len(), 32);
    for n in 1..60 {
        let request = asked.remove(0);
        bench.server(&rwalk(tag(&request), 0));
        assert_eq!(tag(&bench.client_received(id)), n);
        asked.extend(bench.upstream());
    }
}
