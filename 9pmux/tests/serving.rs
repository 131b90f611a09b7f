//! Many clients at once over one connection to the server, for every kind of address.

#![cfg(feature = "program")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use support::client::{Client, NOFID, read};
use support::program::{NINEPMUX, Program, Signal, serve};
use support::stub::{self, BIG, HELLO, Stub, big};
use support::{Place, body, message, pipe, string, unix, wait_for};

fn read_everything(client: &mut Client) {
    client.open(1, "hello");
    client.open(2, "big");
    assert_eq!(client.read_all(1), HELLO);
    assert!(client.read_all(2).into_iter().eq((0..BIG).map(big)));
    client.clunk(1);
    client.clunk(2);
}

#[test]
fn many_clients_share_one_connection() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &[]);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| read_everything(&mut Client::attach(&socket)));
        }
    });
    assert_eq!(stub.counts.connections.load(SeqCst), 1);
    assert!(stub.counts.most_fids.load(SeqCst) > 1);
    wait_for("the fids of the departed clients are clunked", || stub.fids() == 0);
    stub.assert_content();
    program.signal(Signal::TERM);
    let (status, said) = program.end();
    assert!(status.success(), "{status}");
    assert_eq!(said, [""; 0]);
}

#[test]
fn a_started_server_and_a_client_on_standard_input_work() {
    // The first 9pmux starts a second one as its server.
    let (stub, place) = (Stub::new(), Place::new());
    let server = format!("exec!{NINEPMUX} serve {} -", stub.address());
    let socket = place.path("s");
    let program = Program::serving(&server, &socket, &[]);
    read_everything(&mut Client::attach(&socket));
    assert_eq!(stub.counts.connections.load(SeqCst), 1);
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
}

#[test]
fn the_exit_status_of_a_started_server_is_reported() {
    let place = Place::new();
    let program = Program::start(serve(&["exec!exit 3", &unix(&place.path("s"))]));
    let (status, said) = program.end();
    assert_eq!(status.code(), Some(5));
    assert!(said[0].contains("exit status: 3"), "{said:?}");
}

/// The shell exits at once; a process that it has started keeps the connection.
#[test]
#[cfg(target_os = "linux")]
fn the_shell_of_a_server_leaves_no_zombie() {
    let place = Place::new();
    let (socket, shell) = (place.path("s"), place.path("shell"));
    let server = format!(
        "exec!exec 3<&0; cat <&3 >/dev/null & echo $$ >{0}.new; mv {0}.new {0}",
        shell.display()
    );
    let mut program = Program::serving(&server, &socket, &[]);
    wait_for("the shell has run", || shell.exists());
    let shell = std::fs::read_to_string(&shell).unwrap();
    let process = std::path::PathBuf::from(format!("/proc/{}", shell.trim()));
    wait_for("the shell's status is collected", || !process.exists());
    assert!(program.runs());
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
}

#[test]
fn a_started_server_inherits_ignored_signals() {
    let place = Place::new();
    let (socket, lives) = (unix(&place.path("s")), place.path("lives"));
    let server = format!("exec!kill -HUP $$; echo >{}; cat >/dev/null", lives.display());
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "nohup", NINEPMUX, "serve", &server, &socket]);
    let program = Program::start(command);
    wait_for("the server continues after SIGHUP", || lives.exists());
    drop(program);
}

#[test]
fn a_server_on_standard_input_and_output_works() {
    let place = Place::new();
    let socket = place.path("s");
    let (ours, its) = UnixStream::pair().unwrap();
    let mut command = serve(&["-", &unix(&socket)]);
    let its = OwnedFd::from(its);
    command.stdin(Stdio::from(its.try_clone().unwrap())).stdout(Stdio::from(its));
    let program = Program::start(command);
    thread::spawn(move || stub::serve(ours, &stub::Counts::default()));
    program.wait_socket(&socket);
    read_everything(&mut Client::attach(&socket));
}

