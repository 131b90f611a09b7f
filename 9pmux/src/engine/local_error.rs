//! Errors that 9pmux itself replies with, as text and as Linux error numbers.

use crate::wire::{BadContents, Malformed};

/// The reason for which a request is not forwarded to the server, or its reply not to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalError {
    NoVersion,
    SmallMsize,
    Unsupported,
    Malformed,
    BadString,
    BadName,
    TooLarge,
    DuplicateTag,
    UnknownFid,
    FidInUse,
    BadFid,
    TooManyFids,
    NotAuth,
    OtherAuth,
    TooManyAuth,
    NotAllowed,
    AuthRequired,
    ReplyTooLarge,
    UnexpectedReply,
    ServerGone,
    ShuttingDown,
    FileGone,
    NoSuchFile,
    NothingExported,
    Unreachable,
    BadOpenfdMode,
    NoDescriptors,
    TooManyDescriptors,
    TooManyRequests,
    AuthRejected,
    AuthNotRequired,
    BadAname,
    SpecialFile,
    NotAnswering,
    MaybeDone,
    LockLost,
    AuthenticateAgain,
    WritesLost,
    ReadAnew,
    ReadOnly,
    NoAuthNeeded,
    FileNotFound,
    PermissionDenied,
    OwnFile,
    TwoServers,
    UnknownCommand,
    NoSuchClient,
    NotOpen,
    AlreadyOpen,
    BadOffset,
    IsDirectory,
    NotDirectory,
    NotReopened,
}

impl From<Malformed> for LocalError {
    fn from(bad: Malformed) -> LocalError {
        match bad {
            Malformed::Type => LocalError::Unsupported,
            Malformed::Size | Malformed::Names => LocalError::Malformed,
        }
    }
}

impl From<BadContents> for LocalError {
    fn from(bad: BadContents) -> LocalError {
        match bad {
            BadContents::String => LocalError::BadString,
            BadContents::Name => LocalError::BadName,
            BadContents::Stat => LocalError::Malformed,
        }
    }
}

impl LocalError {
    #[cfg(any(test, mux_fuzz))]
    pub const ALL: [LocalError; 53] = [
        LocalError::NoVersion,
        LocalError::SmallMsize,
        LocalError::Unsupported,
        LocalError::Malformed,
        LocalError::BadString,
        LocalError::BadName,
        LocalError::TooLarge,
        LocalError::DuplicateTag,
        LocalError::UnknownFid,
        LocalError::FidInUse,
        LocalError::BadFid,
        LocalError::TooManyFids,
        LocalError::NotAuth,
        LocalError::OtherAuth,
        LocalError::TooManyAuth,
        LocalError::NotAllowed,
        LocalError::AuthRequired,
        LocalError::ReplyTooLarge,
        LocalError::UnexpectedReply,
        LocalError::ServerGone,
        LocalError::ShuttingDown,
        LocalError::FileGone,
        LocalError::NoSuchFile,
        LocalError::NothingExported,
        LocalError::Unreachable,
        LocalError::BadOpenfdMode,
        LocalError::NoDescriptors,
        LocalError::TooManyDescriptors,
        LocalError::TooManyRequests,
        LocalError::AuthRejected,
        LocalError::AuthNotRequired,
        LocalError::BadAname,
        LocalError::SpecialFile,
        LocalError::NotAnswering,
        LocalError::MaybeDone,
        LocalError::LockLost,
        LocalError::AuthenticateAgain,
        LocalError::WritesLost,
        LocalError::ReadAnew,
        LocalError::ReadOnly,
        LocalError::NoAuthNeeded,
        LocalError::FileNotFound,
        LocalError::PermissionDenied,
        LocalError::OwnFile,
        LocalError::TwoServers,
        LocalError::UnknownCommand,
        LocalError::NoSuchClient,
        LocalError::NotOpen,
        LocalError::AlreadyOpen,
        LocalError::BadOffset,
        LocalError::IsDirectory,
        LocalError::NotDirectory,
        LocalError::NotReopened,
    ];

