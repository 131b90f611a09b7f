//! Users: the accounts to which clients belong, with what they hold of the pools that all clients use
//! (`shares.rs`).
//!
//! The driver names the user of a client when the client connects. A user is counted for what its
//! connected clients hold, and for what departed clients and ended sessions still have upstream. The
//! record of a user that holds nothing and has no client is freed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::hasher::SeededState;
use super::inflight_limit::SentMark;

/// The user that a client belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum User {
    /// The user of a process on this machine.
    Local(u32),
    /// Another machine.
    Host(IpAddr),
    /// A virtual machine or its host, by its number.
    Machine(u32),
}

impl User {
    /// Returns the account of a user.
    fn account(self) -> User {
        match self {
            User::Host(address) => User::Host(host_of(address)),
            User::Local(_) | User::Machine(_) => self,
        }
    }
}

/// Returns the one address that stands for all addresses of a machine, as far as they are known: those of
/// this machine's loopback interface, and those of an IPv6 network of 64 bits. An IPv4 address that is written as
/// IPv6 address is the same.
pub fn host_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address if address.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

/// No user: requests and fids of 9pmux's own.
pub const NO_USER: u32 = u32::MAX;

/// The resources that a user holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Its connected clients.
    pub clients: usize,
    /// Its upstream requests, and the flushes of them.
    pub tags: usize,
    /// The flushes among them that use the tags for flushes.
    pub flushes: usize,
    /// The Tclunks of 9pmux's own among them.
    pub clunks: usize,
    /// The requests among them that departed clients and ended sessions have left.
    pub departed_tags: usize,
    /// Its upstream fids.
    pub fids: usize,
    /// The fids among them that departed clients and ended sessions have left.
    pub departed_fids: usize,
    /// Its descriptors.
    pub descriptors: usize,
    /// The memory of its clients.
    pub memory: usize,
    /// The mark of its last request that has passed the adaptive limit, if that is still upstream.
    pub passed: SentMark,
}

struct Slot {
    user: Option<User>,
    account: Account,
}

/// All users with clients, or with something upstream.
pub struct Users {
    by_name: HashMap<User, u32, SeededState>,
    slots: Vec<Slot>,
    free_slots: Vec<u32>,
}

impl Users {
    pub fn new(hasher: SeededState) -> Users {
        Users { by_name: HashMap::with_hasher(hasher), slots: Vec::new(), free_slots: Vec::new() }
    }

    /// Counts a new client of this user, and returns the index of the user. A client without a user is
    /// one for itself.
    pub fn add_client(&mut self, user: Option<User>) -> u32 {
        let user = user.map(User::account);
        let known = user.and_then(|user| self.by_name.get(&user).copied());
        let index = known.unwrap_or_else(|| self.allocate(user));
        self.slots[index as usize].account.clients += 1;
        index
    }

    fn allocate(&mut self, user: Option<User>) -> u32 {
        let slot = Slot { user, account: Account::default() };
        let index = match self.free_slots.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        if let Some(user) = user {
            self.by_name.insert(user, index);
        }
        index
    }

    /// Returns the account of a user.
    #[inline]
    pub fn get(&self, index: u32) -> &Account {
        &self.slots[index as usize].account
    }

    /// Returns the user of this machine with this index, if it is one.
    pub fn local(&self, index: u32) -> Option<u32> {
        match self.slots[index as usize].user {
            Some(User::Local(uid)) => Some(uid),
            _ => None,
        }
    }

    /// Changes the account of a user, and frees its record if it holds nothing. Has no effect for
    /// [`NO_USER`].
    #[inline]
    pub fn change(&mut self, index: u32, change: impl FnOnce(&mut Account)) {
        if index == NO_USER {
            return;
        }
        let slot = &mut self.slots[index as usize];
        change(&mut slot.account);
        if slot.account == Account::default() {
            self.free(index);
        }
    }

    /// Counts one more upstream request of a user, unless it is [`NO_USER`].
    #[inline]
    pub fn add_tag(&mut self, index: u32) {
        if index != NO_USER {
            self.slots[index as usize].account.tags += 1;
        }
    }

    /// Counts one upstream request less, which a departed client may have left.
    #[inline]
    pub fn remove_tag(&mut self, index: u32, is_departed: bool) {
        if index == NO_USER {
            return;
        }
        let account = &mut self.slots[index as usize].account;
        account.tags -= 1;
        account.departed_tags -= usize::from(is_departed);
        if account.tags == 0 && *account == Account::default() {
            self.free(index);
        }
    }

    /// A request with this mark has ended, which has passed the adaptive limit.
    #[cold]
    pub fn end_passed(&mut self, index: u32, mark: SentMark) {
        self.change(index, |account| {
            if account.passed == mark {
                account.passed = SentMark::NOT_COUNTED;
            }
        });
    }

    /// No request has passed the adaptive limit.
    pub fn forget_passed(&mut self) {
        let slots = self.slots.iter_mut();
        slots.for_each(|slot| slot.account.passed = SentMark::NOT_COUNTED);
    }

    #[cold]
    fn free(&mut self, index: u32) {
        if let Some(user) = self.slots[index as usize].user.take() {
            self.by_name.remove(&user);
        }
        self.free_slots.push(index);
    }

    /// The connection to the server has ended: nothing is upstream any more.
    pub fn clear_upstream(&mut self) {
        for index in 0..self.slots.len() as u32 {
            let account = self.slots[index as usize].account;
            if account.tags > 0 || account.fids > 0 {
                self.change(index, |account| {
                    let Account { clients, descriptors, memory, .. } = *account;
                    *account = Account { clients, descriptors, memory, ..Account::default() };
                });
            }
        }
    }

    /// Returns the account of a user, if it has one.
    #[cfg(any(test, mux_fuzz))]
    pub fn account_of(&self, user: User) -> Option<Account> {
        self.by_name.get(&user.account()).map(|index| *self.get(*index))
    }

    /// Returns the number of users, and their accounts by index.
    #[cfg(any(test, mux_fuzz))]
    pub fn accounts(&self) -> (usize, Vec<Account>) {
        let accounts = self.slots.iter().map(|slot| slot.account).collect();
        (self.slots.len() - self.free_slots.len(), accounts)
    }
}
