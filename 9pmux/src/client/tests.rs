//! Tests of the client against a server in a thread.
//!
//! The root has the files `a`, `b` and so on, of any depth, and no file `none`. A file has the bytes that were
//! last written to it, wherever they were written. A read at offset 999 gets no reply before it is flushed; one
//! at 998 gets its reply just before the Rflush. A request with an unknown fid is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use mux::framed::Codec;

use super::*;
use crate::wire::{kind, tag, u16_at, u32_at};

/// What the server has seen.
#[derive(Default)]
struct Seen {
    fids: BTreeSet<u32>,
    flushes: u32,
    removed: u32,
}

#[derive(Default)]
struct Server {
    seen: Arc<Mutex<Seen>>,
    contents: Vec<u8>,
    /// The reads without a reply: their offset, by their tag.
    held: BTreeMap<u16, u64>,
    /// True if the replies to Tclunks wait for another request.
    holds_clunks: bool,
    held_clunks: Vec<u8>,
}

fn reply(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let size = (7 + body.len()) as u32;
    [&size.to_le_bytes()[..], &[kind], &tag.to_le_bytes(), body].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

fn stat(length: usize) -> Vec<u8> {
    let names = ["name", "owner", "group", "last"].map(string).concat();
    let body = [&[0; 2 + 4 + 13 + 12][..], &(length as u64).to_le_bytes(), &names].concat();
    [&(body.len() as u16).to_le_bytes()[..], &body].concat()
}

impl Server {
    fn serve(mut self, mut stream: UnixStream) {
        let mut size = [0; 4];
        while stream.read_exact(&mut size).is_ok() {
            let mut message = size.to_vec();
            message.resize(u32::from_le_bytes(size) as usize, 0);
            stream.read_exact(&mut message[4..]).unwrap();
            let reply = self.handle(&message);
            if self.holds_clunks && kind(&message) == types::TCLUNK {
                self.held_clunks.extend(reply);
                continue;
            }
            let held = std::mem::take(&mut self.held_clunks);
            if stream.write_all(&[held, reply].concat()).is_err() {
                return;
            }
        }
    }

    fn handle(&mut self, message: &[u8]) -> Vec<u8> {
        let (kind, tag) = (kind(message), tag(message));
        let mut seen = self.seen.lock().unwrap();
        let fid = || u32_at(message, 7);
        let body = match kind {
            types::TVERSION => [&1000_u32.to_le_bytes()[..], &string("9P2000")].concat(),
            types::TATTACH => {
                assert!(seen.fids.insert(fid()), "the fid is new");
                vec![0x80; 13]
            }
            types::TWALK => {
                let (newfid, names) = (u32_at(message, 11), u16_at(message, 15));
                assert!(names <= 16);
                if message.ends_with(b"none") {
                    return match names {
                        1 => reply(types::RERROR, tag, &string("no such file")),
                        _ => reply(
                            types::RWALK,
                            tag,
                            &[1, 0].into_iter().chain([0; 13]).collect::<Vec<_>>(),
                        ),
                    };
                }
                assert!(seen.fids.insert(newfid) || newfid == fid(), "the fid is new");
                [&names.to_le_bytes()[..], &vec![0; 13 * usize::from(names)]].concat()
            }
            types::TOPEN | types::TCREATE => vec![0; 17],
            types::TREAD if !seen.fids.contains(&fid()) => {
                return reply(types::RERROR, tag, &string("unknown fid"));
            }
            types::TREAD => {
                let offset = u64::from(u32_at(message, 11));
                if offset >= 998 {
                    self.held.insert(tag, offset);
                    return Vec::new();
                }
                let count = u32_at(message, 19) as usize;
                let rest = self.contents.get(offset as usize..).unwrap_or_default();
                let data = &rest[..rest.len().min(count)];
                [&(data.len() as u32).to_le_bytes()[..], data].concat()
            }
            types::TWRITE => {
                self.contents = message[23..].to_vec();
                (self.contents.len() as u32).to_le_bytes().to_vec()
            }
            types::TFLUSH => {
                seen.flushes += 1;
                let held = self.held.remove(&u16_at(message, 7));
                let late = match held {
                    Some(998) => reply(types::RREAD, u16_at(message, 7), &[1, 0, 0, 0, 7]),
                    _ => Vec::new(),
                };
                return [late, reply(types::RFLUSH, tag, &[])].concat();
            }
            types::TCLUNK | types::TREMOVE => {
                assert!(seen.fids.remove(&fid()), "the fid is known");
                seen.removed += u32::from(kind == types::TREMOVE);
                Vec::new()
            }
            124 => {
                let stat = stat(self.contents.len());
                [&(stat.len() as u16).to_le_bytes()[..], &stat].concat()
            }
            _ => return reply(types::RERROR, tag, &string("not here")),
        };
        reply(kind + 1, tag, &body)
    }
}

fn connect_with(open: fn(UnixStream) -> Result<Client, Error>) -> (Client, Arc<Mutex<Seen>>) {
    let (stream, server) = UnixStream::pair().unwrap();
    let seen = Arc::<Mutex<Seen>>::default();
    let state = Server { seen: seen.clone(), ..Server::default() };
    thread::spawn(|| state.serve(server));
    (open(stream).unwrap(), seen)
}

/// Returns a client without a receiving thread.
fn connect() -> (Client, Arc<Mutex<Seen>>) {
    connect_with(Client::connect)
}

/// Returns a client with a receiving thread.
fn spawn() -> (Client, Arc<Mutex<Seen>>) {
    connect_with(Client::spawn)
}

/// Waits until the server has handled all that was sent before.
fn settle(client: &Client) {
    let file = client.attach("glenda", "").unwrap();
    file.clunk().unwrap();
}

#[test]
fn files_are_written_and_read() {
    let (client, seen) = connect();
    assert_eq!(client.msize(), 1000);
    let root = client.attach("glenda", "").unwrap();
    assert!(root.qid().is_directory());
    let mut file = root.walk("/a/b").unwrap();
    file.open(ORDWR | OTRUNC).unwrap();
    file.write_all(b"some text").unwrap();
    assert_eq!(file.stat().unwrap().length, 9);
    assert_eq!(file.seek(SeekFrom::End(-4)).unwrap(), 5);
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
    // More than one message can have is written in part.
    assert_eq!(file.write_at(0, &[7; 5000]).unwrap(), 1000 - 24);
    assert_eq!(file.read_at(0, &mut [0; 5000]).unwrap(), 1000 - 24);
    let mut new = root.walk("").unwrap();
    new.create("c", 0o644, OWRITE).unwrap();
    new.remove().unwrap();
    file.clunk().unwrap();
    drop(root);
    settle(&client);
    let seen = seen.lock().unwrap();
    assert!(seen.fids.is_empty() && seen.removed == 1);
}

#[test]
fn a_stat_has_all_fields() {
    let (client, _) = connect();
    let stat = client.attach("glenda", "").unwrap().stat().unwrap();
    assert_eq!([&stat.name, &stat.uid, &stat.gid, &stat.muid], ["name", "owner", "group", "last"]);
}

#[test]
fn a_directory_has_its_entries() {
    let (client, _) = connect();
    let mut root = client.attach("glenda", "").unwrap();
    root.write_all(&[stat(1), stat(2)].concat()).unwrap();
    root.open(OREAD).unwrap();
    let lengths: Vec<_> = root.entries().unwrap().iter().map(|stat| stat.length).collect();
    assert_eq!(lengths, [1, 2]);
    root.write_all(&stat(1)[1..]).unwrap();
    assert!(matches!(root.entries(), Err(Error::Protocol(_))));
}

#[test]
fn a_long_path_is_walked_in_steps() {
    let (client, seen) = connect();
    let root = client.attach("glenda", "").unwrap();
    let deep = root.walk(&"x/".repeat(40)).unwrap();
    assert_eq!(seen.lock().unwrap().fids.len(), 2);
    drop(deep);
    // The file of the first step is clunked when a later step fails.
    let path = format!("{}none", "x/".repeat(16));
    assert!(matches!(root.walk(&path), Err(Error::Refused(text)) if text == "no such file"));
    assert!(matches!(root.walk("x/none"), Err(Error::Refused(_))));
    assert!(matches!(root.walk("none"), Err(Error::Refused(_))));
    settle(&client);
    assert_eq!(seen.lock().unwrap().fids.len(), 1);
    assert!(matches!(root.walk(&"x".repeat(70_000)), Err(Error::TooLong)));
}

#[test]
fn a_dropped_read_is_flushed() {
    let (client, seen) = spawn();
    let root = client.attach("glenda", "").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    for (n, offset) in [999, 998].into_iter().enumerate() {
        let mut read = root.start_read(offset, 1).unwrap();
        assert!(Pin::new(&mut read).poll(&mut context).is_pending());
        drop(read);
        // Its tag is in use until the Rflush.
        settle(&client);
        assert_eq!(client.outstanding(), 0);
        assert_eq!(seen.lock().unwrap().flushes, n as u32 + 1);
    }
    // A read that was never sent, and one that has completed, need no Tflush.
    drop(root.start_read(999, 1).unwrap());
    let mut read = root.start_read(0, 1).unwrap();
    while Pin::new(&mut read).poll(&mut context).is_pending() {
        thread::yield_now();
    }
    drop(read);
    settle(&client);
    assert_eq!(seen.lock().unwrap().flushes, 2);
}

#[test]
fn a_reply_that_has_arrived_is_not_flushed() {
    let (client, seen) = spawn();
    let root = client.attach("glenda", "").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut read = root.start_read(0, 1).unwrap();
    let _ = Pin::new(&mut read).poll(&mut context);
    // The reply arrives while another caller receives; the tag may be used again from now on.
    settle(&client);
    drop(read);
    settle(&client);
    assert_eq!(seen.lock().unwrap().flushes, 0);
}

#[test]
fn a_read_without_a_receiving_thread_fails() {
    let (client, _) = connect();
    let root = client.attach("glenda", "").unwrap();
    let mut read = root.start_read(999, 1).unwrap();
    match Pin::new(&mut read).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Err(Error::Connection(mux::Error::NoReceiver))) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_read_after_the_clunk_uses_no_other_file() {
    let (client, _) = spawn();
    let root = client.attach("glenda", "").unwrap();
    let file = root.walk("a").unwrap();
    let (unsent, dropped) = (file.start_read(0, 1).unwrap(), file.start_read(0, 1).unwrap());
    file.clunk().unwrap();
    let other = root.walk("b").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut unsent = unsent;
    let refused = loop {
        match Pin::new(&mut unsent).poll(&mut context) {
            Poll::Ready(result) => break result.unwrap_err(),
            Poll::Pending => thread::yield_now(),
        }
    };
    assert!(matches!(refused, Error::Refused(text) if text == "unknown fid"));
    // The number is used again when no transfer has it any more.
    drop((unsent, dropped));
    let next = root.walk("c").unwrap();
    assert_eq!(client.shared.fids.numbers().next, 3);
    drop((other, next));
}

#[test]
fn a_flushed_read_keeps_the_number_of_its_fid() {
    let (client, seen) = spawn();
    let root = client.attach("glenda", "").unwrap();
    let file = root.walk("a").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut read = file.start_read(999, 1).unwrap();
    assert!(Pin::new(&mut read).poll(&mut context).is_pending());
    file.clunk().unwrap();
    drop(read);
    assert_eq!(seen.lock().unwrap().fids.len(), 1);
    settle(&client);
    // The receiving thread owns the fid of a request for a moment after its reply.
    let begun = Instant::now();
    while client.shared.fids.numbers().free.len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the number is not free");
        thread::yield_now();
    }
}

