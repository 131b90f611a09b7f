//! A client's requests that are whole, of small numbers: of which kind, and what is in it, is the bytes'
//! choice. Each ends with bytes that no other has, which 9P's messages may have and nobody looks at: by
//! these it is known again on its way.

use super::bytes::Bytes;
use crate::wire::{Dialect, MESSAGES, NOFID, NOTAG, types};

/// A message of this kind.
pub fn framed(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut message = (7 + body.len() as u32).to_le_bytes().to_vec();
    message.push(kind);
    message.extend(tag.to_le_bytes());
    message.extend(body);
    message
}

/// A Tversion or an Rversion.
pub fn version(kind: u8, tag: u16, msize: u32, name: &[u8]) -> Vec<u8> {
    let mut body = msize.to_le_bytes().to_vec();
    string(&mut body, name);
    framed(kind, tag, &body)
}

fn string(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend((bytes.len() as u16).to_le_bytes());
    body.extend(bytes);
}

fn fid(body: &mut Vec<u8>, bytes: &mut Bytes<'_>) {
    let fid = bytes.next();
    let fid = if fid == 255 { NOFID } else { u32::from(fid % 8) };
    body.extend(fid.to_le_bytes());
}

/// Any request.
pub fn request(bytes: &mut Bytes<'_>, dialect: Dialect, mark: [u8; 3]) -> Vec<u8> {
    let (what, tag) = (bytes.next(), u16::from(bytes.next() % 8));
    let kind = message_type(bytes, dialect, what);
    let mut body = Vec::new();
    match kind {
        types::TVERSION => return any_version(bytes, dialect),
        types::TFLUSH => {
            let oldtag = bytes.next();
            body.extend([oldtag % 8, 0]);
            if oldtag == 255 {
                return framed(kind, tag, &body[..1]);
            }
        }
        types::TAUTH | types::TATTACH => {
            fid(&mut body, bytes);
            if kind == types::TATTACH {
                let afid = bytes.next();
                let afid = if afid < 128 { NOFID } else { u32::from(afid % 8) };
                body.extend(afid.to_le_bytes());
            }
            string(&mut body, b"u");
            string(&mut body, &[b'a' + bytes.next() % 2]);
            if dialect != Dialect::Plain {
                body.extend([0; 4]);
            }
        }
        types::TWALK => {
            fid(&mut body, bytes);
            fid(&mut body, bytes);
            let names = [0, 1, 2, 17][bytes.below(4)];
            body.extend([names, 0]);
            (0..names).for_each(|_| string(&mut body, b"x"));
        }
        // Tread, Treaddir.
        116 | 40 => {
            fid(&mut body, bytes);
            body.extend([0; 8]);
            let count = [0, 4, 100, 300, 589, 600, 5000, u32::MAX][bytes.below(8)];
            body.extend(count.to_le_bytes());
        }
        // Twrite.
        118 => {
            fid(&mut body, bytes);
            body.extend([0; 8]);
            let count = u32::from(bytes.next()) * 3;
            body.extend(count.to_le_bytes());
            body.resize(body.len() + count as usize, 7);
        }
        // Trenameat.
        74 => {
            fid(&mut body, bytes);
            string(&mut body, &[b'o'; 3][..bytes.below(4)]);
            fid(&mut body, bytes);
            string(&mut body, b"n");
        }
        // Messages of one fid only.
        8 | 22 | 120 | 122 | 124 => fid(&mut body, bytes),
        _ => {
            fid(&mut body, bytes);
            fid(&mut body, bytes);
            body.extend(bytes.some(30));
            body.extend([0; 60]);
        }
    }
    body.extend(mark);
    framed(kind, tag, &body)
}

/// The type of the request that `what` selects.
fn message_type(bytes: &mut Bytes<'_>, dialect: Dialect, what: u8) -> u8 {
    match what % 16 {
        0 | 1 => types::TATTACH,
        2 => types::TAUTH,
        3..6 => types::TWALK,
        6..8 => types::TFLUSH,
        8 => types::TCLUNK,
        9 => 122,
        10 => 116,
        11 => 118,
        12 => types::TVERSION,
        13 if dialect == Dialect::L => 22,
        13 => 124,
        // Messages with two fids.
        14 if dialect == Dialect::L => [20, 30, 70, 74][bytes.below(4)],
        // Unknown types as well.
        _ if what >= 240 => bytes.next(),
        _ => MESSAGES[bytes.below(MESSAGES.len())].number,
    }
}

/// A Tversion of a random version and msize.
pub fn any_version(bytes: &mut Bytes<'_>, dialect: Dialect) -> Vec<u8> {
    let (what, msize) = (bytes.next(), bytes.next());
    let msize = match msize {
        255 => 100,
        254 => u32::MAX,
        _ => 256 + u32::from(msize) * 2,
    };
    let name: &[u8] = match what % 16 {
        0 => b"9P2000",
        1 => b"9P2000.u",
        2 => b"9P2000.L",
        3 => b"9P2000.zz",
        4 => b"9P1999",
        5 => b"unknown",
        _ => dialect.name().as_bytes(),
    };
    let tag = if what < 240 { NOTAG } else { u16::from(what % 8) };
    let mut message = version(types::TVERSION, tag, msize, name);
    if what % 32 == 31 {
        // A name longer than the message.
        message[11] = 200;
    }
    message
}
