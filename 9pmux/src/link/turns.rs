//! The output of the stream: whole messages of two conversations, in turns.
//!
//! At most [`TURN`] bytes of replies are written, then at most as many of requests, and so on; the message that
//! crosses the limit is the last of its turn. A turn that has begun is written to its end, so two messages
//! never mix.

use crate::wire::{Frame, frame, kind, types, u32_at};

/// The bytes of a turn.
pub const TURN: usize = 64 * 1024;

/// The least length of a large reply. Turns of small replies, such as those to Tstat, are read fast.
const LARGE: u32 = 4096;

/// The two conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Replies of the export to the other end.
    Export,
    /// Requests of the post to the other end.
    Post,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Export => Side::Post,
            Side::Post => Side::Export,
        }
    }
}

/// The content of a turn that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Large replies, as many as a turn may have.
    Bulk,
    /// A request for anything but data.
    Metadata,
}

/// The side that writes, and how far it is.
pub struct Turns {
    side: Side,
    /// The rest of the turn.
    left: usize,
    /// The rest of the message that is partly written.
    message_left: usize,
    /// The rest of a message of a side that has ended.
    orphan: Vec<u8>,
    orphan_written: usize,
    /// The kind of the last turn that has one, until it is asked for.
    kind: Option<Kind>,
}

impl Turns {
    pub fn new() -> Turns {
        let (orphan, orphan_written) = (Vec::new(), 0);
        Turns { side: Side::Export, left: 0, message_left: 0, orphan, orphan_written, kind: None }
    }

    /// Returns the next bytes to be written, given the outputs of the two sides.
    pub fn next<'a>(&'a mut self, export: &'a [u8], post: &'a [u8]) -> &'a [u8] {
        if self.orphan_written < self.orphan.len() {
            return &self.orphan[self.orphan_written..];
        }
        if self.left == 0 {
            if self.bytes(export, post).is_empty() {
                self.side = self.side.other();
            }
            let bytes = self.bytes(export, post);
            self.left = turn_len(bytes);
            let kind = match self.side {
                Side::Export => is_bulk(&bytes[..self.left]).then_some(Kind::Bulk),
                Side::Post => has_metadata(&bytes[..self.left]).then_some(Kind::Metadata),
            };
            self.kind = kind.or(self.kind);
        }
        // Less is there only if a side has dropped its output in the middle of a message: then nothing more can
        // be written.
        self.bytes(export, post).get(..self.left).unwrap_or_default()
    }

    /// Returns the kind of the last turn that has begun since the last call, if it has one.
    pub fn take_kind(&mut self) -> Option<Kind> {
        self.kind.take()
    }

    fn bytes<'a>(&self, export: &'a [u8], post: &'a [u8]) -> &'a [u8] {
        match self.side {
            Side::Export => export,
            Side::Post => post,
        }
    }

    /// Records that `n` bytes were written, which `next` has returned. Returns the side that they belong to, if it
    /// still has them.
    pub fn wrote(&mut self, n: usize, export: &[u8], post: &[u8]) -> Option<Side> {
        if self.orphan_written < self.orphan.len() {
            self.orphan_written += n;
            return None;
        }
        let (side, bytes) = (self.side, self.bytes(export, post));
        let mut offset = self.message_left;
        while offset < n {
            offset += u32_at(bytes, offset) as usize;
        }
        self.message_left = offset - n;
        self.left -= n;
        if self.left == 0 {
            self.side = side.other();
        }
        Some(side)
    }

    /// The output of this side is about to be dropped. A message of it that is partly written is kept.
    pub fn end(&mut self, side: Side, output: &[u8]) {
        if self.side != side || self.left == 0 {
            return;
        }
        if let Some(rest) = output.get(..self.message_left) {
            self.orphan = rest.to_vec();
            (self.orphan_written, self.message_left, self.left) = (0, 0, 0);
        }
    }
}

/// Returns the length of the turn that begins with these messages.
fn turn_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    while len < TURN {
        match frame(&bytes[len..], u32::MAX) {
            Frame::Message(n) => len += n,
            _ => break,
        }
    }
    len
}