#[test]
fn any_number_of_files_can_be_dropped_at_once() {
    let (client, seen) = connect();
    let root = client.attach("glenda", "").unwrap();
    let files: Vec<_> = (0..5000).map(|_| root.walk("a").unwrap()).collect();
    drop(files);
    settle(&client);
    assert_eq!(seen.lock().unwrap().fids.len(), 1);
    // Their numbers are used again.
    let next = client.shared.fids.numbers().next;
    drop(root.walk("a").unwrap());
    assert_eq!(client.shared.fids.numbers().next, next);
}

#[test]
fn dropped_files_leave_tags_for_other_calls() {
    let (stream, server) = UnixStream::pair().unwrap();
    let state = Server { holds_clunks: true, ..Server::default() };
    let seen = state.seen.clone();
    thread::spawn(|| state.serve(server));
    let client = Client::spawn(stream).unwrap();
    let root = client.attach("glenda", "").unwrap();
    let files: Vec<_> = (0..MAX_CLUNKS + 100).map(|_| root.walk("a").unwrap()).collect();
    drop(files);
    assert_eq!(client.unclunked().len(), 100);
    // The server replies to them when it receives another request, of which each sends the rest.
    while seen.lock().unwrap().fids.len() > 2 {
        drop(root.walk("a").unwrap());
    }
}

