//! The bytes of open descriptors, and the end.
//!
//! A Tread is sent when the socket has taken the last byte of the reply before, so that one is always ahead of
//! the reader. The socket is read only while no Twrite is upstream. Both offsets count the bytes that were moved.

use super::DescriptorUse;
use super::{DescriptorId, DescriptorState, Reading, Writing};
use crate::engine::fids::{NO_FID, Owner};
use crate::engine::reply::ReplyOutcome;
use crate::engine::requests::UpstreamRequest;
use crate::engine::{Engine, TraceEvent};
use crate::wire::{DATA_HEADER, HEADER, put_tag, put_u32, types};

/// The length of a Twrite without its data.
const WRITE_HEADER: usize = HEADER + 16;

impl Engine {
    /// Returns a descriptor if the driver's actions for it may have changed since the last call.
    pub fn next_descriptor(&mut self) -> Option<DescriptorId> {
        loop {
            let id = self.descriptors.changed.pop_front()?;
            if let Some(descriptor) = self.descriptors.index_of(id) {
                self.descriptors.get(descriptor).dirty = false;
                return Some(id);
            }
        }
    }

    /// Returns the bytes to be written to the driver's socket.
    #[must_use]
    pub fn descriptor_output(&self, id: DescriptorId) -> &[u8] {
        self.descriptors.find(id).map_or(&[], |descriptor| descriptor.out.as_slice())
    }

    /// Reports that the first `n` bytes of the descriptor's output were written.
    pub fn descriptor_wrote(&mut self, id: DescriptorId, n: usize) {
        let Some(index) = self.descriptors.index_of(id) else {
            return;
        };
        let descriptor = self.descriptors.get(index);
        descriptor.out.consume(n);
        if descriptor.out.is_empty() {
            descriptor.out.clear();
            if descriptor.reading == Reading::Held {
                descriptor.reading = Reading::Due;
                self.descriptors.enqueue(index);
            }
            self.descriptors.mark_changed(index);
            self.descriptors.count_memory(index);
            self.run_ready();
        }
    }

    /// Returns the maximum number of bytes to be read from the driver's socket now: 0 if it must not be read.
    #[must_use]
    pub fn descriptor_wants_read(&self, id: DescriptorId) -> usize {
        let open = self.descriptors.find(id).filter(|d| d.writing == Writing::Open);
        open.map_or(0, |descriptor| {
            let max = self.max_descriptor_bytes();
            let unit = if descriptor.iounit == 0 { max } else { descriptor.iounit };
            max.min(unit) as usize
        })
    }

    /// Reports bytes that were read from the driver's socket, at most as many as `descriptor_wants_read` returns.
    pub fn descriptor_bytes(&mut self, id: DescriptorId, bytes: &[u8]) {
        if self.descriptor_wants_read(id) == 0 {
            return;
        }
        let index = id.index;
        let is_first = self.ready_queue.is_empty() && !self.has_waiting_descriptor();
        if is_first && self.has_descriptor_capacity() {
            self.send_write(index, bytes);
        } else {
            let descriptor = self.descriptors.get(index);
            if !descriptor.piece.reserve(bytes.len()) {
                // There is no memory for it: these bytes are lost, as after an error of the server.
                descriptor.write_offset += bytes.len() as u64;
                return self.descriptors.mark_changed(index);
            }
            descriptor.piece.append(bytes);
            descriptor.writing = Writing::Due;
            self.descriptors.count_memory(index);
            self.descriptors.enqueue(index);
        }
        self.run_ready();
    }

    /// Reports that no program reads the descriptor any more, or that writing to the driver's socket has failed.
    pub fn descriptor_reader_gone(&mut self, id: DescriptorId) {
        if let Some(index) = self.descriptors.index_of(id) {
            self.end_reading(index);
            self.descriptors.get(index).out.clear();
            self.descriptors.count_memory(index);
            self.descriptors.mark_changed(index);
            self.run_ready();
        }
    }

    /// Reports that no program writes to the descriptor any more, and all that was written has been reported.
    pub fn descriptor_writer_gone(&mut self, id: DescriptorId) {
        let Some(index) = self.descriptors.index_of(id) else {
            return;
        };
        let descriptor = self.descriptors.get(index);
        descriptor.writer_gone = true;
        if descriptor.writing == Writing::Open {
            self.end_writing(index);
            self.run_ready();
        }
    }

    /// Returns true if the reader must get end of file once the output is written, while writing goes on.
    #[must_use]
    pub fn descriptor_output_ended(&self, id: DescriptorId) -> bool {
        let open = self.descriptors.find(id).filter(|d| d.state == DescriptorState::Open);
        open.is_some_and(|descriptor| descriptor.reading == Reading::Ended)
    }

