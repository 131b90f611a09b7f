//! `9pmux serve --reconnect`: the server goes and comes back, and its files stay.

#![cfg(feature = "program")]

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::client::{Client, attach, read, write};
use support::program::{Program, Signal, serve, serve_within};
use support::store::{Fate, QTAPPEND, Store};
use support::stub::Stub;
use support::{Got, Place, body, string, unix, wait_for};

const L: &str = "9P2000.L";
const PLAIN: &str = "9P2000";

const TVERSION: u8 = 100;
const TATTACH: u8 = 104;
const TFLUSH: u8 = 108;
const TWALK: u8 = 110;
const TOPEN: u8 = 112;
const TREAD: u8 = 116;
const TWRITE: u8 = 118;
const TCLUNK: u8 = 120;
const TREMOVE: u8 = 122;
const TSTAT: u8 = 124;
const TLOPEN: u8 = 12;
const TGETATTR: u8 = 24;
const TLOCK: u8 = 52;

const EIO: u32 = 5;
const ENOENT: u32 = 2;
const ETIMEDOUT: u32 = 110;
const ESTALE: u32 = 116;

/// 9pmux in front of a store.
struct World {
    store: Store,
    place: Place,
    program: Program,
}

impl World {
    /// Starts 9pmux with these options, in addition to `--reconnect=inf` if that is not among them.
    fn new(dialect: &str, options: &[&str]) -> World {
        let store = Store::new(dialect);
        store.put("file", b"the old contents");
        World::of(store, options)
    }

    fn of(store: Store, options: &[&str]) -> World {
        let place = Place::new();
        let has_patience = options.iter().any(|option| option.starts_with("--reconnect"));
        let patience: &[&str] = if has_patience { &[] } else { &["--reconnect=inf"] };
        let options = [options, patience].concat();
        let program = Program::serving(&store.address(), &place.path("s"), &options);
        World { store, place, program }
    }

    fn socket(&self) -> PathBuf {
        self.place.path("s")
    }

    fn attach(&self) -> Client {
        Client::attach_in(&self.socket(), PLAIN)
    }

    fn attach_l(&self) -> Client {
        Client::attach_in(&self.socket(), L)
    }

    /// The server goes, and 9pmux has noticed it.
    fn lose_server(&self) {
        let losses = self.losses();
        self.store.stop();
        wait_for("the loss is noticed", || self.losses() > losses);
    }

    fn losses(&self) -> usize {
        self.program.said().iter().filter(|line| line.contains("trying again")).count()
    }

    fn restart_server(&self) {
        self.store.stop();
        self.store.start();
    }
}

/// Opens a file for reading and writing, in 9P2000.L.
fn open_l(client: &mut Client, fid: u32, name: &str, flags: u32) {
    walk(client, fid, name);
    let got = client.rpc(TLOPEN, &body(&[&fid.to_le_bytes(), &flags.to_le_bytes()]));
    assert_eq!(got.kind, TLOPEN + 1, "{got:?}");
}

fn walk(client: &mut Client, fid: u32, name: &str) {
    let walk = body(&[&[0; 4], &fid.to_le_bytes(), &[1, 0], &string(name)]);
    assert_eq!(client.rpc(TWALK, &walk).kind, TWALK + 1);
}

/// Opens a file with this mode, in 9P2000.
fn open(client: &mut Client, fid: u32, name: &str, mode: u8) {
    walk(client, fid, name);
    assert_eq!(client.rpc(TOPEN, &body(&[&fid.to_le_bytes(), &[mode]])).kind, TOPEN + 1);
}

/// Checks that a reply is an Rlerror with this number.
#[track_caller]
fn is_errno(got: &Got, number: u32) {
    assert_eq!((got.kind, got.u32_at(0)), (7, number), "{got:?}");
}

#[track_caller]
fn is_error(got: &Got, text: &str) {
    assert_eq!((got.kind, &got.body), (107, &string(text)), "{got:?}");
}

/// Checks that the client receives a reply of this type and tag. Returns it.
#[track_caller]
fn receives(client: &mut Client, kind: u8, tag: u16) -> Got {
    let got = client.receive().expect("a reply");
    assert_eq!((got.kind, got.tag), (kind, tag), "{got:?}");
    got
}

