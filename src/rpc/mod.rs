//! The calls: what drives the machine over a transport, under a scheduler.
//!
//! Who holds what: the state lock guards the machine, and is held for some dozen instructions, never
//! while the transport is called, a caller sleeps, or somebody is woken. The turn to send and the
//! muxer's role are the machine's to give; who has one is the only one inside `send`, or inside
//! `recv` or `try_recv`, and gives it up by the next event that it reports.
//!
//! Who wakes whom: each event may name callers to wake ([`WakeBatch`]); they are woken right after the
//! lock is released, each with all that it needs to know.

mod batch;
mod batching;
mod blocking;
mod messages;
mod nonblocking;
mod procs;
mod shutdown;
mod waiting;

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;

use parking_lot::lock_api;

use crate::core::tags::TagRange;
use crate::core::{BeginError, Machine, Protocol, WakeBatch, Wakeup};
use crate::sched::native::Native;
use crate::sched::ready_fd::ReadyFd;
use crate::sched::shared::AtomicU32;
use crate::sched::wakers::WakerStore;
use crate::sched::{Sched, WakeHandle};

pub use crate::core::Stats;
pub use batch::{BATCH, Batch};
pub use nonblocking::{Call, Finished};
pub use procs::Receiver;

/// A connection to a server, and where the tag is in a message.
///
/// ```
#[doc = include_str!("../../docs/echo.rs")]
///
/// fn main() {
///     let mux = mux::Mux::new(Echo::default());
///     assert_eq!(mux.rpc(request("hello")).unwrap().1, "hello");
/// }
/// ```
///
/// The functions are called with no lock held (but for `range`, `can_try` and `arrived`); `send` by one caller at a time, `recv` and
/// `try_recv` together by one at a time, both at once; the others by any number at once. None may
/// call the [`Mux`] that it belongs to, and none may unwind.
pub trait Transport {
    /// A message to the server.
    type Request;
    /// A message from the server.
    type Reply;
    /// Why a message could not be sent.
    type Failure;
    /// How the owner of a non-blocking call sees from outside that its reply is there, as C programs
    /// do; `()` otherwise.
    type Watch: Copy;

    /// The valid tags, now: from the first up to, but not including, the last. Asked at each use (under
    /// a lock: it answers at once), so it may change at any time.
    fn range(&self) -> std::ops::Range<u32>;

    /// Puts `tag` into a request.
    ///
    /// # Errors
    /// Fails that call alone.
    fn set_tag(&self, request: &mut Self::Request, tag: u32) -> Result<(), Self::Failure>;

    /// The tag in a reply; `None` if it has none.
    fn tag(&self, reply: &Self::Reply) -> Option<u32>;

    /// Sends a request that has its tag. May block, and may take as long as it likes.
    ///
    /// # Errors
    /// Fails that call alone.
    fn send(&self, request: &mut Self::Request) -> Result<(), Self::Failure>;

    /// Waits for a message. `None` is the end of the connection. A lock around what it reads from is
    /// never contended, since one at a time is in here.
    fn recv(&self) -> Option<Self::Reply>;

    /// Whether requests are sent by [`send_many`](Transport::send_many) rather than by
    /// [`send`](Transport::send).
    fn can_send_many(&self) -> bool {
        false
    }

    /// Sends the first of some requests, and as many of the others as it can. Answers how many.
    ///
    /// # Errors
    /// Fails the first one's call alone. The others are given again.
    fn send_many(
        &self,
        requests: &mut Batch<Self::Request>,
    ) -> Result<NonZeroUsize, Self::Failure> {
        requests.iter_mut().next().map_or(Ok(()), |first| self.send(first))?;
        Ok(NonZeroUsize::MIN)
    }

    /// Whether messages are received by [`recv_many`](Transport::recv_many) rather than by
    /// [`recv`](Transport::recv). A message by hand is received by `recv` all the same.
    fn can_recv_many(&self) -> bool {
        false
    }

    /// Waits for a message, and stores what there is. None is the end of the connection.
    fn recv_many(&self, replies: &mut Batch<Self::Reply>) {
        if let Some(reply) = self.recv() {
            let _ = replies.push(reply);
        }
    }

    /// Whether [`try_recv`](Transport::try_recv) can do anything.
    fn can_try(&self) -> bool {
        false
    }

    /// Looks for a message without waiting.
    fn try_recv(&self) -> Polled<Self::Reply> {
        Polled::Nothing
    }

