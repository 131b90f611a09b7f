//! Where in a message the table's fields are, and that all of them are within it.
//!
//! This is the one look at a message before anything is changed in it: every string, count and list is
//! held against the size, once, and the places of what may be patched come out.

use super::dialect::Dialect;
use super::table::{Does, Field, Kind, MAX_NAMES, Message, message};
use super::{HEADER, NOFID, u16_at, u32_at};

/// A message that can not be what it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The dialect has no such message.
    Type,
    /// A field goes beyond the message's end.
    Size,
    /// A walk of more names than there may be.
    Names,
}

/// What a T-message has to be changed at, as places in it, the header counted.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Its row.
    pub message: &'static Message,
    /// Its fids; the first `fid_count` are there.
    pub fids: [(u32, Does); 2],
    /// How many fids.
    pub fid_count: u8,
    /// How many names are to be walked.
    pub names: u16,
    /// Where the count is that its reply may have.
    pub count: Option<u32>,
    /// Where what is known of it ends.
    pub end: u32,
}

impl Places {
    /// The places of its fids, with what happens to them.
    #[inline]
    #[must_use]
    pub fn fids(&self) -> &[(u32, Does)] {
        &self.fids[..self.fid_count as usize]
    }
}

/// What matters in an R-message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// How many names were walked.
    pub walked: u16,
    /// Where the iounit is.
    pub iounit: Option<u32>,
}

/// Finds the places of a T-message that is all there.
///
/// # Errors
/// In what it does not fit.
#[inline]
pub fn check_request(dialect: Dialect, bytes: &[u8]) -> Result<Places, Malformed> {
    let kind = bytes[4];
    let row = message(dialect, kind).filter(|row| row.number == kind).ok_or(Malformed::Type)?;
    let fields = row.request.ok_or(Malformed::Type)?;
    let mut places = Places {
        message: row,
        fids: [(0, Does::Uses); 2],
        fid_count: 0,
        names: 0,
        count: None,
        end: 0,
    };
    places.end = each_field(fields, dialect, bytes, |field, at, _| match field.kind {
        Kind::Fid(does) => {
            places.fids[places.fid_count as usize] = (at as u32, does);
            places.fid_count += 1;
        }
        Kind::Count => places.count = Some(at as u32),
        Kind::Names => places.names = u16_at(bytes, at),
        _ => {}
    })? as u32;
    Ok(places)
}

/// Looks an R-message over that is all there.
///
/// # Errors
/// In what it does not fit.
#[inline]
pub fn check_reply(dialect: Dialect, bytes: &[u8]) -> Result<Reply, Malformed> {
    let kind = bytes[4];
    let row = message(dialect, kind).filter(|row| row.number != kind).ok_or(Malformed::Type)?;
    let mut reply = Reply::default();
    each_field(row.reply, dialect, bytes, |field, at, _| match field.kind {
        Kind::Iounit => reply.iounit = Some(at as u32),
        Kind::Qids => reply.walked = u16_at(bytes, at),
        _ => {}
    })?;
    Ok(reply)
}

/// The msize and the version of a Tversion or an Rversion, which are the same in every dialect.
///
/// # Errors
/// As [`check_request`].
pub fn version(bytes: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let row = message(Dialect::Plain, super::types::TVERSION).ok_or(Malformed::Type)?;
    let (mut msize, mut name) = (0, &bytes[..0]);
    each_field(row.reply, Dialect::Plain, bytes, |field, at, length| match field.kind {
        Kind::String => name = &bytes[at + 2..at + length],
        _ => msize = u32_at(bytes, at),
    })?;
    Ok((msize, name))
}

/// Calls `see` with each field, its place and its length, in order, and answers where the last ends.
#[inline]
pub(super) fn each_field(
    fields: &'static [Field],
    dialect: Dialect,
    bytes: &[u8],
    mut see: impl FnMut(&Field, usize, usize),
) -> Result<usize, Malformed> {
    let mut at = HEADER;
    for field in fields {
        if !field.dialects.has(dialect) {
            continue;
        }
        let rest = &bytes[at..];
        let length = match field.kind {
            Kind::U8 => 1,
            Kind::U16 | Kind::Oldtag => 2,
            Kind::U32 | Kind::Count | Kind::Iounit | Kind::Fid(_) => 4,
            Kind::U64 => 8,
            Kind::OldU32 if rest.is_empty() => continue,
            Kind::OldU32 => 4,
            Kind::Qid => 13,
            Kind::Bytes(n) => n as usize,
            Kind::String | Kind::Stat => counted(rest, 1)?,
            Kind::Qids => counted(rest, 13)?,
            // As much as there may be does not fit where addresses have 32 bits.
            Kind::Data => (number(rest)? as usize).saturating_add(4),
            Kind::Names => names(rest)?,
        };
        if rest.len() < length {
            return Err(Malformed::Size);
        }
        see(field, at, length);
        at += length;
    }
    Ok(at)
}

fn number(rest: &[u8]) -> Result<u32, Malformed> {
    if rest.len() < 4 { Err(Malformed::Size) } else { Ok(u32_at(rest, 0)) }
}

/// The length of `n[2]` and that many things of `each` bytes.
fn counted(rest: &[u8], each: usize) -> Result<usize, Malformed> {
    if rest.len() < 2 { Err(Malformed::Size) } else { Ok(2 + u16_at(rest, 0) as usize * each) }
}

fn names(rest: &[u8]) -> Result<usize, Malformed> {
    let count = counted(rest, 1)? - 2;
    if count > MAX_NAMES as usize {
        return Err(Malformed::Names);
    }
    let mut length = 2;
    for _ in 0..count {
        length += counted(rest.get(length..).unwrap_or_default(), 1)?;
    }
    Ok(length)
}

impl Message {
    /// How many bytes a reply of this kind may well have, to a request that asked for `count` bytes of
    /// data: the most there can be, but that a name, a stat or an error can be 64 KiB and never is.
    #[must_use]
    pub fn reply_room(&self, count: u32) -> u32 {
        let mut most = HEADER as u32;
        for field in self.reply {
            most = most.saturating_add(match field.kind {
                Kind::U8 => 1,
                Kind::U16 | Kind::Oldtag => 2,
                Kind::U64 => 8,
                Kind::Qid => 13,
                Kind::Bytes(n) => n as u32,
                Kind::String | Kind::Stat | Kind::Names => 1024,
                Kind::Qids => 2 + 13 * MAX_NAMES as u32,
                Kind::Data => count.saturating_add(4),
                Kind::U32 | Kind::OldU32 | Kind::Count | Kind::Iounit | Kind::Fid(_) => 4,
            });
        }
        most.max(256)
    }
}

impl Does {
    /// Whether `fid` stands for none here.
    #[inline]
    #[must_use]
    pub fn is_none(self, fid: u32) -> bool {
        fid == NOFID && self == Does::Proves
    }
}