#[test]
fn read_in_flight_is_answered_and_no_client_is_closed() {
    let world = World::new(PLAIN, &[]);
    let (mut reads, mut idle) = (world.attach(), world.attach());
    open(&mut reads, 1, "file", 0);
    world.store.set_fate(TREAD, Fate::Lost);
    reads.send(TREAD, 5, &read(1, 4, 100));
    world.store.wait_requests(TREAD, 1);
    world.restart_server();
    let got = receives(&mut reads, TREAD + 1, 5);
    assert_eq!(&got.body[4..], b"old contents");
    idle.stat(0);
    reads.stat(1);
    assert_eq!(world.store.connections(), 2);
    assert_eq!(world.store.types(2)[..2], [TVERSION, TATTACH]);
    world.program.wait_said("back after");
}

#[test]
fn remove_in_flight_may_have_been_done_and_is_not_repeated() {
    for fate in [Fate::Lost, Fate::Unanswered] {
        let world = World::new(L, &[]);
        world.store.put("other", b"");
        let mut client = world.attach_l();
        walk(&mut client, 1, "file");
        world.store.set_fate(TREMOVE, fate);
        client.send(TREMOVE, 5, &1u32.to_le_bytes());
        world.store.wait_requests(TREMOVE, 1);
        world.restart_server();
        is_errno(&receives(&mut client, 7, 5), EIO);
        // The fid is free.
        walk(&mut client, 1, "other");
        assert_eq!(world.store.requests(TREMOVE).len(), 1);
        assert_eq!(world.store.get("file").is_some(), fate == Fate::Lost);
    }
}

#[test]
fn write_at_an_offset_is_repeated() {
    let world = World::new(PLAIN, &[]);
    let mut client = world.attach();
    open(&mut client, 1, "file", 1);
    world.store.set_fate(TWRITE, Fate::Unanswered);
    client.send(TWRITE, 5, &write(1, 4, b"new"));
    world.store.wait_requests(TWRITE, 1);
    world.restart_server();
    assert_eq!(receives(&mut client, TWRITE + 1, 5).u32_at(0), 3);
    assert_eq!(world.store.requests(TWRITE).len(), 2);
    assert_eq!(world.store.get("file").unwrap(), b"the new contents");
}

#[test]
fn write_that_appends_is_not_repeated() {
    let world = World::new(PLAIN, &[]);
    world.store.put_as("log", QTAPPEND, b"one ");
    let mut client = world.attach();
    open(&mut client, 1, "log", 1);
    world.store.set_fate(TWRITE, Fate::Unanswered);
    client.send(TWRITE, 5, &write(1, 0, b"two "));
    world.store.wait_requests(TWRITE, 1);
    world.restart_server();
    let got = receives(&mut client, 107, 5);
    is_error(&got, "server lost; this may or may not have been done");
    let got = client.rpc(TWRITE, &write(1, 0, b"three"));
    assert_eq!(got.kind, TWRITE + 1);
    assert_eq!(world.store.get("log").unwrap(), b"one two three");
}

#[test]
fn nothing_is_repeated_if_that_is_asked_for() {
    for (option, again) in [("none", [false, false]), ("reads", [true, false])] {
        let world = World::new(PLAIN, &["--repeat", option]);
        let mut client = world.attach();
        open(&mut client, 1, "file", 2);
        world.store.set_fate(TREAD, Fate::Unanswered);
        world.store.set_fate(TWRITE, Fate::Unanswered);
        client.send(TREAD, 5, &read(1, 0, 100));
        client.send(TWRITE, 6, &write(1, 0, b"THE"));
        world.store.wait_requests(TREAD, 1);
        world.store.wait_requests(TWRITE, 1);
        world.restart_server();
        for _ in 0..2 {
            let got = client.receive().unwrap();
            let (kind, again) = [(TREAD, again[0]), (TWRITE, again[1])][usize::from(got.tag - 5)];
            assert_eq!(got.kind, if again { kind + 1 } else { 107 }, "{option}: {got:?}");
        }
        client.read(1, 0, 100);
        assert_eq!(world.store.requests(TWRITE).len(), 1, "{option}");
    }
}

