//! Non-blocking calls, for programs with an event loop: the request goes out at once, and the
//! owner comes back to see.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::core::{Action, CallId, CollectAction, Wakeup};
use crate::sched::Sched;
use crate::sched::clock::NEVER;
use crate::sched::native::Native;
use crate::sched::wakers::WakerStore;

use super::blocking::TurnResult;
use super::waiting::Waited;
use super::{Error, Mux, Polled, Transport, TransportProtocol};

/// How a non-blocking call stands.
///
/// ```
/// # mod echo { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/echo.rs")); }
/// # use echo::*;
/// use mux::{Finished, Mux};
///
/// let mux = Mux::new(Echo::default());
/// let mut call = mux.start(request("hello")).unwrap();
/// let reply = loop {
///     match call.can_finish() {
///         Finished::Reply(reply) => break reply,
///         Finished::Pending => std::thread::yield_now(),
///         Finished::Failed(error) => panic!("{error}"),
///     }
/// };
/// assert_eq!(reply.1, "hello");
/// ```
#[derive(Debug, PartialEq, Eq)]
pub enum Finished<R, F> {
    /// The reply; the call is over.
    Reply(R),
    /// Not yet.
    Pending,
    /// There will be no reply; the call is over.
    Failed(Error<F>),
}

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Sends `request` without waiting for its reply. `watch` is what
    /// [`Transport::arrived`] gets when the reply is there.
    ///
    /// Whoever has the [`CallId`] asks with [`can_finish`](Mux::can_finish) until the call is over, or
    /// gives it up. [`start`](Mux::start) does that by itself.
    ///
    /// # Errors
    /// As [`rpc`](Mux::rpc), but when all tags are taken it is [`Error::NoTag`] at once.
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
                TurnResult::Granted(granted) => request = granted,
                TurnResult::Resolved(Waited::Wakeup(Wakeup::Sent)) => return Ok(id),
                TurnResult::Resolved(Waited::Wakeup(Wakeup::Failed(failure))) => {
                    return Err(Error::Failed(failure));
                }
                TurnResult::Resolved(_) => return Err(Error::Ended),
            }
        }
        let (result, epoch) = self.send(request, false);
        let mut state = self.lock();
        let step = state.handle_sent(id, result, epoch);
        self.release(state);
        match step {
            Action::Failed(failure) => Err(Error::Failed(failure)),
            Action::Ended => Err(Error::Ended),
            _ => Ok(id),
        }
    }

    /// How a non-blocking call stands. Takes what the transport has without waiting, for whomever it
    /// is, unless somebody else is receiving.
    pub(crate) fn can_finish(&self, id: CallId) -> Finished<T::Reply, T::Failure> {
        let mut state = self.state.lock();
        let mut finish = state.try_collect(id, self.transport.can_try());
        loop {
            self.release(state);
            if !matches!(finish, CollectAction::Poll) {
                return finished(finish);
            }
            match self.transport.try_recv() {
                Polled::Message(reply) => {
                    state = self.dispatch_message(reply);
                    finish = state.handle_polled(id);
                }
                Polled::Nothing => {
                    state = self.state.lock();
                    finish = state.end_poll(id);
                }
                Polled::Ended => {
                    state = self.handle_disconnect();
                    finish = state.end_poll(id);
                }
            }
        }
    }

    /// The owner will not ask again. The call's tag stays out of use until its reply has come.
    pub(crate) fn abandon(&self, id: CallId) {
        let mut state = self.state.lock();
        let Some(reply) = state.abandon(id) else { return self.release(state) };
        state.pin();
        self.release(state);
        self.transport.orphan(reply);
        self.unpin();
    }
}

fn finished<T: Transport>(
    finish: CollectAction<TransportProtocol<T>>,
) -> Finished<T::Reply, T::Failure> {
    match finish {
        CollectAction::Reply(reply) => Finished::Reply(reply),
        CollectAction::Pending | CollectAction::Poll => Finished::Pending,
        CollectAction::Ended => Finished::Failed(Error::Ended),
        CollectAction::Stuck => Finished::Failed(Error::Stuck),
    }
}

impl<T: Transport<Watch = ()>, S: Sched> Mux<T, S> {
    /// Sends `request` without waiting for its reply.
    ///
    /// # Errors
    /// As [`rpc`](Mux::rpc), but when all tags are taken it is [`Error::NoTag`] at once.
    ///
    /// It may wait for its turn to send, and for [`send`](Transport::send); and it does not wait for a
    /// tag: tasks that are more than there are tags have to take turns among themselves.
    ///
    /// # Examples
    /// See [`Call`] and [`Finished`].
    pub fn start(&self, request: T::Request) -> Result<Call<'_, T, S>, Error<T::Failure>> {
        let id = self.start_watched(request, (), |_, _| ())?;
        Ok(Call { mux: self, id: Some(id) })
    }
}

/// A call whose reply is not waited for. Dropping it gives it up: its tag stays out of use until the
/// reply has come, which is an orphan then.
///
/// It is a future, too. Somebody has to receive then, such as a thread that runs a
/// [`Receiver`](super::Receiver), which is counted on as soon as it is there:
///
/// ```
/// # mod echo { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/echo.rs")); }
/// # use echo::*;
/// use futures::executor::block_on;
/// use mux::Mux;
/// use std::thread;
///
/// let mux = Mux::new(Echo::default());
/// thread::scope(|scope| {
///     let receiver = mux.receiver().expect("nobody else is");
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
/// ```
#[must_use = "dropping a call gives it up"]
pub struct Call<'a, T: Transport, S: Sched = Native> {
    mux: &'a Mux<T, S>,
    id: Option<CallId>,
}

impl<T: Transport, S: Sched> Call<'_, T, S> {
    /// How it stands. Once it is over, it is [`Error::Ended`] for ever.
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

/// Ready when the reply is there, or there will be none.
///
/// Somebody has to receive: a thread in [`Mux::receive_proc`], or one that calls [`Mux::rpc`]. When nobody
/// does any more, the task is woken, and the call fails with [`Error::Stuck`]; or, where the transport can
/// [look without waiting](Transport::can_try), it looks each time that it is polled, and it is for the
/// program to poll it when there is something to be seen.
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
            let mut state = self.mux.state.lock();
            let waits = state.register_future(id, self.mux.transport.can_try());
            self.mux.release(state);
            if waits {
                return Poll::Pending;
            }
        }
    }
}

// It holds no reference to itself.
impl<T: Transport, S: Sched> Unpin for Call<'_, T, S> {}

impl<T: Transport, S: Sched> Call<'_, T, S> {
    /// Gives it up, as dropping it does.
    pub fn cancel(&mut self) {
        if let Some(id) = self.id.take() {
            // First the waker: the number may be another's as soon as the call is given up.
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
