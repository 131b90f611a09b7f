//! Non-blocking calls, for programs with an event loop: the request is sent when the call starts, and
//! the owner collects the reply later.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::core::{CallId, CollectAction};
use crate::sched::Sched;
use crate::sched::clock::NEVER;
use crate::sched::native::Native;
use crate::sched::wakers::WakerStore;

use super::blocking::Waited;
use super::{Error, Mux, Polled, Transport, TransportProtocol};

/// The state of a non-blocking call.
///
/// ```
/// use mux::{Finished, Mux};
///
/// let mux = Mux::new(Echo::new());
/// let mut call = mux.start(request("hello")).unwrap();
/// let reply = loop {
///     match call.can_finish() {
///         Finished::Reply(reply) => break reply,
///         Finished::Pending => std::thread::yield_now(),
///         Finished::Failed(error) => panic!("{error}"),
///     }
/// };
/// assert_eq!(reply.1, "hello");
///
#[doc = include_str!("../../docs/echo.rs")]
/// ```
#[derive(Debug, PartialEq, Eq)]
pub enum Finished<R, F> {
    /// The reply. The call has completed.
    Reply(R),
    /// The reply has not arrived yet.
    Pending,
    /// The call has failed and will not have a reply.
    Failed(Error<F>),
}

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Sends `request` without waiting for its reply, and returns the id of the call. `watch` is passed to
    /// [`Transport::arrived`] when the reply arrives. `tagged` is called with the id and the tag before
    /// the request is sent.
    ///
    /// The owner must call [`can_finish`](Mux::can_finish) until the call has completed, or
    /// [`abandon`](Mux::abandon) the call. A [`Call`] ensures that.
    ///
    /// # Errors
    /// As [`rpc`](Mux::rpc), except that [`Error::NoTag`] is returned immediately if all tags are in use.
    pub(crate) fn start_watched(
        &self,
        mut request: T::Request,
        watch: T::Watch,
        tagged: impl FnOnce(CallId, u32),
    ) -> Result<CallId, Error<T::Failure>> {
        let (state, begun) = self.begin(Some(watch))?;
        self.release(state);
        let id = begun.id;
        let Some(tag) = begun.tag else {
            return Err(Error::NoTag);
        };
        tagged(id, tag);
        self.put_tag(id, &mut request, tag)?;
        if !begun.turn {
            match self.wait_for_turn(id, request, NEVER) {
                Waited::Turn(granted) => request = granted,
                Waited::Sent => return Ok(id),
                waited => return Err(waited.into_error()),
            }
        }
        let (result, epoch) = self.send(request, false);
        let action = self.with_locked_and_range(|machine| machine.handle_sent(id, result, epoch));
        match Waited::from_action(action) {
            Waited::Sent => Ok(id),
            waited => Err(waited.into_error()),
        }
    }

    /// Returns the state of a non-blocking call. While the call is pending and no other caller is
    /// receiving, first receives available messages without blocking and dispatches them to their calls.
    pub(crate) fn can_finish(&self, id: CallId) -> Finished<T::Reply, T::Failure> {
        let mut state = self.lock();
        let mut finish = state.try_collect(id, self.transport.can_try());
        loop {
            self.release(state);
            if !matches!(finish, CollectAction::Poll) {
                return finished(finish);
            }
            match self.transport.try_recv() {
                Polled::Message(reply) => {
                    state = self.dispatch_message_inline(reply);
                    finish = state.handle_polled(id);
                }
                Polled::Nothing => {
                    state = self.lock();
                    finish = state.end_poll(id);
                }
                Polled::Ended => {
                    state = self.handle_disconnect();
                    finish = state.end_poll(id);
                }
            }
        }
    }

    /// Abandons a call: the owner does not collect its result. The tag stays in use until the reply
    /// arrives. A reply that has already arrived becomes an orphan.
    pub(crate) fn abandon(&self, id: CallId) {
        let orphan = self.with_locked(|machine| {
            let reply = machine.abandon(id)?;
            machine.pin();
            Some(reply)
        });
        if let Some(orphan) = orphan {
            self.transport.orphan(orphan);
            self.unpin();
        }
    }
}

fn finished<T: Transport>(
    finish: CollectAction<TransportProtocol<T>>,
) -> Finished<T::Reply, T::Failure> {
    match finish {
        CollectAction::Reply(reply) => Finished::Reply(reply),
        CollectAction::Ended => Finished::Failed(Error::Ended),
        CollectAction::Pending | CollectAction::Poll => Finished::Pending,
        CollectAction::Stuck => Finished::Failed(Error::Stuck),
    }
}