#[test]
fn file_that_was_opened_with_truncation_is_not_truncated_again() {
    let world = World::new(PLAIN, &[]);
    let mut client = world.attach();
    open(&mut client, 1, "file", 0x11);
    assert_eq!(client.rpc(TWRITE, &write(1, 0, b"new")).kind, TWRITE + 1);
    world.restart_server();
    assert_eq!(client.rpc(TWRITE, &write(1, 3, b"er")).kind, TWRITE + 1);
    assert_eq!(world.store.get("file").unwrap(), b"newer");
    let modes: Vec<u8> = world.store.requests(TOPEN).iter().map(|got| got.body[4]).collect();
    assert_eq!(modes, [0x11, 0x01]);
}

#[test]
fn fid_of_a_file_that_has_gone_is_dead() {
    let world = World::new(L, &[]);
    for name in ["replaced", "removed", "renamed", "idle"] {
        world.store.put(name, b"old");
    }
    let mut client = world.attach_l();
    for (fid, name) in [(1, "replaced"), (2, "removed"), (3, "renamed"), (4, "file")] {
        open_l(&mut client, fid, name, 2);
    }
    walk(&mut client, 5, "idle");
    world.lose_server();
    world.store.put("replaced", b"the bytes of another file");
    world.store.remove("removed");
    world.store.remove("idle");
    world.store.rename("renamed", "elsewhere");
    world.store.start();
    for fid in 1..4 {
        is_errno(&client.rpc(TREAD, &read(fid, 0, 100)), ESTALE);
    }
    assert_eq!(client.read(4, 0, 100), b"the old contents");
    let getattr = |fid: u32| body(&[&fid.to_le_bytes(), &[0xff; 8]]);
    is_errno(&client.rpc(TGETATTR, &getattr(1)), ESTALE);
    is_errno(&client.rpc(TGETATTR, &getattr(5)), ENOENT);
    let gone = world.program.wait_said("the server is back with other files");
    // The attach fid is one of them.
    assert!(gone.contains(": 4 of 6 fids are gone"), "{gone}");
    // Fids that the server has used to find that out are clunked; these are not known to it.
    let before = world.store.requests(TCLUNK).len();
    for fid in [1, 2, 3, 5] {
        client.clunk(fid);
    }
    assert_eq!(client.rpc(TGETATTR, &getattr(4)).kind, TGETATTR + 1);
    assert_eq!(world.store.requests(TCLUNK).len(), before);
}

#[test]
fn another_tree_has_no_fid_of_the_old_one() {
    let world = World::new(L, &[]);
    let mut client = world.attach_l();
    open_l(&mut client, 1, "file", 0);
    world.lose_server();
    world.store.replace_root();
    world.store.start();
    is_errno(&client.rpc(TREAD, &read(1, 0, 100)), ESTALE);
    let gone = world.program.wait_said("the server is back with other files");
    assert!(gone.contains(": 2 of 2 fids are gone"), "{gone}");
    // A new attach reaches the new tree.
    let got = client.rpc(TATTACH, &attach(9, L));
    assert_eq!(got.kind, TATTACH + 1);
    let said = world.program.said();
    assert_eq!(said.iter().filter(|line| line.contains("fids are gone")).count(), 1, "{said:?}");
}

#[test]
fn server_that_is_silent_during_the_replay_is_tried_again() {
    let world = World::new(PLAIN, &["--timeout", "0.5"]);
    let mut client = world.attach();
    open(&mut client, 1, "file", 0);
    world.lose_server();
    world.store.set_fate(TWALK, Fate::Lost);
    world.store.start();
    assert_eq!(client.read(1, 0, 100), b"the old contents");
    assert_eq!(world.store.connections(), 3);
    world.lose_server();
    world.store.set_fate(TVERSION, Fate::Lost);
    world.store.start();
    assert_eq!(client.read(1, 0, 100), b"the old contents");
    assert_eq!(world.store.connections(), 5);
}

#[test]
fn server_that_is_lost_again_during_the_replay_is_tried_again() {
    for kind in [TVERSION, TATTACH, TWALK, TOPEN] {
        let world = World::new(PLAIN, &[]);
        let mut client = world.attach();
        open(&mut client, 1, "file", 0);
        let seen = world.store.requests(kind).len();
        world.store.set_fate(kind, Fate::Lost);
        world.store.disconnect();
        world.store.wait_requests(kind, seen + 1);
        world.store.disconnect();
        assert_eq!(client.read(1, 0, 100), b"the old contents");
        assert_eq!(world.store.connections(), 3);
    }
}

