//! A pool of numbers that allocates the lowest free one, at the same cost for a million as for one.
//!
//! Some servers keep fids in a table and refuse large ones, so a freed fid is reused before a fresh
//! one. One bit for each number says that it is allocated, one bit for each word of these bits says
//! that the word is full, and so on up to a single word.

/// The numbers from 0 up, each allocated or free.
#[derive(Default)]
pub struct NumberPool {
    /// The bits of the numbers come first; the last level is one word.
    levels: Vec<Vec<u64>>,
    allocated: usize,
}

impl NumberPool {
    /// Returns how many numbers are allocated.
    pub fn allocated(&self) -> usize {
        self.allocated
    }

    /// Allocates the lowest free number.
    pub fn allocate(&mut self) -> u32 {
        if self.levels.last().is_none_or(|top| top[0] == u64::MAX) {
            // Add a level. Everything beneath its first bit is full.
            self.levels.push(vec![u64::from(!self.levels.is_empty())]);
        }
        let mut bit = 0;
        for level in self.levels.iter_mut().rev() {
            if bit == level.len() {
                level.push(0);
            }
            bit = bit * 64 + level[bit].trailing_ones() as usize;
        }
        let number = bit as u32;
        for level in &mut self.levels {
            level[bit / 64] |= 1 << (bit % 64);
            if level[bit / 64] != u64::MAX {
                break;
            }
            bit /= 64;
        }
        self.allocated += 1;
        number
    }

    /// Frees an allocated number.
    pub fn free(&mut self, number: u32) {
        let mut bit = number as usize;
        for level in &mut self.levels {
            let was_full = level[bit / 64] == u64::MAX;
            level[bit / 64] &= !(1 << (bit % 64));
            if !was_full {
                break;
            }
            bit /= 64;
        }
        self.allocated -= 1;
    }

    /// Returns memory above the highest allocated number, and the number of numbers below that memory.
    pub fn shrink(&mut self) -> usize {
        let Some(words) = self.levels.first().map(Vec::len) else {
            return 0;
        };
        let mut used =
            self.levels[0].iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        if used == 0 {
            self.levels = Vec::new();
        } else if used < words {
            for level in &mut self.levels {
                level.truncate(used);
                level.shrink_to_fit();
                used = used.div_ceil(64);
            }
            // A level above one of a single word says no more than that word.
            while self.levels.len() > 1 && self.levels[self.levels.len() - 2].len() == 1 {
                self.levels.pop();
            }
        }
        self.levels.first().map_or(0, |level| level.len() * 64)
    }

    /// Returns true if the number is allocated.
    pub fn is_allocated(&self, number: u32) -> bool {
        let bit = number as usize;
        let word = self.levels.first().and_then(|level| level.get(bit / 64));
        word.is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn lowest_free_number_is_allocated() {
        let mut numbers = NumberPool::default();
        for n in 0..300_000 {
            assert_eq!(numbers.allocate(), n);
        }
        for n in [299_999, 4096, 70, 64, 63, 0] {
            numbers.free(n);
        }
        for n in [0, 63, 64, 70, 4096, 299_999, 300_000] {
            assert_eq!(numbers.allocate(), n);
        }
        assert_eq!(numbers.allocated(), 300_001);
    }

    #[test]
    fn memory_follows_the_highest_number() {
        let mut numbers = NumberPool::default();
        for round in [5000, 70, 64, 300_000, 1] {
            let kept: Vec<u32> = (0..round).map(|_| numbers.allocate()).collect();
            let high: Vec<u32> = (0..300_000).map(|_| numbers.allocate()).collect();
            high.into_iter().for_each(|n| numbers.free(n));
            assert_eq!(numbers.shrink(), (round as usize).next_multiple_of(64));
            assert_eq!(numbers.allocate(), round, "and it still allocates the lowest one");
            numbers.free(round);
            kept.into_iter().for_each(|n| numbers.free(n));
        }
        assert_eq!((numbers.shrink(), numbers.allocated()), (0, 0));
        assert_eq!(numbers.allocate(), 0);
    }

    #[test]
    fn pool_agrees_with_a_set() {
        let mut numbers = NumberPool::default();
        let mut taken = BTreeSet::new();
        let mut random = 1u64;
        for generation in 0..200_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let grow = (generation / 20_000) % 2 == 0;
            if (random >> 33) % 8 < if grow { 6 } else { 2 } {
                let n = numbers.allocate();
                assert!(taken.insert(n), "{n} is taken twice");
                assert!(n as usize <= taken.len());
            } else if let Some(&n) = taken.range((random >> 40) as u32 % 6000..).next() {
                taken.remove(&n);
                numbers.free(n);
            }
            assert_eq!(numbers.allocated(), taken.len());
            if generation % 1000 == 0 {
                let highest = taken.last().map_or(0, |n| *n as usize + 1);
                assert_eq!(numbers.shrink(), highest.next_multiple_of(64));
            }
        }
    }
}
