//! 9pmux link as processes: two ends, a plain server or client beyond, and a stream that breaks.

#![cfg(feature = "program")]

mod support;

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use support::client::{Client, NOFID, attach, read, write};
use support::program::{NINEPMUX, Program, Signal};
use support::stub::{self, BIG, HELLO, Stub, big};
use support::{Got, PATIENCE, Place, body, string, unix, wait_for};

/// `9pmux link` with these arguments.
fn link(args: &[&str]) -> Command {
    let mut command = Command::new(NINEPMUX);
    command.arg("link").args(args).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Two ends, of which the first has started the second. Each has a server and a socket for clients.
struct Linked {
    stubs: [Stub; 2],
    place: Place,
    program: Program,
}

impl Linked {
    /// Starts the ends. `between` is put behind the command of the second one in the shell.
    fn new(options: &[&str], between: &str) -> Linked {
        let (stubs, place) = ([Stub::new(), Stub::new()], Place::new());
        let [near, far] = ["near", "far"].map(|name| place.path(name));
        let second = format!(
            "exec!{NINEPMUX} link - --export {} --post {} {} 2>{} {between}",
            stubs[1].address(),
            unix(&far),
            options.join(" "),
            place.path("log").display()
        );
        let mut args = vec![second];
        args.extend(["--export".to_owned(), stubs[0].address(), "--post".to_owned(), unix(&near)]);
        args.extend(options.iter().map(|option| (*option).to_owned()));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let program = Program::start(link(&args));
        program.wait_socket(&near);
        program.wait_socket(&far);
        Linked { stubs, place, program }
    }

    fn socket(&self, name: &str) -> std::path::PathBuf {
        self.place.path(name)
    }
}

/// Reads both files by this socket, and checks each byte.
fn reads_all(socket: &Path) {
    let mut client = Client::attach(socket);
    client.open(1, "hello");
    assert_eq!(client.read_all(1), HELLO);
    client.open(2, "big");
    let all = client.read_all(2);
    assert!(all.len() == BIG && all.iter().enumerate().all(|(at, byte)| *byte == big(at)));
    client.clunk(1);
}

/// Sends so many requests by this socket before it waits for their replies, in turns a read and, with `writes`,
/// a write of `size` bytes of the big file. Checks the replies.
fn floods(socket: &Path, count: u16, size: usize, writes: bool) {
    let mut client = Client::attach(socket);
    client.open(1, "big");
    let mut sender = client.stream.try_clone().unwrap();
    let is_write = move |tag: u16| writes && tag % 2 == 1;
    let offset = |tag: u16| usize::from(tag) % 4096;
    let data: Vec<u8> = (0..4096 + size).map(big).collect();
    let writer = thread::spawn(move || {
        for tag in 0..count {
            let at = offset(tag);
            let message = if is_write(tag) {
                support::message(118, tag, &write(1, at, &data[at..at + size]))
            } else {
                support::message(116, tag, &read(1, at, size as u32))
            };
            sender.write_all(&message).unwrap();
        }
    });
    let mut replied = vec![false; usize::from(count)];
    for _ in 0..count {
        let got = client.receive().expect("a reply");
        let at = offset(got.tag);
        assert_eq!(got.kind, if is_write(got.tag) { 119 } else { 117 });
        assert_eq!(got.u32_at(0) as usize, size);
        assert!(got.body[4..].iter().enumerate().all(|(n, byte)| *byte == big(at + n)));
        assert!(!std::mem::replace(&mut replied[usize::from(got.tag)], true));
    }
    writer.join().unwrap();
}

#[test]
fn each_end_reaches_the_server_of_the_other_in_both_directions_at_once() {
    let linked = Linked::new(&[], "");
    let (near, far) = (linked.socket("near"), linked.socket("far"));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| reads_all(&near));
            scope.spawn(|| reads_all(&far));
        }
    });
    for stub in &linked.stubs {
        assert_eq!(stub.counts.connections.load(SeqCst), 1);
        assert!(stub.counts.requests.load(SeqCst) > 4 * BIG / 65_536);
        stub.assert_content();
        wait_for("all fids are clunked", || stub.fids() == 0);
    }
}

#[test]
fn small_window_and_many_reads_in_both_directions_get_nothing_stuck() {
    let linked = Linked::new(&["--window", "262144", "--msize", "8192"], "");
    let (near, far) = (linked.socket("near"), linked.socket("far"));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| floods(&near, 2000, 8000, false));
            scope.spawn(|| floods(&far, 2000, 8000, false));
        }
    });
}

