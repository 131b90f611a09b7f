//! The way of a client's request to the server: it is validated, gets an upstream tag and upstream
//! fids, and is patched in the server's output. All checks run before any state changes.

use super::clients::{Blocked, Client};
use super::descriptors::{DescriptorUse, is_openfd_mode};
use super::fids::{NO_FID, Owner};
use super::flush::FlushState;
use super::inbox::Progress;
use super::local_error::LocalError;
use super::policy::{is_attach_allowed, may_change};
use super::requests::UpstreamRequest;
use super::session::{AuthFid, FidEntry, auth_memory};
use super::shared_attach::AttachRoute;
use super::shares::TAGS;
use super::waiting_reads::{kept_slots, reduced_count};
use super::{Engine, Limit};
use crate::wire::{
    BadContents, DATA_HEADER, FidUse, FieldOffsets, HEADER, Malformed, NOFID, NOTAG,
    check_contents, check_request, kind, put_tag, put_u32, tag, types, u32_at,
};

/// The maximum memory of the auth fids of a client.
const MAX_AUTH_MEMORY: usize = 64 * 1024;

/// The maximum number of requests other than Tread in flight before it is known how long replies without a maximum length
/// are.
const MAX_UNKNOWN_REPLIES: usize = 32;

/// The reply that a request may have.
#[derive(Clone, Copy)]
pub(super) struct ReplyBudget {
    /// The count of bytes to ask for, if the request has one.
    count: u32,
    /// The number of bytes to be reserved in the client's output.
    max_len: u32,
    /// Whether the reply may be longer.
    is_unbounded: bool,
    /// By how much such replies have been longer so far.
    excess: u32,
}

/// The effect of a request on its fids.
pub(super) struct Plan {
    /// The upstream fids that it mentions. A new fid is not allocated yet.
    fids: [u32; 2],
    /// The index of the field that names a new fid.
    new: Option<usize>,
    releases: u32,
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
    /// Forwards a client's request, replies to it with an error, or lets it wait.
    #[inline]
    pub(super) fn forward(
        &mut self,
        client_index: u32,
        message: &[u8],
        has_turn: bool,
    ) -> Progress {
        self.forward_or_defer(client_index, message, has_turn, false)
    }

    /// Forwards a read that has waited. Returns [`Progress::Blocked`] if it still waits.
    pub(super) fn forward_waiting_read(
        &mut self,
        client_index: u32,
        message: &[u8],
        has_turn: bool,
    ) -> Progress {
        self.forward_or_defer(client_index, message, has_turn, true)
    }

