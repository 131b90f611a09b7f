//! Each kind of failure is reported in one line on standard error, and with its own exit status.

#![cfg(feature = "program")]

mod support;

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use support::client::Client;
use support::program::{NINEPMUX, Program, Signal, serve, serve_within};
use support::stub::Stub;
use support::{Place, pipe, unix, wait_for};

const SYSTEM: i32 = 1;
const USAGE: i32 = 2;
const REACH: i32 = 3;
const ANNOUNCE: i32 = 4;
const GONE: i32 = 5;
const SILENT: i32 = 6;
const VERSION: i32 = 7;
const GARBLED: i32 = 8;

/// Checks that 9pmux exits with this status after one line that contains these words.
fn refuses(command: Command, status: i32, words: &str) {
    let (ended, said) = Program::start(command).end();
    assert_eq!(ended.code(), Some(status), "{said:?}");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("9pmux: ") && said[0].contains(words), "{said:?}");
}

#[test]
fn wrong_arguments_are_refused() {
    for (args, words) in [
        (&[][..], "<LISTEN>"),
        (&["--dialct", "9P2000", "a", "b"], "'--dialect'"),
        (&["--frobnicate", "a", "b"], "--frobnicate"),
        (&["a"], "LISTEN"),
        (&["a", "il!b!c"], "il!b!c"),
        (&["a", "exec!b"], "exec!"),
        (&["tcp!*!1", "b"], "every address"),
        #[cfg(target_os = "linux")]
        (&["vsock!!1", "b"], "the number of the machine"),
        #[cfg(target_os = "linux")]
        (&["vsock!2!http", "b"], "invalid port"),
        #[cfg(target_os = "linux")]
        (&["vsock!*!1", "b"], "only LISTEN"),
        (&["a", "b,mode=0660"], "unix! addresses"),
        (&["127.0.0.1:564", "b"], "write tcp!127.0.0.1!564"),
        (&["a", "unix:/tmp/b"], "write unix!/tmp/b"),
        (&["tcp!files!no-service", "b"], "the name of a service"),
        (&["--dialect", "9P", "a", "b"], "9P2000.u"),
        (&["--timeout", "never", "a", "b"], "number of seconds"),
    ] {
        let (ended, said) = Program::start(serve(args)).end();
        assert_eq!(ended.code(), Some(USAGE), "{said:?}");
        assert!(said[0].starts_with("error: "), "{said:?}");
        assert!(said.iter().any(|line| line.contains(words)), "{said:?}");
        assert!(said.iter().any(|line| line.contains("--help")), "{said:?}");
    }
    let (ended, said) = Program::start(Command::new(NINEPMUX)).end();
    assert_eq!(ended.code(), Some(USAGE), "{said:?}");
    assert!(said.iter().any(|line| line.contains("Usage: 9pmux")), "{said:?}");
}

