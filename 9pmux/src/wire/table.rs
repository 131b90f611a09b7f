//! The messages of the three dialects: one table, from which everything else is derived.
//!
//! A row is a T-message and its R-message. The fields have the order of the wire, so that the offset of
//! each follows from those before it, even the second directory of a Trenameat, which follows a name.
//! The field of a fid says what the message does to the fid, including whether a created fid depends on
//! the reply. R-messages have no fids in any dialect.
//!
//! Bytes behind the last field are permitted, because some dialects append fields.

use super::HEADER;
use super::dialect::{Dialect, Dialects};

/// The effect of a message on a fid that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FidUse {
    /// The fid must exist, and continues to exist.
    Uses,
    /// The fid must be an auth fid, or [`NOFID`](super::NOFID) if there is none.
    Authenticates,
    /// The fid exists if the reply is not an error.
    Creates,
    /// The fid exists, as an auth fid, if the reply is not an error.
    CreatesAuth,
    /// The fid exists if the reply says that all names were walked. If it equals the fid before it,
    /// that fid moves and none is created.
    CreatesOnFullWalk,
    /// The fid is released, whatever the reply.
    Releases,
    /// The fid is released if the reply is not an error.
    ReleasesOnSuccess,
}

/// The type of a field, which determines its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
    /// Eight bytes.
    U64,
    /// Four bytes, which old clients omit.
    OptionalU32,
    /// A qid: type, version and path, 13 bytes.
    Qid,
    /// `n[2]` and `n` bytes.
    String,
    /// A string that names one file in a directory.
    Name,
    /// `n[2]` and `n` names, at most [`MAX_NAMES`].
    Names,
    /// `n[2]` and `n` qids.
    Qids,
    /// `n[4]` and `n` bytes.
    Data,
    /// `n[2]` and `n` bytes.
    Stat,
    /// So many bytes that the engine does not interpret.
    Bytes(u8),
    /// The tag of another request.
    Oldtag,
    /// The number of bytes of data that the reply may have.
    Count,
    /// The iounit of an opened file.
    Iounit,
    /// A fid.
    Fid(FidUse),
}

impl FieldKind {
    /// Returns its length, or 0 if the length depends on the message.
    pub(super) const fn fixed_len(self) -> usize {
        match self {
            U8 => 1,
            U16 | Oldtag => 2,
            U32 | Count | Iounit | Fid(_) => 4,
            U64 => 8,
            Qid => 13,
            Bytes(n) => n as usize,
            OptionalU32 | String | Name | Names | Qids | Data | Stat => 0,
        }
    }
}

/// The maximum number of names of a Twalk.
pub const MAX_NAMES: u16 = 16;

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in the manual.
    pub name: &'static str,
    /// Its type.
    pub kind: FieldKind,
    /// The dialects that have it.
    pub dialects: Dialects,
}

/// A row: a T-message and its R-message.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// The type of the T-message; that of the R-message is one more.
    pub number: u8,
    /// The name, without its T or R.
    pub name: &'static str,
    /// The dialects that have it.
    pub dialects: Dialects,
    /// The fields of the T-message after the header; `None` for errors, which have only an R-message.
    pub request: Option<&'static [Field]>,
    /// The fields of the R-message after the header.
    pub reply: &'static [Field],
    /// The layout of the T-message if it is the same in all messages.
    pub(super) fixed_request: Option<FixedLayout>,
    /// Whether the T-message has strings or a stat, so that its contents must be checked as well.
    pub has_contents: bool,
    /// The length of the R-message without its data, in which each string, stat and list of names counts for
    /// 1 KiB.
    pub(super) reply_len: u32,
    /// Whether the R-message has data.
    pub(super) reply_has_data: bool,
    /// Whether the R-message has a string, a stat or a list of names.
    pub(super) reply_is_unbounded: bool,
}

const fn field(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind, dialects: Dialects::ALL }
}

const fn fid(name: &'static str, fid_use: FidUse) -> Field {
    field(name, FieldKind::Fid(fid_use))
}

const fn only(dialects: Dialects, field: Field) -> Field {
    Field { dialects, ..field }
}

