//! The rules of plan9port's 9pserve(4), for a 9pmux that is started in its place.
//!
//! | request | rule |
//! |---|---|
//! | Tauth | is refused if the rules say so, and always with [`AttachAs`] |
//! | Tcreate of a file that is no file or directory of Plan 9 | is refused |
//! | Tattach without an afid | with [`AttachAs`]: is sent with its afid and names, if the client's aname allows that |
//!
//! A Tattach with an afid of the client is forwarded as it is.

use super::Engine;
use super::local_error::LocalError;
use crate::wire::{
    Dialect, FieldOffsets, HEADER, NOFID, check_request, kind, put_u32, tag, types, u16_at, u32_at,
};

/// The bits of a Tcreate's permissions for symbolic links, devices, named pipes and sockets.
const SPECIAL_FILES: u32 = 0x0200_0000 | 0x0080_0000 | 0x0020_0000 | 0x0010_0000;

/// The rules of 9pserve. The dialect must have been chosen in advance.
#[derive(Clone, Debug, Default)]
pub struct PserveRules {
    /// Whether a version has been agreed with the server before: the dialect, and the msize to be offered.
    pub has_version: bool,
    /// Whether each Tauth is refused.
    pub rejects_auth: bool,
    /// The authenticated attach of the program that has connected to the server, if there is one.
    pub attach: Option<AttachAs>,
}

/// The attach in place of each client's.
#[derive(Clone, Debug)]
pub struct AttachAs {
    /// The auth fid at the server, which is no fid of a client; [`NOFID`] if the server needs none.
    pub afid: u32,
    /// The user.
    pub uname: String,
    /// The tree. Clients may give this or an empty one.
    pub aname: Vec<u8>,
}

/// A request that is sent in place of a client's, and the offsets of its fields.
pub(super) type Rewritten = (Vec<u8>, FieldOffsets);

impl PserveRules {
    /// Returns the auth fid of another program, if there is one.
    pub(super) fn afid(&self) -> Option<u32> {
        self.attach.as_ref().map(|attach| attach.afid).filter(|afid| *afid != NOFID)
    }
}

impl Engine {
    /// Returns true if a version has been agreed before the engine has begun.
    pub(super) fn has_version(&self) -> bool {
        self.config.pserve.as_ref().is_some_and(|rules| rules.has_version)
    }

    fn rejects_auth(&self) -> bool {
        self.config.pserve.as_ref().is_some_and(|rules| rules.rejects_auth)
    }

    /// Returns the request that is sent in place of this valid one, if it is another. Must be called only with
    /// [`PserveRules`].
    ///
    /// # Errors
    /// Returns the reason why the request is refused.
    #[cold]
    pub(super) fn apply_pserve_rules(
        &self,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> Result<Option<Rewritten>, LocalError> {
        let attach = self.config.pserve.as_ref().and_then(|rules| rules.attach.as_ref());
        match (kind(message), attach) {
            (types::TAUTH, Some(_)) => Err(LocalError::AuthNotRequired),
            (types::TAUTH, None) if self.rejects_auth() => Err(LocalError::AuthRejected),
            (types::TCREATE, _) if is_special_file(message) => Err(LocalError::SpecialFile),
            (types::TATTACH, Some(attach)) if u32_at(message, HEADER + 4) == NOFID => {
                if !attach.allows(message) {
                    return Err(LocalError::BadAname);
                }
                let message = attach.message(message);
                if message.len() > self.upstream.msize as usize {
                    return Err(LocalError::TooLarge);
                }
                let offsets = FieldOffsets { end: message.len() as u32, ..*offsets };
                debug_assert!(
                    check_request(Dialect::Plain, &message).is_ok_and(|own| own.end == offsets.end)
                );
                Ok(Some((message, offsets)))
            }
            _ => Ok(None),
        }
    }

    /// Returns the afid of a Tattach for which its client has none.
    pub(super) fn attach_afid(&self) -> u32 {
        self.config.pserve.as_ref().and_then(PserveRules::afid).unwrap_or(NOFID)
    }
}

impl AttachAs {
    /// Returns true if this Tattach of a client may be replaced.
    fn allows(&self, message: &[u8]) -> bool {
        let uname = HEADER + 8;
        let aname = uname + 2 + u16_at(message, uname) as usize;
        let aname = &message[aname + 2..][..u16_at(message, aname) as usize];
        aname.is_empty() || aname == self.aname
    }

    /// Returns a Tattach with the tag and fid of a client's, without an afid. The afid is not one of 9pmux's
    /// fids, so it is filled in when the message is sent.
    fn message(&self, clients: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 4];
        message.push(types::TATTACH);
        message.extend_from_slice(&tag(clients).to_le_bytes());
        message.extend_from_slice(&clients[HEADER..HEADER + 8]);
        for name in [self.uname.as_bytes(), &self.aname] {
            // A longer message than that is refused anyway.
            let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
            message.extend_from_slice(&length.to_le_bytes());
            message.extend_from_slice(&name[..length as usize]);
        }
        let size = message.len() as u32;
        put_u32(&mut message, 0, size);
        message
    }
}

/// Returns true if a Tcreate asks for a file that is neither a file nor a directory of Plan 9.
fn is_special_file(message: &[u8]) -> bool {
    let name = HEADER + 4;
    let perm = name + 2 + u16_at(message, name) as usize;
    u32_at(message, perm) & SPECIAL_FILES != 0
}
