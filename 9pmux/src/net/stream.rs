//! One peer's bytes: a socket, or two descriptors of which one is read and one is written.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{Shutdown, sockopt};

use super::failure::error_text;
use super::fd::Fd;

/// A peer's descriptors; they never block.
#[derive(Debug)]
pub struct Stream {
    input: Fd,
    /// Where writing is not to the same.
    output: Option<Fd>,
}

/// What came of a try to read or to write.
pub enum IoOutcome {
    /// So many bytes.
    Bytes(usize),
    /// None now.
    WouldBlock,
    /// None any more: it was closed, or there was this error.
    Closed(Option<Errno>),
}

impl Stream {
    /// Both ways through one descriptor.
    pub fn socket(fd: OwnedFd) -> Stream {
        Stream { input: fd.into(), output: None }
    }

    /// One for each way.
    pub fn pair(input: OwnedFd, output: OwnedFd) -> Stream {
        Stream { input: input.into(), output: Some(output.into()) }
    }

    /// Makes reads and writes return `WouldBlock` instead of blocking. The mode holds for every process that
    /// shares the open file; it is restored when the stream is dropped.
    pub fn set_nonblocking(&mut self) -> io::Result<()> {
        let input = self.input.is_blocking()?;
        let output = self.output.as_ref().map_or(Ok(false), Fd::is_blocking)?;
        self.input.set_nonblocking(input)?;
        self.output.as_mut().map_or(Ok(()), |fd| fd.set_nonblocking(output))
    }

    /// What a connection over a network wants, and another does not mind: small messages are not kept
    /// back for others, and a machine that has vanished is noticed some time.
    pub fn set_remote_options(&self) {
        for fd in [self.input.as_fd(), self.output_fd()] {
            let _ = sockopt::set_tcp_nodelay(fd, true);
            let _ = sockopt::set_socket_keepalive(fd, true);
        }
    }

    /// Whether it is a socket that waits for clients.
    pub fn is_listening(&self) -> bool {
        #[cfg(not(target_vendor = "apple"))]
        let listens = sockopt::socket_acceptconn(&self.input).unwrap_or(false);
        // It does not say so there: what has a name and no peer.
        #[cfg(target_vendor = "apple")]
        let listens = rustix::net::getsockname(&self.input).is_ok()
            && rustix::net::getpeername(&self.input).is_err();
        self.output.is_none() && listens
    }

    /// Whether what is read and what is written goes through it, as far as the descriptors say.
    pub fn check_usable(&self) -> Result<(), String> {
        // A line to another machine is one too, but one that passes on what comes as it comes.
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

    /// The descriptor that is read.
    pub fn input(&self) -> RawFd {
        self.input.as_raw_fd()
    }

    /// The descriptor that is written, if that is another one.
    pub fn output(&self) -> Option<RawFd> {
        self.output.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// The descriptor itself, of a stream that has one.
    pub fn into_fd(self) -> Fd {
        self.input
    }

    fn output_fd(&self) -> BorrowedFd<'_> {
        self.output.as_ref().unwrap_or(&self.input).as_fd()
    }

    /// Reads what there is, as much as fits.
    #[inline]
    pub fn read(&self, buffer: &mut [u8]) -> IoOutcome {
        io_outcome(retry_on_intr(|| rustix::io::read(&self.input, &mut *buffer)))
    }

    /// Writes as much as goes. That nobody reads it any more is an error here, and no signal: Rust's
    /// runtime has SIGPIPE ignored.
    #[inline]
    pub fn write(&self, bytes: &[u8]) -> IoOutcome {
        io_outcome(retry_on_intr(|| rustix::io::write(self.output_fd(), bytes)))
    }

    /// Closes it, after all was written. What it has sent and nobody wants is taken first: a socket that
    /// is closed over something unread is reset, and its peer might not get the last replies.
    pub fn close(self, buffer: &mut [u8]) {
        if self.output.is_none() && rustix::net::shutdown(&self.input, Shutdown::Write).is_ok() {
            let _ = self.read(buffer);
        }
    }

    /// Who is at the other end, for logs.
    pub fn describe_peer(&self) -> String {
        #[cfg(target_os = "linux")]
        match peer_credentials(self.input.as_fd()) {
            Some(who) if who.pid > 0 => return format!("process {} of user {}", who.pid, who.uid),
            // one of a container has no number here
            Some(who) if who.uid != u32::MAX => return format!("a process of user {}", who.uid),
            _ => {}
        }
        match rustix::net::getpeername(&self.input) {
            Ok(Some(address)) => match std::net::SocketAddr::try_from(address) {
                Ok(address) => {
                    std::net::SocketAddr::new(address.ip().to_canonical(), address.port())
                        .to_string()
                }
                Err(_) => "a socket".to_owned(),
            },
            _ => "inherited descriptors".to_owned(),
        }
    }
}

/// The process that has made the other end, if there is one. rustix can ask that too, but takes the number
/// for one that is never 0, and it is for other sockets, and for processes that have none here.
#[cfg(target_os = "linux")]
fn peer_credentials(socket: BorrowedFd<'_>) -> Option<libc::ucred> {
    let mut who = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut size = size_of_val(&who) as libc::socklen_t;
    // SAFETY: the system writes at most `size` bytes, which is what there is of `who`, of which any bytes
    // are a value.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut who).cast(),
            &mut size,
        )
    };
    (asked == 0).then_some(who)
}

#[inline]
fn io_outcome(result: Result<usize, Errno>) -> IoOutcome {
    match result {
        Ok(0) | Err(Errno::PIPE | Errno::CONNRESET) => IoOutcome::Closed(None),
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
    fn who_is_at_the_other_end_has_a_name() {
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
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn only_a_unix_socket_tells_a_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // whatever the system says for others, it is not taken for a process
        assert!(peer_credentials(client.as_fd()).is_none_or(|who| who.pid == 0));
    }
}
