//! Sockets between a virtual machine and its host: `vsock!cid!port`. Linux only.
//!
//! rustix has no address of this family, so the calls with an address are made here.

use std::fmt::{self, Display, Formatter};

/// The number of a machine that means all numbers of this one, for an address that is listened on.
pub const ANY_CID: u32 = u32::MAX;

/// The address of a machine and a port in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VsockAddress {
    /// The number of the machine: 1 is this one, and 2 the host.
    pub cid: u32,
    /// The port.
    pub port: u32,
}

impl Display for VsockAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.cid {
            ANY_CID => write!(f, "*!{}", self.port),
            cid => write!(f, "{cid}!{}", self.port),
        }
    }
}

#[cfg(target_os = "linux")]
mod calls {
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
    use std::time::Duration;

    use rustix::io::retry_on_intr;
    use rustix::net::listen;

    use super::VsockAddress;
    use crate::net::announce::BACKLOG;

    /// The option for the maximum time of a connect (vsock(7)).
    const SO_VM_SOCKETS_CONNECT_TIMEOUT: libc::c_int = 6;

    const SIZE: libc::socklen_t = size_of::<libc::sockaddr_vm>() as libc::socklen_t;

    fn socket() -> io::Result<OwnedFd> {
        // SAFETY: the call has no pointers.
        let fd = unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, so it has no other owner.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn encode(address: VsockAddress) -> libc::sockaddr_vm {
        // SAFETY: a `sockaddr_vm` has only numbers, for which zero is valid.
        let mut encoded: libc::sockaddr_vm = unsafe { MaybeUninit::zeroed().assume_init() };
        encoded.svm_family = libc::AF_VSOCK as libc::sa_family_t;
        encoded.svm_cid = address.cid;
        encoded.svm_port = address.port;
        encoded
    }

    /// Returns an error of the system if a call has failed.
    fn check(result: libc::c_int) -> io::Result<()> {
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Connects within this time, where the system can limit it.
    pub fn connect(address: VsockAddress, timeout: Duration) -> io::Result<OwnedFd> {
        let (socket, encoded) = (socket()?, encode(address));
        let limit = libc::timeval {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_usec: timeout.subsec_micros() as libc::suseconds_t,
        };
        // SAFETY: the system reads at most the given size, that of `limit`. Failure is ignored.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::AF_VSOCK,
                SO_VM_SOCKETS_CONNECT_TIMEOUT,
                (&raw const limit).cast(),
                size_of_val(&limit) as libc::socklen_t,
            );
        }
        retry_on_intr(|| {
            // SAFETY: the system reads at most the given size, that of `encoded`.
            let result =
                unsafe { libc::connect(socket.as_raw_fd(), (&raw const encoded).cast(), SIZE) };
            check(result).map_err(|error| {
                rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
            })
        })?;
        Ok(socket)
    }

    /// Listens on an address.
    pub fn listen_on(address: VsockAddress) -> io::Result<OwnedFd> {
        let (socket, encoded) = (socket()?, encode(address));
        rustix::io::ioctl_fionbio(&socket, true)?;
        // SAFETY: as above.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const encoded).cast(), SIZE) })?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    }

    /// Returns the address of the peer, if this is a socket of this family.
    pub fn peer_of(socket: BorrowedFd<'_>) -> Option<VsockAddress> {
        let mut size = SIZE;
        let mut encoded = encode(VsockAddress { cid: 0, port: 0 });
        encoded.svm_family = 0;
        // SAFETY: the system writes at most `size` bytes, the size of `encoded`, in which every bit pattern is valid.
        let asked =
            unsafe { libc::getpeername(socket.as_raw_fd(), (&raw mut encoded).cast(), &mut size) };
        let is_vsock = asked == 0 && encoded.svm_family == libc::AF_VSOCK as libc::sa_family_t;
        is_vsock.then_some(VsockAddress { cid: encoded.svm_cid, port: encoded.svm_port })
    }
}

#[cfg(not(target_os = "linux"))]
mod calls {
    use std::io;
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::time::Duration;

    use super::VsockAddress;

    /// Fails: such an address is refused as an argument.
    pub fn connect(_: VsockAddress, _: Duration) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Fails, as `connect` does.
    pub fn listen_on(_: VsockAddress) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns nothing: no socket has this family.
    pub fn peer_of(_: BorrowedFd<'_>) -> Option<VsockAddress> {
        None
    }
}

pub use calls::{connect, listen_on, peer_of};

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::net::stream::{Origin, Stream};
    use std::os::fd::AsFd;
    use std::time::Duration;

    /// A port that no service of the test machine has.
    fn port() -> u32 {
        1_000_000 + std::process::id()
    }

    #[test]
    fn callers_of_this_machine_reach_a_listener() {
        let port = port();
        let listener = match listen_on(VsockAddress { cid: ANY_CID, port }) {
            Ok(listener) => listener,
            Err(error) => return eprintln!("left out: the system has no vsock: {error}"),
        };
        let taken = listen_on(VsockAddress { cid: ANY_CID, port }).unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
        // Cid 1 needs a module of the kernel.
        let client = match connect(VsockAddress { cid: 1, port }, Duration::from_secs(1)) {
            Ok(client) => client,
            Err(error) => return eprintln!("left out: no loopback of vsock: {error}"),
        };
        assert_eq!(peer_of(client.as_fd()), Some(VsockAddress { cid: 1, port }));
        assert!(peer_of(listener.as_fd()).is_none());
        let mut accepted = None;
        while accepted.is_none() {
            // The listener does not block.
            accepted = rustix::net::accept(&listener).ok();
        }
        let stream = Stream::socket(accepted.unwrap());
        assert_eq!(stream.origin(), Origin::Machine(1));
        assert!(stream.describe_peer().starts_with("vsock 1!"), "{}", stream.describe_peer());
        assert!(stream.caller().uid.is_none() && stream.process() == 0 && !stream.is_unix());
    }

    #[test]
    fn other_sockets_have_no_such_peer() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(peer_of(one.as_fd()), None);
    }
}