#[test]
fn a_client_on_two_pipes_works() {
    let stub = Stub::new();
    let (mut to_client, output) = pipe();
    let (input, mut from_client) = pipe();
    let mut command = serve(&[&stub.address(), "-"]);
    command.stdin(Stdio::from(OwnedFd::from(input))).stdout(Stdio::from(OwnedFd::from(output)));
    let program = Program::start(command);
    let version = body(&[&8192u32.to_le_bytes(), &string("9P2000")]);
    from_client.write_all(&message(100, 0xffff, &version)).unwrap();
    let mut reply = vec![0; version.len() + 7];
    to_client.read_exact(&mut reply).unwrap();
    assert_eq!(reply, message(101, 0xffff, &version));
    // 9pmux ends when its only client disconnects.
    drop(from_client);
    let (status, said) = program.end();
    assert!(status.success(), "{status} {said:?}");
    assert_eq!(to_client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_listening_socket_can_be_inherited() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut command = serve(&[&stub.address(), "fd!0"]);
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let program = Program::start(command);
    read_everything(&mut Client::attach(&socket));
    program.signal(Signal::INT);
    assert!(program.end().0.success());
    assert!(socket.exists(), "an inherited socket is not removed");
}

/// The backlog of the server is full, so 9pmux waits in connect. It is stopped, continued, and its terminal is closed.
#[test]
#[cfg(target_os = "linux")]
fn a_stop_while_connecting_to_the_server_is_no_error() {
    let place = Place::new();
    let (server, socket) = (place.path("server"), place.path("s"));
    let listener = UnixListener::bind(&server).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let first = UnixStream::connect(&server).unwrap();
    let program = Program::start(serve(&["--timeout", "1000", &unix(&server), &unix(&socket)]));
    wait_for("SIGHUP is caught", || program.catches(Signal::HUP));
    for _ in 0..20 {
        program.signal(Signal::HUP);
        thread::sleep(std::time::Duration::from_millis(5));
        program.signal(Signal::STOP);
        program.signal(Signal::CONT);
    }
    drop(first);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stub::serve(stream.unwrap(), &stub::Counts::default());
        }
    });
    program.wait_socket(&socket);
    Client::attach(&socket).stat(0);
}

/// The connection is inherited, as from inetd or systemd.
#[test]
fn an_inherited_tcp_connection_is_not_slow() {
    use rustix::net::sockopt::{socket_keepalive, tcp_nodelay};
    let (stub, place) = (Stub::new(), Place::new());
    let socket = unix(&place.path("s"));
    for args in
        [[&stub.address(), "-"], [&stub.address(), "fd!0"], ["-", &socket], ["fd!0", &socket]]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let handed = listener.accept().unwrap().0;
        let mut command = serve(&args);
        command.stdin(OwnedFd::from(handed.try_clone().unwrap()));
        command.stdout(OwnedFd::from(handed.try_clone().unwrap()));
        let _program = Program::start(command);
        wait_for("small messages are not delayed", || tcp_nodelay(&handed).unwrap());
        wait_for("a peer that vanishes is detected", || socket_keepalive(&handed).unwrap());
    }
}

/// 9pmux gets a descriptor that the test keeps, as its standard input and output.
#[test]
fn inherited_descriptors_block_again_after_the_end() {
    use rustix::fs::{OFlags, fcntl_getfl};
    let (stub, place) = (Stub::new(), Place::new());
    let socket = unix(&place.path("s"));
    for args in
        [[&stub.address(), "-"], [&stub.address(), "fd!0"], ["-", &socket], ["fd!0", &socket]]
    {
        let (_peer, handed) = UnixStream::pair().unwrap();
        let blocks = || !fcntl_getfl(&handed).unwrap().contains(OFlags::NONBLOCK);
        assert!(blocks());
        let mut command = serve(&args);
        command.stdin(OwnedFd::from(handed.try_clone().unwrap()));
        command.stdout(OwnedFd::from(handed.try_clone().unwrap()));
        let program = Program::start(command);
        wait_for("9pmux has made it non-blocking", || !blocks());
        if args[1] == socket {
            // From now on 9pmux handles signals.
            program.wait_socket(&place.path("s"));
        }
        program.signal(Signal::TERM);
        assert!(program.end().0.success(), "{args:?}");
        assert!(blocks(), "{args:?}");
    }
}