/// Sets the buffers of a socket to the smallest size of the system, or to one that is as small.
fn shrink_buffers(socket: &UnixStream) {
    let size = if cfg!(target_os = "linux") { 1 } else { 2048 };
    sockopt::set_socket_send_buffer_size(socket, size).unwrap();
    sockopt::set_socket_recv_buffer_size(socket, size).unwrap();
    assert!(sockopt::socket_send_buffer_size(socket).unwrap() < 8192);
}

#[test]
fn large_reads_and_writes_in_both_directions_pass_the_smallest_buffers() {
    let (stubs, place) = ([Stub::new(), Stub::new()], Place::new());
    let sockets = ["near", "far"].map(|name| place.path(name));
    let (near, far) = UnixStream::pair().unwrap();
    let mut programs = Vec::new();
    for (stream, (stub, socket)) in [near, far].into_iter().zip(stubs.iter().zip(&sockets)) {
        shrink_buffers(&stream);
        let mut command = link(&["fd!0", "--export", &stub.address(), "--post", &unix(socket)]);
        command.stdin(Stdio::from(OwnedFd::from(stream)));
        programs.push(Program::start(command));
    }
    thread::scope(|scope| {
        for (program, socket) in programs.iter().zip(&sockets) {
            program.wait_socket(socket);
            for _ in 0..3 {
                scope.spawn(|| floods(socket, 200, 60_000, true));
            }
        }
    });
    for stub in &stubs {
        stub.assert_content();
        assert_eq!(stub.counts.written.load(SeqCst), 3 * 100 * 60_000);
        assert_eq!(stub.counts.connections.load(SeqCst), 1);
    }
}

/// Two links in a row, A to B and B to C. A client at `a` reaches the server at C, and one at `c` that at A.
/// At B each link exports what the other has posted, as `to-a` and `to-c`.
struct Row {
    stubs: [Stub; 2],
    place: Place,
    programs: [Program; 2],
}

impl Row {
    fn new() -> Row {
        let (stubs, place) = ([Stub::new(), Stub::new()], Place::new());
        let address = |name: &str| unix(&place.path(name));
        let start = |stub: &Stub, name: &str, posts: &str, exports: &str| {
            let (posts, exports) = (address(posts), address(exports));
            let at_b = format!("exec!exec {NINEPMUX} link - --export {exports} --post {posts}");
            let post = address(name);
            Program::start(link(&[&at_b, "--export", &stub.address(), "--post", &post]))
        };
        let programs =
            [start(&stubs[0], "a", "to-a", "to-c"), start(&stubs[1], "c", "to-c", "to-a")];
        for (program, names) in programs.iter().zip([["a", "to-a"], ["c", "to-c"]]) {
            for name in names {
                program.wait_socket(&place.path(name));
            }
        }
        Row { stubs, place, programs }
    }
}

#[test]
fn two_links_in_a_row_reach_the_far_servers_in_both_directions_at_once() {
    let row = Row::new();
    let (a, c) = (row.place.path("a"), row.place.path("c"));
    thread::scope(|scope| {
        for _ in 0..2 {
            for socket in [&a, &c] {
                scope.spawn(|| reads_all(socket));
                scope.spawn(|| floods(socket, 100, 60_000, true));
            }
        }
    });
    for stub in &row.stubs {
        stub.assert_content();
        assert_eq!(stub.counts.connections.load(SeqCst), 1);
        assert_eq!(stub.counts.written.load(SeqCst), 2 * 50 * 60_000);
        wait_for("all fids are clunked", || stub.fids() == 0);
    }
}

#[test]
fn end_of_one_of_two_links_in_a_row_is_an_error_at_the_other() {
    let row = Row::new();
    let mut client = Client::attach(&row.place.path("a"));
    client.open(1, "slow");
    client.send(116, 7, &read(1, 0, 100));
    wait_for("the read is at the server", || row.stubs[1].held() == 1);
    let Row { stubs, place, programs: [first, second] } = row;
    second.signal(Signal::TERM);
    assert!(second.end().0.success());
    assert_eq!(client.receive().map(|got| (got.kind, got.tag)), Some((107, 7)));
    wait_for("the server is left", || stubs[1].fids() == 0);
    // The first link still serves A's server at B.
    reads_all(&place.path("to-a"));
    first.signal(Signal::TERM);
    assert!(first.end().0.success());
}

