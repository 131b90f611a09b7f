//! The pairs of sockets of descriptors (Topenfd): 9pmux's ends, and the other ends until they are passed.
//!
//! Only 9pmux's end is non-blocking: programs expect a descriptor that blocks. Neither is inherited by programs
//! that are started later.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::retry_on_intr;
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, sendmsg, shutdown,
};

use super::peers::Peer;
use super::stream::{IoOutcome, Origin, Stream, io_outcome};
use crate::engine::DescriptorId;

/// 9pmux's end of a pair.
pub struct End {
    pub peer: Peer,
    /// The other end, until it is passed to the client.
    theirs: Option<OwnedFd>,
    /// The engine knows that no program reads from the other end.
    pub reader_gone: bool,
    /// Writing has been shut down.
    pub output_ended: bool,
    /// Nothing more is moved: the end remains until the programs have closed the other one.
    pub is_finished: bool,
}

impl End {
    /// Makes a pair.
    pub fn new() -> io::Result<End> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let peer = Peer::new(Stream::socket(ours.into()), Origin::Unknown);
        Ok(End {
            peer,
            theirs: Some(theirs.into()),
            reader_gone: false,
            output_ended: false,
            is_finished: false,
        })
    }

    /// Shuts down writing, so that the reader gets end of file.
    pub fn end_output(&mut self) {
        if !std::mem::replace(&mut self.output_ended, true) {
            let _ = shutdown(self.peer.stream.output_fd(), Shutdown::Write);
        }
    }

    /// Returns true if the other end may be in use: the client has received it, or will.
    pub fn is_held(&self) -> bool {
        self.theirs.is_none() && !self.peer.hung_up
    }
}

/// The ends by the index of their descriptor.
#[derive(Default)]
pub struct Ends {
    slots: Vec<Option<(DescriptorId, End)>>,
    count: usize,
    /// The descriptors with events that have not been handled.
    queue: Vec<DescriptorId>,
}

impl Ends {
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns true if bytes may still be moved between a program and the server.
    pub fn is_used(&self) -> bool {
        self.slots.iter().flatten().any(|(_, end)| !end.is_finished)
    }

    pub fn add(&mut self, id: DescriptorId, end: End) {
        if self.slots.len() <= id.index() {
            self.slots.resize_with(id.index() + 1, || None);
        }
        self.slots[id.index()] = Some((id, end));
        self.count += 1;
    }

    pub fn get(&mut self, id: DescriptorId) -> Option<&mut End> {
        match self.slots.get_mut(id.index()) {
            Some(Some((found, end))) if *found == id => Some(end),
            _ => None,
        }
    }

    /// Returns the end with this index, if there is one, after adding its descriptor to the queue of events.
    pub fn queue_by_index(&mut self, index: usize) -> Option<&mut End> {
        let (id, end) = self.slots.get_mut(index)?.as_mut()?;
        self.queue.push(*id);
        Some(end)
    }

    /// Returns a descriptor with an event that has not been handled.
    pub fn next_queued(&mut self) -> Option<DescriptorId> {
        self.queue.pop()
    }

    pub fn remove(&mut self, id: DescriptorId) -> Option<End> {
        self.get(id)?;
        self.count -= 1;
        self.slots[id.index()].take().map(|(_, end)| end)
    }

    /// Passes the other end to a client, with a byte 0. The client receives it with a call of its own, so this
    /// must not be sent together with other bytes.
    pub fn pass(&mut self, id: DescriptorId, client: &Stream) -> IoOutcome {
        let Some(end) = self.get(id) else {
            return IoOutcome::End;
        };
        let Some(theirs) = &end.theirs else {
            return IoOutcome::End;
        };
        let fds = [theirs.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = control.push(SendAncillaryMessage::ScmRights(&fds));
        debug_assert!(fits);
        let bytes = [IoSlice::new(&[0])];
        let sent = io_outcome(retry_on_intr(|| {
            sendmsg(client.output_fd(), &bytes, &mut control, SendFlags::empty())
        }));
        if let IoOutcome::Bytes(_) = sent {
            end.theirs = None;
        }
        sent
    }
}
