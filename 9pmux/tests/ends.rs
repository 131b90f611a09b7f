//! The end of 9pmux, of its clients and of its server.

#![cfg(feature = "program")]

mod support;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use support::client::{Client, read};
use support::program::{Program, Signal, serve};
use support::stub::{HELLO, Stub};
use support::{Place, body, message, read_message, string, unix, wait_for};

/// Makes the client send `reads` reads to which the server does not reply.
fn waits(stub: &Stub, client: &mut Client, reads: u16) {
    let before = stub.held();
    client.open(9, "slow");
    for tag in 0..reads {
        client.send(116, tag, &read(9, 0, 100));
    }
    wait_for("the reads are at the server", || stub.held() == before + reads as usize);
}

/// Checks that each request gets this error, and that the connection then ends.
fn receives_errors_and_the_end(client: &mut Client, reads: u16, why: &str) {
    let mut tags = Vec::new();
    while let Some(got) = client.receive() {
        assert_eq!((got.kind, &got.body), (107, &string(why)), "{got:?}");
        tags.push(got.tag);
    }
    tags.sort_unstable();
    assert!(tags.into_iter().eq(0..reads));
}

fn check_clean_end(signal: Signal) {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &[]);
    assert_eq!(socket.metadata().unwrap().mode() & 0o777, 0o600);
    let mut client = Client::attach(&socket);
    waits(&stub, &mut client, 5);
    let mut idle = Client::attach(&socket);
    program.signal(signal);
    receives_errors_and_the_end(&mut client, 5, "9pmux is shutting down");
    receives_errors_and_the_end(&mut idle, 0, "");
    let (status, said) = program.end();
    assert!(status.success(), "{status}");
    assert_eq!(said, [""; 0]);
    assert_eq!(std::fs::read_dir(place.directory()).unwrap().count(), 0);
}

#[test]
fn the_log_names_the_signal_that_ends_9pmux() {
    for (signal, words) in
        [(Signal::TERM, "shutting down (SIGTERM)"), (Signal::INT, "shutting down (SIGINT)")]
    {
        let (stub, place) = (Stub::new(), Place::new());
        let program = Program::serving(&stub.address(), &place.path("s"), &["-v"]);
        program.signal(signal);
        let (_, said) = program.end();
        assert!(said.iter().any(|line| line.ends_with(words)), "{said:?}");
    }
}

#[test]
fn sigterm_ends_9pmux_cleanly() {
    check_clean_end(Signal::TERM);
}

#[test]
fn sigint_ends_9pmux_cleanly() {
    check_clean_end(Signal::INT);
}

#[test]
fn a_second_signal_also_ends_a_started_server_that_does_not_stop() {
    let place = Place::new();
    let (socket, asked) = (place.path("s"), place.path("asked"));
    let stays = "while :; do sleep 1; done";
    let server = format!("exec!trap 'echo >{}' TERM; {stays}", asked.display());
    let program = Program::serving(&server, &socket, &[]);
    // 9pmux receives both signals when it continues, so it never sends SIGTERM to the server.
    program.signal(Signal::STOP);
    program.signal(Signal::TERM);
    program.signal(Signal::INT);
    program.signal(Signal::CONT);
    assert!(program.end().0.success());
    assert!(!asked.exists());
}

#[test]
fn sighup_is_ignored() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let mut program = Program::serving(&stub.address(), &socket, &[]);
    let mut client = Client::attach(&socket);
    for _ in 0..3 {
        program.signal(Signal::HUP);
        client.stat(0);
    }
    assert!(program.runs());
}

#[test]
fn a_client_that_does_not_read_does_not_prevent_the_end() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &[]);
    let mut client = Client::attach(&socket);
    fill_socket(&stub, &mut client);
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
}

#[test]
fn the_end_of_the_server_is_reported_to_all_clients() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &[]);
    let mut clients: Vec<_> = (0..8).map(|_| Client::attach(&socket)).collect();
    for client in &mut clients {
        waits(&stub, client, 20);
    }
    stub.die();
    for client in &mut clients {
        receives_errors_and_the_end(client, 20, "connection to the server lost");
    }
    let (status, said) = program.end();
    assert_eq!(status.code(), Some(5));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("closed the connection"), "{said:?}");
    assert!(!socket.exists());
}

