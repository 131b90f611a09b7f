//! The addresses on which clients connect.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};

use super::address::Address;
use super::descriptors::Claims;
use super::failure::{Failure, error_text};
use super::fd::Fd;
use super::namespace;
use super::post::{self, Access, PostedSocket};
use super::stream::Stream;

/// The number of connections that may wait to be accepted. The system may have a lower bound.
pub const BACKLOG: i32 = 4096;

/// The result of announcing an address.
#[derive(Debug)]
pub enum Announcement {
    /// A listening socket.
    Listener(Listener),
    /// An inherited connection, which is the only client of this address.
    Client(Stream),
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Fd,
    address: Address,
    /// The socket in the file system, which is removed when the listener is dropped.
    posted: Option<PostedSocket>,
    /// A connection may wait to be accepted.
    pub ready: bool,
}

/// The result of one accept.
pub enum AcceptOutcome {
    /// A new client.
    Client(Stream),
    /// No connection waits.
    WouldBlock,
    /// A connection was closed before it was accepted.
    Aborted,
    /// A connection waits, but descriptors or memory are short until a client disconnects.
    OutOfResources(Errno),
    /// The accept has failed for another reason.
    Failed(Errno),
}

impl Listener {
    /// Listens on a socket of the file system that has all permissions that the umask leaves.
    pub fn post(path: &Path) -> Result<Listener, String> {
        let (socket, posted) = post::post(path, Access::Umask)?;
        let (address, posted) = (Address::Unix(path.to_owned()), Some(posted));
        Ok(Listener { socket: socket.into(), address, posted, ready: true })
    }

    /// The descriptor, for the poller.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Its address, with the path of the socket if the address is the name of a service. For the log.
    pub fn describe(&self) -> String {
        match (&self.address, &self.posted) {
            (Address::Service(name), Some(posted)) => {
                format!("{name} ({})", posted.path().display())
            }
            (address, _) => address.to_string(),
        }
    }

    /// Its address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts one connection.
    pub fn accept(&self) -> AcceptOutcome {
        match accept(&self.socket) {
            Ok(socket) => {
                let stream = Stream::socket(socket);
                if let Address::Tcp(..) | Address::Fd(_) = self.address {
                    stream.set_remote_options();
                }
                AcceptOutcome::Client(stream)
            }
            Err(error) => AcceptOutcome::from_error(error),
        }
    }
}

impl AcceptOutcome {
    /// Classifies an error of accept. `Aborted`, after which the caller accepts again at once, is only for
    /// errors that have consumed a pending connection. Retrying after any other error would spin.
    fn from_error(error: Errno) -> AcceptOutcome {
        match error {
            Errno::AGAIN => AcceptOutcome::WouldBlock,
            // The connection was closed while it waited.
            Errno::CONNABORTED | Errno::INTR | Errno::PROTO => AcceptOutcome::Aborted,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => {
                AcceptOutcome::OutOfResources(error)
            }
            _ => AcceptOutcome::Failed(error),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn accept(socket: &Fd) -> Result<OwnedFd, Errno> {
    use rustix::net::SocketFlags;
    rustix::net::accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn accept(socket: &Fd) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::accept(socket)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Listens on an address.
pub fn announce(address: &Address, claims: &mut Claims) -> Result<Announcement, Failure> {
    let (socket, posted) = match address {
        Address::Tcp(host, port) => listen_tcp(host, *port)
            .map(|socket| (Fd::from(socket), None))
            .map_err(|error| format!("{}: choose another port or host", error_text(&error))),
        Address::Unix(path) => {
            post::post(path, Access::Private).map(|(socket, posted)| (socket.into(), Some(posted)))
        }
        Address::Service(name) => namespace::directory()
            .and_then(|directory| post::post(&directory.join(name), Access::Private))
            .map(|(socket, posted)| (socket.into(), Some(posted))),
        Address::Exec(_) => Err("exec! starts a server: only SERVER can be started".to_owned()),
        Address::Fd(_) | Address::Stdio => {
            let mut stream = claims.take(address).expect("it was claimed at the beginning");
            let fine = if stream.is_listening() { Ok(()) } else { stream.check_usable() };
            match fine.and_then(|()| stream.set_nonblocking().map_err(|error| error_text(&error))) {
                Ok(()) if stream.is_listening() => Ok((stream.into_fd(), None)),
                Ok(()) => {
                    stream.set_remote_options();
                    return Ok(Announcement::Client(stream));
                }
                Err(why) => Err(why),
            }
        }
    }
    .map_err(|why| Failure::Announce(address.clone(), why))?;
    // For port 0 the system has chosen a port.
    let address = match (address, local_port(&socket)) {
        (Address::Tcp(host, 0), Some(port)) => Address::Tcp(host.clone(), port),
        _ => address.clone(),
    };
    Ok(Announcement::Listener(Listener { socket, address, posted, ready: true }))
}

fn local_port(socket: &Fd) -> Option<u16> {
    let address = rustix::net::getsockname(socket).ok()?;
    SocketAddr::try_from(address).ok().map(|address| address.port())
}

fn listen_tcp(host: &str, port: u16) -> io::Result<OwnedFd> {
    if host == "*" {
        // One socket for both families, or for IPv4 alone if there is no IPv6.
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        return match listen_on(both) {
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
                Ok(listen_on((Ipv4Addr::UNSPECIFIED, port).into())?)
            }
            other => Ok(other?),
        };
    }
    let mut last = io::Error::other("the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match listen_on(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

fn listen_on(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    // Connections of an earlier run that are still closing must not prevent the bind.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_that_consume_a_connection_are_retried_at_once() {
        // these leave the connection in the queue
        for error in [Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::OPNOTSUPP, Errno::NETDOWN] {
            assert!(
                matches!(AcceptOutcome::from_error(error), AcceptOutcome::Failed(_)),
                "{error}"
            );
        }
        assert!(matches!(
            AcceptOutcome::from_error(Errno::MFILE),
            AcceptOutcome::OutOfResources(_)
        ));
        assert!(matches!(AcceptOutcome::from_error(Errno::CONNABORTED), AcceptOutcome::Aborted));
        assert!(matches!(AcceptOutcome::from_error(Errno::AGAIN), AcceptOutcome::WouldBlock));
    }
}
