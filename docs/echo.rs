// The server of this example is in memory. It returns each text that does not begin with "hush".
use std::sync::{Mutex, mpsc};

pub struct Echo {
    server: Mutex<Option<mpsc::Sender<Message>>>,
    replies: Mutex<mpsc::Receiver<Message>>,
}

/// A tag and a text.
type Message = (u32, String);

impl mux::Transport for Echo {
    type Request = Message;
    type Reply = Message;
    type Failure = std::io::Error;
    type Watch = ();

    fn range(&self) -> std::ops::Range<u32> { 0..256 }
    fn tag(&self, reply: &Message) -> Option<u32> { Some(reply.0) }
    fn set_tag(&self, request: &mut Message, tag: u32) -> std::io::Result<()> {
        request.0 = tag;
        Ok(())
    }
    fn send(&self, request: &mut Message) -> std::io::Result<()> {
        if let Some(server) = &*self.server.lock().unwrap() {
            if !request.1.starts_with("hush") {
                server.send(request.clone()).map_err(std::io::Error::other)?;
            }
        }
        Ok(())
    }
    fn recv(&self) -> Option<Message> {
        self.replies.lock().unwrap().recv().ok() // None is the end of the connection
    }
    fn can_try(&self) -> bool { true }
    fn try_recv(&self) -> mux::Polled<Message> {
        match self.replies.lock().unwrap().try_recv() {
            Ok(reply) => mux::Polled::Message(reply),
            Err(mpsc::TryRecvError::Empty) => mux::Polled::Nothing,
            Err(mpsc::TryRecvError::Disconnected) => mux::Polled::Ended,
        }
    }
}

impl Echo {
    fn new() -> Echo {
        let (server, replies) = mpsc::channel();
        Echo { server: Mutex::new(Some(server)), replies: Mutex::new(replies) }
    }
    /// Ends the connection.
    fn close(&self) { *self.server.lock().unwrap() = None; }
}

/// Returns a request without a tag.
fn request(text: &str) -> Message { (0, text.to_string()) }