#[test]
fn help_and_version_exit_with_success() {
    for args in [&["--help"][..], &["--version"], &["serve", "--help"], &["completions", "bash"]] {
        let output = Command::new(NINEPMUX).args(args).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("9pmux"), "{args:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_failed_write_of_the_help_is_an_error() {
    for args in [&["--help"][..], &["--version"], &["completions", "bash"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(NINEPMUX);
        command.args(args).stdout(full);
        refuses(command, SYSTEM, "No space left");
        // A reader that closes the pipe early is no error.
        let (reader, writer) = pipe();
        let mut command = Command::new(NINEPMUX);
        command.args(args).stdout(writer);
        drop(reader);
        let (status, said) = Program::start(command).end();
        assert!(status.success() && said.is_empty(), "{args:?}: {status} {said:?}");
    }
}

#[test]
fn a_missing_server_is_refused() {
    let place = Place::new();
    let (stale, socket) = (place.path("stale"), unix(&place.path("s")));
    drop(UnixListener::bind(&stale).unwrap());
    refuses(serve(&[&unix(&place.path("none")), &socket]), REACH, "check that it runs");
    refuses(serve(&[&unix(&stale), &socket]), REACH, "Connection refused");
    refuses(serve(&["tcp!localhost!1", &socket]), REACH, "Connection refused");
    refuses(serve(&["fd!77", &socket]), REACH, "descriptor 77");
    let mut command = serve(&["none", &socket]);
    command.env("NAMESPACE", place.directory());
    refuses(command, REACH, "$NAMESPACE");
    assert!(!place.path("s").exists());
}

#[test]
fn a_namespace_that_others_may_enter_is_refused() {
    let stub = Stub::new();
    let place = Place::new();
    let mut command = serve(&[&stub.address(), "s"]);
    // $DISPLAY may have any value.
    let display = format!("test.{}", place.directory().file_name().unwrap().to_str().unwrap());
    command.env_remove("NAMESPACE").env("DISPLAY", &display);
    let program = Program::start(command);
    let directory = || {
        let suffix = format!(".{display}");
        std::fs::read_dir("/tmp").unwrap().flatten().map(|entry| entry.path()).find(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("ns.") && name.ends_with(&suffix)
        })
    };
    wait_for("the directory is made", || directory().is_some());
    let directory = directory().unwrap();
    program.wait_socket(&directory.join("s"));
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    drop(program);
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = serve(&[&stub.address(), "s"]);
    command.env_remove("NAMESPACE").env("DISPLAY", &display);
    refuses(command, ANNOUNCE, "other users may enter it");
    std::fs::remove_dir_all(directory).unwrap();
}

/// Another user could replace a socket in that directory, the server's or 9pmux's.
#[test]
fn a_namespace_that_others_may_write_to_is_refused() {
    let (stub, place) = (Stub::new(), Place::new());
    let namespace = place.path("namespace");
    std::fs::create_dir(&namespace).unwrap();
    let service = |args: &[&str]| {
        let mut command = serve(args);
        command.env("NAMESPACE", &namespace);
        command
    };
    for mode in [0o777, 0o1777, 0o770] {
        std::fs::set_permissions(&namespace, PermissionsExt::from_mode(mode)).unwrap();
        refuses(service(&[&stub.address(), "s"]), ANNOUNCE, "other users may write to it");
        refuses(service(&["s", &unix(&place.path("t"))]), REACH, "other users may write to it");
    }
    std::fs::set_permissions(&namespace, PermissionsExt::from_mode(0o755)).unwrap();
    let program = Program::start(service(&[&stub.address(), "s"]));
    program.wait_socket(&namespace.join("s"));
}

#[test]
fn an_impossible_socket_is_refused() {
    let (stub, place) = (Stub::new(), Place::new());
    let server = stub.address();
    refuses(serve(&[&server, "unix!/nowhere/s"]), ANNOUNCE, "choose a directory");
    refuses(serve(&[&server, &unix(&place.path(&"x".repeat(200)))]), ANNOUNCE, "too long");
    std::fs::write(place.path("file"), "kept").unwrap();
    refuses(serve(&[&server, &unix(&place.path("file"))]), ANNOUNCE, "not a socket");
    assert_eq!(std::fs::read(place.path("file")).unwrap(), b"kept");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    refuses(serve(&[&server, &format!("tcp!127.0.0.1!{port}")]), ANNOUNCE, "another port");
    if !rustix::process::geteuid().is_root() {
        std::fs::set_permissions(place.directory(), PermissionsExt::from_mode(0o500)).unwrap();
        refuses(serve(&[&server, &unix(&place.path("s"))]), ANNOUNCE, "choose a directory");
        std::fs::set_permissions(place.directory(), PermissionsExt::from_mode(0o700)).unwrap();
    }
}

#[test]
fn the_error_of_one_of_several_addresses_is_one_line() {
    let place = Place::new();
    let socket = unix(&place.path("s"));
    refuses(serve(&["exec!\texit 3\n#", &socket]), GONE, "exec!\\texit 3\\n#: ");
    refuses(serve(&["unix!/no\nwhere", &socket]), REACH, "unix!/no\\nwhere: ");
}

#[test]
fn an_address_in_use_is_refused() {
    let (stub, place) = (Stub::new(), Place::new());
    let (server, socket) = (stub.address(), unix(&place.path("s")));
    refuses(serve(&[&server, &socket, "tcp!localhost!0", &socket]), ANNOUNCE, "given twice");
    refuses(serve(&[&server, &server]), ANNOUNCE, "the address of the server");
    // Two ports chosen by the system are different.
    let program =
        Program::start(serve(&["-v", &server, "tcp!localhost!0", "tcp!localhost!0", &socket]));
    program.wait_said(&socket);
}

#[test]
fn an_inherited_descriptor_that_is_no_connection_is_refused() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = unix(&place.path("s"));
    let file = || {
        let mut options = std::fs::File::options();
        options.read(true).write(true).create(true).truncate(false).open(place.path("f")).unwrap()
    };
    for (args, status) in [([&stub.address(), "fd!0"], ANNOUNCE), (["fd!0", &socket], REACH)] {
        let mut command = serve(&args);
        command.stdin(file());
        refuses(command, status, "pass a socket");
        let mut command = serve(&args);
        command.stdin(pipe().0);
        refuses(command, status, "pass a socket");
        let mut command = serve(&args);
        command.stdin(terminal());
        refuses(command, status, "terminal");
    }
    // Neither standard input nor standard output is a connection.
    refuses(serve(&[&stub.address(), "-"]), ANNOUNCE, "pass a socket");
}

/// Returns a terminal.
fn terminal() -> OwnedFd {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let name = ptsname(&user, Vec::new()).unwrap();
    let terminal = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    // The other end stays open until the test ends.
    std::mem::forget(user);
    terminal
}

