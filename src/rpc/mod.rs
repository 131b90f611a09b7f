//! The calls: this module drives the machine over a transport, under a scheduler.
//!
//! Locks and roles: the state lock guards the machine. It is held only while the machine handles an
//! event; it is not held while a caller sleeps or is woken, nor during calls of the transport, except
//! for `range`, `can_try` and `arrived`. The machine assigns the turn to send and the receiver role. The
//! caller with the turn is the only caller inside `send`; the caller with the role is the only caller
//! inside `recv` or `try_recv`. The machine decides at the caller's next event whether it keeps them.
//!
//! Wake-ups: an event may queue wake-ups for sleeping callers. The caller that reported the event delivers
//! them after it has unlocked the state (`state.rs`). A wake-up contains all that the woken caller needs.

mod batch;
mod blocking;
#[cfg(any(test, mux_model))]
mod call;
mod deadline;
mod messages;
mod nonblocking;
mod procs;
mod shutdown;
mod state;
mod transfer;

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;

use parking_lot::lock_api;

use crate::core::{BeginError, Protocol};
use crate::sched::Sched;
use crate::sched::native::Native;
use crate::sched::ready_fd::ReadyFd;
use crate::sched::shared::AtomicU32;
use crate::sched::wakers::WakerStore;

pub use crate::core::Stats;
pub use batch::{BATCH, Batch};
#[cfg(mux_model)]
pub use call::Call;
pub use nonblocking::Finished;
pub use procs::Receiver;

use state::{Locked, State};

/// A connection to a server. It sends and receives messages, and finds the tag in a message.
///
/// # Thread safety
/// `send` and `send_many` are called by at most one caller at a time. `recv`, `recv_many` and `try_recv`
/// are called by at most one caller at a time, concurrently with a send. All other methods may be called
/// concurrently. `range`, `can_try` and `arrived` may be called while a lock of the [`Mux`] is held; the
/// other methods are called without a lock. No method may call the [`Mux`] that owns the transport, and
/// no method may unwind.
pub trait Transport {
    /// A message to the server.
    type Request;
    /// A message from the server.
    type Reply;
    /// The error of a failed send.
    type Failure;
    /// Identifies, for [`arrived`](Transport::arrived), the object in which the owner of a non-blocking
    /// call observes that the reply has arrived. C programs do this; other transports use `()`.
    type Watch: Copy;

    /// True if [`range`](Transport::range) always returns the same range, which is then read once.
    const HAS_FIXED_RANGE: bool = false;

    /// Returns the range of valid tags, `start <= tag < end`. The range may change at any time, because
    /// this is called whenever a tag may be allocated. It is called while a lock is held and must return
    /// immediately.
    fn range(&self) -> std::ops::Range<u32>;

    /// Stores `tag` in a request.
    ///
    /// # Errors
    /// An error fails this call only.
    fn set_tag(&self, request: &mut Self::Request, tag: u32) -> Result<(), Self::Failure>;

    /// Returns the tag of a reply, or `None` if the reply has no tag.
    fn tag(&self, reply: &Self::Reply) -> Option<u32>;

    /// Sends a request, in which the tag has been set. This may block without a limit.
    ///
    /// # Errors
    /// An error fails this call only.
    fn send(&self, request: Self::Request) -> Result<(), Self::Failure>;

    /// Waits for a message and returns it, or `None` if the connection has ended. A mutex around the
    /// source of the messages is never contended, because at most one caller receives at a time.
    fn recv(&self) -> Option<Self::Reply>;

    /// Returns true if requests must be sent with [`send_many`](Transport::send_many) instead of
    /// [`send`](Transport::send).
    fn can_send_many(&self) -> bool {
        false
    }

    /// Sends the first request of the batch, and as many of the following requests as possible. Returns
    /// the number of requests sent.
    ///
    /// # Errors
    /// An error fails the call of the first request only. The other requests are passed again in the
    /// next call.
    fn send_many(
        &self,
        requests: &mut Batch<Self::Request>,
    ) -> Result<NonZeroUsize, Self::Failure> {
        requests.take_first().map_or(Ok(()), |first| self.send(first))?;
        Ok(NonZeroUsize::MIN)
    }

