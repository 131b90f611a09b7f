//! The ready queue: the clients that wait for capacity upstream, in the order of their turns.
//!
//! | rule | reason |
//! |---|---|
//! | A client whose request does not fit into the window is first. | Smaller requests must not pass it again and again. |
//! | Light clients (with nothing in flight when they were queued) and the others have every other turn. | A client with one request at a time does not wait for many that always have some, nor they for many such clients. |
//! | A light client may go at once when a request of its user that has passed the adaptive limit has ended. | The next one passes (`inflight_limit`). |
//! | Of each kind, users take turns, and so do the clients of a user. | A user with many connections has no more turns than one with a single connection. |
//!
//! Each operation takes constant time. Entries of departed clients are removed lazily.

use super::ClientId;
use super::user_queues::UserQueues;

#[derive(Default)]
pub struct ReadyQueue {
    first: Option<ClientId>,
    light: UserQueues<ClientId>,
    others: UserQueues<ClientId>,
    /// Whether the last turn was that of a light client.
    was_light: bool,
    len: usize,
}

impl ReadyQueue {
    /// Returns the number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns true if the first client waits for the window.
    #[inline]
    pub fn has_first(&self) -> bool {
        self.first.is_some()
    }

    /// Returns the number of users with light clients, plus that of users with others.
    pub fn users(&self) -> usize {
        self.light.users() + self.others.users()
    }

    /// Appends a client of this user.
    pub fn push(&mut self, user: u32, id: ClientId, is_light: bool) {
        let queues = if is_light { &mut self.light } else { &mut self.others };
        queues.push(user, id);
        self.len += 1;
    }

    /// Puts a client before all others, unless another one is there. Returns false then.
    pub fn put_first(&mut self, id: ClientId) -> bool {
        if self.first.is_none() {
            self.first = Some(id);
            self.len += 1;
            return true;
        }
        false
    }

    /// Removes and returns the client that has the next turn.
    pub fn pop(&mut self) -> Option<ClientId> {
        let next = self.first.take().or_else(|| {
            let is_light = !self.light.is_empty() && (!self.was_light || self.others.is_empty());
            self.was_light = is_light;
            let queues = if is_light { &mut self.light } else { &mut self.others };
            queues.pop()
        });
        self.len -= usize::from(next.is_some());
        next
    }

    /// Removes and returns the next light client of this user, even if another user has the next turn.
    pub fn pop_light_of(&mut self, user: u32) -> Option<ClientId> {
        let next = self.light.pop_of(user)?;
        self.len -= 1;
        Some(next)
    }

    /// Removes the entries that this function returns false for.
    pub fn retain(&mut self, mut is_kept: impl FnMut(ClientId) -> bool) {
        self.first = self.first.filter(|id| is_kept(*id));
        let kept = self.light.retain(&mut is_kept) + self.others.retain(&mut is_kept);
        self.len = usize::from(self.first.is_some()) + kept;
    }

    /// Returns all entries.
    #[cfg(any(test, mux_fuzz))]
    pub fn iter(&self) -> impl Iterator<Item = ClientId> {
        let queued = self.light.items().chain(self.others.items());
        self.first.into_iter().chain(queued.map(|(_, id)| id))
    }

    /// Checks the turns of users, and the number of entries.
    #[cfg(any(test, mux_fuzz))]
    pub fn audit(&self) {
        self.light.audit();
        self.others.audit();
        assert_eq!(self.iter().count(), self.len, "entries of the ready queue");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> ClientId {
        ClientId { index, number: 0 }
    }

    fn rest(queue: &mut ReadyQueue) -> Vec<u32> {
        queue.audit();
        std::iter::from_fn(|| queue.pop()).map(|id| id.index).collect()
    }

    #[test]
    fn users_and_then_their_clients_take_turns() {
        let mut queue = ReadyQueue::default();
        for (user, index) in [(0, 1), (0, 2), (0, 3), (7, 70), (7, 71), (5, 50)] {
            queue.push(user, id(index), false);
        }
        assert_eq!((queue.len(), queue.users()), (6, 3));
        assert_eq!(rest(&mut queue), [1, 70, 50, 2, 71, 3]);
        assert!(queue.is_empty() && queue.pop().is_none());
    }

    #[test]
    fn light_clients_have_every_other_turn() {
        let mut queue = ReadyQueue::default();
        for index in 0..6 {
            queue.push(0, id(index), index > 2);
        }
        queue.push(0, id(6), true);
        assert_eq!(rest(&mut queue), [3, 0, 4, 1, 5, 2, 6]);
    }

    #[test]
    fn client_that_waits_for_the_window_is_first() {
        let mut queue = ReadyQueue::default();
        queue.push(0, id(1), true);
        assert!(queue.put_first(id(2)) && queue.has_first());
        assert!(!queue.put_first(id(3)));
        assert_eq!(rest(&mut queue), [2, 1]);
    }

    #[test]
    fn departed_clients_are_removed() {
        let mut queue = ReadyQueue::default();
        for index in 0..100 {
            queue.push(index % 7, id(index), index % 2 == 0);
        }
        queue.put_first(id(100));
        queue.retain(|id| id.index == 31 || id.index == 58);
        assert_eq!((queue.len(), queue.users()), (2, 2));
        assert_eq!(rest(&mut queue), [58, 31]);
    }
}