    pub fn ename(self) -> &'static str {
        match self {
            LocalError::NoVersion => "no version negotiated",
            LocalError::SmallMsize => "msize too small",
            LocalError::Unsupported => "unknown message type",
            LocalError::Malformed => "malformed message",
            LocalError::BadString => "string has NUL or is not UTF-8",
            LocalError::BadName => "name contains a slash",
            LocalError::TooLarge => "message larger than msize",
            LocalError::DuplicateTag => "duplicate tag",
            LocalError::UnknownFid => "unknown fid",
            LocalError::FidInUse => "fid in use",
            LocalError::BadFid => "NOFID is no fid",
            LocalError::TooManyFids => "too many fids",
            LocalError::NotAuth => "afid is no auth fid",
            LocalError::OtherAuth => "afid is for another uname or aname",
            LocalError::TooManyAuth => "too many auth fids",
            LocalError::NotAllowed => "this user or tree is not allowed here",
            LocalError::AuthRequired => "authentication is required here",
            LocalError::ReplyTooLarge => "reply larger than msize",
            LocalError::UnexpectedReply => "unexpected reply from the server",
            LocalError::ServerGone => "connection to the server lost",
            LocalError::ShuttingDown => "9pmux is shutting down",
            LocalError::FileGone => "file is gone: the server came back without it",
            LocalError::NoSuchFile => "file does not exist",
            LocalError::NothingExported => "nothing is exported here",
            LocalError::TooManyRequests => "too many requests",
            LocalError::Unreachable => "the exported server cannot be reached",
            LocalError::BadOpenfdMode => "bad openfd mode",
            LocalError::NoDescriptors => "no descriptors over this connection",
            LocalError::TooManyDescriptors => "too many open files",
            LocalError::AuthRejected => "authentication rejected",
            LocalError::AuthNotRequired => "authentication not required",
            LocalError::BadAname => "invalid attach name",
            LocalError::SpecialFile => "unsupported file type",
            LocalError::NotAnswering => "the server does not answer; still trying",
            LocalError::MaybeDone => "server lost; this may or may not have been done",
            LocalError::LockLost => "lock lost: the server was away",
            LocalError::AuthenticateAgain => "authenticate again",
            LocalError::WritesLost => "earlier writes may be lost: the server was away",
            LocalError::ReadAnew => "directory must be read anew",
            LocalError::ReadOnly => "read only",
            LocalError::NoAuthNeeded => "no authentication is needed here",
            LocalError::FileNotFound => "file not found",
            LocalError::PermissionDenied => "permission denied",
            LocalError::OwnFile => "this file is 9pmux's own",
            LocalError::TwoServers => "files of two servers",
            LocalError::UnknownCommand => "unknown command",
            LocalError::NoSuchClient => "no such client",
            LocalError::NotOpen => "file not open",
            LocalError::AlreadyOpen => "file already open",
            LocalError::BadOffset => "bad offset in directory read",
            LocalError::IsDirectory => "file is a directory",
            LocalError::NotDirectory => "file is no directory",
            LocalError::NotReopened => "file not open again: the server does not reply",
        }
    }

    pub fn errno(self) -> u32 {
        match self {
            LocalError::NoVersion | LocalError::Malformed => 71, // EPROTO
            LocalError::SmallMsize | LocalError::DuplicateTag | LocalError::BadName => 22, // EINVAL
            LocalError::BadString => 84,                         // EILSEQ
            LocalError::BadOpenfdMode => 22,                     // EINVAL
            LocalError::Unsupported | LocalError::NoDescriptors => 95, // EOPNOTSUPP
            LocalError::TooLarge => 90,                          // EMSGSIZE
            LocalError::UnknownFid | LocalError::BadFid => 9,    // EBADF
            LocalError::FidInUse => 17,                          // EEXIST
            LocalError::TooManyFids | LocalError::TooManyAuth => 24, // EMFILE
            LocalError::TooManyDescriptors => 24,                // EMFILE
            LocalError::NotAuth | LocalError::OtherAuth => 13,   // EACCES
            LocalError::NotAllowed | LocalError::AuthRequired => 13, // EACCES
            LocalError::AuthRejected | LocalError::AuthNotRequired => 13, // EACCES
            LocalError::BadAname | LocalError::SpecialFile => 22, // EINVAL
            LocalError::ReplyTooLarge => 75,                     // EOVERFLOW
            LocalError::UnexpectedReply | LocalError::ServerGone | LocalError::ShuttingDown => 5, // EIO
            LocalError::MaybeDone | LocalError::LockLost => 5, // EIO
            LocalError::WritesLost | LocalError::ReadAnew | LocalError::NotReopened => 5, // EIO
            LocalError::AuthenticateAgain => 13,               // EACCES
            LocalError::NotAnswering => 110,                   // ETIMEDOUT
            LocalError::FileGone => 116,                       // ESTALE
            LocalError::ReadOnly => 30,                        // EROFS
            LocalError::NoSuchFile => 2,                       // ENOENT
            LocalError::TooManyRequests => 11,                 // EAGAIN
            LocalError::NothingExported | LocalError::Unreachable => 6, // ENXIO
            LocalError::NoAuthNeeded | LocalError::FileNotFound | LocalError::NoSuchClient => 2, // ENOENT
            LocalError::PermissionDenied => 13, // EACCES
            LocalError::OwnFile => 1,           // EPERM
            LocalError::TwoServers => 18,       // EXDEV
            LocalError::UnknownCommand | LocalError::BadOffset => 22, // EINVAL
            LocalError::NotOpen => 9,           // EBADF
            LocalError::AlreadyOpen => 16,      // EBUSY
            LocalError::IsDirectory => 21,      // EISDIR
            LocalError::NotDirectory => 20,     // ENOTDIR
        }
    }
}
