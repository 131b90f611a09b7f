//! The connection to one peer: a socket, or one descriptor for reading and one for writing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, Shutdown, sockopt};

use super::accounts;
use super::failure::error_text;
use super::fd::Fd;
use super::vsock;
use crate::engine::{Caller, host_of};

/// Time between two checks of a network peer that sends nothing more.
#[cfg(not(target_os = "openbsd"))]
const CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// The number of such checks without a reply after which a connection to a server is given up.
#[cfg(not(target_os = "openbsd"))]
const CHECKS: u32 = 3;

/// The size of a reduced send buffer.
const REDUCED_BUFFER: usize = 16 * 1024;

/// The bytes of a link that the system may have without being able to send them, where this can be limited.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: libc::c_uint = 16 * 1024;

/// The descriptors of a peer. After `set_nonblocking`, reads and writes never block.
#[derive(Debug)]
pub struct Stream {
    input: Fd,
    /// The descriptor for writing, if it is not the same.
    output: Option<Fd>,
    /// The size of the send buffer while it is reduced.
    full_buffer: Option<usize>,
}

/// The user or host that a peer belongs to, for limits that many connections of one peer share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The user of a process on this machine.
    User(u32),
    /// Another machine, or this one over the network ([`host_of`]).
    Host(IpAddr),
    /// A virtual machine or its host, by its number.
    Machine(u32),
    Unknown,
}

/// The result of one read or write.
pub enum IoOutcome {
    /// The number of bytes transferred.
    Bytes(usize),
    /// Nothing can be transferred now.
    WouldBlock,
    /// The peer sends nothing more. It may still read.
    End,
    /// The connection is closed, or has failed with this error.
    Closed(Option<Errno>),
}

impl Stream {
    /// One descriptor for both directions.
    pub fn socket(fd: OwnedFd) -> Stream {
        Stream { input: fd.into(), output: None, full_buffer: None }
    }

    /// One descriptor for each direction.
    pub fn pair(input: OwnedFd, output: OwnedFd) -> Stream {
        Stream { input: input.into(), output: Some(output.into()), full_buffer: None }
    }

    /// Makes reads and writes return `WouldBlock` instead of blocking. The mode holds for every process that
    /// shares the open file; it is restored when the stream is dropped.
    pub fn set_nonblocking(&mut self) -> io::Result<()> {
        let input = self.input.is_blocking()?;
        let output = self.output.as_ref().map_or(Ok(false), Fd::is_blocking)?;
        self.input.set_nonblocking(input)?;
        self.output.as_mut().map_or(Ok(()), |fd| fd.set_nonblocking(output))
    }

    /// Sets the options for network connections, which fail harmlessly for others: small messages are sent
    /// without delay, and a peer that has vanished is detected eventually.
    pub fn set_remote_options(&self) {
        for fd in [self.input.as_fd(), self.output_fd()] {
            let _ = sockopt::set_tcp_nodelay(fd, true);
            let _ = sockopt::set_socket_keepalive(fd, true);
        }
    }

    /// Makes the system give up a network connection to a server after this time without a sign of life, whether or
    /// not data is under way. Systems without one of these options do without it.
    pub fn limit_silence(&self, limit: Duration) {
        for fd in [self.input.as_fd(), self.output_fd()] {
            #[cfg(not(target_os = "openbsd"))]
            {
                let part = (limit / CHECKS).max(Duration::from_secs(1));
                let _ = sockopt::set_tcp_keepidle(fd, part);
                let _ = sockopt::set_tcp_keepintvl(fd, part);
                let _ = sockopt::set_tcp_keepcnt(fd, CHECKS);
            }
            #[cfg(target_os = "linux")]
            {
                let _ = sockopt::set_tcp_user_timeout(fd, limit.as_millis() as u32);
            }
        }
    }

    /// Makes the system hold at most a few ten thousand bytes that a peer on this machine has not read, or as many as
    /// before. The buffer of a network connection also covers its delay, so it stays as it is.
    pub fn reduce_buffer(&mut self, reduce: bool) {
        if reduce == self.full_buffer.is_some() || !self.passes_descriptors() {
            return;
        }
        let full = match self.full_buffer.take() {
            // The system doubles a size that is set, and returns it so.
            Some(full) => full / if cfg!(target_os = "linux") { 2 } else { 1 },
            None => {
                let full = sockopt::socket_send_buffer_size(self.output_fd()).unwrap_or(0);
                self.full_buffer = Some(full);
                full.min(REDUCED_BUFFER)
            }
        };
        let _ = sockopt::set_socket_send_buffer_size(self.output_fd(), full);
    }

