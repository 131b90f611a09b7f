//! The connection to the server.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket, sockopt};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::address::Address;
use super::child::{self, ChildServer};
use super::descriptors::{self, Claims};
use super::failure::{Failure, error_text};
use super::namespace;
use super::stream::Stream;
use super::vsock;

/// A connection to the server.
pub struct ServerConnection {
    pub stream: Stream,
    /// The program, if the server was started here.
    pub child: Option<ChildServer>,
}

/// The means to connect to the server again.
#[derive(Clone)]
pub struct Redial {
    address: Address,
    timeout: Duration,
    /// The limit of descriptors for a program that is started.
    limit: Rlimit,
}

impl Redial {
    /// Returns `None` for an address that can be connected to only once. `limit` is the limit of descriptors
    /// that 9pmux was started with.
    pub fn new(address: &Address, timeout: Duration, limit: Rlimit) -> Option<Redial> {
        let redial = || Redial { address: address.clone(), timeout, limit };
        address.can_be_dialled_again().then(redial)
    }

    /// Returns true if the server is started here, which takes no time, instead of being connected to.
    pub fn starts(&self) -> bool {
        matches!(self.address, Address::Exec(_))
    }

    /// Connects to the server again. Blocks for at most the time of the first connection, and not at all
    /// if it `starts` the server.
    pub fn connect(&self) -> Result<ServerConnection, Failure> {
        let starts = self.starts();
        if starts {
            // If that fails, the program inherits the higher limit.
            let _ = setrlimit(Resource::Nofile, self.limit);
        }
        let server = dial(&self.address, &mut Claims::none(), self.timeout);
        if starts {
            descriptors::raise_limit();
        }
        server
    }
}

/// Connects to the server.
pub fn dial(
    address: &Address,
    claims: &mut Claims,
    timeout: Duration,
) -> Result<ServerConnection, Failure> {
    let (result, hint) = match address {
        Address::Tcp(host, port) => (
            connect_tcp(host, *port, timeout),
            "check that it runs, and that host and port are right",
        ),
        Address::Vsock(machine) => (
            vsock::connect(*machine, timeout).map(Stream::socket),
            "check that it runs, and that the numbers of machine and port are right",
        ),
        Address::Unix(path) => {
            (connect_unix(path, timeout), "check that it runs, and that the path is right")
        }
        Address::Service(name) => (
            namespace::directory()
                .map_err(io::Error::other)
                .and_then(|directory| connect_unix(&directory.join(name), timeout)),
            "check that it runs, and that $NAMESPACE is its namespace",
        ),
        Address::Exec(command) => {
            let (stream, child) = child::start(command)
                .map(|(fd, child)| (Stream::socket(fd), Some(child)))
                .map_err(|error| Failure::Connect(address.clone(), error_text(&error)))?;
            return finish(address, stream, child);
        }
        Address::Fd(_) | Address::NamedFd(_) | Address::Stdio => {
            let stream = claims.take(address).expect("it was claimed at the beginning");
            let fine = match stream.is_listening() {
                true => Err("it is a listening socket, which only LISTEN can be".to_owned()),
                false => stream.check_usable(),
            };
            fine.map_err(|why| Failure::Connect(address.clone(), why))?;
            stream.set_remote_options();
            return finish(address, stream, None);
        }
    };
    match result {
        Ok(stream) => finish(address, stream, None),
        Err(error) => {
            Err(Failure::Connect(address.clone(), format!("{}: {hint}", error_text(&error))))
        }
    }
}

fn finish(
    address: &Address,
    mut stream: Stream,
    child: Option<ChildServer>,
) -> Result<ServerConnection, Failure> {
    stream
        .set_nonblocking()
        .map_err(|error| Failure::Connect(address.clone(), error_text(&error)))?;
    Ok(ServerConnection { stream, child })
}

fn connect_tcp(host: &str, port: u16, timeout: Duration) -> io::Result<Stream> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let socket = connect_first(&addresses, timeout, TcpStream::connect_timeout)?;
    let stream = Stream::socket(socket.into());
    stream.set_remote_options();
    Ok(stream)
}

/// Connects to the first address that accepts. Each address gets an equal share of the remaining time, so an
/// address that does not respond, such as one without a route, leaves time for the others.
fn connect_first<T>(
    addresses: &[SocketAddr],
    timeout: Duration,
    mut connect: impl FnMut(&SocketAddr, Duration) -> io::Result<T>,
) -> io::Result<T> {
    let until = Instant::now() + timeout;
    let mut last = io::Error::other("the host has no address");
    for (n, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - n) as u32;
        // A timeout of zero is invalid.
        match connect(address, share.max(Duration::from_millis(1))) {
            Err(error) => last = error,
            connected => return connected,
        }
    }
    Err(last)
}

fn connect_unix(path: &Path, timeout: Duration) -> io::Result<Stream> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    // A server with a full queue makes the next connection wait.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(timeout))?;
    // The call may return EINTR after the process was stopped and continued.
    match retry_on_intr(|| connect(&socket, &SocketAddrUnix::new(path)?)) {
        Err(Errno::AGAIN) => Err(io::Error::other("it does not accept connections")),
        Err(error) => Err(error.into()),
        Ok(()) => {
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
            Ok(Stream::socket(socket))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_does_not_respond_leaves_time_for_the_next() {
        let addresses = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let hour = Duration::from_secs(3600);
        let mut given = Vec::new();
        let connected = connect_first(&addresses, 3 * hour, |address, time| {
            given.push(time);
            match address.port() {
                3 => Ok("the third"),
                _ => Err(io::ErrorKind::TimedOut.into()),
            }
        });
        assert_eq!(connected.unwrap(), "the third");
        // a refusal takes no time, which the other addresses get
        assert!(given[0] <= hour && given[1] > hour && given[2] > 2 * hour, "{given:?}");
        let none = connect_first(&[], hour, |_, _| Ok(()));
        assert!(none.unwrap_err().to_string().contains("no address"));
    }
}
