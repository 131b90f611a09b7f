//! Readiness of descriptors, reported by the operating system.
//!
//! Events are edges: more data has arrived, or an end has been reached. Writability is asked for only after a
//! write would have blocked, since otherwise each reply that a client reads would cause an event, and for a
//! peer that sends nothing more: its end is otherwise not reported on every system.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::stream::Stream;

/// The source of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The server, or the stream of a link.
    Server,
    /// The server of a link's export.
    Export,
    /// The stream of signals.
    Signals,
    /// The program that was started as the server may have ended.
    Child,
    /// The program that was started as the server of a link's export may have ended.
    ExportChild,
    /// The attempt to connect to the server has ended.
    Attempt,
    /// The attempt to connect to the server of a link's export has ended.
    ExportAttempt,
    /// The listener with this index.
    Listener(usize),
    /// The client with this index.
    Client(usize),
    /// The descriptor with this index.
    Descriptor(usize),
}

/// The low two bits of a token are the kind of source; this bit marks a descriptor that is only written.
const OUTPUT_ONLY: usize = 4;

fn token(source: Source) -> usize {
    match source {
        Source::Server => 0,
        Source::Export => 1 << 3,
        Source::Descriptor(n) => (n + 2) << 3,
        Source::Signals => 1,
        Source::Child => 1 << 3 | 1,
        Source::ExportChild => 2 << 3 | 1,
        Source::Attempt => 3 << 3 | 1,
        Source::ExportAttempt => 4 << 3 | 1,
        Source::Listener(n) => n << 3 | 2,
        Source::Client(n) => n << 3 | 3,
    }
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    pub source: Source,
    pub readable: bool,
    pub writable: bool,
    /// The peer sends nothing more. There may be bytes before that.
    pub input_ended: bool,
    /// The descriptor is closed at the other end for both directions, or has failed. There may be bytes
    /// before that.
    pub hung_up: bool,
    /// The event is about a descriptor that is only written.
    pub output_only: bool,
}

impl Readiness {
    fn from_event(event: &Event) -> Readiness {
        let Token(token) = event.token();
        let source = match token & 3 {
            0 if token >> 3 == 0 => Source::Server,
            0 if token >> 3 == 1 => Source::Export,
            0 => Source::Descriptor((token >> 3) - 2),
            1 if token >> 3 == 0 => Source::Signals,
            1 if token >> 3 == 1 => Source::Child,
            1 if token >> 3 == 2 => Source::ExportChild,
            1 if token >> 3 == 3 => Source::Attempt,
            1 => Source::ExportAttempt,
            2 => Source::Listener(token >> 3),
            _ => Source::Client(token >> 3),
        };
        let output = token & OUTPUT_ONLY != 0;
        Readiness {
            source,
            readable: event.is_readable() && !output,
            writable: event.is_writable() || output,
            input_ended: (event.is_read_closed() || event.is_error()) && !output,
            hung_up: event.is_write_closed() || event.is_error(),
            output_only: output,
        }
    }
}

/// The poller.
pub struct Watch {
    poll: Poll,
    events: Events,
}

impl Watch {
    pub fn new() -> io::Result<Watch> {
        Ok(Watch { poll: Poll::new()?, events: Events::with_capacity(1024) })
    }

    /// Waits at most `timeout` for events.
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

    /// Reports from now on when data can be read from the descriptor.
    pub fn add(&self, source: Source, fd: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(token(source)), Interest::READABLE)
    }

    /// Reports from now on when the stream can be written, or stops that. A stream that can be written already is
    /// reported at once.
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

    /// Removes a stream. Must be called before the stream is closed.
    pub fn remove(&self, stream: &Stream, writing: bool) {
        // The system forgets a descriptor when its open file is closed, but an inherited one may be open in
        // other processes too.
        let _ = self.poll.registry().deregister(&mut SourceFd(&stream.input()));
        if let (Some(fd), true) = (stream.output(), writing) {
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
    }

    /// Removes a descriptor.
    pub fn remove_fd(&self, fd: RawFd) {
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
    }
}
