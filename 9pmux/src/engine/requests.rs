//! The upstream requests by tag. The tags come from libmux's tag pool.

use mux::tags::{NoTag, TagPool, TagRange};

use super::config::Config;
use super::descriptors::DescriptorUse;
use super::far_end::KEEPALIVE_TAG;
use super::fids::{NO_FID, Owner};
use super::flush::FlushState;
use super::inflight_limit::{InflightLimit, SentMark};
use super::users::NO_USER;
use crate::wire::{NOTAG, types};

/// For each group of so many requests, one more tag is reserved for Tflush and Tclunk, which free other
/// tags.
const REQUESTS_PER_RESERVED_TAG: usize = 64;

/// The requests of one descriptor that may be upstream, one for each direction. Each may have a Tflush as well.
const REQUESTS_PER_DESCRIPTOR: usize = 2;

/// One of so many tags of clients is kept for Tflush, which may use the reserved tags as well. Without a bound each
/// request that a departed client leaves would take a second tag.
pub const FLUSH_PART: usize = 16;

/// The maximum number of clients' requests, so that the reserved tags fit as well.
pub const MAX_REQUESTS: usize =
    NOTAG as usize / (REQUESTS_PER_RESERVED_TAG + 1) * REQUESTS_PER_RESERVED_TAG;

#[derive(Clone, Copy, Debug)]
pub struct UpstreamRequest {
    pub owner: Owner,
    /// The user that is counted for its tag, or [`NO_USER`].
    pub user: u32,
    /// The type of its T-message.
    pub kind: u8,
    /// The client's tag.
    pub tag: u16,
    /// Whether this is the Twalk that a client's Tattach has become (`shared_attach.rs`).
    pub attach_by_walk: bool,
    pub descriptor_use: DescriptorUse,
    /// The number of names of a Twalk.
    pub name_count: u16,
    /// The upstream tag of the request that it flushes, if it is a Tflush.
    pub flush_target: u16,
    pub flush: FlushState,
    /// Whether its reply has arrived, while the Rflush has not.
    pub replied: bool,
    /// Whether it waits to be sent again, after the server was lost (`restore/held.rs`).
    pub is_held: bool,
    /// The upstream fids that it mentions.
    pub fids: [u32; 2],
    /// The fid among them that it creates, or [`NO_FID`].
    pub creates: u32,
    /// The fid among them that it releases, or [`NO_FID`].
    pub releases: u32,
    /// The number of bytes of the client's output that are reserved for its reply.
    pub max_reply_len: u32,
    /// Whether its reply may exceed that, up to the msize.
    pub has_unbounded_reply: bool,
    /// Its bytes and those of its reply, if there is a window (`window.rs`).
    pub cost: u32,
    /// When it was sent, for the adaptive limit (`inflight_limit.rs`).
    pub sent: SentMark,
    /// The time in microseconds at which a client's request was sent, for its latency (`counters.rs`).
    pub sent_at: u32,
}

impl UpstreamRequest {
    /// Returns a request of 9pmux's own of this type.
    pub fn internal(kind: u8) -> UpstreamRequest {
        UpstreamRequest {
            owner: Owner::Internal,
            user: NO_USER,
            kind,
            tag: NOTAG,
            attach_by_walk: false,
            descriptor_use: DescriptorUse::None,
            name_count: 0,
            flush_target: NOTAG,
            flush: FlushState::None,
            replied: false,
            is_held: false,
            fids: [NO_FID; 2],
            creates: NO_FID,
            releases: NO_FID,
            max_reply_len: 0,
            has_unbounded_reply: false,
            cost: 0,
            sent: SentMark::NOT_COUNTED,
            sent_at: 0,
        }
    }

    /// Returns true if it is a Tclunk of 9pmux's own.
    #[inline]
    pub fn is_internal_clunk(&self) -> bool {
        self.kind == types::TCLUNK && self.owner == Owner::Internal && self.tag == NOTAG
    }

    /// Returns true if it is the Topen that a client's Topenfd has become.
    pub fn opens_descriptor(&self) -> bool {
        self.descriptor_use == DescriptorUse::Opens
    }

    /// Returns true if it is a Tflush that counts among the flushes: that of a descriptor's request does not.
    #[inline]
    pub fn is_counted_flush(&self) -> bool {
        self.kind == types::TFLUSH && self.descriptor_use != DescriptorUse::Moves
    }
}

/// All upstream requests.
pub struct Requests {
    tags: TagPool,
    range: TagRange,
    /// The maximum number of clients' requests.
    max: usize,
    /// The number of reserved tags.
    reserved: usize,
    /// The number of requests for descriptors at which no further Tread or Twrite is sent for them.
    max_for_descriptors: usize,
    /// The number of requests for descriptors, which do not count among the clients' requests.
    for_descriptors: usize,
    /// The number of flushes.
    flushes: usize,
    /// The sum of the costs of all requests.
    cost: usize,
    /// The adaptive limit.
    pub adaptive: InflightLimit,
    by_tag: Vec<UpstreamRequest>,
}

