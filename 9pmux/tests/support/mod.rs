//! Support for the tests of the process: a small server, a small client, and 9pmux as a process.
//!
//! No result of these tests depends on time. A test waits for a condition; `PATIENCE` only ends a test that cannot
//! pass any more.
#![allow(dead_code, reason = "each test uses some of it")]

pub mod client;
pub mod program;
pub mod store;
pub mod stub;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Much longer than any condition takes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `holds` returns true.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A directory for a test's sockets.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn directory(&self) -> &Path {
        self.0.path()
    }
}

/// The address of a socket.
pub fn unix(path: &Path) -> String {
    format!("unix!{}", path.display())
}

/// The two ends of a pipe: bytes written to the second can be read from the first. Programs that the test
/// starts inherit neither: a program with the second end would wait for its own end of file.
pub fn pipe() -> (File, File) {
    let (input, output) = rustix::pipe::pipe().unwrap();
    for end in [&input, &output] {
        rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC).unwrap();
    }
    (File::from(input), File::from(output))
}

/// A message.
pub fn message(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut message = (body.len() as u32 + 7).to_le_bytes().to_vec();
    message.push(kind);
    message.extend(tag.to_le_bytes());
    message.extend(body);
    message
}

/// Concatenates the parts of a body.
pub fn body(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A string in the encoding of 9P.
pub fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}

/// A message that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub kind: u8,
    pub tag: u16,
    pub body: Vec<u8>,
}

impl Got {
    pub fn u32_at(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.body[at..at + 4].try_into().unwrap())
    }
}

/// Reads a message. Returns `None` if the stream has ended.
pub fn read_message(stream: &mut impl Read) -> io::Result<Option<Got>> {
    let mut header = [0; 7];
    let n = loop {
        match stream.read(&mut header) {
            // A read with a timeout returns when the process continues after a stop (signal(7)).
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            n => break n?,
        }
    };
    match n {
        0 => return Ok(None),
        n => stream.read_exact(&mut header[n..])?,
    }
    let size = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
    assert!(size >= 7, "a message of {size} bytes");
    let mut body = vec![0; size - 7];
    stream.read_exact(&mut body)?;
    Ok(Some(Got { kind: header[4], tag: u16::from_le_bytes([header[5], header[6]]), body }))
}

/// Reads the next request for a server that the test itself is. It must have this type.
#[track_caller]
pub fn next_request(stream: &mut impl Read, kind: u8) -> Got {
    let got = read_message(stream).unwrap().expect("a request");
    assert_eq!(got.kind, kind, "{got:?}");
    got
}

/// Sends the reply with this body to a request.
pub fn send_reply(stream: &mut impl Write, request: &Got, body: &[u8]) {
    stream.write_all(&message(request.kind + 1, request.tag, body)).unwrap();
}
