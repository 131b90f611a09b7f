//! Requests and replies, which watch what is done to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::prim::Cell;
use crate::wire::Ledger;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent, and answered.
    Answered,
    /// The same, but the server takes it when it has no reply that is not read; and deadlines pass meanwhile.
    Behind,
    /// It is sent, and never answered.
    Mute,
    /// It does not take its tag.
    Untaggable,
    /// It can not be sent.
    Unsendable,
    /// Its send says that it has failed, and the server has it all the same.
    Torn,
    /// It is a message that is no call.
    Message,
}

/// Where a caller keeps its request: its own memory, with which it does as it likes as soon as it has
/// control back.
pub struct Frame {
    pub number: usize,
    pub fate: Fate,
    /// Whether its call has a deadline.
    pub timed: bool,
    /// A plain cell, so that loom sees whether what one thread writes to a request has happened before
    /// another reads it.
    tag: Cell<u32>,
    back: AtomicBool,
}

// SAFETY: `tag` is used by whom the library has given the request, one at a time; whether it keeps to
// that is what is checked.
unsafe impl Send for Frame {}
// SAFETY: as above.
unsafe impl Sync for Frame {}

impl Frame {
    pub fn new(number: usize, fate: Fate, timed: bool) -> Arc<Frame> {
        Arc::new(Frame { number, fate, timed, tag: Cell::new(0), back: AtomicBool::new(false) })
    }

    /// The caller has control back.
    pub fn is_back(&self) {
        self.back.store(true, Ordering::Relaxed);
        // SAFETY: it is the caller's alone again.
        self.tag.with_mut(|tag| unsafe { *tag = u32::MAX });
    }
}

/// A request, in the library's hands.
pub struct Request(pub Arc<Frame>);

impl Request {
    fn is_the_librarys(&self) {
        let back = self.0.back.load(Ordering::Relaxed);
        assert!(!back, "request {} is used after its call has returned", self.0.number);
    }

    pub fn tag(&self) -> u32 {
        self.is_the_librarys();
        // SAFETY: whoever is given the request has it alone.
        self.0.tag.with(|tag| unsafe { *tag })
    }

    pub fn set_tag(&mut self, number: u32) {
        self.is_the_librarys();
        // SAFETY: as above.
        self.0.tag.with_mut(|tag| unsafe { *tag = number });
    }
}

/// A reply. It is given to its call or to the orphan function, once: it can not be copied, and says so
/// when it is dropped otherwise.
pub struct Reply {
    pub tag: Option<u32>,
    /// The number of the call.
    to: Cell<usize>,
    ledger: Arc<Ledger>,
    settled: bool,
}

// SAFETY: it has one owner at a time.
unsafe impl Send for Reply {}

impl Reply {
    pub fn new(tag: Option<u32>, to: usize, ledger: &Arc<Ledger>) -> Reply {
        ledger.of(|book| book.replies += 1);
        Reply { tag, to: Cell::new(to), ledger: ledger.clone(), settled: false }
    }

    /// Somebody has got it: whose reply it is.
    pub fn settle(mut self) -> usize {
        self.settled = true;
        self.ledger.of(|book| book.replies -= 1);
        // SAFETY: it is the caller's.
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
