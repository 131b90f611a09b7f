//! The adaptive limit before servers in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::engine::fuzz::messages::Random;

const US: u64 = 1000;
const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Returns the nanosecond at which the reply to a request that is sent at `now` arrives.
type Serve<'a> = dyn FnMut(u64) -> u64 + 'a;

/// A server with this many workers.
fn workers<'a>(n: usize, mut time: impl FnMut() -> u64 + 'a) -> impl FnMut(u64) -> u64 + 'a {
    let mut free: BinaryHeap<Reverse<u64>> = (0..n).map(|_| Reverse(0)).collect();
    move |now| {
        let end = now.max(free.pop().unwrap().0) + time();
        free.push(Reverse(end));
        end
    }
}

/// A server in the distance: the connection takes 2 us for each request, and `latency` there and back.
fn distant(latency: u64, mut server: impl FnMut(u64) -> u64) -> impl FnMut(u64) -> u64 {
    let mut line = workers(1, || 2 * US);
    move |now| server(line(now) + latency / 2) + latency / 2
}

/// Clients that together always have `demand` requests, at the server or waiting; and if `has_good`, a good client
/// that sends one request at a time.
#[derive(Clone, Copy)]
struct Run {
    demand: usize,
    has_good: bool,
    /// The time before anything is measured, and the time after that.
    warm_up: u64,
    time: u64,
}

struct Outcome {
    /// The replies per second.
    rate: f64,
    /// The limits after each reply, sorted.
    limits: Vec<u64>,
    /// The latencies of the good client, sorted.
    latencies: Vec<u64>,
}

impl Outcome {
    fn limit_at(&self, percent: usize) -> u64 {
        self.limits[(self.limits.len() - 1) * percent / 100]
    }

    fn latency_at(&self, percent: usize) -> u64 {
        self.latencies[(self.latencies.len() - 1) * percent / 100]
    }
}

impl Run {
    fn at(self, serve: &mut Serve<'_>) -> Outcome {
        let mut limit = InflightLimit::new(true);
        // The time of the reply, when the request was sent, by the good client or not, and its mark.
        let mut events: BinaryHeap<Reverse<(u64, u64, bool, SentMark)>> = BinaryHeap::new();
        let end = self.warm_up + self.time;
        let (mut now, mut replies, mut limits) = (0, 0, Vec::new());
        let (mut busy, mut good_waits, mut latencies) = (0, self.has_good, Vec::new());
        while now < end {
            loop {
                let is_good = std::mem::take(&mut good_waits);
                if !is_good && (busy >= self.demand || !limit.has_room()) {
                    break;
                }
                let mark = limit.count_sent();
                events.push(Reverse((serve(now), now, is_good, mark)));
                busy += usize::from(!is_good);
            }
            let due = limit.period_end().as_nanos() as u64;
            let reply = events.peek().copied().filter(|Reverse(event)| event.0 <= due);
            now = reply.map_or(due, |Reverse(event)| event.0);
            limit.tick(Duration::from_nanos(now), busy < self.demand && !limit.has_room());
            let Some(Reverse((_, sent, is_good, mark))) = reply else {
                continue;
            };
            events.pop();
            limit.count_reply(mark, false);
            good_waits = is_good;
            busy -= usize::from(!is_good);
            if now >= self.warm_up {
                replies += 1;
                limits.push(limit.adjuster.as_ref().unwrap().limit());
                latencies.extend(is_good.then_some(now - sent));
            }
        }
        limits.sort_unstable();
        latencies.sort_unstable();
        let rate = replies as f64 * SECOND as f64 / self.time as f64;
        Outcome { rate, limits, latencies }
    }
}

