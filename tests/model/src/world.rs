//! Callers on one connection, their jobs, and the results that they may receive.

use std::sync::Arc;

use crate::checker::CheckedSched;
use crate::clock::{self, Timer};
use crate::message::{Fate, Frame, Reply, Request};
use crate::prim::{self, thread};
use crate::rpc::{Call, Error, Finished, Mux};
use crate::sched::clock::NEVER;
use crate::wire::{Plan, Unsent, Wire};

type Answer = Result<Reply, Error<Unsent>>;

/// One connection and its Mux.
pub struct World {
    pub mux: Mux<Wire, CheckedSched>,
}

/// Threads to join at the end of the run.
pub type Threads = Vec<thread::JoinHandle<()>>;

impl World {
    pub fn new(plan: Plan) -> Arc<World> {
        Arc::new(World { mux: Mux::with_sched(Wire::new(plan), CheckedSched) })
    }

    fn wire(&self) -> &Wire {
        self.mux.transport()
    }

    /// Starts a thread that runs `what`.
    pub fn go(
        self: &Arc<World>,
        what: impl FnOnce(&World) + Send + 'static,
    ) -> thread::JoinHandle<()> {
        let world = self.clone();
        thread::spawn(move || what(&world))
    }

    /// Starts both procs as muxprocs does: they are claimed before they run.
    pub fn procs(self: &Arc<World>) -> Threads {
        let mut threads = self.send_proc();
        if self.mux.claim_receive_proc() {
            threads.push(self.go(|world| world.mux.run_receive_proc()));
        }
        threads
    }

    /// Starts only the send proc.
    pub fn send_proc(self: &Arc<World>) -> Threads {
        let mut threads = Vec::new();
        if self.mux.claim_send_proc() {
            threads.push(self.go(|world| world.mux.run_send_proc()));
        }
        threads
    }

    /// Starts the thread of the clock.
    pub fn clock(&self) -> thread::JoinHandle<()> {
        thread::spawn(clock::run)
    }

    fn returned(&self, frame: &Frame) {
        frame.is_back();
        self.wire().ledger.is_back(frame.number);
    }

    /// Makes a blocking call.
    pub fn rpc(&self, number: usize, fate: Fate) {
        let frame = Frame::new(number, fate, false);
        say!("call {number} begins: {fate:?}");
        let answer = self.mux.rpc(Request(frame.clone()));
        self.returned(&frame);
        self.judge(&frame, answer);
    }

    /// Makes a blocking call with a deadline.
    pub fn rpc_deadline(&self, number: usize, fate: Fate, deadline: u64) {
        let frame = Frame::new(number, fate, true);
        say!("call {number} begins: {fate:?}, until {deadline}");
        // So that the deadline can pass while the caller is awake.
        clock::set(Timer { deadline, waiter: None });
        let answer = self.mux.rpc_deadline(Request(frame.clone()), deadline);
        self.returned(&frame);
        if matches!(answer, Err(Error::TimedOut)) {
            assert!(clock::now() >= deadline, "a call times out before its deadline");
        }
        self.judge(&frame, answer);
    }

    /// Sends a message that belongs to no call.
    pub fn message(&self, number: usize) {
        let frame = Frame::new(number, Fate::Message, false);
        say!("message {number}");
        let answer = self.mux.send_message(Request(frame.clone()));
        self.returned(&frame);
        let closing = self.wire().ledger.of(|book| book.closing);
        assert!(answer.is_ok() || closing, "a message is not sent: {answer:?}");
    }

