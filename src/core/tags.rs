//! The tag pool: which tags are allocated, which call owns each of them, and which tag is allocated next.
//!
//! A tag identifies a request until its reply arrives. [`TagPool`] allocates tags of a [`TagRange`],
//! remembers an owner for each, and accepts them back:
//!
//! ```
//! use mux::tags::{NoTag, TagPool, TagRange};
//!
//! let range = TagRange { min: 1, max: 3 };
//! let mut pool = TagPool::new();
//! let first = pool.allocate(range, 70)?;
//! let second = pool.allocate(range, 71)?;
//! assert_eq!((first, second), (1, 2));
//! assert_eq!(pool.allocate(range, 72), Err(NoTag::AllTaken));
//!
//! // A message with this tag has arrived: which call owns the tag?
//! assert_eq!(pool.owner(first), Some(70));
//! pool.free(first);
//! assert_eq!(pool.owner(first), None);
//! assert_eq!(pool.allocated(), 1);
//! # Ok::<(), NoTag>(())
//! ```
//!
//! All operations take constant time. Memory grows with the largest number of tags that were allocated
//! at once, not with the width of the range, which may be all of 0..2^32-1.
//!
//! Tags are allocated from the low end upward. A freed tag goes to the end of a queue. It is not
//! allocated again before [`QUARANTINE`] other tags were freed after it, as long as the range has tags
//! that were never used, so that a late or repeated reply finds no owner rather than another request.
//!
//! The range is an argument of each [`allocate`](TagPool::allocate), because it may change at any time: a
//! client of 9P narrows it to the tag NOTAG for its version request and widens it again. The pool keeps
//! the spans of the current range and of the previous one, and switches between them at no cost.
//! Allocated tags of earlier ranges are kept in a hash map.

use super::tag_map::TagMap;

/// The number of other tags that must be freed before a freed tag is allocated again, if the range has
/// tags that were never used.
pub const QUARANTINE: usize = 64;

/// The end of the queue of free tags.
const NONE: u32 = u32::MAX >> 1;

/// The valid tags: `min <= tag < max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagRange {
    /// The lowest valid tag.
    pub min: u32,
    /// The highest valid tag plus one.
    pub max: u32,
}

impl TagRange {
    /// Returns true if no tag is valid.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.max <= self.min
    }

    fn overlaps(self, other: TagRange) -> bool {
        !self.is_empty() && !other.is_empty() && self.min < other.max && other.min < self.max
    }
}

/// The reason why no tag was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTag {
    /// Every tag of the range is allocated.
    AllTaken,
    /// The range holds no tag.
    EmptyRange,
    /// There is no memory for one more tag.
    NoMemory,
}

#[cfg(any(test, mux_fuzz))]
thread_local! {
    /// Set by tests: there is no memory for more tags.
    pub static OUT_OF_MEMORY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The tags of one connection, each of which is free or allocated to an owner.
///
/// An owner is a number of the caller's choice below 2^31 - 1. Several tags may have the same owner.
#[derive(Default)]
pub struct TagPool {
    now: Span,
    before: Span,
    /// The allocated tags of ranges before the previous one.
    map: TagMap,
    allocated: u32,
}

/// The tags of one range that have been allocated at least once.
struct Span {
    range: TagRange,
    /// The entry of `range.min + i`, for each tag that was ever allocated.
    entries: Vec<Entry>,
    /// The first and last index of the queue of free entries, and its length. The first entry has been
    /// free for longest.
    first: u32,
    last: u32,
    free: u32,
}

/// The state of one tag: allocated, with its owner, or free, with the index of the next free entry.
#[derive(Clone, Copy)]
struct Entry(u32);

impl Entry {
    const FREE: u32 = 1 << 31;

    fn allocated(owner: u32) -> Entry {
        Entry(owner & !Entry::FREE)
    }

    fn free(next: u32) -> Entry {
        Entry(next | Entry::FREE)
    }

    /// Returns the owner, if the tag is allocated.
    #[inline]
    fn owner(self) -> Option<u32> {
        (self.0 & Entry::FREE == 0).then_some(self.0)
    }

    /// Returns the index of the next free entry. The tag must be free.
    fn next(self) -> u32 {
        self.0 & !Entry::FREE
    }
}

impl TagPool {
    /// Returns a pool in which all tags are free.
    #[must_use]
    pub fn new() -> TagPool {
        TagPool::default()
    }

    /// Returns the number of allocated tags, of all ranges.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.allocated as usize
    }

    /// Allocates a free tag of `range` to `owner`, which must be below 2^31 - 1. A tag that is still
    /// allocated from an earlier range is not free.
    ///
    /// # Errors
    /// - [`NoTag::AllTaken`]: every tag of the range is allocated.
    /// - [`NoTag::EmptyRange`]: the range has no tag.
    /// - [`NoTag::NoMemory`]: there is no memory for one more tag.
    ///
    /// The pool is unchanged then, except that the range may have become the current one.
    #[inline(always)]
    pub fn allocate(&mut self, range: TagRange, owner: u32) -> Result<u32, NoTag> {
        debug_assert!(owner < NONE);
        if range != self.now.range {
            self.switch_to(range)?;
        }
        let tag = loop {
            if self.now.free as usize > QUARANTINE || self.now.is_exhausted() {
                break self.now.reuse(owner).ok_or(NoTag::AllTaken)?;
            }
            if !self.now.reserve() {
                break self.now.reuse(owner).ok_or(NoTag::NoMemory)?;
            }
            let fresh = self.now.fresh();
            // The tag may be allocated from an earlier range.
            let earlier_owner = if self.map.is_empty() { None } else { self.map.remove(fresh) };
            self.now.add(earlier_owner.unwrap_or(owner));
            if earlier_owner.is_none() {
                break fresh;
            }
        };
        self.allocated += 1;
        Ok(tag)
    }

    /// Returns the owner of `tag`, or `None` if it is free. The current range does not matter.
    #[must_use]
    #[inline]
    pub fn owner(&self, tag: u32) -> Option<u32> {
        match self.now.entry(tag) {
            Some(entry) => entry.owner(),
            None => self.owner_elsewhere(tag),
        }
    }

    #[cold]
    fn owner_elsewhere(&self, tag: u32) -> Option<u32> {
        match self.before.entry(tag) {
            Some(entry) => entry.owner(),
            None => self.map.get(tag),
        }
    }

    /// Frees `tag`. Has no effect if it is free.
    #[inline(always)]
    pub fn free(&mut self, tag: u32) {
        if self.now.free(tag) || self.before.free(tag) || self.map.remove(tag).is_some() {
            self.allocated -= 1;
        }
    }

    /// Makes `range` the current range.
    #[cold]
    fn switch_to(&mut self, range: TagRange) -> Result<(), NoTag> {
        if range.is_empty() {
            return Err(NoTag::EmptyRange);
        }
        if self.before.range == range {
            std::mem::swap(&mut self.now, &mut self.before);
            return Ok(());
        }
        if self.now.range.min == range.min
            && range.max >= self.now.fresh()
            && !self.before.range.overlaps(range)
        {
            self.now.range = range;
            return Ok(());
        }
        // Two spans must not overlap, so that each tag has one entry.
        let keep_now = !self.now.range.overlaps(range);
        let keep_before = !keep_now && !self.before.range.overlaps(range);
        let mut moved = 0;
        if !keep_now {
            moved += self.now.allocated();
        }
        if !keep_before {
            moved += self.before.allocated();
        }
        if !self.map.reserve(moved) {
            return Err(NoTag::NoMemory);
        }
        if !keep_before {
            self.before.move_to_map(&mut self.map);
        }
        if keep_now {
            std::mem::swap(&mut self.now, &mut self.before);
        } else {
            self.now.move_to_map(&mut self.map);
        }
        self.now.range = range;
        Ok(())
    }
}

