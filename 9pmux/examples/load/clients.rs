//! The clients: each fills its requests in flight, and sends another request for each reply.

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::peer::{Peer, turn_all};
use super::stub::{MAX_READ, message, version};

const TSTAT: u8 = 124;
const TWALK: u8 = 110;
const TREAD: u8 = 116;
const TWRITE: u8 = 118;
const TCLUNK: u8 = 120;

/// The number of bytes of a Tread or Twrite, if the load does not say it.
pub const READ: u32 = 4096;

/// Clients and requests in flight of each: `64x16` for Tstat, `64x16r` for reads of 4096 bytes, `1x4r128k` for reads
/// of 128 KiB, the same with `w` for writes, and `64x16n` for walks by a name, each with the Tclunk of its fid.
pub struct Load {
    pub name: String,
    pub clients: usize,
    pub inflight: u16,
    kind: u8,
    /// The number of bytes of a Tread or Twrite.
    count: u32,
}

impl Load {
    pub fn named(name: &str) -> Load {
        let at = name.find(['r', 'w', 'n']).unwrap_or(name.len());
        let (load, what) = name.split_at(at);
        let size = what.get(1..).unwrap_or_default();
        let kibibytes = size.strip_suffix('k').and_then(|size| size.parse::<u32>().ok());
        let (kind, count) = match (what.chars().next(), kibibytes) {
            (None, _) => (TSTAT, 0),
            (Some('n'), _) => (TWALK, 0),
            (Some('r'), Some(kibibytes)) => (TREAD, 1024 * kibibytes),
            (Some('r'), None) if size.is_empty() => (TREAD, READ),
            (Some('w'), Some(kibibytes)) => (TWRITE, 1024 * kibibytes),
            (Some('w'), None) if size.is_empty() => (TWRITE, READ),
            _ => panic!("r128k, not {what}"),
        };
        assert!(count <= MAX_READ, "the stub serves reads and writes of at most {MAX_READ} bytes");
        let parts = load
            .split_once('x')
            .and_then(|(clients, inflight)| Some((clients.parse().ok()?, inflight.parse().ok()?)));
        let (clients, inflight) = parts.expect("a load is clients x requests: 64x16, 64x16r");
        Load { name: name.to_owned(), clients, inflight, kind, count }
    }

    /// Returns the type of the requests.
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// Returns a request with this tag, or for a walk the Tclunk of its fid if `reply` is that of the walk.
    fn request(&self, tag: u16, reply: Option<u8>, data: &[u8]) -> Vec<u8> {
        let fid = (u32::from(tag) + 1).to_le_bytes();
        let count = self.count.to_le_bytes();
        match self.kind {
            TWALK if reply == Some(TWALK + 1) => message(TCLUNK, tag, &fid),
            TWALK => message(TWALK, tag, &[&[0; 4][..], &fid, &[1, 0, 8, 0], b"file.txt"].concat()),
            TREAD => message(TREAD, tag, &[&[0; 12][..], &count].concat()),
            TWRITE => message(TWRITE, tag, &[&[0; 12][..], &count, data].concat()),
            kind => message(kind, tag, &[0; 4]),
        }
    }

    /// Returns the part of a request that a reply is. A short read counts for its part.
    fn part(&self, reply: &[u8]) -> f64 {
        match reply[4] - 1 {
            TREAD => (reply.len() - 11) as f64 / f64::from(self.count),
            TCLUNK => 0.0,
            kind => {
                assert_eq!(kind, self.kind, "a reply of another type");
                1.0
            }
        }
    }

    /// Connects the clients.
    pub fn connect(&self, path: &Path) -> Vec<Option<Peer>> {
        (0..self.clients).map(|_| Some(Peer::new(attach(path)))).collect()
    }
}

