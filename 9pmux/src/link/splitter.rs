//! The splitter: the bytes of the stream, separated into two conversations.
//!
//! T-messages have even types and go to the export, R-messages have odd types and go to the post. The splitter
//! needs the header `size[4] type[1]` for that, and hands everything on as it comes:
//!
//! ```text
//! header (0 to 10 bytes held) --even type--> body for the export --no bytes left--> header
//!                             --odd type---> body for the post ----no bytes left--> header
//! ```
//!
//! | message | effect |
//! |---|---|
//! | size < 7 | an error: no further message can be found |
//! | exactly `09000000 6c feff ffff` | a keepalive: [`Sink::keepalive`] |
//! | odd type, tag 0xFFFE, while a keepalive has no reply | its reply: [`Sink::keepalive_reply`], and the rest is skipped |
//! | even type, beyond the room of the export | [`Sink::refuse`], and the rest is skipped; a Tflush or Tversion is always accepted, and so is what is too large to be a message |
//!
//! Bytes are held only while they may be the beginning of one of these. Consecutive messages for the same side
//! are handed on together.

use crate::engine::{KEEPALIVE_TAG, MAX_SKIPPED_MESSAGE};
use crate::wire::{HEADER, NOTAG, types, u16_at, u32_at};

/// The length of a keepalive.
const KEEPALIVE: usize = HEADER + 2;

/// The bytes of a request that are needed to refuse it: the header, and the fid of a Tclunk or Tremove.
const REFUSABLE: usize = HEADER + 4;

/// A message of a size less than its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall;

/// The rules for the messages that begin next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether a keepalive has no reply yet.
    pub awaits_reply: bool,
    /// The number of requests that the export accepts.
    pub requests: usize,
    /// The bytes of requests that the export accepts.
    pub bytes: usize,
}

/// The receiver of the two conversations.
pub trait Sink {
    /// Returns the rules at this time. The cost of this may grow with the requests that wait, so the splitter asks
    /// again only when it would refuse a request, and the export has received others since.
    fn rules(&mut self) -> Rules;
    /// Receives bytes of T-messages.
    fn to_export(&mut self, bytes: &[u8]);
    /// Receives bytes of R-messages.
    fn to_post(&mut self, bytes: &[u8]);
    /// The other end has sent a keepalive.
    fn keepalive(&mut self);
    /// The other end has replied to a keepalive.
    fn keepalive_reply(&mut self);
    /// A request with this tag is refused. If it releases a fid, this is the fid.
    fn refuse(&mut self, tag: u16, releases: Option<u32>);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Export,
    Post,
    Nothing,
}

/// The meaning of the beginning of a message.
enum Beginning {
    /// This many bytes are needed to know it.
    Incomplete(usize),
    Message(To),
    Keepalive,
    KeepaliveReply,
    Refused,
}

/// The state between two reads.
pub struct Splitter {
    held: [u8; REFUSABLE],
    held_len: usize,
    /// The destination and the length of the rest of a message.
    body: (To, usize),
}

/// Bytes of one input that have not been handed on yet, all for the same side.
struct Run {
    to: To,
    start: usize,
    end: usize,
}

impl Run {
    /// Hands the bytes on.
    fn flush(&mut self, input: &[u8], sink: &mut impl Sink) {
        let bytes = &input[self.start..self.end];
        match self.to {
            _ if bytes.is_empty() => {}
            To::Export => sink.to_export(bytes),
            To::Post => sink.to_post(bytes),
            To::Nothing => {}
        }
        self.start = self.end;
    }

    /// Adds the bytes from `start` to `end`, which follow the last ones if they are for the same side.
    fn extend(&mut self, to: To, (start, end): (usize, usize), input: &[u8], sink: &mut impl Sink) {
        if self.to != to || self.end != start {
            self.flush(input, sink);
            (self.to, self.start) = (to, start);
        }
        self.end = end;
    }
}

impl Splitter {
    /// Returns a splitter at the beginning of a stream.
    #[must_use]
    pub fn new() -> Splitter {
        Splitter { held: [0; REFUSABLE], held_len: 0, body: (To::Nothing, 0) }
    }

