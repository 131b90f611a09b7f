//! What clients may do: `--readonly`, and the options of listeners.

#![cfg(feature = "program")]

mod support;

use std::os::unix::fs::MetadataExt;
#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt;
#[cfg(target_os = "linux")]
use std::process::Command;
use std::process::Stdio;

#[cfg(target_os = "linux")]
use support::client::NOFID;
use support::client::{Client, write};
use support::program::{Program, serve};
use support::store::Store;
use support::stub::Stub;
use support::{Got, Place, body, string, unix};

/// The error "read only" of 9P2000.L.
fn is_read_only(got: &Got) -> bool {
    got.kind == 7 && got.body == 30u32.to_le_bytes()
}

/// Walks from the root to a file.
fn walk(client: &mut Client, fid: u32, name: &str) {
    let walk = body(&[&[0; 4], &fid.to_le_bytes(), &[1, 0], &string(name)]);
    assert_eq!(client.rpc(110, &walk).kind, 111, "{name}");
}

#[test]
fn read_only_clients_read_and_change_nothing() {
    let store = Store::new("9P2000.L");
    store.put("file", b"data");
    let place = Place::new();
    let socket = place.path("s");
    let _program = Program::serving(&store.address(), &socket, &["--readonly"]);
    let mut client = Client::attach_in(&socket, "9P2000.L");
    walk(&mut client, 1, "file");
    let fid = 1u32.to_le_bytes();
    for flags in [1u32, 2, 0o101, 0o1000] {
        assert!(is_read_only(&client.rpc(12, &body(&[&fid, &flags.to_le_bytes()]))), "{flags:o}");
    }
    assert_eq!(client.rpc(12, &body(&[&fid, &[0; 4]])).kind, 13);
    assert_eq!(client.read(1, 0, 100), b"data");
    assert!(is_read_only(&client.rpc(118, &write(1, 0, b"other"))));
    let create = body(&[&[0; 4], &string("new"), &[0; 12]]);
    assert!(is_read_only(&client.rpc(14, &create)));
    let unlink = body(&[&[0; 4], &string("file"), &[0; 4]]);
    assert!(is_read_only(&client.rpc(76, &unlink)));
    // Removing releases the fid, here and at the server.
    assert!(is_read_only(&client.rpc(122, &fid)));
    store.wait_requests(120, 1);
    walk(&mut client, 1, "file");
    assert_eq!(store.get("file").as_deref(), Some(&b"data"[..]));
    assert!(store.get("new").is_none());
    for kind in [14, 76, 118, 122] {
        assert!(store.requests(kind).is_empty(), "a message of type {kind} has reached the server");
    }
}

#[test]
fn options_of_a_listener_hold_for_its_clients_only() {
    let store = Store::new("9P2000.L");
    store.put("file", b"data");
    let place = Place::new();
    let (open, closed) = (place.path("open"), place.path("closed"));
    let address = format!("{},mode=0620,readonly", unix(&closed));
    let program = Program::start(serve(&[&store.address(), &unix(&open), &address]));
    program.wait_socket(&closed);
    let modes = [&open, &closed].map(|path| path.metadata().unwrap().mode() & 0o7777);
    assert_eq!(modes, [0o600, 0o620]);
    let mut client = Client::attach_in(&closed, "9P2000.L");
    for _ in 0..2 {
        walk(&mut client, 1, "file");
        let open_to_write = body(&[&1u32.to_le_bytes(), &2u32.to_le_bytes()]);
        assert!(is_read_only(&client.rpc(12, &open_to_write)));
        // The rules hold in the next session.
        client.version_in("9P2000.L");
        client.begin_in("9P2000.L");
    }
    let mut client = Client::attach_in(&open, "9P2000.L");
    walk(&mut client, 1, "file");
    assert_eq!(client.rpc(12, &body(&[&1u32.to_le_bytes(), &2u32.to_le_bytes()])).kind, 13);
    drop(program);
}

