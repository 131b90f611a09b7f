//! Tests of the Rust interface with a server that is a closure.

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use futures::future::join_all;

use super::*;
use crate::Batch;

/// What the receiver returns next.
type Event = io::Result<Option<Message<u64>>>;

/// Passes each request to the server, which may reply by the channel.
struct Out(Box<dyn FnMut(Message<u64>) -> io::Result<()> + Send>);

struct In(mpsc::Receiver<Event>);

impl Sender for Out {
    type Request = u64;

    fn tags(&self) -> Range<u32> {
        0..100
    }

    fn send(&mut self, request: Message<u64>) -> io::Result<()> {
        (self.0)(request)
    }
}

impl Receiver for In {
    type Reply = u64;

    fn recv(&mut self) -> Event {
        self.0.recv().unwrap_or(Ok(None))
    }
}

impl TryRecv for In {
    fn try_recv(&mut self) -> Poll<Event> {
        match self.0.try_recv() {
            Ok(event) => Poll::Ready(event),
            Err(mpsc::TryRecvError::Empty) => Poll::Pending,
            Err(mpsc::TryRecvError::Disconnected) => Poll::Ready(Ok(None)),
        }
    }
}

impl RecvBatch for In {
    fn recv_batch(&mut self, replies: &mut Batch<Message<u64>>) -> io::Result<()> {
        let Some(first) = self.recv()? else { return Ok(()) };
        replies.push(first).unwrap();
        while !replies.is_full() {
            match self.try_recv() {
                Poll::Ready(event) => drop(replies.push(event?.unwrap())),
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}

/// Returns a transport to a server that handles each request as `serve` does, and a channel by which the test
/// makes the receiver return something. Hanging up ends the receiver.
fn served(
    mut serve: impl FnMut(Message<u64>, &mpsc::Sender<Event>) -> io::Result<()> + Send + 'static,
) -> (Transport<Out, In>, mpsc::Sender<Event>) {
    let (events, received) = mpsc::channel();
    let (to_server, to_close) = (events.clone(), events.clone());
    let out = Out(Box::new(move |request| serve(request, &to_server)));
    let transport = Transport::new(out, In(received));
    (transport.on_hang_up(move || drop(to_close.send(Ok(None)))), events)
}

/// A server that doubles each number; it does not reply to an odd number.
fn doubling() -> (Transport<Out, In>, mpsc::Sender<Event>) {
    served(|request, replies| {
        if request.body % 2 == 0 {
            let reply = Message::new(request.tag(), request.body * 2);
            replies.send(Ok(Some(reply))).map_err(io::Error::other)?;
        }
        Ok(())
    })
}

/// Counts how often a task is woken.
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counting_waker() -> (Arc<Woken>, Waker) {
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    (woken.clone(), Waker::from(woken))
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the cable was cut")
}

#[track_caller]
fn assert_cut<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Ended(Some(_))), "{error:?}");
    assert_eq!(error.source().unwrap().to_string(), "the cable was cut");
    let error = io::Error::from(error);
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn every_caller_receives_the_error_that_ended_the_connection() {
    let (transport, events) = doubling();
    let client = Client::spawn(transport).unwrap();
    let callers: Vec<_> = (0..4)
        .map(|n| {
            let client = client.clone();
            thread::spawn(move || client.rpc(2 * n + 1))
        })
        .collect();
    let mut started = client.start(1).unwrap();
    while client.outstanding() < 5 {
        thread::yield_now();
    }
    events.send(Err(reset())).unwrap();
    for caller in callers {
        assert_cut(caller.join().unwrap());
    }
    assert_cut(block_on(&mut started));
    assert!(matches!(block_on(started), Err(Error::Finished)));
    // Later calls fail in the same way, and nothing is sent or received any more.
    assert_cut(client.rpc(2));
    assert_cut(client.start(2).map(drop));
    assert_cut(block_on(client.call(2)));
    assert_cut(client.send_message(2));
    assert_cut(client.recv_message());
    assert_cut(client.try_recv_message());
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn a_proper_end_has_no_cause() {
    let (transport, events) = doubling();
    let mux = Mux::new(transport);
    thread::scope(|scope| {
        let driver = mux.driver().unwrap();
        assert!(mux.driver().is_none());
        let driver = scope.spawn(|| driver.run());
        let call = mux.start(1).unwrap();
        events.send(Ok(None)).unwrap();
        let error = block_on(call).unwrap_err();
        assert!(matches!(error, Error::Ended(None)), "{error:?}");
        driver.join().unwrap().unwrap();
    });
    assert!(matches!(mux.rpc(2), Err(Error::Ended(None))));
}

#[test]
fn the_driver_returns_the_cause() {
    let (transport, events) = doubling();
    let mux = Mux::new(transport);
    let driver = mux.driver().unwrap();
    events.send(Err(reset())).unwrap();
    assert_cut(driver.run());
}

#[test]
fn a_batch_is_delivered_before_the_error_behind_it() {
    let (transport, events) = doubling();
    let mux = Mux::new(transport.recv_batches());
    let call = mux.start(2).unwrap();
    events.send(Err(reset())).unwrap();
    thread::scope(|scope| {
        let driver = mux.driver().unwrap();
        let driver = scope.spawn(|| driver.run());
        assert_eq!(block_on(call).unwrap(), 4);
        assert_cut(driver.join().unwrap());
    });
}

#[test]
fn a_failed_send_fails_its_call_alone() {
    let (transport, _events) = served(|request, replies| {
        if request.body == 13 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "unlucky"));
        }
        replies.send(Ok(Some(request))).map_err(io::Error::other)
    });
    let mux = Mux::new(transport);
    let error = mux.rpc(13).unwrap_err();
    assert!(matches!(error, Error::Send(_)), "{error:?}");
    assert_eq!(error.source().unwrap().to_string(), "unlucky");
    assert_eq!(mux.rpc(14).unwrap(), 14);
    assert_eq!(mux.outstanding(), 0);
}