#[test]
fn flushed_request_is_not_sent_when_the_server_is_back() {
    let world = World::new(PLAIN, &[]);
    let mut client = world.attach();
    open(&mut client, 1, "file", 0);
    world.lose_server();
    client.send(TREAD, 5, &read(1, 0, 100));
    client.send(TFLUSH, 6, &5u16.to_le_bytes());
    receives(&mut client, TFLUSH + 1, 6);
    world.store.start();
    client.stat(1);
    assert_eq!(world.store.requests(TREAD).len(), 0);
    assert_eq!(world.store.requests(TFLUSH).len(), 0);
}

#[test]
fn requests_fail_after_the_patience_and_succeed_when_the_server_is_back() {
    let world = World::new(L, &["--reconnect=0.3"]);
    let mut client = world.attach_l();
    open_l(&mut client, 1, "file", 0);
    world.store.stop();
    for tag in 0..3 {
        client.send(TREAD, tag, &read(1, 0, 100));
    }
    for tag in 0..3 {
        is_errno(&receives(&mut client, 7, tag), ETIMEDOUT);
    }
    is_errno(&client.rpc(TREAD, &read(1, 0, 100)), ETIMEDOUT);
    client.clunk(0);
    let mut new = Client::connect(&world.socket()).unwrap();
    new.version_in(L);
    is_errno(&new.rpc(TATTACH, &attach(0, L)), ETIMEDOUT);
    world.store.start();
    world.program.wait_said("back after");
    assert_eq!(client.read(1, 0, 100), b"the old contents");
    new.begin_in(L);
}

#[test]
fn requests_without_patience_fail_at_once() {
    let world = World::new(PLAIN, &["--reconnect=0", "--dialect", PLAIN, "-v"]);
    // Nothing waits for the first connection either.
    world.program.wait_said("the server has agreed to 9P2000");
    let mut client = world.attach();
    open(&mut client, 1, "file", 0);
    world.lose_server();
    let got = client.rpc(TREAD, &read(1, 0, 100));
    is_error(&got, "the server does not answer; still trying");
    world.store.start();
    world.program.wait_said("back after");
    assert_eq!(client.read(1, 0, 100), b"the old contents");
}

#[test]
fn new_client_waits_with_its_attach() {
    let world = World::new(PLAIN, &[]);
    let mut old = world.attach();
    world.lose_server();
    let mut new = Client::connect(&world.socket()).unwrap();
    new.version();
    new.send(TATTACH, 5, &attach(0, PLAIN));
    world.store.start();
    receives(&mut new, TATTACH + 1, 5);
    old.stat(0);
    new.stat(0);
}

#[test]
fn clunk_in_flight_succeeds_and_its_fid_is_not_restored() {
    let world = World::new(PLAIN, &[]);
    let mut client = world.attach();
    open(&mut client, 1, "file", 0);
    world.store.set_fate(TCLUNK, Fate::Lost);
    client.send(TCLUNK, 5, &1u32.to_le_bytes());
    world.store.wait_requests(TCLUNK, 1);
    world.lose_server();
    receives(&mut client, TCLUNK + 1, 5);
    world.store.start();
    client.stat(0);
    assert!(!world.store.types(2).contains(&TOPEN), "{:?}", world.store.types(2));
    assert_eq!(client.rpc(TREAD, &read(1, 0, 100)).kind, 107);
}

#[test]
fn client_that_has_gone_is_not_restored() {
    let world = World::new(PLAIN, &["-v"]);
    let mut stays = world.attach();
    let mut goes = world.attach();
    open(&mut goes, 1, "file", 0);
    world.lose_server();
    drop(goes);
    world.program.wait_said("disconnected");
    world.store.start();
    stays.stat(0);
    assert!(!world.store.types(2).contains(&TOPEN));
}

#[test]
fn shared_attach_is_made_once_on_each_connection() {
    let store = Store::new(PLAIN);
    store.put("file", b"contents");
    store.set_attaches_once();
    let world = World::of(store, &["--attach-once"]);
    let mut clients = [world.attach(), world.attach()];
    for client in &mut clients {
        open(client, 1, "file", 0);
    }
    world.restart_server();
    for client in &mut clients {
        assert_eq!(client.read(1, 0, 100), b"contents");
    }
    let mut new = world.attach();
    open(&mut new, 1, "file", 0);
    for connection in 1..=2 {
        let types = world.store.types(connection);
        assert_eq!(types.iter().filter(|kind| **kind == TATTACH).count(), 1, "{types:?}");
    }
    // No session is left at the next loss.
    drop((clients, new));
    wait_for("the clients' fids are clunked", || world.store.requests(TCLUNK).len() >= 6);
    world.lose_server();
    world.store.start();
    let mut new = world.attach();
    open(&mut new, 1, "file", 0);
    assert_eq!(new.read(1, 0, 100), b"contents");
}

