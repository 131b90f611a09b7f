//! How the tables of clients' fids and tags are mixed: by one multiplication with a number that no
//! client knows, so that nobody can choose fids that all fall into one place.

use std::hash::{BuildHasher, Hasher};

/// A factor, odd.
#[derive(Clone, Copy)]
pub struct Mix(u64);

impl Mix {
    pub fn new(seed: u64) -> Mix {
        // Far from small numbers, for seeds that are.
        Mix(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0xD1B5_4A32_D192_ED03) | 1)
    }
}

impl BuildHasher for Mix {
    type Hasher = Mixing;

    #[inline]
    fn build_hasher(&self) -> Mixing {
        Mixing { factor: self.0, hash: 0 }
    }
}

pub struct Mixing {
    factor: u64,
    hash: u64,
}

impl Mixing {
    #[inline]
    fn add(&mut self, n: u64) {
        let product = (self.hash ^ n).wrapping_mul(self.factor);
        self.hash = product ^ (product >> 32);
    }
}

impl Hasher for Mixing {
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
