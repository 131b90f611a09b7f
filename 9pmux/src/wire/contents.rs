//! The rules for the contents of a T-message: its strings and its stat.
//!
//! | rule | 9P2000, 9P2000.u | 9P2000.L |
//! |---|---|---|
//! | a string is UTF-8 | yes | no: Linux has names that are not |
//! | a string does not contain NUL | yes | yes |
//! | the name of a file does not contain a slash | yes | yes |
//! | a stat has exactly its size, and its strings obey these rules | yes | it has no stat |
//!
//! The names `.` and `..` are the server's affair. The name in a stat may also be `/`, which is that of a
//! root: a client may write back a stat that it has read.

use super::dialect::Dialect;
use super::layout::{FieldOffsets, for_each_field};
use super::table::FieldKind;
use super::u16_at;

/// The length of a stat before its strings: `size[2] type[2] dev[4] qid[13] mode[4] atime[4] mtime[4]
/// length[8]`.
const STAT_HEADER: usize = 41;

/// The length of the numeric owner, group and last user that end a stat in 9P2000.u.
const STAT_NUMBERS: usize = 12;

/// The rule that a message does not obey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadContents {
    /// A string contains NUL, or is not UTF-8 where it must be.
    String,
    /// The name of a file contains a slash.
    Name,
    /// A stat does not have the size that it states.
    Stat,
}

/// Checks the strings and the stat of a T-message that `check_request` has accepted with these offsets.
///
/// # Errors
/// Returns the rule that the message does not obey.
pub fn check_contents(
    dialect: Dialect,
    offsets: &FieldOffsets,
    bytes: &[u8],
) -> Result<(), BadContents> {
    let fields = offsets.message.request.unwrap_or_default();
    let mut result = Ok(());
    let sizes = for_each_field(fields, dialect, bytes, |field, at, length| {
        let value = &bytes[at..at + length];
        if result.is_ok() {
            result = match field.kind {
                FieldKind::String => check_string(dialect, &value[2..]),
                FieldKind::Name => check_name(dialect, &value[2..]),
                FieldKind::Names => check_names(dialect, &value[2..]),
                FieldKind::Stat => check_stat(dialect, &value[2..]),
                _ => Ok(()),
            };
        }
    });
    debug_assert!(sizes.is_ok());
    result
}

fn check_string(dialect: Dialect, string: &[u8]) -> Result<(), BadContents> {
    let encoded = dialect == Dialect::L || std::str::from_utf8(string).is_ok();
    if encoded && !string.contains(&0) { Ok(()) } else { Err(BadContents::String) }
}

fn check_name(dialect: Dialect, name: &[u8]) -> Result<(), BadContents> {
    check_string(dialect, name)?;
    if name.contains(&b'/') { Err(BadContents::Name) } else { Ok(()) }
}

/// Checks names that follow one another, each with its length before it.
fn check_names(dialect: Dialect, mut names: &[u8]) -> Result<(), BadContents> {
    while !names.is_empty() {
        let (name, rest) = split_string(names)?;
        check_name(dialect, name)?;
        names = rest;
    }
    Ok(())
}

fn check_stat(dialect: Dialect, stat: &[u8]) -> Result<(), BadContents> {
    if stat.len() < STAT_HEADER || u16_at(stat, 0) as usize + 2 != stat.len() {
        return Err(BadContents::Stat);
    }
    let (name, mut rest) = split_string(&stat[STAT_HEADER..])?;
    if name != b"/" {
        check_name(dialect, name)?;
    }
    // uid, gid, muid; in 9P2000.u also the extension.
    let (strings, numbers) = if dialect == Dialect::U { (4, STAT_NUMBERS) } else { (3, 0) };
    for _ in 0..strings {
        let (string, behind) = split_string(rest)?;
        check_string(dialect, string)?;
        rest = behind;
    }
    if rest.len() == numbers { Ok(()) } else { Err(BadContents::Stat) }
}

/// Splits a string, with its length before it, from the bytes behind it.
fn split_string(bytes: &[u8]) -> Result<(&[u8], &[u8]), BadContents> {
    let length = bytes.first_chunk().map(|length| u16::from_le_bytes(*length) as usize);
    let string = length.and_then(|length| bytes[2..].split_at_checked(length));
    string.ok_or(BadContents::Stat)
}
