//! The addresses on which clients connect.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
use tracing::warn;

use super::accounts;
use super::address::Address;
use super::descriptors::Claims;
use super::failure::{Failure, error_text};
use super::fd::Fd;
use super::listen_address::{Group, ListenAddress, ListenOptions};
use super::namespace;
use super::post::{self, Access, PostedSocket};
use super::stream::Stream;
use super::vsock;
use crate::engine::Rules;

/// The number of connections that may wait to be accepted. The system may have a lower bound.
pub const BACKLOG: i32 = 4096;

/// The result of announcing an address.
#[derive(Debug)]
pub enum Announcement {
    /// A listening socket.
    Listener(Listener),
    /// An inherited connection, which is the only client of this address, and what it may do.
    Client(Stream, Rules, Address),
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Fd,
    address: Address,
    options: ListenOptions,
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

impl Announcement {
    /// The address.
    pub fn address(&self) -> &Address {
        match self {
            Announcement::Listener(listener) => &listener.address,
            Announcement::Client(_, _, address) => address,
        }
    }
}

impl Listener {
    /// Listens on a socket of the file system that has all permissions that the umask leaves.
    pub fn post(path: &Path) -> Result<Listener, String> {
        let (socket, posted) = post::post(path, Access::Umask)?;
        let (address, posted) = (Address::Unix(path.to_owned()), Some(posted));
        let options = ListenOptions::default();
        Ok(Listener { socket: socket.into(), address, options, posted, ready: true })
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

    /// Returns what a client may do that has connected here.
    pub fn rules(&self, client: &Stream) -> Rules {
        rules(&self.options, client)
    }

    /// Accepts one connection.
    pub fn accept(&self) -> AcceptOutcome {
        match accept(&self.socket) {
            Ok(socket) => {
                let stream = Stream::socket(socket);
                if let Address::Tcp(..) | Address::Fd(_) | Address::NamedFd(_) = self.address {
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

/// Returns what a client may do that has connected by an address with these options.
fn rules(options: &ListenOptions, client: &Stream) -> Rules {
    let caller = options.self_only.then(|| Box::new(client.caller()));
    Rules { read_only: options.read_only, caller }
}

/// Listens on all addresses.
pub fn announce_all(
    addresses: &[ListenAddress],
    claims: &mut Claims,
) -> Result<Vec<Announcement>, Failure> {
    let mut all = Vec::new();
    for listen in addresses {
        all.push(announce(listen, claims)?);
        // A service manager may have passed several sockets of one name.
        while claims.has(&listen.address) {
            all.push(announce(listen, claims)?);
        }
    }
    Ok(all)
}

/// Listens on an address.
pub fn announce(listen: &ListenAddress, claims: &mut Claims) -> Result<Announcement, Failure> {
    let (address, options) = (&listen.address, &listen.options);
    if let Some(word) = listen.doubtful_word() {
        warn!(
            "{address}: '{word}' is taken as a part of the name: the options are mode=, group=, user=self and readonly"
        );
    }
    let (socket, posted) = match address {
        Address::Tcp(host, port) => listen_tcp(host, *port)
            .map(|socket| (Fd::from(socket), None))
            .map_err(|error| format!("{}: choose another port or host", error_text(&error))),
        Address::Vsock(machine) => vsock::listen_on(*machine)
            .map(|socket| (Fd::from(socket), None))
            .map_err(|error| format!("{}: choose another port", error_text(&error))),
        Address::Unix(path) => file_access(options)
            .and_then(|access| post::post(path, access))
            .map(|(socket, posted)| (socket.into(), Some(posted))),
        Address::Service(name) => namespace::directory()
            .and_then(|directory| post::post(&directory.join(name), Access::Private))
            .map(|(socket, posted)| (socket.into(), Some(posted))),
        Address::Exec(_) => Err("exec! starts a server: only SERVER can be started".to_owned()),
        Address::Fd(_) | Address::NamedFd(_) | Address::Stdio => {
            let mut stream = claims.take(address).expect("it was claimed at the beginning");
            let fine = if stream.is_listening() { Ok(()) } else { stream.check_usable() };
            let fine = fine.and_then(|()| match options.self_only && !stream.is_unix() {
                true => Err("user=self needs a Unix socket".to_owned()),
                false => Ok(()),
            });
            match fine.and_then(|()| stream.set_nonblocking().map_err(|error| error_text(&error))) {
                Ok(()) if stream.is_listening() => Ok((stream.into_fd(), None)),
                Ok(()) => {
                    stream.set_remote_options();
                    let rules = rules(options, &stream);
                    return Ok(Announcement::Client(stream, rules, address.clone()));
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
    let options = options.clone();
    Ok(Announcement::Listener(Listener { socket, address, options, posted, ready: true }))
}

/// Returns the access to a socket in the file system.
fn file_access(options: &ListenOptions) -> Result<Access, String> {
    let group = match &options.group {
        None => None,
        Some(Group::Number(number)) => Some(*number),
        Some(Group::Name(name)) => match accounts::group_number(name) {
            Ok(Some(number)) => Some(number),
            Ok(None) => return Err(format!("there is no group '{name}'")),
            Err(error) => return Err(format!("the group '{name}': {}", error_text(&error))),
        },
    };
    Ok(match (options.mode, group) {
        (None, None) => Access::Private,
        (mode, group) => Access::Shared { mode: mode.unwrap_or(post::PRIVATE), group },
    })
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
