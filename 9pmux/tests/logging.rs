//! The log: it never blocks the program, and no client can fill it.

#![cfg(feature = "program")]

mod support;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use support::client::{Client, NOFID};
use support::program::{Program, serve};
use support::stub::Stub;
use support::{Place, body, pipe, string, unix, wait_for};

/// 9pmux with a standard error that the test may leave unread. Killed on drop.
struct Unread(Child);

impl Unread {
    fn serving(stub: &Stub, place: &Place, options: &[&str], errors: File) -> Unread {
        let (server, socket) = (stub.address(), unix(&place.path("s")));
        let mut command = serve(&[options, &[&server, &socket]].concat());
        command.stderr(Stdio::from(OwnedFd::from(errors)));
        let child = command.spawn().unwrap();
        wait_for("the socket accepts clients", || Client::connect(&place.path("s")).is_ok());
        Unread(child)
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
    }

    fn wait(mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the end of 9pmux", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends requests that cause more lines of the log than a pipe and the queue of the log hold.
fn cause_lines(client: &mut Client) {
    for _ in 0..5000 {
        client.stat(0);
    }
}

#[test]
fn an_unread_standard_error_blocks_nothing() {
    let (stub, place) = (Stub::new(), Place::new());
    let (_errors, output) = pipe();
    let program = Unread::serving(&stub, &place, &["-vv"], output);
    cause_lines(&mut Client::attach(&place.path("s")));
    Client::attach(&place.path("s")).stat(0);
    program.terminate();
    assert!(program.wait().success());
    assert!(!place.path("s").exists());
}

#[test]
fn final_error_on_an_unread_standard_error_does_not_block_the_end() {
    let (stub, place) = (Stub::new(), Place::new());
    let (_errors, output) = pipe();
    let program = Unread::serving(&stub, &place, &["-vv"], output);
    cause_lines(&mut Client::attach(&place.path("s")));
    stub.die();
    assert_eq!(program.wait().code(), Some(5));
}

#[test]
fn dropped_lines_are_counted_and_the_final_error_is_kept() {
    let (stub, place) = (Stub::new(), Place::new());
    let (mut errors, output) = pipe();
    let program = Unread::serving(&stub, &place, &["-vv"], output);
    cause_lines(&mut Client::attach(&place.path("s")));
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).unwrap();
        text
    });
    stub.die();
    assert_eq!(program.wait().code(), Some(5));
    let text = reader.join().unwrap();
    assert!(text.lines().all(|line| line.starts_with("9pmux: ")));
    let dropped = " lines of the log dropped: standard error is not read fast enough";
    assert!(text.lines().any(|line| line.contains(dropped)));
    let last = text.lines().last().unwrap();
    assert!(last.contains("the server has closed the connection"), "{last}");
}

#[test]
fn a_closed_standard_error_changes_nothing() {
    let (stub, place) = (Stub::new(), Place::new());
    let (errors, output) = pipe();
    drop(errors);
    let program = Unread::serving(&stub, &place, &["-vv"], output);
    cause_lines(&mut Client::attach(&place.path("s")));
    program.terminate();
    assert!(program.wait().success());
}

/// Returns the number of lines with these words, and the number that a report says were suppressed.
fn count(said: &[String], words: &str, report: &str) -> (usize, usize) {
    let logged = said.iter().filter(|line| line.contains(words)).count();
    let suppressed = said.iter().filter_map(|line| {
        let (number, _) = line.split_once(&format!(" more lines about {report} suppressed"))?;
        number.rsplit(' ').next()?.parse::<usize>().ok()
    });
    (logged, suppressed.sum())
}

#[test]
fn a_user_that_reconnects_repeatedly_cannot_fill_the_log() {
    const TIMES: usize = 3000;
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::start(serve(&["-v", &stub.address(), &unix(&socket)]));
    program.wait_said("listening on");
    let since = Instant::now();
    for _ in 0..TIMES {
        let mut client = Client::connect(&socket).unwrap();
        client.send_bytes(&[6, 0, 0, 0, 0, 0, 0]);
        assert_eq!(client.receive(), None);
    }
    program.signal(Signal::TERM);
    let (status, said) = program.end();
    assert!(status.success());
    // 100 lines at once and 20 a second, and a report a second
    let max = 100 + 21 * (since.elapsed().as_secs() as usize + 2);
    for (words, report) in [
        (" connected: ", "clients that connected"),
        (" disconnected (", "clients that disconnected"),
        ("closing client ", "clients that were closed"),
    ] {
        let (logged, suppressed) = count(&said, words, report);
        assert!(logged <= max, "{logged} lines with '{words}'");
        assert!(logged >= 20, "{logged} lines with '{words}'");
        assert_eq!(logged + suppressed, TIMES, "every line with '{words}' is logged or counted");
    }
}

#[test]
fn client_of_another_protocol_is_named_and_disconnected() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &["-v"]);
    for (bytes, words) in [
        (&b"GET / HTTP/1.1\r\nHost: files\r\n\r\n"[..], "not 9P but HTTP: 'GET / HTTP/1.1'"),
        (b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c", "not 9P but a record of TLS"),
        (b"SSH-2.0-client\r\n", "not 9P but text: 'SSH-2.0-client'"),
    ] {
        let mut client = Client::connect(&socket).unwrap();
        client.send_bytes(bytes);
        while client.receive().is_some() {}
        program.wait_said(words);
        let refused = program.said().into_iter().find(|line| line.contains("refused"));
        assert_eq!(refused, None, "one line says it all");
    }
    Client::attach(&socket).stat(0);
}

#[test]
fn refused_attach_is_logged_with_its_names() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &["-v", "--uname", "glenda"]);
    let mut client = Client::connect(&socket).unwrap();
    client.version();
    for (kind, name) in [(104, "Tattach"), (102, "Tauth")] {
        let afid = if kind == 104 { &NOFID[..] } else { &[] };
        let got = client.rpc(kind, &body(&[&[0; 4], afid, &string("root"), &string("main")]));
        assert_eq!(got.kind, 107);
        let line = program.wait_said(name);
        assert!(line.contains("client ") && line.contains(" refused: "), "{line}");
        assert!(
            line.contains("not allowed") && line.contains("uname 'root' aname 'main'"),
            "{line}"
        );
    }
    // A client that is refused again and again has a limited number of lines.
    for _ in 0..5000 {
        assert_eq!(client.rpc(124, &[9; 4]).kind, 107);
    }
    program.signal(Signal::TERM);
    let (_, said) = program.end();
    let (logged, suppressed) = count(&said, "refused: unknown fid", "messages that were refused");
    assert_eq!(logged + suppressed, 5000);
    assert!(logged < 1000, "{logged} lines");
}

#[test]
fn client_at_its_limit_of_fids_is_logged_once_with_the_option() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &["--max-fids", "2"]);
    let mut client = Client::attach(&socket);
    client.open(1, "hello");
    let walk = body(&[&[0; 4], &2u32.to_le_bytes(), &[0, 0]]);
    for _ in 0..3 {
        let got = client.rpc(110, &walk);
        assert_eq!((got.kind, &got.body[2..]), (107, &b"too many fids"[..]));
    }
    // Another client has fids of its own.
    Client::attach(&socket).open(1, "hello");
    program.signal(Signal::TERM);
    let (_, said) = program.end();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("client ") && said[0].contains("(--max-fids)"), "{said:?}");
}