#[test]
fn a_clunk_without_a_free_tag_is_sent_later() {
    let (stream, mut server) = UnixStream::pair().unwrap();
    let version = [&1000_u32.to_le_bytes()[..], &string("9P2000")].concat();
    server.write_all(&reply(types::TVERSION + 1, 0xffff, &version)).unwrap();
    let limited = |transport: FramedTransport<_, _>| mux::Client::spawn(transport.tags(0..2));
    let client = Client::over(stream.into(), limited).unwrap();
    let next = |server: &mut UnixStream| {
        let mut message = vec![0; 4];
        server.read_exact(&mut message).unwrap();
        message.resize(u32_at(&message, 0) as usize, 0);
        server.read_exact(&mut message[4..]).unwrap();
        (kind(&message), tag(&message))
    };
    let answer = |server: &mut UnixStream, wanted, body: &[u8]| {
        let (kind, tag) = next(server);
        assert_eq!(kind, wanted);
        server.write_all(&reply(kind + 1, tag, body)).unwrap();
    };
    next(&mut server);
    thread::scope(|scope| {
        let root = scope.spawn(|| client.attach("glenda", "").unwrap());
        answer(&mut server, types::TATTACH, &[0x80; 13]);
        let root = root.join().unwrap();
        let walked = scope.spawn(move || (root.walk("").unwrap(), root));
        answer(&mut server, types::TWALK, &[0, 0]);
        let (file, root) = walked.join().unwrap();

        let mut context = Context::from_waker(Waker::noop());
        let mut reads = [0, 1].map(|offset| file.start_read(offset, 1).unwrap());
        for read in &mut reads {
            assert!(Pin::new(read).poll(&mut context).is_pending());
        }
        drop(file);
        assert_eq!(client.unclunked().len(), 1);
        for _ in 0..2 {
            answer(&mut server, types::TREAD, &[0; 4]);
        }
        // The receiving thread frees the tags.
        while client.outstanding() > 0 {
            thread::yield_now();
        }
        let attached = scope.spawn(|| client.attach("glenda", "").map(drop));
        answer(&mut server, types::TCLUNK, &[]);
        answer(&mut server, types::TATTACH, &[0x80; 13]);
        attached.join().unwrap().unwrap();
        drop(root);
    });
}

