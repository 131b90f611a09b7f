//! Sleepers are told what has happened, after the event, when the lock has been let go of.
//!
//! An event only notes whom it concerns, and why (`queue_wake`). Whoever brought it about gathers them, with
//! what each is told, and wakes them once the lock is released. A call that is over is forgotten when its
//! owner is told; or, if that has a clock, which may ring yet, when it has woken.

use super::call::{CallId, CallState, Kind, Protocol, WakeBatch, Wakeup};
use super::call::{WAKE_BATCH, WakeReason};
use super::machine::Machine;
use super::roles::Muxer;

impl<P: Protocol, H> Machine<P, H> {
    /// A sleeping owner can be woken with `wake`. For use straight after the method that told it
    /// to sleep, before the lock is released.
    #[inline]
    pub fn set_asleep(&mut self, id: CallId, handle: H) {
        if let Some(call) = self.calls.get_mut(id.0) {
            call.wake_handle = Some(handle);
            call.timer_armed = call.has_deadline;
            debug_assert!(!self.role.is(Muxer::Call(id.0)), "who sleeps has not the role");
        }
    }

    /// Whom to wake, once the lock is released; `None` for nobody. To be asked after each event, and
    /// as long as there are [more](Wakes::more), [again](Machine::take_more_wakes).
    #[inline]
    pub fn take_wakes(&mut self) -> Option<WakeBatch<P, H>> {
        if self.wake_queue.is_empty() && !self.proc_wake_queued && self.drain_waiter.is_none() {
            None
        } else {
            Some(self.collect_wakes())
        }
    }

    /// The rest of those to wake, for who has been told that there are more.
    pub fn take_more_wakes(&mut self) -> Option<WakeBatch<P, H>> {
        self.pins -= 1;
        self.take_wakes()
    }

    fn collect_wakes(&mut self) -> WakeBatch<P, H> {
        let mut wakeups = [const { None }; WAKE_BATCH];
        let mut places = wakeups.iter_mut();
        if std::mem::take(&mut self.proc_wake_queued) {
            for proc in [&mut self.receive_proc, &mut self.send_proc] {
                if let (Some(handle), Some(place)) = (proc.take_handle(), places.next()) {
                    *place = Some((handle, Wakeup::Work));
                }
            }
        }
        let mut futures = [None; WAKE_BATCH];
        for (place, task) in places.zip(&mut futures) {
            let Some(id) = self.wake_queue.pop_front(&mut self.calls) else {
                break;
            };
            *place = self.take_wakeup(id);
            if place.is_none() {
                *task = Some(CallId(id));
            }
        }
        let mut more = !self.wake_queue.is_empty();
        if !more && self.drain_waiter.is_some() && self.is_idle() {
            match wakeups.iter_mut().find(|place| place.is_none()) {
                Some(place) => {
                    *place = self.drain_waiter.take().map(|handle| (handle, Wakeup::Work))
                }
                None => more = true,
            }
        }
        self.pins += u32::from(more);
        WakeBatch { wakeups, futures, more }
    }

    /// What the owner of a called call is told, and how it is woken.
    fn take_wakeup(&mut self, id: u32) -> Option<(H, Wakeup<P>)> {
        let call = self.calls.get_mut(id)?;
        let wakeup = match call.wake_reason {
            WakeReason::Done => match (call.reply.take(), call.failure.take()) {
                (Some(reply), _) => Wakeup::Reply(reply),
                (None, Some(failure)) => Wakeup::Failed(failure),
                (None, None) => Wakeup::Ended,
            },
            WakeReason::EmptyRange => Wakeup::EmptyRange,
            WakeReason::AllTagsAbandoned => Wakeup::AllTagsAbandoned,
            WakeReason::NoMemory => Wakeup::NoMemory,
            WakeReason::TimedOut => Wakeup::TimedOut,
            WakeReason::Busy => Wakeup::Busy,
            WakeReason::Tag => Wakeup::Tag(call.tag?),
            WakeReason::Turn => Wakeup::Turn(call.request.take()?),
            WakeReason::Sent | WakeReason::MessageSent => Wakeup::Sent,
            WakeReason::Receive => Wakeup::Receive,
            WakeReason::PollFuture => {
                call.wake_queued = false;
                return None;
            }
        };
        call.wake_queued = false;
        let handle = call.wake_handle.take()?;
        match call.wake_reason {
            // Its tag is held on, and its number with it.
            WakeReason::TimedOut if call.state == CallState::Abandoned => self.stats.errors += 1,
            WakeReason::Done
            | WakeReason::EmptyRange
            | WakeReason::AllTagsAbandoned
            | WakeReason::NoMemory
            | WakeReason::TimedOut
            | WakeReason::Busy
            | WakeReason::MessageSent => {
                let is_call = !matches!(call.kind, Kind::Message);
                if is_call && !matches!(wakeup, Wakeup::Reply(_) | Wakeup::Busy | Wakeup::Sent) {
                    self.stats.errors += 1;
                }
                if !call.timer_armed {
                    self.calls.free(id);
                }
            }
            // The number is its own still.
            WakeReason::Tag
            | WakeReason::Turn
            | WakeReason::Sent
            | WakeReason::Receive
            | WakeReason::PollFuture => call.timer_armed = false,
        }
        Some((handle, wakeup))
    }

    /// Has the sleeping owner of `id` told.
    pub(super) fn queue_wake(&mut self, id: u32, reason: WakeReason) {
        if let Some(call) = self.calls.get_mut(id) {
            debug_assert!(
                call.wake_handle.is_some() || reason == WakeReason::PollFuture,
                "only a sleeper is told"
            );
            debug_assert!(!call.wake_queued, "and one thing at a time");
            call.wake_queued = true;
            call.wake_reason = reason;
            if matches!(reason, WakeReason::Done | WakeReason::Busy) {
                call.state = CallState::Done;
            }
            self.wake_queue.push_back(&mut self.calls, id);
            // One that looks for messages now and then, and has something else to do now.
            self.leave_role(Muxer::Polling(id));
        }
    }

    /// Has the task look that waits for a non-blocking call, if one does.
    pub(super) fn queue_future_wake(&mut self, id: u32) {
        if let Some(call) = self.calls.get_mut(id).filter(|call| call.has_future) {
            call.has_future = false;
            self.future_waiters.remove(&mut self.calls, id);
            self.queue_wake(id, WakeReason::PollFuture);
        }
    }
}