    /// Returns true if the stream would end between two messages.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.held_len == 0 && self.body.1 == 0
    }

    /// Separates bytes that were read from the stream, cut anywhere.
    ///
    /// # Errors
    /// A message is shorter than its header. The bytes before it have been handed on.
    pub fn feed(&mut self, input: &[u8], sink: &mut impl Sink) -> Result<(), TooSmall> {
        let mut run = Run { to: To::Nothing, start: 0, end: 0 };
        let mut rules = sink.rules();
        // Whether the export has received a request under these rules.
        let mut is_old = false;
        let mut offset = 0;
        loop {
            let is_at_end = offset == input.len();
            if self.body.1 > 0 {
                if is_at_end {
                    break;
                }
                let n = self.body.1.min(input.len() - offset);
                run.extend(self.body.0, (offset, offset + n), input, sink);
                self.body.1 -= n;
                offset += n;
                continue;
            }
            let rest = &input[offset..];
            let beginning = if self.held_len == 0 { rest } else { &self.held[..self.held_len] };
            let size = |bytes: &[u8]| u32_at(bytes, 0) as usize;
            if beginning.is_empty() {
                break;
            }
            match begin(beginning, rules) {
                Err(TooSmall) => {
                    run.flush(input, sink);
                    return Err(TooSmall);
                }
                Ok(Beginning::Incomplete(_)) if is_at_end => break,
                Ok(Beginning::Incomplete(needed)) => {
                    let n = (needed - self.held_len).min(rest.len());
                    self.held[self.held_len..self.held_len + n].copy_from_slice(&rest[..n]);
                    self.held_len += n;
                    offset += n;
                }
                Ok(Beginning::Message(to)) => {
                    let left = size(beginning);
                    // Messages that are always accepted do not count.
                    if to == To::Export && ![types::TFLUSH, types::TVERSION].contains(&beginning[4])
                    {
                        rules.requests = rules.requests.saturating_sub(1);
                        rules.bytes = rules.bytes.saturating_sub(left);
                        is_old = true;
                    }
                    self.body = (to, left - self.held_len);
                    if self.held_len > 0 {
                        run.flush(input, sink);
                        let mut held =
                            Run { to, start: 0, end: std::mem::take(&mut self.held_len) };
                        held.flush(&self.held, sink);
                    }
                }
                Ok(Beginning::Refused) if is_old => {
                    // The rules may allow more when everything before has been handed on.
                    run.flush(input, sink);
                    rules = sink.rules();
                    is_old = false;
                }
                Ok(special) => {
                    run.flush(input, sink);
                    self.body = (To::Nothing, size(beginning) - self.held_len);
                    match special {
                        Beginning::Keepalive => sink.keepalive(),
                        Beginning::KeepaliveReply => {
                            sink.keepalive_reply();
                            rules.awaits_reply = false;
                        }
                        _ => sink.refuse(u16_at(beginning, 5), released(beginning)),
                    }
                    self.held_len = 0;
                }
            }
        }
        run.flush(input, sink);
        Ok(())
    }
}

impl Default for Splitter {
    fn default() -> Splitter {
        Splitter::new()
    }
}

/// Returns the fid that a request releases, whatever its reply.
fn released(beginning: &[u8]) -> Option<u32> {
    let releases = [types::TCLUNK, types::TREMOVE].contains(&beginning[4]);
    (releases && u32_at(beginning, 0) as usize >= REFUSABLE).then(|| u32_at(beginning, HEADER))
}

/// Returns the meaning of the message that begins with these bytes.
fn begin(bytes: &[u8], rules: Rules) -> Result<Beginning, TooSmall> {
    if bytes.len() < 4 {
        return Ok(Beginning::Incomplete(4));
    }
    let size = u32_at(bytes, 0) as usize;
    if size < HEADER {
        return Err(TooSmall);
    }
    let Some(&kind) = bytes.get(4) else {
        return Ok(Beginning::Incomplete(5));
    };
    let has = |n: usize| bytes.len() >= n;
    Ok(match kind {
        _ if kind % 2 == 1 && rules.awaits_reply => match has(HEADER) {
            false => Beginning::Incomplete(HEADER),
            true if u16_at(bytes, 5) == KEEPALIVE_TAG => Beginning::KeepaliveReply,
            true => Beginning::Message(To::Post),
        },
        _ if kind % 2 == 1 => Beginning::Message(To::Post),
        types::TFLUSH if size == KEEPALIVE => match has(KEEPALIVE) {
            false => Beginning::Incomplete(KEEPALIVE),
            true if u16_at(bytes, 5) == KEEPALIVE_TAG && u16_at(bytes, HEADER) == NOTAG => {
                Beginning::Keepalive
            }
            true => Beginning::Message(To::Export),
        },
        types::TFLUSH | types::TVERSION => Beginning::Message(To::Export),
        // The export decides that this is not 9P: it could not be passed over.
        _ if size > MAX_SKIPPED_MESSAGE as usize => Beginning::Message(To::Export),
        _ if rules.requests == 0 || rules.bytes < size => match has(REFUSABLE.min(size)) {
            false => Beginning::Incomplete(REFUSABLE.min(size)),
            true => Beginning::Refused,
        },
        _ => Beginning::Message(To::Export),
    })
}
