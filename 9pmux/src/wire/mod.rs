//! 9P as bytes: framing, and one table of what its messages hold.
//!
//! A message is `size[4] type[1] tag[2]` and a body; all numbers are little-endian. A T-message, from
//! client to server, has an even type, and its R-message the odd one after it. What a multiplexor
//! must know of a body is little: where its fids are and what becomes of them, where the tag is that a
//! Tflush names, and how much a reply may bring. `table.rs` says so, once, for the three dialects, and
//! the rest derives from it: `layout.rs` finds these places and sees that a message fits its size,
//! `show.rs` writes messages in words. Nothing here decodes a message to build another: whoever has to
//! change one patches its bytes where they are.
#![forbid(unsafe_code)]

mod dialect;
mod frame;
mod layout;
mod show;
mod table;

#[cfg(test)]
mod tests;

pub use dialect::{Dialect, Dialects, Offer, UNKNOWN};
pub use frame::{Frame, frame, kind, put_tag, put_u32, tag, u16_at, u32_at};
pub use layout::{FieldOffsets, Malformed, ReplyFields, check_reply, check_request, version};
pub use show::{Show, show};
pub use table::{FidUse, Field, FieldKind, MAX_NAMES, MESSAGES, Message, message};

/// `size[4] type[1] tag[2]`.
pub const HEADER: usize = 7;

/// The tag of a Tversion, and of nothing else that we send.
pub const NOTAG: u16 = 0xFFFF;

/// No fid: in the place of the afid of a Tattach without one.
pub const NOFID: u32 = 0xFFFF_FFFF;

/// What a reply with data adds to the data.
pub const DATA_HEADER: u32 = HEADER as u32 + 4;

/// The room that 9P leaves for the header of a Twrite, which an iounit does without.
pub const IO_HEADER: u32 = 24;

/// Types that are not like the others in what becomes of them.
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
    pub const TCLUNK: u8 = 120;
    pub const TOPENFD: u8 = 98;
}