    /// Makes a network connection full for writing as soon as the system has this many bytes that the network does not
    /// take yet. Without a limit there may be megabytes, and whatever is written next waits for all of them. The bytes
    /// that are under way are not limited. Systems without the option do without it.
    pub fn limit_unsent(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if !self.passes_descriptors() {
            let limit: libc::c_uint = UNSENT;
            // SAFETY: the system reads at most the given size, that of `limit`. Failure is ignored: other descriptors
            // than a network connection do not have the option.
            unsafe {
                libc::setsockopt(
                    self.output_fd().as_raw_fd(),
                    libc::IPPROTO_TCP,
                    libc::TCP_NOTSENT_LOWAT,
                    (&raw const limit).cast(),
                    size_of_val(&limit) as libc::socklen_t,
                );
            }
        }
    }

    /// Makes the system check every few seconds whether a network peer that sends nothing more is still there:
    /// the end of its data does not say whether the peer has shut down one direction or is gone. OpenBSD has one
    /// time for all sockets, set by the administrator.
    pub fn check_peer_often(&self) {
        #[cfg(not(target_os = "openbsd"))]
        {
            let _ = sockopt::set_tcp_keepidle(&self.input, CHECK_INTERVAL);
            let _ = sockopt::set_tcp_keepintvl(&self.input, CHECK_INTERVAL);
        }
    }

    /// Returns the process that has made the connection, where the system knows it, with the name of its user.
    pub fn caller(&self) -> Caller {
        let uid = match self.origin() {
            Origin::User(uid) if uid != accounts::overflow_uid() => Some(uid),
            _ => None,
        };
        // The superuser needs no name. Without a database the caller has none.
        let name = uid.filter(|uid| *uid != 0).and_then(|uid| accounts::user_name(uid).ok());
        Caller { uid, name: name.flatten() }
    }

    /// Returns true if descriptors can be passed to the peer: it has a unix socket.
    pub fn passes_descriptors(&self) -> bool {
        self.is_unix()
    }

    /// Returns true if this is a Unix socket.
    pub fn is_unix(&self) -> bool {
        rustix::net::getsockname(self.output_fd())
            .is_ok_and(|address| address.address_family() == AddressFamily::UNIX)
    }

    /// Returns true if this is a listening socket.
    pub fn is_listening(&self) -> bool {
        #[cfg(not(target_vendor = "apple"))]
        let listens = sockopt::socket_acceptconn(&self.input).unwrap_or(false);
        // This system has no SO_ACCEPTCONN: a socket with a name and without a peer is taken to listen.
        #[cfg(target_vendor = "apple")]
        let listens = rustix::net::getsockname(&self.input).is_ok()
            && rustix::net::getpeername(&self.input).is_err();
        self.output.is_none() && listens
    }

