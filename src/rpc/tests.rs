//! Tests of the Rust API with a server in a thread that replies out of order.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use super::*;
use crate::core::tags::TagRange;

/// A message: its tag and a number.
type Message = (u32, u64);

struct Wire {
    range: TagRange,
    out: Mutex<Sender<Message>>,
    back: Mutex<Receiver<Message>>,
    orphans: Mutex<Vec<Message>>,
}

impl Wire {
    /// Returns a connection to a server that collects `k` requests, doubles their numbers and replies in
    /// reverse order.
    fn to_server(range: TagRange, k: usize) -> Wire {
        let (out, requests) = mpsc::channel::<Message>();
        let (replies, back) = mpsc::channel();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for (tag, n) in requests {
                held.push((tag, n * 2));
                if held.len() >= k {
                    for reply in held.drain(..).rev() {
                        let _ = replies.send(reply);
                    }
                }
            }
        });
        let (out, back) = (Mutex::new(out), Mutex::new(back));
        Wire { range, out, back, orphans: Mutex::default() }
    }
}

/// Implements all methods of a transport except `send` with those of the [`Wire`] that it contains.
macro_rules! as_the_wire {
    () => {
        type Request = Message;
        type Reply = Message;
        type Failure = &'static str;
        type Watch = ();

        fn range(&self) -> std::ops::Range<u32> {
            self.0.range()
        }

        fn set_tag(&self, request: &mut Message, tag: u32) -> Result<(), &'static str> {
            self.0.set_tag(request, tag)
        }

        fn tag(&self, reply: &Message) -> Option<u32> {
            self.0.tag(reply)
        }

        fn recv(&self) -> Option<Message> {
            self.0.recv()
        }
    };
}

impl Transport for Wire {
    type Request = Message;
    type Reply = Message;
    type Failure = &'static str;
    type Watch = ();

    fn range(&self) -> std::ops::Range<u32> {
        self.range.min..self.range.max
    }

    fn set_tag(&self, request: &mut Message, tag: u32) -> Result<(), &'static str> {
        if request.1 == 13 {
            return Err("unlucky");
        }
        request.0 = tag;
        Ok(())
    }

    fn tag(&self, reply: &Message) -> Option<u32> {
        Some(reply.0)
    }

    fn send(&self, request: Message) -> Result<(), &'static str> {
        if request.1 == 666 {
            return Err("not that");
        }
        self.out.try_lock().expect("one sender").send(request).map_err(|_| "gone")
    }

    fn recv(&self) -> Option<Message> {
        self.back.try_lock().expect("one receiver").recv().ok()
    }

    fn can_try(&self) -> bool {
        true
    }

    fn try_recv(&self) -> Polled<Message> {
        match self.back.try_lock().expect("one receiver").try_recv() {
            Ok(message) => Polled::Message(message),
            Err(mpsc::TryRecvError::Empty) => Polled::Nothing,
            Err(mpsc::TryRecvError::Disconnected) => Polled::Ended,
        }
    }

    fn orphan(&self, message: Message) {
        self.orphans.lock().unwrap().push(message);
    }
}

const WIDE: TagRange = TagRange { min: 0, max: 1000 };

fn many_callers(mux: &Mux<Wire>, threads: u64, calls: u64) {
    std::thread::scope(|scope| {
        for t in 0..threads {
            scope.spawn(move || {
                for i in 0..calls {
                    let n = 1_000_000 + t * calls + i;
                    assert_eq!(mux.rpc((0, n)).expect("a reply").1, n * 2);
                }
            });
        }
    });
    assert_eq!(mux.outstanding(), 0);
    assert_eq!(mux.stats().calls, threads * calls);
}

#[test]
fn dropping_the_locked_state_delivers_its_wake_ups() {
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake, Waker};

    struct IsWoken(AtomicBool);
    impl Wake for IsWoken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let mux = Mux::new(Wire::to_server(WIDE, 2));
    let woken = Arc::new(IsWoken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut call = pin!(mux.start((0, 1)).expect("a call"));
    assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut state = mux.lock();
    state.handle_disconnect();
    assert!(!woken.0.load(Ordering::Relaxed), "no wake-up is delivered under the lock");
    drop(state);
    assert!(woken.0.load(Ordering::Relaxed));
}

#[test]
fn each_of_many_threads_gets_its_own_reply() {
    many_callers(&Mux::new(Wire::to_server(WIDE, 1)), 16, 500);
}

#[test]
fn few_tags_serve_many_threads() {
    many_callers(&Mux::new(Wire::to_server(TagRange { min: 7, max: 8 }, 1)), 8, 200);
    many_callers(&Mux::new(Wire::to_server(TagRange { min: 7, max: 10 }, 1)), 16, 200);
}

