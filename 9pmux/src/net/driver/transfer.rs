//! Reading and writing: bytes between the peers and the engine.

use std::io;

use rustix::io::Errno;

use super::Driver;
use super::clients::CloseReason;
use super::export::ExportSide;
use crate::engine::{ClientId, Engine};
use crate::net::peers::Peer;
use crate::net::stream::IoOutcome;
use crate::net::watch::{Source, Watch};

/// Maximum number of reads after a write to the server has failed: more than a socket buffer holds.
const MAX_DRAIN_READS: usize = 64;

/// Maximum bytes per read from a client. The engine may have to keep them.
const CLIENT_READ: usize = 64 * 1024;

impl Driver {
    pub(super) fn read(&mut self) {
        self.read_server();
        self.read_export();
        self.read_clients();
    }

    fn read_server(&mut self) {
        let reads = self.reads_server();
        let Some(server) = self.server.as_mut().filter(|server| server.readable) else {
            return;
        };
        if !reads {
            // Its end is handled at once, even if its data must not be read now.
            if server.hung_up {
                self.server_gone(None);
            }
            return;
        }
        match server.stream.read(&mut self.buffer) {
            IoOutcome::Bytes(n) => {
                server.readable = n == self.buffer.len() || server.input_ended;
                self.pass_server_bytes(n);
            }
            IoOutcome::WouldBlock => server.readable = false,
            IoOutcome::End => self.server_gone(None),
            IoOutcome::Closed(why) => self.server_gone(why),
        }
    }

    pub(super) fn server_gone(&mut self, why: Option<Errno>) {
        if let Some(server) = self.server.take() {
            self.server_error = why;
            self.watch.remove(&server.stream, server.write_interest);
            match &mut self.link {
                Some(link) => link.link.stream_gone(&mut self.engine),
                None => self.engine.server_gone(),
            }
        }
    }

    /// Reads what the server has sent, after a write to it has failed. The number of reads is bounded, since
    /// the server could send for ever.
    fn drain_server(&mut self, why: Option<Errno>) {
        for _ in 0..MAX_DRAIN_READS {
            let Some(server) = &self.server else {
                return;
            };
            match server.stream.read(&mut self.buffer) {
                IoOutcome::Bytes(n) => self.pass_server_bytes(n),
                IoOutcome::WouldBlock | IoOutcome::End | IoOutcome::Closed(_) => break,
            }
        }
        self.server_gone(why);
    }

    fn read_clients(&mut self) {
        let mut batch = std::mem::take(&mut self.read_batch);
        self.peers.take_queued_reads(&mut batch);
        for id in batch.drain(..) {
            self.read_client(id);
        }
        self.read_batch = batch;
    }

    fn read_client(&mut self, id: ClientId) {
        let Some(peer) = self.peers.get(id).filter(|peer| peer.readable) else {
            return;
        };
        if !self.engine.wants_read(id) {
            // Its end is handled at once, even if its data must not be read now.
            if peer.hung_up {
                self.disconnect_client(id, &CloseReason::ByPeer(None));
            }
            return;
        }
        let buffer = &mut self.buffer[..CLIENT_READ];
        match peer.stream.read(buffer) {
            IoOutcome::Bytes(n) => {
                // A short read has emptied the socket; more data causes a new event.
                peer.readable = n == buffer.len() || peer.input_ended;
                let more = peer.readable;
                self.engine.client_bytes(id, &self.buffer[..n]);
                if more {
                    self.peers.queue_read(id);
                }
            }
            IoOutcome::WouldBlock => peer.readable = false,
            IoOutcome::End if !peer.hung_up => {
                peer.readable = false;
                peer.input_ended = true;
                self.engine.client_finished(id);
            }
            IoOutcome::End => self.disconnect_client(id, &CloseReason::ByPeer(None)),
            IoOutcome::Closed(why) => self.disconnect_client(id, &CloseReason::ByPeer(why)),
        }
    }

