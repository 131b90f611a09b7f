//! Where clients come.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};

use super::address::Address;
use super::descriptors::Claims;
use super::failure::{Failure, error_text};
use super::fd::Fd;
use super::namespace;
use super::post::{self, PostedSocket};
use super::stream::Stream;

/// How many may wait to be accepted; the system has its own bound.
pub const BACKLOG: i32 = 4096;

/// What an address has become.
#[derive(Debug)]
pub enum Announced {
    /// A socket that listens.
    Listener(Listener),
    /// A client that is there, and the only one of this address.
    Client(Stream),
}

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: Fd,
    address: Address,
    /// Its name in the file system, removed with it.
    posted: Option<PostedSocket>,
    /// Somebody may wait.
    pub ready: bool,
}

/// Who came.
pub enum AcceptOutcome {
    /// A client.
    Client(Stream),
    /// Nobody else.
    WouldBlock,
    /// Somebody who has gone again.
    Aborted,
    /// Somebody waits, and can not be let in now: what is missing comes back when others go.
    OutOfResources(Errno),
    /// Nobody can be let in.
    Failed(Errno),
}

impl Listener {
    /// Its descriptor, to be watched.
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

    /// Lets one in.
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
    /// What an error of accept means. Those after which the next in line is asked for at once are those by
    /// which one has left it, or this would turn for ever.
    fn from_error(error: Errno) -> AcceptOutcome {
        match error {
            Errno::AGAIN => AcceptOutcome::WouldBlock,
            // It has gone again while it waited.
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

/// Announces an address.
pub fn announce(address: &Address, claims: &mut Claims) -> Result<Announced, Failure> {
    let (socket, posted) = match address {
        Address::Tcp(host, port) => listen_tcp(host, *port)
            .map(|socket| (Fd::from(socket), None))
            .map_err(|error| format!("{}: choose another port or host", error_text(&error))),
        Address::Unix(path) => {
            post::post(path).map(|(socket, posted)| (socket.into(), Some(posted)))
        }
        Address::Service(name) => namespace::directory()
            .and_then(|directory| post::post(&directory.join(name)))
            .map(|(socket, posted)| (socket.into(), Some(posted))),
        Address::Exec(_) => Err("exec! starts a server: only SERVER can be started".to_owned()),
        Address::Fd(_) | Address::Stdio => {
            let mut stream = claims.take(address).expect("it was claimed at the beginning");
            let fine = if stream.is_listening() { Ok(()) } else { stream.check_usable() };
            match fine.and_then(|()| stream.set_nonblocking().map_err(|error| error_text(&error))) {
                Ok(()) if stream.is_listening() => Ok((stream.into_fd(), None)),
                Ok(()) => {
                    stream.set_remote_options();
                    return Ok(Announced::Client(stream));
                }
                Err(why) => Err(why),
            }
        }
    }
    .map_err(|why| Failure::Announce(address.clone(), why))?;
    // Port 0 is one that the system chooses.
    let address = match (address, local_port(&socket)) {
        (Address::Tcp(host, 0), Some(port)) => Address::Tcp(host.clone(), port),
        _ => address.clone(),
    };
    Ok(Announced::Listener(Listener { socket, address, posted, ready: true }))
}

fn local_port(socket: &Fd) -> Option<u16> {
    let address = rustix::net::getsockname(socket).ok()?;
    SocketAddr::try_from(address).ok().map(|address| address.port())
}

fn listen_tcp(host: &str, port: u16) -> io::Result<OwnedFd> {
    if host == "*" {
        // Both families by one socket; where there is no IPv6, the other alone.
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
    // Connections of an earlier run that are still closing do not matter.
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
    fn an_error_that_stays_is_not_asked_for_at_once() {
        // a rule that forbids it: nobody has left the line
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