#[test]
fn services_are_announced_by_bare_names() {
    let (stub, place) = (Stub::new(), Place::new());
    let mut command = serve(&["-v", "server", "posted"]);
    command.env("NAMESPACE", place.directory());
    std::os::unix::fs::symlink(stub.path(), place.path("server")).unwrap();
    let program = Program::start(command);
    program.wait_socket(&place.path("posted"));
    program.wait_said(&format!("listening on posted ({})", place.path("posted").display()));
    read_everything(&mut Client::attach(&place.path("posted")));
}

#[test]
fn clients_can_connect_by_tcp() {
    let stub = Stub::new();
    let program = Program::start(serve(&["-v", &stub.address(), "tcp!*!0"]));
    let said = program.wait_said("tcp!*!");
    let port = said.rsplit('!').next().unwrap().parse().unwrap();
    let mut client = TcpStream::connect(("localhost", port)).unwrap();
    let version = message(100, 0xffff, &body(&[&8192u32.to_le_bytes(), &string("9P2000")]));
    client.write_all(&version).unwrap();
    let mut reply = vec![0; version.len()];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(reply[4], 101);
    program.wait_said(&client.local_addr().unwrap().port().to_string());

    // 9pmux can also connect by TCP, in front of another 9pmux.
    let place = Place::new();
    let socket = place.path("s");
    let server = format!("tcp!localhost!{port}");
    let _second = Program::serving(&server, &socket, &[]);
    read_everything(&mut Client::attach(&socket));
}

#[test]
fn the_log_need_not_be_read() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let (reader, writer) = pipe();
    let mut command = serve(&["-vv", &stub.address(), &unix(&socket)]);
    let mut child = command.stderr(Stdio::from(OwnedFd::from(writer))).spawn().unwrap();
    drop((reader, command));
    wait_for("the socket", || socket.exists());
    read_everything(&mut Client::attach(&socket));
    stub.die();
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

/// Of ten reads of fid 2, two are at the server at a time. Each flush of one lets another be forwarded.
fn two_at_a_time(stub: &Stub, client: &mut Client, count: u32) {
    for tag in 10..20 {
        client.send(116, tag, &read(2, 0, count));
    }
    wait_for("two reads are at the server", || stub.held() == 2);
    for tag in 10..20u16 {
        client.send(108, 99, &tag.to_le_bytes());
        assert_eq!(client.receive().unwrap().kind, 109);
        assert!(stub.held() <= 2);
    }
    wait_for("none is left", || stub.held() == 0);
}

#[test]
fn limits_are_enforced() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let options = ["--max-inflight", "2", "--max-fids", "3", "--msize", "4096"];
    let _program = Program::serving(&stub.address(), &socket, &options);
    let mut client = Client::connect(&socket).unwrap();
    let got = client.rpc(100, &body(&[&65536u32.to_le_bytes(), &string("9P2000")]));
    assert_eq!(got.u32_at(0), 4096);
    client.begin();
    client.open(1, "big");
    assert_eq!(client.read(1, 0, 60_000).len(), 4096 - 11);
    client.open(2, "slow");
    let third = client.rpc(110, &body(&[&[0; 4], &[3, 0, 0, 0], &[0; 2]]));
    assert_eq!(third.kind, 107);
    two_at_a_time(&stub, &mut client, 10);
}

#[test]
fn large_reads_are_reduced_beside_blocked_reads() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let _program = Program::serving(&stub.address(), &socket, &["--max-bytes", "10000"]);
    let mut client = Client::attach(&socket);
    // A lone read is not reduced.
    client.open(3, "big");
    assert_eq!(client.read(3, 0, 60_000).len(), 60_000);
    client.open(2, "slow");
    for tag in 10..13 {
        client.send(116, tag, &read(2, 0, 4000));
    }
    wait_for("three reads are at the server", || stub.held() == 3);
    // Their replies may have more than ten thousand bytes in all.
    assert_eq!(client.read(3, 0, 60_000).len(), 8192);
    assert_eq!(client.read(3, 0, 100).len(), 100);
}

#[test]
fn two_verbose_options_show_each_message() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &["-vv"]);
    Client::attach(&socket).open(1, "hello");
    for words in [
        "client 0 connected: process",
        "-> Tversion tag NOTAG msize 65536 version '9P2000'",
        "server <- Twalk",
        "server -> Rwalk",
        "<- Ropen tag 1",
        "client 0 disconnected (closed by the client); ",
    ] {
        program.wait_said(words);
    }
    let mut garbled = Client::connect(&socket).unwrap();
    garbled.stream.write_all(&[3, 0, 0, 0, 100, 0, 0]).unwrap();
    program.wait_said("disconnected (closed by 9pmux); ");
}

