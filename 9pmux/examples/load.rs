//! How many messages a second: so many clients, each with so many requests in flight, against a stub
//! server; straight, through 9pmux, through a plain relay of bytes (socat), and through 9pserve where one
//! is given.
//!
//!     cargo build --release -p ninepmux
//!     cargo run --release -p ninepmux --example load
//!     cargo run --release -p ninepmux --example load -- -s 2 -r 5 64x16    # longer, more rounds, one load
//!     PEER_9PSERVE=dir/9pserve cargo run --release -p ninepmux --example load
//!
//! All ways are measured by turns, in one run, and the table has the median of the rounds: on one machine
//! the ratios of a run say something, the figures of two runs do not.
//!
//! This file is three programs: the one that is started, which starts the others; `server`, the stub; and
//! `load`, the clients. Both of these answer whatever has come by one write, as good programs do.

use std::io::{self, ErrorKind::WouldBlock, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

const MSIZE: u32 = 65536;
const READ: u32 = 4096;

fn message(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut message = (body.len() as u32 + 7).to_le_bytes().to_vec();
    message.push(kind);
    message.extend(tag.to_le_bytes());
    message.extend(body);
    message
}

fn version(kind: u8) -> Vec<u8> {
    message(kind, 0xffff, &[&MSIZE.to_le_bytes()[..], b"\x06\x009P2000"].concat())
}

/// A connection that never blocks: what came and is not whole, and what does not go out yet.
struct Peer {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    blocked: bool,
    over: bool,
}

impl Peer {
    fn new(stream: UnixStream) -> Peer {
        stream.set_nonblocking(true).unwrap();
        Peer { stream, input: Vec::new(), output: Vec::new(), blocked: false, over: false }
    }

    /// Reads all there is, and hands over each message; what it adds to the output is written.
    fn turn(&mut self, buffer: &mut [u8], mut each: impl FnMut(&[u8], &mut Vec<u8>)) {
        loop {
            let n = match self.stream.read(buffer) {
                Ok(0) => return self.over = true,
                Ok(n) => n,
                Err(error) if error.kind() == WouldBlock => break,
                Err(_) => return self.over = true,
            };
            let mut bytes = &buffer[..n];
            let joined;
            if !self.input.is_empty() {
                self.input.extend_from_slice(bytes);
                joined = std::mem::take(&mut self.input);
                bytes = &joined;
            }
            while let Some(size) = bytes.first_chunk() {
                let size = u32::from_le_bytes(*size) as usize;
                let Some((message, rest)) = bytes.split_at_checked(size) else { break };
                each(message, &mut self.output);
                bytes = rest;
            }
            self.input.extend_from_slice(bytes);
            if n < buffer.len() {
                break;
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        self.blocked = false;
        let mut at = 0;
        while at < self.output.len() {
            match self.stream.write(&self.output[at..]) {
                Ok(n) => at += n,
                Err(error) if error.kind() == WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(_) => return self.over = true,
            }
        }
        self.output.drain(..at);
    }
}

fn watch(poll: &Poll, fd: i32, token: usize, writing: bool, again: bool) {
    let interest = match writing {
        true => Interest::READABLE | Interest::WRITABLE,
        false => Interest::READABLE,
    };
    let registry = poll.registry();
    match again {
        true => registry.reregister(&mut SourceFd(&fd), Token(token), interest).unwrap(),
        false => registry.register(&mut SourceFd(&fd), Token(token), interest).unwrap(),
    }
}

/// Turns these peers, until `until` says so after a round of events.
fn turn_all(
    peers: &mut Vec<Option<Peer>>,
    listener: Option<&UnixListener>,
    mut each: impl FnMut(usize, &[u8], &mut Vec<u8>),
    mut until: impl FnMut() -> bool,
) {
    const LISTENER: usize = usize::MAX - 1;
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    for (n, peer) in peers.iter_mut().enumerate() {
        if let Some(peer) = peer {
            watch(&poll, peer.stream.as_raw_fd(), n, false, false);
            peer.flush();
        }
    }
    if let Some(listener) = listener {
        listener.set_nonblocking(true).unwrap();
        watch(&poll, listener.as_raw_fd(), LISTENER, false, false);
    }
    loop {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.unwrap(),
        }
        for event in &events {
            let Token(n) = event.token();
            if n == LISTENER {
                while let Some(Ok((stream, _))) = listener.map(UnixListener::accept) {
                    let at = peers.iter().position(Option::is_none).unwrap_or(peers.len());
                    if at == peers.len() {
                        peers.push(None);
                    }
                    watch(&poll, stream.as_raw_fd(), at, false, false);
                    peers[at] = Some(Peer::new(stream));
                }
                continue;
            }
            let Some(peer) = peers.get_mut(n).and_then(Option::as_mut) else { continue };
            let before = peer.blocked;
            if event.is_writable() {
                peer.flush();
            }
            peer.turn(&mut buffer, |message, output| each(n, message, output));
            if peer.blocked != before {
                watch(&poll, peer.stream.as_raw_fd(), n, peer.blocked, true);
            }
            if peer.over {
                peers[n] = None;
            }
        }
        if until() {
            return;
        }
    }
}

/// The stub: it answers at once, always the same.
fn server(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    let answers = [
        (100, version(101)),
        (104, message(105, 0, &[0; 13])),
        (124, message(125, 0, &[&[60, 0][..], &[7; 60]].concat())),
        (116, message(117, 0, &[&READ.to_le_bytes()[..], &[7; READ as usize]].concat())),
        (120, message(121, 0, &[])),
        (108, message(109, 0, &[])),
    ];
    let answer = |_, message: &[u8], output: &mut Vec<u8>| {
        let at = output.len();
        let (_, answer) = answers.iter().find(|(kind, _)| *kind == message[4]).unwrap();
        output.extend_from_slice(answer);
        output[at + 5..at + 7].copy_from_slice(&message[5..7]);
    };
    turn_all(&mut Vec::new(), Some(&listener), answer, || false);
}

/// The clients; says how many replies a second there were.
fn load(path: &Path, clients: usize, inflight: u16, kind: u8, seconds: f64) -> f64 {
    let attach = message(104, 1, b"\0\0\0\0\xff\xff\xff\xff\x01\0u\0\0");
    let connect = || {
        let since = Instant::now();
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => return stream,
                Err(error) if since.elapsed() > Duration::from_secs(20) => panic!("{error}"),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    };
    let mut peers: Vec<_> = (0..clients)
        .map(|_| {
            let mut stream = connect();
            for request in [&version(100), &attach] {
                stream.write_all(request).unwrap();
                let mut size = [0; 4];
                stream.read_exact(&mut size).unwrap();
                let mut rest = vec![0; u32::from_le_bytes(size) as usize - 4];
                stream.read_exact(&mut rest).unwrap();
                assert!([101, 105].contains(&rest[0]), "a reply of type {}", rest[0]);
            }
            Some(Peer::new(stream))
        })
        .collect();
    let request = match kind {
        116 => message(116, 0, &[&[0; 12][..], &READ.to_le_bytes()].concat()),
        _ => message(kind, 0, &[0; 4]),
    };
    for peer in peers.iter_mut().flatten() {
        for tag in 0..inflight {
            peer.output.extend_from_slice(&request);
            let at = peer.output.len() - request.len();
            peer.output[at + 5..at + 7].copy_from_slice(&tag.to_le_bytes());
        }
    }
    let mut count = 0u64;
    let counted = std::cell::Cell::new(0u64);
    let mut begun = None;
    let mut rate = 0.0;
    let warm = Instant::now();
    turn_all(
        &mut peers,
        None,
        |_, reply, output| {
            assert_eq!(reply[4], kind + 1, "a reply of another type");
            let at = output.len();
            output.extend_from_slice(&request);
            output[at + 5..at + 7].copy_from_slice(&reply[5..7]);
            count += 1;
            counted.set(count);
        },
        || {
            let now = Instant::now();
            match begun {
                None if now - warm > Duration::from_secs_f64(seconds / 5.0) => {
                    begun = Some((now, counted.get()));
                }
                Some((since, before)) if (now - since).as_secs_f64() >= seconds => {
                    rate = (counted.get() - before) as f64 / (now - since).as_secs_f64();
                    return true;
                }
                _ => {}
            }
            false
        },
    );
    rate
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(pid, Signal::TERM);
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Running {
    use std::os::unix::process::CommandExt;
    Running(command.stdin(Stdio::null()).process_group(0).spawn().unwrap())
}

fn wait(path: &Path) {
    while !path.exists() {
        thread::sleep(Duration::from_millis(2));
    }
}

/// What stands between the clients and the server.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Straight,
    Ninepmux,
    Socat,
    Ninepserve,
}

/// It is built beside this.
fn ninepmux() -> PathBuf {
    let path = env::current_exe().unwrap();
    let path = path.ancestors().nth(2).unwrap().join("9pmux");
    assert!(path.exists(), "{} is not there: cargo build --release -p ninepmux", path.display());
    path
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Straight => "straight",
            Way::Ninepmux => "9pmux",
            Way::Socat => "socat",
            Way::Ninepserve => "9pserve",
        }
    }

    fn start(self, server: &Path, at: &Path) -> Option<Running> {
        let (server, here) = (server.display(), at.display());
        let mut command = match self {
            Way::Straight => return None,
            Way::Ninepmux => {
                let mut command = Command::new(ninepmux());
                command.args(["serve", &format!("unix!{server}"), &format!("unix!{here}")]);
                command
            }
            Way::Socat => {
                // it tells of every client that goes
                let mut command = Command::new("socat");
                command.stderr(Stdio::null());
                command.arg(format!("UNIX-LISTEN:{here},fork,backlog=4096"));
                command.arg(format!("UNIX-CONNECT:{server}"));
                command
            }
            Way::Ninepserve => {
                let mut command = Command::new(env::var_os("PEER_9PSERVE").unwrap());
                command.args(["-c", &format!("unix!{server}"), &format!("unix!{here}")]);
                command
            }
        };
        let running = start(&mut command);
        wait(at);
        Some(running)
    }
}

