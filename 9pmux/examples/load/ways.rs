//! The programs between the clients and the server.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::clients::Load;

#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    Straight,
    Ninepmux,
    /// 9pmux with `--reconnect`.
    Reconnecting,
    Socat,
    Ninepserve,
}

/// A program in a process group of its own, which is terminated on drop.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

pub fn start(command: &mut Command) -> Running {
    Running(command.stdin(Stdio::null()).process_group(0).spawn().expect("it can be started"))
}

pub fn wait(path: &Path) {
    while !path.exists() {
        thread::sleep(Duration::from_millis(2));
    }
}

/// Cargo builds it into the directory of this program.
pub fn ninepmux() -> PathBuf {
    let path = env::current_exe().unwrap();
    let path = path.ancestors().nth(2).unwrap().join("9pmux");
    assert!(path.exists(), "{} is not there: cargo build --release -p ninepmux", path.display());
    path
}

impl Way {
    /// Returns the ways that are possible on this machine.
    pub fn all() -> Vec<Way> {
        let mut ways = vec![Way::Straight, Way::Ninepmux];
        if Command::new("socat").arg("-V").stdout(Stdio::null()).status().is_ok() {
            ways.push(Way::Socat);
        }
        if env::var_os("PEER_9PSERVE").is_some() {
            ways.push(Way::Ninepserve);
        }
        ways
    }

    pub fn name(self) -> &'static str {
        match self {
            Way::Straight => "straight",
            Way::Ninepmux => "9pmux",
            Way::Reconnecting => "9pmux --reconnect",
            Way::Socat => "socat",
            Way::Ninepserve => "9pserve",
        }
    }

    /// Returns false for loads that are not measured: more than 256 clients through socat or 9pserve.
    pub fn takes(self, load: &Load) -> bool {
        load.clients <= 256 || [Way::Straight, Way::Ninepmux].contains(&self)
    }

    pub fn start(self, server: &Path, at: &Path) -> Option<Running> {
        let (server, here) = (server.display(), at.display());
        let mut command = match self {
            Way::Straight => return None,
            Way::Ninepmux | Way::Reconnecting => {
                let mut command = Command::new(ninepmux());
                command.arg("serve");
                if self == Way::Reconnecting {
                    command.arg("--reconnect");
                }
                // for comparisons of options
                let options = env::var("NINEPMUX_OPTIONS").unwrap_or_default();
                command.args(options.split_whitespace());
                command.args([&format!("unix!{server}"), &format!("unix!{here}")]);
                command
            }
            Way::Socat => {
                let mut command = Command::new("socat");
                command.arg(format!("UNIX-LISTEN:{here},fork,backlog=4096"));
                command.arg(format!("UNIX-CONNECT:{server}"));
                command
            }
            Way::Ninepserve => {
                let mut command = Command::new(env::var_os("PEER_9PSERVE").unwrap());
                command.args(["-c", &format!("unix!{server}"), &format!("unix!{here}")]);
                command
            }
        };
        if [Way::Socat, Way::Ninepserve].contains(&self) {
            // these programs log every client that disconnects
            command.stderr(Stdio::null());
        }
        let running = start(&mut command);
        wait(at);
        Some(running)
    }
}

/// Replies per second, and the processor time per reply, in nanoseconds, of the programs between.
pub fn measure(way: Way, load: &Load, seconds: f64, directory: &Path) -> (f64, f64) {
    let me = env::current_exe().unwrap();
    let server = directory.join("server");
    let stub = start(Command::new(&me).arg("server").arg(&server));
    wait(&server);
    let at = directory.join("here");
    let between = way.start(&server, &at);
    let path = if way == Way::Straight { &server } else { &at };
    let group = between.as_ref().map_or(0, |running| running.0.id());
    let output = Command::new(&me)
        .arg("load")
        .arg(path)
        .args([&load.name, &seconds.to_string(), &group.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    drop(between);
    drop(stub);
    for name in ["server", "here"] {
        let _ = fs::remove_file(directory.join(name));
    }
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut figures = output.split_whitespace().map(|figure| figure.parse().unwrap_or(f64::NAN));
    let rate = figures.next().unwrap_or(f64::NAN);
    let cost = figures.next().unwrap_or(f64::NAN);
    (rate, if way == Way::Straight { f64::NAN } else { cost })
}
