//! Requests and replies that check how the library uses them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::prim::Cell;
use crate::wire::Ledger;

/// The fate of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The request is sent, and the server replies.
    Replied,
    /// The same, but the server reads the request only when all of its replies have been read. A deadline passes
    /// in the meantime.
    Behind,
    /// The request is sent, and the server never replies.
    Mute,
    /// Setting the request's tag fails.
    Untaggable,
    /// Sending the request fails.
    Unsendable,
    /// Sending reports a failure, but the server receives the request and replies.
    Torn,
    /// A message that belongs to no call.
    Message,
}

/// The caller's memory for its request. The caller may reuse this memory as soon as its call has returned.
pub struct Frame {
    pub number: usize,
    pub fate: Fate,
    /// Whether its call has a deadline.
    pub timed: bool,
    /// A plain cell, so that loom checks that a write to the request by one thread happens before a read by
    /// another thread.
    tag: Cell<u32>,
    back: AtomicBool,
}

// SAFETY: one thread at a time accesses `tag`, the one that the library has given the request to. The checker
// verifies this.
unsafe impl Send for Frame {}
// SAFETY: as above.
unsafe impl Sync for Frame {}

impl Frame {
    pub fn new(number: usize, fate: Fate, timed: bool) -> Arc<Frame> {
        Arc::new(Frame { number, fate, timed, tag: Cell::new(0), back: AtomicBool::new(false) })
    }

    /// Marks the call as returned.
    pub fn is_back(&self) {
        self.back.store(true, Ordering::Relaxed);
        // SAFETY: only the caller accesses the request after its call has returned.
        self.tag.with_mut(|tag| unsafe { *tag = u32::MAX });
    }
}

/// A request that the library may use.
pub struct Request(pub Arc<Frame>);

impl Request {
    fn is_the_librarys(&self) {
        let back = self.0.back.load(Ordering::Relaxed);
        assert!(!back, "request {} is used after its call has returned", self.0.number);
    }

    pub fn tag(&self) -> u32 {
        self.is_the_librarys();
        // SAFETY: the callback that receives the request has exclusive access to it.
        self.0.tag.with(|tag| unsafe { *tag })
    }

    pub fn set_tag(&mut self, number: u32) {
        self.is_the_librarys();
        // SAFETY: as above.
        self.0.tag.with_mut(|tag| unsafe { *tag = number });
    }
}

/// A reply. The library must deliver it once, to its call or to the orphan function. It cannot be copied, and
/// panics if it is dropped without having been delivered.
pub struct Reply {
    pub tag: Option<u32>,
    /// The number of the call.
    to: Cell<usize>,
    ledger: Arc<Ledger>,
    settled: bool,
}

// SAFETY: a reply has one owner at a time.
unsafe impl Send for Reply {}

impl Reply {
    pub fn new(tag: Option<u32>, to: usize, ledger: &Arc<Ledger>) -> Reply {
        ledger.of(|book| book.replies += 1);
        Reply { tag, to: Cell::new(to), ledger: ledger.clone(), settled: false }
    }

    /// Marks the reply as delivered, and returns the number of the call that it belongs to.
    pub fn settle(mut self) -> usize {
        self.settled = true;
        self.ledger.of(|book| book.replies -= 1);
        // SAFETY: the caller owns the reply.
        self.to.with(|to| unsafe { *to })
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.settled && !std::thread::panicking() {
            panic!("a reply is lost: neither its call nor the orphan function has got it");
        }
    }
}
