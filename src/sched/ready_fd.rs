//! The poll descriptor: a descriptor for event loops that can be made readable. Source: eventfd(2).

use std::ffi::c_int;

/// A descriptor with settable readiness. Closed on drop.
pub struct ReadyFd {
    /// The descriptor that the program passes to select or poll.
    read: c_int,
    /// The descriptor that makes `read` readable. An eventfd is its own write end.
    #[cfg(not(target_os = "linux"))]
    write: c_int,
    ready: bool,
}

impl ReadyFd {
    /// Creates a descriptor that is not readable and that is closed on exec.
    ///
    /// # Errors
    /// Returns the operating system's error number.
    pub fn new() -> Result<ReadyFd, c_int> {
        open()
    }

    /// Returns the descriptor that the program waits for.
    #[must_use]
    pub fn fd(&self) -> c_int {
        self.read
    }

    fn write_end(&self) -> c_int {
        #[cfg(target_os = "linux")]
        return self.read;
        #[cfg(not(target_os = "linux"))]
        return self.write;
    }

    /// Makes the descriptor readable, or no longer readable.
    pub fn set(&mut self, ready: bool) {
        if ready == self.ready {
            return;
        }
        self.ready = ready;
        let mut one: u64 = 1;
        // An eventfd transfers eight bytes at a time, a pipe any number.
        // SAFETY: a local variable of eight bytes, and descriptors that this object owns. Neither call
        // blocks: a read follows a write, and each write finds the descriptor empty.
        unsafe {
            if ready {
                kernel::write(self.write_end(), (&raw const one).cast(), 8);
            } else {
                kernel::read(self.read, (&raw mut one).cast(), 8);
            }
        }
    }
}

impl Drop for ReadyFd {
    fn drop(&mut self) {
        // SAFETY: this object owns the descriptors, and no other code closes them.
        unsafe {
            kernel::close(self.read);
            #[cfg(not(target_os = "linux"))]
            kernel::close(self.write);
        }
    }
}

/// The system calls themselves. The C library's functions are cancellation points, and a thread that is
/// cancelled here would leave a lock held.
#[cfg(target_os = "linux")]
mod kernel {
    use std::ffi::{c_int, c_void};

    /// # Safety
    /// `from` must point to `bytes` readable bytes.
    pub unsafe fn write(fd: c_int, from: *const c_void, bytes: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe { libc::syscall(libc::SYS_write, fd, from, bytes) };
    }

    /// # Safety
    /// `to` must point to `bytes` writable bytes.
    pub unsafe fn read(fd: c_int, to: *mut c_void, bytes: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe { libc::syscall(libc::SYS_read, fd, to, bytes) };
    }

    /// # Safety
    /// The caller must own `fd`.
    pub unsafe fn close(fd: c_int) {
        // SAFETY: guaranteed by the caller.
        unsafe { libc::syscall(libc::SYS_close, fd) };
    }
}

#[cfg(not(target_os = "linux"))]
use libc as kernel;

#[cfg(target_os = "linux")]
fn open() -> Result<ReadyFd, c_int> {
    // SAFETY: eventfd takes two numbers, and returns a descriptor or a negative number.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(crate::sched::errno());
    }
    Ok(ReadyFd { read: fd, ready: false })
}

#[cfg(not(target_os = "linux"))]
fn open() -> Result<ReadyFd, c_int> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors that pipe returns; this function owns them.
    unsafe {
        if libc::pipe(ends.as_mut_ptr()) < 0 {
            return Err(crate::sched::errno());
        }
        for end in ends {
            libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC);
            libc::fcntl(end, libc::F_SETFL, libc::O_NONBLOCK);
        }
    }
    Ok(ReadyFd { read: ends[0], write: ends[1], ready: false })
}

#[cfg(test)]
mod tests {
    use super::ReadyFd;

    fn readable(fd: i32) -> bool {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one local entry, and a timeout of 0.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
    }

    #[test]
    fn it_is_readable_while_it_is_ready() {
        let mut ready_fd = ReadyFd::new().unwrap();
        assert!(!readable(ready_fd.fd()));
        for ready in [true, true, false, false, true, false] {
            ready_fd.set(ready);
            assert_eq!(readable(ready_fd.fd()), ready);
        }
    }
}