impl Default for Span {
    fn default() -> Span {
        let range = TagRange { min: 0, max: 0 };
        Span { range, entries: Vec::new(), first: NONE, last: NONE, free: 0 }
    }
}

impl Span {
    /// Returns the lowest tag that was never allocated, or `range.max` if there is none.
    #[inline]
    fn fresh(&self) -> u32 {
        // There are at most max - min entries, so this does not overflow.
        self.range.min.wrapping_add(self.entries.len() as u32)
    }

    #[inline]
    fn is_exhausted(&self) -> bool {
        self.fresh() >= self.range.max
    }

    #[inline]
    fn entry(&self, tag: u32) -> Option<Entry> {
        self.entries.get(tag.wrapping_sub(self.range.min) as usize).copied()
    }

    fn allocated(&self) -> usize {
        self.entries.len() - self.free as usize
    }

    /// Allocates the tag that has been free for longest.
    #[inline]
    fn reuse(&mut self, owner: u32) -> Option<u32> {
        let index = self.first;
        let entry = self.entries.get_mut(index as usize)?;
        self.first = entry.next();
        *entry = Entry::allocated(owner);
        self.free -= 1;
        Some(self.range.min.wrapping_add(index))
    }

    #[inline]
    fn free(&mut self, tag: u32) -> bool {
        let index = tag.wrapping_sub(self.range.min);
        match self.entries.get_mut(index as usize) {
            Some(entry) if entry.owner().is_some() => *entry = Entry::free(NONE),
            _ => return false,
        }
        if self.free == 0 {
            self.first = index;
        } else if let Some(last) = self.entries.get_mut(self.last as usize) {
            *last = Entry::free(index);
        }
        self.last = index;
        self.free += 1;
        true
    }

    /// Reserves memory for one more entry. Returns false if there is none.
    #[inline]
    fn reserve(&mut self) -> bool {
        #[cfg(any(test, mux_fuzz))]
        if OUT_OF_MEMORY.get() {
            return false;
        }
        self.entries.len() < NONE as usize && self.entries.try_reserve(1).is_ok()
    }

    /// Allocates the lowest fresh tag to `owner`. Memory must have been reserved for it.
    #[inline]
    fn add(&mut self, owner: u32) {
        debug_assert!(self.entries.len() < self.entries.capacity(), "no room was made");
        // Without this condition the compiler would generate code that grows the table and may abort.
        if self.entries.len() < self.entries.capacity() {
            self.entries.push(Entry::allocated(owner));
        }
    }

    /// Empties this span. Its allocated tags go to `map`, which must have reserved memory for them.
    fn move_to_map(&mut self, map: &mut TagMap) {
        for (i, entry) in self.entries.iter().enumerate() {
            if let Some(owner) = entry.owner() {
                map.insert(self.range.min.wrapping_add(i as u32), owner);
            }
        }
        let entries = std::mem::take(&mut self.entries);
        *self = Span { entries, ..Span::default() };
        self.entries.clear();
    }
}
