//! Buffers of bytes that wait to be processed or written.
//!
//! A buffer grows at its end and is consumed from its front. An empty buffer returns its memory to a
//! pool, so that memory follows the clients that have bytes waiting, not the connected ones.

#[cfg(test)]
thread_local! {
    /// Whether the system has no more memory for buffers.
    pub static FAILING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A queue of bytes.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    head: usize,
}

impl Buffer {
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of memory that it occupies.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Returns true if there is memory for `n` more bytes behind the last one.
    #[inline]
    pub fn has_room(&self, n: usize) -> bool {
        self.bytes.capacity() - self.bytes.len() >= n
    }

    /// Makes memory for `n` more bytes. Returns false if the system has none.
    #[inline]
    pub fn reserve(&mut self, n: usize) -> bool {
        #[cfg(test)]
        if FAILING.get() {
            return false;
        }
        if self.head > 0 && self.bytes.len() + n > self.bytes.capacity() {
            self.compact();
        }
        self.bytes.try_reserve(n).is_ok()
    }

    /// Removes all bytes, and their memory.
    pub fn clear(&mut self) {
        *self = Buffer::default();
    }

    /// Appends `bytes`, and returns the appended copy.
    #[inline(always)]
    pub fn append(&mut self, bytes: &[u8]) -> &mut [u8] {
        if self.head > 0 && self.bytes.len() + bytes.len() > self.bytes.capacity() {
            self.compact();
        }
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        &mut self.bytes[offset..]
    }

    /// Allocates memory for a message of `len` bytes, of which the buffer holds the beginning.
    pub fn reserve_message(&mut self, len: usize) {
        if self.head == 0 && len > self.bytes.capacity() {
            self.bytes.reserve_exact(len - self.bytes.len());
        }
    }

    #[cold]
    fn compact(&mut self) {
        // Compact only if at least half can be dropped, so that each byte moves at most once per byte
        // consumed.
        if self.head >= self.len() {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }

    /// Removes the first `n` bytes.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.head += n.min(self.len());
        if self.head == self.bytes.len() {
            self.bytes.clear();
            self.head = 0;
        }
    }

    /// Removes pieces, each an offset and a length, which must not overlap. Returns the number of bytes
    /// removed. The remaining bytes move once.
    pub fn remove(&mut self, pieces: &mut [(usize, usize)]) -> usize {
        pieces.sort_unstable();
        let Some(first) = pieces.first() else {
            return 0;
        };
        let mut to = self.head + first.0;
        for (i, (offset, n)) in pieces.iter().enumerate() {
            let from = self.head + offset + n;
            let end = pieces.get(i + 1).map_or(self.bytes.len(), |next| self.head + next.0);
            super::count_work(end - from);
            self.bytes.copy_within(from..end, to);
            to += end - from;
        }
        let gone = self.bytes.len() - to;
        self.bytes.truncate(to);
        gone
    }
}

/// Spare memory for buffers.
///
/// Memory for messages of up to a megabyte is kept as well, since new memory of that size costs more than
/// the copying of the message. It is kept apart: a few bytes must not occupy it.
pub struct Pool {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    bytes: usize,
    /// The maximum number of bytes that are kept in all.
    max: usize,
}

/// The maximum capacity of a buffer for small messages.
const MAX_SMALL_BUFFER: usize = 256 * 1024;
/// The maximum capacity of a buffer that is kept. A larger one was for many messages.
const MAX_POOLED_BUFFER: usize = 1280 * 1024;

impl Pool {
    /// Returns a pool that keeps at most `max` bytes.
    pub fn new(max: usize) -> Pool {
        Pool { small: Vec::new(), large: Vec::new(), bytes: 0, max }
    }

    /// Lends memory to a buffer that has none, for a message of `len` bytes.
    #[inline(always)]
    pub fn lend(&mut self, buffer: &mut Buffer, len: usize) {
        if buffer.capacity() == 0 {
            self.lend_spare(buffer, len);
        }
    }

    fn lend_spare(&mut self, buffer: &mut Buffer, len: usize) {
        let spare = if len > MAX_SMALL_BUFFER { &mut self.large } else { &mut self.small };
        if let Some(bytes) = spare.pop() {
            self.bytes -= bytes.capacity();
            buffer.bytes = bytes;
        }
    }

    /// Takes the memory of a buffer if it is empty.
    #[inline]
    pub fn take_back(&mut self, buffer: &mut Buffer) {
        if buffer.is_empty() && buffer.capacity() > 0 {
            let mut bytes = std::mem::take(buffer).bytes;
            let capacity = bytes.capacity();
            if capacity <= MAX_POOLED_BUFFER && self.bytes + capacity <= self.max {
                bytes.clear();
                self.bytes += capacity;
                let spare =
                    if capacity > MAX_SMALL_BUFFER { &mut self.large } else { &mut self.small };
                spare.push(bytes);
            }
        }
    }

    /// Returns all memory to the system.
    pub fn clear(&mut self) {
        *self = Pool::new(self.max);
    }

    /// Returns the number of bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 8 << 20;

    #[test]
    fn memory_for_large_messages_is_kept_apart_and_bounded() {
        let mut pool = Pool::new(MAX);
        let large = vec![7; 1 << 20];
        let mut buffers: Vec<_> = (0..20).map(|_| Buffer::default()).collect();
        for buffer in &mut buffers {
            pool.lend(buffer, large.len());
            buffer.append(&large);
        }
        for buffer in &mut buffers {
            buffer.consume(large.len());
            pool.take_back(buffer);
            assert_eq!(buffer.capacity(), 0);
        }
        assert!(pool.bytes() <= MAX && pool.bytes() > MAX / 2);
        let mut small = Buffer::default();
        pool.lend(&mut small, 10);
        assert_eq!(small.capacity(), 0, "a few bytes do not occupy that memory");
        let kept = pool.bytes();
        pool.lend(&mut small, large.len());
        assert!(small.capacity() >= large.len());
        assert_eq!(pool.bytes(), kept - small.capacity());
    }

    #[test]
    fn beginning_of_a_message_gets_memory_for_the_whole() {
        let mut buffer = Buffer::default();
        buffer.append(&[1; 100]);
        buffer.reserve_message(5000);
        let capacity = buffer.capacity();
        assert!(capacity >= 5000);
        for _ in 0..49 {
            buffer.append(&[1; 100]);
        }
        assert_eq!((buffer.len(), buffer.capacity()), (5000, capacity));
    }
}
