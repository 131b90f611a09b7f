//! The messages of the client as bytes, and the cancelling of requests.
//!
//! A Tflush names a request by its tag, so the tag must not be reused before the Rflush has arrived, and it
//! must not be named at all if the reply has arrived, because the tag may belong to another request then.
//! Both halves of the codec therefore share a table of the requests in flight:
//!
//! * A Tflush names its request by an id. Its tag is looked up when the Tflush is encoded; if the reply has
//!   been decoded, encoding fails, and nothing is sent.
//! * From then on, a reply to that request is dropped, and the multiplexor keeps the tag in use.
//! * Before the Rflush, the decoder inserts a reply with the tag of the request, which frees the tag.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mux::Message;
use mux::framed::{Codec, NineP};

use crate::wire::{self, types};

/// A request.
#[derive(Debug)]
pub struct Request {
    /// Identifies the request, for a Tflush.
    pub id: u64,
    pub bytes: Vec<u8>,
    /// For a Tflush: the id of the request that it cancels.
    pub flushes: Option<u64>,
}

/// The codec of a client.
#[derive(Clone, Debug)]
pub struct ClientCodec {
    messages: NineP,
    in_flight: Arc<Mutex<InFlight>>,
}

#[derive(Debug, Default)]
struct InFlight {
    /// The requests without a reply.
    ids: HashMap<u32, u64>,
    tags: HashMap<u64, u32>,
    /// The tags of the Tflushes in flight, each with the tag that it names.
    flushes: HashMap<u32, u32>,
    /// The tags that a Tflush names. Replies with these tags are dropped.
    flushed: HashSet<u32>,
}

impl ClientCodec {
    pub fn new(msize: u32) -> ClientCodec {
        ClientCodec { messages: NineP::new(msize), in_flight: Arc::default() }
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the bytes of a Tflush, in which the tag of the request is still missing.
pub fn tflush() -> Vec<u8> {
    vec![9, 0, 0, 0, types::TFLUSH, 0, 0, 0, 0]
}

impl Codec for ClientCodec {
    type Request = Request;
    type Reply = Vec<u8>;

    fn tags(&self) -> Range<u32> {
        self.messages.tags()
    }

    fn encode(&mut self, tag: Option<u32>, request: &Request, out: &mut Vec<u8>) -> io::Result<()> {
        let mut messages = self.messages;
        let Some(tag) = tag else { return messages.encode(tag, &request.bytes, out) };
        let mut in_flight = self.in_flight();
        if let Some(id) = request.flushes {
            let oldtag = *in_flight.tags.get(&id).ok_or(io::ErrorKind::NotFound)?;
            let mut bytes = request.bytes.clone();
            let field = u16::try_from(oldtag).map_err(|_| io::ErrorKind::InvalidInput)?;
            bytes[wire::HEADER..].copy_from_slice(&field.to_le_bytes());
            messages.encode(Some(tag), &bytes, out)?;
            in_flight.flushes.insert(tag, oldtag);
            in_flight.flushed.insert(oldtag);
        } else {
            messages.encode(Some(tag), &request.bytes, out)?;
        }
        in_flight.ids.insert(tag, request.id);
        in_flight.tags.insert(request.id, tag);
        Ok(())
    }

    fn decode(&mut self, input: &[u8]) -> io::Result<Option<(Message<Vec<u8>>, usize)>> {
        let mut messages = self.messages;
        let mut dropped = 0;
        loop {
            let rest = input.get(dropped..).unwrap_or_default();
            let Some((message, length)) = messages.decode(rest)? else { return Ok(None) };
            let Some(tag) = message.tag() else { return Ok(Some((message, dropped + length))) };
            let mut in_flight = self.in_flight();
            if wire::kind(&message.body) == types::RFLUSH {
                if let Some(oldtag) = in_flight.flushes.remove(&tag) {
                    // The Rflush itself is decoded again, without a Tflush then.
                    in_flight.flushed.remove(&oldtag);
                    in_flight.end(oldtag);
                    return Ok(Some((Message::tagged(oldtag, message.body), dropped)));
                }
            }
            if !in_flight.flushed.contains(&tag) {
                in_flight.end(tag);
                return Ok(Some((message, dropped + length)));
            }
            // If the next message is incomplete, these bytes are decoded and dropped again.
            dropped += length;
        }
    }
}

impl InFlight {
    /// Records that the reply with this tag has arrived.
    fn end(&mut self, tag: u32) {
        if let Some(id) = self.ids.remove(&tag) {
            self.tags.remove(&id);
        }
    }
}