/// The server has sent more than one read returns, and has closed its end when the next request is written.
#[test]
fn replies_that_arrived_before_a_write_error_are_delivered() {
    const READ: usize = 60_000;
    let place = Place::new();
    let socket = place.path("s");
    let listener = UnixListener::bind(place.path("server")).unwrap();
    let program = Program::start(serve(&[&unix(&place.path("server")), &unix(&socket)]));
    let server = listener.accept().unwrap().0;
    program.wait_socket(&socket);
    let mut client = Client::connect(&socket).unwrap();
    let mut input = server.try_clone().unwrap();
    let mut takes = |client: &mut Client, kind, tag, body: &[u8]| {
        client.send(kind, tag, body);
        let got = read_message(&mut input).unwrap().unwrap();
        assert_eq!(got.kind, kind);
        got.tag
    };
    let version = body(&[&65536u32.to_le_bytes(), &string("9P2000")]);
    let tag = takes(&mut client, 100, 0xffff, &version);
    (&server).write_all(&message(101, tag, &version)).unwrap();
    assert_eq!(client.receive().unwrap().kind, 101);
    let attach = body(&[&[0; 4], &[0xff; 4], &string("glenda"), &string("")]);
    let tag = takes(&mut client, 104, 1, &attach);
    (&server).write_all(&message(105, tag, &[0; 13])).unwrap();
    assert_eq!(client.receive().unwrap().kind, 105);
    let mut replies = Vec::new();
    for n in 0..12 {
        let tag = takes(&mut client, 116, n, &read(0, 0, READ as u32));
        replies.extend(message(117, tag, &[&(READ as u32).to_le_bytes()[..], &[7; READ]].concat()));
    }
    // 9pmux is stopped meanwhile, so it sees all events at once.
    program.signal(Signal::STOP);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&server, replies.len());
    server.set_nonblocking(true).unwrap();
    let mut said = 0;
    while said < replies.len() {
        let Ok(n) = (&server).write(&replies[said..]) else {
            break;
        };
        said += n;
    }
    drop((server, input));
    client.send(124, 100, &[0; 4]);
    program.signal(Signal::CONT);
    let whole = said / (READ + 11);
    assert!(whole > 0);
    for n in 0..whole {
        let got = client.receive().unwrap();
        assert_eq!((got.kind, got.tag), (117, n as u16), "reply {n} of {whole}");
    }
    while let Some(got) = client.receive() {
        assert_eq!(got.kind, 107);
    }
    assert_eq!(program.end().0.code(), Some(5));
}

#[test]
fn a_departing_client_does_not_affect_the_others() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let _program = Program::serving(&stub.address(), &socket, &[]);
    let mut stays = Client::attach(&socket);
    stays.open(1, "hello");
    for _ in 0..10 {
        let mut goes = Client::attach(&socket);
        for fid in 100..150 {
            goes.open(fid, "big");
        }
        waits(&stub, &mut goes, 50);
        // It also leaves replies unread.
        for tag in 100..200 {
            goes.send(116, tag, &read(100, 0, 8000));
        }
        drop(goes);
        assert_eq!(stays.read(1, 0, 100), HELLO);
    }
    wait_for("the departed client's requests and fids are cleaned up", || {
        (stub.held(), stub.fids()) == (0, 2)
    });
    assert_eq!(stays.read(1, 0, 100), HELLO);
    assert_eq!(stub.counts.connections.load(SeqCst), 1);
    stub.assert_content();
}

/// A process sends requests in a loop and is then killed.
#[test]
fn a_killed_client_does_not_affect_the_others() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let _program = Program::serving(&stub.address(), &socket, &[]);
    let mut stays = Client::attach(&socket);
    stays.open(1, "hello");
    for _ in 0..5 {
        // The process has only the socket, as its standard output, and never reads from it.
        let mut session = Client::attach(&socket);
        session.open(9, "slow");
        let mut requests = Vec::new();
        for tag in 10..40 {
            requests.extend(message(116, tag, &read(9, 0, 10)));
        }
        let file = place.path("requests");
        std::fs::write(&file, &requests).unwrap();
        let mut killed = Command::new("/bin/sh")
            .args(["-c", "cat \"$0\"; while :; do cat \"$0\"; done"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(OwnedFd::from(session.stream))
            .process_group(0)
            .spawn()
            .unwrap();
        wait_for("its requests are at the server", || stub.held() >= 30);
        assert_eq!(stays.read(1, 0, 100), HELLO);
        rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&killed),
            Signal::KILL,
        )
        .unwrap();
        killed.wait().unwrap();
        assert_eq!(stays.read(1, 0, 100), HELLO);
        wait_for("the departed client's requests and fids are cleaned up", || {
            (stub.held(), stub.fids()) == (0, 2)
        });
    }
    stub.assert_content();
}