#[test]
fn server_that_goes_is_connected_again_and_the_other_direction_does_not_notice() {
    let linked = Linked::new(&[], "");
    let mut near = Client::attach(&linked.socket("near"));
    let mut far = Client::attach(&linked.socket("far"));
    near.open(1, "slow");
    near.send(116, 7, &read(1, 0, 100));
    wait_for("the read is at the server", || linked.stubs[1].held() == 1);
    linked.stubs[1].die();
    let got = near.receive().unwrap();
    assert_eq!((got.kind, got.tag, got.body), (107, 7, string("connection to the server lost")));
    // The fids are dead, and are clunked as usual.
    let got = near.rpc(116, &read(1, 0, 10));
    assert_eq!(got.body, string("file is gone: the server came back without it"));
    near.clunk(1);
    near.clunk(0);
    near.begin();
    near.open(1, "hello");
    assert_eq!(near.read_all(1), HELLO);
    assert_eq!(linked.stubs[1].counts.connections.load(SeqCst), 2);
    far.stat(0);
    assert_eq!(linked.stubs[0].counts.connections.load(SeqCst), 1);
}

/// Starts two ends, of which the first has started the second, with these words behind its command. Each waits long
/// for a version; the first gives up a silent end after 3 seconds.
fn with_far_export(place: &Place, stub: &Stub, second: &str) -> Program {
    let [near, far, log] = ["near", "far", "log"].map(|name| place.path(name));
    let (to, log) = (unix(&far), log.display());
    let second = format!("exec!{NINEPMUX} link - --post {to} {second} 2>{log}");
    let options = ["--timeout", "1000", "--keepalive", "1"];
    let ends = [&second, "--export", &stub.address(), "--post", &unix(&near)];
    let program = Program::start(link(&[&ends[..], &options].concat()));
    program.wait_socket(&near);
    program.wait_socket(&far);
    program
}

/// Sends requests by this socket until the thread has ended, and returns its result.
fn used_meanwhile<T>(client: &mut Client, thread: thread::JoinHandle<T>) -> T {
    while !thread.is_finished() {
        client.stat(0);
        thread::sleep(Duration::from_millis(2));
    }
    thread.join().unwrap()
}

/// Requests a version, and returns the one of the reply.
fn version_of(client: &mut Client) -> Vec<u8> {
    let got = client.rpc(100, &body(&[&65536u32.to_le_bytes(), &string("9P2000")]));
    assert_eq!(got.kind, 101);
    got.body[4..].to_vec()
}

/// Returns a listener that accepts no further connection, and the connection that fills its queue.
#[cfg(target_os = "linux")]
fn full_listener(path: &Path) -> (UnixListener, UnixStream) {
    let listener = UnixListener::bind(path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let first = UnixStream::connect(path).unwrap();
    (listener, first)
}

#[test]
#[cfg(target_os = "linux")]
fn connecting_to_the_export_does_not_delay_the_other_direction() {
    let (stub, place) = (Stub::new(), Place::new());
    let (listener, first) = full_listener(&place.path("full"));
    let export = format!("--export {} --timeout 1000", unix(&place.path("full")));
    let program = with_far_export(&place, &stub, &export);
    let mut far = Client::attach(&place.path("far"));
    let mut near = Client::connect(&place.path("near")).unwrap();
    let near = thread::spawn(move || {
        near.version();
        near
    });
    // Longer than the first end waits for one that is silent.
    used_meanwhile(&mut far, thread::spawn(|| thread::sleep(Duration::from_secs(4))));
    assert!(!near.is_finished());
    drop(first);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stub::serve(stream.unwrap(), &stub::Counts::default());
        }
    });
    let mut near = used_meanwhile(&mut far, near);
    near.begin();
    near.open(1, "hello");
    assert_eq!(near.read_all(1), HELLO);
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
}

#[test]
fn program_that_does_not_end_does_not_delay_the_other_direction() {
    let (stub, place) = (Stub::new(), Place::new());
    // It sends what is not 9P, and ends by SIGKILL only.
    let script = "trap \"\" TERM; printf 123456789; sleep 30";
    let export = format!("--export 'exec!{script}' --timeout 6");
    let program = with_far_export(&place, &stub, &export);
    let mut far = Client::attach(&place.path("far"));
    let mut near = Client::connect(&place.path("near")).unwrap();
    let near = thread::spawn(move || version_of(&mut near));
    assert_eq!(used_meanwhile(&mut far, near), string("unknown"));
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
}

