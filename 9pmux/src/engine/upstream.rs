//! The server's side: what has been agreed with it, and its bytes.

use std::collections::VecDeque;
use std::time::Duration;

use super::buffer::Buffer;
use super::end::EndReason;
use super::shared_attach::SharedAttach;
use crate::wire::Dialect;

/// What has been agreed.
pub enum UpstreamState {
    /// Nothing: no client has asked for a version yet.
    NoVersion,
    /// A Tversion is upstream.
    AwaitingVersion {
        offer: Dialect,
        deadline: Duration,
    },
    Ready,
    Ended(EndReason),
}

pub struct Upstream {
    pub state: UpstreamState,
    /// What is spoken, or, before that is settled, what errors are put in.
    pub dialect: Dialect,
    pub msize: u32,
    /// The beginning of a message.
    pub inbox: Buffer,
    pub out: Buffer,
    /// Requests to be flushed, and fids to be clunked, as soon as there are tags for that.
    pub deferred_flushes: VecDeque<u16>,
    pub deferred_clunks: VecDeque<u32>,
    /// How many of our own clunks are upstream.
    pub internal_clunks: usize,
    pub shared_attach: SharedAttach,
}

impl Default for Upstream {
    fn default() -> Upstream {
        Upstream {
            state: UpstreamState::NoVersion,
            dialect: Dialect::Plain,
            msize: 0,
            inbox: Buffer::default(),
            out: Buffer::default(),
            deferred_flushes: VecDeque::new(),
            deferred_clunks: VecDeque::new(),
            internal_clunks: 0,
            shared_attach: SharedAttach::default(),
        }
    }
}

impl Upstream {
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            UpstreamState::AwaitingVersion { deadline, .. } => Some(deadline),
            _ => None,
        }
    }

    pub fn end_reason(&self) -> Option<&EndReason> {
        match &self.state {
            UpstreamState::Ended(end) => Some(end),
            _ => None,
        }
    }

    pub fn ready_dialect(&self) -> Option<Dialect> {
        matches!(self.state, UpstreamState::Ready).then_some(self.dialect)
    }
}
