//! More clients than 9pmux has descriptors, and ten thousand clients.

#![cfg(feature = "program")]

mod support;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::atomic::Ordering::SeqCst;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::client::{Client, read};
use support::program::{Program, Signal, serve, serve_within};
use support::stub::Stub;
use support::{Place, body, message, read_message, string, unix, wait_for};

#[test]
fn without_descriptors_9pmux_continues_and_warns() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::start(serve_within(24, &[&stub.address(), &unix(&socket)]));
    program.wait_socket(&socket);
    let mut clients: Vec<_> = (0..40).map(|_| Client::connect(&socket).unwrap()).collect();
    let said = program.wait_said("cannot accept more clients");
    assert!(said.contains("ulimit -n"), "{said}");
    // Connected clients are still served.
    for _ in 0..10 {
        clients[0].version();
        clients[0].begin();
        clients[0].stat(0);
    }
    // When some disconnect, waiting ones are accepted.
    for (n, mut client) in clients.into_iter().enumerate() {
        client.version();
        client.begin();
        client.stat(0);
        assert!(n < 40);
    }
    wait_for("all clients have disconnected", || stub.fids() == 0);
    let said = program.said();
    assert!(said.len() < 5, "the warning is repeated: {said:?}");
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
}

#[test]
fn a_crowd_at_one_address_does_not_block_another_address() {
    let (stub, place) = (Stub::new(), Place::new());
    let (crowded, other) = (place.path("crowded"), place.path("other"));
    let args = [&stub.address()[..], &unix(&crowded), &unix(&other)];
    let program = Program::start(serve_within(24, &args));
    program.wait_socket(&other);
    let mut crowd: VecDeque<_> = (0..60).map(|_| Client::connect(&crowded).unwrap()).collect();
    program.wait_said("cannot accept more clients");
    let mut waits = Client::connect(&other).unwrap();
    // Each departing client makes room for one, and older waiting clients always come first.
    for _ in 0..20 {
        let mut first = crowd.pop_front().unwrap();
        first.version();
        crowd.push_back(Client::connect(&crowded).unwrap());
    }
    waits.version();
}

#[test]
fn clients_that_reconnect_at_the_limit_cannot_fill_the_log() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::start(serve_within(24, &[&stub.address(), &unix(&socket)]));
    program.wait_socket(&socket);
    for _ in 0..20 {
        let clients: Vec<_> = (0..40).map(|_| Client::connect(&socket).unwrap()).collect();
        program.wait_said("cannot accept more clients");
        for mut client in clients {
            client.version();
        }
    }
    assert!(program.said().len() < 5, "{:?}", program.said());
}

/// The listener is inherited, and another process shuts it down.
#[test]
#[cfg(target_os = "linux")]
fn a_failed_listener_does_not_block_another() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = serve(&[&stub.address(), "fd!0", &unix(&socket)]);
    command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
    let program = Program::start(command);
    program.wait_socket(&socket);
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
    program.wait_said("cannot accept a client on fd!0");
    for _ in 0..3 {
        Client::attach(&socket).stat(0);
    }
}

/// A Tversion. Its Rversion has the same length.
const VERSION: [u8; 19] = *b"\x13\0\0\0\x64\xff\xff\0\x20\0\0\x06\x009P2000";

#[test]
fn client_beyond_the_maximum_is_refused_and_logged() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &["--max-clients", "3"]);
    let attach = || {
        let mut client = Client::connect(&socket).ok()?;
        client.stream.write_all(&VERSION).ok()?;
        let mut reply = [0; VERSION.len()];
        client.stream.read_exact(&mut reply).ok().map(|()| client)
    };
    let mut clients = Vec::new();
    // The connection that has tested the socket may not have ended yet.
    wait_for("three clients are connected", || {
        clients.extend(attach());
        clients.len() == 3
    });
    for _ in 0..100 {
        assert!(attach().is_none(), "the fourth is refused");
    }
    let line = program.wait_said("client refused");
    assert!(
        line.contains("3 clients are connected") && line.contains("--max-clients is 3"),
        "{line}"
    );
    for client in &mut clients {
        client.begin();
        client.stat(0);
    }
    // The end of one client admits another.
    drop(clients.pop());
    wait_for("another client is connected", || attach().is_some());
    let said = program.said();
    assert_eq!(said.len(), 1, "{said:?}");
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
}

