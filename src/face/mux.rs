//! The multiplexor, and the calls that borrow it.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::call::PendingCall;
use super::halves::{Failure, Halves};
use super::{End, Error, Message, Receiver, Sender, Transport};
use crate::rpc;
use crate::sched::native::Native;

pub(super) type Inner<S, R> = rpc::Mux<Halves<S, R>, Native>;

/// A multiplexor: it lets many callers share one connection.
///
/// If no other thread is receiving, a caller that waits for its reply receives messages for all callers
/// until its own reply arrives. A program may instead run a [`Driver`] in a thread of its own.
///
/// A `Mux` is borrowed by its calls. For calls that own their connection, and for tasks of an async
/// runtime, use a [`Client`](crate::Client).
///
/// All methods may be called by any number of threads at once.
///
/// # Examples
/// ```
/// use mux::Mux;
/// use std::thread;
///
/// let mux = Mux::new(echo());
/// thread::scope(|scope| {
///     for n in 0..8 {
///         let mux = &mux;
///         scope.spawn(move || {
///             let text = format!("hello from thread {n}");
///             assert_eq!(mux.rpc(text.clone()).unwrap(), text);
///         });
///     }
/// });
/// assert_eq!(mux.stats().calls, 8);
///
#[doc = include_str!("../../docs/echo.rs")]
/// ```
pub struct Mux<S: Sender, R: Receiver> {
    inner: Inner<S, R>,
}

impl<S: Sender, R: Receiver> Mux<S, R> {
    /// Returns a multiplexor over `transport`.
    pub fn new(transport: Transport<S, R>) -> Mux<S, R> {
        Mux { inner: rpc::Mux::new(Halves::new(transport)) }
    }

    #[inline(always)]
    pub(super) fn inner(&self) -> &Inner<S, R> {
        &self.inner
    }

    #[inline(always)]
    pub(super) fn halves(&self) -> &Halves<S, R> {
        self.inner.transport()
    }

    /// Returns the error of a call, from that of `rpc`.
    #[cold]
    pub(super) fn error(&self, error: rpc::Error<Failure>) -> Error {
        self.halves().error(error)
    }

    /// Calls `action`, which calls the transport, and hangs up if that panics: the other callers would
    /// wait for the role that the panicking caller has kept.
    #[inline(always)]
    pub(super) fn guarded<V>(&self, action: impl FnOnce(&Inner<S, R>) -> V) -> V {
        let guard = HangUpOnDrop(self);
        let result = action(&self.inner);
        std::mem::forget(guard);
        result
    }

    /// Sends `request`, waits for its reply and returns the reply.
    ///
    /// While it waits, the caller may have to receive messages for other callers. If all tags are in
    /// use, the caller waits for a free tag.
    ///
    /// # Errors
    /// * [`Error::Ended`]: the connection ended before the reply arrived.
    /// * [`Error::Send`]: the sender could not send the request.
    /// * [`Error::HungUp`]: the program has hung up.
    /// * [`Error::NoTag`]: all tags belong to abandoned calls.
    /// * [`Error::EmptyRange`]: the range of tags is empty.
    /// * [`Error::NoMemory`]: no memory is available for another call.
    ///
    /// # Examples
    /// ```
    /// let mux = mux::Mux::new(echo());
    /// assert_eq!(mux.rpc("hello".to_string()).unwrap(), "hello");
    ///
    #[doc = include_str!("../../docs/echo.rs")]
    /// ```
    pub fn rpc(&self, request: S::Request) -> Result<R::Reply, Error> {
        let result = self.guarded(|inner| inner.rpc(Message::untagged(request)));
        self.halves().tag_wait.wake_one();
        match result {
            Ok(reply) => Ok(reply.body),
            Err(error) => Err(self.error(error)),
        }
    }