/// `load path 64x16 seconds group`: prints the replies per second, and the processor time per reply, in nanoseconds,
/// of the process group between clients and server.
pub fn main(args: &[String]) {
    let load = Load::named(&args[1]);
    let group = args[3].parse().expect("the number of a group of processes");
    let (rate, cost) = run(Path::new(&args[0]), &load, args[2].parse().unwrap(), group);
    println!("{rate} {cost}");
}

fn connect(path: &Path) -> UnixStream {
    let since = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(error) if since.elapsed() > Duration::from_secs(20) => panic!("{error}"),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Connects a client that has a version, and fid 0.
pub fn attach(path: &Path) -> UnixStream {
    let mut stream = connect(path);
    for request in [version(100), message(104, 1, b"\0\0\0\0\xff\xff\xff\xff\x01\0u\0\0")] {
        stream.write_all(&request).unwrap();
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut rest = vec![0; u32::from_le_bytes(size) as usize - 4];
        stream.read_exact(&mut rest).unwrap();
        assert_eq!(rest[0], request[4] + 1, "another reply than to a type {}", request[4]);
    }
    stream
}

/// Keeps the requests of the load in flight until `until` returns true after a round of events. Calls `count` with
/// the part of a request that each reply is.
pub fn keep_in_flight(
    mut peers: Vec<Option<Peer>>,
    load: &Load,
    count: &mut dyn FnMut(f64),
    until: &mut dyn FnMut() -> bool,
) {
    let data = vec![7; load.count as usize];
    // Made once, so that little time is spent here.
    let requests: Vec<[Vec<u8>; 2]> = (0..load.inflight)
        .map(|tag| [None, Some(TWALK + 1)].map(|reply| load.request(tag, reply, &data)))
        .collect();
    let ask = |tag: u16, reply: u8, output: &mut Vec<u8>| {
        let [request, second] = &requests[tag as usize];
        output.extend_from_slice(if reply == TWALK + 1 { second } else { request });
    };
    for peer in peers.iter_mut().flatten() {
        for tag in 0..load.inflight {
            ask(tag, 0, &mut peer.output);
        }
    }
    turn_all(
        &mut peers,
        None,
        |reply, output| {
            count(load.part(reply));
            ask(u16::from_le_bytes([reply[5], reply[6]]), reply[4], output);
        },
        until,
    );
}

fn run(path: &Path, load: &Load, seconds: f64, group: i32) -> (f64, f64) {
    let peers = load.connect(path);
    let count = Cell::new(0.0);
    let mut begun = None;
    let mut measured = (f64::NAN, f64::NAN);
    let warm = Instant::now();
    keep_in_flight(peers, load, &mut |part| count.set(count.get() + part), &mut || {
        let now = Instant::now();
        match begun {
            None if now - warm > Duration::from_secs_f64(seconds / 5.0) => {
                begun = Some((now, count.get(), on_cpu(group)));
            }
            Some((since, before, cpu)) if (now - since).as_secs_f64() >= seconds => {
                let replies: f64 = count.get() - before;
                let rate = replies / (now - since).as_secs_f64();
                measured = (rate, (on_cpu(group) - cpu) * 1e9 / replies);
                return true;
            }
            _ => {}
        }
        false
    });
    measured
}

/// Processor time of a process group in seconds, on systems that report it exactly: the figures in ticks (`stat`) miss
/// processes that run for less than one tick.
fn on_cpu(group: i32) -> f64 {
    let Ok(processes) = fs::read_dir("/proc") else { return f64::NAN };
    let nanoseconds: u64 = processes
        .flatten()
        .map(|process| process.path())
        .filter(|process| group_of(process) == Some(group))
        .filter_map(|process| fs::read_dir(process.join("task")).ok())
        .flat_map(|threads| threads.flatten())
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|schedstat| schedstat.split(' ').next()?.parse::<u64>().ok())
        .sum();
    if nanoseconds == 0 { f64::NAN } else { nanoseconds as f64 / 1e9 }
}

fn group_of(process: &Path) -> Option<i32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // behind the name, which may contain any character: state, parent, group
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}
