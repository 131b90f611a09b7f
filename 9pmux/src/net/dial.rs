//! The way to the server.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket, sockopt};

use super::address::Address;
use super::child::{self, Started};
use super::descriptors::Claims;
use super::failure::{Failure, words};
use super::namespace;
use super::stream::Stream;

/// A connection to the server.
pub struct Dialled {
    pub stream: Stream,
    /// If the server was started here.
    pub child: Option<Started>,
}

/// Reaches the server.
pub fn dial(address: &Address, claims: &mut Claims, timeout: Duration) -> Result<Dialled, Failure> {
    let (result, hint) = match address {
        Address::Tcp(host, port) => {
            (tcp(host, *port, timeout), "see that it runs, and that host and port are right")
        }
        Address::Unix(path) => {
            (unix(path, timeout), "see that it runs, and that the path is right")
        }
        Address::Service(name) => (
            namespace::directory()
                .map_err(io::Error::other)
                .and_then(|directory| unix(&directory.join(name), timeout)),
            "see that it runs, and that $NAMESPACE is its namespace",
        ),
        Address::Exec(command) => {
            let (stream, child) = child::start(command)
                .map(|(fd, child)| (Stream::socket(fd), Some(child)))
                .map_err(|error| Failure::Reach(address.clone(), words(&error)))?;
            return finish(address, stream, child);
        }
        Address::Fd(_) | Address::Stdio => {
            let stream = claims.take(address).expect("it was claimed at the beginning");
            let fine = match stream.listens() {
                true => Err("it is a socket that listens, which only LISTEN can be".to_owned()),
                false => stream.check(),
            };
            fine.map_err(|why| Failure::Reach(address.clone(), why))?;
            stream.is_remote();
            return finish(address, stream, None);
        }
    };
    match result {
        Ok(stream) => finish(address, stream, None),
        Err(error) => Err(Failure::Reach(address.clone(), format!("{}: {hint}", words(&error)))),
    }
}

fn finish(address: &Address, stream: Stream, child: Option<Started>) -> Result<Dialled, Failure> {
    stream.unblock().map_err(|error| Failure::Reach(address.clone(), words(&error)))?;
    Ok(Dialled { stream, child })
}

fn tcp(host: &str, port: u16, timeout: Duration) -> io::Result<Stream> {
    let until = Instant::now() + timeout;
    let mut last = io::Error::other("the host has no address");
    for address in (host, port).to_socket_addrs()? {
        // A timeout of nothing is not one.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(socket) => {
                let stream = Stream::socket(socket.into());
                stream.is_remote();
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn unix(path: &Path, timeout: Duration) -> io::Result<Stream> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    // One that has more callers than it accepts lets the next one wait.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(timeout))?;
    // A program that was stopped and goes on hears of that.
    match retry_on_intr(|| connect(&socket, &SocketAddrUnix::new(path)?)) {
        Err(Errno::AGAIN) => Err(io::Error::other("it does not accept the connection")),
        Err(error) => Err(error.into()),
        Ok(()) => {
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
            Ok(Stream::socket(socket))
        }
    }
}