#[test]
fn export_that_cannot_be_reached_is_reported_long_before_the_timeout() {
    let (stub, place) = (Stub::new(), Place::new());
    let address = unix(&place.path("later"));
    let program = with_far_export(&place, &stub, &format!("--export {address} --timeout 1000"));
    let mut client = Client::connect(&place.path("near")).unwrap();
    assert_eq!(version_of(&mut client), string("unknown"));
    let line = program.wait_said("does not agree to a Tversion");
    assert!(line.contains("its server cannot be reached"), "{line}");
    let listener = UnixListener::bind(place.path("later")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stub::serve(stream.unwrap(), &stub::Counts::default());
        }
    });
    reads_all(&place.path("near"));
}

#[test]
#[cfg(target_os = "linux")]
fn signal_ends_an_end_that_connects_to_its_export() {
    let place = Place::new();
    let (_listener, _first) = full_listener(&place.path("full"));
    let (socket, full) = (place.path("s"), unix(&place.path("full")));
    let listen = format!("listen!{}", unix(&socket));
    let program = Program::start(link(&[&listen, "--export", &full, "--timeout", "1000"]));
    program.wait_socket(&socket);
    let mut waiting = Client::connect(&socket).unwrap();
    waiting.send(100, 0xffff, &body(&[&65536u32.to_le_bytes(), &string("9P2000")]));
    // A second caller is served while the first one waits for the server.
    let mut other = Client::connect(&socket).unwrap();
    other.send_bytes(b"\x06\0\0\0\x64\0\0");
    assert!(other.receive().is_none());
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
}

#[test]
fn plain_server_beyond_serves_the_post() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::start(link(&[&stub.address(), "--post", &unix(&socket)]));
    program.wait_socket(&socket);
    reads_all(&socket);
    stub.die();
    let (status, said) = program.end();
    assert_eq!(status.code(), Some(5));
    assert!(said[0].contains("the other end has closed the connection"), "{said:?}");
}

/// Starts an end whose stream is a socket pair. Returns it and a plain client beyond.
fn with_plain_client(args: &[&str]) -> (Program, Client) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let theirs = OwnedFd::from(theirs);
    let mut command = link(&[&["-"], args].concat());
    command.stdin(Stdio::from(theirs.try_clone().unwrap())).stdout(Stdio::from(theirs));
    (Program::start(command), Client { stream: ours })
}

#[test]
fn plain_client_beyond_reaches_the_export() {
    let stub = Stub::new();
    let (program, mut client) =
        with_plain_client(&["--export", &stub.address(), "--keepalive", "1"]);
    client.version();
    client.begin();
    client.open(1, "big");
    assert_eq!(client.read_all(1).len(), BIG);
    // A descriptor cannot cross the stream.
    assert_eq!(client.rpc(98, &body(&[&[0; 4], &[0]])).kind, 107);
    drop(client);
    let (status, _) = program.end();
    assert_eq!(status.code(), Some(5));
    wait_for("the server is disconnected", || stub.fids() == 0);
}

