//! A server that is started here: `exec!command`, with a socket for its standard input and output.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long it may take to end by itself, once its connection is closed, and how long after a SIGTERM.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// The program that was started.
pub struct ChildServer(Child);

/// Starts a program. The shell takes the command apart, as people expect.
pub fn start(command: &str) -> io::Result<(OwnedFd, ChildServer)> {
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = OwnedFd::from(theirs);
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::from(theirs.try_clone()?))
        .stdout(Stdio::from(theirs))
        // A terminal's interrupt is for us: it ends by the end of its connection.
        .process_group(0)
        .spawn()?;
    Ok((ours.into(), ChildServer(child)))
}

impl ChildServer {
    /// Waits for its end, after the connection to it was closed; then makes it end, at once if `hurry`
    /// says so.
    pub fn shut_down(&mut self, mut hurry: impl FnMut() -> bool) -> Option<ExitStatus> {
        for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
            match signal {
                Some(Signal::TERM) if hurry() => continue,
                Some(signal) => drop(kill_process_group(Pid::from_child(&self.0), signal)),
                None => {}
            }
            let since = Instant::now();
            loop {
                match self.0.try_wait() {
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
