//! Requests in flight when the server goes: which of them are sent again.
//!
//! A request cannot have been executed if the system has not taken its last byte. It is sent again, of whatever type
//! it is. The others may have been executed:
//!
//! | request | fate |
//! |---|---|
//! | reads nothing but the state of files; Twalk; Tattach without an afid; Topen that destroys nothing; Tfsync | again |
//! | Twrite to a plain file that is not open for appending | again |
//! | Tclunk | done: Rclunk |
//! | any other | failed |

use super::places::{AUTH, Place, XATTR, XATTR_WRITE};
use super::{Repeat, Restore};
use crate::engine::descriptors::DescriptorUse;
use crate::engine::fids::NO_FID;
use crate::engine::local_error::LocalError;
use crate::engine::policy::is_sync;
use crate::engine::requests::UpstreamRequest;
use crate::wire::{Dialect, HEADER, flags, kind, mode, qid, types, u32_at};

/// The fate of a request that may have been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent again.
    Again,
    /// Its fid does not exist any more, which is all that it asked for.
    Done,
    Fail(LocalError),
}

/// The flags of Tlopen that may create or truncate a file.
const DESTRUCTIVE: u32 = flags::CREATE | flags::EXCLUSIVE | flags::TRUNCATE;

/// The types of a file that can be written again at the same offset: a plain one, which may be exclusive or not
/// backed up.
const PLAIN_TYPES: u8 = qid::EXCLUSIVE | qid::TEMPORARY;

/// Returns the flags or the mode by which a file is opened again. Nothing is created or truncated a second time.
pub fn reopening_mode(dialect: Dialect, opened: u32) -> u32 {
    match dialect {
        Dialect::L => opened & !DESTRUCTIVE,
        Dialect::Plain | Dialect::U => opened & !u32::from(mode::TRUNCATE),
    }
}

fn offset_of(message: &[u8]) -> u64 {
    let offset = message.get(HEADER + 4..HEADER + 12).and_then(|bytes| bytes.try_into().ok());
    offset.map_or(0, u64::from_le_bytes)
}

impl Restore {
    /// Returns the fate of a request that may have been executed.
    pub fn fate(&self, dialect: Dialect, request: &UpstreamRequest, message: &[u8]) -> Fate {
        let failed = Fate::Fail(LocalError::MaybeDone);
        let place = self.places.get(request.fids[0]);
        match request.kind {
            types::TCLUNK if place.node == XATTR_WRITE => failed,
            types::TCLUNK => Fate::Done,
            _ if self.options.repeat == Repeat::None => failed,
            _ if request.descriptor_use != DescriptorUse::None => failed,
            types::TREAD if [AUTH, XATTR, XATTR_WRITE].contains(&place.node) => failed,
            types::TREAD if self.is_plain9_dir(dialect, request) && offset_of(message) != 0 => {
                failed
            }
            types::TREAD | types::TREADDIR | types::TSTAT | types::TGETATTR | types::TSTATFS => {
                Fate::Again
            }
            types::TREADLINK | types::TGETLOCK | types::TWALK | types::TFSYNC => Fate::Again,
            types::TATTACH if request.fids[1] == NO_FID => Fate::Again,
            types::TOPEN => match message[HEADER + 4] & (mode::TRUNCATE | mode::REMOVE_ON_CLOSE) {
                0 => Fate::Again,
                _ => failed,
            },
            types::TLOPEN => match u32_at(message, HEADER + 4) & DESTRUCTIVE {
                0 => Fate::Again,
                _ => failed,
            },
            types::TWRITE if self.can_write_again(dialect, request, place) => Fate::Again,
            _ => failed,
        }
    }

    /// Returns true if a request is for a directory in which offsets are the server's memory of one reading.
    fn is_plain9_dir(&self, dialect: Dialect, request: &UpstreamRequest) -> bool {
        dialect != Dialect::L && self.is_dir(request.fids[0])
    }

    fn is_dir(&self, fid: u32) -> bool {
        self.places.file(&self.names, fid).is_some_and(|file| file.is_dir())
    }

    fn can_write_again(&self, dialect: Dialect, request: &UpstreamRequest, place: Place) -> bool {
        let appending = if dialect == Dialect::L { flags::APPEND } else { mode::APPEND.into() };
        let file = self.places.file(&self.names, request.fids[0]);
        self.options.repeat == Repeat::Writes
            && place.is_open
            && place.mode & appending == 0
            && file.is_some_and(|file| file.kind & !PLAIN_TYPES == 0)
    }

    /// The server has gone, and this fid was there: records what this means for its next requests if it is open.
    pub fn note_loss(&mut self, dialect: Dialect, fid: u32) {
        let place = self.places.get(fid);
        let Some(node) = place.node().filter(|_| place.is_open) else {
            return;
        };
        let is_unsynced = self.names.is_unsynced(node);
        let is_read_in_parts = dialect != Dialect::L && self.is_dir(fid);
        let place = self.places.get_mut(fid);
        place.has_lost_writes |= is_unsynced;
        place.must_read_anew |= is_read_in_parts;
    }

    /// A request of a client is at the end of the server's output.
    pub fn note_sent(&mut self, message: &[u8]) {
        if kind(message) == types::TREAD {
            // It begins at offset 0 if the directory has to be read anew.
            self.places.get_mut(u32_at(message, HEADER)).must_read_anew = false;
        }
    }

    /// Returns the error that a request gets because of an earlier loss. A Tfsync gets it once; a directory may be read
    /// from its beginning, and then on.
    pub fn check_after_loss(
        &mut self,
        dialect: Dialect,
        fid: u32,
        message: &[u8],
    ) -> Option<LocalError> {
        match kind(message) {
            kind @ (types::TFSYNC | types::TWSTAT) => {
                let has_lost_writes = self.places.get(fid).has_lost_writes;
                if !has_lost_writes || kind == types::TWSTAT && !is_sync(dialect, message) {
                    return None;
                }
                self.places.get_mut(fid).has_lost_writes = false;
                Some(LocalError::WritesLost)
            }
            types::TREAD if self.places.get(fid).must_read_anew && offset_of(message) != 0 => {
                Some(LocalError::ReadAnew)
            }
            _ => None,
        }
    }
}