#[test]
fn wrong_groups_and_words_are_reported() {
    let stub = Stub::new();
    let place = Place::new();
    let socket = place.path("s");
    let address = format!("{},group=no-such-group", unix(&socket));
    let (status, said) = Program::start(serve(&[&stub.address(), &address])).end();
    assert_eq!(status.code(), Some(4), "{said:?}");
    assert!(said[0].contains("there is no group 'no-such-group'"), "{said:?}");
    assert!(!socket.exists());
    let address = format!("{},read-only", unix(&socket));
    let program = Program::start(serve(&[&stub.address(), &address]));
    program.wait_said("'read-only' is taken as a part of the name");
    program.wait_socket(&place.path("s,read-only"));
    for (address, words) in [("tcp!*!0,user=self", "user=self"), ("/s,mode=9", "octal")] {
        let (status, said) = Program::start(serve(&[&stub.address(), address])).end();
        assert_eq!(status.code(), Some(2), "{said:?}");
        assert!(said.iter().any(|line| line.contains(words)), "{said:?}");
    }
    // A socket that was handed in may be of any kind, which only the start shows.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = serve(&[&stub.address(), "fd!0,user=self"]);
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    let (status, said) = Program::start(command).end();
    assert_eq!(status.code(), Some(4), "{said:?}");
    assert!(said[0].contains("user=self needs a Unix socket"), "{said:?}");
}

/// Attaches with this name and number. Returns true if that is allowed.
#[cfg(target_os = "linux")]
fn attaches(client: &mut Client, uname: &str, number: u32) -> bool {
    let attach = [&[0; 4], &NOFID, &string(uname)[..], &string(""), &number.to_le_bytes()];
    let got = client.rpc(104, &body(&attach));
    assert!(got.kind == 105 || (got.kind == 7 && got.body == 13u32.to_le_bytes()), "{got:?}");
    if got.kind == 105 {
        client.clunk(0);
    }
    got.kind == 105
}

/// Runs this test program's function `as_another_user` as the user 65533, with `socket`. Returns what it prints.
#[cfg(target_os = "linux")]
fn run_as_another_user(socket: &std::path::Path) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "as_another_user", "--nocapture", "--ignored"]).env("SOCKET", socket);
    let output = command.uid(ANOTHER_USER).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A user that has no name.
#[cfg(target_os = "linux")]
const ANOTHER_USER: u32 = 65_533;

#[test]
#[ignore = "a part of callers_attach_as_themselves_only, run as another user"]
#[cfg(target_os = "linux")]
fn as_another_user() {
    let Some(socket) = std::env::var_os("SOCKET") else {
        return;
    };
    let mut client = Client::connect(socket.as_ref()).unwrap();
    client.version_in("9P2000.L");
    let cases = [("", ANOTHER_USER), ("", 0), ("root", !0), ("root", ANOTHER_USER), ("", !0)];
    let allowed = cases.map(|(uname, number)| attaches(&mut client, uname, number));
    println!("allowed: {allowed:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn callers_attach_as_themselves_only() {
    let store = Store::new("9P2000.L");
    let place = Place::new();
    let socket = place.path("s");
    let address = format!("{},mode=0666,user=self", unix(&socket));
    let program = Program::start(serve(&[&store.address(), &address]));
    program.wait_socket(&socket);
    let mut client = Client::connect(&socket).unwrap();
    client.version_in("9P2000.L");
    let uid = rustix::process::geteuid().as_raw();
    if uid == 0 {
        // The superuser may attach as any user.
        assert!(attaches(&mut client, "glenda", !0) && attaches(&mut client, "", 1000));
        use std::os::unix::fs::PermissionsExt;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(place.directory(), open).unwrap();
        let said = run_as_another_user(&socket);
        assert!(said.contains("allowed: [true, false, false, false, false]"), "{said}");
    } else {
        eprintln!("left out: a second user, which only the superuser can be");
        assert!(attaches(&mut client, "", uid) && !attaches(&mut client, "", 0));
        assert!(!attaches(&mut client, "root", !0) && !attaches(&mut client, "root", uid));
    }
}
