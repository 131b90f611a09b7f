//! 9pmux under the name `9pserve`, as plan9port's programs start it. The test is the program that posts a service,
//! the server and the clients, message by message.
//!
//! The background process is no child of the test. Linux can give it to the test all the same, so that its status is
//! known, and says much about a process in /proc.

#![cfg(all(feature = "program", target_os = "linux"))]

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

use support::client::{Client, NOFID};
use support::program::NINEPMUX;
use support::{
    Got, PATIENCE, Place, body, next_request, pipe, read_message, send_reply, string, unix,
    wait_for,
};

/// A program that posts a service, which is also the server.
struct World {
    place: Place,
    server: UnixStream,
    /// What 9pserve prints.
    errors: File,
    background: Pid,
}

/// 9pserve with these arguments, a connection to its server, and its standard error.
fn pserve(args: &[&str]) -> (Command, UnixStream, File) {
    let (server, theirs) = UnixStream::pair().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let (errors, stderr) = pipe();
    let mut command = Command::new(NINEPMUX);
    command.arg0("9pserve").args(args);
    attach(&mut command, theirs, stderr);
    (command, server, errors)
}

fn attach(command: &mut Command, theirs: UnixStream, stderr: File) {
    let theirs = OwnedFd::from(theirs);
    command.stdin(theirs.try_clone().unwrap()).stdout(theirs).stderr(stderr);
}

/// Runs a process to its end, which must not wait for the server.
fn ends(mut command: Command) -> ExitStatus {
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut status = None;
    wait_for("the end of the process that was started", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// Returns the process with this argument.
fn process_with(argument: &str) -> Option<Pid> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.into_iter().find_map(|number: i32| {
        let line = fs::read(format!("/proc/{number}/cmdline")).ok()?;
        let found = line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes());
        found.then(|| Pid::from_raw(number)).flatten()
    })
}

/// Starts 9pserve with these options and the address of a socket `s`.
fn post(options: &[&str]) -> World {
    post_with(options, |_| ())
}

fn post_with(options: &[&str], change: impl FnOnce(&mut Command)) -> World {
    // The background process becomes a child of the test.
    rustix::process::set_child_subreaper(Some(getpid())).unwrap();
    let place = Place::new();
    let address = unix(&place.path("s"));
    let (mut command, server, errors) = pserve(&[options, &[&address]].concat());
    change(&mut command);
    assert_eq!(ends(command).code(), Some(0));
    let background = process_with(&address).expect("the background process");
    World { place, server, errors, background }
}

impl World {
    fn connect(&self) -> Client {
        Client::connect(&self.place.path("s")).unwrap()
    }

    /// Returns the next request of the server, which has this type.
    #[track_caller]
    fn asked(&mut self, kind: u8) -> Got {
        next_request(&mut self.server, kind)
    }

    fn reply(&mut self, request: &Got, reply: &[u8]) {
        send_reply(&mut self.server, request, reply);
    }

    /// Agrees to a version with 9pserve, and returns a client that has one.
    fn client(&mut self) -> Client {
        let version = self.asked(100);
        assert_eq!((version.tag, &version.body), (0xffff, &versioned(8192, "9P2000")));
        self.reply(&version, &versioned(8192, "9P2000"));
        let mut client = self.connect();
        assert_eq!(client.rpc(100, &versioned(8192, "9P2000")).body, versioned(8192, "9P2000"));
        client
    }

    /// Attaches fid 0 of a client.
    fn attach(&mut self, client: &mut Client) {
        client.send(104, 1, &attach_body("u", ""));
        let attach = self.asked(104);
        self.reply(&attach, &[0; 13]);
        assert_eq!(client.receive().unwrap().kind, 105);
    }

    /// Waits for the end of the background process. Returns its status and what it has printed; its socket is gone.
    fn end(mut self) -> (Option<i32>, String) {
        let mut status = None;
        wait_for("the end of the background process", || {
            let waited = waitpid(Some(self.background), WaitOptions::NOHANG).unwrap();
            status = waited.map(|(_, status)| status.exit_status());
            status.is_some()
        });
        let mut said = String::new();
        self.errors.read_to_string(&mut said).unwrap();
        assert!(!self.place.path("s").exists());
        (status.unwrap(), said)
    }

