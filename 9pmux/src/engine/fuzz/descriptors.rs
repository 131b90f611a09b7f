//! Descriptors: the files that the server has opened for them, and the programs that have them.
//!
//! A program receives exactly the bytes that the server has sent, in their order, and the server receives exactly
//! those that the program has written. In each direction one request at most is at the server. The fid is clunked
//! when no request names it, and nothing is left when all programs and clients have gone.

use std::collections::BTreeMap;

use super::messages::u64_at;
use super::world::World;
use crate::engine::DescriptorId;
use crate::wire::{DATA_HEADER, HEADER, IO_HEADER, kind, types, u32_at};

/// A file that the server has opened for a descriptor.
pub struct File {
    mode: u8,
    /// The data of all Rreads, and of all Twrites.
    sent: Vec<u8>,
    written: Vec<u8>,
}

/// All such files, by their number, which the qid of their Ropenfd has as its path.
#[derive(Default)]
pub struct Files {
    files: Vec<File>,
    by_fid: BTreeMap<u32, u64>,
}

impl Files {
    /// Adds a file, and returns its number.
    pub fn open(&mut self, fid: u32, mode: u8) -> u64 {
        let number = self.files.len() as u64;
        self.files.push(File { mode: mode & 3, sent: Vec::new(), written: Vec::new() });
        self.by_fid.insert(fid, number);
        number
    }

    pub fn close(&mut self, fid: u32) {
        self.by_fid.remove(&fid);
    }

    pub fn clear(&mut self) {
        self.by_fid.clear();
    }

    pub fn has(&self, fid: u32) -> bool {
        self.by_fid.contains_key(&fid)
    }

    fn of_fid(&mut self, fid: u32) -> Option<&mut File> {
        let number = *self.by_fid.get(&fid)?;
        self.files.get_mut(number as usize)
    }

    /// Examines a Tread or Twrite of a descriptor.
    pub fn check_request(&mut self, message: &[u8], msize: u32) {
        let file = self.of_fid(u32_at(message, HEADER)).expect("its file is open");
        let (offset, count) = (u64_at(message, HEADER + 4) as usize, u32_at(message, HEADER + 12));
        assert!(count > 0 && count <= msize - IO_HEADER, "{count} bytes");
        if kind(message) == types::TREAD {
            assert!(file.mode != 1 && offset == file.sent.len(), "a gap in what is read");
        } else {
            assert!([1, 2].contains(&file.mode) && offset == file.written.len(), "a gap");
            file.written.extend(&message[HEADER + 16..]);
        }
    }

    /// Records the reply to a Tread.
    pub fn record_reply(&mut self, fid: u32, reply: &[u8]) {
        if let (Some(file), types::RREAD) = (self.of_fid(fid), kind(reply)) {
            let count = u32_at(reply, HEADER) as usize;
            file.sent.extend(&reply[DATA_HEADER as usize..][..count]);
        }
    }
}

/// The program that has a descriptor, with the driver's socket.
pub struct Program {
    id: DescriptorId,
    /// The number of the file, once the client has received the descriptor.
    file: Option<u64>,
    received: Vec<u8>,
    given: Vec<u8>,
    /// It does not read, except when an event makes it.
    slow: bool,
    writer_gone: bool,
    /// What the driver knows: the length of the output, whether to read, whether to close, and whether to shut down.
    known: (usize, bool, bool, bool),
}

/// What the driver has to do with descriptors.
#[derive(Default)]
pub struct Programs {
    /// Clients may ask for descriptors.
    pub on: bool,
    all: Vec<Program>,
    wanted: Vec<DescriptorId>,
}

