//! A blocking call, from the allocation of its tag to its reply.
//!
//! At any time a caller either allocates a tag, waits for the turn to send, sends, receives messages for
//! all callers, or sleeps. The wake-up of a sleeping caller determines how it resumes.

use crate::core::{Action, BeginError, Begun, CallId, MAX_PROXY_SENDS, Outcome, SendTurn};
use crate::sched::Sched;
use crate::sched::clock::{self, NEVER};

use super::waiting::Waited;
use super::{Error, Locked, Mux, Transport, TransportProtocol};

/// The locked state, with the result of an event.
type LockedWith<'a, T, S, R> = (Locked<'a, T, S>, R);

/// The result of waiting for the turn to send.
pub(super) enum TurnResult<T: Transport> {
    /// The caller has the turn and must send this request.
    Granted(T::Request),
    /// Another sender has sent the request of a non-blocking call, or the message.
    Sent,
    /// The call has ended.
    Completed(Outcome<T::Reply, T::Failure>),
}

/// Converts the outcome of a call to its result.
#[inline]
pub(super) fn to_result<R, F>(outcome: Outcome<R, F>) -> Result<R, Error<F>> {
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

/// Returns the error of a call or message that ended before it was sent, so that it has no reply.
#[cold]
#[inline(never)]
pub(super) fn error_of<R, F>(outcome: Outcome<R, F>) -> Error<F> {
    to_result(outcome).err().unwrap_or(Error::Ended)
}

/// Returns the result of a call whose wait has ended.
#[inline]
fn result_of_wait<T: Transport>(waited: Waited<T>) -> Result<T::Reply, Error<T::Failure>> {
    match waited {
        Waited::Completed(outcome) => to_result(outcome),
        Waited::Tag(_) | Waited::Turn(_) | Waited::Sent => Err(Error::Ended),
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
    ///
    /// # Examples
    /// ```
    /// # mod echo { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/echo.rs")); }
    /// # use echo::*;
    /// let mux = mux::Mux::new(Echo::default());
    /// assert_eq!(mux.rpc(request("hello")).unwrap().1, "hello");
    /// ```
    pub fn rpc(&self, request: T::Request) -> Result<T::Reply, Error<T::Failure>> {
        self.rpc_inner(request, NEVER)
    }

    #[inline(always)]
    pub(super) fn rpc_inner(
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
                TurnResult::Granted(granted) => request = granted,
                TurnResult::Completed(outcome) => return to_result(outcome),
                TurnResult::Sent => return Err(Error::Ended),
            }
        }
        if is_late() {
            return Err(self.cancel_unsent(id, Error::TimedOut));
        }
        let (result, epoch) = self.send(request, true);
        let mut state = self.lock_with_range();
        let mut step = state.handle_sent(id, result, epoch);
        if let Action::ProxySend(..) = step {
            (state, step) = self.send_for_others(state, id, step);
        }
        result_of_wait(self.wait_inline(state, id, step, deadline))
    }

    /// Begins a call. Returns the locked state and the new call.
    #[inline(always)]
    pub(super) fn begin(
        &self,
        watch: Option<T::Watch>,
    ) -> Result<LockedWith<'_, T, S, Begun>, Error<T::Failure>> {
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
    ) -> Result<LockedWith<'a, T, S, Begun>, Error<T::Failure>> {
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
    /// call `id` has the turn. Returns the locked state and the next action for `id`.
    #[cold]
    fn send_for_others<'a>(
        &'a self,
        mut state: Locked<'a, T, S>,
        id: CallId,
        mut step: Action<TransportProtocol<T>>,
    ) -> LockedWith<'a, T, S, Action<TransportProtocol<T>>> {
        let mut sent = 0;
        while let Action::ProxySend(other, request) = step {
            self.release(state);
            let (result, epoch) = self.send(request, true);
            sent += 1;
            state = self.lock_with_range();
            step =
                state.handle_proxy_sent_by_caller(id, sent < MAX_PROXY_SENDS, other, result, epoch);
        }
        (state, step)
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
        let orphan = self.with_locked_and_range(|core| {
            let orphan = core.cancel_unsent(id)?;
            core.pin();
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
        let step = state.next_action(id);
        match self.wait(state, id, step, deadline) {
            Waited::Tag(tag) => Ok(tag),
            waited => match result_of_wait(waited) {
                Err(error) => Err(error),
                // A call without a tag cannot have a reply.
                Ok(_) => Err(Error::Ended),
            },
        }
    }

    /// Waits until the caller has the turn to send, or until another sender has sent the request.
    #[cold]
    pub(super) fn wait_for_turn(
        &self,
        id: CallId,
        request: T::Request,
        deadline: u64,
    ) -> TurnResult<T> {
        let mut state = self.lock_with_range();
        match state.request_turn(id, request) {
            SendTurn::Granted(request) => {
                self.release(state);
                TurnResult::Granted(request)
            }
            SendTurn::HungUp => {
                self.release(state);
                TurnResult::Completed(Outcome::Ended)
            }
            SendTurn::Wait => match self.wait(state, id, Action::Sleep, deadline) {
                Waited::Turn(request) => TurnResult::Granted(request),
                Waited::Sent => TurnResult::Sent,
                Waited::Completed(outcome) => TurnResult::Completed(outcome),
                // The call has its tag already.
                Waited::Tag(_) => TurnResult::Completed(Outcome::Ended),
            },
        }
    }
}
