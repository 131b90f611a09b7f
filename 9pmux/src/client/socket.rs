//! The sockets that a client may use.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use mux::framed::Socket;

/// A connected socket, blocking, made from a `TcpStream` or a `UnixStream`.
#[derive(Debug)]
pub struct ServerStream(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for ServerStream {
    fn from(stream: TcpStream) -> ServerStream {
        ServerStream(Kind::Tcp(stream))
    }
}

impl From<UnixStream> for ServerStream {
    fn from(stream: UnixStream) -> ServerStream {
        ServerStream(Kind::Unix(stream))
    }
}

impl AsFd for ServerStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Tcp(stream) => stream.as_fd(),
            Kind::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Socket for ServerStream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Kind::Tcp(stream) => Socket::read(stream, buffer),
            Kind::Unix(stream) => Socket::read(stream, buffer),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Kind::Tcp(stream) => Socket::write(stream, bytes),
            Kind::Unix(stream) => Socket::write(stream, bytes),
        }
    }

    fn shut_down(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Tcp(stream) => stream.shut_down(),
            Kind::Unix(stream) => stream.shut_down(),
        }
    }

    fn prepare(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Tcp(stream) => stream.prepare(),
            Kind::Unix(stream) => stream.prepare(),
        }
    }
}

/// The socket before the multiplexor owns it.
pub(super) struct Blocking<'a>(pub &'a ServerStream);

impl Read for Blocking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Socket::read(self.0, buffer)
    }
}

impl Write for Blocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Socket::write(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