/// The body of a Tlock of the whole file, without waiting.
fn lock(fid: u32) -> Vec<u8> {
    body(&[&fid.to_le_bytes(), &[1], &[0; 4], &[0; 8], &[0; 8], &[1, 0, 0, 0], &string("here")])
}

#[test]
fn fid_with_a_lost_lock_is_dead_unless_the_lock_is_taken_again() {
    for again in [false, true] {
        let options: &[&str] = if again { &["--lost-locks=again"] } else { &[] };
        let world = World::new(L, options);
        let mut client = world.attach_l();
        open_l(&mut client, 1, "file", 2);
        open_l(&mut client, 2, "file", 2);
        let got = client.rpc(TLOCK, &lock(1));
        assert_eq!((got.kind, &got.body[..]), (TLOCK + 1, &[0][..]));
        world.restart_server();
        let got = client.rpc(TREAD, &read(1, 0, 100));
        if again {
            assert_eq!(got.kind, TREAD + 1);
            let types = world.store.types(2);
            let at = |kind| types.iter().position(|other| *other == kind).unwrap();
            assert!(at(TLOPEN) < at(TLOCK) && at(TLOCK) < at(TREAD), "{types:?}");
        } else {
            is_errno(&got, EIO);
            assert!(!world.store.types(2).contains(&TLOCK));
        }
        assert_eq!(client.read(2, 0, 100), b"the old contents");
    }
}

#[test]
fn server_with_a_smaller_msize_or_another_dialect_ends_9pmux() {
    for (msize, dialect, words) in
        [(8192, PLAIN, "msize of 8192"), (65536, L, "9P2000.L"), (65536, "unknown", "unknown")]
    {
        let world = World::new(PLAIN, &[]);
        let mut client = world.attach();
        world.store.stop();
        world.store.set_msize(msize);
        world.store.set_dialect(dialect);
        world.store.start();
        let World { program, .. } = world;
        let (status, said) = program.end();
        assert_eq!(status.code(), Some(7), "{said:?}");
        assert!(said.last().unwrap().contains(words), "{said:?}");
        assert!(client.receive().is_none());
    }
}

#[test]
fn server_with_a_larger_msize_changes_nothing() {
    let world = World::new(PLAIN, &[]);
    world.store.set_msize(8192);
    world.restart_server();
    let mut client = Client::connect(&world.socket()).unwrap();
    let got = client.rpc(TVERSION, &body(&[&65536u32.to_le_bytes(), &string(PLAIN)]));
    assert_eq!(got.u32_at(0), 8192);
    client.begin();
    world.store.set_msize(65536);
    world.restart_server();
    open(&mut client, 1, "file", 0);
    assert_eq!(client.read(1, 0, 100), b"the old contents");
    let mut new = Client::connect(&world.socket()).unwrap();
    let got = new.rpc(TVERSION, &body(&[&65536u32.to_le_bytes(), &string(PLAIN)]));
    assert_eq!(got.u32_at(0), 8192, "a larger msize is not used");
}

#[test]
fn signal_ends_9pmux_with_status_0_while_the_server_is_away() {
    let world = World::new(PLAIN, &[]);
    let mut client = world.attach();
    world.lose_server();
    client.send(TSTAT, 5, &[0; 4]);
    // The reply shows that 9pmux has received the request before it.
    client.send(TFLUSH, 6, &99u16.to_le_bytes());
    receives(&mut client, TFLUSH + 1, 6);
    world.program.signal(Signal::TERM);
    is_error(&receives(&mut client, 107, 5), "9pmux is shutting down");
    assert!(client.receive().is_none());
    let World { program, place, .. } = world;
    let (status, said) = program.end();
    assert!(status.success(), "{status}: {said:?}");
    assert!(!place.path("s").exists());
}

