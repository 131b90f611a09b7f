//! Requests on fids of the control tree, and requests that name such a fid and one of the server.
//!
//! | request | on a fid of the control tree |
//! |---|---|
//! | Tattach, Twalk, Topen, Tlopen, Tread, Treaddir, Tstat, Tgetattr, Tclunk | is served |
//! | Twrite | is served if it is of `ctl` |
//! | Tsetattr | is served if it truncates `ctl`, which shells do before they write |
//! | Tremove | is an error, and releases the fid |
//! | Trename, Tlink, Trenameat, with a fid of the server as well | is an error of its own |
//! | any other | is an error |

use super::fids::{LocalFid, Opened};
use super::files::File;
use crate::engine::Engine;
use crate::engine::clients::Blocked;
use crate::engine::clients::ClientState;
use crate::engine::inbox::Progress;
use crate::engine::local_error::LocalError;
use crate::wire::{
    DATA_HEADER, Dialect, FidUse, FieldOffsets, HEADER, NOFID, check_contents, check_request,
    flags, kind, mode, put_u32, tag, types, u16_at, u32_at,
};

/// The bytes of a text for which a message counts as one more for its turn.
const TEXT_PER_TURN: usize = 4096;

/// The fields of a Tsetattr that a truncation has: the size, and the times.
const TRUNCATES: u32 = 0x1F8;

type Served = Result<Progress, LocalError>;

/// Returns the eight-byte number at `at`.
fn u64_at(message: &[u8], at: usize) -> u64 {
    u64::from(u32_at(message, at)) | u64::from(u32_at(message, at + 4)) << 32
}

impl Engine {
    /// Serves a message that [`is_for_control`](Engine::is_for_control).
    #[cold]
    pub(in crate::engine) fn serve_control(
        &mut self,
        client_index: u32,
        message: &[u8],
    ) -> Progress {
        let dialect = self.dialect_of(client_index);
        let offsets = match self.check_for_control(client_index, dialect, message) {
            Ok(offsets) => offsets,
            Err(why) => return self.reject_message(client_index, message, why),
        };
        if !self.has_room_for_reply(client_index, message, &offsets) {
            return Progress::Blocked(Blocked::OnSelf);
        }
        match self.serve_checked(client_index, message, &offsets, dialect) {
            Ok(progress) => progress,
            Err(why) => self.reject_message(client_index, message, why),
        }
    }

    /// Checks a message as one for the server is checked.
    fn check_for_control(
        &mut self,
        client_index: u32,
        dialect: Dialect,
        message: &[u8],
    ) -> Result<FieldOffsets, LocalError> {
        let offsets = check_request(dialect, message)?;
        if offsets.message.has_contents && !self.config.lax {
            check_contents(dialect, &offsets, message)?;
        }
        match self.clients.get(client_index).has_tag(tag(message)) {
            true => Err(LocalError::DuplicateTag),
            false => Ok(offsets),
        }
    }

