//! The examples of 9pmux(1) work as they are printed. Only host names, directories and the dialect are
//! replaced by those of the test.

#![cfg(feature = "program")]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use support::Place;
use support::client::Client;
use support::program::{NINEPMUX, Program};
use support::stub::Stub;

/// Returns the commands of an example, one a line.
fn example(name: &str) -> Vec<String> {
    let page = include_str!("../man/9pmux.1");
    let (_, rest) = page.split_once(&format!(".\\\" example {name}\n")).unwrap();
    let (example, _) = rest.split_once("\n.\\\" end").unwrap();
    let lines: Vec<_> = example.lines().filter(|line| !line.starts_with('.')).collect();
    assert!(!lines.is_empty(), "{name}");
    lines.into_iter().map(|line| line.trim_end_matches(" &").to_owned()).collect()
}

/// A directory in place of `/tmp` and the home directory, with a directory of programs.
struct Shell {
    stub: Stub,
    place: Place,
}

impl Shell {
    fn new() -> Shell {
        let (stub, place) = (Stub::new(), Place::new());
        std::fs::create_dir(place.path("bin")).unwrap();
        symlink(NINEPMUX, place.path("bin/9pmux")).unwrap();
        Shell { stub, place }
    }

    /// A program that the examples use.
    fn install(&self, name: &str, script: &str) {
        let path = self.place.path(&format!("bin/{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn command(&self, line: &str) -> Command {
        let directory = self.place.directory().display();
        let line = line
            .replace("unix!/tmp/server", "tcp!files!564")
            .replace("/tmp/", &format!("{directory}/"))
            .replace("tcp!files!564", &self.stub.address())
            // the stub supports only this dialect
            .replace("9P2000.L", "9P2000");
        let mut command = Command::new("/bin/sh");
        let path = format!("{directory}/bin:/usr/bin:/bin");
        command
            .args(["-c", &format!("exec {line}")])
            .env("PATH", path)
            .env("HOME", self.place.directory());
        command.env_remove("NAMESPACE").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs a `9pmux serve` and uses its socket.
    fn serves(&self, line: &str, socket: &str) -> Program {
        let program = Program::start(self.command(line));
        program.wait_socket(&self.place.path(socket));
        Client::attach(&self.place.path(socket)).stat(0);
        program
    }
}

#[test]
fn the_mount_example_mounts_the_served_socket() {
    let shell = Shell::new();
    shell.install(
        "mount",
        "for last; do :; done; test $# = 6 -a \"$last\" = /mnt && test -S \"$5\"",
    );
    let lines = example("mount");
    let _program = shell.serves(&lines[0], "files");
    assert!(shell.command(&lines[1]).status().unwrap().success(), "{lines:?}");
}

#[test]
fn the_example_for_one_user_serves_that_user() {
    let shell = Shell::new();
    shell.serves(&example("user")[0], "files");
}

#[test]
fn the_example_that_starts_a_server_serves_it() {
    let shell = Shell::new();
    shell.install(
        "u9fs",
        &format!(
            "test \"$*\" = '-a none -u glenda' && exec 9pmux serve {} -",
            shell.stub.address()
        ),
    );
    shell.serves(&example("exec")[0], "u9fs");
}

#[test]
fn the_example_that_survives_a_restart_survives_one() {
    let shell = Shell::new();
    let socket = shell.place.path("files");
    let program = shell.serves(&example("reconnect")[0], "files");
    let mut client = Client::attach(&socket);
    shell.stub.die();
    program.wait_said("trying again");
    client.stat(0);
    program.wait_said("back after");
}

#[test]
fn the_example_that_logs_messages_logs_them() {
    let shell = Shell::new();
    shell.serves(&example("watch")[0], "watched").wait_said("-> Tattach");
}

#[test]
fn the_example_of_a_link_serves_in_both_directions() {
    let shell = Shell::new();
    shell.install("ssh", "shift; exec \"$@\"");
    let namespace = shell.place.path("namespace");
    std::fs::create_dir(&namespace).unwrap();
    std::fs::set_permissions(&namespace, PermissionsExt::from_mode(0o700)).unwrap();
    let files = Program::serving(&shell.stub.address(), &shell.place.path("files"), &[]);
    let mut command = shell.command(&example("link")[0]);
    let link = Program::start({
        command.env("NAMESPACE", &namespace);
        command
    });
    for name in ["server", "laptop"] {
        link.wait_socket(&namespace.join(name));
        Client::attach(&namespace.join(name)).stat(0);
    }
    drop(files);
}

#[test]
fn the_completions_example_writes_completions() {
    let shell = Shell::new();
    let directory = shell.place.path(".local/share/bash-completion/completions");
    std::fs::create_dir_all(&directory).unwrap();
    assert!(shell.command(&example("completions")[0]).status().unwrap().success());
    assert!(std::fs::read_to_string(directory.join("9pmux")).unwrap().contains("_9pmux"));
}