    /// Returns true if messages must be received with [`recv_many`](Transport::recv_many) instead of
    /// [`recv`](Transport::recv).
    fn can_recv_many(&self) -> bool {
        false
    }

    /// Waits for at least one message and stores all available messages in `replies`. If `replies` is
    /// empty on return, the connection has ended.
    fn recv_many(&self, replies: &mut Batch<Self::Reply>) {
        if let Some(reply) = self.recv() {
            let _ = replies.push(reply);
        }
    }

    /// As [`recv`](Transport::recv), for [`receive_message`](Mux::receive_message), which may also be called
    /// after the connection has ended, and does not use `recv_many`.
    fn recv_single(&self) -> Option<Self::Reply> {
        self.recv()
    }

    /// Returns true if [`try_recv`](Transport::try_recv) can poll for messages.
    fn can_try(&self) -> bool {
        false
    }

    /// Polls for a message without blocking. Returns the message, or why there is none.
    fn try_recv(&self) -> Polled<Self::Reply> {
        Polled::Nothing
    }

    /// Returns true if a future may wait although no caller receives, because the program polls for messages
    /// when the connection is readable.
    fn futures_wait(&self) -> bool {
        self.can_try()
    }

    /// Consumes an orphan: a message that matches no outstanding call, such as a late reply or an
    /// unsolicited message from the server.
    ///
    /// This must not call the [`Mux`]. A program that replies to such a message must pass it to another
    /// thread, which can use [`send_message`](Mux::send_message). If the server sends unsolicited
    /// messages, the program should run [`receive_proc`](Mux::receive_proc), because otherwise no
    /// messages are received while no call is outstanding.
    fn orphan(&self, message: Self::Reply) {
        drop(message);
    }

    /// Records that the reply of the non-blocking call with `watch` has arrived. This is called while
    /// the state lock is held and must do nothing else.
    fn arrived(&self, watch: Self::Watch, reply: &Self::Reply) {
        let _ = (watch, reply);
    }
}

/// The result of polling for a message without blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled<R> {
    /// A message was available.
    Message(R),
    /// No message is available yet.
    Nothing,
    /// The connection has ended.
    Ended,
}

/// The reason why an operation of a [`Mux`] failed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error<F> {
    /// The connection has ended. A later call may succeed if the transport has reconnected.
    #[error("the connection has ended")]
    Ended,
    /// The transport could not set the tag or send the request.
    #[error("the request could not be sent: {0}")]
    Failed(F),
    /// All tags are in use and the call does not wait for a tag, or all tags belong to abandoned calls.
    #[error("all tags are in use")]
    NoTag,
    /// The connection has been hung up with [`Mux::hang_up`].
    #[error("the connection has been hung up")]
    HungUp,
    /// The range of tags is empty.
    #[error("the range of tags is empty")]
    EmptyRange,
    /// No memory is available for another call.
    #[error("out of memory")]
    NoMemory,
    /// The deadline of the call has passed. The server may have received the request and may still reply.
    #[error("the deadline has passed")]
    TimedOut,
    /// The scheduler cannot wake callers at a deadline. The value is the error number of the operating
    /// system.
    #[error("the scheduler has no clock")]
    NoClock(i32),
    /// The operation cannot complete: no other caller receives messages, and the transport cannot poll
    /// without blocking.
    #[error("no caller receives, and the transport cannot poll")]
    Stuck,
    /// A caller is still inside the transport's `send` or `recv`.
    #[error("a caller is still inside send or recv")]
    InUse,
    /// A receive proc receives all messages, so that a single message cannot be received.
    #[error("a receive proc is receiving")]
    Busy,
}

impl<F> From<BeginError> for Error<F> {
    fn from(error: BeginError) -> Error<F> {
        match error {
            BeginError::EmptyRange => Error::EmptyRange,
            BeginError::NoTag => Error::NoTag,
            BeginError::HungUp => Error::HungUp,
            BeginError::NoMemory => Error::NoMemory,
        }
    }
}

/// Maps the message types of a transport to the machine's [`Protocol`].
pub struct TransportProtocol<T>(std::marker::PhantomData<T>);

