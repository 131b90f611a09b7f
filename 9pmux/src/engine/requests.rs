//! Requests upstream, by tag. The tags are libmux's; what a tag stands for is here.

use mux::tags::{NoTag, TagPool, TagRange};

use super::fids::{NONE, Owner};
use crate::wire::NOTAG;

/// Of so many requests' tags one is kept for flushes and clunks, which set others free.
const KEPT: usize = 64;

/// The most requests of clients that there can be, with the tags that are kept.
const MOST: usize = NOTAG as usize / (KEPT + 1) * KEPT;

/// What became of the wish to flush a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    None,
    /// There was no tag for it.
    Due,
    Sent,
}

#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub owner: Owner,
    /// The type of its T-message.
    pub kind: u8,
    /// Its client's tag.
    pub tag: u16,
    /// It is a walk, and its client has asked to attach; see `root.rs`.
    pub attaches: bool,
    /// How many names are walked.
    pub names: u16,
    /// The request that it flushes, if it is a flush.
    pub victim: u16,
    pub flush: Flush,
    /// Its reply has come, and its flush is not answered.
    pub answered: bool,
    /// The fids upstream that it mentions.
    pub fids: [u32; 2],
    /// Which of them it creates; [`NONE`] for none.
    pub creates: u32,
    /// Which of them it releases.
    pub releases: u32,
    /// How much of its client's output its reply may need.
    pub room: u32,
}

impl Request {
    /// One of ours, of that type.
    pub fn ours(kind: u8) -> Request {
        Request {
            owner: Owner::Nobody,
            kind,
            tag: NOTAG,
            attaches: false,
            names: 0,
            victim: NOTAG,
            flush: Flush::None,
            answered: false,
            fids: [NONE; 2],
            creates: NONE,
            releases: NONE,
            room: 0,
        }
    }
}

/// All that are upstream.
pub struct Requests {
    tags: TagPool,
    range: TagRange,
    /// How many a client's request may find there.
    most: usize,
    /// How many more tags there are.
    kept: usize,
    by_tag: Vec<Request>,
}

impl Requests {
    /// None, and at most so many of clients.
    pub fn new(most: usize) -> Requests {
        let most = most.clamp(1, MOST);
        let kept = most.div_ceil(KEPT);
        let range = TagRange { min: 0, max: (most + kept) as u32 };
        Requests { tags: TagPool::new(), range, most, kept, by_tag: Vec::new() }
    }

    pub fn taken(&self) -> usize {
        self.tags.allocated()
    }

    /// How many tags are kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Whether a client's request may have a tag, when so many are clunks of ours. Those that could have
    /// the tags that are kept do not count, or who goes could leave so many that nobody else has a turn.
    #[inline]
    pub fn has_tag(&self, clunks: usize) -> bool {
        self.tags.allocated() < self.most + clunks.min(self.kept)
    }

    /// A tag for `request`.
    ///
    /// # Errors
    /// There is none.
    #[inline]
    pub fn take(&mut self, request: Request) -> Result<u16, NoTag> {
        let tag = self.tags.allocate(self.range, u32::from(request.kind))? as u16;
        match self.by_tag.get_mut(tag as usize) {
            Some(place) => *place = request,
            // Tags are handed out from the low end upward.
            None => self.by_tag.push(request),
        }
        Ok(tag)
    }

    /// The request of that tag, if it is upstream.
    #[inline]
    pub fn find(&self, tag: u16) -> Option<&Request> {
        self.tags.owner(u32::from(tag))?;
        self.by_tag.get(tag as usize)
    }

    /// The request of a tag that is taken.
    #[inline]
    pub fn get(&mut self, tag: u16) -> &mut Request {
        &mut self.by_tag[tag as usize]
    }

    #[inline]
    pub fn give_back(&mut self, tag: u16) {
        self.tags.free(u32::from(tag));
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Request)> {
        (0..self.by_tag.len() as u16).filter_map(|tag| Some((tag, self.find(tag)?)))
    }
}