/// Receives the next message of this type from the other end, and replies to each Tflush before it.
fn received(stream: &mut TcpStream, kind: u8) -> Got {
    loop {
        let got = support::read_message(stream).unwrap().expect("a message");
        if got.kind != 108 {
            assert_eq!(got.kind, kind, "{got:?}");
            return got;
        }
        support::send_reply(stream, &got, &[]);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn request_passes_replies_that_a_network_does_not_take() {
    const READS: u16 = 30;
    const COUNT: u32 = 60_000;
    let (stub, place) = (Stub::new(), Place::new());
    let near = place.path("near");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    sockopt::set_socket_recv_buffer_size(&listener, 16 * 1024).unwrap();
    let address = format!("tcp!127.0.0.1!{}", listener.local_addr().unwrap().port());
    let ends = [&address, "--export", &stub.address(), "--post", &unix(&near)];
    let program = Program::start(link(&ends));
    let mut stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let version = body(&[&65536u32.to_le_bytes(), &string("9P2000")]);
    let send = |stream: &mut TcpStream, kind, tag, body: &[u8]| {
        stream.write_all(&support::message(kind, tag, body)).unwrap();
    };
    // The other end, as the server of a client.
    program.wait_socket(&near);
    let mut client = Client::connect(&near).unwrap();
    let mut client = thread::scope(|scope| {
        let attached = scope.spawn(move || {
            client.version();
            client.begin();
            client
        });
        let asked = received(&mut stream, 100);
        support::send_reply(&mut stream, &asked, &version);
        let asked = received(&mut stream, 104);
        support::send_reply(&mut stream, &asked, &[0; 13]);
        attached.join().unwrap()
    });
    // The other end, as a client that does not read its replies.
    send(&mut stream, 100, u16::MAX, &version);
    received(&mut stream, 101);
    send(&mut stream, 104, 1, &attach(0, "9P2000"));
    received(&mut stream, 105);
    send(&mut stream, 110, 1, &body(&[&[0; 4], &1u32.to_le_bytes(), &[1, 0], &string("big")]));
    received(&mut stream, 111);
    send(&mut stream, 112, 1, &body(&[&1u32.to_le_bytes(), &[0]]));
    received(&mut stream, 113);
    let before = stub.counts.requests.load(SeqCst);
    for tag in 0..READS {
        send(&mut stream, 116, tag, &read(1, 0, COUNT));
    }
    wait_for("all reads are at the server", || {
        stub.counts.requests.load(SeqCst) >= before + usize::from(READS)
    });
    // The link itself replies to the second request, after the first.
    client.send(124, 7, &[0; 4]);
    client.send(124, 8, &9u32.to_le_bytes());
    assert_eq!(client.receive().expect("an error").tag, 8);
    let mut len = 0;
    loop {
        let got = support::read_message(&mut stream).unwrap().expect("the request");
        if got.kind == 124 {
            break;
        }
        len += got.body.len();
    }
    // Some replies are under way, and one or two are in turn before it.
    assert!(len < 5 * COUNT as usize, "{len}");
}

#[test]
fn end_without_an_export_says_so() {
    let place = Place::new();
    let (_program, mut client) = with_plain_client(&["--post", &unix(&place.path("s"))]);
    client.version();
    let attach = body(&[&[0; 4], &NOFID, &string("glenda"), &string("")]);
    let got = client.rpc(104, &attach);
    assert_eq!((got.kind, got.body), (107, string("nothing is exported here")));
}

#[test]
fn callers_of_a_listening_end_reach_the_export_which_may_come_back() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let listen = format!("listen!{}", unix(&socket));
    let program = Program::start(link(&[&listen, "--export", &stub.address()]));
    program.wait_socket(&socket);
    assert_eq!(stub.counts.connections.load(SeqCst), 0);
    let mut client = Client::attach(&socket);
    reads_all(&socket);
    stub.die();
    wait_for("the end of the server is noticed", || {
        client.rpc(124, &[0; 4]).body == string("file does not exist")
    });
    reads_all(&socket);
    client.clunk(0);
    client.begin();
    // A link may call as well.
    let (near, server) = (place.path("near"), unix(&socket));
    let caller = Program::start(link(&[&server, "--post", &unix(&near)]));
    caller.wait_socket(&near);
    reads_all(&near);
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
    assert_eq!(caller.end().0.code(), Some(5));
}

/// Starts a listening end with a post, of which the socket for callers is `s`, and that for clients `near`.
fn listening(place: &Place, options: &[&str]) -> Program {
    let (near, listen) = (unix(&place.path("near")), format!("listen!{}", unix(&place.path("s"))));
    let program = Program::start(link(&[&[&listen, "--post", &near], options].concat()));
    wait_for("the sockets are there", || place.path("near").exists() && place.path("s").exists());
    program
}

#[test]
fn listening_end_with_a_post_takes_one_caller_after_the_other() {
    let (stubs, place) = ([Stub::new(), Stub::new()], Place::new());
    let [near, far, socket] = ["near", "far", "s"].map(|name| place.path(name));
    let program = listening(&place, &["--export", &stubs[0].address()]);
    for n in 0..3 {
        // A local client waits for a caller.
        let mut client = Client::connect(&near).unwrap();
        client.send(100, 0xffff, &body(&[&65536u32.to_le_bytes(), &string("9P2000")]));
        let (server, to) = (unix(&socket), unix(&far));
        let caller =
            Program::start(link(&[&server, "--export", &stubs[1].address(), "--post", &to]));
        caller.wait_socket(&far);
        assert_eq!(client.receive().map(|got| got.kind), Some(101));
        client.begin();
        thread::scope(|scope| {
            scope.spawn(|| reads_all(&near));
            scope.spawn(|| reads_all(&far));
        });
        // A second caller is refused when the first has replied, and changes nothing.
        let mut second = Client::connect(&socket).unwrap();
        assert!(second.receive().is_none());
        program.wait_said("another end is connected already");
        client.open(1, "slow");
        client.send(116, 7, &read(1, 0, 100));
        wait_for("the read is at the server", || stubs[1].held() == 1);
        caller.signal(Signal::TERM);
        assert!(caller.end().0.success());
        assert_eq!(client.receive().map(|got| (got.kind, got.tag)), Some((107, 7)));
        assert!(client.receive().is_none());
        wait_for("the end of the stream is logged", || {
            let waits =
                |line: &String| line.contains("closed the connection: waiting for the next");
            program.said().iter().filter(|line| waits(line)).count() == n + 1
        });
        wait_for("nothing is left", || stubs[0].fids() == 0 && stubs[1].held() == 0);
    }
    assert_eq!(stubs[0].counts.connections.load(SeqCst), 1);
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
    assert!(!near.exists() && !socket.exists());
}

/// The bytes of a keepalive.
const KEEPALIVE: &[u8] = b"\x09\0\0\0\x6c\xfe\xff\xff\xff";

/// Calls by this socket, as a link that has sent a keepalive and then nothing.
fn calls_silently(socket: &Path) -> Client {
    let mut caller = Client::connect(socket).unwrap();
    caller.send_bytes(KEEPALIVE);
    assert_eq!(caller.receive().map(|got| (got.kind, got.tag)), Some((109, 0xfffe)));
    // Now that it is a known link, it is asked.
    assert_eq!(caller.receive().map(|got| (got.kind, got.tag)), Some((108, 0xfffe)));
    caller
}

#[test]
fn caller_takes_the_place_of_one_that_does_not_reply() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = listening(&place, &[]);
    let mut silent = calls_silently(&socket);
    let second = Program::start(link(&[&unix(&socket), "--export", &stub.address()]));
    program.wait_said("the other end is silent for 5 seconds: waiting for the next caller");
    assert!(silent.receive().is_none());
    reads_all(&place.path("near"));
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
    assert_eq!(second.end().0.code(), Some(5));
}