#[test]
fn many_threads_get_their_replies_with_procs() {
    let mux = Arc::new(Mux::new(Wire::to_server(WIDE, 1)));
    let procs = [
        std::thread::spawn({
            let mux = mux.clone();
            move || mux.receive_proc()
        }),
        std::thread::spawn({
            let mux = mux.clone();
            move || mux.send_proc()
        }),
    ];
    many_callers(&mux, 16, 300);
    // The server disconnects, and both procs return.
    *mux.transport().out.lock().unwrap() = mpsc::channel().0;
    for proc in procs {
        proc.join().unwrap();
    }
    assert_eq!(mux.rpc((0, 1)), Err(Error::Failed("gone")));
}

#[test]
fn a_second_receiver_leaves_the_first_one_registered() {
    let mux = Mux::new(Wire::to_server(WIDE, 2));
    let receiver = mux.receiver().expect("the first receiver");
    assert!(mux.receiver().is_none());
    assert!(mux.receiver().is_none());
    drop(receiver);
    assert!(mux.receiver().is_some());
}

#[test]
fn one_thread_collects_many_started_calls() {
    let mux = Mux::new(Wire::to_server(WIDE, 5));
    let mut calls: Vec<_> = (0..5).map(|n| mux.start((0, n)).expect("a call")).collect();
    let mut replies = Vec::new();
    for call in &mut calls {
        replies.push(loop {
            match call.can_finish() {
                Finished::Reply(reply) => break reply.1,
                Finished::Pending => std::thread::yield_now(),
                Finished::Failed(error) => panic!("{error}"),
            }
        });
    }
    assert_eq!(replies, [0, 2, 4, 6, 8]);
    assert!(matches!(calls[0].can_finish(), Finished::Failed(Error::Ended)), "it is over");
}

#[test]
fn the_reply_to_a_dropped_call_is_an_orphan() {
    let mux = Mux::new(Wire::to_server(TagRange { min: 0, max: 2 }, 2));
    drop(mux.start((0, 100)).expect("a call"));
    assert_eq!(mux.rpc((0, 200)).expect("a reply").1, 400);
    assert_eq!(mux.transport().orphans.lock().unwrap().len(), 0, "it comes behind");
    let mut next = mux.start((0, 300)).expect("a call");
    while mux.transport().orphans.lock().unwrap().is_empty() {
        assert!(matches!(next.can_finish(), Finished::Pending));
        std::thread::yield_now();
    }
    assert_eq!(*mux.transport().orphans.lock().unwrap(), [(0, 200)]);
}

#[test]
fn a_failure_fails_only_its_call() {
    let mux = Mux::new(Wire::to_server(WIDE, 1));
    assert_eq!(mux.rpc((0, 666)), Err(Error::Failed("not that")));
    assert_eq!(mux.rpc((0, 13)), Err(Error::Failed("unlucky")));
    assert!(matches!(mux.start((0, 13)), Err(Error::Failed("unlucky"))));
    assert_eq!(mux.rpc((0, 4)).expect("a reply").1, 8);
    assert_eq!(mux.outstanding(), 0);
}

#[test]
fn start_fails_without_a_free_tag_or_a_range() {
    let mux = Mux::new(Wire::to_server(TagRange { min: 0, max: 1 }, 2));
    let _held = mux.start((0, 1)).expect("a call");
    assert!(matches!(mux.start((0, 2)), Err(Error::NoTag)));
    let empty = Mux::new(Wire::to_server(TagRange { min: 3, max: 3 }, 1));
    assert_eq!(empty.rpc((0, 1)), Err(Error::EmptyRange));
}

#[test]
fn a_message_by_hand_is_sent_and_received() {
    let mux = Mux::new(Wire::to_server(WIDE, 1));
    assert_eq!(mux.receive_message(false), Ok(None));
    mux.send_message((777, 5)).expect("sent");
    assert_eq!(mux.receive_message(true), Ok(Some((777, 10))));
    assert_eq!(mux.send_message((0, 666)), Err(Error::Failed("not that")));
}

