//! Sockets that both halves of a transport share.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};

/// A connected socket. A program may implement this for a stream of its own, for [`transport`](super::transport).
///
/// The descriptor must be readable while a read would return without waiting. A stream that keeps received bytes
/// in a buffer, as TLS does, must use [`transport_over`](super::transport_over) instead.
pub trait Socket: AsFd + Send + Sync + 'static {
    /// Reads into `buffer`, as [`Read::read`].
    ///
    /// # Errors
    /// As [`Read::read`].
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes a part of `bytes`, as [`Write::write`].
    ///
    /// # Errors
    /// As [`Write::write`].
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Shuts both directions down, so that a thread that is blocked in a read or a write returns.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn shut_down(&self) -> io::Result<()>;

    /// Sets the options that a connection for small messages needs.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for UnixStream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut &*self, buffer)
    }
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut &*self, bytes)
    }
    fn shut_down(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Both)
    }
}

impl Socket for TcpStream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut &*self, buffer)
    }
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut &*self, bytes)
    }
    fn shut_down(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Both)
    }
    fn prepare(&self) -> io::Result<()> {
        self.set_nodelay(true)
    }
}

/// A socket that is shared by both halves of a transport, and closed when both have been dropped.
///
/// A write that fails may have written a part of a message. It therefore shuts the socket down, and the receiver
/// ends with an error of the same kind.
pub struct Stream<S>(Arc<Shared<S>>);

struct Shared<S> {
    socket: S,
    /// The kind of the error of a failed write.
    failed: OnceLock<io::ErrorKind>,
}

impl<S: Socket> Stream<S> {
    pub(super) fn new(socket: S) -> Stream<S> {
        Stream(Arc::new(Shared { socket, failed: OnceLock::new() }))
    }

    /// Shuts the socket down. A socket that its peer has disconnected is down already.
    pub(super) fn shut_down(&self) {
        let _ = self.0.socket.shut_down();
    }
}

impl<S> Clone for Stream<S> {
    fn clone(&self) -> Stream<S> {
        Stream(self.0.clone())
    }
}

impl<S: Socket> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.socket.read(buffer);
        match (&read, self.0.failed.get()) {
            (Ok(0), Some(kind)) => Err(io::Error::new(*kind, "a request could not be written")),
            _ => read,
        }
    }
}

impl<S: Socket> Write for Stream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let error = match self.0.socket.write(bytes) {
            Ok(0) if !bytes.is_empty() => io::ErrorKind::WriteZero.into(),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => error,
            written => return written,
        };
        let _ = self.0.failed.set(error.kind());
        self.shut_down();
        Err(error)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Socket> AsFd for Stream<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

impl<S> fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}
