//! The place in a client's output where the driver passes a descriptor.
//!
//! The client receives an Ropenfd with one read, and then the descriptor with a byte of its own. Both must be
//! sent by separate calls, since the system discards a descriptor that arrives within a plain read. So the
//! output that the driver sees ends behind the Ropenfd until the driver has passed the descriptor.

use std::collections::VecDeque;

use super::{DescriptorId, DescriptorState};
use crate::engine::clients::Client;
use crate::engine::{ClientId, Engine, Limit};

/// The descriptors of a connected client, as far as the client has to do with them.
#[derive(Default)]
pub struct ClientDescriptors {
    /// The number of descriptors that count for it.
    pub held: usize,
    /// The descriptor for which the driver has to make a pair.
    pub wanted: Option<u32>,
    /// The descriptor with a pair and without a Topen.
    pub spare: Option<u32>,
    /// Whether the driver has just failed to make a pair.
    pub failed: bool,
    /// The number of bytes of output that were written.
    written: u64,
    /// The descriptors to be passed, in order, each with the number of bytes before it.
    marks: VecDeque<(u64, u32)>,
}

impl ClientDescriptors {
    /// Returns the length of the part of `len` bytes of output that precedes the first mark.
    #[inline]
    fn len_before_mark(&self, len: usize) -> usize {
        self.marks.front().map_or(len, |(end, _)| (end - self.written) as usize)
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn marks(&self) -> impl Iterator<Item = u32> {
        self.marks.iter().map(|mark| mark.1)
    }
}

impl Client {
    /// Returns the part of its output that precedes the first descriptor to be passed.
    #[inline]
    pub fn output(&self) -> &[u8] {
        let out = self.out.as_slice();
        match &self.descriptors {
            None => out,
            Some(own) => &out[..own.len_before_mark(out.len())],
        }
    }

    /// Records that `n` bytes of its output were written.
    #[inline]
    pub fn count_written(&mut self, n: usize) {
        if let Some(own) = &mut self.descriptors {
            own.written += n as u64;
        }
    }

    /// One of its descriptors has been freed.
    pub(super) fn release_descriptor(&mut self) {
        if let Some(own) = &mut self.descriptors {
            own.held -= 1;
            if own.held == 0 {
                self.descriptors = None;
            }
        }
    }
}

impl Engine {
    /// Returns the descriptor that must be passed to this client now, with a byte 0: its output, as far as it
    /// precedes the descriptor, has been written.
    #[must_use]
    pub fn descriptor_to_pass(&self, id: ClientId) -> Option<DescriptorId> {
        let own = self.clients.get_if_connected(id)?.descriptors.as_ref()?;
        let (end, descriptor) = own.marks.front()?;
        (*end == own.written).then(|| self.descriptors.id(*descriptor))
    }

    /// Reports that the descriptor that [`descriptor_to_pass`](Engine::descriptor_to_pass) returns was passed.
    pub fn descriptor_passed(&mut self, id: ClientId) {
        let Some(client_index) = self.clients.index_of(id) else {
            return;
        };
        let own = self.clients.get(client_index).descriptors.as_mut();
        if let Some((_, descriptor)) = own.and_then(|own| own.marks.pop_front()) {
            self.descriptors.get(descriptor).unpassed = false;
            self.descriptors.mark_changed(descriptor);
            // The rest of its output follows.
            self.mark_dirty(client_index);
        }
    }

    /// Marks the end of a client's output as the place of a descriptor.
    pub(super) fn mark_descriptor(&mut self, client_index: u32, descriptor: u32) {
        let client = self.clients.get(client_index);
        let len = client.out.len() as u64;
        if let Some(own) = &mut client.descriptors {
            own.marks.push_back((own.written + len, descriptor));
        }
        self.descriptors.get(descriptor).unpassed = true;
    }

    /// Ends the descriptors that were not passed to the client. The caller must drop its output.
    pub(in crate::engine) fn drop_unpassed(&mut self, client_index: u32) {
        let own = self.clients.get(client_index).descriptors.as_mut();
        let marks = own.map(|own| std::mem::take(&mut own.marks)).unwrap_or_default();
        for (_, descriptor) in marks {
            self.descriptors.get(descriptor).unpassed = false;
            self.end_descriptor(descriptor);
            // It may have ended before, and is closed only now.
            self.descriptors.mark_changed(descriptor);
        }
    }

    /// Ends what a client that disconnects leaves: the descriptors that it cannot receive any more.
    pub(in crate::engine) fn drop_descriptors_of(&mut self, client_index: u32) {
        self.drop_unpassed(client_index);
        let Some(own) = &mut self.clients.get(client_index).descriptors else {
            return;
        };
        let (wanted, spare) = (own.wanted.take(), own.spare.take());
        if let Some(descriptor) = spare {
            self.descriptors.set_state(descriptor, DescriptorState::Closing);
        }
        if let Some(descriptor) = wanted {
            self.free_descriptor(descriptor);
        }
    }

    /// Records that a client has met a limit of descriptors.
    pub(super) fn notice_descriptor_limit(&mut self, client_index: u32, limit: Limit) {
        let client = self.clients.get(client_index);
        if !std::mem::replace(&mut client.descriptor_limit_noticed, true) {
            self.notice_limit(client_index, limit);
        }
    }
}
