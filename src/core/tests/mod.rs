//! Tests of the machine by plain function calls: no thread, no clock, no connection.

mod deadline;
mod finishing;
mod receiving;
mod sending;
mod simulation;
mod tagging;

use super::tags::TagRange;
use super::{
    Action, BeginError, CallId, CollectAction, Machine, NewCall, Outcome, Protocol, ReceiverGrant,
    TurnGrant, Wakeup,
};
use super::{SendProcAction, WakeBatch};

/// Requests, replies, failures and watches are numbers. `arrived` records the watches.
#[derive(Debug, PartialEq, Eq)]
struct Numbers;

impl Protocol for Numbers {
    type Request = u32;
    type Reply = u32;
    type Failure = i32;
    type Watch = u32;
}

const WIDE: TagRange = TagRange { min: 0, max: 256 };

/// A machine, and the wake-ups so far. The wake handle of a caller is the number of its call.
struct Bench {
    machine: Machine<Numbers, u32>,
    range: TagRange,
    woken: Vec<(u32, Wakeup<Numbers>)>,
    arrived: Vec<(u32, u32)>,
    /// Calls whose futures were woken.
    looked: Vec<CallId>,
}

/// Wake handles of the procs.
const RECEIVE_PROC: u32 = 1_000_001;
const SEND_PROC: u32 = 1_000_002;

impl Bench {
    fn new(range: TagRange) -> Bench {
        let mut machine = Machine::new();
        machine.set_range(range);
        Bench { machine, range, woken: Vec::new(), arrived: Vec::new(), looked: Vec::new() }
    }

    /// Changes the range, as a program does.
    fn set_range(&mut self, range: TagRange) {
        self.range = range;
        self.machine.set_range(range);
    }

    /// A machine with `n` tags, from 0 up.
    fn with_tags(n: u32) -> Bench {
        Bench::new(TagRange { min: 0, max: n })
    }

    /// What a driver does after each event.
    fn gather(&mut self) {
        self.machine.check_invariants();
        let wakes = self.machine.take_wakes();
        self.take(wakes);
        self.machine.check_invariants();
        self.machine.check_drained();
    }

    fn take(&mut self, mut wakes: Option<WakeBatch<Numbers, u32>>) {
        while let Some(some) = wakes {
            let more = some.more();
            self.looked.extend(some.futures());
            self.woken.extend(some);
            if !more {
                return;
            }
            wakes = self.machine.take_more_wakes();
        }
    }

    /// Returns the wake-ups since the last call, in order.
    fn woken(&mut self) -> Vec<(u32, Wakeup<Numbers>)> {
        std::mem::take(&mut self.woken)
    }

    fn begin(&mut self, watch: Option<u32>) -> Result<NewCall, BeginError> {
        let begun = self.machine.begin(watch);
        self.gather();
        begun
    }

    /// A blocking call that has its tag.
    fn call(&mut self) -> NewCall {
        let begun = self.begin(None).expect("a call");
        assert!(begun.tag.is_some(), "a tag");
        begun
    }

    /// A blocking call that is in `send`.
    fn sent_call(&mut self) -> (CallId, u32) {
        let begun = self.call();
        assert!(begun.turn, "the turn");
        (begun.id, begun.tag.unwrap())
    }

    fn sent(&mut self, id: CallId, result: Result<(), i32>) -> Action<Numbers> {
        self.sent_since(id, result, self.machine.epoch())
    }

    /// As `sent`, for a `send` that began in the epoch `began`.
    fn sent_since(&mut self, id: CallId, result: Result<(), i32>, began: u32) -> Action<Numbers> {
        let step = self.machine.handle_sent(id, result, began);
        if step == Action::Sleep {
            self.machine.set_asleep(id, id.0);
        }
        self.gather();
        step
    }

    /// A blocking call that has been sent, with its next action: to receive or to sleep.
    fn waiting_call(&mut self) -> (CallId, u32, Action<Numbers>) {
        let (id, tag) = self.sent_call();
        let step = self.sent(id, Ok(()));
        (id, tag, step)
    }