    /// Checks that the descriptors can be read and written, and are not a terminal.
    pub fn check_usable(&self) -> Result<(), String> {
        // A serial line is a terminal device too, but does not edit lines.
        let typed = |fd| {
            rustix::termios::tcgetattr(fd)
                .is_ok_and(|how| how.local_modes.contains(rustix::termios::LocalModes::ICANON))
        };
        if typed(self.input.as_fd()) || typed(self.output_fd()) {
            return Err("it is a terminal: pass a socket or pipes".to_owned());
        }
        let may = |fd: BorrowedFd<'_>, wanted: [rustix::fs::OFlags; 2]| -> io::Result<bool> {
            Ok(wanted.contains(&(rustix::fs::fcntl_getfl(fd)? & rustix::fs::OFlags::ACCMODE)))
        };
        let (both, read, write) =
            (rustix::fs::OFlags::RDWR, rustix::fs::OFlags::RDONLY, rustix::fs::OFlags::WRONLY);
        let fine = match &self.output {
            None => may(self.input.as_fd(), [both, both]),
            Some(output) => may(self.input.as_fd(), [both, read])
                .and_then(|fine| Ok(fine && may(output.as_fd(), [both, write])?)),
        };
        match fine {
            Ok(true) => Ok(()),
            Ok(false) => Err("it must be open for reading and writing: pass a socket".to_owned()),
            Err(error) => Err(error_text(&error)),
        }
    }

    /// The descriptor for reading.
    pub fn input(&self) -> RawFd {
        self.input.as_raw_fd()
    }

    /// The descriptor for writing, if it is another one.
    pub fn output(&self) -> Option<RawFd> {
        self.output.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// The descriptor of a stream that has only one.
    pub fn into_fd(self) -> Fd {
        self.input
    }

    /// The descriptor for writing.
    pub fn output_fd(&self) -> BorrowedFd<'_> {
        self.output.as_ref().unwrap_or(&self.input).as_fd()
    }

    /// Reads at most `buffer.len()` bytes.
    #[inline]
    pub fn read(&self, buffer: &mut [u8]) -> IoOutcome {
        io_outcome(retry_on_intr(|| rustix::io::read(&self.input, &mut *buffer)))
    }

    /// Writes as much as possible. If the peer no longer reads, this is an error and not a signal, since Rust's
    /// runtime ignores SIGPIPE.
    #[inline]
    pub fn write(&self, bytes: &[u8]) -> IoOutcome {
        io_outcome(retry_on_intr(|| rustix::io::write(self.output_fd(), bytes)))
    }

    /// Closes the connection after all output was written. Unread data is read first: closing a socket with
    /// unread data resets it, and the peer might lose the last replies.
    pub fn close(self, buffer: &mut [u8]) {
        if self.output.is_none() && rustix::net::shutdown(&self.input, Shutdown::Write).is_ok() {
            let _ = self.read(buffer);
        }
    }

    /// Describes the peer for the log.
    pub fn describe_peer(&self) -> String {
        #[cfg(target_os = "linux")]
        match peer_credentials(self.input.as_fd()) {
            Some(peer) if peer.pid > 0 => {
                return format!("process {} of user {}", peer.pid, peer.uid);
            }
            // a process of another pid namespace has no pid here
            Some(peer) if peer.uid != u32::MAX => return format!("a process of user {}", peer.uid),
            _ => {}
        }
        if let Some(machine) = vsock::peer_of(self.input.as_fd()) {
            return format!("vsock {machine}");
        }
        match rustix::net::getpeername(&self.input) {
            Ok(Some(address)) => match SocketAddr::try_from(address) {
                Ok(address) => {
                    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
                }
                Err(_) => "a socket".to_owned(),
            },
            _ => "inherited descriptors".to_owned(),
        }
    }

    /// The process of the peer, or 0 if the system does not say.
    pub fn process(&self) -> u32 {
        #[cfg(target_os = "linux")]
        if let Some(peer) = peer_credentials(self.input.as_fd()) {
            return u32::try_from(peer.pid).unwrap_or(0);
        }
        0
    }

    /// The user or host of the peer, where the system knows it.
    pub fn origin(&self) -> Origin {
        #[cfg(target_os = "linux")]
        match peer_credentials(self.input.as_fd()) {
            Some(peer) if peer.uid != u32::MAX => return Origin::User(peer.uid),
            _ => {}
        }
        let address = rustix::net::getpeername(&self.input).ok().flatten();
        match address.and_then(|address| SocketAddr::try_from(address).ok()) {
            Some(address) => Origin::Host(host_of(address.ip())),
            None => vsock::peer_of(self.input.as_fd())
                .map_or(Origin::Unknown, |machine| Origin::Machine(machine.cid)),
        }
    }
}

/// The credentials of the process that has made the other end of a unix socket. rustix has this call too, but
/// assumes that the pid is never 0, as it is for other sockets and for processes of other pid namespaces.
#[cfg(target_os = "linux")]
fn peer_credentials(socket: BorrowedFd<'_>) -> Option<libc::ucred> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut size = size_of_val(&peer) as libc::socklen_t;
    // SAFETY: the system writes at most `size` bytes, the size of `peer`, and every bit pattern is a valid
    // `ucred`.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut size,
        )
    };
    (asked == 0).then_some(peer)
}

