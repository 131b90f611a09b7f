//! What is answered here and not by the server, in words and in Linux's numbers.

/// Why a request does not reach the server, or its reply not the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoVersion,
    SmallMsize,
    Unsupported,
    Malformed,
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
    ReplyTooLarge,
    ServerGone,
}

impl Refusal {
    #[cfg(any(test, mux_fuzz))]
    pub const ALL: [Refusal; 16] = [
        Refusal::NoVersion,
        Refusal::SmallMsize,
        Refusal::Unsupported,
        Refusal::Malformed,
        Refusal::TooLarge,
        Refusal::DuplicateTag,
        Refusal::UnknownFid,
        Refusal::FidInUse,
        Refusal::BadFid,
        Refusal::TooManyFids,
        Refusal::NotAuth,
        Refusal::OtherAuth,
        Refusal::TooManyAuth,
        Refusal::NotAllowed,
        Refusal::ReplyTooLarge,
        Refusal::ServerGone,
    ];

    pub fn ename(self) -> &'static str {
        match self {
            Refusal::NoVersion => "no version negotiated",
            Refusal::SmallMsize => "msize too small",
            Refusal::Unsupported => "unknown message type",
            Refusal::Malformed => "malformed message",
            Refusal::TooLarge => "message larger than msize",
            Refusal::DuplicateTag => "duplicate tag",
            Refusal::UnknownFid => "unknown fid",
            Refusal::FidInUse => "fid in use",
            Refusal::BadFid => "NOFID is no fid",
            Refusal::TooManyFids => "too many fids",
            Refusal::NotAuth => "afid is no auth fid",
            Refusal::OtherAuth => "afid is for another uname or aname",
            Refusal::TooManyAuth => "too many auth fids",
            Refusal::NotAllowed => "this user or tree is not allowed here",
            Refusal::ReplyTooLarge => "reply larger than msize",
            Refusal::ServerGone => "connection to the server lost",
        }
    }

    pub fn errno(self) -> u32 {
        match self {
            Refusal::NoVersion | Refusal::Malformed => 71, // EPROTO
            Refusal::SmallMsize | Refusal::DuplicateTag => 22, // EINVAL
            Refusal::Unsupported => 95,                    // EOPNOTSUPP
            Refusal::TooLarge => 90,                       // EMSGSIZE
            Refusal::UnknownFid | Refusal::BadFid => 9,    // EBADF
            Refusal::FidInUse => 17,                       // EEXIST
            Refusal::TooManyFids | Refusal::TooManyAuth => 24, // EMFILE
            Refusal::NotAuth | Refusal::OtherAuth | Refusal::NotAllowed => 13, // EACCES
            Refusal::ReplyTooLarge => 75,                  // EOVERFLOW
            Refusal::ServerGone => 5,                      // EIO
        }
    }
}
