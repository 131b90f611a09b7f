//! A server that is started here: `exec!command`, with a socket as its standard input and output.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::listen_fds::VARIABLES;
use super::signals;

/// How long the program may take to end by itself after its connection is closed, and again after SIGTERM.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// The program that was started.
pub struct ChildServer {
    child: Child,
    /// Receives a byte for each SIGCHLD.
    notices: UnixStream,
    /// How far the end of the program has been pursued, and since when.
    ending: Option<(Step, Instant)>,
}

/// A step towards the end of the program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It should end by itself.
    Wait,
    /// It has received SIGTERM.
    Terminate,
    /// It has received SIGKILL.
    Kill,
}

/// Starts a command by the shell. Returns our end of the connection to it.
pub fn start(command: &str) -> io::Result<(OwnedFd, ChildServer)> {
    // Before the start, so that no notice is missed.
    let notices = signals::subscribe_child()?;
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = OwnedFd::from(theirs);
    let mut shell = Command::new("/bin/sh");
    for variable in VARIABLES {
        shell.env_remove(variable);
    }
    let child = shell
        .args(["-c", command])
        .stdin(Stdio::from(theirs.try_clone()?))
        .stdout(Stdio::from(theirs))
        // In a group of its own it does not receive a terminal's interrupt, which is for 9pmux. It ends when
        // its connection ends.
        .process_group(0)
        .spawn()?;
    Ok((ours.into(), ChildServer { child, notices, ending: None }))
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

    /// Pursues the end of the program without blocking. Its connection must have been closed. Sends SIGTERM when
    /// it has not ended by itself, and after that SIGKILL; with `hurry`, SIGKILL at once. Returns its status,
    /// which may be unknown, or `None` if this must be called again: at `next_step`, or after a SIGCHLD.
    pub fn try_shut_down(&mut self, now: Instant, hurry: bool) -> Option<Option<ExitStatus>> {
        match self.child.try_wait() {
            Ok(None) => {}
            Ok(status) => return Some(status),
            Err(_) => return Some(None),
        }
        let (step, since) = *self.ending.get_or_insert((Step::Wait, now));
        let is_over = now.saturating_duration_since(since) >= STEP_TIMEOUT;
        let (next, signal) = match step {
            Step::Wait | Step::Terminate if hurry => (Step::Kill, Signal::KILL),
            Step::Kill if is_over => return Some(None),
            _ if !is_over => return None,
            Step::Wait => (Step::Terminate, Signal::TERM),
            Step::Terminate | Step::Kill => (Step::Kill, Signal::KILL),
        };
        self.ending = Some((next, now));
        // It fails if the program has just ended.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
        None
    }

    /// Returns the time of the next call of `try_shut_down`, if that was called before.
    pub fn next_step(&self) -> Option<Instant> {
        self.ending.map(|(_, since)| since + STEP_TIMEOUT)
    }

    /// As `try_shut_down`, but waits for the end.
    pub fn shut_down(&mut self, mut hurry: impl FnMut() -> bool) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.try_shut_down(Instant::now(), hurry()) {
                return status;
            }
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        self.shut_down(|| false);
    }
}
