//! A queue for each user, served round robin: what one user has queued does not delay the other users.
//!
//! The items of a user that was freed are those of the next user with its index. Each operation but `retain` takes
//! constant time, whatever the number of users and items is; `pop_of` does while the user has further items. The empty
//! queues keep memory for a few items only.

use std::collections::VecDeque;

use super::users::NO_USER;

/// The items that an empty queue has memory for.
const KEPT_CAPACITY: usize = 4;

/// The queues of all users.
pub struct UserQueues<T> {
    /// By the index of the user, plus one: the first is that of [`NO_USER`].
    queues: Vec<VecDeque<T>>,
    /// The users with items that were not passed over, beginning with the next one.
    turns: VecDeque<u32>,
    /// The users with items that were passed over since the last [`retry_passed`](UserQueues::retry_passed), in order.
    passed: VecDeque<u32>,
}

impl<T> Default for UserQueues<T> {
    fn default() -> UserQueues<T> {
        UserQueues { queues: Vec::new(), turns: VecDeque::new(), passed: VecDeque::new() }
    }
}

impl<T: Copy> UserQueues<T> {
    /// Returns true if no user has an item.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty() && self.passed.is_empty()
    }

    /// Appends an item to the queue of its user.
    pub fn push(&mut self, user: u32, item: T) {
        let place = place_of(user);
        if place >= self.queues.len() {
            self.queues.resize_with(place + 1, VecDeque::new);
        }
        let queue = &mut self.queues[place];
        if queue.is_empty() {
            self.turns.push_back(user);
        }
        queue.push_back(item);
    }

    /// Returns the number of users with items.
    pub fn users(&self) -> usize {
        self.turns.len() + self.passed.len()
    }

    /// Returns true if a user with items has not been passed over.
    #[inline]
    pub fn has_turn(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Passes over the user with the next item: the next turn is that of another user.
    pub fn pass_turn(&mut self) {
        self.passed.extend(self.turns.pop_front());
    }

    /// Gives turns to the users that were passed over. Must be called when one of them may be served.
    #[inline]
    pub fn retry_passed(&mut self) {
        if self.passed.is_empty() {
            return;
        }
        self.turns.append(&mut self.passed);
        self.passed.shrink_to(KEPT_CAPACITY);
    }

    /// Returns the next item of a user that was not passed over, without removing it.
    pub fn first(&self) -> Option<T> {
        let user = *self.turns.front()?;
        self.queues[place_of(user)].front().copied()
    }

    /// Removes that item. The next turn is that of another user, if another one has an item and was not passed over.
    pub fn remove_first(&mut self) {
        let Some(user) = self.turns.pop_front() else {
            return;
        };
        let queue = &mut self.queues[place_of(user)];
        queue.pop_front();
        if queue.is_empty() {
            queue.shrink_to(KEPT_CAPACITY);
        } else {
            self.turns.push_back(user);
        }
        if self.turns.is_empty() {
            self.turns.shrink_to(KEPT_CAPACITY);
        }
    }

    /// Removes and returns the next item, as `first` and `remove_first`.
    pub fn pop(&mut self) -> Option<T> {
        let first = self.first();
        self.remove_first();
        first
    }

    /// Removes and returns the next item of this user, even if another user has the next turn.
    pub fn pop_of(&mut self, user: u32) -> Option<T> {
        let queue = self.queues.get_mut(place_of(user))?;
        let item = queue.pop_front()?;
        if queue.is_empty() {
            queue.shrink_to(KEPT_CAPACITY);
            for users in [&mut self.turns, &mut self.passed] {
                users.retain(|other| *other != user);
            }
        }
        Some(item)
    }

    /// Removes the items that this function returns false for. Returns the number of the others.
    pub fn retain(&mut self, mut is_kept: impl FnMut(T) -> bool) -> usize {
        let mut kept = 0;
        for queue in &mut self.queues {
            queue.retain(|item| is_kept(*item));
            kept += queue.len();
            if queue.is_empty() {
                queue.shrink_to(KEPT_CAPACITY);
            }
        }
        let queues = &self.queues;
        for users in [&mut self.turns, &mut self.passed] {
            users.retain(|user| !queues[place_of(*user)].is_empty());
        }
        kept
    }

    /// Returns the number of items that there is memory for.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.queues.iter().map(VecDeque::capacity).sum()
    }

    /// Returns all items with their users.
    #[cfg(any(test, mux_fuzz))]
    pub fn items(&self) -> impl Iterator<Item = (u32, T)> {
        let user = |place: usize| u32::try_from(place).unwrap_or(0).wrapping_sub(1);
        self.queues
            .iter()
            .enumerate()
            .flat_map(move |(place, queue)| queue.iter().map(move |item| (user(place), *item)))
    }

    /// Checks that each user with items has one turn, and no other user has one.
    #[cfg(any(test, mux_fuzz))]
    pub fn audit(&self) {
        let turns: std::collections::BTreeSet<u32> =
            self.turns.iter().chain(&self.passed).copied().collect();
        assert_eq!(turns.len(), self.turns.len() + self.passed.len(), "a user has two turns");
        let with_items = self.items().map(|(user, _)| user).collect();
        assert_eq!(turns, with_items, "the users with turns");
    }
}

