//! A blocking call, from the allocation of its tag to its reply.
//!
//! At any time a caller either allocates a tag, waits for the turn to send, sends, receives messages for
//! all callers, or sleeps. The wake-up of a sleeping caller determines how it resumes.

use crate::core::{
    Action, BeginError, CallId, MAX_PROXY_SENDS, NewCall, Outcome, TurnGrant, Wakeup,
};
use crate::sched::Sched;
use crate::sched::clock::{self, NEVER};

use super::deadline::TimedWait;
use super::{Error, Locked, Mux, Transport, TransportProtocol};

/// The locked state, with the result of an event.
pub(super) type LockedWith<'a, T, S, R> = (Locked<'a, T, S>, R);

/// The result of a wait: of a [`Wakeup`] or, if the caller did not sleep, of an [`Action`]. It has only the
/// variants that end a wait; a caller that is woken to receive still waits.
pub(super) enum Waited<T: Transport> {
    /// The call has ended.
    Completed(Outcome<T::Reply, T::Failure>),
    /// The call has this tag now.
    Tag(u32),
    /// The caller has the turn to send, and gets its request back.
    Turn(T::Request),
    /// The request of a non-blocking call, or the message, has been sent.
    Sent,
}

impl<T: Transport> Waited<T> {
    /// Returns the result of the wait of a caller that was woken.
    #[inline]
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
    #[inline]
    pub(super) fn from_action(action: Action<TransportProtocol<T>>) -> Waited<T> {
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

    /// Returns the result of a call that has ended.
    #[inline]
    fn into_result(self) -> Result<T::Reply, Error<T::Failure>> {
        let Waited::Completed(outcome) = self else {
            debug_assert!(false, "the call must have ended");
            return Err(Error::Ended);
        };
        match outcome {
            Outcome::Reply(reply) => Ok(reply),
            Outcome::Ended => Err(Error::Ended),
            Outcome::Failed(failure) => Err(Error::Failed(failure)),
            Outcome::EmptyRange => Err(Error::EmptyRange),
            Outcome::AllTagsAbandoned => Err(Error::NoTag),
            Outcome::NoMemory => Err(Error::NoMemory),
            Outcome::TimedOut => Err(Error::TimedOut),
        }
    }

    /// Returns the error of a call or message that has ended before it was sent, so that it has no reply.
    #[cold]
    #[inline(never)]
    pub(super) fn into_error(self) -> Error<T::Failure> {
        self.into_result().err().unwrap_or(Error::Ended)
    }
}

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Sends `request`, waits for its reply and returns the reply.
    ///
    /// While it waits, the caller may have to receive messages for other callers. If all tags are in
    /// use, the caller waits for a free tag.
    ///
    /// This may be called from any number of threads at once.
    ///
    /// # Errors
    /// * [`Error::Ended`]: the connection ended, or was hung up, before the reply arrived.
    /// * [`Error::Failed`]: the transport could not set the tag or send the request.
    /// * [`Error::HungUp`]: [`hang_up`](Mux::hang_up) was called earlier.
    /// * [`Error::EmptyRange`]: the range of tags is empty.
    /// * [`Error::NoTag`]: all tags belong to abandoned calls.
    /// * [`Error::NoMemory`]: no memory is available for another call.
    pub fn rpc(&self, request: T::Request) -> Result<T::Reply, Error<T::Failure>> {
        self.rpc_inner::<false>(request, NEVER)
    }

    /// Sends `request` and waits for its reply until `deadline`. If `TIMED` is false, `deadline` must be
    /// [`NEVER`], and the wait is inlined, for the most frequent path.
    #[inline(always)]
    pub(super) fn rpc_inner<const TIMED: bool>(
        &self,
        mut request: T::Request,
        deadline: u64,
    ) -> Result<T::Reply, Error<T::Failure>> {
        let (mut state, begun) = self.begin(None)?;
        let id = begun.id;
        if deadline != NEVER {
            state.mark_has_deadline(id);
        }
        let tag = match begun.tag {
            Some(tag) => {
                self.release(state);
                tag
            }
            None => self.wait_for_tag(state, id, deadline)?,
        };
        self.put_tag(id, &mut request, tag)?;
        let is_late = || deadline != NEVER && clock::now() >= deadline;
        if !begun.turn && !is_late() {
            match self.wait_for_turn(id, request, deadline) {
                Waited::Turn(granted) => request = granted,
                waited => return waited.into_result(),
            }
        }
        if is_late() {
            return Err(self.cancel_unsent(id, Error::TimedOut));
        }
        let (result, epoch) = self.send(request, true);
        let mut state = self.lock_with_range();
        let action = state.handle_sent(id, result, epoch);
        let waited = match action {
            Action::ProxySend(..) => self.send_for_others(state, id, action, deadline),
            _ if TIMED => self.wait(state, id, action, deadline),
            _ => self.wait_inline(state, id, action, deadline),
        };
        waited.into_result()
    }