    /// Returns true if the output of the client has space for this reply and for the expected ones. Without requests
    /// upstream, one reply is always permitted.
    fn has_room_for_reply(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> bool {
        let client = self.clients.get(client_index);
        let (user, session) = (client.user, &client.session);
        if session.tags.is_empty() {
            return true;
        }
        let count = offsets.count.map_or(0, |offset| u32_at(message, offset as usize));
        let count = count.min(session.msize - DATA_HEADER);
        let due = client.out.len() + session.expected_reply_bytes() + session.copied;
        let reply = offsets.message.max_reply_len(count);
        self.may_have_replies(user, due + reply as usize)
    }

    fn serve_checked(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
        dialect: Dialect,
    ) -> Served {
        match kind(message) {
            types::TAUTH => return Err(self.refuse_auth(client_index, message, offsets)),
            types::TATTACH => return self.attach_control(client_index, message, offsets),
            _ => {}
        }
        self.check_fids(client_index, message, offsets)?;
        let name = u32_at(message, HEADER);
        match kind(message) {
            types::TWALK => self.walk_control(client_index, message),
            types::TOPEN => {
                let bits = message[HEADER + 4];
                let writes = match bits & !mode::TRUNCATE {
                    0 if bits == 0 => false,
                    mode::WRITE => true,
                    _ => return Err(LocalError::PermissionDenied),
                };
                self.open_control(client_index, message, name, writes)
            }
            types::TLOPEN => {
                let bits = u32_at(message, HEADER + 4);
                let writes = match bits & flags::ACCESS {
                    0 if bits & flags::TRUNCATE == 0 => false,
                    flags::WRITE => true,
                    _ => return Err(LocalError::PermissionDenied),
                };
                self.open_control(client_index, message, name, writes)
            }
            types::TREAD | types::TREADDIR => self.read_control(client_index, message, dialect),
            types::TWRITE => self.write_control(client_index, message, name),
            types::TSTAT | types::TGETATTR => {
                let file = self.local_fid(client_index, name)?.file;
                let mut reply = vec![0; HEADER];
                self.append_attributes(&mut reply, file, dialect);
                Ok(self.serve_with(client_index, message, &mut reply))
            }
            types::TSETATTR => {
                let file = self.local_fid(client_index, name)?.file;
                let truncates = u32_at(message, HEADER + 4) & !TRUNCATES == 0;
                let size = u64_at(message, HEADER + 20);
                match file == File::Ctl && truncates && size == 0 {
                    true => Ok(self.serve_with(client_index, message, &mut [0; HEADER])),
                    false => Err(LocalError::OwnFile),
                }
            }
            types::TCLUNK => {
                self.remove_local_fid(client_index, name);
                Ok(self.serve_with(client_index, message, &mut [0; HEADER]))
            }
            types::TREMOVE => {
                self.remove_local_fid(client_index, name);
                Err(LocalError::OwnFile)
            }
            _ => Err(LocalError::OwnFile),
        }
    }

    /// Checks that all fids of a request are in the control tree, and that a new one is free.
    fn check_fids(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> Result<(), LocalError> {
        let session = &self.clients.get(client_index).session;
        let is_local = |name| session.local.as_ref().is_some_and(|local| local.contains(name));
        let mut has_other = false;
        for &(offset, fid_use) in offsets.fids() {
            let name = u32_at(message, offset as usize);
            match fid_use {
                FidUse::Uses | FidUse::Releases | FidUse::ReleasesOnSuccess => {
                    if !is_local(name) && !session.fids.contains_key(&name) {
                        return Err(LocalError::UnknownFid);
                    }
                    has_other |= !is_local(name);
                }
                FidUse::CreatesOnFullWalk if name == u32_at(message, HEADER) => {}
                FidUse::Creates | FidUse::CreatesAuth | FidUse::CreatesOnFullWalk => {
                    if name == NOFID {
                        return Err(LocalError::BadFid);
                    }
                    if is_local(name) || session.fids.contains_key(&name) {
                        return Err(LocalError::FidInUse);
                    }
                }
                FidUse::Authenticates => {}
            }
        }
        if has_other { Err(LocalError::TwoServers) } else { Ok(()) }
    }

    fn local_fid(&mut self, client_index: u32, name: u32) -> Result<&mut LocalFid, LocalError> {
        let local = self.clients.get(client_index).session.local.as_mut();
        local.and_then(|local| local.get(name)).ok_or(LocalError::UnknownFid)
    }

    /// Releases a local fid. A session without any has no table of them.
    fn remove_local_fid(&mut self, client_index: u32, name: u32) {
        let client = self.clients.get(client_index);
        if let Some(local) = &mut client.session.local {
            local.remove(name);
            if local.len() == 0 && client.state != ClientState::Control {
                client.session.local = None;
            }
        }
    }

    /// Appends the reply to a request that is served. `reply` begins with space for the header.
    pub(super) fn serve_with(
        &mut self,
        client_index: u32,
        message: &[u8],
        reply: &mut [u8],
    ) -> Progress {
        let consumed = self.consume_message(client_index, message);
        self.push_reply(client_index, kind(message) + 1, tag(message), reply);
        consumed
    }

    fn walk_control(&mut self, client_index: u32, message: &[u8]) -> Served {
        let (name, new) = (u32_at(message, HEADER), u32_at(message, HEADER + 4));
        let knows_paths = self.knows_paths();
        let fid = self.local_fid(client_index, name)?;
        if !matches!(fid.opened, Opened::No) {
            return Err(LocalError::AlreadyOpen);
        }
        let (mut file, count) = (fid.file, u16_at(message, HEADER + 8));
        let mut reply = vec![0; HEADER + 2];
        let (mut walked, mut at) = (0, HEADER + 10);
        while walked < count {
            let len = u16_at(message, at) as usize;
            let Some(next) = file.walk(&message[at + 2..at + 2 + len], knows_paths) else {
                break;
            };
            at += 2 + len;
            file = next;
            reply.extend(file.qid());
            walked += 1;
        }
        if walked == 0 && count > 0 {
            return Err(LocalError::FileNotFound);
        }
        if walked == count {
            match new == name {
                true => self.local_fid(client_index, name)?.file = file,
                false => self.add_local_fid(client_index, new, file)?,
            }
        }
        reply[HEADER..HEADER + 2].copy_from_slice(&walked.to_le_bytes());
        Ok(self.serve_with(client_index, message, &mut reply))
    }

    fn open_control(
        &mut self,
        client_index: u32,
        message: &[u8],
        name: u32,
        writes: bool,
    ) -> Served {
        let fid = self.local_fid(client_index, name)?;
        let file = fid.file;
        if !matches!(fid.opened, Opened::No) {
            return Err(LocalError::AlreadyOpen);
        }
        if writes != (file == File::Ctl) {
            return Err(LocalError::PermissionDenied);
        }
        let opened = match file {
            File::Root => Opened::Directory { end: 0 },
            File::Ctl => Opened::Commands,
            _ => {
                let local = self.clients.get(client_index).session.local.as_ref();
                if local.is_some_and(|local| local.has_max_texts(&self.control)) {
                    return Err(LocalError::TooManyDescriptors);
                }
                let text = self.text_of(file);
                self.count_turn(client_index, (text.len() / TEXT_PER_TURN) as u32);
                Opened::Text(self.control.new_text(text))
            }
        };
        self.local_fid(client_index, name)?.opened = opened;
        let mut reply = [&[0; HEADER][..], &file.qid(), &[0; 4]].concat();
        Ok(self.serve_with(client_index, message, &mut reply))
    }

    fn read_control(&mut self, client_index: u32, message: &[u8], dialect: Dialect) -> Served {
        let (name, offset) = (u32_at(message, HEADER), u64_at(message, HEADER + 4));
        let max = self.clients.get(client_index).session.msize - DATA_HEADER;
        let count = u32_at(message, HEADER + 12).min(max) as usize;
        let lists = kind(message) == types::TREADDIR;
        let mut reply = vec![0; DATA_HEADER as usize];
        let entries = self.directory_entries(dialect);
        let fid = self.local_fid(client_index, name)?;
        match &mut fid.opened {
            Opened::No => return Err(LocalError::NotOpen),
            Opened::Commands => return Err(LocalError::PermissionDenied),
            Opened::Text(_) if lists => return Err(LocalError::NotDirectory),
            Opened::Text(text) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.bytes.len());
                let rest = &text.bytes[from..];
                reply.extend_from_slice(&rest[..count.min(rest.len())]);
            }
            Opened::Directory { .. } if lists => entries.append_from(offset, count, &mut reply),
            Opened::Directory { .. } if dialect == Dialect::L => {
                return Err(LocalError::IsDirectory);
            }
            Opened::Directory { end } => {
                if offset != 0 && offset != *end {
                    return Err(LocalError::BadOffset);
                }
                *end = offset + entries.append_at(offset, count, &mut reply)? as u64;
            }
        }
        let len = reply.len() as u32 - DATA_HEADER;
        put_u32(&mut reply, HEADER, len);
        Ok(self.serve_with(client_index, message, &mut reply))
    }

    fn write_control(&mut self, client_index: u32, message: &[u8], name: u32) -> Served {
        let fid = self.local_fid(client_index, name)?;
        match fid.opened {
            Opened::Commands => {}
            Opened::No if fid.file == File::Ctl => return Err(LocalError::NotOpen),
            _ => return Err(LocalError::OwnFile),
        }
        let count = u32_at(message, HEADER + 12);
        let data = &message[HEADER + 16..HEADER + 16 + count as usize];
        self.run_command(data)?;
        let mut reply = [&[0; HEADER][..], &count.to_le_bytes()].concat();
        Ok(self.serve_with(client_index, message, &mut reply))
    }
}
