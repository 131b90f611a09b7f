//! The Rust examples that need no other program: they work, and the first program of a newcomer,
//! `examples/first-call.rs`, is as short as promised.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

#[test]
fn the_first_call_takes_at_most_15_lines() {
    let lines = include_str!("../examples/first-call.rs").lines().filter(|line| !line.is_empty());
    let lines = lines.count();
    assert!(lines <= 15, "{lines} lines");
}

/// Returns the command of an example, which cargo has built beside this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("the path of this test");
    let directory = test.parent().and_then(|deps| deps.parent()).expect("its directory");
    Command::new(directory.join("examples").join(name))
}

fn output_of(command: &mut Command) -> String {
    let output =
        command.output().expect("an example, which `cargo test` builds if no target is named");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("a text")
}

#[test]
fn many_tasks_share_a_connection() {
    assert_eq!(output_of(&mut example("tokio")), "tokio: 1002 calls over one connection\n");
    assert_eq!(output_of(&mut example("executor")), "executor: 1002 calls over one connection\n");
}

#[test]
fn the_first_call_prints_the_reply() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?.to_string();
    // This server returns the message in capital letters: length[4] tag[4] text.
    let server = thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut message = [0; 4 + 4 + 5];
        stream.read_exact(&mut message)?;
        assert_eq!(message[..4], 9_u32.to_be_bytes());
        message[8..].make_ascii_uppercase();
        stream.write_all(&message)
    });
    assert_eq!(output_of(example("first-call").arg(address)), "HELLO\n");
    server.join().unwrap()
}