/// Connects from this address of the loopback interface, and attaches.
#[cfg(target_os = "linux")]
fn attach_from(source: std::net::Ipv4Addr, port: u16) -> std::net::TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&stream, &std::net::SocketAddrV4::new(source, 0)).unwrap();
    connect(&stream, &std::net::SocketAddrV4::new([127, 0, 0, 1].into(), port)).unwrap();
    let mut stream = std::net::TcpStream::from(stream);
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream.write_all(&VERSION).unwrap();
    assert_eq!(read_message(&mut stream).unwrap().unwrap().kind, 101);
    let attach = body(&[&[0; 4], &[0xff; 4], &string("glenda"), &string("")]);
    stream.write_all(&message(104, 1, &attach)).unwrap();
    assert_eq!(read_message(&mut stream).unwrap().unwrap().kind, 105);
    stream
}

/// A program on this machine connects from many addresses, and has as many reads in flight as it can.
#[test]
#[cfg(target_os = "linux")]
fn reads_from_many_addresses_leave_tags_to_others() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let (server, listens) = (stub.address(), unix(&socket));
    let args = ["-v", "--max-inflight-all", "256", &server, &listens, "tcp!127.0.0.1!0"];
    let program = Program::start(serve(&args));
    program.wait_socket(&socket);
    let line = program.wait_said("listening on tcp!");
    let port = line.rsplit('!').next().unwrap().parse().unwrap();
    let mut old = Client::attach(&socket);
    let mut crowd: Vec<_> = (1..=60).map(|n| attach_from([127, 1, 0, n].into(), port)).collect();
    for stream in &mut crowd {
        let walk = body(&[&[0; 4], &1u32.to_le_bytes(), &[1, 0], &string("slow")]);
        for (kind, request) in [(110, walk), (112, body(&[&1u32.to_le_bytes(), &[0]]))] {
            stream.write_all(&message(kind, 1, &request)).unwrap();
            assert_eq!(read_message(stream).unwrap().unwrap().kind, kind + 1);
        }
    }
    for stream in &mut crowd {
        let reads = (0..100).flat_map(|tag| message(116, tag, &read(1, 0, 1)));
        stream.write_all(&reads.collect::<Vec<u8>>()).unwrap();
    }
    wait_for("each client has a read in flight", || stub.held() >= 60);
    old.stat(0);
    let mut new = Client::attach(&socket);
    new.stat(0);
    let mut local = attach_from([127, 0, 0, 1].into(), port);
    local.write_all(&message(124, 1, &[0; 4])).unwrap();
    assert_eq!(read_message(&mut local).unwrap().unwrap().kind, 125);
    assert!(stub.held() < 256, "{} reads", stub.held());
}

#[test]
fn ten_thousand_clients_are_served() {
    const CLIENTS: usize = 10_000;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|maximum| maximum < CLIENTS as u64 + 100) {
        eprintln!(
            "skipped: {CLIENTS} clients need a hard limit of {CLIENTS} descriptors and some, here it is {maximum:?}"
        );
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &[]);
    let before = program.memory();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::attach(&socket)).collect();
    assert_eq!(stub.fids(), CLIENTS);
    if let (Some(before), Some(after)) = (before, program.memory()) {
        let each = (after - before) / CLIENTS as u64;
        eprintln!("an idle client costs {each} bytes");
        assert!(each <= 4096, "an idle client costs {each} bytes");
    }
    // All clients send at once, and each receives its own reply.
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(124, n as u16, &[0; 4]);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let got = client.receive().unwrap();
        assert_eq!((got.kind, got.tag), (125, n as u16));
    }
    assert_eq!(stub.counts.connections.load(SeqCst), 1);
    drop(clients);
    wait_for("all clients have disconnected", || stub.fids() == 0);
    stub.assert_content();
    Client::attach(&socket).stat(0);
    program.signal(Signal::TERM);
    let (status, said) = program.end();
    assert!(status.success(), "{status}");
    assert_eq!(said, [""; 0]);
}
