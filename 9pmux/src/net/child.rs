//! A server that is started here: `exec!command`, with a socket as its standard input and output.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::signals;

/// How long the program may take to end by itself after its connection is closed, and again after SIGTERM.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// The program that was started.
pub struct ChildServer {
    child: Child,
    /// Receives a byte for each SIGCHLD.
    notices: UnixStream,
}

/// Starts a command by the shell. Returns our end of the connection to it.
pub fn start(command: &str) -> io::Result<(OwnedFd, ChildServer)> {
    // Before the start, so that no notice is missed.
    let notices = signals::subscribe_child()?;
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = OwnedFd::from(theirs);
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::from(theirs.try_clone()?))
        .stdout(Stdio::from(theirs))
        // In a group of its own it does not receive a terminal's interrupt, which is for 9pmux. It ends when
        // its connection ends.
        .process_group(0)
        .spawn()?;
    Ok((ours.into(), ChildServer { child, notices }))
}

impl ChildServer {
    /// The descriptor that is readable when the program may have ended.
    pub fn notice_fd(&self) -> RawFd {
        self.notices.as_raw_fd()
    }

    /// Collects the status of the program if it has ended, while a process that it has started may still
    /// hold the connection. Without this call the program would stay a zombie for that time.
    pub fn reap(&mut self) {
        signals::take_count(&mut self.notices);
        // The status is kept, and returned by `shut_down`.
        let _ = self.child.try_wait();
    }

    /// Waits for the end of the program. Its connection must have been closed. Then sends SIGTERM, and
    /// after that SIGKILL. While `hurry` returns true, SIGKILL is sent without a wait.
    pub fn shut_down(&mut self, mut hurry: impl FnMut() -> bool) -> Option<ExitStatus> {
        for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
            match signal {
                Some(Signal::TERM) if hurry() => continue,
                Some(signal) => drop(kill_process_group(Pid::from_child(&self.child), signal)),
                None => {}
            }
            let since = Instant::now();
            loop {
                match self.child.try_wait() {
                    Ok(None) => sleep(Duration::from_millis(5)),
                    Ok(status) => return status,
                    Err(_) => return None,
                }
                if since.elapsed() >= STEP_TIMEOUT || signal != Some(Signal::KILL) && hurry() {
                    break;
                }
            }
        }
        None
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        self.shut_down(|| false);
    }
}
