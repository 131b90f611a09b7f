//! A link between two ends, each with a stub server behind it and clients in front of it, as ratios within one run.
//!
//! | figure | goal |
//! |---|---|
//! | one way: messages through a link / through two `serve` in a row | at least 0.9 |
//! | both ways: the sum of both ways / one way | at least 1.0 |
//! | latency: a lone Tstat beside reads of the other way / the same at a link of its own, beside the same reads | at most 3 |
//! | network: a lone Tstat beside reads of the other way over a network of 8 MB a second / the time that one reply takes there | at most 2 |
//! | hung: one way while the export of the other way hangs / one way | at least 0.9 |
//! | stuck: the memory of an end while the servers or clients of both ways hang, without what clients may hold, in MiB | at most 13 |
//! | idle: the memory that each of 64 idle streams takes at an end that waits for callers, in KiB | at most 16 |

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::beside::median;
use super::network;
use super::results::machine;
use super::ways::{Running, Way, ninepmux, start, wait};

const LOADS: [&str; 2] = ["64x16", "4x4r128k"];
const READS: &str = "4x4r128k";

/// The bytes of a reply to such a read.
const READ_REPLY: f64 = 131_083.0;

/// The bytes that the slow network passes a second.
const NETWORK_RATE: f64 = 8e6;

/// The load for the memory of an end, the number of its clients, and the limit of each (`--max-bytes`).
const MANY_READS: &str = "4x256r128k";
const MANY_CLIENTS: f64 = 4.0;
const MAX_BYTES: f64 = 1_048_576.0;

/// The time until everything that can move has moved.
const SETTLE: Duration = Duration::from_millis(500);

fn me(role: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(role).arg(path);
    command
}

fn stub(path: &Path) -> Running {
    let running = start(&mut me("server", path));
    wait(path);
    running
}

/// Two ends, and their servers. Clients at `posts[0]` reach `servers[1]`.
struct Linked {
    ends: [Running; 2],
    servers: [Running; 2],
    posts: [PathBuf; 2],
    directory: PathBuf,
}

impl Drop for Linked {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Linked {
    fn new(parent: &Path, name: &str) -> Linked {
        let (one, other) = UnixStream::pair().expect("a stream");
        let with = |stream: UnixStream| {
            let mut command = Command::new(ninepmux());
            let stream = OwnedFd::from(stream);
            command.args(["link", "-"]).stdin(stream.try_clone().unwrap()).stdout(stream);
            command
        };
        Linked::with_ends(parent, name, [with(one), with(other)])
    }

    /// With a slow network between the ends.
    fn over_network(parent: &Path) -> Linked {
        // If another process takes the port before the first end does, that end fails, and so does this.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
        let network = network::start(port, NETWORK_RATE);
        let listens = format!("listen!tcp!127.0.0.1!{}", port.port());
        let calls = format!("tcp!127.0.0.1!{}", network.port());
        let commands = [listens, calls].map(|stream| {
            let mut command = Command::new(ninepmux());
            command.args(["link", &stream]).stdin(Stdio::null());
            command
        });
        Linked::with_ends(parent, "network", commands)
    }