#[test]
fn attaches_are_limited_by_user_and_tree() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let options = ["--uname", "glenda", "--uname", "rsc", "--aname", ""];
    let _program = Program::serving(&stub.address(), &socket, &options);
    read_everything(&mut Client::attach(&socket));
    let mut other = Client::connect(&socket).unwrap();
    other.version();
    for (uname, aname) in [("root", ""), ("glenda", "etc")] {
        let attach = body(&[&[0; 4], &NOFID, &string(uname), &string(aname)]);
        let got = other.rpc(104, &attach);
        assert_eq!(
            (got.kind, &got.body[2..]),
            (107, &b"this user or tree is not allowed here"[..])
        );
    }
    let attach = body(&[&[0; 4], &NOFID, &string("rsc"), &string("")]);
    assert_eq!(other.rpc(104, &attach).kind, 105);
}

#[test]
fn required_authentication_is_asked_of_each_client() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program =
        Program::serving(&stub.address(), &socket, &["-v", "--auth", "required", "--attach-once"]);
    for _ in 0..3 {
        let mut client = Client::connect(&socket).unwrap();
        client.version();
        let attach = body(&[&[0; 4], &NOFID, &string("glenda"), &string("")]);
        let got = client.rpc(104, &attach);
        assert_eq!((got.kind, got.body), (107, string("authentication is required here")));
    }
    program.wait_said("refused: authentication is required here: Tattach");
    assert_eq!(stub.counts.most_fids.load(SeqCst), 0, "the server has seen no attach");
}

#[test]
fn silent_server_is_given_up_if_it_is_asked() {
    let place = Place::new();
    // It agrees to a version and says nothing more.
    let stub = Stub::saying(b"\x13\0\0\0\x65\xff\xff\0\x20\0\0\x06\09P2000");
    let program = Program::serving(&stub.address(), &place.path("s"), &["--keepalive", "1"]);
    let mut client = Client::connect(&place.path("s")).unwrap();
    client.send(100, 0xffff, &body(&[&8192u32.to_le_bytes(), &string("9P2000")]));
    assert_eq!(client.receive().map(|got| got.kind), Some(101));
    // A request is no excuse.
    client.send(104, 7, &body(&[&[0; 4], &NOFID, &string("glenda"), &string("")]));
    assert_eq!(client.receive().map(|got| (got.kind, got.tag)), Some((107, 7)));
    assert!(client.receive().is_none());
    let (status, said) = program.end();
    assert_eq!(status.code(), Some(5));
    assert!(said[0].contains("the server is silent for 3 seconds: restart the server"), "{said:?}");
}

#[test]
fn server_that_replies_to_keepalives_may_take_long_over_a_request() {
    let (stub, place) = (Stub::new(), Place::new());
    let options = ["--keepalive", "1", "-v"];
    let program = Program::serving(&stub.address(), &place.path("s"), &options);
    let mut client = Client::attach(&place.path("s"));
    client.open(1, "slow");
    client.send(116, 7, &read(1, 0, 100));
    wait_for("the read is at the server", || stub.held() == 1);
    thread::sleep(Duration::from_secs(5));
    client.stat(0);
    program.signal(Signal::TERM);
    let (status, said) = program.end();
    assert!(status.success());
    // The replies are expected.
    assert!(!said.iter().any(|line| line.contains("unexpected")), "{said:?}");
}

/// A file that 9pmux opens must not get the number of a standard descriptor: what is printed would go there.
#[test]
#[cfg(target_os = "linux")]
fn closed_standard_descriptors_are_opened_before_any_other() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh", NINEPMUX, "serve", "-vv"]);
    let mut child = command.args([&stub.address(), &unix(&socket)]).spawn().unwrap();
    wait_for("the socket accepts clients", || Client::connect(&socket).is_ok());
    Client::attach(&socket).stat(0);
    for fd in 0..3 {
        let target = std::fs::read_link(format!("/proc/{}/fd/{fd}", child.id())).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"), "descriptor {fd}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    stub.assert_content();
}