    /// As [`rpc`](Mux::rpc), but waits at most `timeout` for the reply.
    ///
    /// If the call times out after its request was sent, its tag stays in use until the reply arrives,
    /// which is then an orphan, or until the connection ends.
    ///
    /// The call may return later than `timeout` in two cases. While its request is being sent, the
    /// caller cannot return. And a caller that receives for all callers inside
    /// [`recv`](Receiver::recv) returns at the next message only; this requires that the receiver
    /// [does not poll](Transport::try_recvs), that there is no [`Driver`], and that all other waiting
    /// callers have deadlines too.
    ///
    /// # Errors
    /// As [`rpc`](Mux::rpc), and [`Error::TimedOut`] if the reply did not arrive in time.
    ///
    /// # Examples
    /// ```
    /// use mux::{Error, Mux};
    /// use std::time::Duration;
    ///
    /// let mux = Mux::new(echo());
    /// let late = mux.rpc_timeout("hush, no reply".to_string(), Duration::from_millis(5));
    /// assert!(matches!(late, Err(Error::TimedOut)));
    /// let reply = mux.rpc_timeout("hello".to_string(), Duration::from_secs(60));
    /// assert_eq!(reply.unwrap(), "hello");
    ///
    #[doc = include_str!("../../docs/echo.rs")]
    /// ```
    pub fn rpc_timeout(&self, request: S::Request, timeout: Duration) -> Result<R::Reply, Error> {
        let result = self.guarded(|inner| inner.rpc_timeout(Message::untagged(request), timeout));
        self.halves().tag_wait.wake_one();
        match result {
            Ok(reply) => Ok(reply.body),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Sends `request` without waiting for its reply, and returns the call.
    ///
    /// This may block until the caller has the turn to send, and in [`send`](Sender::send). It does not
    /// wait for a tag.
    ///
    /// # Errors
    /// As [`rpc`](Mux::rpc), except that [`Error::NoTag`] is returned immediately if all tags are in use.
    pub fn start(&self, request: S::Request) -> Result<Call<'_, S, R>, Error> {
        match PendingCall::start(self, &mut Some(request)) {
            Ok(call) => Ok(Call { mux: self, call }),
            Err(error) => {
                self.halves().tag_wait.wake_one();
                Err(error)
            }
        }
    }

    /// Waits for the turn to send and sends `message` without a tag. The message belongs to no call and
    /// has no reply. Use this to reply to a request from the server, for example.
    ///
    /// # Errors
    /// * [`Error::Send`]: the sender could not send the message.
    /// * [`Error::Ended`]: the connection ended before the message was sent.
    /// * [`Error::HungUp`]: the program has hung up.
    /// * [`Error::NoMemory`]: no memory is available for another message.
    ///
    /// # Examples
    /// ```
    /// use mux::{Message, Mux};
    ///
    /// let mux = Mux::new(echo());
    /// mux.send_message("to all clients".to_string()).unwrap();
    /// assert_eq!(mux.recv_message().unwrap(), Message::untagged("to all clients".to_string()));
    ///
    #[doc = include_str!("../../docs/echo.rs")]
    /// ```
    pub fn send_message(&self, message: S::Request) -> Result<(), Error> {
        self.guarded(|inner| inner.send_message(Message::untagged(message)))
            .map_err(|error| self.error(error))
    }

    /// Waits for the receiver role and for a message, and returns the message to the caller instead of
    /// delivering it to its call.
    ///
    /// # Errors
    /// * [`Error::Busy`]: a [`Driver`] receives all messages.
    /// * [`Error::Ended`]: the connection has ended.
    /// * [`Error::HungUp`]: the program has hung up.
    /// * [`Error::NoMemory`]: no memory is available to register the caller.
    pub fn recv_message(&self) -> Result<Message<R::Reply>, Error> {
        self.check_end()?;
        let received = self.guarded(|inner| inner.receive_message(true));
        // No thread may receive from now on, which a task that waits for a tag must learn.
        self.halves().tag_wait.wake_one();
        match received {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(Error::HungUp),
            Err(error) => Err(self.error(error)),
        }
    }

    /// As [`recv_message`](Mux::recv_message), but does not wait. Returns `None` if no message is
    /// available or another caller is receiving.
    ///
    /// # Errors
    /// As [`recv_message`](Mux::recv_message), and [`Error::NoReceiver`] if the receiver
    /// [does not poll](Transport::try_recvs).
    pub fn try_recv_message(&self) -> Result<Option<Message<R::Reply>>, Error> {
        self.check_end()?;
        self.guarded(|inner| inner.receive_message(false)).map_err(|error| self.error(error))
    }

    /// Receives the messages that are available, at most 64, without waiting, delivers them to their calls,
    /// and wakes the tasks and threads that wait for them. An event loop calls this when the connection is
    /// readable. Does nothing if another caller is receiving.
    ///
    /// # Errors
    /// * [`Error::NoReceiver`]: the receiver [does not poll](Transport::try_recvs).
    /// * [`Error::Ended`]: the connection has ended.
    /// * [`Error::HungUp`]: the program has hung up.
    pub fn deliver_available(&self) -> Result<(), Error> {
        if !rpc::Transport::can_try(self.halves()) {
            return Err(Error::NoReceiver);
        }
        self.check_end()?;
        self.guarded(|inner| inner.receive_available());
        self.halves().tag_wait.wake_freed();
        self.check_end()
    }

    /// Fails if the connection has ended, after which the receiver must not be called.
    fn check_end(&self) -> Result<(), Error> {
        match self.halves().end() {
            Some(_) => Err(self.error(rpc::Error::Ended)),
            None => Ok(()),
        }
    }

    /// Returns why a task that waits for a tag would wait for ever, if it would.
    pub(super) fn no_tag_will_be_free(&self) -> Option<Error> {
        match self.halves().end() {
            Some(_) => Some(self.error(rpc::Error::Ended)),
            None if rpc::Transport::futures_wait(self.halves()) || self.inner.has_receiver() => {
                None
            }
            None => Some(Error::NoReceiver),
        }
    }

    /// Returns a driver, which receives messages for all callers once a thread [runs](Driver::run) it.
    /// Returns `None` if there is a driver already.
    pub fn driver(&self) -> Option<Driver<'_, S, R>> {
        self.inner.receiver().map(|receiver| Driver { mux: self, receiver })
    }

