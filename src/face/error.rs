//! The errors of calls.

use std::fmt;
use std::io;
use std::sync::Arc;

/// How a connection has ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// The receiver has reported the end, with this error if it was no proper end.
    Closed(Option<Arc<io::Error>>),
    /// The program has hung up.
    HungUp,
}

/// The reason why a call, or another operation of a [`Mux`](crate::Mux) or a [`Client`](crate::Client),
/// has failed.
///
/// The error that a sender or a receiver has returned is the [`source`](std::error::Error::source). An
/// `Error` can be converted to an [`io::Error`], for functions that return one.
#[non_exhaustive]
#[derive(Debug)]
pub enum Error {
    /// The connection has ended: with this error of the receiver, or properly if there is none. The server
    /// may have received the request.
    Ended(Option<Arc<io::Error>>),
    /// The sender could not send the request.
    Send(io::Error),
    /// The program has hung up, with [`hang_up`](crate::Mux::hang_up) or by dropping the last
    /// [`Client`](crate::Client).
    HungUp,
    /// The deadline of the call has passed. The server may have received the request and may still reply.
    TimedOut,
    /// All tags are in use and the call does not wait for a tag, or all tags belong to abandoned calls.
    NoTag,
    /// The range of tags is empty.
    EmptyRange,
    /// No memory is available for another call.
    NoMemory,
    /// No thread receives messages, so that the call would wait for ever. A task needs
    /// [`Client::spawn`](crate::Client::spawn), a [`Driver`](crate::Driver) or an
    /// [event loop](crate::Transport::event_loop); other operations that do not block need a receiver that
    /// [polls](crate::Transport::try_recvs).
    NoReceiver,
    /// A [`Driver`](crate::Driver) receives all messages, so that a single message cannot be received.
    Busy,
    /// The result of the call has already been returned, or the call has been cancelled.
    Finished,
}

impl Error {
    fn kind(&self) -> io::ErrorKind {
        match self {
            Error::Ended(Some(cause)) => cause.kind(),
            Error::Ended(None) => io::ErrorKind::UnexpectedEof,
            Error::Send(failure) => failure.kind(),
            Error::HungUp => io::ErrorKind::ConnectionAborted,
            Error::TimedOut => io::ErrorKind::TimedOut,
            Error::NoTag | Error::Busy => io::ErrorKind::WouldBlock,
            Error::NoMemory => io::ErrorKind::OutOfMemory,
            Error::EmptyRange => io::ErrorKind::InvalidInput,
            Error::NoReceiver | Error::Finished => io::ErrorKind::Other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Ended(_) => "the connection has ended",
            Error::Send(_) => "the request could not be sent",
            Error::HungUp => "the connection has been hung up",
            Error::TimedOut => "the deadline has passed",
            Error::NoTag => "all tags are in use",
            Error::EmptyRange => "the range of tags is empty",
            Error::NoMemory => "out of memory",
            Error::NoReceiver => "no thread receives messages",
            Error::Busy => "a driver receives all messages",
            Error::Finished => "the result of the call has already been returned",
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Ended(Some(cause)) => Some(&**cause),
            Error::Send(failure) => Some(failure),
            _ => None,
        }
    }
}

/// The kind is that of the source, or the kind closest to the error. The error itself is kept inside.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}