    /// Returns true if the driver must close its socket once the output is written and no program has the other
    /// socket, and report `descriptor_closed`. The descriptor counts until then.
    #[must_use]
    pub fn descriptor_is_closing(&self, id: DescriptorId) -> bool {
        let found = self.descriptors.find(id);
        found.is_some_and(|d| d.state == DescriptorState::Closing && !d.unpassed)
    }

    /// Reports that the driver has closed its socket. The id is invalid afterwards.
    pub fn descriptor_closed(&mut self, id: DescriptorId) {
        if self.descriptor_is_closing(id) {
            self.free_descriptor(id.index);
            self.run_ready();
        }
    }

    /// Returns true if there is capacity for a request that moves the data of a descriptor.
    #[inline]
    pub(in crate::engine) fn has_descriptor_capacity(&self) -> bool {
        self.output_has_room() && self.requests.has_descriptor_tag() && self.requests.has_room()
    }

    /// Returns true if a descriptor must be served before the next client. If both wait and have capacity, each user
    /// has as many turns for its descriptors as for its clients.
    #[inline]
    pub(in crate::engine) fn descriptor_has_turn(&mut self) -> bool {
        if !self.has_ready_descriptor() {
            return false;
        }
        if !self.has_ready_client() {
            return true;
        }
        let users = self.descriptors.ready.users();
        let all = users + self.ready_queue.users();
        self.descriptors.turns += users;
        let has_turn = self.descriptors.turns >= all;
        if has_turn {
            self.descriptors.turns = (self.descriptors.turns - all).min(users);
        }
        has_turn
    }

    /// Returns true if a descriptor waits for capacity.
    #[inline]
    pub(in crate::engine) fn has_waiting_descriptor(&self) -> bool {
        !self.descriptors.ready.is_empty()
    }

    /// Returns true if a descriptor waits for capacity, and there is some.
    #[inline]
    pub(in crate::engine) fn has_ready_descriptor(&self) -> bool {
        self.has_waiting_descriptor() && self.has_descriptor_capacity()
    }

    /// Sends the first request that waits for capacity.
    pub(in crate::engine) fn serve_descriptor(&mut self) {
        let Some(id) = self.descriptors.ready.pop() else {
            return;
        };
        let Some(index) = self.descriptors.index_of(id) else {
            return;
        };
        let descriptor = self.descriptors.get(index);
        descriptor.queued = false;
        let (reading, writing) = (descriptor.reading, descriptor.writing);
        if reading == Reading::Due {
            self.send_read(index);
            if writing == Writing::Due {
                self.descriptors.enqueue(index);
            }
        } else if writing == Writing::Due {
            let piece = std::mem::take(&mut self.descriptors.get(index).piece);
            self.send_write(index, piece.as_slice());
            self.descriptors.count_memory(index);
        }
    }

    fn send_read(&mut self, index: u32) {
        let count = self.max_descriptor_bytes();
        let tag = self.allocate_descriptor_tag(index, types::TREAD);
        let descriptor = self.descriptors.get(index);
        descriptor.reading = Reading::Sent(tag);
        descriptor.expected = count as usize;
        let mut message = [0; HEADER + 16];
        put_u32(&mut message, HEADER, descriptor.fid);
        message[HEADER + 4..HEADER + 12].copy_from_slice(&descriptor.read_offset.to_le_bytes());
        put_u32(&mut message, HEADER + 12, count);
        self.descriptors.count_memory(index);
        self.send_internal(types::TREAD, tag, &mut message);
    }

    fn send_write(&mut self, index: u32, bytes: &[u8]) {
        let tag = self.allocate_descriptor_tag(index, types::TWRITE);
        let descriptor = self.descriptors.get(index);
        descriptor.writing = Writing::Sent(tag);
        let len = WRITE_HEADER + bytes.len();
        let mut header = [0; WRITE_HEADER];
        put_u32(&mut header, 0, len as u32);
        header[4] = types::TWRITE;
        put_tag(&mut header, tag);
        put_u32(&mut header, HEADER, descriptor.fid);
        header[HEADER + 4..HEADER + 12].copy_from_slice(&descriptor.write_offset.to_le_bytes());
        put_u32(&mut header, HEADER + 12, bytes.len() as u32);
        descriptor.write_offset += bytes.len() as u64;
        let out = &mut self.upstream.out;
        self.pool.lend(out, len);
        out.append(&header);
        out.append(bytes);
        if let Some(tracer) = &mut self.tracer {
            let out = out.as_slice();
            tracer(self.upstream.dialect, TraceEvent::ToServer(&out[out.len() - len..]));
        }
    }

