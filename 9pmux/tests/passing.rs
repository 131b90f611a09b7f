//! Passing descriptors (Topenfd) when the system refuses it: Linux limits how many descriptors a user has passed and no
//! program has received.
//!
//! The limit does not apply to root. Then 9pmux is another user, and so is the thread of the test that uses the limit up.

#![cfg(all(feature = "program", target_os = "linux"))]

mod support;

use std::fs::{self, Permissions};
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use rustix::process::{Uid, geteuid};

use support::client::Client;
use support::program::{NINEPMUX, Program};
use support::stub::{HELLO, Stub};
use support::{Place, body, string, unix, wait_for};

/// The limit of open descriptors of 9pmux, and so that of its user's descriptors on their way.
const LIMIT: usize = 40;

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// A server, and 9pmux as a user to whom the limit applies.
struct World {
    stub: Stub,
    place: Place,
    program: Program,
    user: Option<u32>,
}

impl World {
    /// Returns `None` if the test is root and may not become another user.
    fn new() -> Option<World> {
        let user = geteuid().is_root().then_some(NOBODY);
        if let Err(error) = as_user(user, || ()) {
            eprintln!("skipped: root cannot become the user {NOBODY} here: {error}");
            return None;
        }
        let (stub, place) = (Stub::new(), Place::new());
        let program = place.path("9pmux");
        // In this process the copy could not be run while another test forks: it would be open for writing.
        assert!(Command::new("cp").arg(NINEPMUX).arg(&program).status().unwrap().success());
        let server = stub.path();
        for path in [place.directory(), server.parent().unwrap(), &server] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }
        let program = start(&program, user, &[&stub.address(), &unix(&place.path("s"))]);
        program.wait_socket(&place.path("s"));
        Some(World { stub, place, program, user })
    }

    fn client(&self) -> Client {
        Client::attach(&self.place.path("s"))
    }
}

fn start(program: &Path, user: Option<u32>, args: &[&str]) -> Program {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("ulimit -n {LIMIT}; exec \"$0\" serve \"$@\"")]);
    command.arg(program).args(args).stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(user) = user {
        command.uid(user);
    }
    Program::start(command)
}

/// Calls a function in a thread of this user.
fn as_user<T: Send>(user: Option<u32>, call: impl FnOnce() -> T + Send) -> Result<T, Errno> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Some(user) = user {
                rustix::thread::set_thread_uid(Uid::from_raw(user))?;
            }
            Ok(call())
        });
        thread.join().unwrap()
    })
}

/// Passes more descriptors than 9pmux may have on their way, until the sockets that are returned are closed.
fn use_up() -> (UnixStream, UnixStream) {
    let (sender, receiver) = UnixStream::pair().unwrap();
    let fds = [sender.as_fd(); LIMIT + 20];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LIMIT + 20))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(&sender, &[IoSlice::new(&[0])], &mut control, SendFlags::empty()).unwrap();
    (sender, receiver)
}

/// Opens `hello` as a descriptor, up to the Ropenfd, and sends a Tstat behind it.
fn open(client: &mut Client) {
    let walk = body(&[&[0; 4], &1u32.to_le_bytes(), &[1, 0], &string("hello")]);
    assert_eq!(client.rpc(110, &walk).kind, 111);
    client.send(98, 9, &[1, 0, 0, 0, 0]);
    assert_eq!(client.receive().unwrap().kind, 99);
    client.send(124, 5, &[0; 4]);
}

#[test]
fn descriptor_that_the_system_refuses_to_pass_is_passed_later() {
    let Some(world) = World::new() else {
        return;
    };
    let (mut client, mut other) = (world.client(), world.client());
    let before = (world.program.descriptors(), world.stub.fids());
    let used_up = as_user(world.user, use_up).unwrap();
    open(&mut client);
    // 9pmux has tried to pass it when it serves another client again, which it does.
    for _ in 0..10 {
        other.stat(0);
    }
    let mut byte = [0];
    let received = recv(&client.stream, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK);
    assert_eq!(
        received.map(|(_, n)| n),
        Err(Errno::AGAIN),
        "the Rstat stands behind the descriptor"
    );
    drop(used_up);
    let mut descriptor = client.take_descriptor();
    assert_eq!(client.receive().unwrap().tag, 5);
    let mut text = Vec::new();
    descriptor.read_to_end(&mut text).unwrap();
    assert_eq!(text, HELLO);
    drop(descriptor);
    wait_for("the fid is clunked", || world.stub.fids() == before.1);
    wait_for("the descriptor is closed", || world.program.descriptors() == before.0);
    client.stat(0);
}

#[test]
fn client_that_leaves_before_its_descriptor_is_passed_leaves_nothing() {
    let Some(world) = World::new() else {
        return;
    };
    let mut other = world.client();
    let before = (world.program.descriptors(), world.stub.fids());
    let used_up = as_user(world.user, use_up).unwrap();
    let mut client = world.client();
    open(&mut client);
    other.stat(0);
    drop(client);
    wait_for("the fids are clunked", || world.stub.fids() == before.1);
    wait_for("the descriptors are closed", || world.program.descriptors() == before.0);
    drop(used_up);
    // Another descriptor is passed at once.
    open(&mut other);
    other.take_descriptor();
    world.stub.assert_content();
}