    /// Sends the requests of all callers in the calling thread. Returns when the connection ends, or
    /// immediately if another thread sends already. Requests are then sent in this thread alone, and a
    /// [`Driver`] must run in another.
    pub fn send_for_all(&self) {
        self.guarded(|inner| inner.send_proc());
    }

    /// Hangs up: fails all outstanding and later calls with [`Error::HungUp`], and shuts the connection
    /// down, if [the transport can](Transport::on_hang_up). A [`Driver`] then returns.
    ///
    /// If the transport cannot, a thread inside [`send`](Sender::send) or [`recv`](Receiver::recv)
    /// returns only after that method has returned.
    ///
    /// # Examples
    ///
    /// ```
    /// use mux::{Error, Mux};
    /// use std::thread;
    ///
    /// let mux = Mux::new(echo());
    /// thread::scope(|scope| {
    ///     let call = scope.spawn(|| mux.rpc("hush, no reply".to_string()));
    ///     while mux.outstanding() == 0 {
    ///         thread::yield_now();
    ///     }
    ///     mux.hang_up();
    ///     assert!(matches!(call.join().unwrap(), Err(Error::HungUp)));
    /// });
    ///
    #[doc = include_str!("../../docs/echo.rs")]
    /// ```
    pub fn hang_up(&self) {
        self.end_all(End::HungUp);
    }

    fn end_all(&self, end: End) {
        self.halves().set_end(end);
        self.inner.hang_up();
        self.halves().close();
    }

    /// Returns the statistics since the Mux was created.
    pub fn stats(&self) -> rpc::Stats {
        self.inner.stats()
    }

    /// Returns the number of tags in use, including those of abandoned calls.
    pub fn outstanding(&self) -> usize {
        self.inner.outstanding()
    }

    /// Returns a descriptor that is readable while some started call can finish, for programs that wait with
    /// select or poll.
    ///
    /// The descriptor is created by the first call and closed with the Mux. Waiting for it does not receive
    /// messages: a [`Driver`] must run, or other callers must be receiving.
    ///
    /// # Errors
    /// Returns the error of the operating system if the descriptor cannot be created.
    pub fn poll_fd(&self) -> io::Result<BorrowedFd<'_>> {
        let fd = self.inner.poll_fd().map_err(io::Error::from_raw_os_error)?;
        // SAFETY: the descriptor is open until the Mux, which the result borrows, is dropped.
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }
}

impl<S: Sender, R: Receiver> fmt::Debug for Mux<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mux").field("outstanding", &self.outstanding()).finish_non_exhaustive()
    }
}

/// Hangs up when a panic of the transport drops this.
struct HangUpOnDrop<'a, S: Sender, R: Receiver>(&'a Mux<S, R>);

impl<S: Sender, R: Receiver> Drop for HangUpOnDrop<'_, S, R> {
    #[cold]
    #[inline(never)]
    fn drop(&mut self) {
        let cause = io::Error::other("the transport has panicked");
        self.0.end_all(End::Closed(Some(cause.into())));
    }
}