/// Returns the place of a user's queue.
fn place_of(user: u32) -> usize {
    const { assert!(NO_USER == u32::MAX) };
    user.wrapping_add(1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(queues: &mut UserQueues<u16>) -> Option<u16> {
        queues.audit();
        let item = queues.first();
        queues.remove_first();
        item
    }

    #[test]
    fn users_take_turns() {
        let mut queues = UserQueues::default();
        for (user, item) in [(7, 1), (7, 2), (7, 3), (NO_USER, 10), (0, 20), (NO_USER, 11)] {
            queues.push(user, item);
        }
        assert_eq!((take(&mut queues), take(&mut queues)), (Some(1), Some(10)));
        queues.pass_turn();
        assert_eq!((queues.first(), queues.has_turn()), (Some(2), true));
        queues.pass_turn();
        queues.pass_turn();
        assert!(!queues.has_turn() && !queues.is_empty());
        queues.audit();
        queues.retry_passed();
        assert!(queues.has_turn());
        // A user that comes late waits for one turn of each of the others.
        queues.push(3, 30);
        let rest: Vec<u16> = std::iter::from_fn(|| take(&mut queues)).collect();
        assert_eq!(rest, [20, 2, 11, 30, 3]);
        assert!(queues.is_empty() && queues.items().next().is_none());
    }

    #[test]
    fn users_that_were_passed_over_do_not_delay_another_user() {
        let mut queues = UserQueues::default();
        for user in [5, 6] {
            queues.push(user, user as u16);
            queues.pass_turn();
        }
        queues.push(7, 70);
        queues.push(7, 71);
        queues.push(5, 50);
        assert_eq!((take(&mut queues), take(&mut queues)), (Some(70), Some(71)));
        assert!(!queues.has_turn() && queues.first().is_none());
        queues.retry_passed();
        let rest: Vec<u16> = std::iter::from_fn(|| take(&mut queues)).collect();
        assert_eq!(rest, [5, 6, 50]);
        assert!(queues.is_empty());
    }

    #[test]
    fn next_item_of_a_user_is_taken_out_of_turn() {
        let mut queues = UserQueues::default();
        for (user, item) in [(7, 1), (7, 2), (0, 20), (5, 50)] {
            queues.push(user, item);
        }
        assert_eq!(
            (queues.pop_of(0), queues.pop_of(7), queues.pop_of(9)),
            (Some(20), Some(1), None)
        );
        assert_eq!(queues.pop_of(0), None);
        queues.push(0, 21);
        let rest: Vec<u16> = std::iter::from_fn(|| take(&mut queues)).collect();
        assert_eq!(rest, [2, 50, 21]);
    }

    #[test]
    fn memory_of_many_items_is_returned() {
        let mut queues = UserQueues::default();
        for item in 0..10_000 {
            queues.push(u32::from(item % 5), item);
        }
        assert_eq!(std::iter::from_fn(|| take(&mut queues)).count(), 10_000);
        assert!(queues.capacity() <= 5 * KEPT_CAPACITY, "{}", queues.capacity());
        assert!(queues.turns.capacity() <= KEPT_CAPACITY);
    }
}
