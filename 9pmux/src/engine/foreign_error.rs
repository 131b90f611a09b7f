//! Error replies in a form that the dialect does not have, translated: some servers reply with Rerror in
//! 9P2000.L, with Rlerror in the other dialects, or without the error number in 9P2000.u.
//!
//! The error number is kept. An Rerror without one becomes EIO. An Rlerror becomes its text where the
//! number is a common one.

use crate::wire::{Dialect, HEADER, kind, put_u32, types, u32_at};

/// The Linux error number of an error without one.
const EIO: u32 = 5;

/// The texts of common Linux error numbers.
const TEXTS: &[(u32, &str)] = &[
    (1, "operation not permitted"),
    (2, "file does not exist"),
    (4, "interrupted"),
    (5, "i/o error"),
    (9, "bad file descriptor"),
    (11, "resource temporarily unavailable"),
    (12, "out of memory"),
    (13, "permission denied"),
    (16, "device or resource busy"),
    (17, "file already exists"),
    (18, "cross-device link"),
    (20, "not a directory"),
    (21, "file is a directory"),
    (22, "invalid argument"),
    (24, "too many open files"),
    (27, "file too large"),
    (28, "no space left on device"),
    (30, "read-only file system"),
    (36, "file name too long"),
    (38, "function not implemented"),
    (39, "directory not empty"),
    (40, "too many levels of symbolic links"),
    (61, "no data available"),
    (95, "operation not supported"),
    (110, "timed out"),
    (116, "stale file handle"),
    (122, "disk quota exceeded"),
];

/// Returns a reply of the server as an error reply of `dialect`, without its tag, if it is an error reply
/// in another form. An Rlerror of 0, which clients take for success, counts as one.
pub fn translate(dialect: Dialect, reply: &[u8]) -> Option<Vec<u8>> {
    let body = &reply[HEADER..];
    match kind(reply) {
        types::RLERROR if body.len() >= 4 => match u32_at(body, 0) {
            0 => Some(error_reply(dialect, text(EIO).as_bytes(), EIO)),
            errno => Some(error_reply(dialect, text(errno).as_bytes(), errno)),
        },
        types::RERROR => {
            let length = body.first_chunk().map(|length| u16::from_le_bytes(*length) as usize)?;
            let (ename, rest) = body[2..].split_at_checked(length)?;
            let errno = rest.first_chunk().map_or(0, |errno| u32::from_le_bytes(*errno));
            Some(error_reply(dialect, ename, if errno == 0 { EIO } else { errno }))
        }
        _ => None,
    }
}

fn text(errno: u32) -> String {
    match TEXTS.iter().find(|(number, _)| *number == errno) {
        Some((_, text)) => (*text).to_owned(),
        None => format!("error {errno}"),
    }
}

/// Returns an error reply in the form of `dialect`, without its tag.
pub fn error_reply(dialect: Dialect, ename: &[u8], errno: u32) -> Vec<u8> {
    let mut message = vec![0; HEADER];
    message[4] = dialect.error_type();
    if dialect != Dialect::L {
        message.extend_from_slice(&(ename.len() as u16).to_le_bytes());
        message.extend_from_slice(ename);
    }
    if dialect != Dialect::Plain {
        message.extend_from_slice(&errno.to_le_bytes());
    }
    let size = message.len() as u32;
    put_u32(&mut message, 0, size);
    message
}
