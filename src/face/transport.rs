//! The two halves of a connection, and the settings that belong to them.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::task::Poll;

use crate::rpc::Batch;

/// A message with its tag, which connects a request and its reply.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Message<M> {
    /// The tag, or `UNTAGGED`. An `Option` would make a call 15 instructions longer.
    tag: u64,
    /// The message itself.
    pub body: M,
}

/// No tag.
const UNTAGGED: u64 = u64::MAX;

impl<M> Message<M> {
    /// Returns a message with a tag: a request, or the reply to a request.
    #[inline]
    pub const fn tagged(tag: u32, body: M) -> Message<M> {
        Message { tag: tag as u64, body }
    }

    /// Returns a message that belongs to no call.
    #[inline]
    pub const fn untagged(body: M) -> Message<M> {
        Message { tag: UNTAGGED, body }
    }

    /// Returns a message with this tag, if there is one.
    #[inline]
    pub fn new(tag: Option<u32>, body: M) -> Message<M> {
        match tag {
            Some(tag) => Message::tagged(tag, body),
            None => Message::untagged(body),
        }
    }

    /// Returns the tag. `None` if the message belongs to no call: a message of
    /// [`send_message`](crate::Mux::send_message), or an unsolicited message of the server.
    #[inline]
    pub const fn tag(&self) -> Option<u32> {
        if self.tag == UNTAGGED { None } else { Some(self.tag as u32) }
    }

    #[inline]
    pub(super) fn set_tag(&mut self, tag: u32) {
        self.tag = tag.into();
    }
}

impl<M: fmt::Debug> fmt::Debug for Message<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("tag", &self.tag()).field("body", &self.body).finish()
    }
}

/// The half of a connection that sends requests.
///
/// The multiplexor owns this half and calls it for one request at a time, without a lock. A method must
/// not call the multiplexor. If it panics, the multiplexor hangs up.
pub trait Sender {
    /// A message to the server, without a tag.
    type Request;

    /// Returns the tags that the protocol allows, `start <= tag < end`. This is called once.
    fn tags(&self) -> Range<u32>;

    /// Sends a request. This may block without a limit.
    ///
    /// # Errors
    /// An error fails only the call of this request, with [`Error::Send`](crate::Error::Send). A sender
    /// that cannot send any further request should also make the receiver return an error.
    fn send(&mut self, request: Message<Self::Request>) -> io::Result<()>;
}

/// The half of a connection that receives replies.
///
/// The multiplexor owns this half and calls it for one message at a time, without a lock, while another
/// thread may be sending. A method must not call the multiplexor. If it panics, the multiplexor hangs up.
pub trait Receiver {
    /// A message from the server, without its tag.
    type Reply;

    /// Waits for a message. Returns `None` if the connection has ended properly. After that, and after an
    /// error, the receiver is not called again.
    ///
    /// # Errors
    /// An error ends the connection. Each outstanding and each later call fails with
    /// [`Error::Ended`](crate::Error::Ended), which has this error as its source.
    fn recv(&mut self) -> io::Result<Option<Message<Self::Reply>>>;
}

/// A sender that can send several requests at once. See [`Transport::send_batches`].
pub trait SendBatch: Sender {
    /// Sends the first request of the batch, and as many of the following requests as possible. Returns
    /// the number of requests sent.
    ///
    /// # Errors
    /// An error fails the call of the first request only. The other requests are passed again.
    fn send_batch(
        &mut self,
        requests: &mut Batch<Message<Self::Request>>,
    ) -> io::Result<NonZeroUsize>;
}

/// A receiver that can receive several messages at once. See [`Transport::recv_batches`].
pub trait RecvBatch: Receiver {
    /// Waits for at least one message and stores all available messages in `replies`, which is empty. If
    /// `replies` is still empty on return, the connection has ended properly.
    ///
    /// # Errors
    /// As [`recv`](Receiver::recv). The messages in `replies` are delivered first.
    fn recv_batch(&mut self, replies: &mut Batch<Message<Self::Reply>>) -> io::Result<()>;
}

/// A receiver that can poll for a message. See [`Transport::try_recvs`].
pub trait TryRecv: Receiver {
    /// Returns a message if one is available, and otherwise [`Poll::Pending`], without blocking. The end
    /// of the connection and errors are reported as by [`recv`](Receiver::recv).
    ///
    /// No waker is registered: the program must know by other means when it should poll again.
    fn try_recv(&mut self) -> Poll<io::Result<Option<Message<Self::Reply>>>>;
}

pub(super) type SendBatchFn<S> =
    fn(&mut S, &mut Batch<Message<<S as Sender>::Request>>) -> io::Result<NonZeroUsize>;
pub(super) type RecvBatchFn<R> =
    fn(&mut R, &mut Batch<Message<<R as Receiver>::Reply>>) -> io::Result<()>;
pub(super) type TryRecvFn<R> =
    fn(&mut R) -> Poll<io::Result<Option<Message<<R as Receiver>::Reply>>>>;
pub(super) type OrphanFn<M> = Box<dyn Fn(Message<M>) + Send + Sync>;
pub(super) type CloseFn = Box<dyn Fn() + Send + Sync>;