    #[inline(always)]
    fn forward_or_defer(
        &mut self,
        client_index: u32,
        message: &[u8],
        has_turn: bool,
        has_waited: bool,
    ) -> Progress {
        let client_tag = tag(message);
        let checked = check_request(self.upstream.dialect, message);
        let offsets = match &checked {
            Ok(offsets) => offsets,
            Err(Malformed::Type) => {
                return self.reject_message(client_index, message, LocalError::Unsupported);
            }
            Err(_) => return self.reject_message(client_index, message, LocalError::Malformed),
        };
        if kind(message) == types::TOPENFD && !is_openfd_mode(message) {
            return self.reject_message(client_index, message, LocalError::BadOpenfdMode);
        }
        let whole = message;
        let message = match self.check_contents(message, offsets) {
            Ok(checked) => checked,
            Err(why) => return self.reject_message(client_index, whole, why),
        };
        let rewritten;
        let (message, offsets) = match &self.config.pserve {
            None => (message, offsets),
            Some(_) => match self.apply_pserve_rules(message, offsets) {
                Ok(None) => (message, offsets),
                Ok(Some(request)) => {
                    rewritten = request;
                    (&rewritten.0[..], &rewritten.1)
                }
                Err(why) => return self.reject_message(client_index, whole, why),
            },
        };
        let client = self.clients.get(client_index);
        let has_waiting_reads = !client.waiting_reads.is_empty();
        let has_openings = !client.session.openings.is_empty();
        if client.session.tags.contains(client_tag)
            || client.session.flushes.iter().any(|f| f.tag == client_tag)
            || has_waiting_reads && client.waiting_reads.has_tag(client_tag)
        {
            return self.reject_message(client_index, whole, LocalError::DuplicateTag);
        }
        let is_full = client.session.tags.len() >= self.config.max_inflight;
        let is_read = kind(message) == types::TREAD;
        let free_tags = self.free_tags();
        let has_tag = free_tags > 0;
        let has_share = !has_tag || self.has_tag_share(client_index, free_tags, is_read);
        let may_wait = is_read && !has_waited;
        let waits =
            may_wait && (has_waiting_reads || !has_share || self.has_max_reads(client_index));
        if !waits && is_full {
            return Progress::Blocked(Blocked::OnSelf);
        }
        let Some(budget) = self.reply_budget(client_index, message, offsets) else {
            return Progress::Blocked(Blocked::OnSelf);
        };
        if has_openings && self.names_opening(client_index, message, offsets) {
            return Progress::Blocked(Blocked::OnSelf);
        }
        let cost = self.cost(message, budget.max_len + budget.excess);
        let has_window_part = self.has_window_part(client_index, cost, is_read);
        let waits = waits || may_wait && !has_window_part;
        let plan = match self.plan(client_index, message, offsets) {
            Ok(plan) => plan,
            Err(LocalError::FileGone) => {
                return self.answer_dead(client_index, (whole, message), offsets);
            }
            Err(why) => return self.reject_message(client_index, whole, why),
        };
        if !self.upstream.is_ready() {
            if self.restore.is_none() {
                return self.wait_for_server(client_index, whole);
            }
            if let Some(progress) = self.hold_back(client_index, (whole, message), &plan) {
                return progress;
            }
        }
        if self.restore.is_some() {
            if let Some(why) = self.check_after_loss(message, &plan) {
                return self.reject_message(client_index, whole, why);
            }
        }
        if waits {
            return self.defer_read(client_index, message, whole.len());
        }
        if self.config.attach_once {
            if let Some(awaited) = self.await_attach(client_index, (whole, message), offsets) {
                return awaited;
            }
        }
        if !has_window_part {
            return Progress::Blocked(Blocked::OnSelf);
        }
        let others_wait =
            !has_turn && (!self.ready_queue.is_empty() || self.has_waiting_descriptor());
        let must_wait = others_wait || !self.requests.has_room();
        if !has_tag
            || must_wait && !self.passes_limit(client_index, has_turn)
            || !self.output_has_room()
            || !self.window_admits(client_index, cost)
        {
            return Progress::Blocked(Blocked::OnUpstream);
        }
        if !has_share {
            return Progress::Blocked(Blocked::OnShare);
        }
        if has_waiting_reads && changes_fid(message) {
            let name = u32_at(message, offsets.fids[0].0 as usize);
            let are_sent = self.send_waiting_reads_of(client_index, name);
            if !self.has_capacity() {
                return Progress::Blocked(Blocked::OnUpstream);
            }
            if !are_sent
                || self.clients.get(client_index).session.tags.len() >= self.config.max_inflight
            {
                return Progress::Blocked(Blocked::OnSelf);
            }
        }
        if kind(message) == types::TREMOVE && self.clients.get(client_index).rules.read_only {
            return self.refuse_remove(client_index, whole, &plan);
        }
        self.forward_routed(client_index, (whole, message), offsets, plan, budget)
    }

    /// Refuses a Tremove. Its fid is released all the same, and clunked at the server.
    #[cold]
    fn refuse_remove(&mut self, client_index: u32, whole: &[u8], plan: &Plan) -> Progress {
        let progress = self.reject_message(client_index, whole, LocalError::ReadOnly);
        self.unbind(plan.releases);
        self.release_if_unused(plan.releases);
        progress
    }

    /// Forwards a request that has passed all checks. An attach may take another route
    /// ([`AttachRoute`]).
    #[inline(always)]
    fn forward_routed(
        &mut self,
        client_index: u32,
        (whole, message): (&[u8], &[u8]),
        offsets: &FieldOffsets,
        plan: Plan,
        budget: ReplyBudget,
    ) -> Progress {
        if kind(message) == types::TOPENFD {
            return self.forward_openfd(client_index, (whole, message), plan, budget);
        }
        let route = match self.config.attach_once {
            true => self.route_attach(client_index, message, offsets),
            false => AttachRoute::Forward,
        };
        match route {
            AttachRoute::Forward => {
                let consumed = self.consume_message(client_index, whole);
                self.send(client_index, message, offsets, plan, budget);
                consumed
            }
            AttachRoute::ByWalk(root) => {
                let consumed = self.consume_message(client_index, whole);
                self.attach_by_walk(client_index, message, root, budget);
                consumed
            }
            AttachRoute::Handled(progress) => progress,
        }
    }

