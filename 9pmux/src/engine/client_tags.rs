//! The tags of a client's requests in flight, and the upstream tag of each.
//!
//! Every request looks its tag up twice and removes it once, so the table is a plain one: open addressing with
//! linear probing, at most half full, and deletion by backward shift, which leaves no tombstones. The hash is
//! seeded (`hasher.rs`), because clients choose their tags.

use std::hash::BuildHasher;

use super::hasher::SeededState;
use crate::wire::NOTAG;

/// The number of slots of the smallest table.
const MIN_SLOTS: usize = 8;

/// A client's tag in the upper half and its upstream tag, which is never NOTAG, in the lower half.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot(u32);

const EMPTY: Slot = Slot(u32::MAX);

impl Slot {
    #[inline]
    fn new(tag: u16, upstream: u16) -> Slot {
        Slot(u32::from(tag) << 16 | u32::from(upstream))
    }

    #[inline]
    fn tag(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline]
    fn upstream(self) -> u16 {
        self.0 as u16
    }
}

/// The upstream tag of each client tag in flight.
pub struct ClientTags {
    /// None, or a power of two.
    slots: Vec<Slot>,
    len: usize,
    hasher: SeededState,
}

impl ClientTags {
    /// Returns an empty table.
    pub fn new(hasher: SeededState) -> ClientTags {
        ClientTags { slots: Vec::new(), len: 0, hasher }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the upstream tag of a client's tag in flight.
    #[inline]
    pub fn get(&self, tag: u16) -> Option<u16> {
        self.find(tag).map(|i| self.slots[i].upstream())
    }

    /// Returns true if the client's tag is in flight.
    #[inline]
    pub fn contains(&self, tag: u16) -> bool {
        self.find(tag).is_some()
    }

    /// Adds a tag that is not in flight.
    #[inline]
    pub fn insert(&mut self, tag: u16, upstream: u16) {
        debug_assert!(upstream != NOTAG && !self.contains(tag));
        if 2 * (self.len + 1) > self.slots.len() {
            self.grow();
        }
        self.len += 1;
        self.place(Slot::new(tag, upstream));
    }

    /// Removes a tag, if it is in flight.
    #[inline]
    pub fn remove(&mut self, tag: u16) {
        let Some(mut hole) = self.find(tag) else {
            return;
        };
        self.len -= 1;
        let mask = self.slots.len() - 1;
        let mut i = hole;
        loop {
            i = (i + 1) & mask;
            let slot = self.slots[i];
            if slot == EMPTY {
                break;
            }
            // A slot may move into the hole unless its home is behind the hole.
            let home = self.home(slot.tag());
            if i.wrapping_sub(home) & mask >= i.wrapping_sub(hole) & mask {
                self.slots[hole] = slot;
                hole = i;
            }
        }
        self.slots[hole] = EMPTY;
    }

    /// Returns the client's tags in flight, in no order.
    pub fn tags(&self) -> impl Iterator<Item = u16> {
        self.used().map(|slot| slot.tag())
    }

    /// Returns the upstream tags, in no order.
    pub fn upstream_tags(&self) -> impl Iterator<Item = u16> {
        self.used().map(|slot| slot.upstream())
    }

    fn used(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| **slot != EMPTY)
    }

    /// Returns the index at which the search for a tag begins.
    #[inline]
    fn home(&self, tag: u16) -> usize {
        self.hasher.hash_one(tag) as usize & self.slots.len().wrapping_sub(1)
    }

    #[inline]
    fn find(&self, tag: u16) -> Option<usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut i = self.home(tag);
        loop {
            let slot = *self.slots.get(i)?;
            if slot == EMPTY {
                return None;
            }
            if slot.tag() == tag {
                return Some(i);
            }
            i = (i + 1) & mask;
        }
    }

    #[inline]
    fn place(&mut self, new: Slot) {
        let mask = self.slots.len() - 1;
        let mut i = self.home(new.tag());
        while self.slots[i] != EMPTY {
            i = (i + 1) & mask;
        }
        self.slots[i] = new;
    }

    #[cold]
    fn grow(&mut self) {
        let size = (2 * self.slots.len()).max(MIN_SLOTS);
        for slot in std::mem::replace(&mut self.slots, vec![EMPTY; size]) {
            if slot != EMPTY {
                self.place(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn table_agrees_with_a_map() {
        let mut random = 1u64;
        for (seed, spread) in [(1, 24), (2, 300), (3, 65_536)] {
            let mut tags = ClientTags::new(SeededState::new(seed));
            let mut map = BTreeMap::new();
            for _ in 0..40_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let tag = ((random >> 33) % spread) as u16;
                assert_eq!(tags.get(tag), map.get(&tag).copied());
                assert_eq!(tags.contains(tag), map.contains_key(&tag));
                if random >> 62 == 0 && map.len() < 200 {
                    if map.insert(tag, tag / 2).is_none() {
                        tags.insert(tag, tag / 2);
                    }
                } else if random >> 62 == 1 {
                    // One that is in flight, if possible.
                    let tag = map.range(tag..).next().map_or(tag, |(tag, _)| *tag);
                    map.remove(&tag);
                    tags.remove(tag);
                }
                assert_eq!((tags.len(), tags.is_empty()), (map.len(), map.is_empty()));
            }
            let mut found: Vec<(u16, u16)> = tags.tags().zip(tags.upstream_tags()).collect();
            found.sort_unstable();
            assert_eq!(found, map.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn removal_across_the_end_of_the_table_keeps_the_rest() {
        for seed in 0..200 {
            let mut tags = ClientTags::new(SeededState::new(seed));
            let all = [0, 9, 700, NOTAG];
            for tag in all {
                tags.insert(tag, 5);
            }
            assert_eq!(tags.slots.len(), MIN_SLOTS);
            for (i, tag) in all.into_iter().enumerate() {
                tags.remove(tag);
                assert!(!tags.contains(tag));
                assert!(all[i + 1..].iter().all(|rest| tags.contains(*rest)));
            }
            assert!(tags.is_empty());
        }
    }
}
