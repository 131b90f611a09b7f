//! The half that writes messages.

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::Range;

use super::Codec;
use crate::{Batch, Message, SendBatch, Sender};

/// The largest memory that the buffer keeps between messages, in bytes.
const KEPT: usize = 64 << 10;

/// Writes messages to a stream of bytes.
///
/// A write that fails may have written a part of a message. All later requests therefore fail too, and the output
/// should make the input of the receiver end, as a [`Stream`](super::Stream) does, so that the outstanding calls
/// fail.
pub struct FramedSender<C, O> {
    output: O,
    codec: C,
    /// The bytes of the present messages. Empty between calls.
    buffer: Vec<u8>,
    /// The kind of the error of an earlier write.
    failed: Option<io::ErrorKind>,
}

impl<C: Codec, O: Write> FramedSender<C, O> {
    /// Returns a sender that writes to `output`, which must be blocking.
    pub fn new(output: O, codec: C) -> FramedSender<C, O> {
        FramedSender { output, codec, buffer: Vec::new(), failed: None }
    }

    /// Writes the buffer and empties it.
    fn write(&mut self) -> io::Result<()> {
        let written = self.output.write_all(&self.buffer).and_then(|()| self.output.flush());
        self.buffer.clear();
        self.buffer.shrink_to(KEPT);
        if let Err(error) = &written {
            self.failed = Some(error.kind());
        }
        written
    }

    /// Appends a message to the buffer, or leaves the buffer as it was.
    fn encode(&mut self, message: &Message<C::Request>) -> io::Result<()> {
        if let Some(kind) = self.failed {
            return Err(io::Error::new(kind, "an earlier write has failed"));
        }
        let before = self.buffer.len();
        let encoded = self.codec.encode(message.tag(), &message.body, &mut self.buffer);
        if encoded.is_err() {
            self.buffer.truncate(before);
        }
        encoded
    }
}

impl<C: Codec, O: Write> Sender for FramedSender<C, O> {
    type Request = C::Request;

    fn tags(&self) -> Range<u32> {
        self.codec.tags()
    }

    fn send(&mut self, request: Message<C::Request>) -> io::Result<()> {
        self.encode(&request)?;
        self.write()
    }
}

impl<C: Codec, O: Write> SendBatch for FramedSender<C, O> {
    fn send_batch(
        &mut self,
        requests: &mut Batch<Message<C::Request>>,
    ) -> io::Result<NonZeroUsize> {
        let mut encoded = 0;
        for request in requests.iter() {
            match self.encode(request) {
                Ok(()) => encoded += 1,
                Err(error) if encoded == 0 => return Err(error),
                // It is the first request of the next batch, and fails there.
                Err(_) => break,
            }
        }
        self.write()?;
        Ok(NonZeroUsize::new(encoded).unwrap_or(NonZeroUsize::MIN))
    }
}

impl<C, O> fmt::Debug for FramedSender<C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramedSender").field("failed", &self.failed).finish_non_exhaustive()
    }
}
