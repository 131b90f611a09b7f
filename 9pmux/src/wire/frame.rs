//! Framing: the end of a message in a stream of bytes, and the numbers of its header.

use super::HEADER;

/// The result of looking for a message at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The message is incomplete.
    Incomplete,
    /// A complete message of this many bytes.
    Message(usize),
    /// A message that claims to be shorter than its header; no further message can be found.
    TooSmall,
    /// A message of this many bytes, more than the maximum; its header is complete.
    TooLarge(u32),
}

/// Looks for a message of at most `max` bytes at the beginning of `bytes`.
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

/// Returns the type of a message with a complete header.
#[inline]
#[must_use]
pub fn kind(message: &[u8]) -> u8 {
    message[4]
}

/// Returns the tag of a message with a complete header.
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

/// Returns the two-byte number at `at`, which must be within the message.
#[inline]
#[must_use]
pub fn u16_at(message: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(chunk_at(message, at))
}

/// Returns the four-byte number at `at`, which must be within the message.
#[inline]
#[must_use]
pub fn u32_at(message: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(chunk_at(message, at))
}

/// Returns the `N` bytes at `at`, with one check of the bounds.
#[inline(always)]
fn chunk_at<const N: usize>(message: &[u8], at: usize) -> [u8; N] {
    *message[at..].first_chunk().expect("a field within the message")
}

/// Changes the four-byte number at `at`, which must be within the message: a fid, a count.
#[inline]
pub fn put_u32(message: &mut [u8], at: usize, value: u32) {
    message[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
