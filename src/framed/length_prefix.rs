//! Messages of bytes behind their length and their tag.

use std::io;
use std::ops::Range;

use super::Codec;
use crate::Message;

/// A codec for messages of the form `length[4] tag[4] bytes`. The length does not include itself; both
/// numbers are big-endian. A message that belongs to no call has the tag 0xFFFFFFFF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthPrefix {
    max: usize,
}

/// The size of each number.
const NUMBER: usize = 4;

/// The tag of a message that belongs to no call.
const NO_TAG: u32 = u32::MAX;

impl LengthPrefix {
    /// Returns a codec for messages of at most 16 MiB.
    #[must_use]
    pub const fn new() -> LengthPrefix {
        LengthPrefix { max: 16 << 20 }
    }

    /// Sets the maximum number of bytes in a message, without the length and the tag.
    #[must_use]
    pub const fn max_length(self, max: usize) -> LengthPrefix {
        LengthPrefix { max }
    }

    fn too_long(&self, length: usize, kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, format!("a message of {length} bytes, more than {}", self.max))
    }
}

impl Default for LengthPrefix {
    fn default() -> LengthPrefix {
        LengthPrefix::new()
    }
}

impl Codec for LengthPrefix {
    type Request = Vec<u8>;
    type Reply = Vec<u8>;

    fn tags(&self) -> Range<u32> {
        0..NO_TAG
    }

    fn encode(&mut self, tag: Option<u32>, request: &Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
        let too_long = || self.too_long(request.len(), io::ErrorKind::InvalidInput);
        if request.len() > self.max {
            return Err(too_long());
        }
        let length = u32::try_from(request.len() + NUMBER).map_err(|_| too_long())?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&tag.unwrap_or(NO_TAG).to_be_bytes());
        out.extend_from_slice(request);
        Ok(())
    }

    fn decode(&mut self, input: &[u8]) -> io::Result<Option<(Message<Vec<u8>>, usize)>> {
        let Some((length, rest)) = input.split_first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        let Some(body_length) = length.checked_sub(NUMBER) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message without a tag"));
        };
        if body_length > self.max {
            return Err(self.too_long(body_length, io::ErrorKind::InvalidData));
        }
        let Some((tag, body)) = rest.get(..length).and_then(|message| message.split_first_chunk())
        else {
            return Ok(None);
        };
        let tag = Some(u32::from_be_bytes(*tag)).filter(|tag| *tag != NO_TAG);
        Ok(Some((Message::new(tag, body.to_vec()), NUMBER + length)))
    }
}
