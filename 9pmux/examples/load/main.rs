//! Messages per second for several numbers of clients and of requests in flight, against a stub server: directly, through
//! 9pmux, through a plain relay of bytes (socat), and through 9pserve if its path is given.
//!
//!     cargo build --release -p ninepmux
//!     cargo run --release -p ninepmux --example load
//!     cargo run --release -p ninepmux --example load -- -s 2 -r 5 64x16    # longer, more rounds, one load
//!     cargo run --release -p ninepmux --example load -- 1x4r128k 16x4r1024k  # reads of 128 KiB and 1 MiB
//!     cargo run --release -p ninepmux --example load -- -o results.tsv     # every figure of every run too
//!     NINEPMUX_OPTIONS='--msize 131072' cargo run --release -p ninepmux --example load
//!     PEER_9PSERVE=dir/9pserve cargo run --release -p ninepmux --example load
//!     cargo run --release -p ninepmux --example load -- beside             # latency beside other clients (`beside.rs`)
//!     cargo run --release -p ninepmux --example load -- beside -r 5 100xflush
//!     cargo run --release -p ninepmux --example load -- link -r 5          # a link, and its goals (`link.rs`)
//!     cargo run --release -p ninepmux --example load -- reconnect -r 15    # with --reconnect and without (`reconnect.rs`)
//!
//! All ways are measured alternately in one run, and the table shows the median of the rounds. Only the ratios within one
//! run are meaningful, not the figures of different runs.
//!
//! The executable is three programs: the main one, which starts the others (`ways.rs`); `server`, the stub (`stub.rs`);
//! and `load`, the clients (`clients.rs`). The stub and the clients send all that they have to send in one write, as
//! efficient programs do (`peer.rs`). `results.rs` writes the results.

mod beside;
mod clients;
mod link;
mod network;
mod peer;
mod reconnect;
mod results;
mod stub;
mod ways;

use std::path::Path;
use std::time::Duration;
use std::{env, fs, process};

use clients::Load;
use results::Results;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use ways::Way;

/// The default loads: first the loads of a table, then by the number of clients.
const LOADS: [&str; 12] = [
    "1x1", "8x1", "64x16", "64x16r", "1x16", "4x16", "16x16", "256x16", "1000x16", "2500x16",
    "5000x16", "10000x16",
];

fn main() {
    let mut args: Vec<String> = env::args().skip(1).collect();
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    match args.first().map(String::as_str) {
        Some("server") => match args.get(2) {
            None => return stub::serve(Path::new(&args[1])),
            Some(micros) => {
                let time = Duration::from_micros(micros.parse().expect("microseconds"));
                let workers = args.get(3).map_or(1, |n| n.parse().expect("a number of workers"));
                return stub::serve_slowly(Path::new(&args[1]), time, workers);
            }
        },
        Some("load") => return clients::main(&args[1..]),
        Some("client") => return beside::client(&args[1..]),
        Some("neighbours") => return beside::neighbours(&args[1..]),
        _ => {}
    }
    let mut option = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.remove(at);
        Some(args.remove(at))
    };
    let seconds: f64 = option("-s").map_or(0.5, |s| s.parse().expect("-s: a number of seconds"));
    let rounds: usize = option("-r").map_or(3, |r| r.parse().expect("-r: a number of rounds"));
    let file = option("-o");
    let directory = env::temp_dir().join(format!("9pmux-load.{}", process::id()));
    fs::create_dir(&directory).expect("a directory for sockets");
    if args.first().is_some_and(|arg| arg == "beside") {
        beside::main(&directory, &args[1..], rounds, seconds);
        let _ = fs::remove_dir_all(&directory);
        return;
    }
    if args.first().is_some_and(|arg| arg == "reconnect") {
        reconnect::main(&directory, &args[1..], rounds, seconds);
        let _ = fs::remove_dir_all(&directory);
        return;
    }
    if args.first().is_some_and(|arg| arg == "link") {
        link::main(&directory, rounds, seconds, file.as_deref());
        let _ = fs::remove_dir_all(&directory);
        return;
    }
    let mut results = Results::new(file.as_deref(), rounds, seconds);
    let loads = if args.is_empty() { LOADS.map(String::from).to_vec() } else { args };
    for round in 1..=rounds {
        for load in loads.iter().map(|load| Load::named(load)) {
            for way in Way::all().into_iter().filter(|way| way.takes(&load)) {
                let measured = ways::measure(way, &load, seconds, &directory);
                results.add(round, way, &load, measured);
            }
        }
    }
    let _ = fs::remove_dir_all(&directory);
    results.print();
}
