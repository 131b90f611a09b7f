//! A restart of the server behind a 9pmux with `--reconnect`: one client has 100,000 fids, of which 1,000 are open,
//! and a request that waits for one of them.
//!
//! | figure | goal |
//! |---|---|
//! | the time from the Tversion of 9pmux until the request is at the server, in ms | 10 |
//! | the round trips before that | 2 |
//! | the time until all fids are restored, in s | 1 |
//! | the processor time of 9pmux while the server is away, in ms a second | 0 |

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::beside::median;
use super::clients::{attach, on_cpu};
use super::stub::{message, reply};
use super::ways::{ninepmux, start, wait};

const FIDS: u32 = 100_000;
const OPEN: u32 = 1_000;

/// The number of directories, and of names of a file below one.
const DIRECTORIES: u32 = 100;

/// The time for which the server is away.
const AWAY: Duration = Duration::from_secs(2);

const TWALK: u8 = 110;
const TOPEN: u8 = 112;
const TSTAT: u8 = 124;

/// What one life of the server has seen.
struct Life {
    /// The time from the first message until a Tstat arrived, and the number of times that it has read before.
    first: (Duration, usize),
    /// The time from the first message until all fids were walked to and opened.
    all: Duration,
}

/// Serves one connection until `is_done` returns true after a message. It is given the number of fids and of opens.
fn live(listener: &UnixListener, is_done: impl Fn(usize, usize) -> bool) -> (Life, UnixStream) {
    let (mut stream, _) = listener.accept().expect("a connection");
    let (mut input, mut output, mut buffer) = (Vec::new(), Vec::new(), vec![0; 1 << 18]);
    let (mut walked, mut opened) = (HashSet::new(), 0);
    let (mut begun, mut reads) = (None, 0);
    let mut life = Life { first: (Duration::ZERO, 0), all: Duration::ZERO };
    loop {
        let n = stream.read(&mut buffer).expect("9pmux stays");
        assert!(n > 0, "9pmux has gone");
        let since = *begun.get_or_insert_with(Instant::now);
        input.extend_from_slice(&buffer[..n]);
        let mut at = 0;
        while let Some(size) = input[at..].first_chunk() {
            let size = u32::from_le_bytes(*size) as usize;
            let Some(request) = input.get(at..at + size) else { break };
            match request[4] {
                TWALK => drop(walked.insert(request[11..15].to_vec())),
                TOPEN => opened += 1,
                TSTAT if life.first.1 == 0 => life.first = (since.elapsed(), reads),
                _ => {}
            }
            reply(&[], request, &mut output);
            at += size;
        }
        input.drain(..at);
        reads += usize::from(at > 0);
        stream.write_all(&output).expect("9pmux reads");
        output.clear();
        if is_done(walked.len(), opened) {
            life.all = since.elapsed();
            return (life, stream);
        }
    }
}

/// Makes a client that has all fids, and sends the Tstat of one of them when the server has gone.
fn client(path: &Path) -> UnixStream {
    let mut stream = attach(path);
    let mut replies = [0; 1 << 16];
    for fid in 1..=FIDS {
        let name = |n: u32| format!("{n:08}");
        let names = [name(fid % DIRECTORIES), name(fid)].map(|n| [&[8, 0], n.as_bytes()].concat());
        let body = [&[0; 4][..], &fid.to_le_bytes(), &[2, 0], &names.concat()].concat();
        stream.write_all(&message(TWALK, 1, &body)).unwrap();
        stream.read_exact(&mut replies[..9 + 26]).unwrap();
        if fid <= OPEN {
            let body = [&fid.to_le_bytes()[..], &[0]].concat();
            stream.write_all(&message(TOPEN, 1, &body)).unwrap();
            stream.read_exact(&mut replies[..24]).unwrap();
        }
    }
    stream
}

/// Returns the figures of one restart: the time and the round trips of the first request, the time of all fids, and
/// the processor time while the server is away.
fn restart(directory: &Path) -> [f64; 4] {
    let [server, here] = ["server", "here"].map(|name| directory.join(name));
    let listener = UnixListener::bind(&server).expect("a socket for the server");
    let mut command = Command::new(ninepmux());
    command.args(["serve", "-q", "--reconnect", "--max-fids", "200000"]);
    let addresses = [&server, &here].map(|path| format!("unix!{}", path.display()));
    let running = start(command.args(addresses));
    let group = i32::try_from(running.0.id()).expect("the number of a process");
    let serving = thread::spawn(move || {
        let is_done = |fids, opened| fids == FIDS as usize && opened == OPEN as usize;
        live(&listener, is_done).1
    });
    wait(&here);
    let mut client = client(&here);
    drop(serving.join().expect("the server"));
    fs::remove_file(&server).unwrap();
    client.write_all(&message(TSTAT, 2, &(FIDS / 2).to_le_bytes())).unwrap();
    thread::sleep(Duration::from_millis(500));
    let before = on_cpu(group);
    thread::sleep(AWAY);
    let away = (on_cpu(group) - before) / AWAY.as_secs_f64();
    let listener = UnixListener::bind(&server).expect("a socket for the server");
    let is_done = |fids, opened| fids > FIDS as usize && opened == OPEN as usize;
    let (life, stream) = live(&listener, is_done);
    let mut reply = [0; 69];
    client.read_exact(&mut reply).expect("the reply");
    assert_eq!(reply[4], TSTAT + 1);
    drop((stream, running));
    for path in [server, here] {
        let _ = fs::remove_file(path);
    }
    let (first, trips) = life.first;
    [first.as_secs_f64() * 1e3, trips as f64, life.all.as_secs_f64(), away * 1e3]
}

/// Measures some restarts, and prints the medians.
pub fn main(directory: &Path, rounds: usize) {
    let rounds: Vec<[f64; 4]> = (0..rounds).map(|_| restart(directory)).collect();
    println!("| figure | goal | median | least | most |");
    println!("|---|---|---|---|---|");
    let figures = [
        ("first request at the server, ms", 10.0),
        ("round trips before it", 2.0),
        ("all fids restored, s", 1.0),
        ("processor time while away, ms/s", 0.0),
    ];
    for (i, (name, goal)) in figures.into_iter().enumerate() {
        let values: Vec<f64> = rounds.iter().map(|round| round[i]).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        println!("| {name} | {goal} | {:.2} | {least:.2} | {most:.2} |", median(values));
    }
}
