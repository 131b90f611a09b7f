//! Descriptors (Topenfd): bytes between their sockets and the engine, and passing them to clients.

use std::time::Duration;

use rustix::io::Errno;

use super::Driver;
use super::transfer::update_write_interest;
use crate::engine::{ClientId, DescriptorId};
use crate::net::descriptors;
use crate::net::ends::End;
use crate::net::failure::error_text;
use crate::net::stream::IoOutcome;
use crate::net::watch::Source;

/// Time until the next attempt to pass a descriptor after the system has refused it, because too many are
/// passed and not received.
const PASS_RETRY: Duration = Duration::from_millis(10);

impl Driver {
    /// Handles all descriptors with events or actions. Returns false if there are none.
    pub(super) fn serve_descriptors(&mut self) -> bool {
        let mut any = false;
        while let Some(id) = self.ends.next_queued().or_else(|| self.engine.next_descriptor()) {
            self.serve_descriptor(id);
            any = true;
        }
        any
    }

    fn serve_descriptor(&mut self, id: DescriptorId) {
        if self.engine.wants_pair(id) {
            return self.make_pair(id);
        }
        let Some(end) = self.ends.get(id) else {
            return;
        };
        if end.peer.hung_up && !std::mem::replace(&mut end.reader_gone, true) {
            self.engine.descriptor_reader_gone(id);
        }
        self.read_descriptor(id);
        self.write_descriptor(id);
        if self.engine.descriptor_is_closing(id) && self.engine.descriptor_output(id).is_empty() {
            self.finish_descriptor(id);
        }
    }

    fn make_pair(&mut self, id: DescriptorId) {
        let made = End::new().and_then(|end| {
            self.watch.add(Source::Descriptor(id.index()), end.peer.stream.input())?;
            Ok(end)
        });
        match made {
            Ok(end) => {
                self.ends.add(id, end);
                self.engine.pair_made(id);
            }
            Err(error) => {
                let hint = Errno::from_io_error(&error).map(descriptors::limit_hint);
                self.warn_rate_limited(format_args!(
                    "cannot make a descriptor for a client: {}{}",
                    error_text(&error),
                    hint.unwrap_or_default()
                ));
                self.engine.pair_failed(id);
            }
        }
    }

    /// Reads once from the socket, if the engine takes bytes.
    fn read_descriptor(&mut self, id: DescriptorId) {
        let max = self.engine.descriptor_wants_read(id).min(self.buffer.len());
        let Some(end) = self.ends.get(id).filter(|end| end.peer.readable && max > 0) else {
            return;
        };
        match end.peer.stream.read(&mut self.buffer[..max]) {
            IoOutcome::Bytes(n) => {
                end.peer.readable = n == max || end.peer.input_ended;
                self.engine.descriptor_bytes(id, &self.buffer[..n]);
            }
            IoOutcome::WouldBlock => end.peer.readable = false,
            IoOutcome::End | IoOutcome::Closed(_) => {
                end.peer.readable = false;
                self.engine.descriptor_writer_gone(id);
            }
        }
    }

    /// Writes all output, and the end of file behind it.
    fn write_descriptor(&mut self, id: DescriptorId) {
        let Some(end) = self.ends.get(id) else {
            return;
        };
        while !end.peer.write_blocked && !self.engine.descriptor_output(id).is_empty() {
            match end.peer.stream.write(self.engine.descriptor_output(id)) {
                IoOutcome::Bytes(n) => self.engine.descriptor_wrote(id, n),
                IoOutcome::WouldBlock => end.peer.write_blocked = true,
                IoOutcome::End | IoOutcome::Closed(_) => self.engine.descriptor_reader_gone(id),
            }
        }
        let has_ended =
            self.engine.descriptor_output_ended(id) && self.engine.descriptor_output(id).is_empty();
        if has_ended {
            end.end_output();
        }
        let source = Source::Descriptor(id.index());
        if update_write_interest(&self.watch, source, &mut end.peer).is_err() {
            // Without events nothing more can be moved.
            self.engine.descriptor_reader_gone(id);
            self.engine.descriptor_writer_gone(id);
        }
    }

    /// Closes a descriptor that moves nothing more, once no program has it. Until then it counts, because a
    /// client that never receives its descriptors could otherwise use up the number that the system lets
    /// 9pmux pass, and nothing more could be passed to the others.
    fn finish_descriptor(&mut self, id: DescriptorId) {
        let has_ended = self.engine.end_reason().is_some();
        match self.ends.get(id).filter(|end| end.is_held() && !has_ended) {
            Some(end) => {
                end.is_finished = true;
                end.end_output();
            }
            None => self.close_descriptor(id),
        }
    }

    fn close_descriptor(&mut self, id: DescriptorId) {
        if let Some(end) = self.ends.remove(id) {
            self.watch.remove(&end.peer.stream, end.peer.write_interest);
            end.peer.stream.close(&mut self.buffer);
        }
        self.engine.descriptor_closed(id);
    }

    /// Tries again later to pass the descriptor that a client must receive next.
    pub(super) fn pass_later(&mut self, id: ClientId) {
        self.pass_again.push(id);
        self.pass_again_at.get_or_insert(self.now + PASS_RETRY);
    }

    /// Tries again to pass the descriptors that the system has refused.
    pub(super) fn pass_refused(&mut self) {
        if self.pass_again_at.is_some_and(|at| at <= self.now) {
            self.pass_again_at = None;
            for id in std::mem::take(&mut self.pass_again) {
                self.service_client(id);
            }
        }
    }
}
