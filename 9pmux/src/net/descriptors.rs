//! Inherited descriptors: `fd!n`, `fd!name`, and standard input and output.
//!
//! Each is claimed before 9pmux opens any descriptor of its own. A number that is closed at that time is an
//! error of the caller; later it could be a descriptor of 9pmux.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::info;

use super::address::Address;
use super::failure::{Failure, error_text};
use super::listen_address::ListenAddress;
use super::listen_fds::{PassedFd, passed_fds};
use super::stream::Stream;

/// The inherited descriptors that have been claimed and not yet taken.
pub struct Claims(Vec<(Address, Stream)>);

impl Claims {
    /// Returns no claims, for addresses that are no descriptors.
    pub fn none() -> Claims {
        Claims(Vec::new())
    }

    /// Returns true if the address has a stream that has not been taken.
    pub fn has(&self, address: &Address) -> bool {
        self.0.iter().any(|(claimed, _)| claimed == address)
    }

    /// Returns a stream of an address, each once. The address of a name may have several.
    pub fn take(&mut self, address: &Address) -> Option<Stream> {
        let index = self.0.iter().position(|(claimed, _)| claimed == address)?;
        Some(self.0.remove(index).1)
    }
}

/// Claims all descriptors among the addresses of servers and of listeners.
pub fn claim<'a>(
    servers: impl IntoIterator<Item = &'a Address>,
    listen: &[ListenAddress],
) -> Result<Claims, Failure> {
    let mut claims = Claiming { passed: passed_fds(), numbers: Vec::new(), streams: Vec::new() };
    for address in servers {
        claims.claim(address, true).map_err(|why| Failure::Connect(address.clone(), why))?;
    }
    for ListenAddress { address, .. } in listen {
        claims.claim(address, false).map_err(|why| Failure::Announce(address.clone(), why))?;
    }
    claims.keep_others_here();
    Ok(Claims(claims.streams))
}

/// The descriptors that have been claimed so far.
struct Claiming {
    /// All that the service manager has passed.
    passed: Vec<PassedFd>,
    numbers: Vec<RawFd>,
    streams: Vec<(Address, Stream)>,
}

impl Claiming {
    /// Claims the descriptors of an address, if it has some.
    fn claim(&mut self, address: &Address, is_server: bool) -> Result<(), String> {
        let used: Vec<RawFd> = match address {
            Address::Fd(n) => vec![*n],
            Address::NamedFd(name) => self.named(name, is_server)?,
            Address::Stdio => vec![0, 1],
            _ => return Ok(()),
        };
        for n in &used {
            if self.numbers.contains(n) {
                return Err(format!("descriptor {n} is given twice: each belongs to one peer"));
            }
            check_open(*n).map_err(|error| {
                format!(
                    "descriptor {n}: {}: it must be open when 9pmux is started",
                    error_text(&error)
                )
            })?;
        }
        self.numbers.extend_from_slice(&used);
        let mut add = |stream: io::Result<Stream>| -> Result<(), String> {
            self.streams.push((address.clone(), stream.map_err(|error| error_text(&error))?));
            Ok(())
        };
        match address {
            Address::Stdio => {
                add(take_fd(0).and_then(|input| Ok(Stream::pair(input, take_fd(1)?))))
            }
            _ => used.iter().try_for_each(|n| add(take_fd(*n).map(Stream::socket))),
        }
    }

    /// Returns the descriptors that the service manager has passed with this name.
    fn named(&self, name: &str, is_server: bool) -> Result<Vec<RawFd>, String> {
        let named = self.passed.iter().filter(|passed| passed.name == name);
        let named: Vec<RawFd> = named.map(|passed| passed.fd).collect();
        match named[..] {
            [] => Err(format!(
                "no descriptor is named {name}: LISTEN_FDNAMES has it if the service manager passed it"
            )),
            [_, _, ..] if is_server => {
                Err(format!("{} descriptors are named {name}: the server is one", named.len()))
            }
            _ => Ok(named),
        }
    }

    /// Programs that are started do not inherit the descriptors that were passed and are not used.
    fn keep_others_here(&self) {
        for PassedFd { fd, name } in &self.passed {
            if !self.numbers.contains(fd) && check_open(*fd).is_ok() {
                // SAFETY: the descriptor is open, and the borrow ends with the call.
                let passed = unsafe { BorrowedFd::borrow_raw(*fd) };
                let _ = rustix::io::fcntl_setfd(passed, rustix::io::FdFlags::CLOEXEC);
                info!("descriptor {fd} ({name}) of the service manager is not used");
            }
        }
    }
}

fn check_open(n: RawFd) -> io::Result<()> {
    // SAFETY: the borrow ends with this function, and a number that is not open only makes the call fail.
    let fd = unsafe { BorrowedFd::borrow_raw(n) };
    rustix::io::fcntl_getfd(fd)?;
    Ok(())
}

/// Takes ownership of a descriptor, so that programs that are started later do not inherit it.
fn take_fd(n: RawFd) -> io::Result<OwnedFd> {
    if n > 2 {
        // SAFETY: the descriptor is open, was inherited for this use, and is claimed only once.
        let fd = unsafe { OwnedFd::from_raw_fd(n) };
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        return Ok(fd);
    }
    // The numbers 0 and 1 must stay in use, or the next socket would become the standard output.
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    let fd = match n {
        0 => rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3),
        1 => rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3),
        _ => rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3),
    }?;
    match n {
        0 => rustix::stdio::dup2_stdin(&nothing)?,
        1 => rustix::stdio::dup2_stdout(&nothing)?,
        // errors are still printed there
        _ => {}
    }
    Ok(fd)
}

/// Closes what standard input and output are. Their numbers stay in use.
pub fn release_stdio() -> io::Result<()> {
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(rustix::stdio::dup2_stdout(&nothing)?)
}

/// Raises the soft limit of descriptors to the hard one, since each client uses a descriptor. Returns the
/// limit that 9pmux was started with.
pub fn raise_limit() -> Rlimit {
    let limit = getrlimit(Resource::Nofile);
    let Rlimit { maximum, .. } = limit;
    // If that fails, the current limit remains.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    limit
}

/// Returns the maximum number of open descriptors.
pub fn limit() -> usize {
    let max = getrlimit(Resource::Nofile).current;
    max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX))
}

/// Advice for an error that says that too many descriptors are open, for the end of a message.
pub fn limit_hint(error: Errno) -> String {
    match (error, getrlimit(Resource::Nofile).current) {
        (Errno::MFILE, Some(max)) => {
            format!("; the limit is {max} descriptors, raise it with ulimit -n")
        }
        _ => String::new(),
    }
}