    /// The server closes its connection, which ends 9pserve without a word.
    fn close(self) {
        let World { server, place, errors, background } = self;
        drop(server);
        // In its place is a stream that is not used any more.
        let world = World { server: UnixStream::pair().unwrap().0, place, errors, background };
        assert_eq!(world.end(), (Some(0), String::new()));
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.background, signal).unwrap();
    }
}

fn versioned(msize: u32, version: &str) -> Vec<u8> {
    body(&[&msize.to_le_bytes(), &string(version)])
}

/// The body of a Tattach of fid 0 without an afid.
fn attach_body(uname: &str, aname: &str) -> Vec<u8> {
    body(&[&[0; 4], &NOFID, &string(uname), &string(aname)])
}

#[track_caller]
fn is_error(got: &Got, why: &str) {
    assert_eq!((got.kind, &got.body), (107, &string(why)));
}

/// Runs 9pserve, which fails, and returns what it prints.
#[track_caller]
fn fails(args: &[&str]) -> String {
    let (command, _server, mut errors) = pserve(args);
    assert_eq!(ends(command).code(), Some(1), "{args:?}");
    let mut said = String::new();
    errors.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn service_is_posted_before_its_server_serves() {
    let mut world = post(&["-u"]);
    let mut client = world.connect();
    client.send(100, 0xffff, &versioned(100_000, "9P2000.u"));
    let version = world.asked(100);
    assert_eq!((version.tag, &version.body), (0xffff, &versioned(8192, "9P2000")));
    world.reply(&version, &versioned(5000, "9P2000"));
    let got = client.receive().unwrap();
    assert_eq!((got.kind, got.tag, &got.body), (101, 0xffff, &versioned(5000, "9P2000")));
    let other = world.connect().rpc(100, &versioned(5000, "9P1999"));
    assert_eq!(other.body[4..], string("unknown"));
    world.close();
}

#[test]
fn authentication_is_rejected_by_option() {
    for options in [&["-nu"][..], &["-un"], &["-u", "-n", "--"]] {
        let mut world = post(options);
        let mut client = world.client();
        is_error(&client.rpc(102, &attach_body("u", "")[..10]), "malformed message");
        let auth = body(&[&[0; 4], &string("u"), &string("")]);
        is_error(&client.rpc(102, &auth), "authentication rejected");
        // Nothing of it has reached the server.
        world.attach(&mut client);
        world.close();
    }
}

#[test]
fn authentication_is_the_servers_without_the_option() {
    let mut world = post(&["-u"]);
    let mut client = world.client();
    client.send(102, 1, &body(&[&[0; 4], &string("u"), &string("")]));
    let auth = world.asked(102);
    world.reply(&auth, &[0; 13]);
    assert_eq!(client.receive().unwrap().kind, 103);
    client.send(104, 1, &body(&[&[1, 0, 0, 0], &[0; 4], &string("u"), &string("")]));
    let attach = world.asked(104);
    assert_eq!(attach.body[4..8], auth.body[..4]);
    world.close();
}

#[test]
fn wrong_arguments_print_the_usage() {
    let usage = "usage: 9pserve [-lnv] [-A aname afid] [-c addr] [-M msize] address\n\
        \treads/writes 9P messages on stdin/stdout\n";
    for args in
        [&["-u"][..], &["unix!a", "unix!b"], &["-x", "unix!a"], &["--help"], &["-M", "1", "a"]]
    {
        assert_eq!(fails(args), usage, "{args:?}");
    }
    assert_eq!(fails(&["-A", "a", "3", "unix!a"]), format!("-A must be used with -M\n{usage}"));
}

#[test]
fn socket_in_use_is_left_alone_and_one_left_behind_is_replaced() {
    let place = Place::new();
    let address = unix(&place.path("s"));
    let listener = UnixListener::bind(place.path("s")).unwrap();
    let said = fails(&["-u", &address]);
    assert!(said.starts_with(&format!("9pserve: announce {address}: it is in use")), "{said}");
    UnixStream::connect(place.path("s")).unwrap();
    drop(listener);
    let (command, server, mut errors) = pserve(&["-u", &address]);
    assert_eq!(ends(command).code(), Some(0));
    UnixStream::connect(place.path("s")).unwrap();
    drop(server);
    let mut said = String::new();
    errors.read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
    assert!(!place.path("s").exists());
}

#[test]
fn address_that_cannot_be_announced_is_an_error() {
    for (address, why) in [
        ("name", "announce name: malformed address\n".to_owned()),
        ("tcp!host", "announce tcp!host: malformed address\n".to_owned()),
        ("unix!/nowhere/s", "announce unix!/nowhere/s: /nowhere: No such file".to_owned()),
    ] {
        let said = fails(&["-u", address]);
        assert!(said.starts_with(&format!("9pserve: {why}")), "{said}");
    }
    let long = format!("unix!/tmp/{}", "x".repeat(120));
    assert!(fails(&[&long]).contains(": the path is too long for a socket"), "{long}");
}

#[test]
fn mode_of_the_socket_is_what_the_umask_leaves() {
    for (umask, mode) in [("022", 0o755), ("077", 0o700), ("0", 0o777)] {
        let place = Place::new();
        let (server, theirs) = UnixStream::pair().unwrap();
        let (mut errors, stderr) = pipe();
        symlink(NINEPMUX, place.path("9pserve")).unwrap();
        let mut command = Command::new("/bin/sh");
        let script = format!("umask {umask}; exec \"$0\" -u \"$1\"");
        command.args(["-c", &script]).arg(place.path("9pserve")).arg(unix(&place.path("s")));
        attach(&mut command, theirs, stderr);
        assert_eq!(ends(command).code(), Some(0));
        let found = fs::metadata(place.path("s")).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{umask}");
        drop(server);
        // Waits for the end.
        errors.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn attach_is_that_of_the_program_that_has_authenticated() {
    let mut world = post(&["-u", "-M", "4000", "-A", "", "3"]);
    let mut client = world.connect();
    assert_eq!(client.rpc(100, &versioned(8192, "9P2000")).body, versioned(4000, "9P2000"));
    let auth = body(&[&[0; 4], &string("u"), &string("")]);
    is_error(&client.rpc(102, &auth), "authentication not required");
    is_error(&client.rpc(104, &attach_body("u", "other")), "invalid attach name");
    let user = Command::new("id").arg("-un").output().unwrap();
    let user = String::from_utf8(user.stdout).unwrap();
    let mut fids = Vec::new();
    for fid in 0..6u32 {
        let names = [&NOFID[..], &string("glenda"), &string("")].concat();
        client.send(104, 1, &body(&[&fid.to_le_bytes(), &names]));
        let attach = world.asked(104);
        let names = [&3u32.to_le_bytes()[..], &string(user.trim_end()), &string("")].concat();
        assert_eq!(attach.body[4..], names);
        fids.push(attach.u32_at(0));
        world.reply(&attach, &[0; 13]);
        assert_eq!(client.receive().unwrap().kind, 105);
    }
    assert_eq!(fids, [0, 1, 2, 4, 5, 6]);
    let with_afid = body(&[&[9, 0, 0, 0, 77, 0, 0, 0], &string("u"), &string("")]);
    is_error(&client.rpc(104, &with_afid), "unknown fid");
    world.close();
}

#[test]
fn attach_without_an_auth_fid_has_none() {
    let mut world = post(&["-uM", "8192", "-Amain", "-1"]);
    let mut client = world.connect();
    assert_eq!(client.rpc(100, &versioned(8192, "9P2000")).body, versioned(8192, "9P2000"));
    for aname in ["", "main"] {
        client.send(104, 1, &attach_body("u", aname));
        let attach = world.asked(104);
        assert_eq!(attach.body[4..8], NOFID);
        assert!(attach.body.ends_with(&string("main")));
        world.reply(&attach, &[0; 13]);
        assert_eq!(client.receive().unwrap().kind, 105);
        client.send(120, 1, &[0; 4]);
        let clunk = world.asked(120);
        world.reply(&clunk, &[]);
        assert_eq!(client.receive().unwrap().kind, 121);
    }
    world.close();
}

#[test]
fn attach_that_becomes_too_long_is_refused() {
    let long = "x".repeat(300);
    let mut world = post(&["-M", "256", "-A", &long, "-1"]);
    let mut client = world.connect();
    assert_eq!(client.rpc(100, &versioned(8192, "9P2000")).body, versioned(256, "9P2000"));
    is_error(&client.rpc(104, &attach_body("u", "")), "message larger than msize");
    world.server.set_nonblocking(true).unwrap();
    assert!(world.server.read(&mut [0]).is_err(), "nothing was sent");
    world.close();
}

#[test]
fn background_process_has_its_own_group_and_what_else_its_caller_has() {
    let directory = fs::canonicalize(Place::new().directory().parent().unwrap()).unwrap();
    let world = post_with(&["-u"], |command| {
        command.current_dir(&directory);
    });
    let process = format!("/proc/{}", world.background.as_raw_nonzero());
    let (group, session) = group_and_session(&process);
    assert_eq!(group, world.background.as_raw_nonzero().to_string());
    assert_eq!(session, group_and_session("/proc/self").1);
    assert_eq!(status("/proc/self", "Umask:"), status(&process, "Umask:"));
    let link = |name: &str| fs::read_link(format!("{process}/{name}")).unwrap();
    assert_eq!(link("cwd"), directory);
    // The connection has other numbers.
    assert_eq!([link("fd/0"), link("fd/1")], ["/dev/null"; 2].map(PathBuf::from));
    assert!(link("fd/2").to_string_lossy().starts_with("pipe:"));
    world.close();
}

/// The group and the session of a process.
fn group_and_session(process: &str) -> (String, String) {
    let stat = fs::read_to_string(format!("{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[2].to_owned(), fields[3].to_owned())
}

/// A field of the status of a process.
fn status(process: &str, name: &str) -> String {
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    status.lines().find(|line| line.starts_with(name)).unwrap().to_owned()
}

#[test]
fn end_of_the_server_fails_requests_and_prints_nothing() {
    let mut world = post(&["-u"]);
    let mut client = world.client();
    world.attach(&mut client);
    client.send(124, 7, &[0; 4]);
    world.asked(124);
    let leaves = world.connect();
    drop(leaves);
    world.close();
    let got = client.receive().unwrap();
    assert_eq!(got.tag, 7);
    is_error(&got, "connection to the server lost");
    assert_eq!(client.receive(), None);
}

#[test]
fn end_of_the_server_before_its_version_is_the_same() {
    post(&["-u"]).close();
}

#[test]
fn larger_msize_of_the_server_is_not_used() {
    let mut world = post(&["-u"]);
    let version = world.asked(100);
    world.reply(&version, &versioned(65536, "9P2000"));
    let mut client = world.connect();
    assert_eq!(client.rpc(100, &versioned(65536, "9P2000")).body, versioned(8192, "9P2000"));
    world.close();
}

#[test]
fn server_that_does_not_agree_or_sends_no_9p_is_an_error() {
    let mut world = post(&["-u"]);
    let version = world.asked(100);
    world.reply(&version, &versioned(8192, "unknown"));
    let (status, said) = world.end();
    assert_eq!(status, Some(1));
    assert!(said.starts_with("9pserve: no version in common with the server"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    let mut world = post(&["-u"]);
    world.server.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    let (status, said) = world.end();
    assert_eq!(status, Some(1));
    assert!(said.starts_with("9pserve: the server has sent"), "{said}");
}

#[test]
fn signals_end_it_cleanly_or_have_no_effect() {
    for (signal, word) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut world = post(&["-uv"]);
        let mut client = world.client();
        for ignored in [Signal::HUP, Signal::TSTP, Signal::PIPE, Signal::WINCH] {
            world.signal(ignored);
        }
        world.attach(&mut client);
        world.signal(signal);
        let (status, said) = world.end();
        assert_eq!(status, Some(0));
        assert!(said.contains(&format!("shutting down ({word})")), "{said}");
    }
}

#[test]
fn special_files_are_not_created() {
    let mut world = post(&["-u"]);
    let mut client = world.client();
    world.attach(&mut client);
    let create = |perm: u32| body(&[&[0; 4], &string("name"), &perm.to_le_bytes(), &[1]]);
    for bit in [25, 23, 21, 20] {
        is_error(&client.rpc(114, &create(1 << bit | 0o644)), "unsupported file type");
    }
    client.send(114, 3, &create(1 << 31 | 0o755));
    assert_eq!(world.asked(114).body[4..], create(1 << 31 | 0o755)[4..]);
    world.close();
}

#[test]
fn one_client_cannot_end_it() {
    let mut world = post(&["-u"]);
    let mut client = world.client();
    world.attach(&mut client);
    let unknown = 5u32.to_le_bytes();
    for (kind, rest) in [(112, vec![0]), (98, vec![0]), (114, body(&[&string("x"), &[0; 5]]))] {
        is_error(&client.rpc(kind, &body(&[&unknown, &rest])), "unknown fid");
    }
    let mut huge = world.connect();
    huge.send_bytes(b"\0\0\0\x80\x64\xff\xff");
    is_error(&huge.receive().unwrap(), "message larger than msize");
    assert_eq!(huge.receive(), None);
    client.send(124, 1, &[0; 4]);
    world.asked(124);
    world.close();
}

#[test]
fn server_may_be_dialled() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path("server")).unwrap();
    // A file that exists is the socket of a server.
    let path = place.path("server").into_os_string().into_string().unwrap();
    let mut world = post(&["-c", &path]);
    assert_eq!(world.server.read(&mut [0]).unwrap(), 0, "the inherited connection is closed");
    world.server = listener.accept().unwrap().0;
    world.server.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = world.client();
    world.attach(&mut client);
    world.close();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let place = Place::new();
    let address = unix(&place.path("s"));
    let (command, _server, mut errors) = pserve(&["-c", &format!("127.0.0.1:{port}"), &address]);
    assert_eq!(ends(command).code(), Some(0));
    let mut server: TcpStream = listener.accept().unwrap().0;
    assert_eq!(read_message(&mut server).unwrap().unwrap().body, versioned(8192, "9P2000"));
    drop(server);
    errors.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn server_that_cannot_be_dialled_is_an_error() {
    let place = Place::new();
    let address = unix(&place.path("s"));
    for server in ["unix!/nowhere", "udp!host!9", "tcp!127.0.0.1!x"] {
        let said = fails(&["-c", server, &address]);
        assert!(said.starts_with(&format!("9pserve: dial {server}: ")), "{said}");
        assert!(!place.path("s").exists());
    }
}

#[test]
fn log_may_be_a_file_beside_the_socket() {
    let world = post(&["-lv"]);
    let log = world.place.path("s.log");
    wait_for("the log", || fs::read_to_string(&log).is_ok_and(|log| log.contains("listening")));
    assert!(fs::read_to_string(&log).unwrap().starts_with("9pserve: "));
    world.close();
    let said = fails(&["-l", "tcp!127.0.0.1!0", "x"]);
    assert!(said.starts_with("usage"), "{said}");
}

#[test]
fn log_that_cannot_be_a_file_is_an_error() {
    let place = Place::new();
    fs::create_dir(place.path("s.log")).unwrap();
    let said = fails(&["-l", &unix(&place.path("s"))]);
    assert!(said.contains("9pserve: create ") && said.contains("s.log: Is a directory"), "{said}");
    assert!(!place.path("s").exists());
}

#[test]
fn log_has_the_level_of_the_options_and_of_the_environment() {
    for (options, level, connections, messages) in [
        (&["-v"][..], "0", true, false),
        (&["-vv"], "0", true, true),
        (&["-u"], "1", true, false),
        (&["-v"], "1", true, true),
        (&["-vvv"], "0", true, true),
    ] {
        let mut world = post_with(options, |command| {
            command.env("verbose9pserve", level);
        });
        let mut client = world.client();
        world.attach(&mut client);
        world.signal(Signal::TERM);
        let (_, said) = world.end();
        assert_eq!(said.contains("client 0 connected"), connections, "{options:?} {said}");
        assert_eq!(said.contains("Tattach"), messages, "{options:?} {said}");
    }
}

#[test]
fn descriptors_that_are_no_connection_are_an_error() {
    let place = Place::new();
    let (mut command, _server, mut errors) = pserve(&["-u", &unix(&place.path("s"))]);
    command.arg0("a/9pserve").stdin(Stdio::null()).stdout(Stdio::null());
    assert_eq!(ends(command).code(), Some(0));
    let mut said = String::new();
    errors.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("a/9pserve: ") && said.contains("not a connection"), "{said}");
    assert!(!place.path("s").exists());
}