#[test]
fn caller_waits_until_the_other_end_has_replied_and_is_then_refused() {
    let place = Place::new();
    let socket = place.path("s");
    let program = listening(&place, &["-v"]);
    let mut first = calls_silently(&socket);
    let mut second = Client::connect(&socket).unwrap();
    program.wait_said("asking the other end");
    // A third one waits behind it.
    let mut third = Client::connect(&socket).unwrap();
    let replied = Instant::now();
    first.send_bytes(b"\x07\0\0\0\x6d\xfe\xff");
    assert!(second.receive().is_none());
    program.wait_said("another end is connected already");
    // The first one is asked for each, but not at once.
    assert_eq!(first.receive().map(|got| (got.kind, got.tag)), Some((108, 0xfffe)));
    assert!(replied.elapsed() >= Duration::from_secs(1));
    drop(first);
    program.wait_said("the other end has closed the connection: waiting for the next caller");
    third.send_bytes(KEEPALIVE);
    assert_eq!(third.receive().map(|got| (got.kind, got.tag)), Some((109, 0xfffe)));
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
}

#[test]
fn other_end_that_must_not_be_asked_keeps_its_place() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = listening(&place, &["--export", &stub.address()]);
    // A plain client, which has no use for requests.
    let mut first = Client::attach(&socket);
    assert!(Client::connect(&socket).unwrap().receive().is_none());
    program.wait_said("another end is connected already");
    first.open(1, "hello");
    assert_eq!(first.read_all(1), HELLO);
}

#[test]
fn link_that_was_stopped_itself_does_not_take_the_other_end_for_dead() {
    let place = Place::new();
    let (socket, near) = (place.path("s"), place.path("near"));
    let listener = UnixListener::bind(&socket).unwrap();
    let options = ["--keepalive", "1"];
    let program =
        Program::start(link(&[&[&unix(&socket), "--post", &unix(&near)], &options[..]].concat()));
    let mut far = Client { stream: listener.accept().unwrap().0 };
    far.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    far.send_bytes(KEEPALIVE);
    assert_eq!(far.receive().map(|got| got.kind), Some(109));
    assert_eq!(far.receive().map(|got| got.kind), Some(108));
    program.signal(Signal::STOP);
    far.send_bytes(KEEPALIVE);
    thread::sleep(Duration::from_secs(4));
    program.signal(Signal::CONT);
    assert_eq!(far.receive().map(|got| got.kind), Some(109));
    assert!(program.end().1[0].contains("the other end is silent for 3 seconds"));
}