#[test]
fn clients_connect_before_the_server_runs() {
    for options in [&[][..], &["--dialect", PLAIN]] {
        let store = Store::stopped(PLAIN);
        store.put("file", b"contents");
        let world = World::of(store, options);
        world.program.wait_said("cannot reach the server");
        let mut client = Client::connect(&world.socket()).unwrap();
        client.send(TVERSION, 0xffff, &body(&[&65536u32.to_le_bytes(), &string(PLAIN)]));
        world.store.start();
        assert_eq!(receives(&mut client, TVERSION + 1, 0xffff).u32_at(0), 65536);
        client.begin();
        open(&mut client, 1, "file", 0);
        assert_eq!(client.read(1, 0, 100), b"contents");
        world.program.wait_said("connected after");
    }
}

#[test]
fn signal_ends_9pmux_before_the_server_runs() {
    let world = World::of(Store::stopped(PLAIN), &[]);
    world.program.wait_said("trying again");
    world.program.signal(Signal::INT);
    assert!(world.program.end().0.success());
}

#[test]
fn loss_and_return_are_logged_once() {
    let world = World::new(PLAIN, &[]);
    let mut client = world.attach();
    for _ in 0..2 {
        world.lose_server();
        world.store.start();
        client.stat(0);
    }
    let address = world.store.address();
    let wanted = |line: &str, words: &str| line.contains(&format!("{address}: {words}"));
    wait_for("the last line", || world.program.said().len() == 4);
    let said = world.program.said();
    for lines in said.chunks(2) {
        assert!(
            wanted(&lines[0], "the server has closed the connection: trying again"),
            "{said:?}"
        );
        assert!(wanted(&lines[1], "back after ") && lines[1].ends_with(" s"), "{said:?}");
    }
}

#[test]
fn server_that_sends_no_9p_is_warned_of_and_tried_again() {
    let (stub, place) = (Stub::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Place::new());
    let options = ["--reconnect", "--dialect", PLAIN];
    let program = Program::serving(&stub.address(), &place.path("s"), &options);
    wait_for("three warnings", || {
        let said = program.said();
        said.iter().filter(|line| line.contains("HTTP") && line.contains("trying again")).count()
            >= 3
    });
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
}

#[test]
fn program_that_is_the_server_is_started_again() {
    let store = Store::new(PLAIN);
    store.put("file", b"contents");
    let place = Place::new();
    let server = format!("exec!exec {} serve {} -", support::program::NINEPMUX, store.address());
    let program = Program::serving(&server, &place.path("s"), &["--reconnect=inf"]);
    let mut client = Client::attach(&place.path("s"));
    open(&mut client, 1, "file", 0);
    // The program ends with its server.
    store.disconnect();
    assert_eq!(client.read(1, 0, 100), b"contents");
    program.wait_said("back after");
    assert_eq!(store.connections(), 2);
}

#[test]
fn program_that_ends_at_once_is_started_at_most_once_a_second() {
    let place = Place::new();
    let starts = place.path("starts");
    let server = format!("exec!echo >>{}", starts.display());
    let since = Instant::now();
    let program = Program::serving(&server, &place.path("s"), &["--reconnect"]);
    let count = || std::fs::read(&starts).map_or(0, |starts| starts.len());
    wait_for("some starts", || count() >= 4);
    // Three seconds have passed at least.
    assert!(since.elapsed() >= Duration::from_secs(3), "{:?}", since.elapsed());
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
}

/// Without descriptors, no program can be started.
#[test]
fn shell_that_cannot_be_started_is_status_3() {
    let statuses: Vec<_> = (4..32)
        .map(|limit| {
            let place = Place::new();
            let (address, started) = (unix(&place.path("s")), place.path("started"));
            let server = format!("exec!echo >{}; exec cat >/dev/null", started.display());
            let mut program =
                Program::start(serve_within(limit, &["--reconnect", &server, &address]));
            wait_for("the end, or a start", || !program.runs() || started.exists());
            if program.runs() {
                program.signal(Signal::TERM);
            }
            program.end().0.code()
        })
        .collect();
    assert!(statuses.contains(&Some(3)) && statuses.contains(&Some(0)), "{statuses:?}");
}

#[test]
fn arguments_that_cannot_be_connected_to_again_are_refused() {
    for server in ["-", "fd!0"] {
        let (status, said) =
            Program::start(serve(&["--reconnect", server, "unix!/nowhere/s"])).end();
        assert_eq!(status.code(), Some(2));
        let wanted = "--reconnect needs a server that can be called again";
        assert!(said.iter().any(|line| line.contains(wanted)), "{said:?}");
    }
}
