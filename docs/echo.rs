// What the examples in the documentation talk to: a server in memory that sends back what it is sent.
// (Included by them; a real transport has a socket, as in examples/neovim/mod.rs.)

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

/// A connection to it. A message is a tag and a text.
#[derive(Default)]
pub struct Echo {
    /// What is on its way back; whether the connection is closed.
    wire: Mutex<(VecDeque<(u32, String)>, bool)>,
    bell: Condvar,
}

impl Echo {
    /// Closes the connection: whoever is in `recv` learns that it has ended.
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
        // One that begins so is never answered.
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

/// A request that has no tag yet.
pub fn request(text: &str) -> (u32, String) {
    (0, text.to_string())
}
