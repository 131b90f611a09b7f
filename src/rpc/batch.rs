//! A fixed-size array of messages, for transports that send or receive several messages per call.

/// The maximum number of messages in a [`Batch`].
pub const BATCH: usize = 16;

/// A queue of at most [`BATCH`] messages, in order. It is used by transports that
/// [send](crate::SendBatch) or [receive](crate::RecvBatch) several messages per
/// call.
///
/// ```
/// use mux::Batch;
/// /// Stores the two messages that a transport has read in one system call.
/// fn store(replies: &mut Batch<&str>) {
///     for message in ["one", "other"] {
///         replies.push(message).expect("there is room for sixteen");
///     }
/// }
///
/// let mut replies = Batch::default();
/// store(&mut replies);
/// assert_eq!(replies.iter().copied().collect::<Vec<_>>(), ["one", "other"]);
/// ```
#[derive(Debug)]
pub struct Batch<M> {
    /// The first `len` slots are occupied.
    slots: [Option<M>; BATCH],
    len: usize,
}

impl<M> Default for Batch<M> {
    fn default() -> Batch<M> {
        Batch { slots: [const { None }; BATCH], len: 0 }
    }
}

impl<M> Batch<M> {
    pub(crate) fn new() -> Batch<M> {
        Batch::default()
    }

    /// Returns the number of messages in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true if the batch contains no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns true if the batch contains [`BATCH`] messages.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// Appends `message` to the batch.
    ///
    /// # Errors
    /// Returns the message if the batch is full.
    pub fn push(&mut self, message: M) -> Result<(), M> {
        match self.slots.get_mut(self.len) {
            Some(slot) => {
                *slot = Some(message);
                self.len += 1;
                Ok(())
            }
            None => Err(message),
        }
    }

    /// Returns an iterator over the messages, in order.
    pub fn iter(&self) -> impl Iterator<Item = &M> {
        self.slots.iter().flatten()
    }

    /// Returns an iterator that allows the messages to be modified, in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut M> {
        self.slots.iter_mut().flatten()
    }

    /// Moves the first message out, and leaves an empty slot for [`advance`](Batch::advance).
    pub(crate) fn take_first(&mut self) -> Option<M> {
        self.slots.first_mut().and_then(Option::take)
    }

    /// Removes all messages and returns them in order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = M> {
        self.len = 0;
        self.slots.iter_mut().filter_map(Option::take)
    }

    /// Drops the first `n` messages, or all of them if there are fewer.
    pub(crate) fn advance(&mut self, n: usize) {
        let n = n.min(self.len);
        for index in 0..BATCH {
            let message = self.slots.get_mut(index + n).and_then(Option::take);
            if let Some(slot) = self.slots.get_mut(index) {
                *slot = message;
            }
        }
        self.len -= n;
    }

    /// Returns the slots, which C functions read or write.
    pub(crate) fn slots(&mut self) -> &mut [Option<M>; BATCH] {
        &mut self.slots
    }

    /// Moves the messages that a C function has stored in the first `n` slots to the front, skips empty
    /// slots, and updates the length.
    pub(crate) fn compact(&mut self, n: usize) {
        self.len = 0;
        for index in 0..BATCH.min(n) {
            let message = self.slots.get_mut(index).and_then(Option::take);
            if let (Some(message), Some(slot)) = (message, self.slots.get_mut(self.len)) {
                *slot = Some(message);
                self.len += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCH, Batch};

    fn of(numbers: impl IntoIterator<Item = u32>) -> Batch<u32> {
        let mut batch = Batch::new();
        for number in numbers {
            batch.push(number).unwrap();
        }
        batch
    }

    #[test]
    fn it_is_a_queue_with_an_end() {
        let mut batch = of(0..BATCH as u32);
        assert_eq!(batch.push(99), Err(99));
        batch.advance(3);
        assert_eq!(
            batch.iter().copied().collect::<Vec<_>>(),
            (3..BATCH as u32).collect::<Vec<_>>()
        );
        batch.push(99).unwrap();
        assert_eq!(batch.len(), BATCH - 2);
        batch.advance(100);
        assert!(batch.is_empty() && batch.iter().next().is_none());
    }

    #[test]
    fn what_is_not_there_is_passed_over() {
        let mut batch = of([]);
        batch.slots()[1] = Some(5);
        batch.slots()[3] = Some(6);
        batch.compact(1000);
        assert_eq!(batch.drain().collect::<Vec<_>>(), [5, 6]);
        assert!(batch.is_empty());
    }
}
