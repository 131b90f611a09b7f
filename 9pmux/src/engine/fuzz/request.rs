//! A client's requests, of small numbers: from the table of messages, mostly for fids that are in the right state.
//!
//! Each has a mark that no other has, in a name, an offset or behind its last field: by its mark a request is
//! recognized at the server, and its reply at the client.

use super::bytes::Bytes;
use super::messages::{flush, made, stat, version};
use super::model_client::ModelClient;
use super::names::State;
use crate::wire::{Dialect, FidUse, FieldKind, MESSAGES, NOFID, put_tag, types};

/// The number of fids and of tags that a client uses.
pub const FIDS: u32 = 14;
const TAGS: u16 = 16;

impl ModelClient {
    /// Returns a request, or a Tversion if the client has no session.
    /// Only clients that share an attach have one user.
    pub fn request(
        &self,
        bytes: &mut Bytes<'_>,
        dialect: Dialect,
        serial: u16,
        once: bool,
    ) -> Vec<u8> {
        let what = bytes.next();
        let mut kind = message_type(bytes, dialect, what);
        if kind == types::TVERSION || (self.is_new() && !bytes.rarely(8)) {
            return any_version(bytes, dialect);
        }
        if self.asks_descriptors && what % 16 == 15 && dialect != Dialect::L {
            kind = types::TOPENFD;
        }
        let needs_fid = ![types::TFLUSH, types::TAUTH].contains(&kind);
        if needs_fid && self.names.find(FIDS, 0, &[State::Live]).is_none() && !bytes.rarely(4) {
            kind = types::TATTACH;
        }
        let row = MESSAGES.iter().find(|row| row.number == kind);
        let fields = row.and_then(|row| row.request).unwrap_or_default();
        let mark = [self.number as u8, serial.to_le_bytes()[0], serial.to_le_bytes()[1]];
        let mut message = made(kind, self.tag(bytes));
        let mut first = None;
        for field in fields.iter().filter(|field| field.dialects.contains(dialect)) {
            message = match field.kind {
                FieldKind::Fid(fid_use) => {
                    let fid = self.fid(bytes, fid_use, first);
                    first = first.or(Some(fid));
                    message.u32(fid)
                }
                // Mostly a mode that a descriptor can have.
                FieldKind::U8 => match bytes.next() {
                    mode @ 0..240 if kind == types::TOPENFD => message.u8(mode & 0x13),
                    any => message.u8(any),
                },
                FieldKind::U16 | FieldKind::Oldtag => message.u16(self.oldtag(bytes)),
                FieldKind::U32 | FieldKind::OptionalU32 | FieldKind::Iounit => message.u32(7),
                FieldKind::U64 => message.raw(&mark).raw(&[0; 5]),
                FieldKind::Count => {
                    message.u32(bytes.pick(&[100, 0, 4, 300, 589, 600, 5000, u32::MAX]))
                }
                FieldKind::String if field.name == "uname" => {
                    message.str(if once { "u".to_owned() } else { format!("u{}", self.number) })
                }
                // Mostly the same tree.
                FieldKind::String if field.name == "aname" => {
                    message.str(if bytes.rarely(4) { "b" } else { "a" })
                }
                FieldKind::String | FieldKind::Name => message.str(name(bytes, mark)),
                FieldKind::Names => {
                    let count = bytes.pick(&[1, 0, 2, 3, 16, 17]);
                    (0..count).fold(message.u16(count), |m, _| m.str(name(bytes, mark)))
                }
                FieldKind::Stat => message.str(stat(dialect, name(bytes, mark))),
                FieldKind::Data => {
                    let length = bytes.next() as usize * 3;
                    message.u32(length as u32).raw(&vec![mark[1]; length])
                }
                FieldKind::Bytes(n) => message.raw(&vec![0; n as usize]),
                FieldKind::Qid | FieldKind::Qids => unreachable!("no request has qids"),
            };
        }
        // Bytes behind the last field are permitted; some Tflush have none.
        if kind != types::TFLUSH || bytes.rarely(4) {
            message = message.raw(&mark);
        }
        let mut message = message.done();
        if what >= 240 {
            spoil(&mut message, bytes);
        }
        message
    }

    /// Returns a Tflush of each message without a reply, as a program sends them that is interrupted.
    pub fn interrupt(&self) -> Vec<u8> {
        let used: Vec<u16> = self.tags().collect();
        let free = (TAGS..).filter(|tag| !used.contains(tag));
        used.iter().zip(free).flat_map(|(oldtag, tag)| flush(tag, *oldtag)).collect()
    }

