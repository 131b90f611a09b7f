//! A session with the control tree: one request at a time, and whole files.
//!
//! The version that it offers is that of the control tree, so that this client does not determine the dialect of
//! others, and knows whether the program at the address is 9pmux. Any program may say so: texts are bounded, and made safe
//! for a terminal.

use std::fmt::Write;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::StatFailure;
use crate::engine::{CONTROL_VERSION, is_plain};
use crate::net::{Address, connect_blocking};
use crate::wire::{HEADER, NOFID, NOTAG, types, u16_at, u32_at};

/// The time to connect, and for each reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// The maximum time for which a key or a signal is not noticed while a reply is awaited.
const IDLE_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The maximum length of a text: twice that of 9pmux's.
const MAX_TEXT: usize = 8 << 20;

/// The message size that is offered.
const MSIZE: u32 = 128 * 1024;

/// The fids of the root, and of a file.
const ROOT: u32 = 0;
const FILE: u32 = 1;

/// The user that is sent. 9pmux asks the system which user it is.
const USER: &str = "stat";

/// A connection that has attached to the control tree.
pub struct Session {
    address: Address,
    socket: std::os::fd::OwnedFd,
    msize: u32,
    is_ended: Option<Box<dyn FnMut() -> bool>>,
}

/// A message under construction.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u8, tag: u16) -> Message {
        let mut bytes = vec![0, 0, 0, 0, kind];
        bytes.extend(tag.to_le_bytes());
        Message(bytes)
    }

    fn bytes(mut self, bytes: &[u8]) -> Message {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32(self, number: u32) -> Message {
        self.bytes(&number.to_le_bytes())
    }

    fn string(self, text: &str) -> Message {
        self.bytes(&(text.len() as u16).to_le_bytes()).bytes(text.as_bytes())
    }

    fn done(mut self) -> Vec<u8> {
        let size = self.0.len() as u32;
        self.0[..4].copy_from_slice(&size.to_le_bytes());
        self.0
    }
}

