//! Ready transports over streams of bytes.
//!
//! A [`Codec`] says how a message is written as bytes and where it ends. [`LengthPrefix`] and [`NineP`] are
//! codecs; a program can define its own. [`transport`] makes a transport of a socket and a codec, and
//! [`transport_over`] of any [`Read`] and any [`Write`].
//!
//! ```
//! use mux::{Client, framed::{self, LengthPrefix}};
//! use std::io;
//! use std::os::unix::net::UnixStream;
//!
//! # fn main() -> io::Result<()> {
//! let (stream, server) = UnixStream::pair()?;
//! // This server returns each message, with its tag.
//! std::thread::spawn(move || io::copy(&mut &server, &mut &server));
//!
//! let client = Client::new(framed::transport(stream, LengthPrefix::new())?);
//! assert_eq!(client.rpc(b"hello".to_vec())?, b"hello");
//! # Ok(())
//! # }
//! ```

mod codec;
mod length_prefix;
mod ninep;
mod readable;
mod receiver;
mod sender;
mod socket;

#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};

pub use codec::Codec;
pub use length_prefix::LengthPrefix;
pub use ninep::NineP;
#[cfg(test)]
pub(crate) use readable::is_readable;
pub use receiver::FramedReceiver;
pub use sender::FramedSender;
pub use socket::{Socket, Stream};

use crate::{Client, Transport};

/// A client over a socket, with a codec: `FramedClient<LengthPrefix, TcpStream>`.
pub type FramedClient<C, S> = Client<FramedSender<C, Stream<S>>, FramedReceiver<C, Stream<S>>>;

/// A transport over a socket, with a codec.
pub type FramedTransport<C, S> =
    Transport<FramedSender<C, Stream<S>>, FramedReceiver<C, Stream<S>>>;

/// Returns a transport over a connected socket, which must be blocking.
///
/// Requests of several callers are sent in one system call, messages are polled for where a caller must not
/// block, and hanging up shuts the socket down. Nagle's algorithm is turned off for a TCP connection.
///
/// # Errors
/// Returns the error of the operating system if the options of the socket cannot be set.
pub fn transport<S, C>(socket: S, codec: C) -> io::Result<FramedTransport<C, S>>
where
    S: Socket,
    C: Codec + Clone,
{
    socket.prepare()?;
    let stream = Stream::new(socket);
    let end = stream.clone();
    Ok(transport_over(stream.clone(), stream, codec)
        .try_recvs()
        .on_hang_up(move || end.shut_down()))
}

/// Returns a transport over any two streams, which must be blocking: `input` carries the messages from the
/// server, `output` those to the server.
///
/// The program should also set how the connection is [shut down](Transport::on_hang_up).
pub fn transport_over<I, O, C>(
    input: I,
    output: O,
    codec: C,
) -> Transport<FramedSender<C, O>, FramedReceiver<C, I>>
where
    I: Read,
    O: Write,
    C: Codec + Clone,
{
    let sender = FramedSender::new(output, codec.clone());
    Transport::new(sender, FramedReceiver::new(input, codec)).send_batches().recv_batches()
}
