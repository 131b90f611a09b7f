//! The two halves of a transport as a transport of `rpc`, which shares it between threads.

use std::cell::UnsafeCell;
use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use super::tag_wait::TagWait;
use super::transport::{
    CloseFn, Message, OrphanFn, Receiver, RecvBatchFn, SendBatchFn, Sender, Transport, TryRecvFn,
};
use super::{End, Error};
use crate::rpc::{self, Batch, Polled};

/// One half, which only the holder of a role may use: the turn to send, or the receiver role.
struct Half<H> {
    half: UnsafeCell<H>,
    /// True while a caller is inside. Only the assertions use it.
    #[cfg(debug_assertions)]
    is_in_use: std::sync::atomic::AtomicBool,
}

impl<H> Half<H> {
    fn new(half: H) -> Half<H> {
        Half {
            half: UnsafeCell::new(half),
            #[cfg(debug_assertions)]
            is_in_use: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Calls `action` with the half.
    ///
    /// # Safety
    /// The caller must hold the role of this half until this returns.
    #[inline(always)]
    unsafe fn with<V>(&self, action: impl FnOnce(&mut H) -> V) -> V {
        #[cfg(debug_assertions)]
        assert!(
            !self.is_in_use.swap(true, std::sync::atomic::Ordering::Relaxed),
            "two callers use one half of the transport"
        );
        // SAFETY: the machine grants each role to one caller at a time, and the roles are transferred
        // under the state lock, so that this caller sees what the last one has written. If `action`
        // enters the multiplexor again, it cannot have the role there: it sleeps, or is denied it. If
        // it unwinds, the role stays assigned, and no other caller gets it.
        let result = action(unsafe { &mut *self.half.get() });
        #[cfg(debug_assertions)]
        self.is_in_use.store(false, std::sync::atomic::Ordering::Relaxed);
        result
    }
}

// SAFETY: the half is used by one thread at a time (`with`), to which it is sent in effect.
unsafe impl<H: Send> Sync for Half<H> {}

/// The error of a failed send. It has no destructor, because the destructor of a call's state would otherwise
/// be executed at each change of the state, which made a call half as long again. [`Halves::error`] restores the
/// error. An error that no owner of a call receives is leaked; that can only happen to a call that is abandoned
/// while another caller sends its request.
pub(super) type Failure = ManuallyDrop<io::Error>;

/// Reasons to use `recv_many`: messages are received in batches, the connection has ended, or a reply has freed a
/// tag for which a task must be woken. The path of a single message has one check for all of them.
const BATCHES: u8 = 1;
const ENDED: u8 = 2;
const TAGS_FREED: u8 = 4;

/// The transport of a [`Mux`](super::Mux).
pub(super) struct Halves<S: Sender, R: Receiver> {
    sender: Half<S>,
    receiver: Half<R>,
    tags: Range<u32>,
    send_batch: Option<SendBatchFn<S>>,
    recv_batch: Option<RecvBatchFn<R>>,
    try_recv: Option<TryRecvFn<R>>,
    has_event_loop: bool,
    orphan: Option<OrphanFn<R::Reply>>,
    close: Option<CloseFn>,
    /// True if requests are sent in batches, or the connection has ended: `send_many` handles both, so that
    /// the path of a single request has one check.
    sends_specially: AtomicBool,
    /// Why `recv_many` must be used instead of `recv`, if it must: the reasons below.
    receives_specially: AtomicU8,
    /// How the connection has ended; the first end counts.
    end: OnceLock<End>,
    /// The tasks that wait for a free tag.
    pub tag_wait: TagWait,
}

impl<S: Sender, R: Receiver> Halves<S, R> {
    pub fn new(transport: Transport<S, R>) -> Halves<S, R> {
        let batches = if transport.recv_batch.is_some() { BATCHES } else { 0 };
        Halves {
            sender: Half::new(transport.sender),
            receiver: Half::new(transport.receiver),
            tags: transport.tags,
            send_batch: transport.send_batch,
            recv_batch: transport.recv_batch,
            try_recv: transport.try_recv,
            has_event_loop: transport.has_event_loop,
            orphan: transport.orphan,
            close: transport.close,
            sends_specially: AtomicBool::new(transport.send_batch.is_some()),
            receives_specially: AtomicU8::new(batches),
            end: OnceLock::new(),
            tag_wait: TagWait::new(),
        }
    }

    /// Returns how the connection has ended.
    pub fn end(&self) -> Option<&End> {
        self.end.get()
    }

    /// Records the end of the connection, unless it has ended before, and wakes the tasks that wait for a
    /// tag, which no reply will free.
    #[cold]
    pub fn set_end(&self, end: End) {
        let _ = self.end.set(end);
        self.sends_specially.store(true, Ordering::Release);
        self.receives_specially.fetch_or(ENDED, Ordering::Release);
        self.tag_wait.wake_all();
    }

    /// Shuts the connection down, if the transport can.
    pub fn close(&self) {
        if let Some(close) = &self.close {
            close();
        }
    }

    /// Returns the error of a call that `rpc` has failed.
    #[cold]
    pub fn error(&self, error: rpc::Error<Failure>) -> Error {
        match (error, self.end()) {
            // If the connection has ended, the request was not sent for that reason.
            (rpc::Error::Failed(failure), end) => {
                let failure = ManuallyDrop::into_inner(failure);
                match end {
                    Some(End::Closed(cause)) => Error::Ended(cause.clone()),
                    Some(End::HungUp) => Error::HungUp,
                    None => Error::Send(failure),
                }
            }
            (rpc::Error::Ended | rpc::Error::HungUp, Some(End::Closed(cause))) => {
                Error::Ended(cause.clone())
            }
            (rpc::Error::Ended | rpc::Error::HungUp, _) => Error::HungUp,
            (rpc::Error::NoTag, _) => Error::NoTag,
            (rpc::Error::EmptyRange, _) => Error::EmptyRange,
            (rpc::Error::NoMemory, _) => Error::NoMemory,
            (rpc::Error::TimedOut, _) => Error::TimedOut,
            (rpc::Error::Stuck, _) => Error::NoReceiver,
            (rpc::Error::Busy, _) => Error::Busy,
            // Threads always have a clock, and only the C interface shuts a Mux down.
            (rpc::Error::NoClock(_) | rpc::Error::InUse, _) => Error::HungUp,
        }
    }

    /// Records the end of the connection if `received` is the end.
    #[inline(always)]
    fn received(
        &self,
        received: io::Result<Option<Message<R::Reply>>>,
    ) -> Option<Message<R::Reply>> {
        match received {
            Ok(Some(message)) => Some(message),
            end => {
                self.set_end(End::Closed(end.err().map(Arc::new)));
                None
            }
        }
    }

    #[cold]
    fn ended() -> Failure {
        ManuallyDrop::new(io::ErrorKind::NotConnected.into())
    }
}

impl<S: Sender, R: Receiver> rpc::Transport for Halves<S, R> {
    type Request = Message<S::Request>;
    type Reply = Message<R::Reply>;
    type Failure = Failure;
    type Watch = ();

    const HAS_FIXED_RANGE: bool = true;

    #[inline(always)]
    fn range(&self) -> Range<u32> {
        self.tags.start..self.tags.end
    }

    #[inline(always)]
    fn set_tag(&self, request: &mut Message<S::Request>, tag: u32) -> Result<(), Failure> {
        request.set_tag(tag);
        Ok(())
    }

    #[inline(always)]
    fn tag(&self, reply: &Message<R::Reply>) -> Option<u32> {
        reply.tag()
    }

    #[inline(always)]
    fn send(&self, request: Message<S::Request>) -> Result<(), Failure> {
        // SAFETY: `rpc` calls this for the caller that has the turn to send.
        let sent = unsafe { self.sender.with(|sender| sender.send(request)) };
        sent.map_err(ManuallyDrop::new)
    }

    #[inline(always)]
    fn recv(&self) -> Option<Message<R::Reply>> {
        // SAFETY: `rpc` calls this for the caller that has the receiver role.
        let received = unsafe { self.receiver.with(|receiver| receiver.recv()) };
        self.received(received)
    }

    #[inline(always)]
    fn can_send_many(&self) -> bool {
        self.sends_specially.load(Ordering::Acquire)
    }

    fn send_many(
        &self,
        requests: &mut Batch<Message<S::Request>>,
    ) -> Result<NonZeroUsize, Failure> {
        if self.end().is_some() {
            return Err(Self::ended());
        }
        let Some(send_batch) = self.send_batch else {
            requests.take_first().map_or(Ok(()), |first| self.send(first))?;
            return Ok(NonZeroUsize::MIN);
        };
        // SAFETY: as in `send`.
        let sent = unsafe { self.sender.with(|sender| send_batch(sender, requests)) };
        sent.map_err(ManuallyDrop::new)
    }

    #[inline(always)]
    fn can_recv_many(&self) -> bool {
        self.receives_specially.load(Ordering::Acquire) != 0
    }

    fn recv_many(&self, replies: &mut Batch<Message<R::Reply>>) {
        if self.receives_specially.load(Ordering::Relaxed) & TAGS_FREED != 0 {
            self.receives_specially.fetch_and(!TAGS_FREED, Ordering::Relaxed);
            self.tag_wait.wake_freed();
        }
        if self.end().is_some() {
            return;
        }
        let Some(recv_batch) = self.recv_batch else {
            if let Some(reply) = self.recv() {
                let _ = replies.push(reply);
            }
            return;
        };
        // SAFETY: as in `recv`.
        let result = unsafe { self.receiver.with(|receiver| recv_batch(receiver, replies)) };
        if result.is_err() || replies.is_empty() {
            self.set_end(End::Closed(result.err().map(Arc::new)));
        }
    }

    fn recv_single(&self) -> Option<Message<R::Reply>> {
        if self.end().is_some() { None } else { self.recv() }
    }

    #[inline(always)]
    fn can_try(&self) -> bool {
        self.try_recv.is_some()
    }

    fn try_recv(&self) -> Polled<Message<R::Reply>> {
        let Some(try_recv) = self.try_recv else { return Polled::Nothing };
        if self.end().is_some() {
            return Polled::Ended;
        }
        self.tag_wait.wake_freed();
        // SAFETY: as in `recv`.
        match unsafe { self.receiver.with(try_recv) } {
            Poll::Pending => Polled::Nothing,
            Poll::Ready(received) => self.received(received).map_or(Polled::Ended, Polled::Message),
        }
    }

    #[inline]
    fn futures_wait(&self) -> bool {
        self.has_event_loop
    }

    #[inline]
    fn arrived(&self, (): (), _: &Message<R::Reply>) {
        if self.tag_wait.count_freed() {
            self.receives_specially.fetch_or(TAGS_FREED, Ordering::Relaxed);
        }
    }

    fn orphan(&self, message: Message<R::Reply>) {
        // The tag of the abandoned call is free now.
        self.tag_wait.wake_one();
        if let Some(orphan) = &self.orphan {
            orphan(message);
        }
    }
}