    /// Begins a call. Returns the locked state and the new call.
    #[inline(always)]
    pub(super) fn begin(
        &self,
        watch: Option<T::Watch>,
    ) -> Result<LockedWith<'_, T, S, NewCall>, Error<T::Failure>> {
        let mut state = self.lock_with_range();
        match state.begin(watch) {
            Ok(begun) => Ok((state, begun)),
            Err(refused) => self.begin_again(state, refused, watch),
        }
    }

    /// Retries `begin` after it has failed with `refused`. If no tag was free, first receives the
    /// messages that are available, because replies to abandoned calls free their tags.
    #[cold]
    fn begin_again<'a>(
        &'a self,
        state: Locked<'a, T, S>,
        refused: BeginError,
        watch: Option<T::Watch>,
    ) -> Result<LockedWith<'a, T, S, NewCall>, Error<T::Failure>> {
        if refused != BeginError::NoTag || !self.transport.can_try() {
            // The failed attempt may have queued wake-ups for tag waiters.
            self.release(state);
            return Err(refused.into());
        }
        // The pin keeps the Mux allocated, because this caller has no call yet.
        let mut state = state;
        state.pin();
        self.release(state);
        self.receive_available();
        let mut state = self.lock_with_range();
        state.unpin();
        match state.begin(watch) {
            Ok(begun) => Ok((state, begun)),
            Err(refused) => {
                self.release(state);
                Err(refused.into())
            }
        }
    }

    /// Sends requests from the send queue for their owners, at most `MAX_PROXY_SENDS` times, as long as
    /// call `id` has the turn. Then waits for the reply to `id`.
    #[cold]
    fn send_for_others<'a>(
        &'a self,
        mut state: Locked<'a, T, S>,
        id: CallId,
        mut action: Action<TransportProtocol<T>>,
        deadline: u64,
    ) -> Waited<T> {
        let mut sent = 0;
        while let Action::ProxySend(other, request) = action {
            self.release(state);
            let (result, epoch) = self.send(request, true);
            sent += 1;
            state = self.lock_with_range();
            action =
                state.handle_proxy_sent_by_caller(id, sent < MAX_PROXY_SENDS, other, result, epoch);
        }
        self.wait(state, id, action, deadline)
    }

    /// Sets the tag of the request. If the transport fails to do so, the call ends before it is sent.
    #[inline]
    pub(super) fn put_tag(
        &self,
        id: CallId,
        request: &mut T::Request,
        tag: u32,
    ) -> Result<(), Error<T::Failure>> {
        let set = self.transport.set_tag(request, tag);
        set.map_err(|failure| self.cancel_unsent(id, Error::Failed(failure)))
    }

    #[cold]
    fn cancel_unsent(&self, id: CallId, error: Error<T::Failure>) -> Error<T::Failure> {
        let orphan = self.with_locked_and_range(|machine| {
            let orphan = machine.cancel_unsent(id)?;
            machine.pin();
            Some(orphan)
        });
        if let Some(orphan) = orphan {
            self.transport.orphan(orphan);
            self.unpin();
        }
        error
    }

    /// Waits for a free tag and returns it. While no other caller receives, the caller receives messages
    /// for all callers.
    #[cold]
    fn wait_for_tag(
        &self,
        mut state: Locked<'_, T, S>,
        id: CallId,
        deadline: u64,
    ) -> Result<u32, Error<T::Failure>> {
        let action = state.next_action(id);
        match self.wait(state, id, action, deadline) {
            Waited::Tag(tag) => Ok(tag),
            waited => Err(waited.into_error()),
        }
    }

    /// Waits until the caller has the turn to send, or until another sender has sent the request.
    #[cold]
    pub(super) fn wait_for_turn(
        &self,
        id: CallId,
        request: T::Request,
        deadline: u64,
    ) -> Waited<T> {
        let mut state = self.lock_with_range();
        let action = match state.request_turn(id, request) {
            TurnGrant::Granted(request) => Action::Turn(request),
            TurnGrant::HungUp => Action::Completed(Outcome::Ended),
            TurnGrant::Wait => Action::Sleep,
        };
        self.wait(state, id, action, deadline)
    }

    /// Carries out `action` and the actions after it until the wait has ended: the caller sleeps, or
    /// receives messages for all callers while it has the receiver role. Returns the result of the wait.
    #[inline(never)]
    fn wait<'a>(
        &'a self,
        state: Locked<'a, T, S>,
        id: CallId,
        action: Action<TransportProtocol<T>>,
        deadline: u64,
    ) -> Waited<T> {
        self.wait_inline(state, id, action, deadline)
    }

    /// As `wait`, but always inlined, for the most frequent path.
    #[inline(always)]
    fn wait_inline<'a>(
        &'a self,
        mut state: Locked<'a, T, S>,
        id: CallId,
        mut action: Action<TransportProtocol<T>>,
        deadline: u64,
    ) -> Waited<T> {
        let is_timed = deadline != NEVER;
        let mut timed = TimedWait::new(deadline);
        loop {
            match action {
                Action::Receive if is_timed => {
                    (state, action) = self.receive_timed(state, id, &mut timed);
                    continue;
                }
                Action::Receive => {
                    self.release(state);
                    state = self.receive();
                }
                Action::Sleep => {
                    let wakeup = match is_timed {
                        true => self.sleep_timed(state, id, &mut timed),
                        false => self.sleep(state, |machine, wake| machine.set_asleep(id, wake)),
                    };
                    let Wakeup::Receive = wakeup else { return Waited::from_wakeup(wakeup) };
                    state = self.lock_with_range();
                }
                over => {
                    self.release(state);
                    return Waited::from_action(over);
                }
            }
            action = state.next_action(id);
        }
    }
}
