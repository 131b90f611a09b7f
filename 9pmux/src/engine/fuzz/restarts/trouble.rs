//! A server that is back, and not well: it refuses requests of the replay for a time, or blocks in the open of a file.

use std::time::Duration;

use super::session::{Request, Session};
use crate::engine::fuzz::bytes::Bytes;
use crate::wire::{HEADER, kind, types, u32_at};

/// ENOMEM, EBUSY, ENFILE and EAGAIN.
const ERRORS: [u32; 4] = [12, 16, 23, 11];

/// A file whose open blocks, as that of a FIFO.
struct Fifo {
    inode: u64,
    until: Duration,
    /// The server does nothing else meanwhile.
    blocks_all: bool,
}

#[derive(Default)]
pub struct Trouble {
    busy_until: Duration,
    fifo: Option<Fifo>,
}

impl Trouble {
    /// A session begins, while clients have these files open.
    pub fn begin(&mut self, bytes: &mut Bytes<'_>, now: Duration, open: &[u64]) {
        let after = |seconds| now + Duration::from_secs(seconds);
        if bytes.rarely(4) {
            self.busy_until = after(bytes.pick(&[1, 3, 10, 100]));
        }
        if bytes.rarely(6) && !open.is_empty() {
            let until = bytes.pick(&[after(3), after(15), after(40), Duration::MAX]);
            let (inode, blocks_all) = (bytes.pick(open), bytes.rarely(3));
            self.fifo = Some(Fifo { inode, until, blocks_all });
        }
    }

    /// Returns true if a request of the replay of this type may be refused for the moment.
    pub fn may_refuse(kind: u8) -> bool {
        matches!(kind, types::TATTACH | types::TWALK | types::TOPEN | types::TLOPEN | types::TLOCK)
    }

    /// Returns the number of the error that a request gets while the server is busy.
    pub fn error(&self, bytes: &mut Bytes<'_>, now: Duration) -> Option<u32> {
        let is_refused = now < self.busy_until && bytes.rarely(2);
        is_refused.then(|| bytes.pick(&ERRORS))
    }

    /// Returns the requests of the replay in which the server blocks, if there are any.
    pub fn blocked(&self, session: &Session, now: Duration) -> Option<Blocked> {
        let fifo = self.fifo.as_ref().filter(|fifo| now < fifo.until)?;
        let is_blocked = |request: &Request| {
            let opens = matches!(kind(&request.message), types::TOPEN | types::TLOPEN);
            request.replays
                && opens
                && session.inode(u32_at(&request.message, HEADER)) == Some(fifo.inode)
        };
        let waiting = session.waiting.iter().enumerate();
        let requests: Vec<usize> =
            waiting.filter(|(_, request)| is_blocked(request)).map(|(i, _)| i).collect();
        Some(Blocked { first: *requests.first()?, requests, is_all: fifo.blocks_all })
    }
}

/// The places of the requests in which the server blocks.
pub struct Blocked {
    pub first: usize,
    pub requests: Vec<usize>,
    /// The server does nothing that has arrived later.
    pub is_all: bool,
}