#[test]
fn caller_that_ends_anyhow_makes_room_for_the_next() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = listening(&place, &["--dialect", "9P2000"]);
    for (bytes, why) in [
        (&b"\x06\0\0\0\x65\xff\xff"[..], "a message shorter than its header"),
        (b"\x13\0\0\0\x64\xff", "the other end has closed the connection"),
        (b"\x13\0\0", "the other end has closed the connection"),
    ] {
        let mut caller = Client::connect(&socket).unwrap();
        let got = caller.receive().expect("the dialect is offered to each caller");
        assert_eq!((got.kind, got.tag), (100, 0xffff));
        caller.send_bytes(bytes);
        drop(caller);
        wait_for("its end is logged", || {
            let said = program.said();
            said.iter().any(|line| line.contains(&format!("{why}: waiting for the next caller")))
        });
    }
    let caller = || Program::start(link(&[&unix(&socket), "--export", &stub.address()]));
    let first = caller();
    // A local client that does not read its replies is disconnected.
    let mut deaf = Client::attach(&place.path("near"));
    deaf.open(1, "big");
    for tag in 0..50 {
        deaf.send(116, tag, &read(1, 0, 60_000));
    }
    // More than the socket of the client holds has arrived.
    wait_for("reads have a reply", || stub.counts.requests.load(SeqCst) >= 20);
    first.signal(Signal::TERM);
    assert!(first.end().0.success());
    wait_for("the end of the stream is logged", || {
        let waits = |line: &&String| line.contains("waiting for the next caller");
        program.said().iter().filter(waits).count() == 4
    });
    let end = std::io::Read::read_to_end(&mut deaf.stream, &mut Vec::new());
    assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    let second = caller();
    reads_all(&place.path("near"));
    // A signal ends the link and the program.
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
    assert_eq!(second.end().0.code(), Some(5));
}

#[test]
fn messages_of_both_directions_are_logged() {
    let linked = Linked::new(&["-vv"], "");
    Client::attach(&linked.socket("near"));
    Client::attach(&linked.socket("far"));
    for words in [" -> T", "other end <- T", "other end -> R", " <- R"] {
        linked.program.wait_said(&format!("{words}attach"));
    }
    let export =
        ["other end -> T", "exported server <- T", "exported server -> R", "other end <- R"];
    for words in export {
        linked.program.wait_said(&format!("{words}attach"));
    }
}

#[test]
fn users_of_the_other_end_are_limited_at_the_export() {
    let linked = Linked::new(&["--uname", "ann"], "");
    for name in ["near", "far"] {
        let mut client = Client::connect(&linked.socket(name)).unwrap();
        client.version();
        let attach = |user: &str| body(&[&[0; 4], &NOFID, &string(user), &string("")]);
        let got = client.rpc(104, &attach("bob"));
        assert_eq!(got.body, string("this user or tree is not allowed here"));
        assert_eq!(client.rpc(104, &attach("ann")).kind, 105);
    }
}

#[test]
fn signal_at_one_end_ends_the_other_and_no_client_hangs() {
    let linked = Linked::new(&[], "");
    let mut clients = ["near", "far"].map(|name| Client::attach(&linked.socket(name)));
    for client in &mut clients {
        client.open(1, "slow");
        client.send(116, 7, &read(1, 0, 100));
    }
    wait_for("the reads are at the servers", || linked.stubs.iter().all(|stub| stub.held() == 1));
    linked.program.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.receive().map(|got| (got.kind, got.tag)), Some((107, 7)));
        assert!(client.receive().is_none());
    }
    let Linked { program, place, stubs } = linked;
    assert!(program.end().0.success());
    wait_for("the second end has ended", || !place.path("far").exists());
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("-: the other end has closed the connection"), "{log}");
    assert!(!place.path("near").exists());
    wait_for("the servers are disconnected", || stubs.iter().all(|stub| stub.fids() == 0));
}

#[test]
fn stream_that_is_cut_anywhere_ends_both_and_no_client_hangs() {
    for bytes in [1, 6, 19, 23, 60, 200, 5000, 100_000] {
        let linked =
            Linked::new(&[], &format!("| {{ dd bs=1 count={bytes} 2>/dev/null; kill 0; }}"));
        let mut client = Client::connect(&linked.socket("near")).unwrap();
        client.send(100, 0xffff, &body(&[&65536u32.to_le_bytes(), &string("9P2000")]));
        let script = thread::spawn(move || {
            // It gets replies until the cut, then errors or the end.
            while let Some(got) = client.receive() {
                let next = match (got.kind, got.tag) {
                    (101, _) => (104, 1, body(&[&[0; 4], &NOFID, &string("u"), &string("")])),
                    (105, _) => (110, 2, body(&[&[0; 4], &[1, 0, 0, 0], &[1, 0], &string("big")])),
                    (111, _) => (112, 3, body(&[&[1, 0, 0, 0], &[0]])),
                    (113 | 117, _) => (116, 4, read(1, 0, 60_000)),
                    (kind, _) => {
                        assert_eq!(kind, 107);
                        continue;
                    }
                };
                let message = support::message(next.0, next.1, &next.2);
                if std::io::Write::write_all(&mut client.stream, &message).is_err() {
                    return;
                }
            }
        });
        script.join().unwrap();
        let (status, said) = linked.program.end();
        assert_eq!(status.code(), Some(5), "{bytes}: {said:?}");
        assert!(said.iter().any(|line| line.contains("has closed the connection")), "{said:?}");
    }
}

