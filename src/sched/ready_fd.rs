//! A descriptor that is readable while something is the case, for event loops. Source: eventfd(2).

use std::ffi::c_int;

/// Closed when it is dropped.
pub struct ReadyFd {
    /// What select and poll wait for.
    read: c_int,
    /// What makes it readable; with eventfds it is the same one.
    #[cfg(not(target_os = "linux"))]
    write: c_int,
    ready: bool,
}

impl ReadyFd {
    /// A descriptor that is not readable yet, closed on exec.
    ///
    /// # Errors
    /// The operating system's error number.
    pub fn new() -> Result<ReadyFd, c_int> {
        open()
    }

    /// The descriptor.
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

    /// Makes it readable, or no longer so.
    pub fn set(&mut self, ready: bool) {
        if ready == self.ready {
            return;
        }
        self.ready = ready;
        let mut one: u64 = 1;
        // An eventfd takes and gives eight bytes, a pipe any number.
        // SAFETY: eight bytes of our own, and descriptors of our own; neither call blocks, since
        // what is read has been written, and what is written has been read.
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
        // SAFETY: they are ours, and nobody else closes them.
        unsafe {
            kernel::close(self.read);
            #[cfg(not(target_os = "linux"))]
            kernel::close(self.write);
        }
    }
}

/// As the kernel has them: the C library's are cancellation points, and a thread that were cancelled in
/// here would leave with a lock held.
#[cfg(target_os = "linux")]
mod kernel {
    use std::ffi::{c_int, c_void};

    /// # Safety
    /// `from` has that many bytes.
    pub unsafe fn write(fd: c_int, from: *const c_void, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { libc::syscall(libc::SYS_write, fd, from, bytes) };
    }

    /// # Safety
    /// `to` has room for that many bytes.
    pub unsafe fn read(fd: c_int, to: *mut c_void, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { libc::syscall(libc::SYS_read, fd, to, bytes) };
    }

    /// # Safety
    /// `fd` is the caller's.
    pub unsafe fn close(fd: c_int) {
        // SAFETY: the caller's promise.
        unsafe { libc::syscall(libc::SYS_close, fd) };
    }
}

#[cfg(not(target_os = "linux"))]
use libc as kernel;

#[cfg(target_os = "linux")]
fn open() -> Result<ReadyFd, c_int> {
    // SAFETY: it takes two numbers, and answers a descriptor or less than 0.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(crate::sched::errno());
    }
    Ok(ReadyFd { read: fd, ready: false })
}

#[cfg(not(target_os = "linux"))]
fn open() -> Result<ReadyFd, c_int> {
    let mut ends = [0; 2];
    // SAFETY: room for the two descriptors that it answers; they are ours from then on.
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
        // SAFETY: one entry of our own, and no waiting.
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
