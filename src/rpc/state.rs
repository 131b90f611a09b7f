//! The locked state: how an event is reported to the machine, and how its wake-ups are delivered.
//!
//! Only this module can lock the state, and each unlocking also delivers the wake-ups that were queued
//! under the lock. An event that needs the lock for itself alone is a closure of
//! [`with_locked`](Mux::with_locked) or [`with_locked_and_range`](Mux::with_locked_and_range). A path that
//! reports several events under one lock holds a [`Locked`] and ends in [`release`](Mux::release) or
//! [`sleep`](Mux::sleep). A `Locked` that is dropped instead is released too, in more instructions.

use parking_lot::lock_api;

use crate::core::tags::TagRange;
use crate::core::{Machine, Outcome, WakeBatch, Wakeup};
use crate::sched::release::{Release, Releasing};
use crate::sched::wakers::WakerStore;
use crate::sched::{Sched, WakeHandle};

use super::{Mux, Transport, TransportProtocol};

type Wake<T, S> = WakeHandle<Wakeup<TransportProtocol<T>>, <S as Sched>::Parker>;
/// The machine of a Mux with this transport and this scheduler.
pub(super) type MuxMachine<T, S> = Machine<TransportProtocol<T>, Wake<T, S>>;

/// The state lock, with the machine.
pub(super) struct State<T: Transport, S: Sched>(lock_api::Mutex<S::Lock, MuxMachine<T, S>>);

impl<T: Transport, S: Sched> State<T, S> {
    pub(super) fn new() -> State<T, S> {
        State(lock_api::Mutex::new(Machine::new()))
    }
}

/// The locked state. Dropping it unlocks the state and delivers the wake-ups, as [`Mux::release`] does.
pub(super) type Locked<'a, T, S> = Releasing<LockedState<'a, T, S>>;

/// The guard of the state lock, with the Mux that must deliver the wake-ups.
pub(super) struct LockedState<'a, T: Transport, S: Sched> {
    mux: &'a Mux<T, S>,
    guard: lock_api::MutexGuard<'a, S::Lock, MuxMachine<T, S>>,
}

impl<T: Transport, S: Sched> Release for LockedState<'_, T, S> {
    fn release(self) {
        // The machine may be inconsistent while its caller unwinds, so the state is only unlocked then.
        if !std::thread::panicking() {
            self.mux.deliver_wakes(self.guard);
        }
    }
}

impl<T: Transport, S: Sched> std::ops::Deref for LockedState<'_, T, S> {
    type Target = MuxMachine<T, S>;

    #[inline(always)]
    fn deref(&self) -> &MuxMachine<T, S> {
        &self.guard
    }
}

