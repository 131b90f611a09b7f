//! Clients that shut down their writing side and wait for their replies.

use super::LocalError::ServerGone;
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::Config;
use crate::wire::{Dialect, kind, tag, types};

#[test]
fn finished_client_gets_its_replies_and_is_closed() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let (id, _) = bench.attached();
        bench.client_sends(id, &[read(1, 0, 0, 9), read(2, 0, 0, 9)].concat());
        let requests = bench.upstream();
        bench.engine.client_finished(id);
        assert!(!bench.engine.wants_read(id) && !bench.engine.is_closing(id));
        for (n, request) in requests.iter().enumerate() {
            assert!(!bench.engine.is_closing(id));
            while bench.engine.next_dirty().is_some() {}
            bench.server(&made(117, tag(request)).u32(0).done());
            assert_eq!(bench.engine.next_dirty(), Some(id));
            assert_eq!(bench.client_received(id), made(117, n as u16 + 1).u32(0).done());
        }
        assert!(bench.engine.is_closing(id));
        bench.disconnect(id);
        assert_eq!(kind(&bench.server_received()), types::TCLUNK, "its fid is released");
    }
}

#[test]
fn finished_client_with_nothing_outstanding_is_closed_at_once() {
    let mut bench = Bench::new(Dialect::Plain);
    let (attached, _) = bench.attached();
    let new = bench.engine.client_connected();
    for id in [attached, new] {
        while bench.engine.next_dirty().is_some() {}
        bench.engine.client_finished(id);
        assert_eq!(bench.engine.next_dirty(), Some(id));
        assert!(bench.engine.is_closing(id));
        bench.disconnect(id);
    }
}

#[test]
fn partial_message_of_a_finished_client_is_discarded() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    let whole = [read(1, 0, 0, 9), read(2, 0, 0, 9)].concat();
    let request = bench.forwarded(id, &whole[..whole.len() - 1]);
    bench.engine.client_finished(id);
    assert!(!bench.engine.is_closing(id));
    bench.server(&made(117, tag(&request)).u32(0).done());
    assert_eq!(bench.client_received(id), made(117, 1).u32(0).done());
    assert!(bench.engine.is_closing(id));
    bench.disconnect(id);
}

#[test]
fn queued_requests_of_a_finished_client_are_forwarded_in_turn() {
    let config = Config { max_inflight: 1, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.attached();
    bench.client_sends(id, &[read(1, 0, 0, 9), read(2, 0, 0, 9), read(3, 0, 0, 9)].concat());
    bench.engine.client_finished(id);
    for client_tag in 1..4 {
        assert!(!bench.engine.is_closing(id));
        let request = bench.server_received();
        bench.server(&made(117, tag(&request)).u32(0).done());
        assert_eq!(bench.client_received(id), made(117, client_tag).u32(0).done());
    }
    assert!(bench.engine.is_closing(id));
}

#[test]
fn blocked_read_keeps_a_finished_client_until_it_has_gone() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    let request = bench.forwarded(id, &read(1, 0, 0, 9));
    bench.engine.client_finished(id);
    assert!(!bench.engine.is_closing(id));
    bench.disconnect(id);
    let flushed = bench.server_received();
    assert_eq!(flushed, flush(tag(&flushed), tag(&request)));
}

#[test]
fn flush_of_a_finished_client_completes_before_it_is_closed() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    bench.forwarded(id, &read(1, 0, 0, 9));
    let flushed = bench.forwarded(id, &flush(2, 1));
    bench.engine.client_finished(id);
    assert!(!bench.engine.is_closing(id));
    bench.done(&flushed);
    assert_eq!(bench.client_received(id), made(109, 2).done());
    assert!(bench.engine.is_closing(id));
}

#[test]
fn version_of_a_finished_client_is_awaited() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    bench.client_sends(id, &version(MSIZE, "9P2000"));
    let clunk = bench.server_received();
    bench.engine.client_finished(id);
    assert!(!bench.engine.is_closing(id));
    bench.done(&clunk);
    assert_eq!(bench.client_received(id), rversion(MSIZE, "9P2000"));
    assert!(bench.engine.is_closing(id));
}

#[test]
fn end_of_the_server_reaches_a_finished_client() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    bench.forwarded(id, &read(1, 0, 0, 9));
    bench.engine.client_finished(id);
    bench.engine.server_gone();
    assert!(is_local_error(Dialect::Plain, &bench.client_received(id), ServerGone));
    assert!(bench.engine.is_closing(id));
}