    /// Writes all output. A write to a client may allow more of its requests to be forwarded, so this repeats
    /// until the server has no more output or blocks.
    pub(super) fn write(&mut self) {
        loop {
            self.write_server();
            self.write_export();
            loop {
                while let Some(id) = self.engine.next_dirty() {
                    self.service_client(id);
                }
                if !self.serve_descriptors() {
                    break;
                }
            }
            let done = match &self.server {
                Some(server) => {
                    server.write_blocked || server_output(&mut self.link, &self.engine).is_empty()
                }
                None => true,
            };
            if done && !self.export_has_output() {
                return;
            }
        }
    }

    fn write_server(&mut self) {
        let Some(server) = &mut self.server else {
            return;
        };
        loop {
            let output = server_output(&mut self.link, &self.engine);
            if server.write_blocked || output.is_empty() {
                break;
            }
            match server.stream.write(output) {
                IoOutcome::Bytes(n) => match &mut self.link {
                    Some(link) => {
                        link.link.stream_wrote(&mut self.engine, n);
                        server.stream.reduce_buffer(link.link.is_mixed());
                    }
                    None => self.engine.server_wrote(n),
                },
                IoOutcome::WouldBlock => server.write_blocked = true,
                IoOutcome::End => return self.drain_server(None),
                IoOutcome::Closed(why) => return self.drain_server(why),
            }
        }
        if let Err(error) = update_write_interest(&self.watch, Source::Server, server) {
            self.server_gone(Errno::from_io_error(&error));
        }
    }

    /// Writes the output of a client, closes it if the engine asks for that, and queues it for reading.
    pub(super) fn service_client(&mut self, id: ClientId) {
        let Some(peer) = self.peers.get(id) else {
            return;
        };
        while !peer.write_blocked {
            let descriptor = self.engine.descriptor_to_pass(id);
            let written = match descriptor {
                Some(descriptor) => self.ends.pass(descriptor, &peer.stream),
                None if self.engine.output(id).is_empty() => break,
                None => peer.stream.write(self.engine.output(id)),
            };
            match written {
                IoOutcome::Bytes(_) if descriptor.is_some() => self.engine.descriptor_passed(id),
                IoOutcome::Bytes(n) => self.engine.client_wrote(id, n),
                IoOutcome::WouldBlock => peer.write_blocked = true,
                IoOutcome::Closed(Some(Errno::TOOMANYREFS)) if descriptor.is_some() => {
                    return self.pass_later(id);
                }
                IoOutcome::End => return self.disconnect_client(id, &CloseReason::ByPeer(None)),
                IoOutcome::Closed(why) => {
                    return self.disconnect_client(id, &CloseReason::ByPeer(why));
                }
            }
        }
        let is_written = !peer.write_blocked && self.engine.output(id).is_empty();
        if self.engine.is_closing(id) && is_written {
            let why = match peer.input_ended {
                true => CloseReason::ByPeer(None),
                false => CloseReason::ByUs,
            };
            return self.disconnect_client(id, &why);
        }
        if let Err(error) = update_write_interest(&self.watch, Source::Client(id.index()), peer) {
            return self.disconnect_client(id, &CloseReason::ByPeer(Errno::from_io_error(&error)));
        }
        if peer.readable {
            self.peers.queue_read(id);
        }
    }
}

/// Returns the bytes to be written to the server, or to the stream of a link.
fn server_output<'a>(link: &'a mut Option<Box<ExportSide>>, engine: &'a Engine) -> &'a [u8] {
    match link {
        Some(link) => link.link.output(engine),
        None => engine.server_output(),
    }
}

/// Makes the poller report when a blocked peer can be written again, or stops that. For a peer that sends
/// nothing more it also reports that the peer does not read.
pub(super) fn update_write_interest(
    watch: &Watch,
    source: Source,
    peer: &mut Peer,
) -> io::Result<()> {
    let wanted = peer.write_blocked || peer.input_ended;
    if wanted != peer.write_interest {
        watch.set_write_interest(source, &peer.stream, wanted)?;
        peer.write_interest = wanted;
    }
    Ok(())
}