#[test]
fn hanging_up_fails_outstanding_and_later_calls() {
    let (transport, _events) = doubling();
    let client = Client::spawn(transport).unwrap();
    let call = client.start(1).unwrap();
    client.hang_up();
    assert!(matches!(block_on(call), Err(Error::HungUp)));
    assert!(matches!(client.rpc(2), Err(Error::HungUp)));
    assert!(matches!(block_on(client.call(2)), Err(Error::HungUp)));
}

#[test]
fn a_panic_of_the_transport_releases_all_callers() {
    let (transport, _events) = served(|request, _| match request.body {
        13 => panic!("this panic is a part of the test"),
        _ => Ok(()),
    });
    let client = Client::spawn(transport).unwrap();
    let waiting = thread::spawn({
        let client = client.clone();
        move || client.rpc(1)
    });
    while client.outstanding() < 1 {
        thread::yield_now();
    }
    let panicking = client.clone();
    assert!(thread::spawn(move || panicking.rpc(13)).join().is_err());
    for result in [waiting.join().unwrap(), client.rpc(2)] {
        let error = result.unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "the transport has panicked");
    }
}

/// A receiver that panics, and counts how often it is called.
struct Panicking(Arc<AtomicUsize>);

impl Receiver for Panicking {
    type Reply = u64;

    fn recv(&mut self) -> Event {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("this panic is a part of the test")
    }
}

impl TryRecv for Panicking {
    fn try_recv(&mut self) -> Poll<Event> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Poll::Pending
    }
}

/// Polls the connection when a task is woken.
struct PollsWhenWoken(Client<Out, Panicking>);

impl Wake for PollsWhenWoken {
    fn wake(self: Arc<Self>) {
        let _ = self.0.deliver_available();
    }
}

