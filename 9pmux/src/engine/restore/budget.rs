//! The memory of the records, by the clients that have caused it: nodes, locks, and copies of requests that departed
//! clients have left.
//!
//! | holder | may have one more record if |
//! |---|---|
//! | a client | its records have [`MAX_CLIENT_BYTES`] at most |
//! | a user with more than [`USER_FLOOR`] | its clients hold less than is free, without the reserve |
//! | any user | it fits into what is free, of which [`RESERVE`] is for users with less than the floor |
//!
//! So one user leaves half of the memory to others, as in `shares.rs`. A record that is not admitted is not made,
//! and the fid that needs it is served but cannot be restored.

use std::collections::HashMap;

use crate::engine::hasher::SeededState;
use crate::engine::users::NO_USER;

/// The maximum memory of all records.
const MAX_BYTES: usize = 256 << 20;

/// The maximum memory of the records of one client.
pub const MAX_CLIENT_BYTES: usize = 8 << 20;

/// The memory up to which a user may use the reserve, and the reserve.
const USER_FLOOR: usize = 1 << 20;
const RESERVE: usize = 16 << 20;

/// The client that has caused a record, and its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maker {
    pub client: u32,
    pub user: u32,
}

/// The maker of records that no client has asked for.
pub const NO_MAKER: Maker = Maker { client: u32::MAX, user: NO_USER };

/// The records of one client. Records that outlive it are those of the next client with its index.
#[derive(Clone, Copy)]
struct Spent {
    bytes: usize,
    user: u32,
}

/// The memory of all records.
pub struct Budget {
    bytes: usize,
    by_client: HashMap<u32, Spent, SeededState>,
    by_user: HashMap<u32, usize, SeededState>,
}

impl Budget {
    pub fn new(hasher: SeededState) -> Budget {
        Budget {
            bytes: 0,
            by_client: HashMap::with_hasher(hasher),
            by_user: HashMap::with_hasher(hasher),
        }
    }

    /// Returns true if a client may have one more record of this size.
    pub fn admits(&self, maker: Maker, cost: usize) -> bool {
        let spent = self.by_client.get(&maker.client);
        let held = spent.map_or(0, |spent| spent.bytes);
        let moved = spent.filter(|spent| spent.user != maker.user).map_or(0, |spent| spent.bytes);
        held + cost <= MAX_CLIENT_BYTES && self.admits_user(maker.user, moved + cost)
    }

    /// Returns true if a record of the client may grow by this size.
    pub fn admits_growth(&self, client: u32, more: usize) -> bool {
        let user = self.by_client.get(&client).map_or(NO_USER, |spent| spent.user);
        self.admits(Maker { client, user }, more)
    }

    /// Returns true if a user may have one more record of this size.
    pub fn admits_user(&self, user: u32, cost: usize) -> bool {
        let held = self.by_user.get(&user).copied().unwrap_or(0) + cost;
        let free = MAX_BYTES.saturating_sub(self.bytes);
        match held <= USER_FLOOR {
            true => cost <= free,
            false => held <= free.saturating_sub(RESERVE),
        }
    }

    /// Counts a record of a client.
    pub fn add(&mut self, maker: Maker, cost: usize) {
        let Maker { client, user } = maker;
        let spent = self.by_client.entry(client).or_insert(Spent { bytes: 0, user });
        let (moved, before) = (spent.bytes, spent.user);
        spent.bytes += cost;
        spent.user = user;
        if before != user {
            self.remove_for_user(before, moved);
            self.add_for_user(user, moved);
        }
        self.add_for_user(user, cost);
    }

    /// Counts one record less.
    pub fn remove(&mut self, client: u32, cost: usize) {
        let Some(spent) = self.by_client.get_mut(&client) else {
            return;
        };
        spent.bytes -= cost;
        let Spent { bytes, user } = *spent;
        if bytes == 0 {
            self.by_client.remove(&client);
        }
        self.remove_for_user(user, cost);
    }

