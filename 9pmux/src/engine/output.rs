//! Output: messages appended to what is written to a client or to the server.

use super::Engine;
use super::local_error::LocalError;
use super::stats::TraceEvent;
use crate::wire::{self, Dialect, HEADER};

impl Engine {
    /// Records that the output or the state of a client has changed.
    #[inline]
    pub(super) fn mark_dirty(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        if !client.dirty {
            client.dirty = true;
            self.dirty.push_back(self.clients.id(client_index));
        }
    }

    /// Appends a message to a client's output, and patches it there.
    #[inline(always)]
    pub(super) fn push_to_client(
        &mut self,
        client_index: u32,
        message: &[u8],
        patch: impl FnOnce(&mut [u8]),
    ) {
        let client = self.clients.get(client_index);
        let has_grown = !client.out.has_room(message.len());
        if has_grown {
            if client.out.is_empty() {
                client.took_at = self.counters.milliseconds;
            }
            self.pool.lend(&mut client.out, message.len());
            if !client.out.reserve(message.len()) {
                return self.mark_starved(client_index);
            }
        }
        let dialect = client.session.dialect;
        let was_dirty = std::mem::replace(&mut client.dirty, true);
        let message = client.out.append(message);
        patch(message);
        if self.tracer.is_some() {
            let n = message.len();
            self.trace_to_client(client_index, dialect, n);
        }
        if has_grown {
            self.count_memory(client_index);
        }
        if !was_dirty {
            self.dirty.push_back(self.clients.id(client_index));
        }
    }

    /// Traces the last `n` bytes of a client's output.
    #[cold]
    fn trace_to_client(&mut self, client_index: u32, dialect: Dialect, n: usize) {
        let id = self.clients.id(client_index);
        let output = self.clients.get(client_index).out.as_slice();
        if let Some(tracer) = &mut self.tracer {
            tracer(dialect, TraceEvent::ToClient(id, &output[output.len() - n..]));
        }
    }

    /// Appends a message to the server's output, and patches it there.
    #[inline(always)]
    pub(super) fn push_to_server(&mut self, message: &[u8], patch: impl FnOnce(&mut [u8])) {
        self.pool.lend(&mut self.upstream.out, message.len());
        let message = self.upstream.out.append(message);
        patch(message);
        if let Some(tracer) = &mut self.tracer {
            tracer(self.upstream.dialect, TraceEvent::ToServer(message));
        }
    }

    /// Replies to a request with an error of 9pmux's own, in the dialect of the client's session.
    pub(super) fn push_error(&mut self, client_index: u32, tag: u16, why: LocalError) {
        let dialect = self.clients.get(client_index).session.dialect;
        self.push_error_in(dialect, client_index, tag, why);
    }

    /// Replies to a request with an error of 9pmux's own, in this dialect.
    pub(super) fn push_error_in(
        &mut self,
        dialect: Dialect,
        client_index: u32,
        tag: u16,
        why: LocalError,
    ) {
        self.stats.local_errors += 1;
        let refused = &mut self.clients.get(client_index).refused;
        *refused = refused.saturating_add(1);
        let ename = why.ename().as_bytes();
        let mut message = [0; 64];
        let mut offset = HEADER;
        if dialect != Dialect::L {
            message[offset..offset + 2].copy_from_slice(&(ename.len() as u16).to_le_bytes());
            message[offset + 2..offset + 2 + ename.len()].copy_from_slice(ename);
            offset += 2 + ename.len();
        }
        if dialect != Dialect::Plain {
            wire::put_u32(&mut message, offset, why.errno());
            offset += 4;
        }
        self.push_reply(client_index, dialect.error_type(), tag, &mut message[..offset]);
    }

    /// Appends a reply of 9pmux's own. `message` must begin with space for the header.
    pub(super) fn push_reply(&mut self, client_index: u32, kind: u8, tag: u16, message: &mut [u8]) {
        let size = message.len() as u32;
        wire::put_u32(message, 0, size);
        message[4] = kind;
        wire::put_tag(message, tag);
        self.push_to_client(client_index, message, |_| ());
    }
}