const fn row(
    number: u8,
    name: &'static str,
    dialects: Dialects,
    request: &'static [Field],
    reply: &'static [Field],
) -> Message {
    Message {
        number,
        name,
        dialects,
        request: Some(request),
        reply,
        fixed_request: fixed_layout(request),
        has_contents: has_contents(request),
        reply_len: reply_len(reply),
        reply_has_data: has_data(reply),
        reply_is_unbounded: has_contents(reply),
    }
}

const fn error(
    number: u8,
    name: &'static str,
    dialects: Dialects,
    reply: &'static [Field],
) -> Message {
    let row = row(number, name, dialects, &[], reply);
    Message { request: None, fixed_request: None, ..row }
}

/// The layout of a T-message with fields of fixed lengths, the same in all dialects.
#[derive(Clone, Copy, Debug)]
pub(super) struct FixedLayout {
    pub fids: [(u32, FidUse); 2],
    pub fid_count: u8,
    pub count: Option<u32>,
    pub end: u32,
}

const fn fixed_layout(fields: &[Field]) -> Option<FixedLayout> {
    let mut layout =
        FixedLayout { fids: [(0, Uses); 2], fid_count: 0, count: None, end: HEADER as u32 };
    let mut i = 0;
    while i < fields.len() {
        let length = fields[i].kind.fixed_len() as u32;
        if length == 0 || !fields[i].dialects.are_all() {
            return None;
        }
        match fields[i].kind {
            Fid(fid_use) => {
                layout.fids[layout.fid_count as usize] = (layout.end, fid_use);
                layout.fid_count += 1;
            }
            Count => layout.count = Some(layout.end),
            _ => {}
        }
        layout.end += length;
        i += 1;
    }
    Some(layout)
}

const fn has_data(fields: &[Field]) -> bool {
    let mut i = 0;
    while i < fields.len() {
        if let Data = fields[i].kind {
            return true;
        }
        i += 1;
    }
    false
}

const fn reply_len(fields: &[Field]) -> u32 {
    let (mut length, mut i) = (HEADER as u32, 0);
    while i < fields.len() {
        length += match fields[i].kind {
            String | Name | Stat | Names => 1024,
            Qids => 2 + 13 * MAX_NAMES as u32,
            Data | OptionalU32 => 4,
            kind => kind.fixed_len() as u32,
        };
        i += 1;
    }
    length
}

const fn has_contents(fields: &[Field]) -> bool {
    let mut i = 0;
    while i < fields.len() {
        if let String | Name | Names | Stat = fields[i].kind {
            return true;
        }
        i += 1;
    }
    false
}

use FidUse::*;
use FieldKind::*;

const ALL: Dialects = Dialects::ALL;
const PLAIN_U: Dialects = Dialects::PLAIN_U;
const L: Dialects = Dialects::L;

const FID: Field = fid("fid", Uses);
const DFID: Field = fid("dfid", Uses);
const NAME: Field = field("name", Name);
const XATTR: Field = field("name", String);
const QID: Field = field("qid", Qid);
const GID: Field = field("gid", U32);
const OFFSET: Field = field("offset", U64);
const COUNT: Field = field("count", Count);
const DATA: Field = field("data", Data);
const N_UNAME: Field = only(Dialects::U_L, field("n_uname", U32));
const OPENED: &[Field] = &[QID, field("iounit", Iounit)];

