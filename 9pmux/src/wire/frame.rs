//! Framing: where a message ends in a stream of bytes, and the numbers in its header.

use super::HEADER;

/// What stands at the beginning of some bytes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Not all of a message yet.
    Incomplete,
    /// A message of this many bytes, all there.
    Message(usize),
    /// A message that says that it is shorter than its header: no other can be found after it.
    TooSmall,
    /// A message of this many bytes, more than may be; its header is there.
    TooLarge(u32),
}

/// Looks for a message of at most `max` bytes.
#[inline]
#[must_use]
pub fn frame(bytes: &[u8], max: u32) -> Frame {
    let Some(size) = bytes.first_chunk().map(|size| u32::from_le_bytes(*size)) else {
        return Frame::Incomplete;
    };
    if (size as usize) < HEADER {
        Frame::TooSmall
    } else if size > max {
        if bytes.len() < HEADER { Frame::Incomplete } else { Frame::TooLarge(size) }
    } else if bytes.len() < size as usize {
        Frame::Incomplete
    } else {
        Frame::Message(size as usize)
    }
}

/// The type of a message that has its header.
#[inline]
#[must_use]
pub fn kind(message: &[u8]) -> u8 {
    message[4]
}

/// The tag of a message that has its header.
#[inline]
#[must_use]
pub fn tag(message: &[u8]) -> u16 {
    u16_at(message, 5)
}

/// Changes the tag.
#[inline]
pub fn put_tag(message: &mut [u8], tag: u16) {
    message[5..7].copy_from_slice(&tag.to_le_bytes());
}

/// The two-byte number at `at`, which has been found to be there.
#[inline]
#[must_use]
pub fn u16_at(message: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([message[at], message[at + 1]])
}

/// The four-byte number at `at`, which has been found to be there.
#[inline]
#[must_use]
pub fn u32_at(message: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]])
}

/// Changes the four-byte number at `at`: a fid, a count.
#[inline]
pub fn put_u32(message: &mut [u8], at: usize, value: u32) {
    message[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