    /// Disposes of a message that no call waits for: a late reply, or what the server says unasked. It
    /// may not call the [`Mux`]; what is to be answered goes to another thread, which answers by
    /// [`send_message`](Mux::send_message). A server that talks unasked wants
    /// [`receive_proc`](Mux::receive_proc), since otherwise nobody receives while no call waits.
    fn orphan(&self, message: Self::Reply) {
        drop(message);
    }

    /// The reply of a non-blocking call is there. Called with the state lock held: it may note the
    /// fact, and nothing else.
    fn arrived(&self, watch: Self::Watch, reply: &Self::Reply) {
        let _ = (watch, reply);
    }
}

/// What looking without waiting has found.
///
/// ```
/// # mod echo { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/echo.rs")); }
/// # use echo::*;
/// use mux::{Polled, Transport};
///
/// let echo = Echo::default();
/// assert_eq!(echo.try_recv(), Polled::Nothing);
/// echo.send(&mut request("hello")).unwrap();
/// assert_eq!(echo.try_recv(), Polled::Message(request("hello")));
/// echo.close();
/// assert_eq!(echo.try_recv(), Polled::Ended);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled<R> {
    /// A message.
    Message(R),
    /// Nothing yet.
    Nothing,
    /// The end of the connection.
    Ended,
}

/// Why a call has no reply.
///
/// ```
/// # mod echo { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/echo.rs")); }
/// # use echo::*;
/// use mux::{Error, Mux};
///
/// let mux = Mux::new(Echo::default());
/// mux.hang_up();
/// match mux.rpc(request("hello")) {
///     Err(Error::HungUp) => {}
///     other => panic!("{other:?}"),
/// }
/// assert_eq!(Error::<std::io::Error>::TimedOut.to_string(), "the call took too long");
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error<F> {
    /// The connection has ended. A later call tries again: the transport may have connected anew.
    #[error("the connection has ended")]
    Ended,
    /// The request could not be sent, or not be given its tag.
    #[error("the request could not be sent: {0}")]
    Failed(F),
    /// All tags are taken, and the call is not one that waits; or all of them are held for calls
    /// that have been given up.
    #[error("all tags are taken")]
    NoTag,
    /// The connection has been given up by [`Mux::hang_up`].
    #[error("the connection has been hung up")]
    HungUp,
    /// The range of tags holds none.
    #[error("the range of tags is empty")]
    EmptyRange,
    /// No memory for one more call.
    #[error("out of memory")]
    NoMemory,
    /// The time for the call is over. The server may have it, and answer yet.
    #[error("the call took too long")]
    TimedOut,
    /// The scheduler can not wake a caller at some time; the operating system's error number.
    #[error("the scheduler has no clock")]
    NoClock(i32),
    /// A non-blocking call that can never finish: nobody receives, and the transport can not look
    /// without waiting.
    #[error("nobody receives, and the transport cannot look without waiting")]
    Stuck,
    /// Somebody is still in the transport's `send` or `recv`.
    #[error("somebody is still sending or receiving")]
    InUse,
    /// Procs receive for all, so a message can not be received by hand.
    #[error("the receive proc has the connection")]
    Busy,
}

impl<F> From<BeginError> for Error<F> {
    fn from(refused: BeginError) -> Error<F> {
        match refused {
            BeginError::EmptyRange => Error::EmptyRange,
            BeginError::NoTag => Error::NoTag,
            BeginError::HungUp => Error::HungUp,
            BeginError::NoMemory => Error::NoMemory,
        }
    }
}

/// What the machine is told about the connection behind a transport.
pub struct TransportProtocol<T>(std::marker::PhantomData<T>);

impl<T: Transport> Protocol for TransportProtocol<T> {
    type Request = T::Request;
    type Reply = T::Reply;
    type Failure = T::Failure;
    type Watch = T::Watch;
}

type Wake<T, S> = WakeHandle<Wakeup<TransportProtocol<T>>, <S as Sched>::Parker>;
type Core<T, S> = Machine<TransportProtocol<T>, Wake<T, S>>;
/// What an event has answered, with the state still locked.
type Locked<'a, T, S, A> = (State<'a, T, S>, A);
type State<'a, T, S> = lock_api::MutexGuard<'a, <S as Sched>::Lock, Core<T, S>>;

