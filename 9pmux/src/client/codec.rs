//! The messages of the client as bytes, and the cancelling of requests.
//!
//! A Tflush names a request by its tag, so the tag must not be reused before the Rflush has arrived, and it
//! must not be named at all if the reply has arrived, because the tag may belong to another request then.
//! Both halves of the codec therefore share a table of the requests in flight:
//!
//! * A Tflush names its request by an id. Its tag is looked up when the Tflush is encoded; if the reply has
//!   been decoded, encoding fails, and nothing is sent.
//! * From then on, a reply to that request is decoded without its tag, as a message that belongs to no call, and
//!   the multiplexor keeps the tag in use.
//! * Before the Rflush, the decoder inserts a reply with the tag of the request, which frees the tag. If the
//!   server refuses the Tflush, the reply to the request frees the tag, whether it arrives before or after.
//!
//! The table also keeps the fid of a request, so that the number of the fid is not used again before the reply.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mux::Message;
use mux::framed::{Codec, NineP};

use super::fids::Fid;
use crate::wire::{self, types};

/// A request.
#[derive(Debug)]
pub struct Request {
    /// Identifies the request, for a Tflush.
    pub id: u64,
    pub bytes: Vec<u8>,
    /// For a Tflush: the id of the request that it cancels.
    pub flushes: Option<u64>,
    /// The fid of the request, if the request ends it or the caller may leave before the reply.
    pub fid: Option<Arc<Fid>>,
}

/// The codec of a client.
#[derive(Clone, Debug)]
pub struct ClientCodec {
    messages: NineP,
    in_flight: Arc<Mutex<InFlight>>,
}

/// The requests without a reply.
#[derive(Debug, Default)]
struct InFlight {
    requests: HashMap<u32, Sent>,
    /// The tag of each of them, by its id.
    tags: HashMap<u64, u32>,
}

/// A request in flight.
#[derive(Debug)]
struct Sent {
    id: u64,
    fid: Option<Arc<Fid>>,
    /// True for a Tclunk and a Tremove, after which the server does not know the fid.
    ends_fid: bool,
    /// For a Tflush: the tag that it names, until its reply arrives.
    flushes: Option<u32>,
    /// True while a Tflush in flight names this request.
    is_flushed: bool,
    /// True if the reply has arrived while `is_flushed`.
    is_replied: bool,
}

/// The role of a message for the multiplexor.
enum Arrived {
    /// The reply with its tag.
    Reply,
    /// The end of the request with this tag. The message itself is decoded again.
    End(u32),
    /// The reply to a request that is flushed.
    Late,
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
        let mut flushes = None;
        if let Some(id) = request.flushes {
            let oldtag = *in_flight.tags.get(&id).ok_or(io::ErrorKind::NotFound)?;
            let mut bytes = request.bytes.clone();
            let field = u16::try_from(oldtag).map_err(|_| io::ErrorKind::InvalidInput)?;
            bytes[wire::HEADER..].copy_from_slice(&field.to_le_bytes());
            messages.encode(Some(tag), &bytes, out)?;
            flushes = Some(oldtag);
            if let Some(flushed) = in_flight.requests.get_mut(&oldtag) {
                flushed.is_flushed = true;
            }
        } else {
            messages.encode(Some(tag), &request.bytes, out)?;
        }
        let ends_fid = matches!(wire::kind(&request.bytes), types::TCLUNK | types::TREMOVE);
        let (id, fid) = (request.id, request.fid.clone());
        let sent = Sent { id, fid, ends_fid, flushes, is_flushed: false, is_replied: false };
        in_flight.requests.insert(tag, sent);
        in_flight.tags.insert(id, tag);
        Ok(())
    }

    fn decode(&mut self, input: &[u8]) -> io::Result<Option<(Message<Vec<u8>>, usize)>> {
        let mut messages = self.messages;
        let Some((message, length)) = messages.decode(input)? else { return Ok(None) };
        let Some(tag) = message.tag() else { return Ok(Some((message, length))) };
        let (arrived, ended) = self.in_flight().handle_message(tag, wire::kind(&message.body));
        // The number of its fid may become free, which has a lock of its own.
        drop(ended);
        Ok(Some(match arrived {
            Arrived::Reply => (message, length),
            Arrived::End(tag) => (Message::tagged(tag, message.body), 0),
            Arrived::Late => (Message::untagged(message.body), length),
        }))
    }
}

impl InFlight {
    /// Handles a message with this tag and of this type. Returns what it is, and the request that it ends.
    fn handle_message(&mut self, tag: u32, kind: u8) -> (Arrived, Option<Sent>) {
        let Some(sent) = self.requests.get_mut(&tag) else { return (Arrived::Reply, None) };
        if sent.is_flushed {
            sent.is_replied = true;
            return (Arrived::Late, None);
        }
        if let Some(oldtag) = sent.flushes.take() {
            if let Some(flushed) = self.requests.get_mut(&oldtag) {
                flushed.is_flushed = false;
                if kind == types::RFLUSH || flushed.is_replied {
                    return (Arrived::End(oldtag), self.end(oldtag));
                }
            }
        }
        (Arrived::Reply, self.end(tag))
    }

    /// Removes the request with this tag after its reply.
    fn end(&mut self, tag: u32) -> Option<Sent> {
        let sent = self.requests.remove(&tag)?;
        self.tags.remove(&sent.id);
        if let (true, Some(fid)) = (sent.ends_fid, &sent.fid) {
            fid.set_known(false);
        }
        Some(sent)
    }
}