#[inline]
pub fn io_outcome(result: Result<usize, Errno>) -> IoOutcome {
    match result {
        Ok(0) => IoOutcome::End,
        Err(Errno::PIPE | Errno::CONNRESET) => IoOutcome::Closed(None),
        Ok(n) => IoOutcome::Bytes(n),
        Err(Errno::AGAIN) => IoOutcome::WouldBlock,
        Err(error) => IoOutcome::Closed(Some(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    #[test]
    fn every_peer_has_a_description() {
        let (_one, other) = UnixStream::pair().unwrap();
        let name = Stream::socket(other.into()).describe_peer();
        #[cfg(target_os = "linux")]
        assert!(name.starts_with(&format!("process {} of user ", std::process::id())), "{name}");
        assert!(!name.is_empty());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = Stream::socket(listener.accept().unwrap().0.into());
        assert_eq!(stream.describe_peer(), client.local_addr().unwrap().to_string());
        let (input, output) = rustix::pipe::pipe().unwrap();
        let pair = Stream::pair(input, output);
        assert_eq!(pair.describe_peer(), "inherited descriptors");
        assert_eq!(pair.origin(), Origin::Unknown);
        assert_eq!(stream.origin(), Origin::Host("127.0.0.1".parse().unwrap()));
        #[cfg(target_os = "linux")]
        {
            let (_one, other) = UnixStream::pair().unwrap();
            let user = rustix::process::geteuid().as_raw();
            assert_eq!(Stream::socket(other.into()).origin(), Origin::User(user));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn caller_is_the_user_that_has_connected() {
        let (_one, other) = UnixStream::pair().unwrap();
        let caller = Stream::socket(other.into()).caller();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(caller.uid, Some(uid));
        let name = (uid != 0).then(|| accounts::user_name(uid).unwrap()).flatten();
        assert_eq!(caller.name, name);
        // A caller over a network is nobody.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(Stream::socket(client.into()).caller(), Caller::default());
    }

    #[test]
    fn send_buffer_is_reduced_and_restored() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut stream = Stream::socket(one.into());
        let size = |stream: &Stream| sockopt::socket_send_buffer_size(&stream.input).unwrap();
        let full = size(&stream);
        for _ in 0..2 {
            stream.reduce_buffer(true);
            assert!(size(&stream) <= 2 * REDUCED_BUFFER);
        }
        stream.reduce_buffer(false);
        assert_eq!(size(&stream), full);
        stream.reduce_buffer(false);
        assert_eq!(size(&stream), full);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn unsent_bytes_are_limited_for_network_connections_only() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let network = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Stream::socket(network.try_clone().unwrap().into()).limit_unsent();
        let (mut limit, mut size) = (0, size_of::<libc::c_uint>() as libc::socklen_t);
        // SAFETY: the system writes at most `size` bytes, the size of `limit`.
        let asked = unsafe {
            libc::getsockopt(
                network.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_NOTSENT_LOWAT,
                (&raw mut limit).cast(),
                &mut size,
            )
        };
        assert_eq!((asked, limit), (0, UNSENT));
        // Others have no such option.
        let (one, _other) = UnixStream::pair().unwrap();
        Stream::socket(one.into()).limit_unsent();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn silence_of_a_network_connection_is_limited() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream =
            Stream::socket(TcpStream::connect(listener.local_addr().unwrap()).unwrap().into());
        stream.set_remote_options();
        stream.limit_silence(Duration::from_secs(45));
        let fd = &stream.input;
        assert!(sockopt::socket_keepalive(fd).unwrap());
        assert_eq!(sockopt::tcp_user_timeout(fd).unwrap(), 45_000);
        assert_eq!(sockopt::tcp_keepidle(fd).unwrap(), Duration::from_secs(15));
        assert_eq!(sockopt::tcp_keepintvl(fd).unwrap(), Duration::from_secs(15));
        assert_eq!(sockopt::tcp_keepcnt(fd).unwrap(), 3);
        // Others have no such options.
        let (one, _other) = UnixStream::pair().unwrap();
        Stream::socket(one.into()).limit_silence(Duration::from_secs(45));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_tcp_peer_has_no_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // the system may return a record without a pid
        assert!(peer_credentials(client.as_fd()).is_none_or(|peer| peer.pid == 0));
    }
}
