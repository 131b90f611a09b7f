//! The offsets of a message's fields, and the check that all of them are within the message.
//!
//! Every string, count and list is compared with the size once, and the offsets of the fields that may
//! be patched are returned. The contents of strings are checked in `contents.rs`.

use super::dialect::Dialect;
use super::table::{FidUse, Field, FieldKind, FixedLayout, MAX_NAMES, Message, message};
use super::{HEADER, NOFID, qid, u16_at, u32_at};

/// The reason why a message is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The dialect has no such message.
    Type,
    /// A field ends beyond the message.
    Size,
    /// A Twalk has more names than the protocol permits.
    Names,
}

/// The offsets of the fields of a T-message that may be patched, counted from the beginning of the
/// header.
#[derive(Clone, Copy, Debug)]
pub struct FieldOffsets {
    /// Its row of the table.
    pub message: &'static Message,
    /// The offsets of its fids and what the message does to them; the first `fid_count` are valid.
    pub fids: [(u32, FidUse); 2],
    /// The number of fids.
    pub fid_count: u8,
    /// The number of names of a Twalk.
    pub name_count: u16,
    /// The offset of the count of bytes that the reply may have.
    pub count: Option<u32>,
    /// The end of the last known field.
    pub end: u32,
}

impl FieldOffsets {
    /// Returns the offsets of its fids, and what the message does to them.
    #[inline]
    #[must_use]
    pub fn fids(&self) -> &[(u32, FidUse)] {
        &self.fids[..self.fid_count as usize]
    }
}

/// The fields of an R-message that the engine needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyFields {
    /// The number of qids of an Rwalk.
    pub walked: u16,
    /// The offset of the iounit.
    pub iounit: Option<u32>,
}

/// Validates a complete T-message, and returns the offsets of its fields.
///
/// # Errors
/// Returns the reason why the message is malformed.
#[inline(always)]
pub fn check_request(dialect: Dialect, bytes: &[u8]) -> Result<FieldOffsets, Malformed> {
    let kind = bytes[4];
    let row = message(dialect, kind).filter(|row| row.number == kind).ok_or(Malformed::Type)?;
    if let Some(layout) = &row.fixed_request {
        let FixedLayout { fids, fid_count, count, end } = *layout;
        return match bytes.len() < end as usize {
            true => Err(Malformed::Size),
            false => Ok(FieldOffsets { message: row, fids, fid_count, name_count: 0, count, end }),
        };
    }
    check_variable_request(dialect, bytes, row)
}

/// Validates a complete T-message with a layout that depends on the message.
#[inline]
fn check_variable_request(
    dialect: Dialect,
    bytes: &[u8],
    row: &'static Message,
) -> Result<FieldOffsets, Malformed> {
    let fields = row.request.ok_or(Malformed::Type)?;
    let mut offsets = FieldOffsets {
        message: row,
        fids: [(0, FidUse::Uses); 2],
        fid_count: 0,
        name_count: 0,
        count: None,
        end: 0,
    };
    offsets.end = for_each_field(fields, dialect, bytes, |field, at, _| match field.kind {
        FieldKind::Fid(fid_use) => {
            offsets.fids[offsets.fid_count as usize] = (at as u32, fid_use);
            offsets.fid_count += 1;
        }
        FieldKind::Count => offsets.count = Some(at as u32),
        FieldKind::Names => offsets.name_count = u16_at(bytes, at),
        _ => {}
    })? as u32;
    Ok(offsets)
}

/// Validates a complete R-message, and returns the fields that the engine needs.
///
/// # Errors
/// Returns the reason why the message is malformed.
#[inline(always)]
pub fn check_reply(dialect: Dialect, bytes: &[u8]) -> Result<ReplyFields, Malformed> {
    let kind = bytes[4];
    let row = message(dialect, kind).filter(|row| row.number != kind).ok_or(Malformed::Type)?;
    let mut reply = ReplyFields::default();
    for_each_field(row.reply, dialect, bytes, |field, at, _| match field.kind {
        FieldKind::Iounit => reply.iounit = Some(at as u32),
        FieldKind::Qids => reply.walked = u16_at(bytes, at),
        _ => {}
    })?;
    Ok(reply)
}

