//! The errors of the client.

use std::fmt;
use std::io;

/// The reason why an operation of the client has failed.
#[non_exhaustive]
#[derive(Debug)]
pub enum Error {
    /// The server has refused the request, with this text.
    Refused(String),
    /// The connection has ended, or the request could not be sent.
    Connection(mux::Error),
    /// The connection could not be made: the socket has failed, or the receiving thread could not be started.
    Io(io::Error),
    /// All fids are in use.
    NoFid,
    /// The server has sent a reply that 9P does not allow here.
    Protocol(&'static str),
    /// A name or a text is too long for a message.
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(text) => f.write_str(text),
            Error::Connection(_) => f.write_str("the call has failed"),
            Error::Io(_) => f.write_str("the connection could not be made"),
            Error::NoFid => f.write_str("all fids are in use"),
            Error::Protocol(what) => write!(f, "the reply breaks the protocol: {what}"),
            Error::TooLong => f.write_str("a name or a text is too long for a message"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Connection(error) => Some(error),
            Error::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<mux::Error> for Error {
    fn from(error: mux::Error) -> Error {
        Error::Connection(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        match error {
            Error::Connection(error) => error.into(),
            Error::Io(error) => error,
            Error::Protocol(_) => io::Error::new(io::ErrorKind::InvalidData, error),
            Error::NoFid => io::Error::new(io::ErrorKind::OutOfMemory, error),
            Error::TooLong => io::Error::new(io::ErrorKind::InvalidInput, error),
            Error::Refused(_) => io::Error::other(error),
        }
    }
}
