//! Tests of framed transports over sockets and over streams in memory.

use std::io::{self, Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use super::*;
use crate::{Batch, Error, Message, Mux, Receiver, RecvBatch, SendBatch, Sender};

fn bytes(messages: &[(Option<u32>, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, body) in messages {
        LengthPrefix::new().encode(*tag, &body.to_vec(), &mut out).unwrap();
    }
    out
}

/// Returns its bytes in pieces of `size`.
struct Pieces {
    bytes: Cursor<Vec<u8>>,
    size: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.size.min(buffer.len());
        self.bytes.read(&mut buffer[..size])
    }
}

fn receiver(bytes: Vec<u8>, size: usize) -> FramedReceiver<LengthPrefix, Pieces> {
    FramedReceiver::new(Pieces { bytes: Cursor::new(bytes), size }, LengthPrefix::new())
}

#[test]
fn a_message_is_found_in_pieces_of_any_size() {
    let large = vec![7; 100_000];
    let sent = bytes(&[(Some(1), b"one"), (None, b""), (Some(2), &large), (Some(3), b"last")]);
    for size in [1, 2, 5, 4096, 1 << 20] {
        let mut receiver = receiver(sent.clone(), size);
        let mut next = || receiver.recv().unwrap();
        assert_eq!(next(), Some(Message::tagged(1, b"one".to_vec())));
        assert_eq!(next(), Some(Message::untagged(Vec::new())));
        assert_eq!(next(), Some(Message::tagged(2, large.clone())));
        assert_eq!(next(), Some(Message::tagged(3, b"last".to_vec())));
        assert_eq!(next(), None);
    }
}

#[test]
fn a_batch_has_all_that_was_read() {
    let many: Vec<_> = (0..20).map(|n| (Some(n), &b"text"[..])).collect();
    let mut receiver = receiver(bytes(&many), 1 << 20);
    for expected in [16, 4, 0] {
        let mut batch = Batch::default();
        receiver.recv_batch(&mut batch).unwrap();
        assert_eq!(batch.len(), expected);
    }
}

#[test]
fn bad_bytes_are_errors() {
    let whole = bytes(&[(Some(1), b"text")]);
    let cut = receiver(whole[..whole.len() - 1].to_vec(), 100).recv().unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    let long = receiver(vec![0xff; 8], 100).recv().unwrap_err();
    assert_eq!(long.kind(), io::ErrorKind::InvalidData);
    let short = receiver(vec![0, 0, 0, 3, 0, 0, 0], 100).recv().unwrap_err();
    assert_eq!(short.kind(), io::ErrorKind::InvalidData);
    for size in [0_u32, 6, 101] {
        let bytes = [&size.to_le_bytes()[..], &[101, 1, 0]].concat();
        let error = NineP::new(100).decode(&bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn a_message_of_9p_keeps_all_but_its_tag() {
    let message = vec![9, 0, 0, 0, 120, 0xff, 0xff, 1, 2];
    let mut out = b"before".to_vec();
    NineP::new(100).encode(Some(0x0102), &message, &mut out).unwrap();
    assert_eq!(out, [b"before", &[9, 0, 0, 0, 120, 2, 1, 1, 2][..]].concat());
    let decoded = NineP::new(100).decode(&out[6..]).unwrap();
    assert_eq!(decoded, Some((Message::tagged(0x0102, out[6..].to_vec()), 9)));
    assert_eq!(NineP::new(100).decode(&out[6..14]).unwrap(), None);
    for bad in [vec![8, 0, 0, 0, 120, 0, 0], vec![0; 3], vec![0; 101]] {
        let error = NineP::new(100).encode(None, &bad, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

/// Fails each write after the first `0` ones.
struct Failing(usize, Vec<u8>);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
        self.1.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_batch_is_one_write_and_a_bad_request_fails_alone() {
    let codec = LengthPrefix::new().max_length(4);
    let mut sender = FramedSender::new(Failing(1, Vec::new()), codec);
    let mut batch = Batch::default();
    for body in ["one", "two", "too long", "four"] {
        batch.push(Message::tagged(0, body.as_bytes().to_vec())).unwrap();
    }
    assert_eq!(sender.send_batch(&mut batch).unwrap().get(), 2);
    batch.advance(2);
    let error = sender.send_batch(&mut batch).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    batch.advance(1);
    // From the first failed write on, every request fails.
    let error = sender.send_batch(&mut batch).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    let error = sender.send(Message::tagged(1, Vec::new())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

/// Returns each message with its tag, and ends the connection after the text "bye".
fn serve(stream: impl Socket) {
    let mut stream = Stream::new(stream);
    let mut receiver = FramedReceiver::new(stream.clone(), LengthPrefix::new());
    while let Ok(Some(message)) = receiver.recv() {
        if message.body == b"bye"
            || stream.write_all(&bytes(&[(message.tag(), &message.body)])).is_err()
        {
            break;
        }
    }
}

#[test]
fn many_threads_share_a_socket() {
    let (stream, server) = UnixStream::pair().unwrap();
    thread::spawn(|| serve(server));
    let client = Client::new(transport(stream, LengthPrefix::new()).unwrap());
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let client = client.clone();
            thread::spawn(move || {
                for n in 0..100 {
                    let text = format!("{caller} {n}").into_bytes();
                    assert_eq!(client.rpc(text.clone()).unwrap(), text);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    assert!(matches!(client.rpc(b"bye".to_vec()), Err(Error::Ended(None))));
}

#[test]
fn hanging_up_ends_a_blocked_call_over_tcp() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    assert!(!stream.nodelay().unwrap());
    let client = Client::new(transport(stream, LengthPrefix::new()).unwrap());
    let waiting = thread::spawn({
        let client = client.clone();
        move || client.rpc(b"the server does not reply".to_vec())
    });
    while client.outstanding() < 1 {
        thread::yield_now();
    }
    client.hang_up();
    assert!(matches!(waiting.join().unwrap(), Err(Error::HungUp)));
    drop(server);
}

/// A socket whose second write fails after one byte.
struct Stuck(UnixStream, std::sync::atomic::AtomicUsize);

impl std::os::fd::AsFd for Stuck {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Socket for Stuck {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Socket::read(&self.0, buffer)
    }
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Socket::write(&self.0, bytes),
            1 => Socket::write(&self.0, &bytes[..1]),
            2 => Err(io::ErrorKind::Interrupted.into()),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
    fn shut_down(&self) -> io::Result<()> {
        self.0.shut_down()
    }
}

#[test]
fn a_partial_write_ends_the_connection() {
    let (stream, mut server) = UnixStream::pair().unwrap();
    let client = Client::spawn(transport(Stuck(stream, 0.into()), LengthPrefix::new()).unwrap());
    let client = client.unwrap();
    let waiting = client.call(b"first".to_vec());
    let waiting = thread::spawn(move || futures::executor::block_on(waiting));
    while client.outstanding() < 1 {
        thread::yield_now();
    }
    let error = io::Error::from(client.rpc(b"second".to_vec()).unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    // The server reads the end behind the part of the message.
    let mut seen = Vec::new();
    server.set_nonblocking(true).unwrap();
    server.read_to_end(&mut seen).unwrap();
    assert_eq!(seen.len(), bytes(&[(Some(0), b"first")]).len() + 1);
    let error = waiting.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::Ended(Some(cause)) if cause.kind() == io::ErrorKind::TimedOut));
}

#[test]
fn a_socket_can_be_polled() {
    let (stream, server) = UnixStream::pair().unwrap();
    let mux = Mux::new(transport(stream, LengthPrefix::new()).unwrap());
    let mut call = mux.start(b"hello".to_vec()).unwrap();
    assert!(call.try_finish().is_pending());
    assert!(mux.try_recv_message().unwrap().is_none());
    let late = mux.rpc_timeout(b"hush".to_vec(), Duration::ZERO);
    assert!(matches!(late, Err(Error::TimedOut)));
    // A part of a message is no message.
    let reply = bytes(&[(call.tag(), b"hi")]);
    (&server).write_all(&reply[..5]).unwrap();
    assert!(call.try_finish().is_pending());
    (&server).write_all(&reply[5..]).unwrap();
    assert!(matches!(call.try_finish(), std::task::Poll::Ready(Ok(text)) if text == b"hi"));
    drop(server);
    assert!(matches!(mux.deliver_available(), Err(Error::Ended(_))));
}
