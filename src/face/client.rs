//! The owned handle of a connection, and calls that own it.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use super::call::PendingCall;
use super::mux::Mux;
use super::tag_wait::Place;
use super::{Error, Receiver, Sender, Transport};

/// A handle of a connection that many tasks and threads share. It dereferences to the [`Mux`], and cloning
/// it is cheap.
///
/// # Receiving
/// A thread or the program must receive messages, or a task that awaits a call fails with
/// [`Error::NoReceiver`]:
///
/// * [`spawn`](Client::spawn) starts a thread that receives, which tasks of an async runtime need.
/// * Without it ([`new`](Client::new)), a thread that waits for its reply receives for all callers, which is the
///   fastest way for blocking calls.
/// * A program that drives the connection by its own [event loop](Transport::event_loop) calls
///   [`deliver_available`](Mux::deliver_available).
///
/// # Dropping
/// * A dropped [`Response`] abandons its call: a request that has not been sent is not sent; otherwise its
///   tag stays in use until the reply arrives, and the reply becomes an orphan.
/// * When the last clone of a `Client` and the last `Response` are dropped, the client
///   [hangs up](Mux::hang_up), which shuts the connection down. The thread of `spawn` then ends, and the
///   sender and the receiver are dropped.
/// * A transport that cannot be [shut down](Transport::on_hang_up) keeps the thread until
///   [`recv`](Receiver::recv) returns.
///
/// # Examples
/// ```
/// use futures::executor::block_on;
/// use mux::Client;
///
/// let client = Client::spawn(echo()).unwrap();
/// let call = client.call("hello".to_string());
/// drop(client); // the call keeps the connection
/// assert_eq!(block_on(call).unwrap(), "hello");
///
#[doc = include_str!("../../docs/echo.rs")]
/// ```
pub struct Client<S: Sender, R: Receiver> {
    owner: Arc<Owner<S, R>>,
}

/// Hangs up when the last client is dropped. The receiving thread has the Mux alone.
struct Owner<S: Sender, R: Receiver> {
    mux: Arc<Mux<S, R>>,
}

impl<S: Sender, R: Receiver> Drop for Owner<S, R> {
    fn drop(&mut self) {
        self.mux.hang_up();
    }
}

impl<S: Sender, R: Receiver> Client<S, R> {
    /// Returns a client over `transport`, without a receiving thread: for threads and event loops.
    pub fn new(transport: Transport<S, R>) -> Client<S, R> {
        Client { owner: Arc::new(Owner { mux: Arc::new(Mux::new(transport)) }) }
    }

    /// Returns a client over `transport`, and starts a thread that receives messages for all callers until
    /// the connection ends.
    ///
    /// # Errors
    /// Returns the error of the operating system if the thread cannot be started.
    pub fn spawn(transport: Transport<S, R>) -> io::Result<Client<S, R>>
    where
        S: Send + 'static,
        R: Send + 'static,
        S::Request: Send,
        R::Reply: Send,
    {
        let client = Client::new(transport);
        let mux = client.owner.mux.clone();
        // Callers leave receiving to the thread from now on, although it has not started yet.
        mux.inner().claim_receive_proc();
        let run = move || mux.guarded(|inner| inner.run_receive_proc());
        if let Err(error) = thread::Builder::new().name("mux receiver".to_string()).spawn(run) {
            client.inner().procs_failed(true);
            return Err(error);
        }
        Ok(client)
    }

    /// Returns a future that sends `request` when it is first polled, and completes with the reply.
    ///
    /// If all tags are in use, the task waits for a free tag. Sending may block the thread of the task
    /// inside [`send`](Sender::send), if the server does not read.
    pub fn call(&self, request: S::Request) -> Response<S, R> {
        Response { client: self.clone(), state: State::Unsent(Some(request), None) }
    }
}

impl<S: Sender, R: Receiver> Clone for Client<S, R> {
    fn clone(&self) -> Client<S, R> {
        Client { owner: self.owner.clone() }
    }
}

impl<S: Sender, R: Receiver> Deref for Client<S, R> {
    type Target = Mux<S, R>;

    fn deref(&self) -> &Mux<S, R> {
        &self.owner.mux
    }
}

impl<S: Sender, R: Receiver> fmt::Debug for Client<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("mux", &self.owner.mux).finish()
    }
}

/// The future of [`Client::call`], which completes with the reply. It owns the connection, so that it can
/// be moved into a task or a thread of its own.
///
/// Dropping it cancels the call, see [`Client`](Client#dropping). While a task awaits it, another thread
/// must receive messages, as for a [`Call`](crate::Call).
#[must_use = "the request is sent when the future is polled"]
pub struct Response<S: Sender, R: Receiver> {
    client: Client<S, R>,
    state: State<S::Request>,
}

enum State<Q> {
    /// The request, and the place in the queue for tags if the task waits for one.
    Unsent(Option<Q>, Option<Place>),
    Sent(PendingCall),
}

impl<S: Sender, R: Receiver> Response<S, R> {
    /// Returns the tag of the call, after the request has been sent and until the result has been returned.
    /// A protocol that can cancel requests names them by their tags.
    pub fn tag(&self) -> Option<u32> {
        match &self.state {
            State::Unsent(..) => None,
            State::Sent(call) => call.tag(),
        }
    }

    /// Returns the client to which the call belongs.
    pub fn client(&self) -> &Client<S, R> {
        &self.client
    }

    /// Sends the request, or lets the task wait for a tag.
    fn send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mux: &Mux<S, R> = &self.client.owner.mux;
        let State::Unsent(request, place) = &mut self.state else { return Poll::Ready(Ok(())) };
        if request.is_none() {
            return Poll::Ready(Err(Error::Finished));
        }
        let tag_wait = &mux.halves().tag_wait;
        let begin = || PendingCall::start(mux, request);
        match tag_wait.begin(place, context.waker(), begin) {
            Ok(call) => {
                self.state = State::Sent(call);
                Poll::Ready(Ok(()))
            }
            Err(Error::NoTag) => match mux.no_tag_will_be_free() {
                None => Poll::Pending,
                Some(error) => {
                    *request = None;
                    if let Some(place) = place.take() {
                        tag_wait.leave(&place);
                    }
                    // The next task must learn of it too.
                    tag_wait.wake_one();
                    Poll::Ready(Err(error))
                }
            },
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: Sender, R: Receiver> Future for Response<S, R> {
    type Output = Result<R::Reply, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.send(context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        let Response { client, state } = &mut *self;
        match state {
            State::Sent(call) => call.poll(client, context),
            State::Unsent(..) => Poll::Pending,
        }
    }
}

// The future contains no reference to itself.
impl<S: Sender, R: Receiver> Unpin for Response<S, R> {}

impl<S: Sender, R: Receiver> Drop for Response<S, R> {
    fn drop(&mut self) {
        match &mut self.state {
            State::Sent(call) => call.cancel(&self.client),
            State::Unsent(_, place) => {
                if let Some(place) = place {
                    self.client.halves().tag_wait.leave(place);
                }
            }
        }
    }
}

impl<S: Sender, R: Receiver> fmt::Debug for Response<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("tag", &self.tag()).finish_non_exhaustive()
    }
}