impl<T: Transport> Protocol for TransportProtocol<T> {
    type Request = T::Request;
    type Reply = T::Reply;
    type Failure = T::Failure;
    type Watch = T::Watch;
}

/// A multiplexor: it lets many callers share one connection.
///
/// If no other thread is receiving, a caller that waits for its reply receives messages for all callers
/// until its own reply arrives. A program may instead run [`receive_proc`](Mux::receive_proc) in a thread
/// of its own, and [`send_proc`](Mux::send_proc) in another, which sends all requests.
///
/// # Thread safety
/// All methods may be called from any number of threads at once.
pub struct Mux<T: Transport, S: Sched = Native> {
    transport: T,
    sched: S,
    state: State<T, S>,
    /// A copy of the machine's epoch (how often the connection has ended), read before each send.
    epoch: AtomicU32,
    /// A descriptor that is readable while a non-blocking call can finish; created on first use. This
    /// lock must be acquired before the state lock. The only system calls under it are the descriptor's.
    ready_fd: lock_api::Mutex<S::Lock, Option<ReadyFd>>,
    /// Wakers of the futures of non-blocking calls, indexed by call slot.
    wakers: S::Wakers,
}

impl<T: Transport> Mux<T, Native> {
    /// Returns a multiplexor over `transport`, for threads and for the futures of an async executor.
    #[must_use]
    pub fn new(transport: T) -> Mux<T, Native> {
        Mux::with_sched(transport, Native)
    }
}

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Returns a multiplexor over `transport`, for callers that are scheduled by `sched`.
    #[must_use]
    #[doc(hidden)]
    pub fn with_sched(transport: T, sched: S) -> Mux<T, S> {
        let ready_fd = lock_api::Mutex::new(None);
        let mux = Mux {
            transport,
            sched,
            state: State::new(),
            epoch: AtomicU32::new(0),
            ready_fd,
            wakers: WakerStore::NONE,
        };
        if T::HAS_FIXED_RANGE {
            mux.set_fixed_range();
        }
        mux
    }

    /// Returns the transport.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Returns the scheduler.
    #[doc(hidden)]
    pub fn sched(&self) -> &S {
        &self.sched
    }

    /// Returns the statistics since the Mux was created. This may be called from any thread.
    pub fn stats(&self) -> Stats {
        self.inspect(|machine| machine.stats())
    }

    /// Hangs up: fails all outstanding calls with [`Error::Ended`] and all later calls with
    /// [`Error::HungUp`].
    ///
    /// A caller inside the transport's `send` or `recv` returns only after that function has returned.
    /// The program should therefore shut down the connection as well. This may be called from any thread.
    pub fn hang_up(&self) {
        self.with_locked_and_range(|machine| {
            machine.hang_up();
            self.epoch.store(machine.epoch(), Ordering::Release);
        });
    }

    /// Returns true if a caller or a receive proc receives messages for all callers.
    pub(crate) fn has_receiver(&self) -> bool {
        self.inspect(|machine| machine.has_receiver())
    }

    /// Returns the number of tags in use, including those of abandoned calls. This may be called from any
    /// thread.
    pub fn outstanding(&self) -> usize {
        self.inspect(|machine| machine.outstanding())
    }

    /// Returns the statistics and the number of tags in use, as of the same moment.
    pub(crate) fn snapshot(&self) -> (Stats, usize) {
        self.inspect(|machine| (machine.stats(), machine.outstanding()))
    }

    /// Returns a descriptor that is readable while a non-blocking call can finish, for use with select
    /// and poll.
    ///
    /// The descriptor is created by the first call and closed with the Mux; the caller must not close it.
    /// Waiting for it does not receive messages: the program must run a receive proc, or have other
    /// callers that receive. This may be called from any thread.
    ///
    /// # Errors
    /// Returns the error number of the operating system if the descriptor cannot be created.
    pub fn poll_fd(&self) -> Result<i32, i32> {
        let fd = {
            let mut ready_fd = self.ready_fd.lock();
            match &*ready_fd {
                Some(ready_fd) => ready_fd.fd(),
                None => ready_fd.insert(ReadyFd::new()?).fd(),
            }
        };
        self.update_ready_fd();
        Ok(fd)
    }
}
