//! The control tree of 9pmux as a process: who may read it, with and without a server, over a link, and its commands.

#![cfg(feature = "program")]

mod support;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use support::client::{Client, NOFID, write};
use support::program::{NINEPMUX, Program, serve};
use support::store::Store;
use support::stub::Stub;
use support::{Got, Place, body, message, read_message, string, unix, wait_for};

const L: &str = "9P2000.L";
const EACCES: u32 = 13;

/// The body of a Tattach to this tree.
fn attach(fid: u32, tree: &str) -> Vec<u8> {
    body(&[&fid.to_le_bytes(), &NOFID, &string("ann"), &string(tree)])
}

/// Connects without asking the server anything, and attaches fid 0 to the tree.
fn control(path: &Path) -> Client {
    let mut client = Client::connect(path).unwrap();
    client.version_in("9P2000.mux");
    let got = client.rpc(104, &attach(0, "/mux"));
    assert_eq!((got.kind, got.body[0]), (105, 0x80), "{got:?}");
    client
}

/// Returns the text of a file of the tree.
fn text(client: &mut Client, name: &str) -> String {
    client.open(9, name);
    let text = String::from_utf8(client.read_all(9)).unwrap();
    client.clunk(9);
    text
}

/// Returns the columns of a file's lines after the first.
fn table(client: &mut Client, name: &str) -> Vec<Vec<String>> {
    let columns = |line: &str| line.split(' ').map(str::to_owned).collect();
    text(client, name).lines().skip(1).map(columns).collect()
}

fn value(client: &mut Client, name: &str) -> u64 {
    let text = text(client, "stats");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
}

fn is_refused(got: &Got, errno: u32) {
    match got.kind {
        7 => assert_eq!(got.u32_at(0), errno),
        _ => assert!(got.kind == 107 && got.body.ends_with(b"not allowed here"), "{got:?}"),
    }
}

#[test]
fn own_processes_read_the_tree_and_the_server_sees_nothing_of_it() {
    let (store, place) = (Store::stopped(L), Place::new());
    store.start();
    let socket = place.path("s");
    let program = Program::start(serve(&["-v", &store.address(), &unix(&socket)]));
    program.wait_said("listening");
    let mut client = control(&socket);
    let own = std::process::id();
    assert!(text(&mut client, "version").starts_with("9pmux "));
    let clients = table(&mut client, "clients");
    assert_eq!(clients.len(), 1);
    assert_eq!(clients[0][..2], ["0".to_owned(), unix(&socket)]);
    if cfg!(target_os = "linux") {
        let uid = rustix::process::geteuid().as_raw().to_string();
        assert_eq!(clients[0][2..5], [uid, own.to_string(), "ann".to_owned()]);
    }
    let upstream = table(&mut client, "upstream");
    assert_eq!(upstream[0][..2], [store.address(), "new".to_owned()]);
    assert!(store.requests(100).is_empty(), "the server was asked");
    // The next client still determines the dialect.
    let other = Client::attach_in(&socket, L);
    assert_eq!(table(&mut client, "upstream")[0][3], L);
    assert_eq!(table(&mut client, "clients").len(), 2);
    drop(other);
    wait_for("the client has left", || table(&mut client, "clients").len() == 1);
    assert_eq!(value(&mut client, "clients_total"), 2);
}