#[test]
fn one_thread_awaits_many_futures() {
    use futures::executor::block_on;
    use futures::future::join_all;

    let mux = Arc::new(Mux::new(Wire::to_server(WIDE, 1)));
    let receiver = {
        let mux = mux.clone();
        std::thread::spawn(move || mux.receive_proc())
    };
    for round in 0..20 {
        let calls = (0..200).map(|n| mux.start((0, round * 1000 + n + 20_000)).expect("a call"));
        let calls: Vec<_> = calls.collect();
        for (n, reply) in block_on(join_all(calls)).into_iter().enumerate() {
            assert_eq!(reply.expect("a reply").1, 2 * (round * 1000 + n as u64 + 20_000));
        }
    }
    assert_eq!(mux.outstanding(), 0);
    *mux.transport().out.lock().unwrap() = mpsc::channel().0;
    receiver.join().unwrap();
}

/// A task whose messages another caller receives is woken when that caller stops receiving.
#[test]
fn a_future_is_woken_when_its_receiver_leaves() {
    use futures::executor::block_on;

    struct Blind(Wire);
    impl Transport for Blind {
        as_the_wire!();

        fn send(&self, request: Message) -> Result<(), &'static str> {
            // This request never reaches the server.
            if request.1 == 777 { Ok(()) } else { self.0.send(request) }
        }
    }

    let mux = Mux::new(Blind(Wire::to_server(WIDE, 2)));
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| mux.rpc((0, 1)));
        // The server replies after the next request; until then the thread receives.
        while mux.stats().calls < 1 || mux.inspect(|machine| machine.is_role_unassigned()) {
            std::thread::yield_now();
        }
        let lost = mux.start((0, 777)).expect("a call");
        let task = scope.spawn(|| block_on(lost));
        while !mux.inspect(|machine| machine.has_future_waiters()) {
            std::thread::yield_now();
        }
        mux.start((0, 2)).map(drop).expect("a call");
        assert_eq!(caller.join().unwrap().unwrap().1, 2);
        assert_eq!(task.join().unwrap(), Err(Error::Stuck));
    });
}

#[test]
fn a_dropped_future_leaves_nothing_behind() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    let mux = Mux::new(Wire::to_server(WIDE, 2));
    {
        let mut call = pin!(mux.start((0, 1)).expect("a call"));
        let mut context = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(mux.outstanding(), 1, "the tag is held");
    mux.start((0, 2)).map(drop).expect("a call");
    assert_eq!(mux.rpc_timeout((0, 3), std::time::Duration::ZERO), Err(Error::TimedOut));
    assert_eq!(mux.wakers.take(0).map(drop), None);
}

#[test]
fn a_call_past_its_deadline_is_abandoned() {
    let mux = Mux::new(Wire::to_server(WIDE, 3));
    let short = std::time::Duration::from_millis(10);
    let long = std::time::Duration::from_secs(600);
    for n in 1..3 {
        // On a slow machine a call may time out before its request is sent, so this is repeated.
        while mux.outstanding() < n {
            assert_eq!(mux.rpc_timeout((0, n as u64), short), Err(Error::TimedOut));
        }
    }
    assert_eq!(mux.rpc_timeout((0, 3), long).expect("a reply").1, 6);
    // The late replies follow it, and a poll of another call receives them.
    let mut call = mux.start((0, 4)).expect("a call");
    while mux.outstanding() > 1 {
        assert_eq!(call.can_finish(), Finished::Pending);
    }
    assert_eq!(mux.transport().orphans.lock().unwrap().len(), 2);
}

#[test]
fn a_tag_is_reused_before_its_orphan_has_been_handled() {
    let (out, requests) = mpsc::channel();
    let (replies, back) = mpsc::channel();
    let (out, back) = (Mutex::new(out), Mutex::new(back));
    let range = TagRange { min: 0, max: 2 };
    let mux = Mux::new(Wire { range, out, back, orphans: Mutex::default() });
    drop(mux.start((0, 100)).expect("a call"));
    assert_eq!(requests.recv(), Ok((0, 100)));
    std::thread::scope(|scope| {
        let receives = scope.spawn(|| mux.rpc((0, 200)));
        assert_eq!(requests.recv(), Ok((1, 200)));
        let waits = scope.spawn(|| mux.rpc((0, 300)));
        while mux.stats().tag_waits == 0 {
            std::thread::yield_now();
        }
        let busy = mux.transport().orphans.lock().unwrap();
        replies.send((0, 101)).unwrap();
        let next = requests.recv_timeout(std::time::Duration::from_secs(20));
        drop(busy);
        for reply in [(1, 201), (0, 301)] {
            replies.send(reply).unwrap();
        }
        assert_eq!(receives.join().unwrap(), Ok((1, 201)));
        assert_eq!(waits.join().unwrap(), Ok((0, 301)));
        assert_eq!(next, Ok((0, 300)), "it has the tag");
    });
}

/// A transport that accepts batches and uses the default implementations for them.
struct Several(Wire);

