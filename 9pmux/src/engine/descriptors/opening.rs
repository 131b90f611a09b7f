//! From the Topenfd to the Ropenfd.
//!
//! A Topenfd that has passed all checks waits at the front of its client's inbox until the driver has made a
//! pair of sockets, where a flush or the end of the session finds it. It then becomes a Topen of the client.
//! While that is upstream, later requests that name the fid wait: after the Ropenfd it is no fid of the client.

use super::DescriptorUse;
use super::{DescriptorId, DescriptorState, Reading, Writing};
use crate::engine::clients::Blocked;
use crate::engine::fids::{FidState, Owner};
use crate::engine::inbox::Progress;
use crate::engine::local_error::LocalError;
use crate::engine::plan::Plan;
use crate::engine::reply_budget::ReplyBudget;
use crate::engine::requests::UpstreamRequest;
use crate::engine::{ClientId, Engine};
use crate::wire::{
    FieldOffsets, HEADER, check_request, kind, mode, put_tag, put_u32, qid, tag, types, u32_at,
};

/// The unixfd of an Ropenfd, which means nothing to the client.
const UNIXFD: u32 = u32::MAX;

/// A Topenfd that has become a Topen and has no reply.
pub struct Opening {
    /// The client's tag.
    tag: u16,
    /// The client's fid.
    fid: u32,
    /// The mode.
    mode: u8,
    pub descriptor: u32,
}

impl Engine {
    /// Reports that descriptors can be passed to this client. Without this, its Topenfd gets an error.
    pub fn allow_descriptors(&mut self, id: ClientId) {
        if let Some(client_index) = self.clients.index_of(id) {
            self.clients.get(client_index).passes_descriptors = true;
        }
    }

    /// Returns true if the driver must make a pair of sockets for this descriptor, and report `pair_made` or
    /// `pair_failed`.
    #[must_use]
    pub fn wants_pair(&self, id: DescriptorId) -> bool {
        self.descriptors.find(id).is_some_and(|d| d.state == DescriptorState::Wanted)
    }

    /// Reports that the pair of sockets for this descriptor has been made.
    pub fn pair_made(&mut self, id: DescriptorId) {
        if let Some(client_index) = self.take_wanted(id) {
            self.descriptors.set_state(id.index, DescriptorState::Spare);
            if let Some(own) = &mut self.clients.get(client_index).descriptors {
                own.spare = Some(id.index);
            }
            self.unblock(client_index);
            self.run_ready();
        }
    }

    /// Reports that the system has no pair of sockets for this descriptor.
    pub fn pair_failed(&mut self, id: DescriptorId) {
        if let Some(client_index) = self.take_wanted(id) {
            if let Some(own) = &mut self.clients.get(client_index).descriptors {
                own.failed = true;
            }
            self.unblock(client_index);
            if let Some(own) = &mut self.clients.get(client_index).descriptors {
                own.failed = false;
            }
            self.free_descriptor(id.index);
            self.run_ready();
        }
    }

    /// Returns the client of a wanted descriptor, which ceases to be wanted.
    fn take_wanted(&mut self, id: DescriptorId) -> Option<u32> {
        let found = self.descriptors.find(id).filter(|d| d.state == DescriptorState::Wanted)?;
        let client_index = self.clients.index_of(found.client)?;
        self.clients.get(client_index).descriptors.as_mut()?.wanted.take()?;
        Some(client_index)
    }

    /// Checks that the client may have the descriptor that it asks for with a valid Topenfd.
    pub(in crate::engine) fn check_openfd(&mut self, client_index: u32) -> Result<(), LocalError> {
        let client = self.clients.get(client_index);
        if !client.passes_descriptors {
            return Err(LocalError::NoDescriptors);
        }
        match &client.descriptors {
            Some(own) if own.failed => Err(LocalError::TooManyDescriptors),
            Some(own) if own.spare.is_some() || own.wanted.is_some() => Ok(()),
            _ => self.check_descriptor_limits(client_index),
        }
    }

    /// Returns true if a request names a fid for which a Topenfd of its client is upstream.
    pub(in crate::engine) fn names_opening(
        &mut self,
        client_index: u32,
        message: &[u8],
        offsets: &FieldOffsets,
    ) -> bool {
        let openings = &self.clients.get(client_index).session.openings;
        offsets.fids().iter().any(|(offset, _)| {
            let name = u32_at(message, *offset as usize);
            openings.iter().any(|opening| opening.fid == name)
        })
    }

    /// Sends the Topen for a Topenfd that has passed all checks, or lets it wait for a pair of sockets.
    pub(in crate::engine) fn forward_openfd(
        &mut self,
        client_index: u32,
        (whole, message): (&[u8], &[u8]),
        plan: Plan,
        budget: ReplyBudget,
    ) -> Progress {
        let Some(descriptor) = self.take_spare(client_index) else {
            self.want_descriptor(client_index);
            return Progress::Blocked(Blocked::OnSelf);
        };
        let (fid, mode) = (u32_at(message, HEADER), message[HEADER + 4]);
        let mut open = [0; HEADER + 5];
        put_u32(&mut open, 0, HEADER as u32 + 5);
        open[4] = types::TOPEN;
        put_tag(&mut open, tag(message));
        open[HEADER..].copy_from_slice(&message[HEADER..HEADER + 5]);
        let offsets = check_request(self.upstream.dialect, &open).expect("its dialect has Topen");
        let consumed = self.consume_message(client_index, whole);
        let upstream_tag = self.send(client_index, &open, &offsets, plan, budget);
        self.requests.get(upstream_tag).descriptor_use = DescriptorUse::Opens;
        self.descriptors.set_state(descriptor, DescriptorState::Opening);
        let opening = Opening { tag: tag(message), fid, mode, descriptor };
        self.clients.get(client_index).session.openings.push(opening);
        consumed
    }