impl<T: Transport<Watch = ()>, S: Sched> Mux<T, S> {
    /// Sends `request` without waiting for its reply, and returns the call.
    ///
    /// This may block until the caller has the turn to send, and in [`send`](Transport::send). It does not
    /// wait for a tag: a program must limit its concurrent calls to the number of tags. This may be
    /// called from any number of threads at once.
    ///
    /// # Errors
    /// As [`rpc`](Mux::rpc), except that [`Error::NoTag`] is returned immediately if all tags are in use.
    ///
    /// # Examples
    /// See [`Call`] and [`Finished`].
    pub fn start(&self, request: T::Request) -> Result<Call<'_, T, S>, Error<T::Failure>> {
        let id = self.start_watched(request, (), |_, _| ())?;
        Ok(Call { mux: self, id: Some(id) })
    }
}

/// A non-blocking call, returned by [`Mux::start`]. The owner either polls it with
/// [`can_finish`](Call::can_finish) or awaits it as a future.
///
/// Dropping a call that has not completed abandons it: its tag stays in use until the reply arrives, and
/// the reply becomes an orphan.
///
/// While a future waits, another thread must receive messages, for example a thread that runs a
/// [`Receiver`](super::Receiver). A `Receiver` counts as receiving from its creation:
///
/// ```
/// use futures::executor::block_on;
/// use mux::Mux;
/// use std::thread;
///
/// let mux = Mux::new(Echo::new());
/// thread::scope(|scope| {
///     let receiver = mux.receiver().expect("no other receiver");
///     scope.spawn(|| receiver.run());
///     let (one, other) = block_on(async {
///         let one = mux.start(request("one")).unwrap();
///         let other = mux.start(request("other")).unwrap();
///         futures::join!(one, other)
///     });
///     assert_eq!((one.unwrap().1, other.unwrap().1), ("one".to_string(), "other".to_string()));
///     mux.hang_up();
///     mux.transport().close();
/// });
///
#[doc = include_str!("../../docs/echo.rs")]
/// ```
#[must_use = "dropping a call gives it up"]
pub struct Call<'a, T: Transport, S: Sched = Native> {
    mux: &'a Mux<T, S>,
    id: Option<CallId>,
}

impl<T: Transport, S: Sched> Call<'_, T, S> {
    /// Returns the state of the call, after receiving available messages if no other caller is receiving.
    /// Does not wait for a message.
    ///
    /// After the result has been returned, or after [`cancel`](Call::cancel), this returns
    /// [`Error::Ended`].
    pub fn can_finish(&mut self) -> Finished<T::Reply, T::Failure> {
        let Some(id) = self.id else {
            return Finished::Failed(Error::Ended);
        };
        let finished = self.mux.can_finish(id);
        if !matches!(finished, Finished::Pending) {
            self.id = None;
        }
        finished
    }
}

/// The future completes when the reply arrives or the call fails.
///
/// A thread must receive messages, either in [`Mux::receive_proc`] or in [`Mux::rpc`]. If no thread
/// receives any more, the task is woken and the call fails with [`Error::Stuck`]. The exception is a
/// transport that [can poll without blocking](Transport::can_try): each poll of the future then polls the
/// transport, and the program must poll the future when a message is available.
impl<T: Transport> Future for Call<'_, T, Native> {
    type Output = Result<T::Reply, Error<T::Failure>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.can_finish() {
                Finished::Reply(reply) => return Poll::Ready(Ok(reply)),
                Finished::Failed(error) => return Poll::Ready(Err(error)),
                Finished::Pending => {}
            }
            let Some(id) = self.id else { return Poll::Ready(Err(Error::Ended)) };
            if !self.mux.wakers.store(id.slot(), context.waker()) {
                self.cancel();
                return Poll::Ready(Err(Error::NoMemory));
            }
            let can_try = || self.mux.transport.can_try();
            if self.mux.with_locked(|machine| machine.register_future(id, can_try())) {
                return Poll::Pending;
            }
        }
    }
}

// A call contains no reference to itself.
impl<T: Transport, S: Sched> Unpin for Call<'_, T, S> {}

impl<T: Transport, S: Sched> Call<'_, T, S> {
    /// Abandons the call, as dropping it does. Does nothing if the call has completed.
    pub fn cancel(&mut self) {
        if let Some(id) = self.id.take() {
            // The waker goes first, because the slot may be reused as soon as the call is abandoned.
            drop(self.mux.wakers.take(id.slot()));
            self.mux.abandon(id);
        }
    }
}

impl<T: Transport, S: Sched> std::fmt::Debug for Call<'_, T, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("is_over", &self.id.is_none()).finish_non_exhaustive()
    }
}

impl<T: Transport, S: Sched> Drop for Call<'_, T, S> {
    fn drop(&mut self) {
        self.cancel();
    }
}
