//! The fork of a program that continues in the background.

use std::io;

use rustix::process::Pid;

/// Forks. The process that was started ends with status 0, and the call returns in its child, which has a process
/// group of its own.
///
/// Must be called before any thread, poller or descriptor for signals exists: a child has none of the threads, and
/// shares the others.
///
/// # Errors
/// Returns the error of the fork, in the process that was started.
pub fn continue_in_background() -> io::Result<()> {
    // SAFETY: this process has one thread, as the caller ensures, so the child finds no lock taken and no data half
    // changed.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // It fails in the leader of a session, which a new process is not.
            let _ = rustix::process::setpgid(None, None);
            Ok(())
        }
        child => {
            // The child's group is certain when this process has ended. It fails if the child has ended before.
            let _ = rustix::process::setpgid(Pid::from_raw(child), None);
            // SAFETY: the call has no conditions. It runs no destructors, which would remove the child's socket.
            unsafe { libc::_exit(0) }
        }
    }
}