impl Programs {
    pub fn new(on: bool) -> Programs {
        Programs { on, ..Programs::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl World<'_> {
    /// Lets a program do something.
    pub(super) fn descriptor_event(&mut self) {
        let (n, what, size) =
            (self.bytes.next() as usize, self.bytes.next(), self.bytes.next() as usize);
        let count = self.programs.all.len().max(1);
        let Some(program) = self.programs.all.get_mut(n % count) else {
            return;
        };
        match what % 8 {
            0 => program.slow = true,
            1 => program.slow = false,
            2 => self.program_reads(n % count, size),
            3..6 => {
                let max = self.engine.descriptor_wants_read(program.id);
                if max > 0 && !program.writer_gone && program.file.is_some() {
                    let bytes = vec![what; (size + 1).min(max)];
                    program.given.extend(&bytes);
                    self.engine.descriptor_bytes(program.id, &bytes);
                }
            }
            6 if program.file.is_some() => self.program_closes(n % count, what & 8 == 0),
            7 if program.file.is_some() && what & 8 == 0 => {
                program.writer_gone = true;
                self.engine.descriptor_writer_gone(program.id);
            }
            _ => {}
        }
    }

    fn program_reads(&mut self, n: usize, max: usize) {
        let program = &mut self.programs.all[n];
        let output = self.engine.descriptor_output(program.id);
        let output = &output[..max.min(output.len())];
        program.received.extend(output);
        program.known.0 -= output.len();
        self.engine.descriptor_wrote(program.id, output.len());
    }

    /// A program closes its descriptor, and the driver notices one direction before the other.
    fn program_closes(&mut self, n: usize, reader_first: bool) {
        let program = &mut self.programs.all[n];
        program.writer_gone = true;
        let id = program.id;
        if reader_first {
            self.engine.descriptor_reader_gone(id);
        }
        self.engine.descriptor_writer_gone(id);
        if !reader_first {
            self.engine.descriptor_reader_gone(id);
        }
    }

    /// Lets all programs read.
    pub(super) fn hurry_programs(&mut self) {
        self.programs.all.iter_mut().for_each(|program| program.slow = false);
    }

    /// Lets all programs end.
    pub(super) fn end_programs(&mut self) {
        (0..self.programs.all.len()).for_each(|n| self.program_closes(n, n % 2 == 0));
        self.hurry_programs();
    }

    /// Performs one action of the driver for descriptors. Returns false if there is none.
    pub(super) fn serve_descriptors(&mut self) -> bool {
        if let Some(id) = self.programs.wanted.pop() {
            if self.engine.wants_pair(id) {
                self.make_pair(id);
            }
            return true;
        }
        let may_receive = |i: &usize| !self.peers[*i].slow && self.peers[*i].known.0 == 0;
        let must_receive = |i: &usize| self.engine.descriptor_to_pass(self.peers[*i].id).is_some();
        let next = (0..self.peers.len()).find(|i| may_receive(i) && must_receive(i));
        if let Some(i) = next {
            self.pass_descriptor(i);
            return true;
        }
        let all = &self.programs.all;
        if let Some(n) = all.iter().position(|program| !program.slow && program.known.0 > 0) {
            self.program_reads(n, usize::MAX);
            return true;
        }
        let closes = |program: &Program| program.known.2 && program.known.0 == 0;
        let Some(n) = all.iter().position(closes) else {
            return false;
        };
        let program = self.programs.all.swap_remove(n);
        self.engine.descriptor_closed(program.id);
        let over = self.engine.end_reason().is_some() || self.server.wild;
        if let Some(file) = program.file.filter(|_| !over && program.writer_gone) {
            let file = &self.server.files.files[file as usize];
            assert!(file.written == program.given, "the server has not got all");
        }
        true
    }

    /// Passes a client the descriptor that it must receive now.
    fn pass_descriptor(&mut self, i: usize) {
        let peer = &mut self.peers[i];
        let Some(id) = self.engine.descriptor_to_pass(peer.id) else {
            return;
        };
        let found = self.programs.all.iter_mut().find(|program| program.id == id);
        let program = found.expect("the driver has its socket");
        program.file = peer.opened.pop_front();
        assert!(program.file.is_some() || self.server.wild || peer.is_lost(), "nothing was opened");
        self.engine.descriptor_passed(peer.id);
    }

    fn make_pair(&mut self, id: DescriptorId) {
        if self.bytes.rarely(8) {
            return self.engine.pair_failed(id);
        }
        self.programs.all.push(Program {
            id,
            file: None,
            received: Vec::new(),
            given: Vec::new(),
            slow: false,
            writer_gone: false,
            known: (0, false, false, false),
        });
        self.engine.pair_made(id);
    }

    /// Examines what the driver is told of descriptors, and the bytes that programs have received.
    pub(super) fn check_programs(&mut self) {
        let mut named = Vec::new();
        while let Some(id) = self.engine.next_descriptor() {
            assert!(!named.contains(&id), "a descriptor is named twice");
            named.push(id);
            if self.engine.wants_pair(id) {
                assert!(self.programs.on, "no client may ask for a descriptor");
                self.programs.wanted.push(id);
            }
        }
        for program in &mut self.programs.all {
            let id = program.id;
            let now = (
                self.engine.descriptor_output(id).len(),
                self.engine.descriptor_wants_read(id) > 0,
                self.engine.descriptor_is_closing(id),
                self.engine.descriptor_output_ended(id),
            );
            let before = program.known;
            let news =
                now.0 != before.0 || (now.1 && !before.1) || (now.2, now.3) != (before.2, before.3);
            assert!(!news || named.contains(&id), "a driver is not told: {before:?}, {now:?}");
            program.known = now;
            if let Some(file) = program.file.filter(|_| !self.server.wild) {
                let file = &self.server.files.files[file as usize];
                assert!(file.sent.starts_with(&program.received), "the reader gets other bytes");
                assert!(program.given.starts_with(&file.written), "the server gets other bytes");
            }
        }
    }

    /// Checks that readers have all that the server has sent, when nothing happens any more.
    pub(super) fn check_readers(&self) {
        for program in &self.programs.all {
            if let Some(file) = program.file.filter(|_| !program.writer_gone && !self.server.wild) {
                let file = &self.server.files.files[file as usize];
                assert!(file.sent == program.received, "the reader waits for ever");
            }
        }
    }
}
