//! Waiting for a tag, for the turn to send or for a reply, with or without a deadline. The caller sleeps,
//! or receives messages for all callers.
//!
//! When a timed wait expires, the caller reports it to the machine. The machine then wakes it with
//! `TimedOut`, or with the result that was already queued. A receiver with a deadline reads the clock
//! before each message. It cannot read the clock inside `recv`. If the transport can poll without
//! blocking, such a receiver therefore polls, and sleeps between the polls; the sleep is doubled each
//! time that no message is available, up to a maximum.

use std::time::Duration;

use crate::core::{Action, CallId, Outcome, Wakeup};
use crate::sched::clock::{self, NEVER};
use crate::sched::{Sched, sleep_until};

use super::{Error, Locked, Mux, Polled, Transport, TransportProtocol};

/// The first and the maximum sleep between two polls, in nanoseconds.
const BACKOFF: (u64, u64) = (50_000, 5_000_000);

/// The result of a wait.
pub(super) enum Waited<T: Transport> {
    /// The call has ended.
    Completed(Outcome<T::Reply, T::Failure>),
    /// The call has this tag now.
    Tag(u32),
    /// The caller has the turn to send, and gets its request back.
    Turn(T::Request),
    /// Another sender has sent the request of a non-blocking call, or the message.
    Sent,
}

impl<T: Transport> Waited<T> {
    /// Returns the result of the wait of a caller that was woken.
    fn from_wakeup(wakeup: Wakeup<TransportProtocol<T>>) -> Waited<T> {
        match wakeup {
            Wakeup::Completed(outcome) => Waited::Completed(outcome),
            Wakeup::Tag(tag) => Waited::Tag(tag),
            Wakeup::Turn(request) => Waited::Turn(request),
            Wakeup::Sent => Waited::Sent,
            Wakeup::Receive | Wakeup::Busy | Wakeup::Work => {
                debug_assert!(false, "the wake-up must end the wait");
                Waited::Completed(Outcome::Ended)
            }
        }
    }

    /// Returns the result of the wait of a caller that did not sleep.
    fn from_action(action: Action<TransportProtocol<T>>) -> Waited<T> {
        match action {
            Action::Completed(outcome) => Waited::Completed(outcome),
            Action::Tagged(tag) => Waited::Tag(tag),
            Action::Turn(request) => Waited::Turn(request),
            Action::Pending => Waited::Sent,
            Action::Receive | Action::Sleep | Action::ProxySend(..) => {
                debug_assert!(false, "the action must end the wait");
                Waited::Completed(Outcome::Ended)
            }
        }
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
    /// ```
    /// # mod echo { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/echo.rs")); }
    /// # use echo::*;
    /// use mux::{Error, Mux};
    /// use std::time::Duration;
    ///
    /// let mux = Mux::new(Echo::default());
    /// let late = mux.rpc_timeout(request("hush, this is never answered"), Duration::from_millis(5));
    /// assert!(matches!(late, Err(Error::TimedOut)));
    /// let call = mux.rpc_timeout(request("hello"), Duration::from_secs(60));
    /// assert_eq!(call.unwrap().1, "hello");
    /// ```
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
        self.rpc_inner(request, deadline)
    }

    /// Carries out `step` and the actions after it until the wait has ended: the caller sleeps, or
    /// receives messages for all callers while it has the receiver role. Returns the result of the wait.
    pub(super) fn wait<'a>(
        &'a self,
        state: Locked<'a, T, S>,
        id: CallId,
        step: Action<TransportProtocol<T>>,
        deadline: u64,
    ) -> Waited<T> {
        self.wait_inline(state, id, step, deadline)
    }

    /// As `wait`, but always inlined, for the most frequent path.
    #[inline(always)]
    pub(super) fn wait_inline<'a>(
        &'a self,
        mut state: Locked<'a, T, S>,
        id: CallId,
        mut step: Action<TransportProtocol<T>>,
        deadline: u64,
    ) -> Waited<T> {
        let timed = deadline != NEVER;
        let mut must_stay = false;
        let mut backoff = BACKOFF.0;
        loop {
            match step {
                Action::Sleep => match self.sleep_for(state, id, deadline, None) {
                    Wakeup::Receive => state = self.lock_with_range(),
                    told => return Waited::from_wakeup(told),
                },
                Action::Receive if timed && !must_stay && clock::now() >= deadline => {
                    // If the caller must stay although it is late, it receives once more.
                    must_stay = true;
                    step = state.handle_deadline_awake(id);
                    continue;
                }
                Action::Receive if !timed || !self.transport.can_try() => {
                    self.release(state);
                    state = self.receive();
                }
                Action::Receive => {
                    self.release(state);
                    match self.transport.try_recv() {
                        Polled::Message(reply) => {
                            backoff = BACKOFF.0;
                            state = self.dispatch_message(reply);
                        }
                        Polled::Ended => state = self.handle_disconnect(),
                        Polled::Nothing => {
                            state = self.lock_with_range();
                            step = state.begin_backoff(id);
                            let Action::Sleep = step else { continue };
                            match self.sleep_for(state, id, deadline, Some(backoff)) {
                                Wakeup::Receive => state = self.lock_with_range(),
                                told => return Waited::from_wakeup(told),
                            }
                            backoff = BACKOFF.1.min(backoff * 2);
                        }
                    }
                }
                over => {
                    self.release(state);
                    return Waited::from_action(over);
                }
            }
            must_stay = false;
            step = state.next_action(id);
        }
    }

    /// Sleeps until the caller is woken, and returns the wake-up. The deadline causes a wake-up; so does the
    /// end of `backoff`, in nanoseconds, if no other caller has become the receiver.
    fn sleep_for(
        &self,
        mut state: Locked<'_, T, S>,
        id: CallId,
        deadline: u64,
        backoff: Option<u64>,
    ) -> Wakeup<TransportProtocol<T>> {
        if deadline == NEVER {
            return self.sleep(state, |core, wake| core.set_asleep(id, wake));
        }
        let now = clock::now();
        let first = match backoff {
            // A late caller that must stay sleeps between its polls too.
            Some(backoff) if now >= deadline => now.saturating_add(backoff),
            Some(backoff) => deadline.min(now.saturating_add(backoff)),
            None => deadline,
        };
        let told = sleep_until(
            &self.sched,
            first,
            |handle| {
                state.set_asleep(id, handle);
                self.release(state);
            },
            || {
                self.with_locked(|core| {
                    let late = clock::now() >= deadline;
                    core.end_backoff(id);
                    if late {
                        self.update_range(core);
                        core.handle_deadline_asleep(id);
                    }
                    if late { NEVER } else { deadline }
                })
            },
        );
        let told = told.unwrap_or(Wakeup::Completed(Outcome::Ended));
        // Until this point the caller could report expiry, so its slot has not been reused.
        if let Wakeup::Completed(_) = told {
            self.with_locked(|core| core.ack_wake(id));
        }
        told
    }
}