    /// Starts the ends by these commands, one after the other, with a server and a socket for clients each.
    fn with_ends(parent: &Path, name: &str, commands: [Command; 2]) -> Linked {
        let directory = parent.join(name);
        fs::create_dir(&directory).expect("a directory for sockets");
        let [servers, posts] =
            ["server", "post"].map(|kind| [0, 1].map(|n| directory.join(format!("{kind}{n}"))));
        let stubs = servers.each_ref().map(|path| stub(path));
        let mut places = servers.iter().zip(&posts);
        let ends = commands.map(|mut command| {
            let (server, post) = places.next().expect("a place for each end");
            command.args(["--export", &address(server), "--post", &address(post)]);
            command.stderr(Stdio::null()).process_group(0);
            let running = Running(command.spawn().expect("it can be started"));
            wait(post);
            running
        });
        thread::sleep(SETTLE);
        Linked { ends, servers: stubs, posts, directory }
    }
}

fn address(path: &Path) -> String {
    format!("unix!{}", path.display())
}

/// The private memory of a process in bytes.
fn memory(running: &Running) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

/// Starts clients that count their replies.
fn clients(path: &Path, load: &str, seconds: f64) -> Child {
    let mut command = me("load", path);
    command.args([load, &seconds.to_string(), "0"]).stdout(Stdio::piped()).spawn().unwrap()
}

/// Returns their replies per second.
fn rate(clients: Child) -> f64 {
    let output = String::from_utf8(clients.wait_with_output().unwrap().stdout).unwrap();
    output.split_whitespace().next().expect("a rate").parse().unwrap()
}

/// Starts clients that do not end.
fn neighbours(path: &Path, load: &str) -> Running {
    let mut running = start(me("neighbours", path).arg(load).stdout(Stdio::piped()));
    let mut ready = [0; 6];
    running.0.stdout.as_mut().unwrap().read_exact(&mut ready).expect("they are connected");
    running
}

/// The median latency of one client, in microseconds.
fn latency(path: &Path, seconds: f64) -> f64 {
    let output = me("client", path).arg(seconds.to_string()).output().unwrap().stdout;
    String::from_utf8(output).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// A process that is stopped until this is dropped.
struct Stopped<'a>(&'a Running);

impl Stopped<'_> {
    fn new(running: &Running) -> Stopped<'_> {
        kill_process(Pid::from_child(&running.0), Signal::STOP).unwrap();
        Stopped(running)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0.0), Signal::CONT);
    }
}

/// Returns the rate through two `serve` in a row.
fn two_serves(directory: &Path, load: &str, seconds: f64) -> f64 {
    let [server, middle, here] = ["server", "middle", "here"].map(|name| directory.join(name));
    let running = [
        Some(stub(&server)),
        Way::Ninepmux.start(&server, &middle),
        Way::Ninepmux.start(&middle, &here),
    ];
    let rate = rate(clients(&here, load, seconds));
    drop(running);
    for path in [server, middle, here] {
        let _ = fs::remove_file(path);
    }
    rate
}

/// Measures one round of the rates of a load, as ratios: one way, both ways, and beside a hung export.
fn rates(directory: &Path, load: &str, seconds: f64) -> [f64; 3] {
    let serves = two_serves(directory, load, seconds);
    let linked = Linked::new(directory, "link");
    let one = rate(clients(&linked.posts[0], load, seconds));
    let both = [0, 1].map(|n| clients(&linked.posts[n], load, seconds));
    let both: f64 = both.into_iter().map(rate).sum();
    // in the same link, so that its state is the same
    let again = rate(clients(&linked.posts[0], load, seconds));
    let others = neighbours(&linked.posts[1], load);
    thread::sleep(SETTLE);
    let stopped = Stopped::new(&linked.servers[0]);
    thread::sleep(SETTLE);
    let beside = rate(clients(&linked.posts[0], load, seconds));
    drop((stopped, others));
    [one / serves, both / one, beside / again]
}

/// Measures one round of the latencies, as a ratio.
fn latencies(directory: &Path, seconds: f64) -> f64 {
    let links = ["link", "other"].map(|name| Linked::new(directory, name));
    let others = neighbours(&links[0].posts[1], READS);
    let beside = latency(&links[0].posts[0], seconds);
    let own = latency(&links[1].posts[0], seconds);
    drop(others);
    beside / own
}

/// Measures one round of the latency over a slow network, as a ratio to the time of one reply.
fn latency_over_network(directory: &Path, seconds: f64) -> f64 {
    let network = Linked::over_network(directory);
    let others = neighbours(&network.posts[1], READS);
    thread::sleep(SETTLE);
    let beside = latency(&network.posts[0], seconds);
    drop(others);
    beside / (READ_REPLY / NETWORK_RATE * 1e6)
}

/// Returns the memory of the end that has more, without what the clients may hold: while the servers hang, and
/// while the clients hang.
fn stuck(directory: &Path) -> [f64; 2] {
    let linked = Linked::new(directory, "link");
    let others = [0, 1].map(|n| neighbours(&linked.posts[n], MANY_READS));
    thread::sleep(SETTLE);
    let most = || {
        thread::sleep(SETTLE);
        linked.ends.iter().map(memory).fold(0.0, f64::max) - MANY_CLIENTS * MAX_BYTES
    };
    let stopped = [0, 1].map(|n| Stopped::new(&linked.servers[n]));
    let servers = most();
    drop(stopped);
    let stopped = [0, 1].map(|n| Stopped::new(&others[n]));
    let clients = most();
    drop(stopped);
    drop(others);
    [servers, clients]
}