/// Makes the client request more than its socket holds, without reading.
fn fill_socket(stub: &Stub, client: &mut Client) {
    client.open(2, "big");
    let before = stub.counts.requests.load(SeqCst);
    for tag in 0..200 {
        client.send(116, tag, &read(2, 0, 50_000));
    }
    wait_for("some of its reads are at the server", || {
        stub.counts.requests.load(SeqCst) > before + 10
    });
}

#[test]
fn a_client_that_does_not_read_does_not_slow_the_others() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let _program = Program::serving(&stub.address(), &socket, &[]);
    let mut stuck = Client::attach(&socket);
    fill_socket(&stub, &mut stuck);
    // many more reads than the others could complete if the slow client held a shared resource
    let writer = stuck.stream.try_clone().unwrap();
    let pushes = thread::spawn(move || {
        let mut writer = writer;
        // Sends until the socket is full. The end of the connection ends the loop.
        while writer.write_all(&message(116, 999, &read(2, 0, 50_000))).is_ok() {}
    });
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::attach(&socket);
                client.open(1, "big");
                client.read_all(1);
            });
        }
    });
    // When the client reads at last, it gets every reply. Requests that reuse a tag may be refused.
    let mut missing = 200;
    while missing > 0 {
        let got = stuck.receive().unwrap();
        if got.tag != 999 {
            // The reads behind many others are reduced.
            assert!(got.kind == 117 && (8192..=50_000).contains(&got.u32_at(0)), "{got:?}");
            missing -= 1;
        }
    }
    stuck.stream.shutdown(std::net::Shutdown::Both).unwrap();
    pushes.join().unwrap();
    stub.assert_content();
}

/// Sends writes without bound until the connection ends.
fn pushes(client: &Client, pushed: &AtomicUsize) {
    let data = body(&[&[0; 12], &50_000u32.to_le_bytes(), &[7; 50_000]]);
    let mut stream = &client.stream;
    for tag in (0..1000).cycle() {
        if stream.write_all(&message(118, tag, &data)).is_err() {
            return;
        }
        pushed.fetch_add(data.len(), SeqCst);
    }
}

#[test]
fn a_server_that_does_not_read_costs_little_and_does_not_prevent_the_end() {
    for dies in [false, true] {
        let (stub, place) = (Stub::deaf(), Place::new());
        let socket = place.path("s");
        let program = Program::serving(&stub.address(), &socket, &[]);
        let client = Client::attach(&socket);
        let (before, pushed) = (program.memory(), AtomicUsize::new(0));
        thread::scope(|scope| {
            let pusher = scope.spawn(|| pushes(&client, &pushed));
            wait_for("a megabyte has been sent", || pushed.load(SeqCst) > 1 << 20);
            if let (Some(before), Some(after)) = (before, program.memory()) {
                assert!(after < before + (16 << 20), "from {before} bytes to {after}");
            }
            match dies {
                true => stub.die(),
                false => program.signal(Signal::TERM),
            }
            let (status, said) = program.end();
            assert_eq!(status.code(), Some(if dies { 5 } else { 0 }), "{said:?}");
            pusher.join().unwrap();
        });
    }
}

#[test]
fn an_incomplete_message_affects_only_its_client() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let _program = Program::serving(&stub.address(), &socket, &[]);
    let mut stays = Client::attach(&socket);
    let version = message(100, 0xffff, &body(&[&8192u32.to_le_bytes(), &string("9P2000")]));
    for n in 0..version.len() {
        let mut half = Client::connect(&socket).unwrap();
        half.stream.write_all(&version[..n]).unwrap();
        drop(half);
        stays.stat(0);
    }
    // a size field smaller than a header
    let mut garbled = Client::connect(&socket).unwrap();
    garbled.stream.write_all(&[3, 0, 0, 0, 100, 0, 0]).unwrap();
    assert_eq!(garbled.receive(), None);
    stays.stat(0);
}