    /// Starts a non-blocking call. Returns `None` if there is no tag for it or if it fails.
    pub fn start(&self, number: usize, fate: Fate) -> Option<Started<'_>> {
        let frame = Frame::new(number, fate, false);
        say!("call {number} begins, and is not waited for: {fate:?}");
        let started = self.mux.start(Request(frame.clone()));
        self.returned(&frame);
        match started {
            Ok(call) => Some(Started { world: self, frame, call }),
            Err(Error::NoTag) => {
                say!("call {number}: no tag");
                None
            }
            Err(error) => {
                self.judge(&frame, Err(error));
                None
            }
        }
    }

    /// Checks that the result is possible for this call.
    fn judge(&self, frame: &Frame, answer: Answer) {
        let number = frame.number;
        let (closing, hung_up) = self.wire().ledger.of(|book| (book.closing, book.hung_up));
        match answer {
            Ok(reply) => {
                let to = reply.settle();
                say!("call {number} has its reply");
                assert_eq!(number, to, "a call has got the reply of another");
                assert!(
                    matches!(frame.fate, Fate::Replied | Fate::Behind | Fate::Torn),
                    "and it was not sent"
                );
            }
            Err(error) => {
                say!("call {number}: {error:?}");
                let may = match error {
                    Error::Failed(Unsent) => {
                        closing
                            || matches!(
                                frame.fate,
                                Fate::Untaggable | Fate::Unsendable | Fate::Torn
                            )
                    }
                    Error::Ended => closing,
                    Error::HungUp => hung_up,
                    Error::TimedOut => frame.timed,
                    Error::NoTag => self.wire().plan.gives_up,
                    _ => false,
                };
                assert!(may, "call {number} ({:?}) ends for no reason: {error:?}", frame.fate);
            }
        }
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.wire().ledger.of(|book| book.closing = true);
        say!("the server closes");
        self.wire().close();
    }

    /// Hangs up, as the program does.
    pub fn hang_up(&self) {
        self.wire().ledger.of(|book| {
            book.closing = true;
            book.hung_up = true;
        });
        say!("the program hangs up");
        self.mux.hang_up();
        self.wire().close();
    }

    /// Releases the Mux, as the program does. Other callers may still be inside the library.
    pub fn shut_down(&self) {
        self.wire().ledger.of(|book| {
            book.closing = true;
            book.hung_up = true;
        });
        say!("the program releases the Mux");
        // A caller in `recv` returns when the connection ends.
        self.wire().close();
        let retired = self.mux.shut_down(NEVER, |()| {});
        assert!(retired.is_ok(), "{retired:?}");
        self.wire().ledger.of(|book| book.retired = true);
        say!("it is released");
    }

    /// Checks the final state, after all callers have been joined. One more call must succeed unless the connection
    /// has ended, and no tag and no reply may be left over.
    pub fn finish(self: &Arc<World>, procs: Threads) {
        let (closing, retired) = self.wire().ledger.of(|book| (book.closing, book.retired));
        if !closing {
            self.rpc(1_000_000, Fate::Replied);
        }
        if !retired {
            self.shut_down();
        }
        for proc in procs {
            let _ = proc.join();
        }
        assert_eq!(self.mux.outstanding(), 0, "tags are lost");
        let replies = self.wire().ledger.of(|book| book.replies);
        assert_eq!(replies, 0, "replies are lost");
    }
}

/// A non-blocking call.
pub struct Started<'a> {
    world: &'a World,
    frame: Arc<Frame>,
    call: Call<'a, Wire, CheckedSched>,
}

impl Started<'_> {
    /// Polls the call. Returns true if it has ended.
    pub fn looks(&mut self) -> bool {
        match self.call.can_finish() {
            Finished::Pending => return false,
            Finished::Reply(reply) => self.world.judge(&self.frame, Ok(reply)),
            Finished::Failed(Error::Stuck) => {
                say!("call {}: stuck", self.frame.number);
                let plan = &self.world.wire().plan;
                assert!(!plan.can_try && plan.gives_up, "a call ends while it is pending");
            }
            Finished::Failed(error) => self.world.judge(&self.frame, Err(error)),
        }
        true
    }

    /// Polls the call until it has ended.
    pub fn finish(mut self) {
        while !self.looks() {
            prim::give_way();
        }
    }

    /// Abandons the call.
    pub fn cancel(self) {
        say!("call {} is given up", self.frame.number);
    }
}
