//! Messages per second through an engine in memory, without I/O, for several numbers of clients and of requests in
//! flight; a stub replies at once. Also the cost of a fid among very many fids.
//!
//!     cargo run --release -p ninepmux --example share
//!     valgrind --tool=callgrind target/release/examples/share 200     # 200 rounds of 64 clients with 16 requests

use std::hint::black_box;
use std::time::{Duration, Instant};

use ninepmux::engine::{ClientId, Config, Engine};

fn message(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut message = (body.len() as u32 + 7).to_le_bytes().to_vec();
    message.push(kind);
    message.extend(tag.to_le_bytes());
    message.extend(body);
    message
}

fn drain(engine: &mut Engine) {
    while let Some(id) = engine.next_dirty() {
        let n = black_box(engine.output(id)).len();
        engine.client_wrote(id, n);
    }
}

/// Replies to each message in the server's output.
fn serve(engine: &mut Engine, replies: &mut Vec<u8>, answer: &dyn Fn(u8) -> Vec<u8>) -> u64 {
    let mut requests = engine.server_output();
    let (all, mut count) = (requests.len(), 0);
    replies.clear();
    let stat = answer(124);
    let (mut kind, mut reply) = (124, &stat);
    let mut other;
    while let Some((header, _)) = requests.split_first_chunk::<7>() {
        let size = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if header[4] != kind {
            kind = header[4];
            other = answer(kind);
            reply = &other;
        }
        let at = replies.len();
        replies.extend_from_slice(reply);
        replies[at + 5..at + 7].copy_from_slice(&header[5..7]);
        requests = &requests[size..];
        count += 1;
    }
    engine.server_wrote(all);
    engine.server_bytes(replies);
    count
}

/// Processor time of this process in nanoseconds, on systems that report it.
fn on_cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// Returns the requests per second, and the bytes of buffers that are kept. Without a number of rounds, of one request
/// for each client and request in flight, it runs for 0.7 seconds.
fn run(clients: usize, inflight: u16, body: usize, rounds: Option<u32>) -> (f64, usize) {
    let config = Config { max_server_bytes: 1 << 24, adapts: true, ..Config::default() };
    let mut engine = Engine::new(config);
    let mut version = 65536u32.to_le_bytes().to_vec();
    version.extend(b"\x06\x009P2000");
    let answer = move |kind| match kind {
        100 => message(101, 0, &version),
        104 => message(105, 0, &[0; 13]),
        _ => {
            let mut stat = (body as u16).to_le_bytes().to_vec();
            stat.resize(body + 2, 7);
            message(125, 0, &stat)
        }
    };
    let mut replies = Vec::new();
    let ids: Vec<ClientId> = (0..clients).map(|_| engine.client_connected()).collect();
    for id in &ids {
        engine.client_bytes(
            *id,
            &answer(100).iter().map(|b| if *b == 101 { 100 } else { *b }).collect::<Vec<_>>(),
        );
        serve(&mut engine, &mut replies, &answer);
        engine.client_bytes(*id, &message(104, 1, b"\0\0\0\0\xff\xff\xff\xff\x01\0u\0\0"));
        serve(&mut engine, &mut replies, &answer);
    }
    drain(&mut engine);
    let batch: Vec<u8> = (0..inflight).flat_map(|tag| message(124, tag, &[0; 4])).collect();
    let (start, cpu, mut count, mut now) = (Instant::now(), on_cpu(), 0, Duration::ZERO);
    for round in 0_u32.. {
        let is_over = match rounds {
            Some(rounds) => round == rounds,
            None => start.elapsed() > Duration::from_millis(700),
        };
        if is_over {
            break;
        }
        for id in &ids {
            engine.client_bytes(*id, &batch);
        }
        // At first the adaptive limit is smaller.
        while !engine.server_output().is_empty() {
            now += Duration::from_micros(100);
            engine.tick(now);
            count += serve(&mut engine, &mut replies, &answer);
        }
        drain(&mut engine);
    }
    // Processor time is more reliable on a busy machine.
    let elapsed = match on_cpu() - cpu {
        0 => start.elapsed().as_nanos() as u64,
        ns => ns,
    };
    let rate = count as f64 * 1e9 / elapsed as f64;
    assert_eq!(engine.stats().local_errors, 0);
    (rate, engine.stats().spare_bytes)
}

