//! The maximum number of clients, and the parts of it that are kept for users and hosts with few clients or
//! with none.
//!
//! | a user or host with | may connect while |
//! |---|---|
//! | no client | a place is free |
//! | less than a sixty-fourth of the places | more than a sixteenth is free |
//! | more clients | more than an eighth is free |
//!
//! So many users with few clients each cannot keep a newcomer out, unless they are as many as a sixteenth of
//! the places.

use std::collections::HashMap;

use super::stream::Origin;

/// One of so many places is kept for users and hosts with few clients.
const KEPT_PART: usize = 8;

/// One of so many places is kept for users and hosts without a client.
const NEWCOMER_PART: usize = 16;

/// A user or host has few clients if it has less than one of so many places.
const FEW_PART: usize = 64;

/// The connected clients, counted in all and for each user or host.
pub struct Admission {
    max: usize,
    count: usize,
    by_origin: HashMap<Origin, usize>,
}

impl Admission {
    pub fn new(max: usize) -> Admission {
        Admission { max, count: 0, by_origin: HashMap::new() }
    }

    /// Returns true if a client of this user or host may connect.
    pub fn admits(&self, origin: Origin) -> bool {
        let kept = match self.of(origin) {
            0 => 0,
            count if count < self.max / FEW_PART => self.max / NEWCOMER_PART,
            _ => self.max / KEPT_PART,
        };
        self.count < self.max - kept
    }

    /// Counts a client that has connected.
    pub fn add(&mut self, origin: Origin) {
        self.count += 1;
        *self.by_origin.entry(origin).or_default() += 1;
    }

    /// Counts a client that has disconnected.
    pub fn remove(&mut self, origin: Origin) {
        self.count -= 1;
        if let Some(count) = self.by_origin.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.by_origin.remove(&origin);
            }
        }
    }

    /// The number of clients of this user or host.
    pub fn of(&self, origin: Origin) -> usize {
        self.by_origin.get(&origin).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connects clients of this user until one is refused. Returns their number.
    fn fill(admission: &mut Admission, origin: Origin) -> usize {
        let before = admission.of(origin);
        while admission.admits(origin) {
            admission.add(origin);
        }
        admission.of(origin) - before
    }

    #[test]
    fn one_user_leaves_an_eighth_for_the_others() {
        let mut admission = Admission::new(1024);
        assert_eq!(fill(&mut admission, Origin::User(1)), 896);
        assert_eq!(fill(&mut admission, Origin::User(2)), 16);
        assert_eq!(fill(&mut admission, Origin::Host([127, 0, 0, 1].into())), 16);
        admission.remove(Origin::User(2));
        assert_eq!(fill(&mut admission, Origin::User(1)), 0);
        assert_eq!(fill(&mut admission, Origin::User(2)), 1);
        for user in 3..9 {
            assert!(fill(&mut admission, Origin::User(user)) > 0);
        }
    }

    #[test]
    fn many_users_with_few_clients_leave_a_sixteenth_to_newcomers() {
        let mut admission = Admission::new(1024);
        for user in 0..60 {
            for _ in 0..16 {
                assert!(admission.admits(Origin::User(user)));
                admission.add(Origin::User(user));
            }
        }
        assert_eq!(admission.count, 960);
        assert_eq!(fill(&mut admission, Origin::User(50)), 0);
        for user in 60..124 {
            assert_eq!(fill(&mut admission, Origin::User(user)), 1);
        }
        assert_eq!(fill(&mut admission, Origin::User(200)), 0);
        admission.remove(Origin::User(110));
        assert_eq!(fill(&mut admission, Origin::User(120)), 0);
        assert_eq!(fill(&mut admission, Origin::User(110)), 1);
    }

    #[test]
    fn small_maximum_is_reached_and_departed_clients_are_forgotten() {
        for max in 1..8 {
            let mut admission = Admission::new(max);
            assert_eq!(fill(&mut admission, Origin::Unknown), max);
            for _ in 0..max {
                admission.remove(Origin::Unknown);
            }
            assert!(admission.by_origin.is_empty());
            assert_eq!(fill(&mut admission, Origin::User(0)), max);
        }
    }
}