/// Returns true if these replies are a whole turn, and the first is large.
fn is_bulk(replies: &[u8]) -> bool {
    replies.len() >= TURN && u32_at(replies, 0) >= LARGE
}

/// Returns true if one of these requests is for anything but data.
fn has_metadata(mut requests: &[u8]) -> bool {
    while let Frame::Message(n) = frame(requests, u32::MAX) {
        if ![types::TREAD, types::TWRITE].contains(&kind(requests)) {
            return true;
        }
        requests = &requests[n..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns messages of this length, in which each byte of the body is `mark`.
    fn messages(n: usize, len: usize, mark: u8) -> Vec<u8> {
        let mut one = vec![mark; len];
        one[..4].copy_from_slice(&(len as u32).to_le_bytes());
        one.repeat(n)
    }

    #[test]
    fn sides_take_turns_of_whole_messages() {
        let mut turns = Turns::new();
        let (mut export, mut post) = (messages(10, 30_000, 1), messages(3, 50_000, 2));
        let mut seen = Vec::new();
        loop {
            let next = turns.next(&export, &post);
            if next.is_empty() {
                break;
            }
            seen.push((next[6], next.len()));
            let n = next.len();
            match turns.wrote(n, &export, &post) {
                Some(Side::Export) => drop(export.drain(..n)),
                Some(Side::Post) => drop(post.drain(..n)),
                None => unreachable!(),
            }
        }
        assert_eq!(
            seen,
            [(1, 90_000), (2, 100_000), (1, 90_000), (2, 50_000), (1, 90_000), (1, 30_000)]
        );
    }

    #[test]
    fn kinds_of_turns_are_reported() {
        let request = |kind: u8| [&[7, 0, 0, 0, kind][..], &[0, 0]].concat();
        let one = |export: &[u8], post: &[u8]| {
            let mut turns = Turns::new();
            let _ = turns.next(export, post);
            (turns.take_kind(), turns.take_kind())
        };
        assert_eq!(one(&messages(1, TURN, 1), &[]), (Some(Kind::Bulk), None));
        assert_eq!(one(&messages(9, 8192, 1), &[]), (Some(Kind::Bulk), None));
        assert_eq!(one(&messages(2, 8192, 1), &[]), (None, None));
        assert_eq!(one(&messages(1000, 100, 1), &[]), (None, None));
        let reads = [request(116), request(118)].concat();
        assert_eq!(one(&[], &reads), (None, None));
        let stat = [reads, request(124)].concat();
        assert_eq!(one(&[], &stat), (Some(Kind::Metadata), None));
    }

    #[test]
    fn partial_message_of_a_side_that_ends_is_completed() {
        for cut in 1..300 {
            let mut turns = Turns::new();
            let post = messages(3, 100, 2);
            assert_eq!(turns.next(&[], &post).len(), 300);
            assert_eq!(turns.wrote(cut, &[], &post), Some(Side::Post));
            turns.end(Side::Post, &post[cut..]);
            let rest = cut.next_multiple_of(100) - cut;
            let export = messages(1, 50, 1);
            if rest > 0 {
                assert_eq!(turns.next(&export, &[]), &post[cut..cut + rest]);
                assert_eq!(turns.wrote(rest, &export, &[]), None);
            }
            assert_eq!(turns.next(&export, &[]), export, "{cut}");
        }
    }

    #[test]
    fn output_that_arrives_during_a_turn_waits_for_the_next() {
        let mut turns = Turns::new();
        let (mut export, post) = (messages(1, 50, 1), messages(1, 60, 2));
        assert_eq!(turns.next(&export, &[]).len(), 50);
        assert_eq!(turns.wrote(20, &export, &[]), Some(Side::Export));
        export.drain(..20);
        export.extend(messages(1, 50, 1));
        assert_eq!(turns.next(&export, &post).len(), 30);
        assert_eq!(turns.wrote(30, &export, &post), Some(Side::Export));
        export.drain(..30);
        assert_eq!(turns.next(&export, &post), post);
    }
}