/// All messages.
#[rustfmt::skip] // a row is a line
pub const MESSAGES: &[Message] = &[
    error(6, "lerror", L, &[field("ecode", U32)]),
    row(8, "statfs", L, &[FID], &[field("statfs", Bytes(60))]),
    row(12, "lopen", L, &[FID, field("flags", U32)], OPENED),
    row(14, "lcreate", L, &[FID, NAME, field("flags", U32), field("mode", U32), GID], OPENED),
    row(16, "symlink", L, &[DFID, NAME, field("target", String), GID], &[QID]),
    row(18, "mknod", L, &[DFID, NAME, field("mode", U32), field("major", U32), field("minor", U32), GID], &[QID]),
    row(20, "rename", L, &[FID, DFID, NAME], &[]),
    row(22, "readlink", L, &[FID], &[field("target", String)]),
    row(24, "getattr", L, &[FID, field("request_mask", U64)], &[field("valid", U64), QID, field("attr", Bytes(132))]),
    row(26, "setattr", L, &[FID, field("valid", U32), field("mode", U32), field("uid", U32), GID, field("size", U64),
        field("times", Bytes(32))], &[]),
    row(30, "xattrwalk", L, &[FID, fid("newfid", Creates), XATTR], &[field("size", U64)]),
    row(32, "xattrcreate", L, &[FID, XATTR, field("attr_size", U64), field("flags", U32)], &[]),
    row(40, "readdir", L, &[FID, OFFSET, COUNT], &[DATA]),
    row(50, "fsync", L, &[FID, field("datasync", OptionalU32)], &[]),
    row(52, "lock", L, &[FID, field("type", U8), field("flags", U32), field("start", U64), field("length", U64),
        field("proc_id", U32), field("client_id", String)], &[field("status", U8)]),
    row(54, "getlock", L, &[FID, field("type", U8), field("start", U64), field("length", U64), field("proc_id", U32),
        field("client_id", String)], &[field("type", U8), field("start", U64), field("length", U64),
        field("proc_id", U32), field("client_id", String)]),
    row(70, "link", L, &[DFID, FID, NAME], &[]),
    row(72, "mkdir", L, &[DFID, NAME, field("mode", U32), GID], &[QID]),
    row(74, "renameat", L, &[fid("olddirfid", Uses), field("oldname", Name), fid("newdirfid", Uses),
        field("newname", Name)], &[]),
    row(76, "unlinkat", L, &[fid("dirfid", Uses), NAME, field("flags", U32)], &[]),
    row(98, "openfd", PLAIN_U, &[fid("fid", ReleasesOnSuccess), field("mode", U8)],
        &[QID, field("iounit", Iounit), field("unixfd", U32)]),
    row(100, "version", ALL, &[field("msize", U32), field("version", String)],
        &[field("msize", U32), field("version", String)]),
    row(102, "auth", ALL, &[fid("afid", CreatesAuth), field("uname", String), field("aname", String), N_UNAME],
        &[field("aqid", Qid)]),
    row(104, "attach", ALL, &[fid("fid", Creates), fid("afid", Authenticates), field("uname", String),
        field("aname", String), N_UNAME], &[QID]),
    error(106, "error", PLAIN_U, &[field("ename", String), only(Dialects::U, field("errno", U32))]),
    row(108, "flush", ALL, &[field("oldtag", Oldtag)], &[]),
    row(110, "walk", ALL, &[FID, fid("newfid", CreatesOnFullWalk), field("wname", Names)], &[field("wqid", Qids)]),
    row(112, "open", PLAIN_U, &[FID, field("mode", U8)], OPENED),
    row(114, "create", PLAIN_U, &[FID, NAME, field("perm", U32), field("mode", U8),
        only(Dialects::U, field("extension", String))], OPENED),
    row(116, "read", ALL, &[FID, OFFSET, COUNT], &[DATA]),
    row(118, "write", ALL, &[FID, OFFSET, DATA], &[field("count", U32)]),
    row(120, "clunk", ALL, &[fid("fid", Releases)], &[]),
    row(122, "remove", ALL, &[fid("fid", Releases)], &[]),
    row(124, "stat", PLAIN_U, &[FID], &[field("stat", Stat)]),
    row(126, "wstat", PLAIN_U, &[FID, field("stat", Stat)], &[]),
];

/// The index of each type's row in the table.
const NONE: u8 = u8::MAX;
static ROWS: [u8; 256] = rows();

const fn rows() -> [u8; 256] {
    let mut rows = [NONE; 256];
    let mut i = 0;
    while i < MESSAGES.len() {
        assert!(MESSAGES[i].number % 2 == 0 && rows[MESSAGES[i].number as usize] == NONE);
        rows[MESSAGES[i].number as usize] = i as u8;
        rows[MESSAGES[i].number as usize + 1] = i as u8;
        i += 1;
    }
    rows
}

/// Returns the row of a T-message's or R-message's type, if the dialect has it.
#[inline]
#[must_use]
pub fn message(dialect: Dialect, kind: u8) -> Option<&'static Message> {
    let row = MESSAGES.get(ROWS[kind as usize] as usize)?;
    row.dialects.contains(dialect).then_some(row)
}