/// A codec with a request in flight at tag 1, which a Tflush with tag 2 names.
fn flushing_codec() -> codec::ClientCodec {
    let mut codec = codec::ClientCodec::new(1000);
    let read = Writer::new(types::TREAD).u32(0).u64(0).u32(1).finish(1000).unwrap();
    let read = Request { id: 10, bytes: read, flushes: None, fid: None };
    let flush = Request { id: 11, bytes: codec::tflush(), flushes: Some(10), fid: None };
    for (tag, request) in [(1, read), (2, flush)] {
        codec.encode(Some(tag), &request, &mut Vec::new()).unwrap();
    }
    codec
}

/// Decodes a stream of messages, and returns their tags.
fn decode_all(codec: &mut codec::ClientCodec, mut input: &[u8]) -> Vec<Option<u32>> {
    let mut tags = Vec::new();
    while let Some((message, length)) = codec.decode(input).unwrap() {
        tags.push(message.tag());
        input = &input[length..];
    }
    assert!(input.is_empty(), "{} bytes are kept", input.len());
    tags
}

#[test]
fn repeated_replies_to_a_flushed_request_are_not_kept() {
    let mut codec = flushing_codec();
    let late = reply(types::RREAD, 1, &[1, 0, 0, 0, 7]);
    assert_eq!(decode_all(&mut codec, &late.repeat(3)), [None; 3]);
    let flushed = reply(types::RFLUSH, 2, &[]);
    assert_eq!(decode_all(&mut codec, &flushed), [Some(1), Some(2)]);
}

