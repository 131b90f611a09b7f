//! Counters: they agree with what clients and the server have sent and received, and outlive clients.

use std::time::Duration;

use super::LocalError;
use super::bench::Bench;
use super::messages::*;
use crate::wire::{Dialect, types};

const TSTAT: u8 = types::TSTAT;

#[test]
fn requests_are_counted_by_type() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    let before = bench.engine.stats();
    for n in 0..5 {
        let request = bench.forwarded(id, &of_fid(TSTAT, n, 0));
        bench.server(&made(TSTAT + 1, tag_of(&request)).str(stat(Dialect::Plain, "x")).done());
        bench.client_received(id);
    }
    bench.refused(id, &of_fid(TSTAT, 9, 77), LocalError::UnknownFid);
    let stats = bench.engine.stats();
    assert_eq!(bench.engine.requests_of(TSTAT), 6);
    assert_eq!(stats.received - before.received, 6);
    assert_eq!(stats.local_errors - before.local_errors, 1);
    assert_eq!(bench.engine.client_info(id).unwrap().refused, 1);
}

fn tag_of(message: &[u8]) -> u16 {
    crate::wire::tag(message)
}

#[test]
fn latency_is_the_time_from_forwarding_to_the_reply() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    bench.engine.tick(Duration::from_micros(1_000));
    let request = bench.forwarded(id, &of_fid(TSTAT, 1, 0));
    bench.engine.tick(Duration::from_micros(1_700));
    bench.failed(&request);
    let latencies = bench.engine.latencies_of(TSTAT);
    assert_eq!((latencies.count(), latencies.sum), (1, 700));
    assert!(latencies.cumulative().eq((1..27).map(|n| (1 << n, u64::from(n >= 10)))));
    // A request that is taken back has no reply, and so no latency.
    let request = bench.forwarded(id, &of_fid(TSTAT, 2, 0));
    let flushing = bench.forwarded(id, &flush(3, 2));
    bench.done(&flushing);
    drop(request);
    assert_eq!(bench.engine.latencies_of(TSTAT).count(), 1);
}

#[test]
fn latency_is_known_when_the_clock_wraps() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    let wrap = 1 << 32;
    bench.engine.tick(Duration::from_micros(wrap - 5));
    let request = bench.forwarded(id, &of_fid(TSTAT, 1, 0));
    bench.engine.tick(Duration::from_micros(wrap + 5));
    bench.failed(&request);
    assert_eq!(bench.engine.latencies_of(TSTAT).sum, 10);
}

#[test]
fn flushes_are_counted_wherever_they_take_effect() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    bench.forwarded(id, &of_fid(TSTAT, 1, 0));
    let flushing = bench.forwarded(id, &flush(2, 1));
    assert_eq!(bench.engine.stats().flushed, 0);
    bench.done(&flushing);
    assert_eq!(bench.engine.stats().flushed, 1);
    bench.client_sends(id, &flush(3, 77));
    assert_eq!(bench.engine.stats().flushed, 2);
}

#[test]
fn bytes_are_counted_once_and_outlive_their_client() {
    let mut bench = Bench::new(Dialect::L);
    let before = bench.engine.stats();
    let id = bench.client();
    let (sent, received) = (version(8192, "9P2000.L").len(), rversion(8192, "9P2000.L").len());
    let info = bench.engine.client_info(id).unwrap();
    assert_eq!((info.bytes_read, info.bytes_written), (sent as u64, received as u64));
    bench.engine.client_wrote(id, 100);
    bench.disconnect(id);
    let other = bench.client();
    let stats = bench.engine.stats();
    assert_eq!(stats.client_bytes_read - before.client_bytes_read, 2 * sent as u64);
    assert_eq!(stats.client_bytes_written - before.client_bytes_written, 2 * received as u64);
    // The index is used again, the number is not.
    assert_eq!((id.index(), id.number()), (0, 0));
    assert_eq!((other.index(), other.number()), (0, 1));
    assert_eq!((stats.clients, stats.connections), (1, 2));
    assert_eq!(stats.server_bytes_written, version(8192, "9P2000.L").len() as u64);
    assert_eq!(stats.server_bytes_read, received as u64);
}

#[test]
fn client_has_an_age_and_is_idle_since_its_last_bytes() {
    let mut bench = Bench::new(Dialect::Plain);
    bench.engine.tick(Duration::from_secs(5));
    let (id, _) = bench.attached();
    bench.engine.tick(Duration::from_secs(9));
    bench.client_sends(id, &[19]);
    bench.engine.tick(Duration::from_millis(11_900));
    let info = bench.engine.client_info(id).unwrap();
    assert_eq!((info.age, info.idle), (Duration::from_secs(6), Duration::from_secs(2)));
}