/// Checks the goals at a server with so many workers and clients with so many requests: the throughput of a server
/// without a limit, and a good client that waits for at most ten times its latency alone. A fast server may keep it
/// waiting for 50 ms.
fn check_goals(n: usize, demand: usize) {
    for latency in [0, 1, 5, 30, 60, 100, 130, 200, 400] {
        let alone = latency * MS + 500 * US;
        let run = Run {
            demand,
            has_good: true,
            warm_up: 500 * MS + 20 * alone,
            time: if n > 4 && latency < 30 { 500 * MS } else { 2 * SECOND + 10 * alone },
        };
        let outcome = run.at(&mut distant(latency * MS, workers(n, || 500 * US)));
        let best = (n as f64 * 2000.0).min(demand as f64 * SECOND as f64 / alone as f64);
        let part = outcome.rate / best.min(500_000.0);
        let (p50, p99) = (outcome.latency_at(50), outcome.latency_at(99));
        let figures = format!(
            "{latency} ms, {n} workers, {demand} requests: {part:.3} of the throughput, latency {} and {} us",
            p50 / US,
            p99 / US
        );
        println!("{figures}");
        assert!(part >= 0.97, "{figures}");
        assert!(p99 <= (10 * alone).max(if n > 4 { 50 * MS } else { 0 }), "{figures}");
    }
}

#[test]
fn throughput_and_latency_at_all_distances() {
    for n in [1, 4, 64, 65536] {
        for demand in [256, 5120] {
            check_goals(n, demand);
        }
    }
}

/// Returns the part of `best` replies per second that clients with so many requests get, and the 99th percentile of
/// the limit and of the good client's latency.
fn figures(best: f64, serve: &mut Serve<'_>, demand: usize, times: (u64, u64)) -> (f64, u64, u64) {
    let (warm_up, time) = (times.0 * MS, times.1 * MS);
    let outcome = Run { demand, has_good: true, warm_up, time }.at(serve);
    (outcome.rate / best, outcome.limit_at(99), outcome.latency_at(99))
}

/// Returns a function that returns one of two times, the second one once in `n` times on average.
fn two_times(random: &mut Random, n: usize, times: (u64, u64)) -> impl FnMut() -> u64 {
    move || if random.one_in(n) { times.1 } else { times.0 }
}

#[test]
fn serial_server_with_noise_has_a_short_queue() {
    for seed in 1..6 {
        for demand in [256, 5120] {
            let mut random = Random::new(seed);
            let time = || random.below(2000) as u64 * US;
            let (part, limit, latency) =
                figures(1000.0, &mut workers(1, time), demand, (1000, 4000));
            assert!(part > 0.97 && limit <= 64 && latency < 20 * MS, "{part}, {limit}, {latency}");
        }
    }
}

#[test]
fn interrupted_server_has_a_short_queue() {
    let mut long = 0;
    for (n, stall) in [(400, 120), (1000, 400)] {
        for seed in 1..15 {
            let mut random = Random::new(seed);
            let time = || match random.one_in(n) {
                true => random.below(stall) as u64 * MS,
                false => (400 + random.below(200) as u64) * US,
            };
            let run = Run { demand: 5120, has_good: true, warm_up: SECOND, time: 5 * SECOND };
            let outcome = run.at(&mut workers(1, time));
            let (limit, latency) = (outcome.limit_at(50), outcome.latency_at(50));
            assert!(limit <= 8 && latency <= 5 * MS, "{limit} and {latency}");
            long += usize::from(outcome.limit_at(99) > 8);
        }
    }
    assert!(long <= 3, "{long} of 28 servers had a long queue for a time");
}

#[test]
fn parallel_server_keeps_its_throughput_from_the_beginning() {
    for demand in [256, 5120] {
        let (part, ..) = figures(64.0 / 5e-3, &mut workers(64, || 5 * MS), demand, (0, 5000));
        assert!(part > 0.99, "{part}");
    }
}

#[test]
fn parallel_server_with_different_requests_keeps_its_throughput() {
    for seed in 1..6 {
        for demand in [256, 5120] {
            let mut random = Random::new(seed);
            let times = two_times(&mut random, 10, (100 * US, 50 * MS));
            let best = 64.0 / 5.09e-3;
            let (part, ..) = figures(best, &mut workers(64, times), demand, (2000, 5000));
            assert!(part > 0.92, "{part}");
            let mut time = two_times(&mut random, 2, (MS, 200 * MS));
            let (best, serve) = (demand as f64 / 0.1005, &mut |now| now + time());
            let (part, ..) = figures(best, serve, demand, (4000, 4000));
            assert!(part > 0.94, "{part} of {demand} requests");
        }
    }
}

#[test]
fn server_at_a_changing_distance_keeps_its_throughput() {
    for seed in 1..6 {
        for demand in [256, 5120] {
            let mut random = Random::new(seed);
            let serve = &mut |now| now + 50 * MS + random.below(200) as u64 * MS;
            let (part, ..) = figures(demand as f64 / 0.1495, serve, demand, (3000, 4000));
            assert!(part > 0.97, "{part}");
        }
    }
}