    fn tag(&self, bytes: &mut Bytes<'_>) -> u16 {
        let n = bytes.next();
        let start = u16::from(n) % TAGS;
        let free = |tag: &u16| !self.tags().any(|used| used == *tag);
        let found = (0..TAGS).map(|i| (start + i) % TAGS).find(free).filter(|_| n < 232);
        found.unwrap_or(start)
    }

    fn oldtag(&self, bytes: &mut Bytes<'_>) -> u16 {
        let n = bytes.next();
        let tags: Vec<u16> = self.tags().collect();
        match tags.get(n as usize % tags.len().max(1)) {
            Some(tag) if n < 224 => *tag,
            _ => u16::from(n) % TAGS,
        }
    }

    fn fid(&self, bytes: &mut Bytes<'_>, fid_use: FidUse, first: Option<u32>) -> u32 {
        let n = bytes.next();
        let start = u32::from(n) % FIDS;
        let states: &[State] = match fid_use {
            FidUse::Authenticates if n < 128 => return NOFID,
            FidUse::CreatesOnFullWalk if n % 8 == 7 && first.is_some() => {
                return first.unwrap_or_default();
            }
            _ if n == 255 => return NOFID,
            _ if n >= 236 => return start,
            // The reply that decides about the fid has not arrived.
            FidUse::Releases if n >= 160 => &[State::Unknown],
            _ if n >= 200 => &[State::Unknown],
            FidUse::Authenticates => &[State::Auth],
            FidUse::Creates | FidUse::CreatesAuth | FidUse::CreatesOnFullWalk => &[State::Absent],
            FidUse::Uses if n < 184 => &[State::Live],
            FidUse::Uses | FidUse::Releases | FidUse::ReleasesOnSuccess => {
                &[State::Live, State::Auth]
            }
        };
        self.names.find(FIDS, start, states).unwrap_or(start)
    }
}

/// Returns a name, which seldom has bytes that are forbidden.
fn name(bytes: &mut Bytes<'_>, mark: [u8; 3]) -> Vec<u8> {
    let mut name =
        format!("{:x}.{:x}", mark[0], u16::from_le_bytes([mark[1], mark[2]])).into_bytes();
    match bytes.next() {
        252 => name.push(0),
        253 => name.push(b'/'),
        254 => name.push(0xFF),
        255 => name.clear(),
        _ => {}
    }
    name
}

/// Changes a message so that it may be malformed.
fn spoil(message: &mut Vec<u8>, bytes: &mut Bytes<'_>) {
    match bytes.below(4) {
        0 => message.truncate(7 + bytes.next() as usize),
        1 => message[4] = bytes.next(),
        2 => {
            let at = 7 + bytes.below((message.len() - 7).clamp(1, 256));
            if let Some(byte) = message.get_mut(at) {
                *byte = bytes.next();
            }
        }
        _ => message.extend(bytes.some(60)),
    }
    let size = message.len() as u32;
    message[..4].copy_from_slice(&size.to_le_bytes());
}

/// Returns the type of the request that `what` selects.
fn message_type(bytes: &mut Bytes<'_>, dialect: Dialect, what: u8) -> u8 {
    let l = dialect == Dialect::L;
    match what % 16 {
        0 => types::TATTACH,
        1 if what < 64 => types::TAUTH,
        1 => types::TATTACH,
        2..6 => types::TWALK,
        6 | 7 => types::TFLUSH,
        8 => types::TCLUNK,
        9 if what < 64 => 122,
        9 => types::TCLUNK,
        10 if l && what < 128 => 40,
        10 | 11 => 116,
        12 if what < 16 => types::TVERSION,
        12 => 118,
        13 => {
            if l {
                22
            } else {
                124
            }
        }
        // Messages with two fids.
        14 if l => bytes.pick(&[20, 30, 70, 74]),
        _ => bytes.pick(MESSAGES).number,
    }
}

/// Returns a Tversion of any version and msize.
pub fn any_version(bytes: &mut Bytes<'_>, dialect: Dialect) -> Vec<u8> {
    let (what, msize) = (bytes.next(), bytes.next());
    let msize = match msize {
        255 => 100,
        254 => u32::MAX,
        _ => 256 + u32::from(msize) * 4,
    };
    let name = match what % 32 {
        0 => "9P2000",
        1 => "9P2000.u",
        2 => "9P2000.L",
        3 => "9P2000.zz",
        4 => "9P1999",
        5 => "unknown",
        _ => dialect.name(),
    };
    let mut message = version(msize, name);
    if what >= 240 {
        put_tag(&mut message, u16::from(what % 8));
    }
    if what % 64 == 63 {
        // A name longer than the message.
        message[11] = 200;
    }
    message
}
