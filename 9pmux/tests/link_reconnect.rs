//! `9pmux link --reconnect`: the stream is cut, an end or a server goes, and clients keep their fids.

#![cfg(feature = "program")]

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use support::client::{Client, read, write};
use support::program::{NINEPMUX, Program, Signal};
use support::store::{Fate, Store};
use support::{Place, body, string, unix, wait_for};

const TVERSION: u8 = 100;
const TWALK: u8 = 110;
const TOPEN: u8 = 112;
const TREAD: u8 = 116;
const TWRITE: u8 = 118;
const TSTAT: u8 = 124;

/// `9pmux link --reconnect=inf` with these arguments.
fn link(args: &[&str]) -> Program {
    let mut command = Command::new(NINEPMUX);
    command.args(["link", "--reconnect=inf"]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Program::start(command)
}

fn open(client: &mut Client, fid: u32, name: &str, mode: u8) {
    let walk = body(&[&[0; 4], &fid.to_le_bytes(), &[1, 0], &string(name)]);
    assert_eq!(client.rpc(TWALK, &walk).kind, TWALK + 1);
    assert_eq!(client.rpc(TOPEN, &body(&[&fid.to_le_bytes(), &[mode]])).kind, TOPEN + 1);
}

/// A stream between two sockets, which can be cut.
struct Relay {
    connections: Arc<Mutex<Vec<UnixStream>>>,
}

impl Relay {
    fn new(from: &PathBuf, to: PathBuf) -> Relay {
        let listener = UnixListener::bind(from).unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let kept = connections.clone();
        thread::spawn(move || {
            for caller in listener.incoming() {
                let (caller, called) = (caller.unwrap(), UnixStream::connect(&to).unwrap());
                let mut kept = kept.lock().unwrap();
                for (input, output) in [(&caller, &called), (&called, &caller)] {
                    let (input, output) = (input.try_clone().unwrap(), output.try_clone().unwrap());
                    thread::spawn(move || copy(input, output));
                }
                kept.extend([caller, called]);
            }
        });
        Relay { connections }
    }

    fn cut(&self) {
        for stream in self.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Copies bytes until an end has gone, and then closes the other one.
fn copy(mut input: UnixStream, mut output: UnixStream) {
    let mut bytes = [0; 65536];
    while let Ok(n) = input.read(&mut bytes) {
        if n == 0 || output.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = output.shutdown(Shutdown::Both);
}

/// Two ends with a relay between them. The far one listens. Each has a server and a socket for clients.
struct Linked {
    stores: [Store; 2],
    place: Place,
    relay: Relay,
    programs: [Program; 2],
}

impl Linked {
    fn new() -> Linked {
        let stores = [Store::new("9P2000"), Store::new("9P2000")];
        stores[0].put("file", b"contents of the near file");
        stores[1].put("file", b"contents of the far file");
        let place = Place::new();
        let address = |name: &str| unix(&place.path(name));
        let listen = format!("listen!{}", address("stream"));
        let far = link(&[&listen, "--export", &stores[1].address(), "--post", &address("far")]);
        far.wait_socket(&place.path("far"));
        let relay = Relay::new(&place.path("relay"), place.path("stream"));
        let (stream, post) = (address("relay"), address("near"));
        let near = link(&[&stream, "--export", &stores[0].address(), "--post", &post]);
        near.wait_socket(&place.path("near"));
        Linked { stores, place, relay, programs: [near, far] }
    }

    fn attach(&self, end: &str) -> Client {
        Client::attach(&self.place.path(end))
    }
}

#[test]
fn both_directions_survive_a_cut_of_the_stream() {
    let linked = Linked::new();
    let (mut near, mut far) = (linked.attach("near"), linked.attach("far"));
    for client in [&mut near, &mut far] {
        open(client, 1, "file", 2);
    }
    for round in 1..4 {
        for store in &linked.stores {
            store.set_fate(TREAD, Fate::Lost);
        }
        for client in [&mut near, &mut far] {
            client.send(TREAD, 5, &read(1, 12, 100));
        }
        for store in &linked.stores {
            store.wait_requests(TREAD, 2 * round - 1);
        }
        linked.relay.cut();
        for (client, end) in [(&mut near, "the far file"), (&mut far, "the near file")] {
            let got = client.receive().unwrap();
            assert_eq!((got.kind, got.tag), (TREAD + 1, 5), "{got:?}");
            assert_eq!(&got.body[4..], end.as_bytes());
            client.stat(0);
        }
    }
    for store in &linked.stores {
        assert_eq!(store.connections(), 1, "the servers have not gone");
    }
    for program in &linked.programs {
        program.wait_said("the other end has closed the connection: trying again");
        program.wait_said("back after");
    }
}

#[test]
fn clients_may_connect_to_both_ends_while_there_is_no_stream() {
    let store = Store::new("9P2000");
    store.put("file", b"contents");
    let place = Place::new();
    let address = |name: &str| unix(&place.path(name));
    let near = link(&[&address("stream"), "--post", &address("near")]);
    near.wait_said("cannot reach the other end");
    let mut client = Client::connect(&place.path("near")).unwrap();
    client.send(TVERSION, 0xffff, &body(&[&65536u32.to_le_bytes(), &string("9P2000")]));
    let listen = format!("listen!{}", address("stream"));
    let far = link(&[&listen, "--export", &store.address(), "--post", &address("far")]);
    assert_eq!(client.receive().unwrap().kind, TVERSION + 1);
    client.begin();
    open(&mut client, 1, "file", 0);
    assert_eq!(client.read(1, 0, 100), b"contents");
    near.wait_said("connected after");
    drop(far);
}

#[test]
fn exported_server_may_restart_and_the_other_direction_does_not_notice() {
    let linked = Linked::new();
    let (mut near, mut far) = (linked.attach("near"), linked.attach("far"));
    for client in [&mut near, &mut far] {
        open(client, 1, "file", 2);
    }
    linked.stores[1].set_fate(TWRITE, Fate::Unanswered);
    near.send(TWRITE, 5, &write(1, 0, b"CONTENTS"));
    linked.stores[1].wait_requests(TWRITE, 1);
    linked.stores[1].stop();
    linked.programs[1].wait_said("the server has closed the connection: trying again");
    assert_eq!(far.read(1, 0, 100), b"contents of the near file");
    linked.stores[1].start();
    let got = near.receive().unwrap();
    assert_eq!((got.kind, got.tag), (TWRITE + 1, 5), "{got:?}");
    assert_eq!(near.read(1, 0, 100), b"CONTENTS of the far file");
    assert_eq!(linked.stores[1].requests(TWRITE).len(), 2);
    assert_eq!(linked.stores[0].connections(), 1);
}

#[test]
fn callers_without_a_post_keep_their_fids_when_the_server_restarts() {
    let (store, place) = (Store::new("9P2000"), Place::new());
    store.put("file", b"contents");
    let listen = format!("listen!{}", unix(&place.path("s")));
    let program = link(&[&listen, "--export", &store.address()]);
    program.wait_socket(&place.path("s"));
    let mut clients = [0, 1].map(|_| Client::attach(&place.path("s")));
    for client in &mut clients {
        open(client, 1, "file", 0);
    }
    store.stop();
    store.start();
    for client in &mut clients {
        assert_eq!(client.read(1, 0, 100), b"contents");
    }
    program.wait_said("back after");
}

#[test]
fn end_at_standard_input_restores_sessions_with_its_server_and_ends_with_its_stream() {
    let (store, place) = (Store::new("9P2000"), Place::new());
    store.put("file", b"contents");
    let (log, socket) = (place.path("log"), place.path("near"));
    let second = format!(
        "exec!{NINEPMUX} link --reconnect=inf - --export {} 2>{}",
        store.address(),
        log.display()
    );
    let mut first = Command::new(NINEPMUX);
    first.args(["link", &second, "--post", &unix(&socket)]).stdin(Stdio::null());
    let program = Program::start(first);
    program.wait_socket(&socket);
    let mut client = Client::attach(&socket);
    open(&mut client, 1, "file", 0);
    store.stop();
    store.start();
    assert_eq!(client.read(1, 0, 100), b"contents");
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
    // The first end waits for the second one, which has closed its connection.
    store.wait_open(0);
}

#[test]
fn other_end_that_was_started_here_is_started_again() {
    let (store, place) = (Store::new("9P2000"), Place::new());
    store.put("file", b"contents");
    let pid = place.path("pid");
    let stream = format!(
        "exec!echo $$ >{}; exec {NINEPMUX} link - --export {}",
        pid.display(),
        store.address()
    );
    let near = link(&[&stream, "--post", &unix(&place.path("near"))]);
    near.wait_socket(&place.path("near"));
    let mut client = Client::attach(&place.path("near"));
    open(&mut client, 1, "file", 0);
    for _ in 0..2 {
        let number = std::fs::read_to_string(&pid).unwrap();
        let number = rustix::process::Pid::from_raw(number.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(number, Signal::KILL).unwrap();
        assert_eq!(client.read(1, 0, 100), b"contents");
    }
    assert_eq!(store.connections(), 3);
}

#[test]
fn other_end_with_a_smaller_msize_disconnects_clients_and_the_link_stays() {
    let (store, place) = (Store::new("9P2000"), Place::new());
    let address = |name: &str| unix(&place.path(name));
    let listen = format!("listen!{}", address("stream"));
    let far = link(&[&listen, "--export", &store.address(), "--post", &address("far")]);
    far.wait_socket(&place.path("far"));
    let near = link(&[&address("stream"), "--post", &address("near")]);
    near.wait_socket(&place.path("near"));
    let mut client = Client::attach(&place.path("near"));
    let options = ["--export", &store.address(), "--post", &address("far"), "--msize", "8192"];
    far.signal(Signal::TERM);
    assert!(far.end().0.success());
    let far = link(&[&[&*listen][..], &options].concat());
    assert!(client.receive().is_none());
    let mut client = Client::connect(&place.path("near")).unwrap();
    let got = client.rpc(TVERSION, &body(&[&65536u32.to_le_bytes(), &string("9P2000")]));
    assert_eq!(got.u32_at(0), 8192);
    client.begin();
    client.stat(0);
    drop((near, far));
}

/// Starts an end with these further arguments, and another one that it serves. Returns both, and a client of the latter.
fn exporting(place: &Place, args: &[&str], listens: bool) -> (Program, Program, Client) {
    let address = |name: &str| unix(&place.path(name));
    let (stream, called) = (address("stream"), format!("listen!{}", address("stream")));
    let (stream, called) = if listens { (called, stream) } else { (stream, called) };
    let export = link(&[&[&*stream][..], args].concat());
    let other = link(&[&called, "--post", &address("other")]);
    other.wait_socket(&place.path("other"));
    let client = Client::attach(&place.path("other"));
    (export, other, client)
}

#[test]
fn exported_server_without_the_version_of_its_sessions_ends_its_end_with_status_7() {
    for listens in [false, true] {
        for (msize, dialect, words) in
            [(8192, "9P2000", "msize of 8192"), (65536, "9P2000.L", "9P2000.L")]
        {
            let (store, place) = (Store::new("9P2000"), Place::new());
            store.put("file", b"contents");
            let (server, post) = (store.address(), unix(&place.path("post")));
            let args = ["--export", &server, "--post", &post];
            let (export, other, mut client) = exporting(&place, &args, listens);
            open(&mut client, 1, "file", 0);
            let mut local = Client::connect(&place.path("post")).unwrap();
            store.stop();
            store.set_msize(msize);
            store.set_dialect(dialect);
            store.start();
            assert!(local.receive().is_none());
            let (status, said) = export.end();
            assert_eq!(status.code(), Some(7), "{said:?}");
            let wanted = format!("{server}: no version in common with the server");
            let is_there = |line: &String| line.contains(&wanted) && line.contains(words);
            assert!(said.iter().any(is_there), "{said:?}");
            assert!(!said.iter().any(|line| line.contains("not 9P")), "{said:?}");
            other.wait_said("the other end has closed the connection: trying again");
        }
    }
}

#[test]
fn signal_ends_a_link_with_status_0_while_there_is_no_stream() {
    let linked = Linked::new();
    let mut clients = [linked.attach("near"), linked.attach("far")];
    let Linked { programs: [near, far], relay, place, .. } = linked;
    // The far end waits for a caller then, and the near one for somewhere to call.
    std::fs::remove_file(place.path("relay")).unwrap();
    relay.cut();
    for (program, client) in [near, far].into_iter().zip(&mut clients) {
        program.wait_said("trying again");
        client.send(TSTAT, 5, &[0; 4]);
        // The Rflush shows that the request before it was received.
        client.send(108, 6, &99u16.to_le_bytes());
        assert_eq!(client.receive().unwrap().kind, 109);
        program.signal(Signal::TERM);
        let got = client.receive().unwrap();
        assert_eq!((got.kind, &got.body), (107, &string("9pmux is shutting down")), "{got:?}");
        assert!(client.receive().is_none());
        let (status, said) = program.end();
        assert!(status.success(), "{status}: {said:?}");
    }
    wait_for("the sockets are removed", || {
        !place.path("near").exists() && !place.path("far").exists()
    });
}