/// Returns the reply to a Tattach of a new client to the tree.
fn attach_over(stream: &mut (impl std::io::Read + std::io::Write)) -> Got {
    let version = body(&[&8192u32.to_le_bytes(), &string("9P2000.mux")]);
    stream.write_all(&message(100, 0xffff, &version)).unwrap();
    assert_eq!(read_message(stream).unwrap().unwrap().body[4..], string("9P2000.mux"));
    stream.write_all(&message(104, 1, &attach(0, "/mux"))).unwrap();
    read_message(stream).unwrap().expect("a reply")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn network_clients_need_the_option() {
    for (options, may) in [(&[][..], false), (&["--control-tcp"][..], true)] {
        let (stub, place) = (Stub::new(), Place::new());
        let port = free_port();
        let (local, net) = (unix(&place.path("s")), format!("tcp!127.0.0.1!{port}"));
        let program = Program::start(serve(&[options, &[&stub.address(), &local, &net]].concat()));
        program.wait_socket(&place.path("s"));
        let mut stream = None;
        wait_for("the port accepts clients", || {
            stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok();
            stream.is_some()
        });
        let got = attach_over(stream.as_mut().unwrap());
        match may {
            true => assert_eq!(got.kind, 105),
            false => is_refused(&got, EACCES),
        }
        control(&place.path("s"));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn other_users_are_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (stub, place) = (Stub::new(), Place::new());
    // 9pmux runs as another user than root, who may read its tree, and a third user may not.
    let socket = place.path("s");
    let program = Program::start(serve(&[&stub.address(), &unix(&socket)]));
    program.wait_socket(&socket);
    let open = |path: &Path, mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(&socket, 0o777);
    open(place.directory(), 0o755);
    is_refused(&attach_over(&mut connect_as_nobody(&socket)), EACCES);
    control(&socket);
}

#[cfg(target_os = "linux")]
const NOBODY: u32 = 65_534;

/// Connects as the user nobody. The credentials are those of the moment of the connection.
#[cfg(target_os = "linux")]
fn connect_as_nobody(socket: &Path) -> UnixStream {
    let socket = socket.to_owned();
    let connect = move || {
        let nobody = rustix::process::Uid::from_raw(NOBODY);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        UnixStream::connect(socket).unwrap()
    };
    std::thread::spawn(connect).join().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn user_that_stands_for_unknown_ones_is_refused_by_its_own_9pmux() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (stub, place) = (Stub::new(), Place::new());
    // The program may be where that user cannot start it.
    let (socket, copy) = (place.path("s"), place.path("9pmux"));
    std::fs::copy(NINEPMUX, &copy).unwrap();
    let server = UnixStream::connect(stub.path()).unwrap();
    std::fs::set_permissions(place.directory(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut program = None;
    // A program that another test starts at this moment may still have the copy open for writing.
    wait_for("the copy can be started", || {
        let server = Stdio::from(OwnedFd::from(server.try_clone().unwrap()));
        let mut command = Command::new(&copy);
        command.args(["serve", "fd!0", &unix(&socket)]).stdin(server).uid(NOBODY);
        let is_busy = Command::new(&copy).arg("-V").output().is_err();
        program = (!is_busy).then(|| Program::start(command));
        program.is_some()
    });
    let program = program.unwrap();
    program.wait_socket(&socket);
    is_refused(&attach_over(&mut connect_as_nobody(&socket)), EACCES);
    control(&socket);
}

#[test]
fn name_of_the_tree_can_be_changed_or_left_to_the_server() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let _program = Program::serving(&stub.address(), &socket, &["--control", "/state"]);
    let mut client = Client::connect(&socket).unwrap();
    client.version_in("9P2000.mux");
    is_refused(&client.rpc(104, &attach(0, "/mux")), EACCES);
    assert_eq!(client.rpc(104, &attach(0, "/state")).kind, 105);
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let _program = Program::serving(&stub.address(), &socket, &["--control", "none"]);
    let mut client = Client::connect(&socket).unwrap();
    client.version();
    assert_eq!(client.rpc(104, &attach(0, "/mux")).kind, 105, "the server has any tree");
    client.open(1, "hello");
}

#[test]
fn commands_drop_clients_and_change_the_log() {
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::start(serve(&[&stub.address(), &unix(&socket)]));
    program.wait_socket(&socket);
    let mut client = control(&socket);
    let mut other = Client::attach(&socket);
    let mut clients = table(&mut client, "clients").into_iter();
    let number = clients.find(|client| client[4] == "glenda").unwrap()[0].clone();
    client.send(110, 1, &body(&[&[0; 4], &3u32.to_le_bytes(), &[1, 0], &string("ctl")]));
    assert_eq!(client.receive().unwrap().kind, 111);
    assert_eq!(client.rpc(112, &body(&[&3u32.to_le_bytes(), &[1]])).kind, 113);
    assert_eq!(client.rpc(118, &write(3, 0, b"verbose 1\n")).kind, 119);
    let drop = format!("drop {number}\n");
    assert_eq!(client.rpc(118, &write(3, 0, drop.as_bytes())).kind, 119);
    assert!(other.receive().is_none(), "the client is disconnected");
    program.wait_said(&format!("client {number} disconnected (closed by 9pmux)"));
    let got = client.rpc(118, &write(3, 0, drop.as_bytes()));
    assert!(got.kind == 107 && got.body.ends_with(b"no such client"));
    assert_eq!(client.rpc(118, &write(3, 0, b"verbose 0\n")).kind, 119);
}

#[test]
fn tree_is_served_while_the_server_is_away() {
    let (store, place) = (Store::new(L), Place::new());
    let socket = place.path("s");
    let program = Program::start(serve(&["--reconnect=inf", &store.address(), &unix(&socket)]));
    program.wait_socket(&socket);
    let mut client = control(&socket);
    let _other = Client::attach_in(&socket, L);
    store.stop();
    wait_for("the loss is shown", || {
        let upstream = table(&mut client, "upstream");
        upstream[0][1] == "away" && upstream[0][5] != "0" && upstream[0][9].contains("cannot")
    });
    let fids = table(&mut client, "fids");
    assert_eq!(fids[0][3..], ["away".to_owned(), "/".to_owned()]);
    store.start();
    wait_for("the return is shown", || table(&mut client, "upstream")[0][1] == "ready");
    assert_eq!(value(&mut client, "reconnects_total"), 1);
    assert_eq!(value(&mut client, "replayed_fids_total"), 1);
    // A command closes the connection, and 9pmux connects again.
    assert_eq!(
        client.rpc(110, &body(&[&[0; 4], &3u32.to_le_bytes(), &[1, 0], &string("ctl")])).kind,
        111
    );
    assert_eq!(client.rpc(112, &body(&[&3u32.to_le_bytes(), &[1]])).kind, 113);
    assert_eq!(client.rpc(118, &write(3, 0, b"reconnect")).kind, 119);
    wait_for("another connection", || value(&mut client, "reconnects_total") == 2);
    program.wait_said("closed by the command reconnect: trying again");
    let upstream = table(&mut client, "upstream");
    assert_eq!(upstream[0][9], "closed\\x20by\\x20the\\x20command\\x20reconnect");
}

#[test]
fn both_ends_of_a_link_have_a_tree() {
    for (options, may) in [(&[][..], false), (&["--control-link"][..], true)] {
        let (stub, place) = (Stub::new(), Place::new());
        let (near, far) = UnixStream::pair().unwrap();
        let link = |end: UnixStream, args: &[&str]| {
            let mut command = Command::new(NINEPMUX);
            command.args(["link", "fd!0"]).args(args).stdin(Stdio::from(OwnedFd::from(end)));
            Program::start(command)
        };
        let socket = place.path("s");
        let _far = link(far, &[options, &["--export", &stub.address()]].concat());
        let near = link(near, &["--post", &unix(&socket), "--control", "/near"]);
        near.wait_socket(&socket);
        let mut client = Client::connect(&socket).unwrap();
        client.version();
        assert_eq!(client.rpc(104, &attach(0, "/near")).kind, 105);
        let upstream = table(&mut client, "upstream");
        assert_eq!(
            (upstream.len(), &upstream[0][1][..], &upstream[1][1][..]),
            (2, "ready", "absent")
        );
        // The other end's tree is reached by the name that this end leaves to it.
        let got = client.rpc(104, &attach(1, "/mux"));
        match may {
            true => assert_eq!(got.kind, 105),
            false => is_refused(&got, EACCES),
        }
    }
}
