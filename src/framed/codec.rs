//! The interface of a codec.

use std::io;
use std::ops::Range;

use crate::Message;

/// How messages are written as bytes. Each half of a transport has a clone of the codec.
///
/// # Examples
/// A protocol of lines: a tag of up to five digits, a space, and a text.
///
/// ```
/// use mux::Message;
/// use mux::framed::Codec;
/// use std::io::{self, ErrorKind::InvalidData};
///
/// #[derive(Clone)]
/// struct Lines;
///
/// impl Codec for Lines {
///     type Request = String;
///     type Reply = String;
///
///     fn tags(&self) -> std::ops::Range<u32> {
///         0..100_000
///     }
///     fn encode(&mut self, tag: Option<u32>, text: &String, out: &mut Vec<u8>) -> io::Result<()> {
///         let tag = tag.map_or("-".to_string(), |tag| tag.to_string());
///         out.extend(format!("{tag} {text}\n").bytes());
///         Ok(())
///     }
///     fn decode(&mut self, input: &[u8]) -> io::Result<Option<(Message<String>, usize)>> {
///         let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
///             return if input.len() > 1000 { Err(InvalidData.into()) } else { Ok(None) };
///         };
///         let line = std::str::from_utf8(&input[..end]).map_err(|_| InvalidData)?;
///         let (tag, text) = line.split_once(' ').ok_or(InvalidData)?;
///         Ok(Some((Message::new(tag.parse().ok(), text.to_string()), end + 1)))
///     }
/// }
///
/// let mut bytes = Vec::new();
/// Lines.encode(Some(7), &"hello".to_string(), &mut bytes)?;
/// assert_eq!(Lines.decode(&bytes)?, Some((Message::tagged(7, "hello".to_string()), 8)));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Codec {
    /// A message to the server, without a tag.
    type Request;
    /// A message from the server, without its tag.
    type Reply;

    /// Returns the tags that the protocol allows, `start <= tag < end`.
    fn tags(&self) -> Range<u32>;

    /// Appends the bytes of a request to `out`. The tag is `None` for a message that belongs to no call.
    ///
    /// # Errors
    /// An error fails only the call of this request. The bytes that have been appended to `out` are not sent.
    fn encode(
        &mut self,
        tag: Option<u32>,
        request: &Self::Request,
        out: &mut Vec<u8>,
    ) -> io::Result<()>;

    /// Decodes the message at the beginning of `input`. Returns the message and its length in bytes, or
    /// `None` if the message is incomplete. A length of 0 inserts a message into the stream.
    ///
    /// # Errors
    /// An error ends the connection. A message that is too long must be an error, because the buffer grows
    /// as long as this returns `None`.
    fn decode(&mut self, input: &[u8]) -> io::Result<Option<(Message<Self::Reply>, usize)>>;
}
