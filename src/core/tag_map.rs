//! Hash map from tag to call id, for tags allocated from a range that has since been changed.
//!
//! The map uses open addressing with linear probing, and deletes by backward shift, so that there
//! are no tombstones. The map of the standard library is not used, because it aborts the program
//! when memory is exhausted, and because every part of the standard library that the C library uses
//! enlarges each program that links it.

/// The owners, by tag.
#[derive(Default)]
pub struct TagMap {
    /// The number of slots is a power of two, or zero. At least a quarter of them are free.
    slots: Vec<Option<(u32, u32)>>,
    len: usize,
}

impl TagMap {
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reserves memory for `more` tags. Returns false if there is none.
    pub fn reserve(&mut self, more: usize) -> bool {
        let Some(wanted) = self.len.checked_add(more) else {
            return false;
        };
        if wanted <= self.slots.len() / 4 * 3 {
            return true;
        }
        let Some(size) = (wanted / 3 * 4 + 4).checked_next_power_of_two() else {
            return false;
        };
        let mut slots = Vec::new();
        if slots.try_reserve_exact(size).is_err() {
            return false;
        }
        while slots.len() < slots.capacity() && slots.len() < size {
            slots.push(None);
        }
        let old = std::mem::replace(&mut self.slots, slots);
        self.len = 0;
        for (tag, owner) in old.into_iter().flatten() {
            self.insert(tag, owner);
        }
        true
    }

    /// Adds a tag that is not in the map. Memory must have been reserved for it.
    pub fn insert(&mut self, tag: u32, owner: u32) {
        let mut index = self.home(tag);
        for _ in 0..self.slots.len() {
            if let Some(slot) = self.slots.get_mut(index) {
                if slot.is_none() {
                    *slot = Some((tag, owner));
                    self.len += 1;
                    return;
                }
            }
            index = self.next_index(index);
        }
        debug_assert!(false, "no room was reserved");
    }

    pub fn get(&self, tag: u32) -> Option<u32> {
        self.find(tag).map(|(_, owner)| owner)
    }

    pub fn remove(&mut self, tag: u32) -> Option<u32> {
        let (mut hole, owner) = self.find(tag)?;
        self.len -= 1;
        let mut index = hole;
        loop {
            index = self.next_index(index);
            let moved = match self.slots.get(index) {
                Some(&Some((tag, owner))) => {
                    // The entry may fill the hole if the hole is not before its home.
                    let home = self.home(tag);
                    let mask = self.slots.len().wrapping_sub(1);
                    let from_home = index.wrapping_sub(home) & mask;
                    let from_hole = index.wrapping_sub(hole) & mask;
                    (from_home >= from_hole).then_some((tag, owner))
                }
                _ => break,
            };
            if moved.is_some() {
                self.put(hole, moved);
                hole = index;
            }
        }
        self.put(hole, None);
        Some(owner)
    }

    fn put(&mut self, index: usize, what: Option<(u32, u32)>) {
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = what;
        }
    }

    fn find(&self, tag: u32) -> Option<(usize, u32)> {
        if self.len == 0 {
            return None;
        }
        let mut index = self.home(tag);
        while let Some(&Some((found, owner))) = self.slots.get(index) {
            if found == tag {
                return Some((index, owner));
            }
            index = self.next_index(index);
        }
        None
    }

    /// Returns the index at which the search for `tag` begins. This library chooses the tags, so
    /// that an adversary cannot make them collide.
    fn home(&self, tag: u32) -> usize {
        let spread = u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        spread as usize & self.slots.len().wrapping_sub(1)
    }

    fn next_index(&self, index: usize) -> usize {
        (index + 1) & self.slots.len().wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::TagMap;
    use std::collections::HashMap;

    #[test]
    fn agrees_with_the_standard_one() {
        let mut map = TagMap::default();
        let mut model = HashMap::new();
        let mut seed = 1_u64;
        for action in 0..20_000_u32 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let tag = (seed >> 33) as u32 % 97;
            if let Some(owner) = model.remove(&tag) {
                assert_eq!(map.remove(tag), Some(owner));
            } else {
                assert!(map.reserve(1));
                map.insert(tag, action);
                model.insert(tag, action);
            }
            assert_eq!(map.is_empty(), model.is_empty());
            let probe = (seed >> 40) as u32 % 97;
            assert_eq!(map.get(probe), model.get(&probe).copied());
        }
    }

    #[test]
    fn an_empty_one_has_nothing() {
        let mut map = TagMap::default();
        assert_eq!(map.get(3), None);
        assert_eq!(map.remove(3), None);
    }
}