/// Many callers on one connection. All its functions may be called from any number of threads.
///
/// Whoever calls and has nobody to receive for it receives for all, until its own reply is there. Where
/// nobody may have time for that, [`receive_proc`](Mux::receive_proc) in a thread of its own does, and
/// [`send_proc`](Mux::send_proc) sends.
///
/// ```
/// # mod echo { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/echo.rs")); }
/// # use echo::*;
/// use mux::Mux;
/// use std::thread;
///
/// let mux = Mux::new(Echo::default());
/// thread::scope(|scope| {
///     for n in 0..8 {
///         let mux = &mux;
///         scope.spawn(move || {
///             let text = format!("hello from thread {n}");
///             assert_eq!(mux.rpc(request(&text)).unwrap().1, text);
///         });
///     }
/// });
/// assert_eq!(mux.stats().calls, 8);
/// ```
pub struct Mux<T: Transport, S: Sched = Native> {
    transport: T,
    sched: S,
    state: lock_api::Mutex<S::Lock, Core<T, S>>,
    /// How often the connection has ended, for whoever is about to send.
    epoch: AtomicU32,
    /// Readable while some non-blocking call can finish; there once it has been asked for. Its lock
    /// is taken before the state's, and held over its own system calls alone.
    ready_fd: lock_api::Mutex<S::Lock, Option<ReadyFd>>,
    /// Wakers of the tasks that wait for non-blocking calls, by the calls' numbers.
    wakers: S::Wakers,
}

impl<T: Transport> Mux<T, Native> {
    /// A multiplexor over `transport`, for threads, and for the tasks of an async executor.
    #[must_use]
    pub fn new(transport: T) -> Mux<T, Native> {
        Mux::with_sched(transport, Native)
    }
}

impl<T: Transport, S: Sched> Mux<T, S> {
    /// A multiplexor over `transport`, for the callers that `sched` schedules.
    #[must_use]
    #[doc(hidden)]
    pub fn with_sched(transport: T, sched: S) -> Mux<T, S> {
        let state = lock_api::Mutex::new(Machine::new());
        let ready_fd = lock_api::Mutex::new(None);
        Mux {
            transport,
            sched,
            state,
            epoch: AtomicU32::new(0),
            ready_fd,
            wakers: WakerStore::NONE,
        }
    }