#[test]
fn announced_sockets_are_removed_when_another_address_fails() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    refuses(serve(&[&stub.address(), &unix(&socket), "unix!/nowhere/s"]), ANNOUNCE, "nowhere");
    assert!(!socket.exists());
}

#[test]
fn a_socket_in_use_is_kept_and_a_stale_one_is_replaced() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let mut first = Program::serving(&stub.address(), &socket, &[]);
    refuses(serve(&[&stub.address(), &unix(&socket)]), ANNOUNCE, "in use");
    Client::attach(&socket).stat(0);
    first.kill();
    assert!(socket.exists());
    let _second = Program::serving(&stub.address(), &socket, &[]);
    Client::attach(&socket).stat(0);
    assert_eq!(std::fs::read_dir(place.directory()).unwrap().count(), 1);
}

#[test]
fn one_of_many_processes_replaces_a_stale_socket() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    for _ in 0..5 {
        drop(UnixListener::bind(&socket).unwrap());
        let args = [&stub.address()[..], &unix(&socket)];
        let mut all: Vec<_> = (0..8).map(|_| Program::start(serve(&args))).collect();
        wait_for("all but one have ended", || {
            all.iter_mut().map(Program::runs).filter(|runs| *runs).count() == 1
        });
        Client::attach(&socket).stat(0);
        for mut program in all {
            if program.runs() {
                program.signal(Signal::TERM);
                assert!(program.end().0.success());
            } else {
                assert_eq!(program.end().0.code(), Some(ANNOUNCE));
            }
        }
        assert_eq!(std::fs::read_dir(place.directory()).unwrap().count(), 0);
    }
}

#[test]
fn a_silent_server_is_an_error() {
    let (stub, place) = (Stub::silent(), Place::new());
    let args =
        ["--dialect", "9P2000", "--timeout", "0.2", &stub.address(), &unix(&place.path("s"))];
    refuses(serve(&args), SILENT, "--timeout");

    // Without --dialect, the Tversion of a client is sent to the server, and its silence refuses that offer.
    let socket = place.path("t");
    let mut program = Program::serving(&stub.address(), &socket, &["--timeout", "0.2"]);
    let mut client = Client::connect(&socket).unwrap();
    for _ in 0..2 {
        client.send(100, 0xffff, b"\0\x20\0\0\x06\09P2000");
        let got = client.receive().unwrap();
        assert_eq!((got.kind, &got.body[6..]), (101, &b"unknown"[..]));
    }
    assert!(program.runs());
}

#[test]
fn a_broken_server_connection_is_an_error() {
    use rustix::net::{AddressFamily, SocketType, socket};
    let place = Place::new();
    let mut command = serve(&["fd!0", &unix(&place.path("s"))]);
    // A connection that was never established gives an error, not an end.
    let never = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    command.stdin(Stdio::from(never));
    refuses(command, GONE, "connection lost: ");
}

#[test]
fn a_server_of_another_version_is_an_error() {
    let (stub, place) = (Stub::new(), Place::new());
    let args = ["--dialect", "9P2000.L", &stub.address(), &unix(&place.path("s"))];
    refuses(serve(&args), VERSION, "--dialect");
}

#[test]
fn an_invalid_message_from_the_server_is_an_error() {
    let place = Place::new();
    let socket = unix(&place.path("s"));
    for (bytes, words) in [
        (
            &b"HTTP/1.0 400 Bad Request\r\n\r\n"[..],
            "the server has sent HTTP: 'HTTP/1.0 400 Bad Request'",
        ),
        (b"Welcome to files.\n$ ", "the server has sent text: 'Welcome to files.'"),
        (b"\x15\x03\x03\0\x02\x02\x46", "the server has sent a record of TLS"),
        (&[0; 20], "has sent"),
        (b"\x03\0\0\0\x65\xff\xff", "has sent"),
    ] {
        let stub = Stub::saying(bytes);
        refuses(serve(&["--dialect", "9P2000", &stub.address(), &socket]), GARBLED, words);
    }
}

#[test]
fn too_few_descriptors_to_start_are_an_error() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    for limit in 4.. {
        // a process was killed here
        let _ = std::fs::remove_file(&socket);
        drop(UnixListener::bind(&socket).unwrap());
        let mut program = Program::start(serve_within(limit, &[&stub.address(), &unix(&socket)]));
        wait_for("its end or its socket", || {
            !program.runs() || UnixStream::connect(&socket).is_ok()
        });
        if program.runs() {
            assert!(limit > 6);
            return;
        }
        let (status, said) = program.end();
        assert!(status.code().is_some_and(|code| code != 0), "{limit}: {status}");
        assert_eq!(said.len(), 1, "{limit}: {said:?}");
        assert!(!said[0].contains("in use"), "{limit}: {said:?}");
    }
}
