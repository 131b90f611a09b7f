//! 9P as bytes: framing, and one table of the messages.
//!
//! A message is `size[4] type[1] tag[2]` and a body; all numbers are little-endian. A T-message, from
//! client to server, has an even type, and its R-message has the next odd type. A multiplexor needs
//! little of a body: the offsets of its fids and what becomes of them, the tag that a Tflush names, and
//! how many bytes a reply may have. `table.rs` contains this once for the three dialects, and the rest
//! derives from it: `layout.rs` finds the offsets and validates a message against its size, `contents.rs`
//! validates strings and stats, `show.rs` formats messages as text, `foreign.rs` recognises bytes that
//! are no 9P, and `bits.rs` names the bits of modes, flags and qids. A message is never decoded and
//! encoded again: a field that has to change is patched in place.
#![forbid(unsafe_code)]

mod bits;
mod contents;
mod dialect;
mod foreign;
mod frame;
mod layout;
mod show;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use bits::{flags, mode, qid};
pub use contents::{BadContents, check_contents};
pub use dialect::{Dialect, Dialects, Offer, UNKNOWN};
pub use foreign::{Foreign, foreign};
pub use frame::{Frame, frame, kind, put_tag, put_u32, tag, u16_at, u32_at};
pub use layout::{FieldOffsets, Malformed, ReplyFields, check_reply, check_request, version};
pub use show::{Show, show};
pub use table::{FidUse, Field, FieldKind, MAX_NAMES, MESSAGES, Message, message};

/// `size[4] type[1] tag[2]`.
pub const HEADER: usize = 7;

/// The tag of a Tversion.
pub const NOTAG: u16 = 0xFFFF;

/// No fid: the afid of a Tattach without one.
pub const NOFID: u32 = 0xFFFF_FFFF;

/// The length of a reply with data, without the data.
pub const DATA_HEADER: u32 = HEADER as u32 + 4;

/// The space that an iounit leaves for the header of a Twrite.
pub const IO_HEADER: u32 = 24;

/// The types that are treated individually.
pub mod types {
    #![allow(missing_docs, reason = "the names of 9P say it")]
    pub const RLERROR: u8 = 7;
    pub const TVERSION: u8 = 100;
    pub const RVERSION: u8 = 101;
    pub const TAUTH: u8 = 102;
    pub const TATTACH: u8 = 104;
    pub const RATTACH: u8 = 105;
    pub const RERROR: u8 = 107;
    pub const TFLUSH: u8 = 108;
    pub const RFLUSH: u8 = 109;
    pub const TWALK: u8 = 110;
    pub const RWALK: u8 = 111;
    pub const TOPEN: u8 = 112;
    pub const ROPEN: u8 = 113;
    pub const TCREATE: u8 = 114;
    pub const TREAD: u8 = 116;
    pub const RREAD: u8 = 117;
    pub const TWRITE: u8 = 118;
    pub const TCLUNK: u8 = 120;
    pub const TREMOVE: u8 = 122;
    pub const TLOPEN: u8 = 12;
    pub const TLCREATE: u8 = 14;
    pub const TSTATFS: u8 = 8;
    pub const TRENAME: u8 = 20;
    pub const TREADLINK: u8 = 22;
    pub const TGETATTR: u8 = 24;
    pub const TSETATTR: u8 = 26;
    pub const TXATTRWALK: u8 = 30;
    pub const TXATTRCREATE: u8 = 32;
    pub const TREADDIR: u8 = 40;
    pub const TFSYNC: u8 = 50;
    pub const TLOCK: u8 = 52;
    pub const TGETLOCK: u8 = 54;
    pub const TRENAMEAT: u8 = 74;
    pub const TUNLINKAT: u8 = 76;
    pub const TSTAT: u8 = 124;
    pub const TWSTAT: u8 = 126;
    pub const TOPENFD: u8 = 98;
    pub const ROPENFD: u8 = 99;
}