/// Returns the memory of each of many streams at one end, which have been used for an attach.
fn idle(directory: &Path) -> f64 {
    let [server, stream] = ["server", "stream"].map(|name| directory.join(name));
    let stub = stub(&server);
    let mut command = Command::new(ninepmux());
    command.args(["link", &format!("listen!{}", address(&stream)), "--export", &address(&server)]);
    let end = start(command.stderr(Stdio::null()));
    wait(&stream);
    thread::sleep(SETTLE);
    let before = memory(&end);
    let others = neighbours(&stream, "64x0");
    thread::sleep(SETTLE);
    let growth = memory(&end) - before;
    drop((others, end, stub));
    for path in [server, stream] {
        let _ = fs::remove_file(path);
    }
    growth / 64.0
}

/// The figures of all rounds.
struct Figures {
    rows: Vec<Row>,
    /// The lines of a results file.
    text: String,
}

/// A figure: the load, the name, the unit, and the goal, with the values of the rounds.
struct Row {
    name: [&'static str; 3],
    goal: Goal,
    values: Vec<f64>,
}

#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Figures {
    fn new(rounds: usize, seconds: f64) -> Figures {
        let mut text = machine("link");
        let _ = writeln!(text, "# rounds: {rounds} rounds of {seconds} seconds a load");
        text.push_str("round\tside\tload\tfigure\tunit\tvalue\n");
        Figures { rows: Vec::new(), text }
    }

    fn add(&mut self, round: usize, name: [&'static str; 3], goal: Goal, value: f64) {
        let [load, figure, unit] = name;
        let _ = writeln!(self.text, "{round}\tlink\t{load}\t{figure}\t{unit}\t{value:.3}");
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            return row.values.push(value);
        }
        let (Goal::AtLeast(limit) | Goal::AtMost(limit)) = goal;
        let _ = writeln!(self.text, "{round}\tgoal\t{load}\t{figure}\t{unit}\t{limit}");
        self.rows.push(Row { name, goal, values: vec![value] });
    }

    fn print(&self) {
        println!("| load | figure | goal | median | least | most |");
        println!("|---|---|---|---|---|---|");
        for Row { name: [load, figure, unit], goal, values } in &self.rows {
            let goal = match goal {
                Goal::AtLeast(limit) => format!("{limit} or more"),
                Goal::AtMost(limit) => format!("{limit} or less"),
            };
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let median = median(values.clone());
            println!(
                "| {load} | {figure}, {unit} | {goal} | {median:.2} | {least:.2} | {most:.2} |"
            );
        }
    }
}

/// Measures everything alternately, and prints medians over the rounds. Writes every value to `file`, if one is given.
pub fn main(directory: &Path, rounds: usize, seconds: f64, file: Option<&str>) {
    use Goal::{AtLeast, AtMost};
    let mut figures = Figures::new(rounds, seconds);
    for round in 1..=rounds {
        for load in LOADS {
            let [one, both, hung] = rates(directory, load, seconds);
            figures.add(round, [load, "one way", "ratio"], AtLeast(0.9), one);
            figures.add(round, [load, "both ways", "ratio"], AtLeast(1.0), both);
            figures.add(round, [load, "hung", "ratio"], AtLeast(0.9), hung);
        }
        let latency = latencies(directory, seconds);
        figures.add(round, ["1x1", "latency", "ratio"], AtMost(3.0), latency);
        let network = latency_over_network(directory, seconds.max(1.0));
        figures.add(round, ["1x1", "network", "ratio"], AtMost(2.0), network);
        let [servers, clients] = stuck(directory).map(|bytes| bytes / 1_048_576.0);
        figures.add(round, [MANY_READS, "stuck servers", "MiB"], AtMost(13.0), servers);
        figures.add(round, [MANY_READS, "stuck clients", "MiB"], AtMost(13.0), clients);
        figures.add(round, ["64x0", "idle", "KiB"], AtMost(16.0), idle(directory) / 1024.0);
        if let Some(file) = file {
            // each time, so that a run that ends early keeps its results
            fs::write(file, &figures.text).expect("the results can be written");
        }
    }
    figures.print();
}
