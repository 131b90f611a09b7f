//! The Rust API of version 1.0.0, as a program outside the crate uses it. If a change breaks this file,
//! the change is incompatible, and Semantic Versioning requires a new major version.
//!
//! `tests/api.sh` checks that the file uses every public name. A new name is added here; what is here
//! stays as it is until the next major version.

use std::fmt::Debug;
use std::future::Future;
use std::io::{self, Empty, Sink};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use mux::framed::{
    self, Codec, FramedClient, FramedReceiver, FramedSender, FramedTransport, LengthPrefix, NineP,
    Socket, Stream,
};
use mux::tags::{NoTag, QUARANTINE, TagPool, TagRange};
use mux::{
    BATCH, Batch, Call, Client, Driver, Error, Message, Mux, Receiver, RecvBatch, Response,
    SendBatch, Sender, Stats, Transport, TryRecv,
};

/// A body that is neither `Copy`, `Clone`, `Default` nor `Sync`.
struct Body(#[allow(dead_code, reason = "it only has a size")] Box<std::cell::Cell<u8>>);

/// A half with all traits. Its peer returns each request as the reply.
#[derive(Default)]
struct Half(std::rc::Rc<Mutex<Vec<Message<Body>>>>);

impl Sender for Half {
    type Request = Body;

    fn tags(&self) -> Range<u32> {
        1..100
    }
    fn send(&mut self, request: Message<Body>) -> io::Result<()> {
        self.0.lock().unwrap().push(request);
        Ok(())
    }
}

impl SendBatch for Half {
    fn send_batch(&mut self, requests: &mut Batch<Message<Body>>) -> io::Result<NonZeroUsize> {
        NonZeroUsize::new(requests.len()).ok_or(io::ErrorKind::InvalidInput.into())
    }
}

impl Receiver for Half {
    type Reply = Body;

    fn recv(&mut self) -> io::Result<Option<Message<Body>>> {
        Ok(self.0.lock().unwrap().pop())
    }
}

impl RecvBatch for Half {
    fn recv_batch(&mut self, _: &mut Batch<Message<Body>>) -> io::Result<()> {
        Ok(())
    }
}

impl TryRecv for Half {
    fn try_recv(&mut self) -> Poll<io::Result<Option<Message<Body>>>> {
        Poll::Ready(Ok(None))
    }
}

fn transport() -> Transport<Half, Half> {
    let half = Half::default();
    Transport::new(Half(half.0.clone()), half)
}

/// A codec of its own, which is not `Clone`.
struct Own;

impl Codec for Own {
    type Request = String;
    type Reply = Body;

    fn tags(&self) -> Range<u32> {
        0..1
    }
    fn encode(&mut self, _: Option<u32>, _: &String, _: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }
    fn decode(&mut self, _: &[u8]) -> io::Result<Option<(Message<Body>, usize)>> {
        Ok(None)
    }
}

type Muxed = Mux<Half, Half>;
type Shared = Client<Half, Half>;

#[test]
#[allow(clippy::type_complexity, reason = "the whole types are checked")]
fn functions_have_their_types() {
    let _: fn(Transport<Half, Half>) -> Muxed = Mux::new;
    let _: fn(&Muxed, Body) -> Result<Body, Error> = Mux::rpc;
    let _: fn(&Muxed, Body, Duration) -> Result<Body, Error> = Mux::rpc_timeout;
    let _: for<'a> fn(&'a Muxed, Body) -> Result<Call<'a, Half, Half>, Error> = Mux::start;
    let _: fn(&Muxed, Body) -> Result<(), Error> = Mux::send_message;
    let _: fn(&Muxed) -> Result<Message<Body>, Error> = Mux::recv_message;
    let _: fn(&Muxed) -> Result<Option<Message<Body>>, Error> = Mux::try_recv_message;
    let _: fn(&Muxed) -> Result<(), Error> = Mux::deliver_available;
    let _: for<'a> fn(&'a Muxed) -> Option<Driver<'a, Half, Half>> = Mux::driver;
    let _: fn(&Muxed) = Mux::send_for_all;
    let _: fn(&Muxed) = Mux::hang_up;
    let _: fn(&Muxed) -> Stats = Mux::stats;
    let _: fn(&Muxed) -> usize = Mux::outstanding;
    let _: for<'a> fn(&'a Muxed) -> io::Result<BorrowedFd<'a>> = Mux::poll_fd;
    let _: fn(Driver<'_, Half, Half>) -> Result<(), Error> = |driver| driver.run();
    let _: fn(&mut Call<'_, Half, Half>) -> Poll<Result<Body, Error>> = |call| call.try_finish();
    let _: fn(&Call<'_, Half, Half>) -> Option<u32> = |call| call.tag();
    let _: fn(&mut Call<'_, Half, Half>) = |call| call.cancel();

    let _: fn(Transport<Half, Half>) -> Shared = Client::new;
    let _: fn(
        FramedTransport<LengthPrefix, UnixStream>,
    ) -> io::Result<FramedClient<LengthPrefix, UnixStream>> = Client::spawn;
    let _: fn(&Shared, Body) -> Response<Half, Half> = Client::call;
    let _: fn(&Response<Half, Half>) -> Option<u32> = Response::tag;
    let _: fn(&Response<Half, Half>) -> &Shared = Response::client;

    let _: fn() -> Batch<Body> = Batch::default;
    let _: fn(&Batch<Body>) -> usize = Batch::len;
    let _: fn(&Batch<Body>) -> bool = Batch::is_empty;
    let _: fn(&Batch<Body>) -> bool = Batch::is_full;
    let _: fn(&mut Batch<Body>, Body) -> Result<(), Body> = Batch::push;
    let _: usize = BATCH;

    let _: fn() -> TagPool = TagPool::new;
    let _: fn(&mut TagPool, TagRange, u32) -> Result<u32, NoTag> = TagPool::allocate;
    let _: fn(&TagPool, u32) -> Option<u32> = TagPool::owner;
    let _: fn(&mut TagPool, u32) = TagPool::free;
    let _: fn(&TagPool) -> usize = TagPool::allocated;
    let _: fn(TagRange) -> bool = TagRange::is_empty;
    let _: usize = QUARANTINE;

    let _: fn(TcpStream, NineP) -> io::Result<FramedTransport<NineP, TcpStream>> =
        framed::transport;
    let _: fn(
        Empty,
        Sink,
        NineP,
    ) -> Transport<FramedSender<NineP, Sink>, FramedReceiver<NineP, Empty>> =
        framed::transport_over;
    let _: fn(Sink, Own) -> FramedSender<Own, Sink> = FramedSender::new;
    let _: fn(Empty, Own) -> FramedReceiver<Own, Empty> = FramedReceiver::new;
    let _: fn(u32) -> NineP = NineP::new;
    const CODEC: LengthPrefix = LengthPrefix::new().max_length(1);
    assert_ne!(CODEC, LengthPrefix::default());
    let _: fn(&UnixStream, &mut [u8]) -> io::Result<usize> = Socket::read;
    let _: fn(&UnixStream, &[u8]) -> io::Result<usize> = Socket::write;
    let _: fn(&UnixStream) -> io::Result<()> = Socket::shut_down;
    let _: fn(&TcpStream) -> io::Result<()> = Socket::prepare;
}

#[test]
fn transports_have_settings() {
    let transport = transport().tags(1..2).try_recvs().on_hang_up(|| ()).on_orphan(drop);
    let mux = Mux::new(transport);
    assert!(mux.rpc(Body(Box::default())).is_ok());
    let _ = self::transport().send_batches().recv_batches().event_loop();
}

/// The result of a call may be matched without a wildcard; errors and counters may be added.
#[test]
fn results_can_be_taken_apart() {
    let mux = Mux::new(transport());
    assert!(mux.rpc(Body(Box::default())).is_ok());
    let Stats { calls, orphans, handovers, tag_waits, errors, max_outstanding, .. } = mux.stats();
    assert_eq!((calls, orphans, handovers, tag_waits, errors, max_outstanding), (1, 0, 0, 0, 0, 1));
    let range = TagRange { min: 1, max: 2 };
    match TagPool::default().allocate(range, 7) {
        Ok(tag) => assert_eq!(tag, 1),
        Err(NoTag::AllTaken | NoTag::EmptyRange | NoTag::NoMemory) => unreachable!(),
    }
    let mut call = mux.start(Body(Box::default())).expect("a call");
    call.cancel();
    match call.try_finish() {
        Poll::Ready(Err(error)) => match error {
            Error::Finished => {}
            Error::Ended(_) | Error::Send(_) => unreachable!(),
            Error::NoTag | Error::HungUp | Error::EmptyRange | Error::NoMemory => unreachable!(),
            Error::TimedOut | Error::NoReceiver | Error::Busy => unreachable!(),
            _ => unreachable!(),
        },
        Poll::Ready(Ok(_)) | Poll::Pending => unreachable!(),
    }
    let mut batch = Batch::default();
    assert_eq!(batch.push(1), Ok(()));
    batch.iter_mut().for_each(|message| *message += 1);
    assert_eq!(batch.iter().copied().collect::<Vec<u32>>(), [2]);
    const MESSAGE: Message<u8> = Message::tagged(7, 8);
    assert_eq!((MESSAGE.tag(), MESSAGE.body), (Some(7), 8));
    assert_eq!(Message::new(None, 8), Message::untagged(8));
}

#[test]
fn types_implement_their_traits() {
    fn value<T: Clone + Copy + Debug + PartialEq + Eq>() {}
    fn error<T: std::error::Error + Into<io::Error>>() {}
    fn any_thread<T: Send + Sync>() {}
    fn debug<T: Debug + Unpin>() {}
    fn default<T: Default>() {}
    fn cloned<T: Clone>() {}
    fn future<T: Future<Output = Result<Body, Error>>>() {}
    fn owned<T: Send + 'static>() {}

    type Out = FramedSender<LengthPrefix, Stream<UnixStream>>;
    type In = FramedReceiver<LengthPrefix, Stream<UnixStream>>;
    value::<Message<u8>>();
    value::<Stats>();
    value::<NoTag>();
    value::<TagRange>();
    value::<LengthPrefix>();
    value::<NineP>();
    default::<Stats>();
    default::<TagPool>();
    default::<LengthPrefix>();
    error::<Error>();
    any_thread::<Mux<Out, In>>();
    any_thread::<Client<Out, In>>();
    any_thread::<Call<'_, Out, In>>();
    any_thread::<Driver<'_, Out, In>>();
    any_thread::<Response<Out, In>>();
    any_thread::<Error>();
    owned::<Response<Out, In>>();
    cloned::<Shared>();
    future::<Response<Half, Half>>();
    future::<Call<'_, Half, Half>>();
    debug::<Batch<u8>>();
    debug::<Transport<Half, Half>>();
    debug::<Muxed>();
    debug::<Shared>();
    debug::<Call<'_, Half, Half>>();
    debug::<Response<Half, Half>>();
    debug::<Driver<'_, Half, Half>>();
    debug::<Out>();
    debug::<In>();
    debug::<Stream<UnixStream>>();
    cloned::<Stream<UnixStream>>();
}