#[test]
fn a_receiver_that_has_panicked_is_not_called_again() {
    let received = Arc::new(AtomicUsize::new(0));
    let (transport, _events) = doubling();
    let halves = Transport::new(transport.sender, Panicking(received.clone()));
    let client = Client::new(halves.try_recvs());
    let driver = client.driver().unwrap();
    let mut call = client.call(1);
    let waker = Waker::from(Arc::new(PollsWhenWoken(client.clone())));
    assert!(Pin::new(&mut call).poll(&mut Context::from_waker(&waker)).is_pending());
    thread::scope(|scope| assert!(scope.spawn(|| driver.run()).join().is_err()));
    assert_eq!(received.load(Ordering::SeqCst), 1);
    assert!(matches!(block_on(call), Err(Error::Ended(Some(_)))));
}

#[test]
fn a_receiver_is_not_called_after_the_end() {
    let (transport, events) = doubling();
    let mux = Mux::new(transport);
    events.send(Err(reset())).unwrap();
    assert_cut(mux.recv_message());
    // The connection may end after a caller has checked that, and before it has the receiver role.
    events.send(Ok(Some(Message::untagged(1)))).unwrap();
    assert!(matches!(mux.inner().receive_message(true), Err(crate::rpc::Error::Ended)));
    assert_cut(mux.recv_message());
}

