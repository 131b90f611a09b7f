//! Descriptors in place of fids (Topenfd). The test is the client, the server and the programs that have the
//! descriptors, message by message.

#![cfg(feature = "program")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use support::client::{Client, NOFID, read};
use support::program::{Program, serve, serve_within};
use support::stub::{BIG, Stub};
use support::{
    Got, PATIENCE, Place, body, message, next_request, send_reply, string, unix, wait_for,
};

const MSIZE: u32 = 8192;

/// The count of a Tread of a descriptor.
const COUNT: u32 = MSIZE - 24;

/// The server's end of the connection, and 9pmux before it.
struct World {
    program: Program,
    server: UnixStream,
    place: Place,
}

/// Starts 9pmux with these options, and a server that has agreed to a version with its first client, which
/// has attached.
fn world(options: &[&str]) -> (World, Client) {
    let place = Place::new();
    let listener = UnixListener::bind(place.path("server")).unwrap();
    let address = unix(&place.path("server"));
    let program = Program::start(serve(&[options, &[&address, &unix(&place.path("s"))]].concat()));
    let server = listener.accept().unwrap().0;
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    program.wait_socket(&place.path("s"));
    let mut world = World { program, server, place };
    let mut client = world.connect();
    client.send(100, 0xffff, &body(&[&MSIZE.to_le_bytes(), &string("9P2000")]));
    let version = world.asked(100);
    assert_eq!(version.tag, 0xffff);
    world.reply(&version, &body(&[&MSIZE.to_le_bytes(), &string("9P2000")]));
    assert_eq!(client.receive().unwrap().kind, 101);
    world.attach(&mut client, 0);
    (world, client)
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

    fn fails(&mut self, request: &Got, why: &str) {
        self.server.write_all(&message(107, request.tag, &string(why))).unwrap();
    }

    /// Attaches a fid of the client, and returns the server's.
    fn attach(&mut self, client: &mut Client, fid: u32) -> u32 {
        client.send(104, 1, &body(&[&fid.to_le_bytes(), &NOFID, &string("u"), &string("")]));
        let attach = self.asked(104);
        self.reply(&attach, &[0; 13]);
        assert_eq!(client.receive().unwrap().kind, 105);
        attach.u32_at(0)
    }

    /// Opens fid 0 of the client as a descriptor, whose fid is returned too.
    fn open(&mut self, client: &mut Client, mode: u8) -> (UnixStream, u32) {
        client.send(98, 9, &[0, 0, 0, 0, mode]);
        let open = self.asked(112);
        assert_eq!(open.body[4..], [mode]);
        self.reply(&open, &[7; 17]);
        (receives_descriptor(client), open.u32_at(0))
    }

    /// Replies to the Tclunk of this fid.
    fn clunked(&mut self, fid: u32) {
        let clunk = self.asked(120);
        assert_eq!(clunk.u32_at(0), fid);
        self.reply(&clunk, &[]);
    }

    /// Returns the next Tread, which is at this offset.
    fn tread(&mut self, fid: u32, offset: usize) -> Got {
        let got = self.asked(116);
        assert_eq!(got.body, read(fid, offset, COUNT));
        got
    }

    fn data(&mut self, tread: &Got, data: &[u8]) {
        self.reply(tread, &body(&[&(data.len() as u32).to_le_bytes(), data]));
    }

    fn twrite(&mut self, fid: u32, offset: usize) -> (Got, Vec<u8>) {
        let got = self.asked(118);
        assert_eq!((got.u32_at(0), got.u32_at(4) as usize, got.u32_at(8)), (fid, offset, 0));
        assert_eq!(got.u32_at(12) as usize, got.body.len() - 16);
        let data = got.body[16..].to_vec();
        (got, data)
    }
}

/// Receives an Ropenfd, and then the descriptor, as plan9port's client library does: with a plain read and a
/// recvmsg of one byte.
fn receives_descriptor(client: &mut Client) -> UnixStream {
    let got = client.receive().unwrap();
    assert_eq!((got.kind, got.tag, got.body.len()), (99, 9, 21), "{got:?}");
    assert_eq!((&got.body[..17], got.u32_at(17)), (&[7; 17][..], u32::MAX));
    let descriptor = client.take_descriptor();
    assert!(!fcntl_getfl(&descriptor).unwrap().contains(OFlags::NONBLOCK), "programs expect that");
    descriptor
}

fn is_error(got: &Got, why: &str) {
    assert_eq!((got.kind, &got.body), (107, &string(why)));
}