#[test]
fn silent_other_end_is_given_up() {
    let place = Place::new();
    let socket = place.path("s");
    // It agrees to a version, is a link, and says nothing more.
    let stub =
        Stub::saying(b"\x13\0\0\0\x65\xff\xff\0\x20\0\0\x06\09P2000\x09\0\0\0\x6c\xfe\xff\xff\xff");
    let program =
        Program::start(link(&[&stub.address(), "--post", &unix(&socket), "--keepalive", "1"]));
    program.wait_socket(&socket);
    let mut client = Client::connect(&socket).unwrap();
    client.send(100, 0xffff, &body(&[&8192u32.to_le_bytes(), &string("9P2000")]));
    assert_eq!(client.receive().map(|got| got.kind), Some(101));
    let (status, said) = program.end();
    assert_eq!(status.code(), Some(5));
    assert!(said[0].contains("the other end is silent for 3 seconds"), "{said:?}");
    assert!(client.receive().is_none());
}

#[test]
fn each_failure_has_its_status_and_message() {
    let (stub, place) = (Stub::new(), Place::new());
    let (socket, nothing) = (unix(&place.path("s")), unix(&place.path("nothing")));
    let _held = std::os::unix::net::UnixListener::bind(place.path("held")).unwrap();
    let held = unix(&place.path("held"));
    let listen = format!("listen!{socket}");
    let garbled = Stub::saying(b"\x06\0\0\0\x65\xff\xff");
    for (args, code, words) in [
        (vec![&nothing[..]], 2, "nothing to do: --export SERVER, --post LISTEN, or both"),
        (vec![&nothing], 2, "Usage: 9pmux link [OPTIONS] <STREAM>"),
        (vec![&listen], 2, "nothing to do: --export SERVER, --post LISTEN, or both"),
        (vec![&nothing, "--export", &nothing], 2, "--export a server at this end: they must not"),
        (vec![&listen, "--post", &held], 4, "cannot listen on"),
        (vec![&listen, "--post", "fd!0"], 4, "cannot listen on fd!0: "),
        (vec!["fd!9", "--post", &socket], 3, "cannot reach the other end fd!9: descriptor 9"),
        (vec!["fd!0", "--post", &socket], 3, "cannot reach the other end fd!0: "),
        (
            vec![&stub.address(), "--export", "fd!9"],
            3,
            "cannot reach the server fd!9: descriptor 9",
        ),
        (vec![&nothing, "--post", &socket], 3, "cannot reach the other end unix!"),
        (vec![&stub.address(), "--post", &held], 4, "cannot listen on"),
        (vec!["exec!exit 3", "--post", &socket], 5, "and the command has ended (exit status: 3)"),
        (
            vec!["exec!printf '\\006\\0\\0\\0d\\0\\0'; cat", "--post", &socket],
            8,
            "a message shorter than its header",
        ),
        // The fifth bytes of these are the type of a request and of a reply.
        (
            vec!["exec!echo Permission denied; cat", "--post", &socket],
            8,
            "the other end has sent text: 'Permission denied': check that the other end is",
        ),
        (
            vec!["exec!echo Last login: never; cat", "--post", &socket],
            8,
            "the other end has sent text: 'Last login: never': check that the other end is",
        ),
    ] {
        let (status, said) = Program::start(link(&args)).end();
        assert_eq!(status.code(), Some(code), "{args:?}: {said:?}");
        assert!(said.iter().any(|line| line.contains(words)), "{args:?}: {said:?}");
    }
    drop(garbled);
}

#[test]
fn unprotected_exports_are_warned_of() {
    let stub = Stub::new();
    for (options, warns) in [(&[][..], true), (&["--uname", "ann"][..], false)] {
        let (program, mut client) =
            with_plain_client(&[&["--export", &stub.address()], options].concat());
        client.version();
        drop(client);
        let (_, said) = program.end();
        let has = said.iter().any(|line| line.contains("every client of the other end may attach"));
        assert_eq!(has, warns, "{said:?}");
    }
}
