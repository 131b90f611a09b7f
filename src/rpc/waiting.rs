//! Waiting: for a tag, for one's turn to send, for one's reply; asleep or receiving for all, for ever
//! or until some time.
//!
//! Who sleeps until some time wakes by itself and says so to the machine, which then has it told: that
//! it is late, or whatever it was about to be told anyway. Who receives looks at the clock before and
//! after each message. Inside `recv` it can not; so where the transport can look without waiting, a
//! caller with a deadline looks, and naps, longer each time that nothing is there.

use std::time::Duration;

use crate::core::{Action, CallId, Wakeup};
use crate::sched::clock::{self, NEVER};
use crate::sched::{Sched, sleep_until};

use super::{Error, Mux, Polled, State, Transport, TransportProtocol};

/// The first nap, and the longest, in nanoseconds.
const BACKOFF: (u64, u64) = (50_000, 5_000_000);

/// What has ended a wait.
pub(super) enum Waited<T: Transport> {
    /// The machine says it to one that is awake.
    Action(Action<TransportProtocol<T>>),
    /// Another has.
    Wakeup(Wakeup<TransportProtocol<T>>),
}

/// The scheduler's clock, until this is dropped.
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
    /// As [`rpc`](Mux::rpc), but waits no longer than `timeout`. The tag of a call that is late stays
    /// out of use until its reply has come, which is then an orphan, or the connection ends.
    ///
    /// A caller that sleeps is told when the time has come. One that finds itself receiving for all
    /// can not see the clock while it is in [`recv`](Transport::recv): it is told at the next message,
    /// whosever that is. It receives so only where the transport can not
    /// [look without waiting](Transport::can_try), there is no receive proc, and all the others that
    /// wait have deadlines too. And nobody leaves while its request is being sent.
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
    /// As [`rpc`](Mux::rpc), [`Error::TimedOut`], and [`Error::NoClock`].
    pub fn rpc_timeout(
        &self,
        request: T::Request,
        timeout: Duration,
    ) -> Result<T::Reply, Error<T::Failure>> {
        let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(NEVER);
        self.rpc_deadline(request, clock::now().saturating_add(timeout))
    }

    /// As [`rpc_timeout`](Mux::rpc_timeout), by the clock; [`NEVER`] is as [`rpc`](Mux::rpc).
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

    /// Goes on from `step`, receiving for all whenever it is this caller's to do, until the wait is
    /// over.
    pub(super) fn wait<'a>(
        &'a self,
        mut state: State<'a, T, S>,
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
                    Wakeup::Receive => state = self.lock(),
                    told => return Waited::Wakeup(told),
                },
                Action::Receive if timed && !must_stay && clock::now() >= deadline => {
                    // If it has to stay all the same, it may as well receive.
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
                            state = self.lock();
                            step = state.begin_backoff(id);
                            let Action::Sleep = step else { continue };
                            match self.sleep_for(state, id, deadline, Some(backoff)) {
                                Wakeup::Receive => state = self.lock(),
                                told => return Waited::Wakeup(told),
                            }
                            backoff = BACKOFF.1.min(backoff * 2);
                        }
                    }
                }
                over => {
                    self.release(state);
                    return Waited::Action(over);
                }
            }
            must_stay = false;
            step = state.next_action(id);
        }
    }

    /// Sleeps until it is told something, which it is at the latest at the deadline, or when its nap is
    /// over and nobody else receives.
    fn sleep_for(
        &self,
        mut state: State<'_, T, S>,
        id: CallId,
        deadline: u64,
        backoff: Option<u64>,
    ) -> Wakeup<TransportProtocol<T>> {
        if deadline == NEVER {
            return self.sleep(state, |core, wake| core.set_asleep(id, wake));
        }
        let now = clock::now();
        let first = match backoff {
            // One that is late, and has to stay, naps all the same.
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
                let mut state = self.lock();
                let late = clock::now() >= deadline;
                state.end_backoff(id);
                if late {
                    state.handle_deadline_asleep(id);
                }
                self.release(state);
                if late { NEVER } else { deadline }
            },
        );
        let told = told.unwrap_or(Wakeup::Ended);
        // Until now this caller could come to say that its time has come, so its number has been kept.
        if let Wakeup::Reply(_)
        | Wakeup::Ended
        | Wakeup::Failed(_)
        | Wakeup::EmptyRange
        | Wakeup::AllTagsAbandoned
        | Wakeup::NoMemory
        | Wakeup::TimedOut = told
        {
            let mut state = self.lock();
            state.ack_wake(id);
            self.release(state);
        }
        told
    }
}
