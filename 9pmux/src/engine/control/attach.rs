//! The messages that the control tree serves; Tversion, Tauth and Tattach for it.

use super::MAX_FIDS;
use super::VERSION;
use super::files::File;
use crate::engine::Engine;
use crate::engine::clients::ClientState;
use crate::engine::inbox::Progress;
use crate::engine::local_error::LocalError;
use crate::engine::plan::attach_fields;
use crate::engine::policy::AttachNames;
use crate::wire::{
    self, Dialect, FieldOffsets, HEADER, NOFID, check_request, kind, tag, types, u32_at,
};

/// The maximum length of a user's name that is kept.
const MAX_USER: usize = 64;

/// Returns the name of a user; if it is empty, the numeric uid, where the dialect has one.
fn user_name(names: AttachNames<'_>) -> Vec<u8> {
    match names.number {
        Some(number) if names.uname.is_empty() => number.to_string().into_bytes(),
        _ => names.uname.to_vec(),
    }
}

impl Engine {
    /// Permits a client to attach to the control tree, and records where it comes from.
    pub fn describe_client(&mut self, id: crate::engine::ClientId, caller: super::ClientOrigin) {
        if let Some(client_index) = self.clients.index_of(id) {
            self.clients.get(client_index).caller = caller;
        }
    }

    /// Returns true if a session has fids in the control tree, so that the driver should report [`Facts`](super::Facts)
    /// before it reads from clients.
    #[must_use]
    pub fn has_control_clients(&self) -> bool {
        self.control.tokens.sessions() > 0
    }

    /// Returns the dialect of a client's messages.
    pub(super) fn dialect_of(&mut self, client_index: u32) -> Dialect {
        match self.clients.get(client_index).state {
            ClientState::Control => Dialect::Plain,
            _ => self.upstream.dialect,
        }
    }

    /// Returns true if a message is served by the control tree: it attaches to that, or names a fid of it.
    #[inline(always)]
    pub(in crate::engine) fn is_for_control(&mut self, client_index: u32, message: &[u8]) -> bool {
        let attaches = matches!(kind(message), types::TAUTH | types::TATTACH);
        let is_user = self.clients.get(client_index).session.local.is_some();
        (attaches || is_user) && self.concerns_control(client_index, message)
    }

    #[cold]
    fn concerns_control(&mut self, client_index: u32, message: &[u8]) -> bool {
        let Some(tree) = &self.config.control else {
            return false;
        };
        let aname = tree.aname.clone();
        let is_control = self.clients.get(client_index).state == ClientState::Control;
        let dialect = self.dialect_of(client_index);
        let Ok(offsets) = check_request(dialect, message) else {
            return is_control;
        };
        if matches!(kind(message), types::TAUTH | types::TATTACH) {
            let names = AttachNames::parse(attach_fields(message, &offsets));
            if kind(message) == types::TATTACH {
                self.record_user(client_index, &user_name(names));
            }
            if names.aname == aname.as_bytes() {
                return true;
            }
        }
        if is_control {
            return true;
        }
        let Some(local) = &self.clients.get(client_index).session.local else {
            return false;
        };
        let mut fids = offsets.fids().iter();
        fids.any(|(offset, _)| local.contains(u32_at(message, *offset as usize)))
    }

    /// Records the user of a client's last Tattach.
    fn record_user(&mut self, client_index: u32, uname: &[u8]) {
        let uname = &uname[..uname.len().min(MAX_USER)];
        let client = self.clients.get(client_index);
        if client.uname.as_ref().is_none_or(|known| known.as_slice() != uname) {
            client.uname = Some(Box::new(uname.to_vec()));
        }
    }

    /// Handles a Tversion that offers the version of the control tree. Returns false if it is another one, or if there
    /// is no such tree. The session before has ended.
    pub(in crate::engine) fn accept_control(&mut self, client_index: u32, message: &[u8]) -> bool {
        let is_asked = wire::version(message).is_ok_and(|(_, name)| name == VERSION.as_bytes());
        if !is_asked || self.config.control.is_none() {
            return false;
        }
        let msize = u32_at(message, HEADER).min(self.config.msize);
        let client = self.clients.get(client_index);
        client.session.msize = msize;
        client.session.dialect = Dialect::Plain;
        client.session.local = Some(self.control.new_fids(client.session.hasher()));
        self.clients.set_state(client_index, ClientState::Control);
        let mut reply = crate::engine::version::version_message(msize, VERSION);
        self.push_reply(client_index, types::RVERSION, tag(message), &mut reply);
        self.unblock(client_index);
        true
    }

    /// Returns the error of a Tauth.
    pub(super) fn refuse_auth(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> LocalError {
        let is_local = self.clients.get(client_index).session.is_local(u32_at(message, HEADER));
        match self.is_control_tree(message, offsets) {
            _ if is_local => LocalError::FidInUse,
            true => LocalError::NoAuthNeeded,
            false => LocalError::NotAllowed,
        }
    }

    fn is_control_tree(&self, message: &[u8], offsets: &FieldOffsets) -> bool {
        let AttachNames { aname, .. } = AttachNames::parse(attach_fields(message, offsets));
        self.config.control.as_ref().is_some_and(|control| control.aname.as_bytes() == aname)
    }

    /// Serves a Tattach that names the control tree, or a fid of it.
    pub(super) fn attach_control(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> Result<Progress, LocalError> {
        let (fid, afid) = (u32_at(message, HEADER), u32_at(message, HEADER + 4));
        let client = self.clients.get(client_index);
        let is_local = |name| client.session.local.as_ref().is_some_and(|l| l.contains(name));
        if fid == NOFID {
            return Err(LocalError::BadFid);
        }
        if is_local(fid) || client.session.fids.contains_key(&fid) {
            return Err(LocalError::FidInUse);
        }
        if afid != NOFID {
            return Err(LocalError::NotAuth);
        }
        if !client.caller.may_control || !self.is_control_tree(message, offsets) {
            return Err(LocalError::NotAllowed);
        }
        self.add_local_fid(client_index, fid, File::Root)?;
        let consumed = self.consume_message(client_index, message);
        let mut reply = [&[0; HEADER][..], &File::Root.qid()].concat();
        self.push_reply(client_index, types::RATTACH, tag(message), &mut reply);
        Ok(consumed)
    }

    /// Adds a local fid with a name that is free.
    pub(super) fn add_local_fid(
        &mut self,
        client_index: u32,
        name: u32,
        file: File,
    ) -> Result<(), LocalError> {
        let max_fids = self.config.max_fids;
        let session = &mut self.clients.get(client_index).session;
        if session.fid_count() >= max_fids || session.local_fids() >= MAX_FIDS {
            return Err(LocalError::TooManyFids);
        }
        let hasher = session.hasher();
        let local = session.local.get_or_insert_with(|| self.control.new_fids(hasher));
        local.add(name, file);
        Ok(())
    }
}