/// A call that has been sent, returned by [`Mux::start`]. The owner either polls it with
/// [`try_finish`](Call::try_finish) or awaits it.
///
/// While a task awaits it, another thread must receive messages: a [`Driver`], or a caller in
/// [`rpc`](Mux::rpc). If no thread receives any more, the call fails with [`Error::NoReceiver`]. The
/// exception is a program with an [event loop](Transport::event_loop), in which the task waits until
/// [`deliver_available`](Mux::deliver_available) has received the reply.
///
/// Dropping a call that has not completed abandons it: its tag stays in use until the reply arrives, and
/// the reply becomes an orphan.
///
/// # Examples
/// ```
/// use mux::Mux;
/// use std::task::Poll;
///
/// let mux = Mux::new(echo());
/// let mut call = mux.start("hello".to_string()).unwrap();
/// let reply = loop {
///     match call.try_finish() {
///         Poll::Ready(reply) => break reply.unwrap(),
///         Poll::Pending => std::thread::yield_now(),
///     }
/// };
/// assert_eq!(reply, "hello");
///
#[doc = include_str!("../../docs/echo.rs")]
/// ```
#[must_use = "dropping a call abandons it"]
pub struct Call<'a, S: Sender, R: Receiver> {
    mux: &'a Mux<S, R>,
    call: PendingCall,
}

impl<S: Sender, R: Receiver> Call<'_, S, R> {
    /// Returns the result if the call has completed, after receiving available messages if no other caller
    /// is receiving. Does not wait. After the result has been returned, or after
    /// [`cancel`](Call::cancel), this returns [`Error::Finished`].
    pub fn try_finish(&mut self) -> Poll<Result<R::Reply, Error>> {
        self.call.try_finish(self.mux)
    }

    /// Returns the tag of the call, until its result has been returned. A protocol that can cancel requests
    /// names them by their tags.
    pub fn tag(&self) -> Option<u32> {
        self.call.tag()
    }

    /// Abandons the call, as dropping it does. Does nothing if the call has completed.
    pub fn cancel(&mut self) {
        self.call.cancel(self.mux);
    }
}

impl<S: Sender, R: Receiver> Future for Call<'_, S, R> {
    type Output = Result<R::Reply, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mux = self.mux;
        self.call.poll(mux, context)
    }
}

// A call contains no reference to itself.
impl<S: Sender, R: Receiver> Unpin for Call<'_, S, R> {}

impl<S: Sender, R: Receiver> Drop for Call<'_, S, R> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl<S: Sender, R: Receiver> fmt::Debug for Call<'_, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("tag", &self.tag()).finish_non_exhaustive()
    }
}

/// Receives messages for all callers, in the thread that runs it. It counts as receiving from its creation,
/// so that a task which waits before the thread has started does not fail. Dropping it without running it
/// lets the callers receive by themselves again.
///
/// # Examples
/// ```
/// use futures::executor::block_on;
/// use mux::Mux;
/// use std::thread;
///
/// let mux = Mux::new(echo());
/// thread::scope(|scope| {
///     let driver = mux.driver().expect("the first driver");
///     scope.spawn(|| driver.run());
///     let (one, other) = block_on(async {
///         let one = mux.start("one".to_string()).unwrap();
///         let other = mux.start("other".to_string()).unwrap();
///         futures::join!(one, other)
///     });
///     assert_eq!((one.unwrap(), other.unwrap()), ("one".to_string(), "other".to_string()));
///     mux.hang_up();
/// });
///
#[doc = include_str!("../../docs/echo.rs")]
/// ```
#[must_use = "no message is received until it runs"]
pub struct Driver<'a, S: Sender, R: Receiver> {
    mux: &'a Mux<S, R>,
    receiver: rpc::Receiver<'a, Halves<S, R>, Native>,
}

impl<S: Sender, R: Receiver> Driver<'_, S, R> {
    /// Receives messages for all callers. Returns when the connection has ended or the program has hung
    /// up.
    ///
    /// # Errors
    /// Returns the [`Error::Ended`] that every caller receives, if the connection ended with an error of
    /// the receiver.
    pub fn run(self) -> Result<(), Error> {
        self.mux.guarded(|_| self.receiver.run());
        self.mux.driven()
    }
}

impl<S: Sender, R: Receiver> Mux<S, R> {
    /// Returns the error of the receiver with which the connection has ended.
    pub(super) fn driven(&self) -> Result<(), Error> {
        match self.halves().end() {
            Some(End::Closed(Some(cause))) => Err(Error::Ended(Some(cause.clone()))),
            _ => Ok(()),
        }
    }
}

impl<S: Sender, R: Receiver> fmt::Debug for Driver<'_, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
