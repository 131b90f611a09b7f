//! Whom the system is asked about, and what it has told.
//!
//! It tells changes: that there is more to read than before, or that an end has come. Room to write is
//! asked for only where a write has found none, since every reply that a client takes makes some.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::stream::Stream;

/// Who is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The server.
    Server,
    /// A signal has come.
    Signals,
    /// The program that was started as the server may have ended.
    Child,
    /// The listener of this number.
    Listener(usize),
    /// The client of this number.
    Client(usize),
}

/// The low two bits of a token say which kind, the third whether it is only written to.
const OUTPUT_ONLY: usize = 4;

fn token(source: Source) -> usize {
    match source {
        Source::Server => 0,
        Source::Signals => 1,
        Source::Child => 1 << 3 | 1,
        Source::Listener(n) => n << 3 | 2,
        Source::Client(n) => n << 3 | 3,
    }
}

/// What has changed.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    pub source: Source,
    pub readable: bool,
    pub writable: bool,
    /// The peer has closed its end, though there may be bytes before that.
    pub peer_closed: bool,
}

impl Readiness {
    fn from_event(event: &Event) -> Readiness {
        let Token(token) = event.token();
        let source = match token & 3 {
            0 => Source::Server,
            1 if token >> 3 == 0 => Source::Signals,
            1 => Source::Child,
            2 => Source::Listener(token >> 3),
            _ => Source::Client(token >> 3),
        };
        // Of one that is only written to, an error is for the next write to find.
        let output = token & OUTPUT_ONLY != 0;
        Readiness {
            source,
            readable: event.is_readable() && !output,
            writable: event.is_writable() || output,
            peer_closed: (event.is_read_closed() || event.is_error()) && !output,
        }
    }
}

/// Asks the system.
pub struct Watch {
    poll: Poll,
    events: Events,
}

impl Watch {
    pub fn new() -> io::Result<Watch> {
        Ok(Watch { poll: Poll::new()?, events: Events::with_capacity(1024) })
    }

    /// Waits until something changes, or so long.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> io::Result<impl Iterator<Item = Readiness>> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            other => other?,
        }
        Ok(self.events.iter().map(Readiness::from_event))
    }

    /// Watches a descriptor for what can be read from it.
    pub fn add(&self, source: Source, fd: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(token(source)), Interest::READABLE)
    }

    /// Whether it is told when a stream can be written to. What can be written by then is told at once.
    pub fn set_write_interest(&self, source: Source, stream: &Stream, on: bool) -> io::Result<()> {
        let registry = self.poll.registry();
        let input = Token(token(source));
        match (stream.output(), on) {
            (None, true) => {
                let both = Interest::READABLE | Interest::WRITABLE;
                registry.reregister(&mut SourceFd(&stream.input()), input, both)
            }
            (None, false) => {
                registry.reregister(&mut SourceFd(&stream.input()), input, Interest::READABLE)
            }
            (Some(fd), true) => registry.register(
                &mut SourceFd(&fd),
                Token(input.0 | OUTPUT_ONLY),
                Interest::WRITABLE,
            ),
            (Some(fd), false) => registry.deregister(&mut SourceFd(&fd)),
        }
    }

    /// A stream is about to be closed.
    pub fn remove(&self, stream: &Stream, writing: bool) {
        // What is closed is forgotten by the system, but a descriptor that was handed in may be open
        // elsewhere too.
        let _ = self.poll.registry().deregister(&mut SourceFd(&stream.input()));
        if let (Some(fd), true) = (stream.output(), writing) {
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
    }

    /// No longer watches this descriptor.
    pub fn remove_fd(&self, fd: RawFd) {
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
    }
}
