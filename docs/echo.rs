// The server of the examples in the documentation: it is in memory and sends each request back as the reply.
// (The examples include this file. A real transport has a socket, as in examples/neovim/mod.rs.)

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

/// A connection to the server. A message is a tag and a text.
#[derive(Default)]
pub struct Echo {
    /// The replies that have not been received, and whether the connection is closed.
    wire: Mutex<(VecDeque<(u32, String)>, bool)>,
    bell: Condvar,
}

impl Echo {
    /// Closes the connection: `recv` then returns `None`.
    pub fn close(&self) {
        self.wire.lock().unwrap().1 = true;
        self.bell.notify_all();
    }
}

impl mux::Transport for Echo {
    type Request = (u32, String);
    type Reply = (u32, String);
    type Failure = std::io::Error;
    type Watch = ();

    fn range(&self) -> std::ops::Range<u32> {
        0..256
    }

    fn set_tag(&self, request: &mut (u32, String), tag: u32) -> std::io::Result<()> {
        request.0 = tag;
        Ok(())
    }

    fn tag(&self, reply: &(u32, String)) -> Option<u32> {
        Some(reply.0)
    }

    fn send(&self, request: &mut (u32, String)) -> std::io::Result<()> {
        // The server does not reply to a text that begins with "hush".
        if !request.1.starts_with("hush") {
            self.wire.lock().unwrap().0.push_back(request.clone());
            self.bell.notify_all();
        }
        Ok(())
    }

    fn recv(&self) -> Option<(u32, String)> {
        let mut wire = self.wire.lock().unwrap();
        loop {
            match wire.0.pop_front() {
                Some(message) => return Some(message),
                None if wire.1 => return None,
                None => wire = self.bell.wait(wire).unwrap(),
            }
        }
    }

    fn can_try(&self) -> bool {
        true
    }

    fn try_recv(&self) -> mux::Polled<(u32, String)> {
        let mut wire = self.wire.lock().unwrap();
        match wire.0.pop_front() {
            Some(message) => mux::Polled::Message(message),
            None if wire.1 => mux::Polled::Ended,
            None => mux::Polled::Nothing,
        }
    }
}

/// Returns a request without a tag.
pub fn request(text: &str) -> (u32, String) {
    (0, text.to_string())
}
