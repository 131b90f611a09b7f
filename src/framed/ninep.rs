//! Whole messages of 9P.

use std::io;
use std::ops::Range;

use super::Codec;
use crate::Message;

/// A codec for messages of 9P, `size[4] type[1] tag[2] ...`, little-endian. A request is a whole message, in
/// which the tag is replaced; a reply is a whole message.
///
/// The program must negotiate the version before it makes the transport, because a Tversion has the tag
/// NOTAG, which is not in the range of tags. The crate ninepmux has a 9P client over this codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NineP {
    msize: u32,
}

/// The length of `size[4] type[1] tag[2]`.
const HEADER: usize = 7;

/// Where the tag is.
const TAG: Range<usize> = 5..7;

impl NineP {
    /// Returns a codec for a connection with this msize, the maximum size of a message.
    #[must_use]
    pub const fn new(msize: u32) -> NineP {
        NineP { msize }
    }
}

fn invalid(kind: io::ErrorKind, size: usize) -> io::Error {
    io::Error::new(kind, format!("a 9P message of {size} bytes"))
}

impl Codec for NineP {
    type Request = Vec<u8>;
    type Reply = Vec<u8>;

    fn tags(&self) -> Range<u32> {
        0..u32::from(u16::MAX)
    }

    fn encode(&mut self, tag: Option<u32>, request: &Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
        let size = request.len();
        let is_whole = size >= HEADER
            && size <= self.msize as usize
            && request
                .first_chunk()
                .is_some_and(|field| u32::from_le_bytes(*field) as usize == size);
        if !is_whole {
            return Err(invalid(io::ErrorKind::InvalidInput, size));
        }
        let at = out.len();
        out.extend_from_slice(request);
        let tag = tag.map(|tag| u16::try_from(tag).map_err(|_| io::ErrorKind::InvalidInput));
        if let (Some(tag), Some(field)) = (tag.transpose()?, out.get_mut(at..)) {
            field[TAG].copy_from_slice(&tag.to_le_bytes());
        }
        Ok(())
    }

    fn decode(&mut self, input: &[u8]) -> io::Result<Option<(Message<Vec<u8>>, usize)>> {
        let Some(size) = input.first_chunk().map(|size| u32::from_le_bytes(*size)) else {
            return Ok(None);
        };
        if (size as usize) < HEADER || size > self.msize {
            return Err(invalid(io::ErrorKind::InvalidData, size as usize));
        }
        let Some(message) = input.get(..size as usize) else { return Ok(None) };
        let tag = u32::from(u16::from_le_bytes([message[TAG.start], message[TAG.start + 1]]));
        Ok(Some((Message::tagged(tag, message.to_vec()), message.len())))
    }
}