/// Returns the msize and the version of a Tversion or an Rversion, which have the same layout in all
/// dialects.
///
/// # Errors
/// As for [`check_request`].
pub fn version(bytes: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let row = message(Dialect::Plain, super::types::TVERSION).ok_or(Malformed::Type)?;
    let (mut msize, mut name) = (0, &bytes[..0]);
    for_each_field(row.reply, Dialect::Plain, bytes, |field, at, length| match field.kind {
        FieldKind::String => name = &bytes[at + 2..at + length],
        _ => msize = u32_at(bytes, at),
    })?;
    Ok((msize, name))
}

/// Calls `visit` with each field, its offset and its length, in order. Returns the end of the last
/// field.
#[inline(always)]
pub(super) fn for_each_field(
    fields: &'static [Field],
    dialect: Dialect,
    bytes: &[u8],
    mut visit: impl FnMut(&Field, usize, usize),
) -> Result<usize, Malformed> {
    let mut at = HEADER;
    for field in fields {
        if !field.dialects.contains(dialect) {
            continue;
        }
        let rest = &bytes[at..];
        let length = match field.kind {
            FieldKind::OptionalU32 if rest.is_empty() => continue,
            FieldKind::OptionalU32 => 4,
            FieldKind::String | FieldKind::Name | FieldKind::Stat => counted_len(rest, 1)?,
            FieldKind::Qids => counted_len(rest, qid::LEN)?,
            // The sum may not fit a 32-bit usize.
            FieldKind::Data => (data_len(rest)? as usize).saturating_add(4),
            FieldKind::Names => names_len(rest)?,
            kind => kind.fixed_len(),
        };
        if rest.len() < length {
            return Err(Malformed::Size);
        }
        visit(field, at, length);
        at += length;
    }
    Ok(at)
}

fn data_len(rest: &[u8]) -> Result<u32, Malformed> {
    if rest.len() < 4 { Err(Malformed::Size) } else { Ok(u32_at(rest, 0)) }
}

/// Returns the length of `n[2]` and `n` elements of `each` bytes.
fn counted_len(rest: &[u8], each: usize) -> Result<usize, Malformed> {
    if rest.len() < 2 { Err(Malformed::Size) } else { Ok(2 + u16_at(rest, 0) as usize * each) }
}

fn names_len(rest: &[u8]) -> Result<usize, Malformed> {
    let count = counted_len(rest, 1)? - 2;
    if count > MAX_NAMES as usize {
        return Err(Malformed::Names);
    }
    let mut length = 2;
    for _ in 0..count {
        length += counted_len(rest.get(length..).unwrap_or_default(), 1)?;
    }
    Ok(length)
}

impl Message {
    /// Returns the number of bytes that a reply may need if the request asked for `count` bytes of
    /// data: the maximum, except that names, stats and errors, which may have 64 KiB, are taken to have
    /// at most 1 KiB.
    #[inline]
    #[must_use]
    pub fn max_reply_len(&self, count: u32) -> u32 {
        let data = if self.reply_has_data { count } else { 0 };
        self.reply_len.saturating_add(data).max(256)
    }

    /// Returns true if the reply has a string, a stat or a list of names, so that it may be longer than
    /// [`max_reply_len`](Message::max_reply_len).
    #[inline]
    #[must_use]
    pub fn has_unbounded_reply(&self) -> bool {
        self.reply_is_unbounded
    }
}

impl FidUse {
    /// Returns true if `fid` means no fid in this field.
    #[inline]
    #[must_use]
    pub fn is_no_fid(self, fid: u32) -> bool {
        fid == NOFID && self == FidUse::Authenticates
    }
}