    /// Checks the contents of a request, and cuts off the bytes behind its last field, so that the server
    /// sees only what was checked. With the option `lax` the request is forwarded as it is.
    #[inline]
    fn check_contents<'a>(
        &self,
        message: &'a [u8],
        offsets: &FieldOffsets,
    ) -> Result<&'a [u8], LocalError> {
        if self.config.lax {
            return Ok(message);
        }
        if offsets.message.has_contents {
            check_contents(self.upstream.dialect, offsets, message).map_err(|bad| match bad {
                BadContents::String => LocalError::BadString,
                BadContents::Name => LocalError::BadName,
                BadContents::Stat => LocalError::Malformed,
            })?;
        }
        Ok(&message[..offsets.end as usize])
    }

    /// Returns what a request may have as its reply, or `None` if it must wait until the client has read its
    /// output or has received other replies.
    #[inline(always)]
    fn reply_budget(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> Option<ReplyBudget> {
        let client = self.clients.get(client_index);
        let (user, session) = (client.user, &client.session);
        let mut count = offsets.count.map_or(0, |offset| u32_at(message, offset as usize));
        let msize = session.msize;
        count = count.min(msize - DATA_HEADER);
        let mut max_len = offsets.message.max_reply_len(count);
        let is_unbounded = offsets.count.is_none() && offsets.message.has_unbounded_reply();
        let known_excess = if is_unbounded { session.max_excess } else { Some(0) };
        let excess = known_excess.unwrap_or(0);
        let due = client.out.len() + session.expected_reply_bytes() + session.copied;
        let (is_alone, out) = (session.tags.is_empty(), client.out.len());
        let others = session.tags.len() - session.reads();
        if is_alone {
            // One request is always admitted as it is, unless unread replies have filled the output.
            let max_len = max_len.min(msize);
            return (out == 0 || out < self.max_reply_bytes(user)).then_some(ReplyBudget {
                count,
                max_len,
                is_unbounded,
                excess,
            });
        }
        if self.has_max_copies(client_index, message.len()) {
            return None;
        }
        if offsets.count.is_some() && out == 0 {
            let min = self.config.min_read_count;
            if count > min {
                let free = self.max_reply_bytes(user).saturating_sub(due);
                count = reduced_count(count, free, min);
                max_len = offsets.message.max_reply_len(count);
            }
        } else {
            if known_excess.is_none() && others >= MAX_UNKNOWN_REPLIES {
                return None;
            }
            let has_slot = || out == 0 && others < kept_slots(self.config.max_inflight);
            if !self.may_have_replies(user, due + (max_len + excess) as usize) && !has_slot() {
                return None;
            }
        }
        Some(ReplyBudget { count, max_len: max_len.min(msize), is_unbounded, excess })
    }

    /// Forwards a client's Tattach with a valid fid as a Twalk from the shared attach to that fid.
    fn attach_by_walk(
        &mut self,
        client_index: u32,
        message: &[u8],
        root: u32,
        budget: ReplyBudget,
    ) {
        let mut walk = [0; HEADER + 10];
        put_u32(&mut walk, 0, HEADER as u32 + 10);
        walk[4] = types::TWALK;
        put_tag(&mut walk, tag(message));
        walk[HEADER + 4..HEADER + 8].copy_from_slice(&message[HEADER..HEADER + 4]);
        let offsets = check_request(self.upstream.dialect, &walk).expect("every dialect has it");
        let plan = Plan { fids: [root, NO_FID], new: Some(1), releases: NO_FID };
        let upstream_tag = self.send(client_index, &walk, &offsets, plan, budget);
        self.requests.get(upstream_tag).attach_by_walk = true;
    }

    /// Looks up the fids of a request, and checks whether the request may use them.
    #[inline(always)]
    fn plan(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> Result<Plan, LocalError> {
        let dialect = self.upstream.dialect;
        let client = self.clients.get(client_index);
        let attaches = [types::TAUTH, types::TATTACH].contains(&kind(message));
        if attaches {
            let (names, rules) = (names(message, offsets), &client.rules);
            if !is_attach_allowed(&self.config, dialect, names)
                || !rules.allow_attach(dialect, names)
            {
                return Err(LocalError::NotAllowed);
            }
        }
        if client.rules.read_only && may_change(dialect, message) && !is_for_auth(client, message) {
            return Err(LocalError::ReadOnly);
        }
        if self.config.require_auth
            && kind(message) == types::TATTACH
            && u32_at(message, HEADER + 4) == NOFID
        {
            return Err(LocalError::AuthRequired);
        }
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
                    if *auth.names != *names(message, offsets) {
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
                    let limit = match client.session.fid_count() < self.config.max_fids {
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
                    let client = self.clients.get(client_index);
                    if fid_use == FidUse::CreatesAuth
                        && client.session.auth_memory() + auth_memory(names(message, offsets))
                            > MAX_AUTH_MEMORY
                    {
                        return Err(LocalError::TooManyAuth);
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

    #[inline(always)]
    pub(super) fn send(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
        plan: Plan,
        budget: ReplyBudget,
    ) -> u16 {
        let mut fids = plan.fids;
        let client = self.clients.get(client_index);
        let user = client.user;
        let mut creates = NO_FID;
        if let Some(i) = plan.new {
            let name = u32_at(message, offsets.fids[i].0 as usize);
            creates = self.fids.allocate(client_index, name, user);
            self.users.change(user, |account| account.fids += 1);
            fids[i] = creates;
            client.session.fids.insert(name, FidEntry::upstream(creates));
            if offsets.fids[i].1 == FidUse::CreatesAuth {
                client.session.add_auth(creates, names(message, offsets));
            }
        }
        for fid in fids {
            if fid != NO_FID {
                self.fids.add_reference(fid);
            }
        }
        if plan.releases != NO_FID {
            self.unbind(plan.releases);
        }
        let request = UpstreamRequest {
            owner: Owner::Client(client_index),
            user,
            kind: kind(message),
            tag: tag(message),
            attach_by_walk: false,
            descriptor_use: DescriptorUse::None,
            name_count: offsets.name_count,
            flush_target: NOTAG,
            flush: FlushState::None,
            replied: false,
            is_held: false,
            fids,
            creates,
            releases: plan.releases,
            max_reply_len: budget.max_len,
            has_unbounded_reply: budget.is_unbounded,
            cost: self.cost(message, budget.max_len + budget.excess),
            sent: self.requests.count_sent(),
            sent_at: self.counters.microseconds,
        };
        let upstream_tag =
            self.allocate_tag(&request).expect("there is a tag, since others are kept");
        let client = self.clients.get(client_index);
        client.session.add_tag(&request, upstream_tag);
        if plan.new.is_some() || client.tags() <= TAGS.first {
            self.clients.count_firsts(client_index);
        }
        self.stats.forwarded += 1;
        let size = message.len() as u32;
        let afid = self.attach_afid();
        self.push_to_server(message, |message| {
            put_u32(message, 0, size);
            put_tag(message, upstream_tag);
            for (&(offset, fid_use), fid) in offsets.fids().iter().zip(fids) {
                if fid != NO_FID {
                    put_u32(message, offset as usize, fid);
                } else if fid_use == FidUse::CreatesOnFullWalk {
                    // The new fid is the first fid, which moves.
                    put_u32(message, offset as usize, fids[0]);
                } else if fid_use == FidUse::Authenticates {
                    put_u32(message, offset as usize, afid);
                }
            }
            if let Some(offset) = offsets.count {
                put_u32(message, offset as usize, budget.count);
            }
        });
        if self.restore.is_some() {
            self.copy_request(client_index, upstream_tag, message.len());
        }
        upstream_tag
    }
}

/// Returns the fields of a Tauth or Tattach after the fids: uname, aname and, where the dialect has
/// one, the numeric uid.
pub(super) fn names<'a>(message: &'a [u8], offsets: &FieldOffsets) -> &'a [u8] {
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

/// Returns true if a request makes its first fid name another file, opens it or releases it, so that it must
/// not overtake a read of that fid.
fn changes_fid(message: &[u8]) -> bool {
    match kind(message) {
        types::TWALK => u32_at(message, HEADER) == u32_at(message, HEADER + 4),
        types::TCLUNK | types::TREMOVE => true,
        types::TOPEN | types::TCREATE | types::TLOPEN | types::TLCREATE => true,
        types::TOPENFD => true,
        _ => false,
    }
}
