//! The description of a file.

use super::Error;
use super::message::Reader;

/// The server's identification of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Qid {
    /// The type: 0x80 is a directory.
    pub kind: u8,
    /// Changes with the contents of the file.
    pub version: u32,
    /// The same for no other file of the server.
    pub path: u64,
}

impl Qid {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Qid, Error> {
        Ok(Qid { kind: reader.u8()?, version: reader.u32()?, path: reader.u64()? })
    }

    /// Returns true if the file is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind & 0x80 != 0
    }
}

/// The description of a file, as stat(5) of Plan 9 defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The file itself.
    pub qid: Qid,
    /// Permissions and flags.
    pub mode: u32,
    /// Time of the last access, in seconds since 1970.
    pub atime: u32,
    /// Time of the last change, in seconds since 1970.
    pub mtime: u32,
    /// Length in bytes; 0 for a directory.
    pub length: u64,
    /// The last element of the path.
    pub name: String,
    /// The owner.
    pub uid: String,
    /// The group.
    pub gid: String,
    /// The user of the last change.
    pub muid: String,
}

impl Stat {
    /// Reads a stat behind its size.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Stat, Error> {
        let size = reader.u16()?.into();
        let mut reader = Reader::over(reader.bytes(size)?);
        // The type and the number of the server are for the kernel's use.
        reader.bytes(2 + 4)?;
        Ok(Stat {
            qid: Qid::read(&mut reader)?,
            mode: reader.u32()?,
            atime: reader.u32()?,
            mtime: reader.u32()?,
            length: reader.u64()?,
            name: reader.string()?,
            uid: reader.string()?,
            gid: reader.string()?,
            muid: reader.string()?,
        })
    }
}