impl<T: Transport, S: Sched> std::ops::DerefMut for LockedState<'_, T, S> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut MuxMachine<T, S> {
        &mut self.guard
    }
}

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Reads the state under the lock.
    pub(super) fn inspect<R>(&self, read: impl FnOnce(&MuxMachine<T, S>) -> R) -> R {
        read(&self.state.0.lock())
    }

    /// Reports an event that allocates no tag, unlocks the state and delivers the wake-ups. Returns the
    /// result of the event.
    #[inline(always)]
    pub(super) fn with_locked<R>(&self, event: impl FnOnce(&mut MuxMachine<T, S>) -> R) -> R {
        let mut state = self.lock();
        let result = event(&mut state);
        self.release(state);
        result
    }

    /// As [`with_locked`](Mux::with_locked), for an event that may allocate a tag.
    #[inline(always)]
    pub(super) fn with_locked_and_range<R>(
        &self,
        event: impl FnOnce(&mut MuxMachine<T, S>) -> R,
    ) -> R {
        let mut state = self.lock_with_range();
        let result = event(&mut state);
        self.release(state);
        result
    }

    /// Locks the state for an event that allocates no tag.
    #[inline(always)]
    pub(super) fn lock(&self) -> Locked<'_, T, S> {
        Releasing::new(LockedState { mux: self, guard: self.state.0.lock() })
    }

    /// Returns `state`, which must be the state of this Mux. The compiler then knows the Mux of a state
    /// that a function out of its sight has locked.
    #[inline(always)]
    pub(super) fn own<'a>(&'a self, state: Locked<'a, T, S>) -> Locked<'a, T, S> {
        Releasing::new(LockedState { mux: self, guard: state.into_inner().guard })
    }

    /// Locks the state for an event that may allocate a tag, and sets the machine's range of valid tags.
    ///
    /// All other events must use [`lock`](Mux::lock). A program may change the range between its calls, when
    /// a proc, or a caller that is about to return, can still be here; reading it then is a data race.
    #[inline]
    pub(super) fn lock_with_range(&self) -> Locked<'_, T, S> {
        let mut state = self.lock();
        if !T::HAS_FIXED_RANGE {
            self.update_range(&mut state);
        }
        state
    }

    /// Sets the machine's range of valid tags, which will not change.
    pub(super) fn set_fixed_range(&self) {
        self.update_range(&mut self.state.0.lock());
    }

    /// Sets the machine's range of valid tags, which the program may have changed.
    #[inline]
    pub(super) fn update_range(&self, machine: &mut MuxMachine<T, S>) {
        let std::ops::Range { start: min, end: max } = self.transport.range();
        machine.set_range(TagRange { min, max });
    }

    /// Unlocks the state, then delivers the wake-ups that have been queued under the lock.
    #[inline(always)]
    pub(super) fn release(&self, state: Locked<'_, T, S>) {
        self.deliver_wakes(state.into_inner().guard);
    }

    /// As [`release`](Mux::release), for the guard inside a [`Locked`].
    #[inline(always)]
    fn deliver_wakes(&self, mut state: lock_api::MutexGuard<'_, S::Lock, MuxMachine<T, S>>) {
        let wakes = state.take_wakes();
        let ready_fd_is_stale = state.ready_fd_is_stale();
        if ready_fd_is_stale {
            state.pin();
        }
        drop(state);
        // Before the wake-ups, because a wake-up may switch to another coroutine.
        if ready_fd_is_stale {
            self.update_ready_fd();
            self.unpin();
        }
        if let Some(wakes) = wakes {
            self.wake(wakes);
        }
    }

    /// Updates the readiness of the poll descriptor to the current state of the machine. Concurrent
    /// updates are serialised by the descriptor's lock, and each reads the state anew.
    #[cold]
    pub(super) fn update_ready_fd(&self) {
        let mut ready_fd = self.ready_fd.lock();
        let ready = self.state.0.lock().report_ready(ready_fd.is_some());
        if let Some(ready_fd) = &mut *ready_fd {
            ready_fd.set(ready);
        }
    }

    /// Ends a `pin` of the machine.
    #[cold]
    pub(super) fn unpin(&self) {
        let mut state = self.state.0.lock();
        state.unpin();
        let wakes = state.take_wakes();
        drop(state);
        if let Some(wakes) = wakes {
            self.wake(wakes);
        }
    }

    #[cold]
    fn wake(&self, mut wakes: WakeBatch<TransportProtocol<T>, Wake<T, S>>) {
        loop {
            let more = wakes.more();
            for id in wakes.futures() {
                if let Some(waker) = self.wakers.take(id.slot()) {
                    waker.wake();
                }
            }
            for (handle, wakeup) in wakes {
                handle.wake(wakeup);
            }
            if !more {
                return;
            }
            match self.state.0.lock().take_more_wakes() {
                Some(rest) => wakes = rest,
                None => return,
            }
        }
    }

    /// Unlocks the state, delivers the queued wake-ups and sleeps. Before that, `publish` must store the
    /// caller's wake handle in the machine. Returns the wake-up that the caller was woken with.
    #[inline]
    pub(super) fn sleep(
        &self,
        mut state: Locked<'_, T, S>,
        publish: impl FnOnce(&mut MuxMachine<T, S>, Wake<T, S>),
    ) -> Wakeup<TransportProtocol<T>> {
        let wakeup = crate::sched::sleep(&self.sched, |handle| {
            publish(&mut state, handle);
            self.release(state);
        });
        // The machine uses each handle once. A handle dropped unused means that the call has ended.
        wakeup.unwrap_or(Wakeup::Completed(Outcome::Ended))
    }
}
