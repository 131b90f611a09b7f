//! A message as one line of text: for logs, and for tests that fail.

use std::fmt::{self, Display, Formatter, Write};

use super::dialect::Dialect;
use super::layout::for_each_field;
use super::table::{Field, FieldKind, message};
use super::{HEADER, NOFID, NOTAG, kind, tag, u16_at, u32_at};

/// A message that can be formatted.
#[derive(Clone, Copy)]
pub struct Show<'a> {
    dialect: Dialect,
    bytes: &'a [u8],
}

/// Formats the message `bytes` in `dialect`. The message may be incomplete or malformed.
#[must_use]
pub fn show(dialect: Dialect, bytes: &[u8]) -> Show<'_> {
    Show { dialect, bytes }
}

impl Display for Show<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.bytes.len() < HEADER {
            return write!(f, "({} bytes, less than a header)", self.bytes.len());
        }
        let (kind, letter) = (kind(self.bytes), if kind(self.bytes) % 2 == 0 { 'T' } else { 'R' });
        let row = message(self.dialect, kind);
        match row {
            Some(row) => write!(f, "{letter}{}", row.name)?,
            None => write!(f, "{letter}#{kind}")?,
        }
        match tag(self.bytes) {
            NOTAG => write!(f, " tag NOTAG")?,
            tag => write!(f, " tag {tag}")?,
        }
        let fields = match row {
            Some(row) if kind == row.number => row.request.unwrap_or_default(),
            Some(row) => row.reply,
            None => return write!(f, " ({} bytes)", self.bytes.len()),
        };
        let mut result = Ok(());
        let mut end = HEADER;
        let whole = for_each_field(fields, self.dialect, self.bytes, |field, at, length| {
            end = at + length;
            if result.is_ok() {
                result = write_field(f, field, &self.bytes[at..end]);
            }
        });
        result?;
        if whole.is_err() {
            write!(f, " (does not fit its {} bytes)", self.bytes.len())?;
        } else if end < self.bytes.len() {
            write!(f, " and {} bytes more", self.bytes.len() - end)?;
        }
        Ok(())
    }
}

fn write_field(f: &mut Formatter<'_>, field: &Field, value: &[u8]) -> fmt::Result {
    write!(f, " {} ", field.name)?;
    match field.kind {
        FieldKind::U8 => write!(f, "{}", value[0]),
        FieldKind::U16 | FieldKind::Oldtag => write!(f, "{}", u16_at(value, 0)),
        FieldKind::Fid(_) if u32_at(value, 0) == NOFID => f.write_str("NOFID"),
        FieldKind::U32
        | FieldKind::OptionalU32
        | FieldKind::Count
        | FieldKind::Iounit
        | FieldKind::Fid(_) => {
            write!(f, "{}", u32_at(value, 0))
        }
        FieldKind::U64 => write!(f, "{}", u64_at(value, 0)),
        FieldKind::Qid => write_qid(f, value),
        FieldKind::String | FieldKind::Name => write_string(f, &value[2..]),
        FieldKind::Names => {
            let mut at = 2;
            f.write_char('[')?;
            while at < value.len() {
                let end = at + 2 + u16_at(value, at) as usize;
                write_string(f, &value[at + 2..end])?;
                at = end;
                f.write_str(if at < value.len() { " " } else { "" })?;
            }
            f.write_char(']')
        }
        FieldKind::Qids => {
            f.write_char('[')?;
            for (i, qid) in value[2..].chunks(13).enumerate() {
                f.write_str(if i > 0 { " " } else { "" })?;
                write_qid(f, qid)?;
            }
            f.write_char(']')
        }
        FieldKind::Data => write!(f, "({} bytes)", value.len() - 4),
        FieldKind::Stat => write!(f, "({} bytes)", value.len() - 2),
        FieldKind::Bytes(n) => write!(f, "({n} bytes)"),
    }
}

fn u64_at(value: &[u8], at: usize) -> u64 {
    u64::from(u32_at(value, at)) | u64::from(u32_at(value, at + 4)) << 32
}

fn write_qid(f: &mut Formatter<'_>, qid: &[u8]) -> fmt::Result {
    write!(f, "({:x} {} {:x})", u64_at(qid, 5), u32_at(qid, 1), qid[0])
}

/// Escapes bytes that a terminal would not show.
fn write_string(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_char('\'')?;
    for chunk in bytes.utf8_chunks() {
        write!(f, "{}", chunk.valid().escape_debug())?;
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    f.write_char('\'')
}
