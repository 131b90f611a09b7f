//! Requests upstream, by tag. The tags are libmux's; what a tag stands for is here.

use mux::tags::{NoTag, TagPool, TagRange};

use super::fids::{NO_FID, Owner};
use crate::wire::NOTAG;

/// Of so many requests' tags one is kept for flushes and clunks, which set others free.
const REQUESTS_PER_RESERVED_TAG: usize = 64;

/// The most requests of clients that there can be, with the tags that are kept.
const MAX_REQUESTS: usize =
    NOTAG as usize / (REQUESTS_PER_RESERVED_TAG + 1) * REQUESTS_PER_RESERVED_TAG;

/// What became of the wish to flush a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushState {
    None,
    /// There was no tag for it.
    Due,
    Sent,
}

#[derive(Clone, Copy, Debug)]
pub struct UpstreamRequest {
    pub owner: Owner,
    /// The type of its T-message.
    pub kind: u8,
    /// Its client's tag.
    pub tag: u16,
    /// It is a walk, and its client has asked to attach; see `shared_attach.rs`.
    pub attach_by_walk: bool,
    /// How many names are walked.
    pub name_count: u16,
    /// The request that it flushes, if it is a flush.
    pub flush_target: u16,
    pub flush: FlushState,
    /// Its reply has come, and its flush is not answered.
    pub replied: bool,
    /// The fids upstream that it mentions.
    pub fids: [u32; 2],
    /// Which of them it creates; [`NONE`] for none.
    pub creates: u32,
    /// Which of them it releases.
    pub releases: u32,
    /// How much of its client's output its reply may need.
    pub max_reply_len: u32,
}

impl UpstreamRequest {
    /// One of ours, of that type.
    pub fn internal(kind: u8) -> UpstreamRequest {
        UpstreamRequest {
            owner: Owner::Internal,
            kind,
            tag: NOTAG,
            attach_by_walk: false,
            name_count: 0,
            flush_target: NOTAG,
            flush: FlushState::None,
            replied: false,
            fids: [NO_FID; 2],
            creates: NO_FID,
            releases: NO_FID,
            max_reply_len: 0,
        }
    }
}

/// All that are upstream.
pub struct Requests {
    tags: TagPool,
    range: TagRange,
    /// How many a client's request may find there.
    max: usize,
    /// How many more tags there are.
    reserved: usize,
    by_tag: Vec<UpstreamRequest>,
}

impl Requests {
    /// None, and at most so many of clients.
    pub fn new(max: usize) -> Requests {
        let max = max.clamp(1, MAX_REQUESTS);
        let reserved = max.div_ceil(REQUESTS_PER_RESERVED_TAG);
        let range = TagRange { min: 0, max: (max + reserved) as u32 };
        Requests { tags: TagPool::new(), range, max, reserved, by_tag: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.tags.allocated()
    }

    /// How many tags are kept.
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// Whether a client's request may have a tag, when so many are clunks of ours. Those that could have
    /// the tags that are kept do not count, or who goes could leave so many that nobody else has a turn.
    #[inline]
    pub fn has_tag(&self, clunks: usize) -> bool {
        self.tags.allocated() < self.max + clunks.min(self.reserved)
    }

    /// A tag for `request`.
    ///
    /// # Errors
    /// There is none.
    #[inline]
    pub fn allocate(&mut self, request: UpstreamRequest) -> Result<u16, NoTag> {
        let tag = self.tags.allocate(self.range, u32::from(request.kind))? as u16;
        match self.by_tag.get_mut(tag as usize) {
            Some(slot) => *slot = request,
            // Tags are handed out from the low end upward.
            None => self.by_tag.push(request),
        }
        Ok(tag)
    }

    /// The request of that tag, if it is upstream.
    #[inline]
    pub fn find(&self, tag: u16) -> Option<&UpstreamRequest> {
        self.tags.owner(u32::from(tag))?;
        self.by_tag.get(tag as usize)
    }

    /// The request of a tag that is taken.
    #[inline]
    pub fn get(&mut self, tag: u16) -> &mut UpstreamRequest {
        &mut self.by_tag[tag as usize]
    }

    #[inline]
    pub fn free(&mut self, tag: u16) {
        self.tags.free(u32::from(tag));
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn iter(&self) -> impl Iterator<Item = (u16, &UpstreamRequest)> {
        (0..self.by_tag.len() as u16).filter_map(|tag| Some((tag, self.find(tag)?)))
    }
}
