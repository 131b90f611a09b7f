//! The half that reads messages.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::task::Poll;

use super::Codec;
use super::readable::is_readable;
use crate::{Batch, Message, Receiver, RecvBatch, TryRecv};

/// The size of the buffer at first, in bytes, and the least space for a read.
const BUFFER: usize = 16 << 10;

/// Reads messages from a stream of bytes. It reads as many bytes as are available, up to the size of its
/// buffer, which grows to the size of the largest message.
pub struct FramedReceiver<C, I> {
    input: I,
    codec: C,
    /// The bytes in `start..end` have been read and not decoded.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<C: Codec, I: Read> FramedReceiver<C, I> {
    /// Returns a receiver that reads from `input`, which must be blocking.
    pub fn new(input: I, codec: C) -> FramedReceiver<C, I> {
        FramedReceiver { input, codec, buffer: vec![0; BUFFER], start: 0, end: 0 }
    }

    /// Decodes one message, if it has been read.
    fn decode(&mut self) -> io::Result<Option<Message<C::Reply>>> {
        let input = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some((message, length)) = self.codec.decode(input)? else { return Ok(None) };
        self.start = self.end.min(self.start + length);
        Ok(Some(message))
    }

    /// Reads once. Returns false at the end of the stream.
    fn read(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            if self.buffer.len() - self.end < BUFFER / 2 {
                self.buffer.resize(2 * self.buffer.len(), 0);
            }
        }
        loop {
            match self.input.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) if self.start == self.end => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.end = self.buffer.len().min(self.end + n);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<C: Codec, I: Read> Receiver for FramedReceiver<C, I> {
    type Reply = C::Reply;

    fn recv(&mut self) -> io::Result<Option<Message<C::Reply>>> {
        loop {
            if let Some(message) = self.decode()? {
                return Ok(Some(message));
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }
}

impl<C: Codec, I: Read> RecvBatch for FramedReceiver<C, I> {
    fn recv_batch(&mut self, replies: &mut Batch<Message<C::Reply>>) -> io::Result<()> {
        let Some(first) = self.recv()? else { return Ok(()) };
        let _ = replies.push(first);
        while !replies.is_full() {
            let Some(next) = self.decode()? else { break };
            let _ = replies.push(next);
        }
        Ok(())
    }
}

impl<C: Codec, I: Read + AsFd> TryRecv for FramedReceiver<C, I> {
    fn try_recv(&mut self) -> Poll<io::Result<Option<Message<C::Reply>>>> {
        loop {
            match self.decode() {
                Ok(None) => {}
                decoded => return Poll::Ready(decoded),
            }
            // A read does not block if the descriptor is readable, because no other thread reads.
            match is_readable(self.input.as_fd()) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(Ok(None)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl<C, I> fmt::Debug for FramedReceiver<C, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unread = self.end - self.start;
        f.debug_struct("FramedReceiver").field("unread", &unread).finish_non_exhaustive()
    }
}
