//! Whether a read from a descriptor returns at once. Source: poll(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Returns true if a read returns bytes, the end or an error without blocking.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // SAFETY: one local entry, with a descriptor that is open, and a timeout of 0.
        match unsafe { libc::poll(&raw mut entry, 1, 0) } {
            0 => return Ok(false),
            1.. => return Ok(true),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
