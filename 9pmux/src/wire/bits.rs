//! The bits of modes, flags and qids that are treated individually.

/// The mode of Topen, Tcreate and Topenfd.
pub mod mode {
    /// Whether the file is read, written, or both.
    pub const ACCESS: u8 = 3;
    pub const WRITE: u8 = 1;
    pub const READ_WRITE: u8 = 2;
    pub const TRUNCATE: u8 = 0x10;
    pub const REMOVE_ON_CLOSE: u8 = 0x40;
    /// In 9P2000.u.
    pub const APPEND: u8 = 0x80;
}

/// The flags of Tlopen and Tlcreate, which are those of Linux.
pub mod flags {
    /// Whether the file is read, written, or both.
    pub const ACCESS: u32 = 3;
    pub const WRITE: u32 = 1;
    pub const CREATE: u32 = 0o100;
    pub const EXCLUSIVE: u32 = 0o200;
    pub const TRUNCATE: u32 = 0o1000;
    pub const APPEND: u32 = 0o2000;
}

/// A qid: `type[1] version[4] path[8]`.
pub mod qid {
    /// The length of a qid.
    pub const LEN: usize = 13;

    /// The types: a directory; a file that only one fid may have open; a file that is not backed up.
    pub const DIRECTORY: u8 = 0x80;
    pub const EXCLUSIVE: u8 = 0x20;
    pub const TEMPORARY: u8 = 0x04;
}
