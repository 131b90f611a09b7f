//! Non-blocking connections and their event loop, for the stub and for the clients.

use std::io::{self, ErrorKind::WouldBlock, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// An incomplete message, and output that has not been written.
pub struct Peer {
    stream: UnixStream,
    input: Vec<u8>,
    pub output: Vec<u8>,
    blocked: bool,
    over: bool,
}

impl Peer {
    pub fn new(stream: UnixStream) -> Peer {
        stream.set_nonblocking(true).unwrap();
        Peer { stream, input: Vec::new(), output: Vec::new(), blocked: false, over: false }
    }

    /// Reads all available messages and passes on each; then writes the output.
    fn turn(&mut self, buffer: &mut [u8], mut each: impl FnMut(&[u8], &mut Vec<u8>)) {
        loop {
            let n = match self.stream.read(buffer) {
                Ok(0) => return self.over = true,
                Ok(n) => n,
                Err(error) if error.kind() == WouldBlock => break,
                Err(_) => return self.over = true,
            };
            let mut bytes = &buffer[..n];
            let joined;
            if !self.input.is_empty() {
                self.input.extend_from_slice(bytes);
                joined = std::mem::take(&mut self.input);
                bytes = &joined;
            }
            while let Some(size) = bytes.first_chunk() {
                let size = u32::from_le_bytes(*size) as usize;
                let Some((message, rest)) = bytes.split_at_checked(size) else { break };
                each(message, &mut self.output);
                bytes = rest;
            }
            self.input.extend_from_slice(bytes);
            if n < buffer.len() {
                break;
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        self.blocked = false;
        let mut at = 0;
        while at < self.output.len() {
            match self.stream.write(&self.output[at..]) {
                Ok(n) => at += n,
                Err(error) if error.kind() == WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(_) => return self.over = true,
            }
        }
        self.output.drain(..at);
    }
}

fn watch(poll: &Poll, fd: i32, token: usize, writing: bool, again: bool) {
    let interest = match writing {
        true => Interest::READABLE | Interest::WRITABLE,
        false => Interest::READABLE,
    };
    let registry = poll.registry();
    match again {
        true => registry.reregister(&mut SourceFd(&fd), Token(token), interest).unwrap(),
        false => registry.register(&mut SourceFd(&fd), Token(token), interest).unwrap(),
    }
}

/// Runs the peers until `until` returns true after a round of events.
pub fn turn_all(
    peers: &mut Vec<Option<Peer>>,
    listener: Option<&UnixListener>,
    mut each: impl FnMut(&[u8], &mut Vec<u8>),
    mut until: impl FnMut() -> bool,
) {
    const LISTENER: usize = usize::MAX - 1;
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    for (n, peer) in peers.iter_mut().enumerate() {
        if let Some(peer) = peer {
            watch(&poll, peer.stream.as_raw_fd(), n, false, false);
            peer.flush();
        }
    }
    if let Some(listener) = listener {
        listener.set_nonblocking(true).unwrap();
        watch(&poll, listener.as_raw_fd(), LISTENER, false, false);
    }
    loop {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.unwrap(),
        }
        for event in &events {
            let Token(n) = event.token();
            if n == LISTENER {
                while let Some(Ok((stream, _))) = listener.map(UnixListener::accept) {
                    let at = peers.iter().position(Option::is_none).unwrap_or(peers.len());
                    if at == peers.len() {
                        peers.push(None);
                    }
                    watch(&poll, stream.as_raw_fd(), at, false, false);
                    peers[at] = Some(Peer::new(stream));
                }
                continue;
            }
            let Some(peer) = peers.get_mut(n).and_then(Option::as_mut) else { continue };
            let before = peer.blocked;
            if event.is_writable() {
                peer.flush();
            }
            peer.turn(&mut buffer, &mut each);
            if peer.blocked != before {
                watch(&poll, peer.stream.as_raw_fd(), n, peer.blocked, true);
            }
            if peer.over {
                peers[n] = None;
            }
        }
        if until() {
            return;
        }
    }
}
