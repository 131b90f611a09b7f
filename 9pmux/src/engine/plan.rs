//! The plan of a request: the upstream fids that it names, and whether its client may do this with them.

use super::clients::Client;
use super::fids::NO_FID;
use super::local_error::LocalError;
use super::policy::{is_attach_allowed, may_change};
use super::session::{AuthFid, auth_memory};
use super::{Engine, Limit};
use crate::wire::{FidUse, FieldOffsets, HEADER, NOFID, kind, types, u32_at};

/// The maximum memory of the auth fids of a client.
const MAX_AUTH_MEMORY: usize = 64 * 1024;

/// The effect of a request on its fids.
pub(super) struct Plan {
    /// The upstream fids that it mentions. A new fid is not allocated yet.
    pub fids: [u32; 2],
    /// The index of the field that names a new fid.
    pub new: Option<usize>,
    /// The upstream fid that it releases, or [`NO_FID`].
    pub releases: u32,
}

impl Plan {
    /// Returns the upstream fids that the request mentions, without a new one.
    pub fn mentioned(&self) -> [u32; 2] {
        self.fids
    }

    /// Returns the upstream fid that the request releases, or [`NO_FID`].
    pub fn released(&self) -> u32 {
        self.releases
    }
}

impl Engine {
    /// Looks up the fids of a request, and checks whether the request may use them.
    #[inline(always)]
    pub(super) fn plan(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> Result<Plan, LocalError> {
        self.check_policy(client_index, message, offsets)?;
        let mut plan = Plan { fids: [NO_FID; 2], new: None, releases: NO_FID };
        for (i, &(offset, fid_use)) in offsets.fids().iter().enumerate() {
            let name = u32_at(message, offset as usize);
            if fid_use.is_no_fid(name) {
                continue;
            }
            let client = self.clients.get(client_index);
            let known = client.session.fids.get(&name).copied();
            let find = || {
                let entry = known.ok_or(LocalError::UnknownFid)?;
                entry.live().ok_or(LocalError::FileGone)
            };
            match fid_use {
                FidUse::Uses | FidUse::ReleasesOnSuccess => {
                    plan.fids[i] = find()?;
                }
                FidUse::Releases => {
                    plan.fids[i] = find()?;
                    plan.releases = plan.fids[i];
                }
                FidUse::Authenticates => {
                    plan.fids[i] = find()?;
                    let auth = client.session.auths().iter().find(|auth| auth.fid == plan.fids[i]);
                    let auth = auth.ok_or(LocalError::NotAuth)?;
                    if *auth.names != *attach_fields(message, offsets) {
                        return Err(LocalError::OtherAuth);
                    }
                }
                FidUse::CreatesOnFullWalk
                    if name == u32_at(message, offsets.fids[0].0 as usize) => {}
                FidUse::Creates | FidUse::CreatesAuth | FidUse::CreatesOnFullWalk => {
                    if name == NOFID {
                        return Err(LocalError::BadFid);
                    }
                    if known.is_some() {
                        return Err(LocalError::FidInUse);
                    }
                    self.check_new_fid(client_index)?;
                    if fid_use == FidUse::CreatesAuth {
                        self.check_auth_memory(client_index, attach_fields(message, offsets))?;
                    }
                    plan.new = Some(i);
                }
            }
        }
        if kind(message) == types::TOPENFD {
            self.check_openfd(client_index)?;
        }
        Ok(plan)
    }

    /// Checks what the configuration and the listener of a client permit.
    #[inline(always)]
    fn check_policy(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> Result<(), LocalError> {
        let dialect = self.upstream.dialect;
        let client = self.clients.get(client_index);
        if matches!(kind(message), types::TAUTH | types::TATTACH) {
            let fields = attach_fields(message, offsets);
            let caller = client.self_only.as_ref();
            if !is_attach_allowed(&self.config, fields)
                || caller.is_some_and(|caller| !caller.may_attach_as(dialect, fields))
            {
                return Err(LocalError::NotAllowed);
            }
        }
        if client.read_only && may_change(dialect, message) && !is_for_auth(client, message) {
            return Err(LocalError::ReadOnly);
        }
        if self.config.require_auth
            && kind(message) == types::TATTACH
            && u32_at(message, HEADER + 4) == NOFID
        {
            return Err(LocalError::AuthRequired);
        }
        Ok(())
    }

    /// Checks that a client may have one more fid, and that there is memory for it.
    #[inline(always)]
    fn check_new_fid(&mut self, client_index: u32) -> Result<(), LocalError> {
        let count = self.clients.get(client_index).session.fid_count();
        let limit = match count < self.config.max_fids {
            false => Some(Limit::Fids),
            true if self.has_fid_share(client_index) => None,
            true => Some(Limit::FidShare),
        };
        let client = self.clients.get(client_index);
        if client.session.fids.try_reserve(1).is_err() || !self.fids.reserve() {
            return Err(LocalError::TooManyFids);
        }
        if let Some(limit) = limit {
            self.notice_fid_limit(client_index, limit);
            return Err(LocalError::TooManyFids);
        }
        Ok(())
    }

    /// Checks that a client may have one more auth fid, with these names.
    fn check_auth_memory(&mut self, client_index: u32, fields: &[u8]) -> Result<(), LocalError> {
        let known = self.clients.get(client_index).session.auth_memory();
        match known + auth_memory(fields) > MAX_AUTH_MEMORY {
            true => Err(LocalError::TooManyAuth),
            false => Ok(()),
        }
    }
}

/// Returns the fields of a Tauth or Tattach after the fids: uname, aname and, where the dialect has
/// one, the numeric uid.
pub(super) fn attach_fields<'a>(message: &'a [u8], offsets: &FieldOffsets) -> &'a [u8] {
    let (last, _) = offsets.fids[offsets.fid_count as usize - 1];
    debug_assert!(last as usize >= HEADER);
    &message[last as usize + 4..offsets.end as usize]
}

/// Returns true if a request is a part of the conversation on an auth fid.
fn is_for_auth(client: &Client, message: &[u8]) -> bool {
    let named = client.session.fids.get(&u32_at(message, HEADER)).and_then(|entry| entry.live());
    let is_named = |auth: &AuthFid| Some(auth.fid) == named;
    kind(message) == types::TWRITE && client.session.auths().iter().any(is_named)
}
