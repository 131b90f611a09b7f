//! The hash function of the tables of fids and tags: one multiplication by a number that clients do not
//! know, so that a client cannot choose fids that collide.

use std::hash::{BuildHasher, Hasher};

/// The odd factor.
#[derive(Clone, Copy)]
pub struct SeededState(u64);

impl SeededState {
    pub fn new(seed: u64) -> SeededState {
        // Spread small seeds.
        SeededState(
            seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0xD1B5_4A32_D192_ED03) | 1,
        )
    }
}

impl BuildHasher for SeededState {
    type Hasher = SeededHasher;

    #[inline]
    fn build_hasher(&self) -> SeededHasher {
        SeededHasher { factor: self.0, hash: 0 }
    }
}

pub struct SeededHasher {
    factor: u64,
    hash: u64,
}

impl SeededHasher {
    #[inline]
    fn add(&mut self, n: u64) {
        let product = (self.hash ^ n).wrapping_mul(self.factor);
        self.hash = product ^ (product >> 32);
    }
}

impl Hasher for SeededHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.add(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u16(&mut self, n: u16) {
        self.add(u64::from(n) + 1);
    }

    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.add(u64::from(n) + 1);
    }
}
