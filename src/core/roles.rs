//! The two roles that at most one caller has at a time: to receive for all callers, and to send.
//!
//! A holder is stored in 32 bits, because the machine lives inside a C struct of fixed size.

use super::slab::MAX_SLOTS;

/// The holder of the receiver role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Muxer {
    /// No caller receives.
    Unassigned,
    /// The owner of this call is inside `recv`, or about to be.
    Call(u32),
    /// The owner of this call has a deadline: it polls without blocking and sleeps between two polls. A
    /// caller without a deadline, or a proc, takes the role from it.
    Polling(u32),
    /// A caller that polls on behalf of a non-blocking call, or receives one message by hand.
    Transient,
    /// The receive proc.
    Proc,
}

/// The holder of the turn to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// No caller sends.
    Unassigned,
    /// The owner of this call is inside `send`, or about to be.
    Call(u32),
    /// The send proc.
    Proc,
}

const UNASSIGNED: u32 = u32::MAX;
const PROC: u32 = u32::MAX - 1;
const TRANSIENT: u32 = u32::MAX - 2;
/// Added to the slot of a polling receiver.
const POLLING: u32 = MAX_SLOTS;

/// The receiver role.
#[derive(Clone, Copy)]
pub(super) struct ReceiverRole(u32);

impl ReceiverRole {
    pub const UNASSIGNED: ReceiverRole = ReceiverRole(UNASSIGNED);

    #[inline(always)]
    const fn pack(holder: Muxer) -> u32 {
        match holder {
            Muxer::Unassigned => UNASSIGNED,
            Muxer::Call(id) => id,
            Muxer::Polling(id) => id | POLLING,
            Muxer::Transient => TRANSIENT,
            Muxer::Proc => PROC,
        }
    }

    #[inline(always)]
    pub fn holder(self) -> Muxer {
        match self.0 {
            UNASSIGNED => Muxer::Unassigned,
            PROC => Muxer::Proc,
            TRANSIENT => Muxer::Transient,
            id if id >= POLLING => Muxer::Polling(id & !POLLING),
            id => Muxer::Call(id),
        }
    }

    #[inline(always)]
    pub fn is(self, holder: Muxer) -> bool {
        self.0 == Self::pack(holder)
    }

    #[inline(always)]
    pub fn is_polling(self) -> bool {
        (POLLING..TRANSIENT).contains(&self.0)
    }

    #[inline(always)]
    pub fn assign(&mut self, holder: Muxer) {
        self.0 = Self::pack(holder);
    }
}

/// The turn to send.
#[derive(Clone, Copy)]
pub(super) struct TurnToSend(u32);

impl TurnToSend {
    pub const UNASSIGNED: TurnToSend = TurnToSend(UNASSIGNED);

    #[inline(always)]
    const fn pack(holder: Sender) -> u32 {
        match holder {
            Sender::Unassigned => UNASSIGNED,
            Sender::Call(id) => id,
            Sender::Proc => PROC,
        }
    }

    #[inline(always)]
    pub fn holder(self) -> Sender {
        match self.0 {
            UNASSIGNED => Sender::Unassigned,
            PROC => Sender::Proc,
            id => Sender::Call(id),
        }
    }

    #[inline(always)]
    pub fn is(self, holder: Sender) -> bool {
        self.0 == Self::pack(holder)
    }

    #[inline(always)]
    pub fn assign(&mut self, holder: Sender) {
        self.0 = Self::pack(holder);
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_SLOTS, Muxer, ReceiverRole, Sender, TurnToSend};

    #[test]
    fn every_holder_is_stored_and_returned() {
        let mut role = ReceiverRole::UNASSIGNED;
        assert!(role.is(Muxer::Unassigned));
        let last = MAX_SLOTS - 1;
        for holder in [
            Muxer::Call(0),
            Muxer::Call(last),
            Muxer::Polling(0),
            Muxer::Polling(last),
            Muxer::Transient,
            Muxer::Proc,
            Muxer::Unassigned,
        ] {
            assert!(!role.is(holder));
            role.assign(holder);
            assert!(role.is(holder));
            assert_eq!(role.holder(), holder);
            assert_eq!(role.is_polling(), matches!(holder, Muxer::Polling(_)));
        }
        let mut turn = TurnToSend::UNASSIGNED;
        assert!(turn.is(Sender::Unassigned));
        for holder in [Sender::Call(0), Sender::Call(last), Sender::Proc, Sender::Unassigned] {
            assert!(!turn.is(holder));
            turn.assign(holder);
            assert!(turn.is(holder));
            assert_eq!(turn.holder(), holder);
        }
    }
}
