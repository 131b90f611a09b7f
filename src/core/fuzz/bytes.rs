//! Bytes as choices. When they are used up, every choice is the first one, which is always the
//! successful case.

/// The bytes that are left.
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes(bytes)
    }

    pub fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Returns one of `n` choices; `n` must be at most 256.
    pub fn choice(&mut self, n: usize) -> usize {
        usize::from(self.next().unwrap_or(0)) % n
    }

    /// Returns true once in `n` times: for unlikely events.
    pub fn rarely(&mut self, n: usize) -> bool {
        self.choice(n) == n - 1
    }
}

/// The bytes of a seed. Their number varies with it, and so does how often a caller continues
/// before another event happens.
#[cfg(test)]
pub fn of_seed(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut random = move || {
        // splitmix64
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    };
    let length = 1 + random() % 1000;
    let callers = random() % 4;
    (0..length)
        .map(|_| match random() {
            word if (word >> 8) % 4 < callers => word as u8 & 127,
            word => word as u8,
        })
        .collect()
}