/// The memory of an idle client that has attached and has had this number of requests upstream.
fn idle(inflight: u16) -> usize {
    const MANY: usize = 10_000;
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0) * 4096
    };
    let mut engine = Engine::new(Config::default());
    let mut version = 65536u32.to_le_bytes().to_vec();
    version.extend(b"\x06\x009P2000");
    let answer = move |kind| match kind {
        100 => message(101, 0, &version),
        104 => message(105, 0, &[0; 13]),
        _ => message(125, 0, &[1, 0, 7]),
    };
    let mut replies = Vec::new();
    let before: usize = resident();
    let batch: Vec<u8> = (0..inflight).flat_map(|tag| message(124, tag, &[0; 4])).collect();
    for _ in 0..MANY {
        let id = engine.client_connected();
        let mut version = answer(100);
        version[4] = 100;
        engine.client_bytes(id, &version);
        serve(&mut engine, &mut replies, &answer);
        engine.client_bytes(id, &message(104, 1, b"\0\0\0\0\xff\xff\xff\xff\x01\0u\0\0"));
        serve(&mut engine, &mut replies, &answer);
        engine.client_bytes(id, &batch);
        serve(&mut engine, &mut replies, &answer);
        drain(&mut engine);
    }
    resident().saturating_sub(before) / MANY
}

/// Nanoseconds for a Twalk to a new fid and its Tclunk, for a client with this number of fids.
fn fids(live: u32) -> f64 {
    const PAIRS: u32 = 200_000;
    let max_fids = live as usize + 2;
    let mut engine = Engine::new(Config { max_fids, max_fids_all: max_fids, ..Config::default() });
    let mut version = 65536u32.to_le_bytes().to_vec();
    version.extend(b"\x06\x009P2000");
    let answer = move |kind| match kind {
        100 => message(101, 0, &version),
        104 => message(105, 0, &[0; 13]),
        110 => message(111, 0, &[0; 2]),
        _ => message(121, 0, &[]),
    };
    let mut replies = Vec::new();
    let id = engine.client_connected();
    let mut asks = |engine: &mut Engine, kind, body: &[u8]| {
        engine.client_bytes(id, &message(kind, 1, body));
        serve(engine, &mut replies, &answer);
        drain(engine);
    };
    asks(&mut engine, 100, &answer(100)[7..]);
    asks(&mut engine, 104, b"\0\0\0\0\xff\xff\xff\xff\x01\0u\0\0");
    let walk = |fid: u32| [&[0; 4], &fid.to_le_bytes()[..], &[0; 2]].concat();
    for fid in 1..live {
        asks(&mut engine, 110, &walk(fid));
    }
    assert_eq!(engine.stats().fids, live.max(1) as usize);
    let cpu = on_cpu();
    for n in 0..PAIRS {
        // A new fid each time, spread over all numbers.
        let fid = live.max(1) + n.wrapping_mul(7919) % 1_000_003;
        asks(&mut engine, 110, &walk(fid));
        asks(&mut engine, 120, &fid.to_le_bytes());
    }
    assert_eq!(engine.stats().local_errors, 0);
    (on_cpu() - cpu) as f64 / f64::from(PAIRS)
}

fn main() {
    if let Some(rounds) = std::env::args().nth(1) {
        run(64, 16, 60, Some(rounds.parse().expect("a number of rounds")));
        return;
    }
    // First, while no other memory is allocated.
    println!("an idle client that had 256 requests upstream: {} bytes", idle(256));
    for (clients, inflight, body) in
        [(1, 1, 60), (8, 1, 60), (64, 16, 60), (1000, 16, 60), (10_000, 2, 60), (64, 16, 4096)]
    {
        let (rate, spare) = run(clients, inflight, body, None);
        println!(
            "{clients:6} clients x {inflight:2}, replies of {body:4}: {:10.0} requests a second, {:5.0} ns each; {spare} bytes of buffers kept",
            rate,
            1e9 / rate
        );
    }
    for live in [1, 1000, 65_536, 1_000_000, 4_000_000] {
        println!("beside {live:7} fids: a new one, and its clunk: {:4.0} ns", fids(live));
    }
}