impl Transport for Several {
    as_the_wire!();

    fn send(&self, request: Message) -> Result<(), &'static str> {
        self.0.send(request)
    }

    fn can_send_many(&self) -> bool {
        true
    }

    fn can_recv_many(&self) -> bool {
        true
    }
}

#[test]
fn the_default_batch_functions_process_one_message_at_a_time() {
    let mux = Mux::new(Several(Wire::to_server(WIDE, 1)));
    std::thread::scope(|scope| {
        for t in 0..8 {
            let mux = &mux;
            scope.spawn(move || {
                for i in 0..100 {
                    let n = 1000 + t * 100 + i;
                    assert_eq!(mux.rpc((0, n)).expect("a reply").1, n * 2);
                }
            });
        }
    });
    assert_eq!(mux.rpc((0, 666)), Err(Error::Failed("not that")));
    let mut call = mux.start((0, 5)).expect("sent");
    assert_eq!(call.can_finish(), Finished::Failed(Error::Stuck), "it can not look");
}

#[test]
fn a_full_batch_rejects_messages() {
    let mut batch = Batch::new();
    for n in 0..BATCH {
        assert!(!batch.is_full());
        batch.push(n).expect("room");
    }
    assert!(batch.is_full());
    assert_eq!(batch.push(BATCH), Err(BATCH));
    batch.iter_mut().for_each(|n| *n += 1);
    assert_eq!(batch.drain().sum::<usize>(), BATCH * (BATCH + 1) / 2);
}

#[test]
fn callers_receive_if_a_receiver_never_runs() {
    let mux = Mux::new(Wire::to_server(WIDE, 1));
    let receiver = mux.receiver().expect("none is there yet");
    assert!(mux.receiver().is_none());
    assert_eq!(format!("{receiver:?}"), "Receiver { .. }");
    drop(receiver);
    let call = mux.start((0, 3)).expect("sent");
    assert_eq!(format!("{call:?}"), "Call { is_over: false, .. }");
    drop(call);
    assert_eq!(mux.rpc((0, 4)).expect("a reply").1, 8);
}

type Tagging = Box<dyn FnOnce(u32) + Send>;

/// A connection whose server is the test. If `tagging` is set, the next `set_tag` runs it and then fails.
struct Played {
    sent: Mutex<Sender<Message>>,
    back: Mutex<Receiver<Message>>,
    tagging: Mutex<Option<Tagging>>,
    orphans: Mutex<Vec<Message>>,
}

impl Transport for Played {
    type Request = Message;
    type Reply = Message;
    type Failure = &'static str;
    type Watch = ();

    fn range(&self) -> std::ops::Range<u32> {
        0..100
    }

    fn set_tag(&self, request: &mut Message, tag: u32) -> Result<(), &'static str> {
        request.0 = tag;
        let tagging = self.tagging.lock().unwrap().take();
        tagging.map_or(Ok(()), |tagging| {
            tagging(tag);
            Err("no tag")
        })
    }

    fn tag(&self, reply: &Message) -> Option<u32> {
        Some(reply.0)
    }

    fn send(&self, request: Message) -> Result<(), &'static str> {
        self.sent.lock().unwrap().send(request).map_err(|_| "gone")
    }

    fn recv(&self) -> Option<Message> {
        self.back.lock().unwrap().recv().ok()
    }

    fn orphan(&self, message: Message) {
        self.orphans.lock().unwrap().push(message);
    }
}

#[test]
fn a_reply_before_its_request_can_be_an_orphan() {
    let (sent, requests) = mpsc::channel();
    let (replies, back) = mpsc::channel();
    let mux = Mux::new(Played {
        sent: Mutex::new(sent),
        back: Mutex::new(back),
        tagging: Mutex::new(None),
        orphans: Mutex::default(),
    });
    std::thread::scope(|scope| {
        let (over, is_over) = mpsc::channel();
        let mux = &mux;
        scope.spawn(move || {
            assert_eq!(mux.rpc((0, 1)), Ok((0, 2)));
            over.send(()).unwrap();
        });
        let (first, _) = requests.recv().unwrap();
        assert_eq!(first, 0);
        *mux.transport().tagging.lock().unwrap() = Some(Box::new(move |tag| {
            replies.send((tag, 9)).unwrap();
            replies.send((first, 2)).unwrap();
            is_over.recv().unwrap();
        }));
        assert_eq!(mux.rpc((0, 3)), Err(Error::Failed("no tag")));
    });
    assert_eq!(*mux.transport().orphans.lock().unwrap(), [(1, 9)]);
    assert_eq!(mux.outstanding(), 0);
}
