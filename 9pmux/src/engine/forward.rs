//! The way of a client's request to the server: it is validated, gets an upstream tag and upstream
//! fids, and is patched in the server's output. All checks run before any state changes.

use super::Engine;
use super::clients::Blocked;
use super::descriptors::{DescriptorUse, is_openfd_mode};
use super::fids::{NO_FID, Owner};
use super::flush::FlushState;
use super::inbox::Progress;
use super::local_error::LocalError;
use super::plan::{Plan, attach_fields};
use super::reply_budget::ReplyBudget;
use super::requests::UpstreamRequest;
use super::session::FidEntry;
use super::shared_attach::AttachRoute;
use super::shares::TAGS;
use crate::wire::{
    FidUse, FieldOffsets, HEADER, NOTAG, check_contents, check_request, kind, put_tag, put_u32,
    tag, types, u32_at,
};

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
            Err(bad) => return self.reject_message(client_index, message, (*bad).into()),
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
        if client.has_tag(client_tag) {
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
                return self.reply_for_dead_fid(client_index, (whole, message), offsets);
            }
            Err(why) => return self.reject_message(client_index, whole, why),
        };
        if !self.upstream.is_ready() || self.restore.is_some() {
            if let Some(progress) = self.hold_for_server(client_index, (whole, message), &plan) {
                return progress;
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
            if let Some(blocked) = self.send_reads_before(client_index, name) {
                return Progress::Blocked(blocked);
            }
        }
        if kind(message) == types::TREMOVE && self.clients.get(client_index).read_only {
            return self.refuse_remove(client_index, whole, &plan);
        }
        self.forward_routed(client_index, (whole, message), offsets, plan, budget)
    }

    /// Makes a request wait for the server, or for its fids to be restored, or refuses it because of an earlier loss.
    /// Returns `None` if it can be forwarded.
    #[inline]
    fn hold_for_server(
        &mut self,
        client_index: u32,
        (whole, message): (&[u8], &[u8]),
        plan: &Plan,
    ) -> Option<Progress> {
        if !self.upstream.is_ready() {
            if self.restore.is_none() {
                return Some(self.wait_for_server(client_index, whole));
            }
            let held = self.hold_back(client_index, (whole, message), plan);
            if held.is_some() {
                return held;
            }
        }
        let why = self.check_after_loss(message, plan)?;
        Some(self.reject_message(client_index, whole, why))
    }

    /// Sends the waiting reads of a fid, before a request that changes it. Returns what the request waits for, if it
    /// must wait.
    fn send_reads_before(&mut self, client_index: u32, name: u32) -> Option<Blocked> {
        let are_sent = self.send_waiting_reads_of(client_index, name);
        if !self.has_capacity() {
            return Some(Blocked::OnUpstream);
        }
        let tags = self.clients.get(client_index).session.tags.len();
        (!are_sent || tags >= self.config.max_inflight).then_some(Blocked::OnSelf)
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
            check_contents(self.upstream.dialect, offsets, message)?;
        }
        Ok(&message[..offsets.end as usize])
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
                client.session.add_auth(creates, attach_fields(message, offsets));
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
            sent: self.count_sent(user),
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
