//! Clients that shut down their writing side, send nothing more, and wait for their replies.

#![cfg(feature = "program")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::thread;

use support::client::{Client, NOFID, read};
use support::program::{Program, Signal, serve};
use support::stub::{HELLO, Stub};
use support::{Place, body, message, pipe, read_message, string, unix, wait_for};

/// A session as bytes: a version, an attach, a walk to `file`, an open and a read.
fn session(file: &str) -> Vec<u8> {
    let walk = body(&[&[0; 4], &[1, 0, 0, 0], &[1, 0], &string(file)]);
    [
        message(100, 0xffff, &body(&[&8192u32.to_le_bytes(), &string("9P2000")])),
        message(104, 1, &body(&[&[0; 4], &NOFID, &string("glenda"), &string("")])),
        message(110, 2, &walk),
        message(112, 3, &[1, 0, 0, 0, 0]),
        message(116, 4, &read(1, 0, 100)),
    ]
    .concat()
}

/// The types of the messages in these bytes.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while !bytes.is_empty() {
        let size = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        kinds.push(bytes[4]);
        bytes = &bytes[size..];
    }
    kinds
}

const ALL: [u8; 5] = [101, 105, 111, 113, 117];

#[test]
fn half_closed_client_gets_all_replies_and_is_closed() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let mut program = Program::serving(&stub.address(), &socket, &[]);
    for partial in [0, 1, 3, 10] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let mut bytes = session("hello");
        bytes.extend(&message(124, 5, &[0; 4])[..partial]);
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut replies = Vec::new();
        stream.read_to_end(&mut replies).unwrap();
        assert_eq!(kinds(&replies), ALL, "{partial} bytes of another message");
        assert!(replies.ends_with(HELLO));
    }
    wait_for("the fids are clunked", || stub.fids() == 0);
    stub.assert_content();
    assert!(program.runs());
}

/// 9pmux replies to all of them itself, in many turns.
#[test]
fn half_closed_client_gets_the_replies_to_many_refused_requests() {
    const MANY: usize = 20_000;
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let _program = Program::serving(&stub.address(), &socket, &[]);
    let mut client = Client::attach(&socket);
    let mut writer = client.stream.try_clone().unwrap();
    let writing = thread::spawn(move || {
        writer.write_all(&message(124, 7, &[9, 0, 0, 0]).repeat(MANY)).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut replies = Vec::new();
    client.stream.read_to_end(&mut replies).unwrap();
    writing.join().unwrap();
    let kinds = kinds(&replies);
    assert_eq!((kinds.len(), kinds.iter().all(|kind| *kind == 107)), (MANY, true));
}

#[test]
fn half_closed_client_over_tcp_gets_all_replies() {
    let stub = Stub::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = serve(&[&stub.address(), "fd!0"]);
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let _program = Program::start(command);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&session("hello")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).unwrap();
    assert_eq!(kinds(&replies), ALL);
}

#[test]
fn half_closed_client_on_pipes_gets_all_replies() {
    let stub = Stub::new();
    let (mut to_client, output) = pipe();
    let (input, mut from_client) = pipe();
    let mut command = serve(&[&stub.address(), "-"]);
    command.stdin(Stdio::from(OwnedFd::from(input))).stdout(Stdio::from(OwnedFd::from(output)));
    let program = Program::start(command);
    from_client.write_all(&session("hello")).unwrap();
    drop(from_client);
    let mut replies = Vec::new();
    to_client.read_to_end(&mut replies).unwrap();
    assert_eq!(kinds(&replies), ALL);
    assert!(program.end().0.success());
}

/// A server that has one client's read, and replies to it when the test says so.
#[test]
fn late_reply_reaches_a_half_closed_client() {
    let place = Place::new();
    let socket = place.path("s");
    let listener = UnixListener::bind(place.path("server")).unwrap();
    let program = Program::start(serve(&[&unix(&place.path("server")), &unix(&socket)]));
    let mut server = listener.accept().unwrap().0;
    program.wait_socket(&socket);
    let mut client = UnixStream::connect(&socket).unwrap();
    let version = body(&[&8192u32.to_le_bytes(), &string("9P2000")]);
    client.write_all(&message(100, 0xffff, &version)).unwrap();
    let asked = read_message(&mut server).unwrap().unwrap();
    server.write_all(&message(101, asked.tag, &version)).unwrap();
    let attach = body(&[&[0; 4], &NOFID, &string("glenda"), &string("")]);
    client.write_all(&message(104, 1, &attach)).unwrap();
    let attached = read_message(&mut server).unwrap().unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // Another client's whole session lies between: the half-closed one stays meanwhile.
    drop(Client::connect(&socket).unwrap());
    let mut other = Client::connect(&socket).unwrap();
    other.send(100, 0xffff, &version);
    assert_eq!(other.receive().unwrap().kind, 101);
    server.write_all(&message(105, attached.tag, &[0; 13])).unwrap();
    let mut replies = Vec::new();
    client.read_to_end(&mut replies).unwrap();
    assert_eq!(kinds(&replies), [101, 105]);
}

#[test]
fn half_closed_client_with_a_blocked_read_stays_until_it_hangs_up() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &["-v"]);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(&session("slow")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    wait_for("the read is at the server", || stub.held() == 1);
    for _ in 0..20 {
        Client::attach(&socket).stat(0);
    }
    assert_eq!(stub.held(), 1, "the half-closed client stays");
    drop(stream);
    wait_for("its read is flushed and its fids are clunked", || {
        (stub.held(), stub.fids()) == (0, 0)
    });
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
}

/// A client of two pipes hangs up by closing the one that it reads.
#[test]
fn half_closed_client_on_pipes_hangs_up_with_the_other_pipe() {
    let stub = Stub::new();
    let (to_client, output) = pipe();
    let (input, mut from_client) = pipe();
    let mut command = serve(&[&stub.address(), "-"]);
    command.stdin(Stdio::from(OwnedFd::from(input))).stdout(Stdio::from(OwnedFd::from(output)));
    let mut program = Program::start(command);
    from_client.write_all(&session("slow")).unwrap();
    drop(from_client);
    wait_for("the read is at the server", || stub.held() == 1);
    assert!(program.runs());
    drop(to_client);
    assert!(program.end().0.success());
    wait_for("its read has ended", || stub.held() == 0);
}
