//! The Rust API of version 1.0.0, as a program outside the crate uses it. If a change breaks this file,
//! the change is incompatible, and Semantic Versioning requires a new major version.
//!
//! `tests/api.sh` checks that the file uses every public name. A new name is added here; what is here
//! stays as it is until the next major version.

use std::fmt::Debug;
use std::future::Future;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::Duration;

use mux::tags::{NoTag, QUARANTINE, TagPool, TagRange};
use mux::{BATCH, Batch, Call, Error, Finished, Mux, Polled, Receiver, Stats, Transport};

/// A transport with the required methods only. Its peer returns each request as the reply.
#[derive(Default)]
struct Small(std::sync::Mutex<Vec<u32>>);

impl Transport for Small {
    type Request = u32;
    type Reply = u32;
    type Failure = u8;
    type Watch = ();

    fn range(&self) -> Range<u32> {
        1..100
    }
    fn set_tag(&self, request: &mut u32, tag: u32) -> Result<(), u8> {
        *request = tag;
        Ok(())
    }
    fn tag(&self, reply: &u32) -> Option<u32> {
        Some(*reply)
    }
    fn send(&self, request: &mut u32) -> Result<(), u8> {
        self.0.lock().map_err(|_| 1)?.push(*request);
        Ok(())
    }
    fn recv(&self) -> Option<u32> {
        self.0.lock().ok()?.pop()
    }
}

/// A transport with all methods. The types of its messages are neither `Copy` nor `Default`.
struct Full;