    fn take_spare(&mut self, client_index: u32) -> Option<u32> {
        self.clients.get(client_index).descriptors.as_mut()?.spare.take()
    }

    /// Takes the spare descriptor of a client, if it is connected.
    pub(super) fn take_spare_of(&mut self, client: ClientId) {
        if let Some(client_index) = self.clients.index_of(client) {
            self.take_spare(client_index);
        }
    }

    /// Asks the driver for a pair of sockets, once for each client at a time.
    fn want_descriptor(&mut self, client_index: u32) {
        let id = self.clients.id(client_index);
        let client = self.clients.get(client_index);
        let user = client.user;
        let own = client.descriptors.get_or_insert_default();
        if own.wanted.is_none() {
            let descriptor = self.descriptors.add(id, user);
            own.wanted = Some(descriptor);
            own.held += 1;
            self.users.change(user, |account| account.descriptors += 1);
            self.descriptors.mark_changed(descriptor);
        }
    }

    /// Handles the reply to the Topen of a Topenfd. There is none if the reply does not fit the request.
    pub(in crate::engine) fn handle_openfd_reply(
        &mut self,
        client_index: u32,
        request: &UpstreamRequest,
        reply: Option<&[u8]>,
    ) {
        let Some(opening) = self.take_opening(client_index, request.tag) else {
            return;
        };
        match reply {
            Some(message) if kind(message) == types::ROPEN => {
                self.complete_opening(client_index, request, &opening, message);
            }
            Some(error) => {
                self.abandon_opening(&opening);
                self.forward_reply(client_index, request.tag, error, |_| ());
            }
            None => {
                self.abandon_opening(&opening);
                self.push_error(client_index, request.tag, LocalError::UnexpectedReply);
            }
        }
    }

    fn take_opening(&mut self, client_index: u32, tag: u16) -> Option<Opening> {
        let openings = &mut self.clients.get(client_index).session.openings;
        let found = openings.iter().position(|opening| opening.tag == tag)?;
        let opening = openings.swap_remove(found);
        if openings.is_empty() {
            *openings = Vec::new();
        }
        Some(opening)
    }

    /// The server has opened the file: the fid is the descriptor's.
    fn complete_opening(
        &mut self,
        client_index: u32,
        request: &UpstreamRequest,
        opening: &Opening,
        ropen: &[u8],
    ) {
        let (fid, descriptor) = (request.fids[0], opening.descriptor);
        let record = self.fids.get(fid);
        let is_clients = record.bound && record.owner == Owner::Client(client_index);
        if !is_clients || record.state != FidState::Live {
            // The request that creates the fid has failed, or has no reply yet.
            self.abandon_opening(opening);
            return self.push_error(client_index, request.tag, LocalError::UnexpectedReply);
        }
        self.give_to_descriptor(fid, descriptor);
        let mut message = [0; HEADER + 21];
        message[HEADER..HEADER + 17].copy_from_slice(&ropen[HEADER..HEADER + 17]);
        put_u32(&mut message, HEADER + 17, UNIXFD);
        self.stats.replied += 1;
        self.push_reply(client_index, types::ROPENFD, request.tag, &mut message);
        self.mark_descriptor(client_index, descriptor);
        self.descriptors.set_state(descriptor, DescriptorState::Open);
        let opened = self.descriptors.get(descriptor);
        opened.fid = fid;
        opened.iounit = u32_at(ropen, HEADER + qid::LEN);
        let access = opening.mode & mode::ACCESS;
        if access != mode::WRITE {
            opened.reading = Reading::Due;
            self.descriptors.enqueue(descriptor);
        }
        if matches!(access, mode::WRITE | mode::READ_WRITE) {
            self.descriptors.get(descriptor).writing = Writing::Open;
        }
    }

    /// The Topen of a Topenfd was flushed without a reply.
    pub(in crate::engine) fn handle_openfd_flushed(&mut self, client_index: u32, tag: u16) {
        if let Some(opening) = self.take_opening(client_index, tag) {
            self.abandon_opening(&opening);
        }
    }

    /// Closes the pair of a Topenfd that opens nothing.
    pub(in crate::engine) fn abandon_opening(&mut self, opening: &Opening) {
        self.descriptors.set_state(opening.descriptor, DescriptorState::Closing);
    }
}

/// Returns true if a descriptor can have the mode of this Topenfd.
pub fn is_openfd_mode(message: &[u8]) -> bool {
    message[HEADER + 4] & !(mode::ACCESS | mode::TRUNCATE) == 0
}
