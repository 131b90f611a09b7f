//! Calls with a deadline: how a caller sleeps, and how it receives for all callers, while it watches the
//! clock.
//!
//! When a timed sleep expires, the caller reports it to the machine. The machine then wakes it with
//! `TimedOut`, or with the result that was already queued. A receiver with a deadline reads the clock
//! before each message. It cannot read the clock inside `recv`. If the transport can poll without
//! blocking, such a receiver therefore polls, and sleeps between the polls; the sleep is doubled each
//! time that no message is available, up to a maximum.

use std::time::Duration;

use crate::core::{Action, CallId, Outcome, Wakeup};
use crate::sched::clock::{self, NEVER};
use crate::sched::{Sched, sleep_until};

use super::blocking::LockedWith;
use super::{Error, Locked, Mux, Polled, Transport, TransportProtocol};

/// The first and the maximum sleep between two polls, in nanoseconds.
const BACKOFF: (u64, u64) = (50_000, 5_000_000);

/// The wait of one caller with a deadline.
pub(super) struct TimedWait {
    deadline: u64,
    /// True if the caller must receive once more although its deadline has passed.
    must_stay: bool,
    /// The length of the next sleep between two polls, in nanoseconds.
    backoff: u64,
    /// True if the next sleep is one between two polls.
    polls: bool,
}

impl TimedWait {
    #[inline]
    pub(super) fn new(deadline: u64) -> TimedWait {
        TimedWait { deadline, must_stay: false, backoff: BACKOFF.0, polls: false }
    }

    /// Returns when the caller must report to the machine, if it goes to sleep now.
    fn next_report(&mut self) -> u64 {
        if !self.polls {
            return self.deadline;
        }
        let now = clock::now();
        let next_poll = now.saturating_add(self.backoff);
        self.backoff = BACKOFF.1.min(self.backoff * 2);
        self.polls = false;
        // A late caller that must stay sleeps between its polls too.
        if now >= self.deadline { next_poll } else { next_poll.min(self.deadline) }
    }
}

/// The right of a timed sleeper to report that its deadline has passed, for which the machine keeps the
/// slot of the call after the call has ended. Dropping the ticket gives up this right.
struct TimedTicket<'a, T: Transport, S: Sched> {
    mux: &'a Mux<T, S>,
    id: CallId,
}

impl<T: Transport, S: Sched> TimedTicket<'_, T, S> {
    /// Consumes the ticket. The owner's call continues, and the slot stays in use.
    fn keep_slot(self) {
        std::mem::forget(self);
    }
}

impl<T: Transport, S: Sched> Drop for TimedTicket<'_, T, S> {
    fn drop(&mut self) {
        self.mux.with_locked(|machine| machine.ack_wake(self.id));
    }
}

/// Keeps the scheduler's timer acquired until this is dropped.
struct TimerGuard<'a, S: Sched>(&'a S);

impl<'a, S: Sched> TimerGuard<'a, S> {
    fn acquire<F>(sched: &'a S) -> Result<TimerGuard<'a, S>, Error<F>> {
        match sched.acquire_timer() {
            Ok(()) => Ok(TimerGuard(sched)),
            Err(error) => Err(Error::NoClock(error.0)),
        }
    }
}

impl<S: Sched> Drop for TimerGuard<'_, S> {
    fn drop(&mut self) {
        self.0.release_timer();
    }
}

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Sends `request`, waits at most `timeout` for its reply and returns the reply.
    ///
    /// If the call times out after its request was sent, its tag stays in use until the reply arrives,
    /// which is then an orphan, or until the connection ends.
    ///
    /// The call may return later than `timeout` in two cases. While its request is being sent, the
    /// caller cannot return. And a caller that receives for all callers inside
    /// [`recv`](Transport::recv) returns at the next message only; this requires that the transport
    /// cannot [poll without blocking](Transport::can_try), that there is no receive proc, and that all
    /// other waiting callers have deadlines too.
    ///
    /// This may be called from any number of threads at once.
    ///
    /// # Errors
    /// As [`rpc`](Mux::rpc), and also:
    /// * [`Error::TimedOut`]: the reply did not arrive in time.
    /// * [`Error::NoClock`]: the scheduler cannot wake callers at a deadline.
    pub fn rpc_timeout(
        &self,
        request: T::Request,
        timeout: Duration,
    ) -> Result<T::Reply, Error<T::Failure>> {
        let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(NEVER);
        self.rpc_deadline(request, clock::now().saturating_add(timeout))
    }

    /// As [`rpc_timeout`](Mux::rpc_timeout), but with a deadline on the library's clock in nanoseconds.
    /// With [`NEVER`], as [`rpc`](Mux::rpc).
    pub(crate) fn rpc_deadline(
        &self,
        request: T::Request,
        deadline: u64,
    ) -> Result<T::Reply, Error<T::Failure>> {
        let _timer = match deadline {
            NEVER => None,
            _ => Some(TimerGuard::acquire(&self.sched)?),
        };
        self.rpc_inner::<true>(request, deadline)
    }

    /// Receives for all callers, as long as `wait` permits. The caller must have the receiver role. Returns
    /// the locked state and the caller's next action, which is to sleep if the transport has polled without
    /// a message.
    pub(super) fn receive_timed<'a>(
        &'a self,
        mut state: Locked<'a, T, S>,
        id: CallId,
        wait: &mut TimedWait,
    ) -> LockedWith<'a, T, S, Action<TransportProtocol<T>>> {
        if !wait.must_stay && clock::now() >= wait.deadline {
            wait.must_stay = true;
            let action = state.handle_deadline_awake(id);
            return (state, action);
        }
        self.release(state);
        state = if !self.transport.can_try() {
            self.receive()
        } else {
            match self.transport.try_recv() {
                Polled::Message(reply) => {
                    wait.backoff = BACKOFF.0;
                    self.dispatch_message(reply)
                }
                Polled::Ended => self.handle_disconnect(),
                Polled::Nothing => {
                    let mut state = self.lock_with_range();
                    let action = state.begin_backoff(id);
                    wait.polls = matches!(action, Action::Sleep);
                    return (state, action);
                }
            }
        };
        wait.must_stay = false;
        let action = state.next_action(id);
        (state, action)
    }

    /// Sleeps until the caller is woken, and returns the wake-up. The deadline causes a wake-up; so does
    /// the end of a sleep between two polls, if no other caller has become the receiver.
    pub(super) fn sleep_timed(
        &self,
        mut state: Locked<'_, T, S>,
        id: CallId,
        wait: &mut TimedWait,
    ) -> Wakeup<TransportProtocol<T>> {
        let deadline = wait.deadline;
        let ticket = TimedTicket { mux: self, id };
        let wakeup = sleep_until(
            &self.sched,
            wait.next_report(),
            |handle| {
                state.set_asleep(id, handle);
                self.release(state);
            },
            || {
                self.with_locked(|machine| {
                    let late = clock::now() >= deadline;
                    machine.end_backoff(id);
                    if late {
                        self.update_range(machine);
                        machine.handle_deadline_asleep(id);
                    }
                    if late { NEVER } else { deadline }
                })
            },
        );
        wait.must_stay = false;
        let wakeup = wakeup.unwrap_or(Wakeup::Completed(Outcome::Ended));
        if !matches!(wakeup, Wakeup::Completed(_)) {
            ticket.keep_slot();
        }
        wakeup
    }
}