impl Requests {
    /// Returns an empty table.
    pub fn new(config: &Config) -> Requests {
        let max = config.max_inflight_all.clamp(1, MAX_REQUESTS);
        let reserved = max.div_ceil(REQUESTS_PER_RESERVED_TAG);
        // The tag below NOTAG is that of a keepalive (`far_end.rs`).
        let range = TagRange { min: 0, max: u32::from(KEEPALIVE_TAG) };
        let tags = TagPool::new();
        Requests {
            tags,
            range,
            max,
            reserved,
            max_for_descriptors: REQUESTS_PER_DESCRIPTOR * config.max_descriptors_all,
            for_descriptors: 0,
            flushes: 0,
            cost: 0,
            adaptive: InflightLimit::new(config.adapts),
            by_tag: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.tags.allocated()
    }

    /// Returns the number of reserved tags.
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// Returns the number of free tags for clients' requests while `clunks` of 9pmux's own are in flight. These do not
    /// count as long as they fit into the reserve, so that a departed client cannot starve the others.
    #[inline]
    pub fn free_tags(&self, clunks: usize) -> usize {
        let max = (self.max + self.for_descriptors).min(NOTAG as usize - self.reserved);
        (max + clunks.min(self.reserved)).saturating_sub(self.tags.allocated())
    }

    /// Returns true if there is a tag for a request that moves the data of a descriptor. Such requests do not
    /// count among the clients', but leave the reserved tags as well. They have a bound of their own, because a
    /// descriptor that is closed leaves them if the server does not reply to their flushes.
    #[inline]
    pub fn has_descriptor_tag(&self) -> bool {
        self.for_descriptors < self.max_for_descriptors
            && self.tags.allocated() < NOTAG as usize - self.reserved
    }

    /// Returns true if there is a tag for a request of 9pmux's own.
    pub fn has_flush_tag(&self) -> bool {
        self.tags.allocated() < self.max + self.reserved + self.for_descriptors
    }

    /// A flush was sent, or has its reply.
    pub fn count_flush(&mut self, was_sent: bool) {
        self.flushes = if was_sent { self.flushes + 1 } else { self.flushes - 1 };
    }

    /// Returns the number of further flushes that may be upstream at the same time.
    #[inline]
    pub fn free_flushes(&self) -> usize {
        (self.max / FLUSH_PART + self.reserved).saturating_sub(self.flushes)
    }

    /// Returns the number of clients' tags that are kept for further flushes.
    #[inline]
    pub fn kept_for_flushes(&self) -> usize {
        self.free_flushes().min(self.max / FLUSH_PART)
    }

    /// Returns the sum of the costs of all requests.
    #[inline]
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Returns true if the adaptive limit permits one more request.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.adaptive.has_room()
    }

    /// Counts a client's request that is about to be allocated for the adaptive limit.
    #[inline]
    pub fn count_sent(&mut self) -> SentMark {
        self.adaptive.count_sent()
    }

    /// Returns the maximum number of clients' requests.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Allocates a tag for `request`.
    ///
    /// # Errors
    /// There is no free tag.
    #[inline(always)]
    pub fn allocate(&mut self, request: &UpstreamRequest) -> Result<u16, NoTag> {
        let is_for_descriptor = request.descriptor_use == DescriptorUse::Moves;
        if !is_for_descriptor && !self.has_flush_tag() {
            return Err(NoTag::AllTaken);
        }
        let tag = self.tags.allocate(self.range, u32::from(request.kind))? as u16;
        self.for_descriptors += usize::from(is_for_descriptor);
        self.cost += request.cost as usize;
        match self.by_tag.get_mut(tag as usize) {
            Some(slot) => *slot = *request,
            // The pool allocates fresh tags from the low end upward.
            None => self.by_tag.push(*request),
        }
        Ok(tag)
    }

    /// Returns the request with this upstream tag, if there is one.
    #[inline]
    pub fn find(&self, tag: u16) -> Option<&UpstreamRequest> {
        self.tags.owner(u32::from(tag))?;
        self.by_tag.get(tag as usize)
    }

    /// Returns the request of an allocated tag.
    #[inline]
    pub fn get(&mut self, tag: u16) -> &mut UpstreamRequest {
        &mut self.by_tag[tag as usize]
    }

    /// Frees the tag of this request.
    #[inline(always)]
    pub fn free(&mut self, tag: u16, request: &UpstreamRequest) {
        let is_for_descriptor = request.descriptor_use == DescriptorUse::Moves;
        self.for_descriptors -= usize::from(is_for_descriptor);
        self.cost -= request.cost as usize;
        self.adaptive.count_reply(request.sent, request.kind == types::TREAD);
        self.tags.free(u32::from(tag));
    }

    /// The server was lost, and the request waits to be sent again. Returns what it has cost until now.
    pub fn suspend(&mut self, tag: u16) -> u32 {
        let request = self.get(tag);
        request.is_held = true;
        let cost = std::mem::take(&mut request.cost);
        self.cost -= cost as usize;
        cost
    }

    /// The connection was lost: the adaptive limit begins anew, and no request counts for it.
    pub fn renew_limit(&mut self) {
        self.adaptive.begin_anew();
        self.by_tag.iter_mut().for_each(|request| request.sent = SentMark::NOT_COUNTED);
    }

    /// A suspended request is sent again, at this cost.
    pub fn resume(&mut self, tag: u16, cost: u32) {
        let sent = self.count_sent();
        let request = self.get(tag);
        request.is_held = false;
        request.sent = sent;
        request.cost = cost;
        self.cost += cost as usize;
    }

    /// Returns the tags of all requests.
    pub fn tags(&self) -> Vec<u16> {
        (0..self.by_tag.len() as u16).filter(|tag| self.find(*tag).is_some()).collect()
    }

    /// Returns the number of flushes.
    #[cfg(any(test, mux_fuzz))]
    pub fn flushes(&self) -> usize {
        self.flushes
    }

    /// Returns the number of requests for descriptors.
    #[cfg(any(test, mux_fuzz))]
    pub fn for_descriptors(&self) -> usize {
        self.for_descriptors
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn iter(&self) -> impl Iterator<Item = (u16, &UpstreamRequest)> {
        (0..self.by_tag.len() as u16).filter_map(|tag| Some((tag, self.find(tag)?)))
    }
}