fn measure(way: Way, load: &str, seconds: f64, directory: &Path) -> f64 {
    let me = env::current_exe().unwrap();
    let server = directory.join("server");
    let stub = start(Command::new(&me).arg("server").arg(&server));
    wait(&server);
    let at = directory.join("here");
    let between = way.start(&server, &at);
    let path = if way == Way::Straight { &server } else { &at };
    let output = Command::new(&me)
        .arg("load")
        .arg(path)
        .args([load, &seconds.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    drop(between);
    drop(stub);
    for name in ["server", "here"] {
        let _ = fs::remove_file(directory.join(name));
    }
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap_or(f64::NAN)
}

fn parse(load: &str) -> (usize, u16, u8) {
    let (load, kind) = match load.strip_suffix("r") {
        Some(load) => (load, 116),
        None => (load, 124),
    };
    let (clients, inflight) = load.split_once('x').expect("clients x requests: 64x16, 64x16r");
    (clients.parse().unwrap(), inflight.parse().unwrap(), kind)
}

fn main() {
    let mut args: Vec<String> = env::args().skip(1).collect();
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    match args.first().map(String::as_str) {
        Some("server") => return server(&PathBuf::from(&args[1])),
        Some("load") => {
            let (clients, inflight, kind) = parse(&args[2]);
            let seconds = args[3].parse().unwrap();
            println!("{}", load(Path::new(&args[1]), clients, inflight, kind, seconds));
            return;
        }
        _ => {}
    }
    let mut option = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.remove(at);
        Some(args.remove(at))
    };
    let seconds: f64 = option("-s").map_or(0.5, |s| s.parse().unwrap());
    let rounds: usize = option("-r").map_or(3, |r| r.parse().unwrap());
    if args.is_empty() {
        args = ["1x1", "8x1", "64x16", "64x16r", "16x16", "1000x16", "10000x16"]
            .map(String::from)
            .to_vec();
    }
    let mut ways = vec![Way::Straight, Way::Ninepmux];
    if Command::new("socat").arg("-V").stdout(Stdio::null()).status().is_ok() {
        ways.push(Way::Socat);
    }
    if env::var_os("PEER_9PSERVE").is_some() {
        ways.push(Way::Ninepserve);
    }
    let directory = env::temp_dir().join(format!("9pmux-load.{}", process::id()));
    fs::create_dir(&directory).unwrap();
    println!("messages a second; r is a Tread of {READ}, others are Tstat\n");
    print!("| clients x requests |");
    ways.iter().for_each(|way| print!(" {} |", way.name()));
    println!(" 9pmux / straight | 9pmux / socat |");
    println!("|---|{}---|---|", "---|".repeat(ways.len()));
    for load in &args {
        let (clients, ..) = parse(load);
        let mut rates: Vec<(Way, Vec<f64>)> = ways
            .iter()
            // a process for each client is no relay for a thousand
            .map(|way| (*way, Vec::new()))
            .filter(|(way, _)| clients <= 256 || [Way::Straight, Way::Ninepmux].contains(way))
            .collect();
        for _ in 0..rounds {
            for (way, rates) in &mut rates {
                rates.push(measure(*way, load, seconds, &directory));
            }
        }
        let median = |wanted: Way| {
            let (_, rates) = rates.iter().find(|(way, _)| *way == wanted)?;
            let mut rates = rates.clone();
            rates.sort_by(f64::total_cmp);
            Some(rates[rates.len() / 2])
        };
        print!("| {load} |");
        for way in &ways {
            median(*way).map_or_else(|| print!(" |"), |rate| print!(" {rate:.0} |"));
        }
        let ratio = |to: Way| match (median(Way::Ninepmux), median(to)) {
            (Some(ours), Some(theirs)) => format!("{:.2}", ours / theirs),
            _ => String::new(),
        };
        println!(" {} | {} |", ratio(Way::Straight), ratio(Way::Socat));
    }
    let _ = fs::remove_dir_all(&directory);
}