    fn allocate_descriptor_tag(&mut self, index: u32, kind: u8) -> u16 {
        let fid = self.descriptors.get(index).fid;
        let request = UpstreamRequest {
            owner: Owner::Descriptor(index),
            descriptor_use: DescriptorUse::Moves,
            fids: [fid, NO_FID],
            sent: self.requests.count_sent(),
            ..UpstreamRequest::internal(kind)
        };
        let tag = self.allocate_tag(&request).expect("there is a tag, since there is capacity");
        self.fids.add_reference(fid);
        tag
    }

    /// Handles the reply to a Tread or Twrite of a descriptor. There is none if the reply does not fit the request.
    pub(in crate::engine) fn handle_descriptor_reply(
        &mut self,
        index: u32,
        request: &UpstreamRequest,
        reply: Option<&[u8]>,
        outcome: ReplyOutcome,
    ) {
        if request.kind == types::TREAD {
            let data = reply.filter(|_| outcome == ReplyOutcome::Success);
            self.handle_data(index, data.map_or(&[], data_of));
        } else if self.descriptors.get(index).writer_gone {
            self.end_writing(index);
        } else {
            self.descriptors.get(index).writing = Writing::Open;
            self.descriptors.mark_changed(index);
        }
    }

    /// The server has replied to a Tread with these bytes, or with the end of the file.
    fn handle_data(&mut self, index: u32, data: &[u8]) {
        let descriptor = self.descriptors.get(index);
        descriptor.expected = 0;
        descriptor.reading = Reading::Held;
        if data.is_empty() || !descriptor.out.reserve(data.len()) {
            self.descriptors.count_memory(index);
            return self.end_reading(index);
        }
        descriptor.out.append(data);
        descriptor.read_offset += data.len() as u64;
        self.descriptors.count_memory(index);
        self.descriptors.mark_changed(index);
    }

    /// Ends the direction from the server to the socket. Bytes that have arrived remain to be written.
    fn end_reading(&mut self, index: u32) {
        let descriptor = self.descriptors.get(index);
        let reading = std::mem::replace(&mut descriptor.reading, Reading::Ended);
        descriptor.expected = 0;
        self.descriptors.count_memory(index);
        if let Reading::Sent(tag) = reading {
            self.requests.get(tag).owner = Owner::Internal;
            self.flush_request(tag);
        }
        if reading != Reading::Ended {
            self.close_if_ended(index);
        }
    }

    /// Ends the direction from the socket to the server.
    fn end_writing(&mut self, index: u32) {
        let descriptor = self.descriptors.get(index);
        let writing = std::mem::replace(&mut descriptor.writing, Writing::Ended);
        descriptor.piece.clear();
        self.descriptors.count_memory(index);
        if let Writing::Sent(tag) = writing {
            self.requests.get(tag).owner = Owner::Internal;
        }
        if writing != Writing::Ended {
            self.close_if_ended(index);
        }
    }

    /// Closes an open descriptor without a direction: its fid is clunked when no request mentions it.
    fn close_if_ended(&mut self, index: u32) {
        self.descriptors.mark_changed(index);
        let descriptor = self.descriptors.get(index);
        if descriptor.reading == Reading::Ended && descriptor.writing == Writing::Ended {
            let fid = std::mem::replace(&mut descriptor.fid, NO_FID);
            self.descriptors.set_state(index, DescriptorState::Closing);
            self.unbind(fid);
            self.release_if_unused(fid);
        }
    }

    /// Ends both directions, and drops the output: no program has the other socket.
    pub(in crate::engine) fn end_descriptor(&mut self, index: u32) {
        self.end_reading(index);
        self.end_writing(index);
        self.descriptors.get(index).out.clear();
        self.descriptors.count_memory(index);
    }

    /// The connection to the server has ended: nothing is upstream any more.
    pub(in crate::engine) fn end_descriptors(&mut self) {
        self.descriptors.clear_ready();
        for index in self.descriptors.indices() {
            let descriptor = self.descriptors.get(index);
            descriptor.reading = Reading::Ended;
            descriptor.writing = Writing::Ended;
            descriptor.fid = NO_FID;
            descriptor.expected = 0;
            descriptor.piece.clear();
            let (state, client) = (descriptor.state, descriptor.client);
            if state == DescriptorState::Spare {
                self.take_spare_of(client);
            }
            if state != DescriptorState::Wanted {
                self.descriptors.set_state(index, DescriptorState::Closing);
            }
            self.descriptors.count_memory(index);
        }
    }
}

/// Returns the data of a valid Rread.
fn data_of(message: &[u8]) -> &[u8] {
    let count = crate::wire::u32_at(message, HEADER) as usize;
    &message[DATA_HEADER as usize..DATA_HEADER as usize + count]
}
