//! A descriptor that is made non-blocking and gets its old mode back when it is closed.
//!
//! The mode belongs to the open file, which other processes may share: a shell with a non-blocking
//! standard input would read EAGAIN after 9pmux has ended.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// An owned descriptor. Dropping it restores the mode that `set_nonblocking` has changed.
#[derive(Debug)]
pub struct Fd {
    fd: OwnedFd,
    was_blocking: bool,
}

impl Fd {
    /// Returns true if reads and writes may block.
    pub fn is_blocking(&self) -> io::Result<bool> {
        Ok(!rustix::fs::fcntl_getfl(&self.fd)?.contains(rustix::fs::OFlags::NONBLOCK))
    }

    /// Makes reads and writes fail with EAGAIN instead of blocking. `was_blocking` says which mode the open
    /// file had; it must be asked of all descriptors of the open file before the first is changed.
    pub fn set_nonblocking(&mut self, was_blocking: bool) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&self.fd, true)?;
        self.was_blocking |= was_blocking;
        Ok(())
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        if self.was_blocking {
            let _ = rustix::io::ioctl_fionbio(&self.fd, false);
        }
    }
}

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Fd {
        Fd { fd, was_blocking: false }
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_restores_the_mode_that_the_open_file_had() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        for blocking in [true, false] {
            one.set_nonblocking(!blocking).unwrap();
            let mut fd = Fd::from(OwnedFd::from(one.try_clone().unwrap()));
            assert_eq!(fd.is_blocking().unwrap(), blocking);
            fd.set_nonblocking(blocking).unwrap();
            let seen = Fd::from(OwnedFd::from(one.try_clone().unwrap()));
            assert!(!seen.is_blocking().unwrap());
            drop(fd);
            assert_eq!(seen.is_blocking().unwrap(), blocking);
        }
    }
}