    /// Locks the state and tells the machine the range of valid tags, which the program may have changed.
    /// `state` may be locked without this only for an event that allocates no tag.
    #[inline]
    fn lock(&self) -> State<'_, T, S> {
        let mut state = self.state.lock();
        let std::ops::Range { start: min, end: max } = self.transport.range();
        state.set_range(TagRange { min, max });
        state
    }

    /// The connection.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The scheduler.
    #[doc(hidden)]
    pub fn sched(&self) -> &S {
        &self.sched
    }

    /// What has happened so far.
    ///
    /// ```
    /// # mod echo { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/echo.rs")); }
    /// # use echo::*;
    /// use mux::Mux;
    ///
    /// let mux = Mux::new(Echo::default());
    /// mux.rpc(request("hello")).unwrap();
    /// assert_eq!((mux.stats().calls, mux.stats().max_outstanding, mux.outstanding()), (1, 1, 0));
    /// ```
    pub fn stats(&self) -> Stats {
        self.state.lock().stats()
    }

    /// Gives the connection up: every outstanding call ends now, and later ones are refused. From any
    /// thread. Whoever is inside the transport's `send` or `recv` learns of it when that returns, so
    /// shut the connection down as well.
    ///
    /// ```
    /// # mod echo { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/echo.rs")); }
    /// # use echo::*;
    /// use mux::{Error, Mux};
    /// use std::thread;
    ///
    /// let mux = Mux::new(Echo::default());
    /// thread::scope(|scope| {
    ///     let call = scope.spawn(|| mux.rpc(request("hush, this is never answered")));
    ///     while mux.outstanding() == 0 {
    ///         thread::yield_now();
    ///     }
    ///     mux.hang_up();
    ///     mux.transport().close();
    ///     assert!(matches!(call.join().unwrap(), Err(Error::Ended)));
    /// });
    /// ```
    pub fn hang_up(&self) {
        let mut state = self.lock();
        state.hang_up();
        self.epoch.store(state.epoch(), Ordering::Release);
        self.release(state);
    }

    /// How many tags are taken now, by calls and by those that have been given up.
    pub fn outstanding(&self) -> usize {
        self.state.lock().outstanding()
    }

    /// Both of these, of one moment.
    pub(crate) fn snapshot(&self) -> (Stats, usize) {
        let state = self.state.lock();
        (state.stats(), state.outstanding())
    }

    /// Releases the state lock, then wakes whom the last event has named.
    #[inline(always)]
    fn release(&self, mut state: State<'_, T, S>) {
        let wakes = state.take_wakes();
        let ready_fd_is_stale = state.ready_fd_is_stale();
        if ready_fd_is_stale {
            state.pin();
        }
        drop(state);
        // First, since a wake may switch to another coroutine.
        if ready_fd_is_stale {
            self.update_ready_fd();
            self.unpin();
        }
        if let Some(wakes) = wakes {
            self.wake(wakes);
        }
    }

    /// A descriptor that is readable while some non-blocking call can finish, for select and poll.
    /// It is made on first use, and closed with the Mux. Nobody receives for its sake: it is for
    /// programs with procs, or with other callers.
    ///
    /// # Errors
    /// The operating system's error number.
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

    /// Brings the descriptor in line with the machine. Whoever comes later sees what is true then.
    #[cold]
    fn update_ready_fd(&self) {
        let mut ready_fd = self.ready_fd.lock();
        let ready = self.state.lock().report_ready(ready_fd.is_some());
        if let Some(ready_fd) = &mut *ready_fd {
            ready_fd.set(ready);
        }
    }

    #[cold]
    fn unpin(&self) {
        let mut state = self.state.lock();
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
            for (handle, told) in wakes {
                handle.wake(told);
            }
            if !more {
                return;
            }
            match self.state.lock().take_more_wakes() {
                Some(rest) => wakes = rest,
                None => return,
            }
        }
    }

    /// Sleeps, after releasing the lock and waking whom the last event has named; `publish` says
    /// to the machine how this caller is woken. Answers what it was told.
    #[inline]
    fn sleep(
        &self,
        mut state: State<'_, T, S>,
        publish: impl FnOnce(&mut Core<T, S>, Wake<T, S>),
    ) -> Wakeup<TransportProtocol<T>> {
        let told = crate::sched::sleep(&self.sched, |handle| {
            publish(&mut state, handle);
            self.release(state);
        });
        // A handle is always used; a machine that lost one would have ended the call.
        told.unwrap_or(Wakeup::Ended)
    }

    /// Takes one message to its call. The state is locked on return.
    fn dispatch_message(&self, reply: T::Reply) -> State<'_, T, S> {
        self.dispatch_message_inline(reply)
    }

    /// The same, in the caller's own code: for the way that most calls go.
    #[inline(always)]
    fn dispatch_message_inline(&self, reply: T::Reply) -> State<'_, T, S> {
        let tag = self.transport.tag(&reply);
        let mut state = self.lock();
        let arrived = |watch, reply: &T::Reply| self.transport.arrived(watch, reply);
        match state.handle_message(tag, reply, arrived) {
            None => state,
            Some(orphan) => {
                // Its tag may be another's now, who need not wait for what the program does with it.
                self.release(state);
                self.transport.orphan(orphan);
                self.lock()
            }
        }
    }

    /// Receives one message, waiting for it, and takes it to its call. For who has the role. The
    /// state is locked on return.
    #[inline(always)]
    fn receive(&self) -> State<'_, T, S> {
        if self.transport.can_recv_many() {
            return self.receive_many();
        }
        match self.transport.recv() {
            Some(reply) => self.dispatch_message_inline(reply),
            None => self.handle_disconnect(),
        }
    }

    /// The connection has ended. The state is locked on return.
    fn handle_disconnect(&self) -> State<'_, T, S> {
        let mut state = self.lock();
        state.handle_disconnect();
        self.epoch.store(state.epoch(), Ordering::Release);
        state
    }

    /// Sends a request, for who has the turn, and (`with_queued`) perhaps some of what others have left in
    /// the queue, if the transport takes several at once. Answers how often the connection had ended
    /// when it began, too.
    #[inline]
    fn send(&self, mut request: T::Request, with_queued: bool) -> (Result<(), T::Failure>, u32) {
        if self.transport.can_send_many() {
            return self.send_many(request, with_queued);
        }
        let epoch = self.epoch.load(Ordering::Acquire);
        (self.transport.send(&mut request), epoch)
    }
}
