//! The dialect of the connection: free while no client has a session, and no reason to end.

#![cfg(feature = "program")]

mod support;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use support::client::Client;
use support::program::{NINEPMUX, Program, serve};
use support::stub::Stub;
use support::{Place, body, message, read_message, string, unix};

/// Starts a server that replies to Tversion with that version, unless `reply` returns another one or none.
fn server(reply: fn(&str) -> Option<&str>) -> Stub {
    Stub::with(move |mut stream, _| answer_versions(&mut stream, reply))
}

fn answer_versions(stream: &mut UnixStream, reply: fn(&str) -> Option<&str>) -> io::Result<()> {
    while let Some(got) = read_message(stream)? {
        let offer = String::from_utf8_lossy(&got.body[6..]).into_owned();
        let Some(name) = reply(&offer) else {
            return stream.shutdown(std::net::Shutdown::Both);
        };
        let version = body(&[&got.body[..4], &string(name)]);
        stream.write_all(&message(got.kind + 1, got.tag, &version))?;
    }
    Ok(())
}

/// Connects a client that offers a version. Returns the version that it gets.
fn offer(socket: &std::path::Path, name: &str) -> (Client, String) {
    let mut client = Client::connect(socket).unwrap();
    let got = client.rpc(100, &body(&[&8192u32.to_le_bytes(), &string(name)]));
    assert_eq!(got.kind, 101, "{got:?}");
    let version = String::from_utf8(got.body[6..].to_vec()).unwrap();
    (client, version)
}

#[test]
fn dialect_is_free_when_the_last_session_has_ended() {
    let (stub, place) = (server(|offer| Some(offer)), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &["-v"]);
    program.wait_said("client 0 disconnected");
    for name in ["9P2000", "9P2000.L", "9P2000.u"] {
        let (client, version) = offer(&socket, name);
        assert_eq!(version, name);
        let (other, version) =
            offer(&socket, if name == "9P2000.u" { "9P2000.L" } else { "9P2000.u" });
        assert_eq!(version, if name == "9P2000" { "9P2000" } else { "unknown" });
        program.wait_said(&format!("the server has agreed to {name} with msize "));
        let lines = |program: &Program| {
            program.said().iter().filter(|line| line.contains("disconnected")).count()
        };
        let before = lines(&program);
        drop((client, other));
        support::wait_for("two clients have disconnected", || lines(&program) == before + 2);
    }
    assert_eq!(stub.counts.connections.load(SeqCst), 1);
}

#[test]
fn server_that_hangs_up_at_an_offer_is_connected_again() {
    let (stub, place) = (server(|offer| Some(offer).filter(|o| *o == "9P2000.L")), Place::new());
    let socket = place.path("s");
    let mut program = Program::serving(&stub.address(), &socket, &["-v"]);
    let (mut first, version) = offer(&socket, "9P2000");
    assert_eq!(version, "unknown");
    program.wait_said("the server has not agreed to 9P2000: ");
    let (_client, version) = offer(&socket, "9P2000.L");
    assert_eq!(version, "9P2000.L");
    assert_eq!(stub.counts.connections.load(SeqCst), 2);
    // The first client may still get the version that there is.
    let got = first.rpc(100, &body(&[&8192u32.to_le_bytes(), &string("9P2000.L")]));
    assert_eq!(got.body[6..], *b"9P2000.L");
    assert!(program.runs());
}

/// Alternating dialects must not make a server accept connections, or start, without end.
#[test]
fn server_that_hangs_up_again_and_again_is_connected_at_a_pace() {
    let stub = Stub::with(|mut stream, _| {
        let mut versions = 0;
        while let Some(got) = read_message(&mut stream)? {
            versions += 1;
            if versions == 2 {
                return stream.shutdown(std::net::Shutdown::Both);
            }
            stream.write_all(&message(got.kind + 1, got.tag, &got.body))?;
        }
        Ok(())
    });
    let place = Place::new();
    let socket = place.path("s");
    let mut program = Program::serving(&stub.address(), &socket, &[]);
    assert_eq!(offer(&socket, "9P2000").1, "9P2000");
    let start = Instant::now();
    for name in ["9P2000.L", "9P2000", "9P2000.L", "9P2000"] {
        assert_eq!(offer(&socket, name).1, name);
    }
    assert_eq!(stub.counts.connections.load(SeqCst), 5);
    // A connection that lasts for 5 seconds would end the series.
    assert!(start.elapsed() >= Duration::from_millis(100 + 200 + 400));
    assert!(program.runs());
}

#[test]
fn server_that_names_another_version_does_not_end_9pmux() {
    let (stub, place) = (server(|_| Some("9P2000.L")), Place::new());
    let socket = place.path("s");
    let mut program = Program::serving(&stub.address(), &socket, &[]);
    assert_eq!(offer(&socket, "9P2000").1, "unknown");
    assert_eq!(offer(&socket, "9P2000.L").1, "9P2000.L");
    assert!(program.runs());
}

#[test]
fn program_that_exits_at_an_offer_is_started_again() {
    let (stub, place) = (Stub::new(), Place::new());
    let (socket, flag) = (place.path("s"), place.path("flag"));
    // The first one reads a header and exits, the second one serves.
    let command = format!(
        "exec!if [ -e {0} ]; then exec {NINEPMUX} serve {1} -; fi; touch {0}; head -c 7 >/dev/null",
        flag.display(),
        stub.address().replace('!', "\\!"),
    );
    let mut program = Program::serving(&command, &socket, &[]);
    assert_eq!(offer(&socket, "9P2000.L").1, "unknown");
    Client::attach(&socket).stat(0);
    assert!(program.runs());
}

#[test]
fn descriptor_cannot_be_connected_again() {
    let place = Place::new();
    let socket = place.path("s");
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = serve(&["--timeout", "0.2", "fd!0", &unix(&socket)]);
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
    let program = Program::start(command);
    program.wait_socket(&socket);
    let mut client = Client::connect(&socket).unwrap();
    client.send(100, 0xffff, &body(&[&8192u32.to_le_bytes(), &string("9P2000")]));
    assert_eq!(client.receive().unwrap().kind, 107);
    let (status, lines) = program.end();
    assert_eq!(status.code(), Some(6));
    assert!(lines[0].contains("cannot be connected to again"), "{lines:?}");
    drop(ours);
}