impl Session {
    /// Connects and attaches.
    pub fn connect(address: &Address, tree: &str) -> Result<Session, StatFailure> {
        let socket = connect_blocking(address, PATIENCE)
            .map_err(|why| StatFailure::Connect(address.clone(), why))?;
        for way in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, way, Some(PATIENCE))
                .map_err(|error| StatFailure::Connect(address.clone(), error.to_string()))?;
        }
        let mut session =
            Session { address: address.clone(), socket, msize: MSIZE, is_ended: None };
        session.agree_version()?;
        let attach = Message::new(types::TATTACH, 1).u32(ROOT).u32(NOFID).string(USER).string(tree);
        session.call(attach).map_err(|failure| match failure {
            StatFailure::Refused(address, _) => {
                StatFailure::NotAllowed(address, tree.escape_debug().to_string())
            }
            other => other,
        })?;
        Ok(session)
    }

    /// From now on, a call ends with [`StatFailure::Ended`] soon after `is_ended` has become true.
    pub fn end_if(&mut self, is_ended: impl FnMut() -> bool + 'static) {
        self.is_ended = Some(Box::new(is_ended));
    }

    fn agree_version(&mut self) -> Result<(), StatFailure> {
        let version = Message::new(types::TVERSION, NOTAG).u32(MSIZE).string(CONTROL_VERSION);
        let reply = self.exchange(version)?;
        let is_version = reply[4] == types::RVERSION && reply.len() >= HEADER + 6;
        if !is_version || &reply[HEADER + 6..] != CONTROL_VERSION.as_bytes() {
            return Err(StatFailure::NoTree(self.address.clone()));
        }
        self.msize = u32_at(&reply, HEADER).clamp(256, MSIZE);
        Ok(())
    }

    /// Returns the text of a file.
    pub fn read(&mut self, name: &str) -> Result<String, StatFailure> {
        self.open(name, 0)?;
        let mut bytes = Vec::new();
        loop {
            let read =
                Message::new(types::TREAD, 1).u32(FILE).bytes(&(bytes.len() as u64).to_le_bytes());
            let reply = self.call(read.u32(self.msize - 11))?;
            let data = reply.get(HEADER + 4..).unwrap_or_default();
            if data.is_empty() {
                break;
            }
            bytes.extend_from_slice(data);
            if bytes.len() > MAX_TEXT {
                let why = format!("its file {name} has no end");
                return Err(StatFailure::Refused(self.address.clone(), why));
            }
        }
        self.call(Message::new(types::TCLUNK, 1).u32(FILE))?;
        Ok(printable(&String::from_utf8_lossy(&bytes)))
    }

    /// Executes a command of the file `ctl`. Returns the error of 9pmux, if there is one.
    pub fn command(&mut self, command: &str) -> Result<Option<String>, StatFailure> {
        self.open("ctl", 1)?;
        let write = Message::new(types::TWRITE, 1).u32(FILE).bytes(&[0; 8]);
        let result = match self.call(write.u32(command.len() as u32).bytes(command.as_bytes())) {
            Ok(_) => Ok(None),
            Err(StatFailure::Refused(_, why)) => Ok(Some(why)),
            Err(failure) => Err(failure),
        };
        self.call(Message::new(types::TCLUNK, 1).u32(FILE))?;
        result
    }

    fn open(&mut self, name: &str, mode: u8) -> Result<(), StatFailure> {
        let walk = Message::new(types::TWALK, 1).u32(ROOT).u32(FILE).bytes(&[1, 0]).string(name);
        self.call(walk)?;
        self.call(Message::new(types::TOPEN, 1).u32(FILE).bytes(&[mode]))?;
        Ok(())
    }

    /// Sends a request and returns its reply, which is of the expected type.
    fn call(&mut self, request: Message) -> Result<Vec<u8>, StatFailure> {
        let kind = request.0[4];
        let reply = self.exchange(request)?;
        let refused = |why: String| Err(StatFailure::Refused(self.address.clone(), why));
        match reply[4] {
            replied if replied == kind + 1 => Ok(reply),
            types::RERROR if reply.len() >= HEADER + 2 => {
                let len = u16_at(&reply, HEADER) as usize;
                let text = reply.get(HEADER + 2..HEADER + 2 + len).unwrap_or_default();
                refused(String::from_utf8_lossy(text).escape_debug().to_string())
            }
            _ => refused("it has sent another reply than was asked for".to_owned()),
        }
    }

    fn exchange(&mut self, request: Message) -> Result<Vec<u8>, StatFailure> {
        self.write_all(&request.done())?;
        self.await_reply()?;
        let mut reply = vec![0; HEADER];
        self.read_exact(&mut reply)?;
        let size = u32_at(&reply, 0);
        if !(HEADER as u32..=MSIZE).contains(&size) {
            return Err(StatFailure::NoTree(self.address.clone()));
        }
        reply.resize(size as usize, 0);
        self.read_exact(&mut reply[HEADER..])?;
        Ok(reply)
    }

    fn write_all(&self, mut bytes: &[u8]) -> Result<(), StatFailure> {
        while !bytes.is_empty() {
            let send = || rustix::io::write(&self.socket, bytes);
            let n = rustix::io::retry_on_intr(send)
                .map_err(|_| StatFailure::Lost(self.address.clone()))?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Waits until bytes of the reply are there, if a key or a signal may end the wait.
    fn await_reply(&mut self) -> Result<(), StatFailure> {
        let Some(is_ended) = &mut self.is_ended else {
            return Ok(());
        };
        let until = Instant::now() + PATIENCE;
        loop {
            // An error, as of a signal, is no reply.
            let mut socket = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut socket, Some(&IDLE_INTERVAL)) {
                Ok(1..) => return Ok(()),
                _ if is_ended() => return Err(StatFailure::Ended),
                _ if Instant::now() >= until => {
                    return Err(StatFailure::Lost(self.address.clone()));
                }
                _ => {}
            }
        }
    }

    fn read_exact(&self, mut bytes: &mut [u8]) -> Result<(), StatFailure> {
        while !bytes.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.socket, &mut *bytes)) {
                Ok(n) if n > 0 => bytes = &mut bytes[n..],
                _ => return Err(StatFailure::Lost(self.address.clone())),
            }
        }
        Ok(())
    }
}

/// Returns a text in which nothing but lines and words is left: any other character is written as its bytes, `\xNN`.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        match is_plain(c) || matches!(c, '\n' | ' ' | '\\') {
            true => printable.push(c),
            false => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(printable, "\\x{byte:02x}");
                }
            }
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn texts_of_another_program_are_safe_to_print() {
        for (text, expected) in [
            ("id user\n0 a\\x1bb \u{2026}\n", "id user\n0 a\\x1bb \u{2026}\n"),
            ("a\x1b[2Jb\r\tc\u{9b}", "a\\x1b[2Jb\\x0d\\x09c\\xc2\\x9b"),
            ("\u{202e}x\0", "\\xe2\\x80\\xaex\\x00"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }
}
