//! The server of tokio.rs and executor.rs: it returns each text in capital letters, except that it does not reply
//! to `hush`. Its messages are those of the codec `LengthPrefix`.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use mux::Client;
use mux::framed::{self, FramedClient, LengthPrefix};

/// Starts the server and returns a client of it.
pub fn connect() -> io::Result<FramedClient<LengthPrefix, UnixStream>> {
    let (stream, server) = UnixStream::pair()?;
    thread::spawn(move || while serve_one(&server).is_ok() {});
    Client::spawn(framed::transport(stream, LengthPrefix::new())?)
}

/// Reads one message, `length[4] tag[4] text`, and sends the reply.
fn serve_one(mut stream: &UnixStream) -> io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message)?;
    let (_tag, text) = message.split_at_mut(4);
    if text == b"hush" {
        return Ok(());
    }
    text.make_ascii_uppercase();
    stream.write_all(&[&length[..], &message].concat())
}