#[test]
fn descriptor_reads_the_file() {
    let (mut world, mut client) = world(&[]);
    client.send(98, 9, &[0; 5]);
    let open = world.asked(112);
    // The client's next request is replied to behind the descriptor.
    client.send(108, 5, &[77, 0]);
    assert_eq!(client.receive().unwrap().tag, 5);
    world.reply(&open, &[7; 17]);
    let fid = open.u32_at(0);
    let tread = world.tread(fid, 0);
    client.send(108, 5, &[77, 0]);
    let mut descriptor = receives_descriptor(&mut client);
    assert_eq!(client.receive().unwrap().kind, 109);
    let mut bytes = [0; 5];
    world.data(&tread, b"hello");
    descriptor.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    let tread = world.tread(fid, 5);
    // The number is free for another fid, and the client cannot name the descriptor's.
    client.send(120, 3, &[0; 4]);
    is_error(&client.receive().unwrap(), "unknown fid");
    assert_ne!(world.attach(&mut client, 0), fid);
    world.data(&tread, b"");
    assert_eq!(descriptor.read(&mut bytes).unwrap(), 0);
    world.clunked(fid);
}

#[test]
fn refused_topen_leaves_the_fid() {
    let (mut world, mut client) = world(&[]);
    let open = world.program.descriptors();
    for mode in [0x50, 4] {
        client.send(98, 9, &[0, 0, 0, 0, mode]);
        is_error(&client.receive().unwrap(), "bad openfd mode");
    }
    client.send(98, 9, &[0; 5]);
    let request = world.asked(112);
    world.fails(&request, "permission denied");
    is_error(&client.receive().unwrap(), "permission denied");
    wait_for("the pair is closed", || world.program.descriptors() == open);
    client.send(120, 3, &[0; 4]);
    world.clunked(request.u32_at(0));
    assert_eq!(client.receive().unwrap().kind, 121);
}

#[test]
fn descriptor_outlives_its_client_and_its_readers_end_is_noticed_at_once() {
    let (mut world, mut client) = world(&[]);
    let before = world.program.descriptors();
    let other = world.attach(&mut client, 1);
    let (mut descriptor, fid) = world.open(&mut client, 0);
    let tread = world.tread(fid, 0);
    drop(client);
    world.clunked(other);
    let mut bytes = [0; 3];
    world.data(&tread, b"abc");
    descriptor.read_exact(&mut bytes).unwrap();
    let tread = world.tread(fid, 3);
    // A program that has it, and is killed.
    let mut reader =
        Command::new("cat").stdin(OwnedFd::from(descriptor)).stdout(Stdio::null()).spawn().unwrap();
    reader.kill().unwrap();
    let flush = world.asked(108);
    assert_eq!(flush.body, tread.tag.to_le_bytes());
    world.reply(&flush, &[]);
    world.clunked(fid);
    reader.wait().unwrap();
    // The client has gone as well.
    let left = before.map(|open| open - 1);
    wait_for("the descriptor is closed", || world.program.descriptors() == left);
}

