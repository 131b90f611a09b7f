//! 9pmux itself, as a process.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use super::wait_for;

pub const NINEPMUX: &str = env!("CARGO_BIN_EXE_9pmux");

/// A started 9pmux. Killed on drop.
pub struct Program {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    listener: Option<JoinHandle<()>>,
}

/// `9pmux serve` with these arguments.
pub fn serve(args: &[&str]) -> Command {
    let mut command = Command::new(NINEPMUX);
    command.arg("serve").args(args).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// As `serve`, with this limit of descriptors, which 9pmux cannot raise.
pub fn serve_within(limit: u32, args: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh", NINEPMUX, "serve"]);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

impl Program {
    pub fn start(mut command: Command) -> Program {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (lines, to) = (BufReader::new(child.stderr.take().unwrap()).lines(), said.clone());
        let listener = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                to.lock().unwrap().push(line);
            }
        });
        Program { child, said, listener: Some(listener) }
    }

    /// Starts 9pmux and waits until its socket accepts clients.
    pub fn serving(server: &str, socket: &Path, options: &[&str]) -> Program {
        let address = super::unix(socket);
        let program = Program::start(serve(&[options, &[server, &address]].concat()));
        program.wait_socket(socket);
        program
    }

    pub fn wait_socket(&self, socket: &Path) {
        wait_for("the socket accepts clients", || {
            let fails = |line: &String| line.contains("cannot") && !line.contains("trying again");
            assert!(!self.said().iter().any(fails), "{:?}", self.said());
            UnixStream::connect(socket).is_ok()
        });
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end. Returns the exit status and all lines of standard error.
    pub fn end(mut self) -> (ExitStatus, Vec<String>) {
        let mut status = None;
        wait_for("the end of 9pmux", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.listener.take().unwrap().join().unwrap();
        (status.unwrap(), self.said())
    }

    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Resident memory in bytes, on systems that report it.
    pub fn memory(&self) -> Option<u64> {
        self.status("VmRSS:")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    }

    /// Returns true if 9pmux has a handler for this signal, on systems that report it.
    pub fn catches(&self, signal: Signal) -> bool {
        let caught = self.status("SigCgt:").and_then(|set| u64::from_str_radix(&set, 16).ok());
        caught.is_some_and(|set| set & 1 << (signal.as_raw() - 1) != 0)
    }

    fn status(&self, name: &str) -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1).map(str::to_owned)
    }

    /// Number of open descriptors, on systems that report it.
    pub fn descriptors(&self) -> Option<usize> {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).ok()?;
        Some(open.count())
    }

    pub fn wait_said(&self, words: &str) -> String {
        let mut found = None;
        wait_for(words, || {
            found = self.said().into_iter().find(|line| line.contains(words));
            found.is_some()
        });
        found.unwrap()
    }

    /// Kills 9pmux, without any cleanup.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
