//! How many messages a second: so many clients, each with so many requests in flight, against a stub
//! server; straight, through 9pmux, through a plain relay of bytes (socat), and through 9pserve where one
//! is given.
//!
//!     cargo build --release -p ninepmux
//!     cargo run --release -p ninepmux --example load
//!     cargo run --release -p ninepmux --example load -- -s 2 -r 5 64x16    # longer, more rounds, one load
//!     cargo run --release -p ninepmux --example load -- -o results.tsv     # every figure of every run too
//!     PEER_9PSERVE=dir/9pserve cargo run --release -p ninepmux --example load
//!
//! All ways are measured by turns, in one run, and the table has the median of the rounds: on one machine
//! the ratios of a run say something, the figures of two runs do not.
//!
//! This is three programs: the one that is started, which starts the others (`ways.rs`); `server`, the
//! stub (`stub.rs`); and `load`, the clients (`clients.rs`). Both of these answer whatever has come by one
//! write, as good programs do (`peer.rs`). `results.rs` has what is written down.

mod clients;
mod peer;
mod results;
mod stub;
mod ways;

use std::path::Path;
use std::{env, fs, process};

use clients::Load;
use results::Results;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use ways::Way;

/// What is measured if nothing is named: those of a table, then by the number of clients.
const LOADS: [&str; 12] = [
    "1x1", "8x1", "64x16", "64x16r", "1x16", "4x16", "16x16", "256x16", "1000x16", "2500x16",
    "5000x16", "10000x16",
];

fn main() {
    let mut args: Vec<String> = env::args().skip(1).collect();
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    match args.first().map(String::as_str) {
        Some("server") => return stub::serve(Path::new(&args[1])),
        Some("load") => return clients::main(&args[1..]),
        _ => {}
    }
    let mut option = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.remove(at);
        Some(args.remove(at))
    };
    let seconds: f64 = option("-s").map_or(0.5, |s| s.parse().expect("-s: a number of seconds"));
    let rounds: usize = option("-r").map_or(3, |r| r.parse().expect("-r: a number of rounds"));
    let mut results = Results::new(option("-o").as_deref(), rounds, seconds);
    let loads = if args.is_empty() { LOADS.map(String::from).to_vec() } else { args };
    let directory = env::temp_dir().join(format!("9pmux-load.{}", process::id()));
    fs::create_dir(&directory).expect("a directory for sockets");
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
