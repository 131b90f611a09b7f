//! Bytes as choices. When they are used up every choice is the first, which is where all goes well.

/// What is left of them.
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

    /// One of `n`, which is at most 256.
    pub fn choice(&mut self, n: usize) -> usize {
        usize::from(self.next().unwrap_or(0)) % n
    }

    /// Whether the unlikely happens: once in `n`.
    pub fn rarely(&mut self, n: usize) -> bool {
        self.choice(n) == n - 1
    }
}
