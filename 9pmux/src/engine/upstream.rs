//! The server's side: what has been agreed with it, and its bytes.

use std::collections::VecDeque;
use std::time::Duration;

use super::buffer::Buffer;
use super::end::End;
use super::root::Root;
use crate::wire::Dialect;

/// What has been agreed.
pub enum Agreed {
    /// Nothing: no client has asked for a version yet.
    Nothing,
    /// A Tversion is upstream.
    Asked {
        offer: Dialect,
        deadline: Duration,
    },
    Settled,
    Ended(End),
}

pub struct Upstream {
    pub agreed: Agreed,
    /// What is spoken, or, before that is settled, what errors are put in.
    pub dialect: Dialect,
    pub msize: u32,
    /// The beginning of a message.
    pub inbox: Buffer,
    pub out: Buffer,
    /// Requests to be flushed, and fids to be clunked, as soon as there are tags for that.
    pub flushes: VecDeque<u16>,
    pub clunks: VecDeque<u32>,
    /// How many of our own clunks are upstream.
    pub clunking: usize,
    pub root: Root,
}

impl Default for Upstream {
    fn default() -> Upstream {
        Upstream {
            agreed: Agreed::Nothing,
            dialect: Dialect::Plain,
            msize: 0,
            inbox: Buffer::default(),
            out: Buffer::default(),
            flushes: VecDeque::new(),
            clunks: VecDeque::new(),
            clunking: 0,
            root: Root::default(),
        }
    }
}

impl Upstream {
    pub fn deadline(&self) -> Option<Duration> {
        match self.agreed {
            Agreed::Asked { deadline, .. } => Some(deadline),
            _ => None,
        }
    }

    pub fn end(&self) -> Option<&End> {
        match &self.agreed {
            Agreed::Ended(end) => Some(end),
            _ => None,
        }
    }

    pub fn settled(&self) -> Option<Dialect> {
        matches!(self.agreed, Agreed::Settled).then_some(self.dialect)
    }
}