#[test]
fn descriptor_writes_the_file() {
    let (mut world, mut client) = world(&[]);
    let (mut descriptor, fid) = world.open(&mut client, 0x11);
    let bytes: Vec<u8> = (0..20_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
    descriptor.write_all(&bytes).unwrap();
    drop(descriptor);
    let mut offset = 0;
    while offset < bytes.len() {
        let (twrite, data) = world.twrite(fid, offset);
        assert!(data.len() <= COUNT as usize && bytes[offset..].starts_with(&data));
        // An error and a short count lose these bytes only.
        match offset {
            0 => world.fails(&twrite, "disk full"),
            _ => world.reply(&twrite, &1u32.to_le_bytes()),
        }
        offset += data.len();
    }
    world.clunked(fid);
}

#[test]
fn both_directions_end_for_themselves() {
    let (mut world, mut client) = world(&[]);
    let (mut descriptor, fid) = world.open(&mut client, 2);
    let tread = world.tread(fid, 0);
    descriptor.write_all(b"one").unwrap();
    let (twrite, data) = world.twrite(fid, 0);
    assert_eq!(data, b"one");
    world.data(&tread, b"");
    let mut bytes = [0; 9];
    assert_eq!(descriptor.read(&mut bytes).unwrap(), 0);
    world.reply(&twrite, &3u32.to_le_bytes());
    descriptor.write_all(b"two").unwrap();
    let (twrite, data) = world.twrite(fid, 3);
    assert_eq!(data, b"two");
    descriptor.shutdown(Shutdown::Write).unwrap();
    world.reply(&twrite, &3u32.to_le_bytes());
    world.clunked(fid);
    // A writer that shuts down still reads.
    world.attach(&mut client, 0);
    let (mut descriptor, fid) = world.open(&mut client, 2);
    let tread = world.tread(fid, 0);
    descriptor.shutdown(Shutdown::Write).unwrap();
    world.data(&tread, b"later");
    let mut bytes = [0; 5];
    descriptor.read_exact(&mut bytes).unwrap();
    let tread = world.tread(fid, 5);
    world.data(&tread, b"");
    world.clunked(fid);
}

#[test]
fn client_that_never_receives_its_descriptor() {
    let (mut world, mut client) = world(&[]);
    client.send(98, 9, &[0; 5]);
    let open = world.asked(112);
    world.reply(&open, &[7; 17]);
    let tread = world.asked(116);
    drop(client);
    let flush = world.asked(108);
    assert_eq!(flush.body, tread.tag.to_le_bytes());
    world.reply(&flush, &[]);
    world.clunked(open.u32_at(0));
}

#[test]
fn no_descriptors_over_tcp() {
    let stub = Stub::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = serve(&[&stub.address(), "fd!0"]);
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let _program = Program::start(command);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rpc = |kind: u8, tag: u16, body: &[u8], size: usize| {
        stream.write_all(&message(kind, tag, body)).unwrap();
        let mut reply = vec![0; size];
        stream.read_exact(&mut reply).unwrap();
        reply
    };
    rpc(100, 0xffff, &body(&[&MSIZE.to_le_bytes(), &string("9P2000")]), 19);
    rpc(104, 1, &body(&[&[0; 4], &NOFID, &string("u"), &string("")]), 20);
    let why = string("no descriptors over this connection");
    assert_eq!(rpc(98, 9, &[0; 5], 7 + why.len()), message(107, 9, &why));
    assert_eq!(rpc(120, 2, &[0; 4], 7)[4], 121);
}

#[test]
fn end_of_the_server_leaves_what_has_arrived() {
    let (mut world, mut client) = world(&[]);
    let (mut descriptor, fid) = world.open(&mut client, 0);
    let tread = world.tread(fid, 0);
    world.data(&tread, &[5; 4000]);
    let tread = world.tread(fid, 4000);
    world.data(&tread, &[6; 4000]);
    drop(world.server);
    let mut all = Vec::new();
    descriptor.read_to_end(&mut all).unwrap();
    assert_eq!(all, [[5; 4000], [6; 4000]].concat());
    assert_eq!(world.program.end().0.code(), Some(5));
}

#[test]
fn limits_and_a_lack_of_descriptors_are_errors() {
    let (mut world, mut client) = world(&["--max-descriptors", "1"]);
    let (descriptor, fid) = world.open(&mut client, 1);
    let second = world.attach(&mut client, 0);
    client.send(98, 9, &[0; 5]);
    is_error(&client.receive().unwrap(), "too many open files");
    world.program.wait_said("has as many descriptors as one client may have (--max-descriptors)");
    drop(descriptor);
    world.clunked(fid);
    // The fid is still there.
    client.send(120, 3, &[0; 4]);
    world.clunked(second);
    drop(world);

    // The system has none, although the limit of all is not reached.
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::start(serve_within(40, &["-v", &stub.address(), &unix(&socket)]));
    program.wait_socket(&socket);
    let mut client = Client::attach(&socket);
    let mut others = Vec::new();
    while program.descriptors().is_some_and(|open| open < 36) {
        others.push(Client::attach(&socket));
    }
    let mut descriptors = Vec::new();
    for fid in 1..40u32 {
        let walk = body(&[&[0; 4], &fid.to_le_bytes(), &[1, 0], &string("slow")]);
        assert_eq!(client.rpc(110, &walk).kind, 111);
        client.send(98, 9, &body(&[&fid.to_le_bytes(), &[0]]));
        let got = client.receive().unwrap();
        if got.kind == 107 {
            is_error(&got, "too many open files");
            break;
        }
        descriptors.push(client.take_descriptor());
    }
    assert!(!descriptors.is_empty() || program.descriptors().is_none());
    assert!(descriptors.len() < 10, "{}", descriptors.len());
}

#[test]
fn descriptor_counts_until_the_programs_have_closed_it() {
    let (mut world, mut client) = world(&["--max-descriptors", "1"]);
    let before = world.program.descriptors();
    let (mut descriptor, fid) = world.open(&mut client, 0);
    let tread = world.tread(fid, 0);
    world.data(&tread, b"");
    world.clunked(fid);
    assert_eq!(descriptor.read(&mut [0]).unwrap(), 0);
    world.attach(&mut client, 0);
    client.send(98, 9, &[0; 5]);
    is_error(&client.receive().unwrap(), "too many open files");
    drop(descriptor);
    wait_for("the descriptor is closed", || world.program.descriptors() == before);
    let (descriptor, fid) = world.open(&mut client, 0);
    let tread = world.tread(fid, 0);
    world.fails(&tread, "unreadable");
    world.clunked(fid);
    // It does not delay the end.
    drop(world.server);
    assert_eq!(world.program.end().0.code(), Some(5));
    drop(descriptor);
}

#[test]
fn thousand_readers_that_do_not_read_delay_no_client_and_leave_nothing() {
    const MANY: u32 = 1000;
    // 9pmux gives clients half of what the system lets it have.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|maximum| maximum < 2 * u64::from(MANY) + 100) {
        eprintln!("skipped: {MANY} descriptors need twice that limit, here it is {maximum:?}");
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let (stub, place) = (Stub::new(), Place::new());
    let socket = place.path("s");
    let program = Program::serving(&stub.address(), &socket, &["--msize", "65536"]);
    let mut other = Client::attach(&socket);
    other.open(1, "big");
    let before = (program.descriptors(), stub.fids(), program.memory());
    let mut client = Client::attach(&socket);
    let mut descriptors = Vec::new();
    for fid in 1..=MANY {
        let name = if fid % 2 == 0 { "big" } else { "slow" };
        let walk = body(&[&[0; 4], &fid.to_le_bytes(), &[1, 0], &string(name)]);
        assert_eq!(client.rpc(110, &walk).kind, 111);
        client.send(98, 9, &body(&[&fid.to_le_bytes(), &[0]]));
        let got = client.receive().unwrap();
        assert_eq!(got.kind, 99, "{got:?}");
        descriptors.push(client.take_descriptor());
    }
    assert_eq!(stub.fids(), before.1 + MANY as usize + 1);
    drop(client);
    wait_for("the root is clunked", || stub.fids() == before.1 + MANY as usize);
    wait_for("reads are ahead", || stub.held() == MANY as usize / 2);
    for offset in (0..BIG).step_by(60_000) {
        assert!(!other.read(1, offset, 60_000).is_empty());
    }
    // At most one reply of 64 KiB for each of the readers that have data.
    if let (Some(before), Some(after)) = (before.2, program.memory()) {
        assert!(after < before + u64::from(MANY) * 65536, "{before} and then {after}");
    }
    // Their data has no gap.
    let mut bytes = vec![0; 100_000];
    descriptors[1].read_exact(&mut bytes).unwrap();
    assert!(bytes.iter().enumerate().all(|(n, byte)| *byte == support::stub::big(n)));
    descriptors.clear();
    wait_for("the fids are clunked", || stub.fids() == before.1);
    wait_for("the descriptors are closed", || program.descriptors() == before.0);
    assert_eq!(stub.held(), 0);
    stub.assert_content();
}

#[test]
fn descriptor_keeps_9pmux_when_the_last_client_has_gone() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path("server")).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = serve(&[&unix(&place.path("server")), "fd!0"]);
    command.stdin(OwnedFd::from(theirs));
    let program = Program::start(command);
    let server = listener.accept().unwrap().0;
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut world = World { program, server, place };
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client { stream: ours };
    client.send(100, 0xffff, &body(&[&MSIZE.to_le_bytes(), &string("9P2000")]));
    let version = world.asked(100);
    world.reply(&version, &body(&[&MSIZE.to_le_bytes(), &string("9P2000")]));
    client.receive().unwrap();
    world.attach(&mut client, 0);
    let (mut descriptor, fid) = world.open(&mut client, 1);
    drop(client);
    descriptor.write_all(b"bye").unwrap();
    let (twrite, data) = world.twrite(fid, 0);
    assert_eq!(data, b"bye");
    world.reply(&twrite, &3u32.to_le_bytes());
    assert!(world.program.runs());
    drop(descriptor);
    // 9pmux does not wait for the reply.
    assert_eq!(world.asked(120).u32_at(0), fid);
    assert!(world.program.end().0.success());
}
