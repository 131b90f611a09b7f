//! The latency of one client that asks one request at a time, alone and beside clients that load 9pmux.
//!
//! | neighbours | each of them |
//! |---|---|
//! | `100xunknown`, `100xflush`, `100xversion` | writes as fast as it can: Tstat of a fid that it does not have, Tflush of nothing, Tversion; 9pmux replies to all of these itself |
//! | `1x256`, `20x256`, `20x256+4x64r` | keeps 256 Tstat in flight, at a server that takes half a millisecond for each request and serves one at a time. `r` stands for Treads, which that server never replies to |
//!
//! Neighbours take processor time from the client and from 9pmux, whatever 9pmux does. Each kind of the first row is
//! therefore measured a second time at another 9pmux, which has the same work (`elsewhere`).

use std::io::{self, ErrorKind::WouldBlock, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::clients::{Load, attach, keep_in_flight};
use super::stub::{message, version};
use super::ways::{Running, Way, start, wait};

/// The time of the slow server for a request, in microseconds.
const SLOW: u64 = 500;

/// The time before the measurement begins.
const WARM_UP: Duration = Duration::from_millis(300);

const DEFAULT: [&str; 6] =
    ["100xunknown", "100xflush", "100xversion", "1x256", "20x256", "20x256+4x64r"];

/// Latencies in microseconds.
#[derive(Clone, Copy)]
struct Latency {
    median: f64,
    p99: f64,
}

/// `client path seconds`: prints the median and the 99th percentile of the latency, in microseconds.
pub fn client(args: &[String]) {
    let mut stream = attach(Path::new(&args[0]));
    let time = Duration::from_secs_f64(args[1].parse().expect("a number of seconds"));
    let request = message(124, 1, &[0; 4]);
    let (begun, mut latencies, mut reply) = (Instant::now(), Vec::new(), [0; 128]);
    while begun.elapsed() < WARM_UP + time {
        let since = Instant::now();
        stream.write_all(&request).unwrap();
        stream.read_exact(&mut reply[..69]).unwrap();
        assert_eq!(reply[4], 125, "another reply than an Rstat");
        if begun.elapsed() > WARM_UP {
            latencies.push(since.elapsed().as_secs_f64() * 1e6);
        }
    }
    latencies.sort_by(f64::total_cmp);
    let at = |part: f64| latencies[(latencies.len() as f64 * part) as usize];
    println!("{} {}", at(0.5), at(0.99));
}

/// `neighbours path 100xflush`: loads 9pmux until the process ends. Prints a line when all are connected.
pub fn neighbours(args: &[String]) {
    let (count, kind) = args[1].split_once('x').expect("a number of clients, x, and their kind");
    let requests = match kind {
        "unknown" => message(124, 1, &7_u32.to_le_bytes()),
        "flush" => message(108, 1, &9_u16.to_le_bytes()),
        "version" => version(100),
        _ => {
            let loads: Vec<Load> = args[1].split('+').map(Load::named).collect();
            let connected = loads.iter().map(|load| load.connect(Path::new(&args[0])));
            let connected: Vec<_> = connected.collect();
            println!("ready");
            return thread::scope(|scope| {
                for (load, peers) in loads.iter().zip(connected) {
                    scope.spawn(move || keep_in_flight(peers, load, &mut |_| (), &mut || false));
                }
            });
        }
    };
    let requests = requests.repeat(65536 / requests.len());
    let streams: Vec<_> = (0..count.parse().expect("a number of clients"))
        .map(|_| attach(Path::new(&args[0])))
        .collect();
    println!("ready");
    write_for_ever(streams, &requests);
}

/// Writes the requests to each stream again and again, and reads and discards what comes back.
fn write_for_ever(mut streams: Vec<UnixStream>, requests: &[u8]) {
    let mut poll = Poll::new().unwrap();
    for (n, stream) in streams.iter().enumerate() {
        stream.set_nonblocking(true).unwrap();
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(n), interest).unwrap();
    }
    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 256 * 1024]);
    let mut written = vec![0; streams.len()];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.unwrap(),
        }
        for event in &events {
            let Token(n) = event.token();
            loop {
                match streams[n].read(&mut buffer) {
                    Ok(n) if n == buffer.len() => {}
                    Ok(0) => panic!("a neighbour is disconnected"),
                    Ok(_) => break,
                    Err(error) if error.kind() == WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            loop {
                match streams[n].write(&requests[written[n]..]) {
                    Ok(more) => written[n] = (written[n] + more) % requests.len(),
                    Err(error) if error.kind() == WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

/// Returns true if the server of these neighbours is slow.
fn is_slow(neighbours: &str) -> bool {
    neighbours.ends_with(|c: char| c.is_ascii_digit() || c == 'r')
}

/// Where the neighbours are.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Alone,
    Here,
    Elsewhere,
}

/// A server and a 9pmux.
struct Pair {
    _between: Option<Running>,
    _server: Running,
    path: std::path::PathBuf,
}

fn start_pair(directory: &Path, name: &str, is_slow: bool) -> Pair {
    let server = directory.join(format!("{name}.server"));
    let path = directory.join(name);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("server").arg(&server);
    if is_slow {
        command.arg(SLOW.to_string());
    }
    let stub = start(&mut command);
    wait(&server);
    Pair { _between: Way::Ninepmux.start(&server, &path), _server: stub, path }
}

fn measure(directory: &Path, neighbours: &str, place: Place, seconds: f64) -> Latency {
    let is_slow = is_slow(neighbours);
    let me = std::env::current_exe().unwrap();
    let here = start_pair(directory, "here", is_slow);
    let other = (place == Place::Elsewhere).then(|| start_pair(directory, "other", is_slow));
    let path = other.as_ref().map_or(&here.path, |other| &other.path);
    let running = (place != Place::Alone).then(|| {
        let mut command = Command::new(&me);
        command.arg("neighbours").arg(path).arg(neighbours).stdout(Stdio::piped());
        let mut running = start(&mut command);
        let mut ready = [0; 6];
        running.0.stdout.as_mut().unwrap().read_exact(&mut ready).expect("they are connected");
        running
    });
    let client = Command::new(&me).arg("client").arg(&here.path).arg(seconds.to_string()).output();
    drop(running);
    let output = String::from_utf8(client.unwrap().stdout).unwrap();
    let figures: Vec<f64> = output.split_whitespace().map(|n| n.parse().unwrap()).collect();
    drop((here, other));
    for name in ["here", "other", "here.server", "other.server"] {
        let _ = std::fs::remove_file(directory.join(name));
    }
    Latency { median: figures[0], p99: figures[1] }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures all places of each kind alternately, and prints medians over the rounds.
pub fn main(directory: &Path, kinds: &[String], rounds: usize, seconds: f64) {
    let kinds = if kinds.is_empty() { DEFAULT.map(String::from).to_vec() } else { kinds.to_vec() };
    println!(
        "latency of one client in microseconds; ratios are medians of the ratios of the rounds\n"
    );
    println!("| neighbours | place | median | p99 | least p99 | p99 / alone | p99 / elsewhere |");
    println!("|---|---|---|---|---|---|---|");
    for kind in kinds {
        let is_slow = is_slow(&kind);
        let places = match is_slow {
            true => &[Place::Alone, Place::Here][..],
            false => &[Place::Alone, Place::Elsewhere, Place::Here],
        };
        let measured: Vec<Vec<Latency>> = (0..rounds)
            .map(|_| places.iter().map(|p| measure(directory, &kind, *p, seconds)).collect())
            .collect();
        let of = |n: usize, f: &dyn Fn(&[Latency]) -> f64| match n < places.len() {
            true => format!("{:.1}", median(measured.iter().map(|round| f(round)).collect())),
            false => String::new(),
        };
        for (n, place) in places.iter().enumerate() {
            let name = ["alone", "here", "elsewhere"][*place as usize];
            let least = measured.iter().map(|round| round[n].p99).fold(f64::INFINITY, f64::min);
            println!(
                "| {kind} | {name} | {} | {} | {least:.1} | {} | {} |",
                of(n, &|round| round[n].median),
                of(n, &|round| round[n].p99),
                of(n, &|round| round[n].p99 / round[0].p99),
                if n == 2 { of(n, &|round| round[2].p99 / round[1].p99) } else { String::new() },
            );
        }
    }
}