    /// A non-blocking call that has been sent.
    fn started_call(&mut self, watch: u32) -> (CallId, u32) {
        let begun = self.begin(Some(watch)).expect("a call");
        assert!(begun.turn, "the turn");
        assert_eq!(self.sent(begun.id, Ok(())), Action::Pending);
        (begun.id, begun.tag.unwrap())
    }

    /// `id` has sent the request of `other` by proxy, and can send more.
    fn helped(&mut self, id: CallId, other: CallId, result: Result<(), i32>) -> Action<Numbers> {
        let began = self.machine.epoch();
        let step = self.machine.handle_proxy_sent_by_caller(id, true, other, result, began);
        if step == Action::Sleep {
            self.machine.set_asleep(id, id.0);
        }
        self.gather();
        step
    }

    fn queue(&mut self, id: CallId, request: u32) -> TurnGrant<Numbers> {
        let queued = self.machine.request_turn(id, request);
        if queued == TurnGrant::Wait {
            self.machine.set_asleep(id, id.0);
        }
        self.gather();
        queued
    }

    /// A message arrives. Returns it if it is an orphan.
    fn deliver(&mut self, tag: u32, reply: u32) -> Option<u32> {
        let Bench { machine, arrived, .. } = self;
        let orphan =
            machine.handle_message(Some(tag), reply, |watch, &reply| arrived.push((watch, reply)));
        self.gather();
        orphan
    }

    fn step(&mut self, id: CallId) -> Action<Numbers> {
        let step = self.machine.next_action(id);
        if step == Action::Sleep {
            self.machine.set_asleep(id, id.0);
        }
        self.gather();
        step
    }

    /// A blocking call with a deadline that has been sent, with its next action: to receive or to sleep.
    fn timed_call(&mut self) -> (CallId, u32, Action<Numbers>) {
        let (id, tag) = self.sent_call();
        self.machine.mark_has_deadline(id);
        let step = self.sent(id, Ok(()));
        (id, tag, step)
    }

    /// The deadline of a sleeping caller passes.
    fn expire(&mut self, id: CallId) {
        self.machine.handle_deadline_asleep(id);
        self.gather();
    }

    /// The deadline of an awake caller passes.
    fn time_out(&mut self, id: CallId) -> Action<Numbers> {
        let step = self.machine.handle_deadline_awake(id);
        if step == Action::Sleep {
            self.machine.set_asleep(id, id.0);
        }
        self.gather();
        step
    }

    fn nap(&mut self, id: CallId) -> Action<Numbers> {
        let step = self.machine.begin_backoff(id);
        if step == Action::Sleep {
            self.machine.set_asleep(id, id.0);
        }
        self.gather();
        step
    }

    fn end(&mut self) {
        self.machine.handle_disconnect();
        self.gather();
    }

    fn can_finish(&mut self, id: CallId, can_poll: bool) -> CollectAction<Numbers> {
        let finish = self.machine.try_collect(id, can_poll);
        self.gather();
        finish
    }

    fn poll_ends(&mut self, id: CallId) -> CollectAction<Numbers> {
        let finish = self.machine.end_poll(id);
        self.gather();
        finish
    }

    fn receive_proc_seat(&mut self) -> ReceiverGrant {
        let seat = self.machine.next_receive_proc_grant();
        if seat == ReceiverGrant::Wait {
            self.machine.set_receive_proc_asleep(RECEIVE_PROC);
        }
        self.gather();
        seat
    }

    fn send_proc_work(&mut self) -> SendProcAction<Numbers> {
        let work = self.machine.next_send_proc_action();
        if work == SendProcAction::Wait {
            self.machine.set_send_proc_asleep(SEND_PROC);
        }
        self.gather();
        work
    }

    fn proc_sent(&mut self, id: CallId, result: Result<(), i32>) {
        self.proc_sent_since(id, result, self.machine.epoch());
    }

    fn proc_sent_since(&mut self, id: CallId, result: Result<(), i32>, began: u32) {
        self.machine.handle_proxy_sent(id, result, began);
        self.gather();
    }
}
