//! Sockets that both halves of a transport share.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A connected socket. A program may implement this for a stream of its own, for [`transport`](super::transport).
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
pub struct Stream<S>(Arc<S>);

impl<S: Socket> Stream<S> {
    pub(super) fn new(socket: S) -> Stream<S> {
        Stream(Arc::new(socket))
    }

    /// Shuts the socket down. A socket that its peer has disconnected is down already.
    pub(super) fn shut_down(&self) {
        let _ = self.0.shut_down();
    }
}

impl<S> Clone for Stream<S> {
    fn clone(&self) -> Stream<S> {
        Stream(self.0.clone())
    }
}

impl<S: Socket> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<S: Socket> Write for Stream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Socket> AsFd for Stream<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<S> fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}