#[test]
fn fast_server_is_not_limited() {
    let (part, limit, _) = figures(5e5, &mut workers(1, || 2 * US), 16_000, (50, 100));
    assert!(part > 0.99 && limit >= 16_000, "{part} and {limit}");
}

#[test]
fn limit_falls_when_a_server_becomes_slow() {
    for (n, time) in [(1, 50 * US), (64, 500 * US)] {
        for demand in [256, 5120] {
            let (mut fast, mut slow) = (workers(n, || time), workers(1, || 500 * US));
            let mut serve = |now: u64| if now < 500 * MS { fast(now) } else { slow(now) };
            let (part, limit, latency) = figures(2000.0, &mut serve, demand, (15_000, 3000));
            assert!(part > 0.99 && limit <= 8 && latency <= 5 * MS, "{part}, {limit}, {latency}");
        }
    }
}

#[test]
fn server_that_becomes_slow_in_a_trial_does_not_look_parallel() {
    for moment in (40..160).step_by(10) {
        let (mut fast, mut slow) = (workers(1, || 500 * US), workers(1, || 10 * MS));
        let mut serve = |now: u64| if now < moment * MS { fast(now) } else { slow(now) };
        let (_, limit, _) = figures(100.0, &mut serve, 5120, (8000, 2000));
        assert!(limit <= 64, "{limit} if it becomes slow after {moment} ms");
    }
}

#[test]
fn distant_server_soon_gets_all_that_it_can_use() {
    // Without a limit, ten round trips.
    let server = &mut distant(130 * MS, workers(65_536, || 500 * US));
    let (part, ..) = figures(5120.0 / 0.1305, server, 5120, (0, 1305));
    assert!(part > 0.6, "{part}");
}

#[test]
fn limit_that_has_grown_too_far_falls_at_once() {
    let server = &mut distant(130 * MS, workers(1, || 500 * US));
    let (part, limit, _) = figures(2000.0, server, 5120, (2000, 1000));
    assert!(part > 0.99 && limit <= 1100, "{part} and {limit}");
}

#[test]
fn limit_rises_when_a_server_becomes_parallel() {
    for demand in [256, 5120] {
        let (mut slow, mut fast) = (workers(1, || 500 * US), workers(64, || 500 * US));
        let mut serve = |now: u64| if now < 1500 * MS { slow(now) } else { fast(now) };
        let (part, ..) = figures(128_000.0, &mut serve, demand, (2500, 1000));
        assert!(part > 0.99, "{part}");
    }
}

/// Sends requests until the limit is reached.
fn fill(limit: &mut InflightLimit) -> Vec<SentMark> {
    let mut marks = Vec::new();
    while limit.has_room() {
        marks.push(limit.count_sent());
    }
    marks
}

#[test]
fn requests_without_a_reply_count_for_one_to_two_periods() {
    let mut limit = InflightLimit::new(true);
    limit.tick(Duration::ZERO, false);
    let marks = fill(&mut limit);
    assert_eq!(limit.count_sent(), SentMark::NOT_COUNTED);
    limit.tick(MIN_PERIOD, true);
    assert_eq!(limit.counted(), marks.len() as u64);
    limit.tick(2 * MIN_PERIOD, true);
    assert_eq!(limit.counted(), 0);
    assert_eq!(limit.doublings, 1);
    // A late reply changes nothing.
    limit.count_reply(marks[0], false);
    assert_eq!(limit.counted(), 0);
}

#[test]
fn late_replies_lengthen_the_period_but_those_to_reads_do_not() {
    for is_read in [false, true] {
        let mut limit = InflightLimit::new(true);
        limit.tick(Duration::ZERO, false);
        let marks = fill(&mut limit);
        for n in 1..=3 {
            limit.tick(n * MIN_PERIOD, true);
        }
        for mark in marks {
            limit.count_reply(mark, is_read);
        }
        limit.tick(4 * MIN_PERIOD, false);
        let expected = if is_read { MIN_PERIOD } else { 12 * MIN_PERIOD };
        assert_eq!(limit.period_length, expected);
    }
}