struct Message(#[allow(dead_code, reason = "it only has a size")] Box<u8>);

impl Transport for Full {
    type Request = Message;
    type Reply = Message;
    type Failure = String;
    type Watch = ();

    fn range(&self) -> Range<u32> {
        0..1
    }
    fn set_tag(&self, _: &mut Message, _: u32) -> Result<(), String> {
        Ok(())
    }
    fn tag(&self, _: &Message) -> Option<u32> {
        None
    }
    fn send(&self, _: &mut Message) -> Result<(), String> {
        Ok(())
    }
    fn recv(&self) -> Option<Message> {
        None
    }
    fn can_send_many(&self) -> bool {
        true
    }
    fn send_many(&self, requests: &mut Batch<Message>) -> Result<NonZeroUsize, String> {
        NonZeroUsize::new(requests.len()).ok_or_else(String::new)
    }
    fn can_recv_many(&self) -> bool {
        true
    }
    fn recv_many(&self, _: &mut Batch<Message>) {}
    fn can_try(&self) -> bool {
        true
    }
    fn try_recv(&self) -> Polled<Message> {
        Polled::Nothing
    }
    fn orphan(&self, _: Message) {}
    fn arrived(&self, (): (), _: &Message) {}
}

type Failed = Error<String>;

#[test]
fn functions_have_their_types() {
    let _: fn(Full) -> Mux<Full> = Mux::new;
    let _: fn(&Mux<Full>) -> &Full = Mux::transport;
    let _: fn(&Mux<Full>, Message) -> Result<Message, Failed> = Mux::rpc;
    let _: fn(&Mux<Full>, Message, Duration) -> Result<Message, Failed> = Mux::rpc_timeout;
    let _: for<'a> fn(&'a Mux<Full>, Message) -> Result<Call<'a, Full>, Failed> = Mux::start;
    let _: fn(&Mux<Full>, Message) -> Result<(), Failed> = Mux::send_message;
    let _: fn(&Mux<Full>, bool) -> Result<Option<Message>, Failed> = Mux::receive_message;
    let _: for<'a> fn(&'a Mux<Full>) -> Option<Receiver<'a, Full>> = Mux::receiver;
    let _: fn(&Mux<Full>) = Mux::receive_proc;
    let _: fn(&Mux<Full>) = Mux::send_proc;
    let _: fn(&Mux<Full>) = Mux::hang_up;
    let _: fn(&Mux<Full>) -> Stats = Mux::stats;
    let _: fn(&Mux<Full>) -> usize = Mux::outstanding;
    let _: fn(&Mux<Full>) -> Result<i32, i32> = Mux::poll_fd;
    let _: fn(Receiver<'_, Full>) = |receiver| receiver.run();
    let _: fn(&mut Call<'_, Full>) -> Finished<Message, String> = |call| call.can_finish();
    let _: fn(&mut Call<'_, Full>) = |call| call.cancel();

    let _: fn() -> Batch<Message> = Batch::default;
    let _: fn(&Batch<Message>) -> usize = Batch::len;
    let _: fn(&Batch<Message>) -> bool = Batch::is_empty;
    let _: fn(&Batch<Message>) -> bool = Batch::is_full;
    let _: fn(&mut Batch<Message>, Message) -> Result<(), Message> = Batch::push;
    let _: usize = BATCH;

    let _: fn() -> TagPool = TagPool::new;
    let _: fn(&mut TagPool, TagRange, u32) -> Result<u32, NoTag> = TagPool::allocate;
    let _: fn(&TagPool, u32) -> Option<u32> = TagPool::owner;
    let _: fn(&mut TagPool, u32) = TagPool::free;
    let _: fn(&TagPool) -> usize = TagPool::allocated;
    let _: fn(TagRange) -> bool = TagRange::is_empty;
    let _: usize = QUARANTINE;
}

/// The result of a call may be matched without a wildcard; errors and counters may be added.
#[test]
fn results_can_be_taken_apart() {
    let mux = Mux::new(Small::default());
    assert_eq!(mux.rpc(0), Ok(1));
    let Stats { calls, orphans, handovers, tag_waits, errors, max_outstanding, .. } = mux.stats();
    assert_eq!((calls, orphans, handovers, tag_waits, errors, max_outstanding), (1, 0, 0, 0, 0, 1));
    let range = TagRange { min: 1, max: 2 };
    match TagPool::default().allocate(range, 7) {
        Ok(tag) => assert_eq!(tag, 1),
        Err(NoTag::AllTaken | NoTag::EmptyRange | NoTag::NoMemory) => unreachable!(),
    }
    match Full.try_recv() {
        Polled::Message(_) | Polled::Ended => unreachable!(),
        Polled::Nothing => {}
    }
    let mut call = mux.start(0).expect("a call");
    call.cancel();
    match call.can_finish() {
        Finished::Reply(_) | Finished::Pending => unreachable!(),
        Finished::Failed(error) => match error {
            Error::Ended => {}
            Error::Failed(_) | Error::NoClock(_) => unreachable!(),
            Error::NoTag | Error::HungUp | Error::EmptyRange | Error::NoMemory => unreachable!(),
            Error::TimedOut | Error::Stuck | Error::InUse | Error::Busy => unreachable!(),
            _ => unreachable!(),
        },
    }
    let mut batch = Batch::default();
    assert_eq!(batch.push(1), Ok(()));
    batch.iter_mut().for_each(|message| *message += 1);
    assert_eq!(batch.iter().copied().collect::<Vec<u32>>(), [2]);
}

#[test]
fn types_implement_their_traits() {
    fn value<T: Clone + Copy + Debug + PartialEq + Eq>() {}
    fn error<T: std::error::Error>() {}
    fn any_thread<T: Send + Sync>() {}
    fn debug<T: Debug + Unpin>(_: Option<&T>) {}
    fn default<T: Default>() {}
    fn output<F: Future>(_: F) -> Option<F::Output> {
        None
    }

    value::<Error<u8>>();
    value::<Polled<u8>>();
    value::<Stats>();
    value::<NoTag>();
    value::<TagRange>();
    default::<Stats>();
    default::<TagPool>();
    error::<Error<std::io::Error>>();
    any_thread::<Mux<Small>>();
    any_thread::<Call<'_, Small>>();
    any_thread::<Receiver<'_, Small>>();
    any_thread::<Error<u8>>();
    debug::<Batch<u8>>(None);
    debug::<Finished<u8, u8>>(None);
    assert_eq!(Finished::<u8, u8>::Reply(1), Finished::Reply(1));

    let mux = Mux::new(Small::default());
    debug(mux.receiver().as_ref());
    let call = mux.start(0).expect("a call");
    debug(Some(&call));
    let reply: Option<Result<u32, Error<u8>>> = output(call);
    assert!(reply.is_none());
}
