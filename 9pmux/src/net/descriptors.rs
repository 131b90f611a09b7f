//! Descriptors that somebody else has opened for us: `fd!n`, and standard input and output.
//!
//! Each is claimed once, before the program opens any of its own: a number that is closed then is the
//! caller's mistake, and not by chance something of ours.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ServeOptions;
use super::address::Address;
use super::failure::{Failure, error_text};
use super::stream::Stream;

/// What was claimed, and by whom it has not been taken yet.
pub struct Claims(Vec<(Address, Stream)>);

impl Claims {
    /// The stream of an address that has been claimed.
    pub fn take(&mut self, address: &Address) -> Option<Stream> {
        let index = self.0.iter().position(|(claimed, _)| claimed == address)?;
        Some(self.0.swap_remove(index).1)
    }
}

/// Claims what the order names.
pub fn claim(options: &ServeOptions) -> Result<Claims, Failure> {
    let mut numbers = Vec::new();
    let mut streams = Vec::new();
    let mut claim_one = |address: &Address| -> Result<(), String> {
        let used: &[RawFd] = match address {
            Address::Fd(n) => &[*n],
            Address::Stdio => &[0, 1],
            _ => return Ok(()),
        };
        if let Some(n) = used.iter().find(|n| numbers.contains(*n)) {
            return Err(format!("descriptor {n} is given twice: each belongs to one peer"));
        }
        for n in used {
            check_open(*n).map_err(|error| {
                format!(
                    "descriptor {n}: {}: it must be open when 9pmux is started",
                    error_text(&error)
                )
            })?;
        }
        numbers.extend_from_slice(used);
        let stream = match address {
            Address::Fd(n) => take_fd(*n).map(Stream::socket),
            _ => take_fd(0).and_then(|input| Ok(Stream::pair(input, take_fd(1)?))),
        };
        streams.push((address.clone(), stream.map_err(|error| error_text(&error))?));
        Ok(())
    };
    claim_one(&options.server).map_err(|why| Failure::Connect(options.server.clone(), why))?;
    for address in &options.listen {
        claim_one(address).map_err(|why| Failure::Announce(address.clone(), why))?;
    }
    Ok(Claims(streams))
}

fn check_open(n: RawFd) -> io::Result<()> {
    // SAFETY: the number is looked at and not kept; one that is not open is what the call is for.
    let fd = unsafe { BorrowedFd::borrow_raw(n) };
    rustix::io::fcntl_getfd(fd)?;
    Ok(())
}

/// Takes a descriptor away from its number, and out of what programs that are started here inherit.
fn take_fd(n: RawFd) -> io::Result<OwnedFd> {
    if n > 2 {
        // SAFETY: it is open, it was handed in for this, and nobody here has claimed it before.
        let fd = unsafe { OwnedFd::from_raw_fd(n) };
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        return Ok(fd);
    }
    // Their numbers stay taken, or the next socket would be somebody's standard output.
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    let fd = match n {
        0 => rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3),
        1 => rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3),
        _ => rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3),
    }?;
    match n {
        0 => rustix::stdio::dup2_stdin(&nothing)?,
        1 => rustix::stdio::dup2_stdout(&nothing)?,
        // errors still go there
        _ => {}
    }
    Ok(fd)
}

/// One descriptor is one client: as many as the system lets us have without being asked.
pub fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Who may not, has what he has.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// What to do about an error that says that there are too many, for the end of a line.
pub fn limit_hint(error: Errno) -> String {
    match (error, getrlimit(Resource::Nofile).current) {
        (Errno::MFILE, Some(max)) => {
            format!("; the limit is {max} descriptors, raise it with ulimit -n")
        }
        _ => String::new(),
    }
}
