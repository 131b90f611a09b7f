//! Tag numbers: which are taken, by whom, and which is handed out next.
//!
//! Taking a tag, looking its owner up and giving it back are O(1), and memory follows the most tags
//! ever taken at once, not the width of the range, which may be all of 0..2^32-1.
//!
//! Tags are handed out from the low end upward. One that comes back goes to the end of the queue of
//! free ones, and is not handed out again before [`QUARANTINE`] others have come after it there, while the
//! range has any that were never used, so that a late or repeated reply meets nobody's tag rather than
//! another call's.
//!
//! The range is an argument of every [`take`](TagPool::allocate), because C programs change it under our
//! feet: a 9P client narrows it to the one tag NOTAG for its version call and widens it again. So
//! there are two spans, the one in use and the one before it, which are exchanged for nothing; tags
//! still taken from a range that is neither are remembered one by one.

use super::tag_map::TagMap;

/// How many other tags come free after a freed one before it is used again, where the range allows.
pub const QUARANTINE: usize = 64;

/// The end of a list of free tags.
const NONE: u32 = u32::MAX >> 1;

/// The valid tags: `min <= tag < max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagRange {
    /// The lowest valid tag.
    pub min: u32,
    /// One more than the highest.
    pub max: u32,
}

impl TagRange {
    /// Whether there is no valid tag at all.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.max <= self.min
    }

    fn overlaps(self, other: TagRange) -> bool {
        !self.is_empty() && !other.is_empty() && self.min < other.max && other.min < self.max
    }
}

/// Why there is no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTag {
    /// Every tag of the range is taken.
    AllTaken,
    /// The range holds no tag.
    EmptyRange,
    /// No memory to keep account of one more.
    NoMemory,
}

#[cfg(any(test, mux_fuzz))]
thread_local! {
    /// There is no memory for more tags: a test's wish.
    pub static OUT_OF_MEMORY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The tags of one connection, each free or taken by an owner (a number of the user's choice below
/// 2^31).
#[derive(Default)]
pub struct TagPool {
    now: Span,
    before: Span,
    /// Taken tags of ranges that are neither: where a range was changed and changed again.
    map: TagMap,
    allocated: u32,
}

/// The part of one range that has been in use.
struct Span {
    range: TagRange,
    /// What `range.min + i` is, for every tag that was ever handed out.
    entries: Vec<Entry>,
    /// The free ones among them are a queue: the first has been free for longest.
    first: u32,
    last: u32,
    free: u32,
}

/// What one tag is: taken by an owner, or free, with the index of the next in the queue.
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

    /// The owner, if it is taken.
    #[inline]
    fn owner(self) -> Option<u32> {
        (self.0 & Entry::FREE == 0).then_some(self.0)
    }

    /// The next in the queue, if it is free.
    fn next(self) -> u32 {
        self.0 & !Entry::FREE
    }
}

impl TagPool {
    /// No tags taken.
    #[must_use]
    pub fn new() -> TagPool {
        TagPool::default()
    }

    /// How many tags are taken.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.allocated as usize
    }

    /// Takes a free tag of `range` for `owner`.
    ///
    /// # Errors
    /// Why there is none; nothing has changed then.
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
            // Taken already, when the range was another one?
            let earlier_owner = if self.map.is_empty() { None } else { self.map.remove(fresh) };
            self.now.add(earlier_owner.unwrap_or(owner));
            if earlier_owner.is_none() {
                break fresh;
            }
        };
        self.allocated += 1;
        Ok(tag)
    }

    /// Who has taken `tag`, whatever the range is now.
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

    /// Gives `tag` back, to the end of the queue. One that nobody has taken is left alone.
    #[inline(always)]
    pub fn free(&mut self, tag: u32) {
        if self.now.free(tag) || self.before.free(tag) || self.map.remove(tag).is_some() {
            self.allocated -= 1;
        }
    }

    /// Makes `range` the one that tags are taken from.
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
        // A span is kept beside another only while they share no tag: so each tag has one place.
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
    /// The lowest tag never handed out; `range.max` when all have been.
    #[inline]
    fn fresh(&self) -> u32 {
        // At most max - min entries, so this does not overflow.
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

    /// Takes the tag that has been free for longest.
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

    /// Memory for one more tag; false when there is none.
    #[inline]
    fn reserve(&mut self) -> bool {
        #[cfg(any(test, mux_fuzz))]
        if OUT_OF_MEMORY.get() {
            return false;
        }
        self.entries.len() < NONE as usize && self.entries.try_reserve(1).is_ok()
    }

    /// The lowest fresh tag is `owner`'s; there is room for it.
    #[inline]
    fn add(&mut self, owner: u32) {
        debug_assert!(self.entries.len() < self.entries.capacity(), "no room was made");
        // The question keeps code that grows the table, and could fail, out of the library.
        if self.entries.len() < self.entries.capacity() {
            self.entries.push(Entry::allocated(owner));
        }
    }

    /// Forgets this span; its taken tags go to `strays`, which has room for them.
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