#[test]
fn many_tasks_of_one_thread_share_a_client() {
    let (transport, _events) = doubling();
    let client = Client::spawn(transport).unwrap();
    let calls = (0..500).map(|n| client.call(2 * n));
    for (n, reply) in block_on(join_all(calls)).into_iter().enumerate() {
        assert_eq!(reply.unwrap(), 4 * n as u64);
    }
    // There are 100 tags.
    assert!(client.stats().max_outstanding <= 100);
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn a_future_owns_its_connection() {
    let (transport, _events) = doubling();
    let call = Client::spawn(transport).unwrap().call(2);
    assert_eq!(thread::spawn(move || block_on(call)).join().unwrap().unwrap(), 4);
}

/// A sender that says when it is dropped.
struct Dropped(Out, mpsc::Sender<()>);

impl Sender for Dropped {
    type Request = u64;

    fn tags(&self) -> Range<u32> {
        self.0.tags()
    }
    fn send(&mut self, request: Message<u64>) -> io::Result<()> {
        self.0.send(request)
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.1.send(());
    }
}

#[test]
fn the_last_client_ends_the_receiving_thread() {
    let (transport, events) = doubling();
    let (dropped, is_dropped) = mpsc::channel();
    let halves = Transport::new(Dropped(transport.sender, dropped), transport.receiver);
    let end = events.clone();
    let client = Client::spawn(halves.on_hang_up(move || drop(end.send(Ok(None))))).unwrap();
    let call = client.call(1);
    drop(client.clone());
    drop(client);
    assert!(is_dropped.try_recv().is_err(), "the call keeps the connection");
    drop(call);
    is_dropped.recv_timeout(Duration::from_secs(60)).unwrap();
}

#[test]
fn a_dropped_future_abandons_its_call() {
    let orphans = Arc::new(Mutex::new(Vec::new()));
    let (transport, events) = doubling();
    let kept = orphans.clone();
    let transport = transport.on_orphan(move |message| kept.lock().unwrap().push(message));
    let client = Client::new(transport.event_loop());
    let mut context = Context::from_waker(Waker::noop());
    // It is never sent.
    drop(client.call(1));
    assert_eq!(client.outstanding(), 0);

    let mut call = client.call(3);
    assert!(Pin::new(&mut call).poll(&mut context).is_pending());
    let tag = call.tag().unwrap();
    drop(call);
    assert_eq!(client.outstanding(), 1);
    events.send(Ok(Some(Message::tagged(tag, 7)))).unwrap();
    client.deliver_available().unwrap();
    assert_eq!(client.outstanding(), 0);
    assert_eq!(*orphans.lock().unwrap(), [Message::tagged(tag, 7)]);
}

#[test]
fn a_task_waits_for_a_tag() {
    let (transport, events) = doubling();
    let client = Client::new(transport.tags(5..6).event_loop());
    let held = client.start(1).unwrap();
    let (woken, waker) = counting_waker();
    let mut context = Context::from_waker(&waker);
    let mut dropped = client.call(2);
    let mut waiting = pin!(client.call(4));
    assert!(Pin::new(&mut dropped).poll(&mut context).is_pending());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert!(matches!(client.start(6), Err(Error::NoTag)));
    let before = woken.0.load(Ordering::SeqCst);

    // The tag of an abandoned call becomes free when the reply arrives.
    drop(held);
    assert!(waiting.as_mut().poll(&mut context).is_pending(), "it is polled without a reason");
    assert!(Pin::new(&mut dropped).poll(&mut context).is_pending());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    let before = woken.0.load(Ordering::SeqCst).max(before);
    events.send(Ok(Some(Message::tagged(5, 0)))).unwrap();
    client.deliver_available().unwrap();
    assert!(woken.0.load(Ordering::SeqCst) > before, "the first task is woken");
    let before = woken.0.load(Ordering::SeqCst);
    drop(dropped);
    assert!(woken.0.load(Ordering::SeqCst) > before, "the next task is woken in its place");
    assert!(matches!(waiting.as_mut().poll(&mut context), Poll::Ready(Ok(8))));
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn a_task_keeps_its_place_among_those_that_wait_for_a_tag() {
    let (transport, events) = doubling();
    let client = Client::new(transport.tags(5..6).event_loop());
    let _held = client.start(1).unwrap();
    let ((first_woken, first), (second_woken, second)) = (counting_waker(), counting_waker());
    let (mut one, mut two) = (client.call(3), client.call(3));
    for _ in 0..2 {
        assert!(Pin::new(&mut one).poll(&mut Context::from_waker(&first)).is_pending());
        assert!(Pin::new(&mut two).poll(&mut Context::from_waker(&second)).is_pending());
    }
    assert!(Pin::new(&mut one).poll(&mut Context::from_waker(&first)).is_pending());
    let woken = || [&first_woken, &second_woken].map(|woken| woken.0.load(Ordering::SeqCst));
    assert_eq!(woken(), [0, 0]);
    events.send(Ok(Some(Message::tagged(5, 0)))).unwrap();
    client.deliver_available().unwrap();
    assert_eq!(woken(), [1, 0], "the first task is woken, once");

    // Another caller is faster. The first task still has its place when the tag is free again.
    let _faster = client.start(1).unwrap();
    assert!(Pin::new(&mut one).poll(&mut Context::from_waker(&first)).is_pending());
    events.send(Ok(Some(Message::tagged(5, 0)))).unwrap();
    client.deliver_available().unwrap();
    assert_eq!(woken(), [2, 0]);
}

#[test]
fn a_reply_that_is_not_collected_wakes_a_task_that_waits_for_a_tag() {
    let (transport, events) = doubling();
    let client = Client::spawn(transport.tags(5..7)).unwrap();
    let _held = [client.start(1).unwrap(), client.start(1).unwrap()];
    let (woken, waker) = counting_waker();
    let mut waiting = client.call(3);
    let context = &mut Context::from_waker(&waker);
    assert!(Pin::new(&mut waiting).poll(context).is_pending());
    // The receiver has handled the first reply when it receives the second one.
    for tag in [5, 6] {
        events.send(Ok(Some(Message::tagged(tag, 0)))).unwrap();
    }
    while client.outstanding() > 0 {
        thread::yield_now();
    }
    assert!(woken.0.load(Ordering::SeqCst) > 0);
    assert!(Pin::new(&mut waiting).poll(context).is_pending());
    assert!(waiting.tag().is_some());
}

#[test]
fn a_task_that_is_woken_twice_wakes_the_next_one() {
    let queue = tag_wait::TagWait::new();
    let ((_, first), (next_woken, next)) = (counting_waker(), counting_waker());
    let [mut place, mut next_place] = [None, None];
    for (place, waker) in [(&mut place, &first), (&mut next_place, &next)] {
        assert!(queue.begin(place, waker, || Err::<(), _>(Error::NoTag)).is_err());
    }
    // A tag becomes free during each attempt of the first task, which uses one of them.
    let mut attempts = [Err(Error::NoTag), Ok(())].into_iter();
    let attempt = || {
        queue.wake_one();
        attempts.next().unwrap()
    };
    queue.begin(&mut place, &first, attempt).unwrap();
    assert_eq!(next_woken.0.load(Ordering::SeqCst), 1);
}

#[test]
fn a_task_that_nothing_receives_for_fails() {
    let (transport, events) = doubling();
    let client = Client::new(transport.tags(0..2).try_recvs());
    // The request is sent, and its tag is in use.
    assert!(matches!(block_on(client.call(1)), Err(Error::NoReceiver)));
    let receiving = thread::spawn({
        let client = client.clone();
        move || client.rpc(1)
    });
    while client.outstanding() < 2 || !client.inner().has_receiver() {
        thread::yield_now();
    }
    // A thread receives for tasks, until it has its reply.
    let waiting: Vec<_> = (0..3).map(|_| client.call(1)).collect();
    let waiting = thread::spawn(|| block_on(join_all(waiting)));
    while client.halves().tag_wait.waiting() < 3 {
        thread::yield_now();
    }
    events.send(Ok(Some(Message::tagged(1, 7)))).unwrap();
    assert_eq!(receiving.join().unwrap().unwrap(), 7);
    for result in waiting.join().unwrap() {
        assert!(matches!(result, Err(Error::NoReceiver)), "{result:?}");
    }
}

#[test]
fn tasks_that_wait_for_a_tag_fail_with_the_connection() {
    let (transport, events) = doubling();
    let client = Client::spawn(transport.tags(0..1)).unwrap();
    let held = client.start(1).unwrap();
    let waiting = thread::spawn({
        let call = client.call(2);
        move || block_on(call)
    });
    while client.halves().tag_wait.waiting() == 0 {
        thread::yield_now();
    }
    events.send(Err(reset())).unwrap();
    assert_cut(waiting.join().unwrap());
    assert_cut(block_on(held));
}

#[test]
fn a_call_without_a_receiver_fails() {
    let (transport, _events) = doubling();
    let mux = Mux::new(transport);
    assert!(matches!(mux.deliver_available(), Err(Error::NoReceiver)));
    assert!(matches!(mux.try_recv_message(), Err(Error::NoReceiver)));
    let mut call = mux.start(2).unwrap();
    assert!(matches!(call.try_finish(), Poll::Ready(Err(Error::NoReceiver))));
}

#[test]
fn messages_by_hand_have_no_tag() {
    let (transport, _events) = served(|request, replies| {
        assert_eq!(request.tag(), None);
        replies.send(Ok(Some(request))).map_err(io::Error::other)
    });
    let mux = Mux::new(transport.try_recvs());
    assert!(mux.try_recv_message().unwrap().is_none());
    mux.send_message(5).unwrap();
    assert_eq!(mux.recv_message().unwrap(), Message::untagged(5));
}

#[test]
fn the_poll_descriptor_is_readable_while_a_call_can_finish() {
    let (transport, _events) = doubling();
    let client = Client::spawn(transport).unwrap();
    let fd = client.poll_fd().unwrap();
    let mut call = client.start(2).unwrap();
    while !crate::framed::is_readable(fd).unwrap() {
        thread::yield_now();
    }
    assert!(matches!(call.try_finish(), Poll::Ready(Ok(4))));
    assert!(!crate::framed::is_readable(fd).unwrap());
}