    /// Counts that a record of a client has another size.
    pub fn resize(&mut self, client: u32, before: usize, after: usize) {
        let user = self.by_client.get(&client).map_or(NO_USER, |spent| spent.user);
        self.add(Maker { client, user }, after);
        self.remove(client, before);
    }

    /// Counts a record of a user, which no connected client of it has.
    pub fn add_for_user(&mut self, user: u32, cost: usize) {
        if cost > 0 {
            self.bytes += cost;
            *self.by_user.entry(user).or_default() += cost;
        }
    }

    /// Counts one such record less.
    pub fn remove_for_user(&mut self, user: u32, cost: usize) {
        self.bytes -= cost;
        if let Some(bytes) = self.by_user.get_mut(&user) {
            *bytes -= cost;
            if *bytes == 0 {
                self.by_user.remove(&user);
            }
        }
    }

    /// Returns the memory of all records.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Checks that the records that were counted are these, by client and by user.
    #[cfg(any(test, mux_fuzz))]
    pub fn audit(
        &self,
        of_clients: &std::collections::BTreeMap<u32, usize>,
        of_users: &std::collections::BTreeMap<u32, usize>,
    ) {
        let mut users = of_users.clone();
        assert_eq!(of_clients.len(), self.by_client.len(), "clients with records");
        for (client, bytes) in of_clients {
            let spent = self.by_client[client];
            assert_eq!(spent.bytes, *bytes, "the records of client {client}");
            *users.entry(spent.user).or_default() += bytes;
        }
        assert_eq!(users.values().sum::<usize>(), self.bytes);
        users.retain(|_, bytes| *bytes > 0);
        assert_eq!(users, self.by_user.iter().map(|(user, bytes)| (*user, *bytes)).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker(client: u32, user: u32) -> Maker {
        Maker { client, user }
    }

    /// Takes pieces of 1 MiB for a client as long as they are admitted. Returns their number.
    fn fill(budget: &mut Budget, maker: Maker) -> usize {
        let mut count = 0;
        while budget.admits(maker, 1 << 20) {
            budget.add(maker, 1 << 20);
            count += 1;
        }
        count
    }

    fn fill_by_clients(budget: &mut Budget, user: u32, clients: std::ops::Range<u32>) -> usize {
        clients.map(|client| fill(budget, maker(client, user))).sum()
    }

    #[test]
    fn a_client_has_its_limit_and_a_user_half_of_what_is_free() {
        let mut budget = Budget::new(SeededState::new(1));
        assert_eq!(fill(&mut budget, maker(0, 0)), 8);
        assert_eq!(fill_by_clients(&mut budget, 0, 1..100), 112);
        assert_eq!(fill_by_clients(&mut budget, 1, 100..200), 60);
        for user in 2..40 {
            fill_by_clients(&mut budget, user, 100 * user..100 * (user + 1));
        }
        assert!(budget.bytes() <= MAX_BYTES);
    }

    #[test]
    fn new_user_has_its_floor_when_one_user_holds_all_that_it_may() {
        let mut budget = Budget::new(SeededState::new(1));
        for user in 0..8 {
            fill_by_clients(&mut budget, user, 100 * user..100 * (user + 1));
        }
        for user in 10..20 {
            assert!(fill(&mut budget, maker(1000 * user, user)) > 0, "user {user}");
        }
    }

    #[test]
    fn records_of_a_departed_client_are_those_of_the_next_one_with_its_index() {
        let mut budget = Budget::new(SeededState::new(1));
        budget.add(maker(0, 7), 100);
        budget.add(maker(0, 8), 10);
        budget.audit(&[(0, 110)].into(), &[].into());
        assert_eq!(budget.by_user.get(&8), Some(&110));
        budget.remove(0, 100);
        budget.resize(0, 10, 30);
        budget.add_for_user(7, 5);
        budget.audit(&[(0, 30)].into(), &[(7, 5)].into());
        budget.remove_for_user(7, 5);
        // The copy of a request that has its reply.
        budget.add_for_user(9, 0);
        budget.remove(0, 30);
        budget.audit(&[].into(), &[].into());
    }
}