#[test]
fn a_refused_flush_frees_the_tag_of_its_request() {
    let late = reply(types::RREAD, 1, &[1, 0, 0, 0, 7]);
    let refused = reply(types::RERROR, 2, &string("no flush"));
    // The reply arrives before or after the refusal.
    let mut codec = flushing_codec();
    let both = [&late[..], &refused].concat();
    assert_eq!(decode_all(&mut codec, &both), [None, Some(1), Some(2)]);
    let mut codec = flushing_codec();
    let both = [&refused[..], &late].concat();
    assert_eq!(decode_all(&mut codec, &both), [Some(2), Some(1)]);
}

#[test]
fn many_threads_and_futures_share_a_connection() {
    let (stream, server) = UnixStream::pair().unwrap();
    thread::spawn(|| Server::default().serve(server));
    let client = Client::spawn(stream).unwrap();
    let mut root = client.attach("glenda", "").unwrap();
    root.write_all(b"0123456789").unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..100 {
                    let mut byte = [0];
                    assert_eq!(root.read_at(n % 10, &mut byte).unwrap(), 1);
                    assert_eq!(byte[0], b'0' + (n % 10) as u8);
                }
            });
        }
        let mut context = Context::from_waker(Waker::noop());
        for n in 0..100 {
            let mut read = root.start_read(n % 10, 1).unwrap();
            let data = loop {
                match Pin::new(&mut read).poll(&mut context) {
                    Poll::Ready(data) => break data.unwrap(),
                    Poll::Pending => thread::yield_now(),
                }
            };
            assert_eq!(data, [b'0' + (n % 10) as u8]);
        }
    });
    client.hang_up();
    assert!(matches!(root.stat(), Err(Error::Connection(mux::Error::HungUp))));
}

#[test]
fn a_server_of_another_version_is_refused() {
    for (msize, version) in [(1000_u32, "unknown"), (100, "9P2000"), (1 << 20, "9P2000")] {
        let (stream, mut server) = UnixStream::pair().unwrap();
        let body = [&msize.to_le_bytes()[..], &string(version)].concat();
        server.write_all(&reply(types::TVERSION + 1, 0xffff, &body)).unwrap();
        assert!(matches!(Client::connect(stream), Err(Error::Protocol(_))));
    }
    let (stream, server) = UnixStream::pair().unwrap();
    drop(server);
    assert!(matches!(Client::connect(stream), Err(Error::Io(_))));
}