/// A connection to a server: a [`Sender`], a [`Receiver`] and optional settings. A [`Mux`](crate::Mux) or
/// a [`Client`](crate::Client) is made of it.
///
/// For a stream of bytes, [`framed`](crate::framed) has ready transports.
#[must_use = "a transport does nothing before a Mux or a Client is made of it"]
pub struct Transport<S: Sender, R: Receiver> {
    pub(super) sender: S,
    pub(super) receiver: R,
    pub(super) tags: Range<u32>,
    pub(super) send_batch: Option<SendBatchFn<S>>,
    pub(super) recv_batch: Option<RecvBatchFn<R>>,
    pub(super) try_recv: Option<TryRecvFn<R>>,
    pub(super) has_event_loop: bool,
    pub(super) orphan: Option<OrphanFn<R::Reply>>,
    pub(super) close: Option<CloseFn>,
}

impl<S: Sender, R: Receiver> Transport<S, R> {
    /// Returns a transport of these two halves, with no further settings.
    pub fn new(sender: S, receiver: R) -> Transport<S, R> {
        Transport {
            tags: sender.tags(),
            sender,
            receiver,
            send_batch: None,
            recv_batch: None,
            try_recv: None,
            has_event_loop: false,
            orphan: None,
            close: None,
        }
    }

    /// Limits the tags to this range. By default, the tags are [those of the sender](Sender::tags). The
    /// number of tags limits the number of calls that can be outstanding at once.
    pub fn tags(mut self, tags: Range<u32>) -> Transport<S, R> {
        self.tags = tags;
        self
    }

    /// Sets a function that consumes orphans: messages that match no outstanding call, such as the reply
    /// to an abandoned call, or an unsolicited message from the server. By default, they are dropped.
    ///
    /// The function may be called by several threads at once, and must not call the multiplexor; it may
    /// pass the message to another thread by a channel. It must not own a [`Client`](crate::Client) of this
    /// transport, which would then never be dropped. If the server sends unsolicited messages, a
    /// [`Driver`](crate::Driver) should run, because otherwise no messages are received while no call is
    /// outstanding.
    pub fn on_orphan(
        mut self,
        orphan: impl Fn(Message<R::Reply>) + Send + Sync + 'static,
    ) -> Transport<S, R> {
        self.orphan = Some(Box::new(orphan));
        self
    }

    /// Sets a function that shuts the connection down, so that a blocked [`recv`](Receiver::recv) and a
    /// blocked [`send`](Sender::send) return. [`hang_up`](crate::Mux::hang_up) calls it.
    pub fn on_hang_up(mut self, close: impl Fn() + Send + Sync + 'static) -> Transport<S, R> {
        self.close = Some(Box::new(close));
        self
    }

    /// Sends several requests at once if several callers have requests. No request waits for a batch to
    /// fill.
    pub fn send_batches(mut self) -> Transport<S, R>
    where
        S: SendBatch,
    {
        self.send_batch = Some(S::send_batch);
        self
    }

    /// Receives several messages at once if several are available, except in
    /// [`recv_message`](crate::Mux::recv_message).
    pub fn recv_batches(mut self) -> Transport<S, R>
    where
        R: RecvBatch,
    {
        self.recv_batch = Some(R::recv_batch);
        self
    }

    /// Polls for messages where a caller must not block: in [`Call::try_finish`](crate::Call::try_finish),
    /// and in a call with a deadline.
    pub fn try_recvs(mut self) -> Transport<S, R>
    where
        R: TryRecv,
    {
        self.try_recv = Some(R::try_recv);
        self
    }

    /// Declares that the program has an event loop, which calls
    /// [`deliver_available`](crate::Mux::deliver_available) when the connection is readable. Tasks then wait for
    /// their replies although no thread receives, which is an error otherwise
    /// ([`Error::NoReceiver`](crate::Error::NoReceiver)). Includes [`try_recvs`](Transport::try_recvs).
    ///
    /// # Examples
    /// ```
    /// use mux::Client;
    /// use std::future::Future;
    /// use std::pin::Pin;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// let client = Client::new(echo().event_loop());
    /// let mut call = client.call("hello".to_string());
    /// // An executor would wake the task by a waker of its own.
    /// let mut context = Context::from_waker(Waker::noop());
    /// let reply = loop {
    ///     match Pin::new(&mut call).poll(&mut context) {
    ///         Poll::Ready(reply) => break reply.unwrap(),
    ///         // The loop waits here until the connection is readable.
    ///         Poll::Pending => client.deliver_available().unwrap(),
    ///     }
    /// };
    /// assert_eq!(reply, "hello");
    ///
    #[doc = include_str!("../../docs/echo.rs")]
    /// ```
    pub fn event_loop(mut self) -> Transport<S, R>
    where
        R: TryRecv,
    {
        self.has_event_loop = true;
        self.try_recvs()
    }
}

impl<S: Sender, R: Receiver> fmt::Debug for Transport<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("tags", &self.tags).finish_non_exhaustive()
    }
}
