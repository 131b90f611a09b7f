//! Sleepers are told what has happened, after the event, when the lock has been let go of.
//!
//! An event only notes whom it concerns, and why (`call`). Whoever brought it about gathers them, with
//! what each is told, and wakes them once the lock is released. A call that is over is forgotten when its
//! owner is told; or, if that has a clock, which may ring yet, when it has woken.

use super::call::{CallId, Kind, Protocol, Stage, Told, Wakes};
use super::call::{ROOM, Why};
use super::machine::Machine;
use super::receiving::Muxer;

impl<P: Protocol, W> Machine<P, W> {
    /// A sleeping owner can be woken with `wake`. For use straight after the method that told it
    /// to sleep, before the lock is released.
    #[inline]
    pub fn sleeps(&mut self, id: CallId, wake: W) {
        if let Some(call) = self.calls.get_mut(id.0) {
            call.wake = Some(wake);
            call.abed = call.timed;
            debug_assert!(self.muxer != Muxer::Call(id.0), "who sleeps has not the role");
        }
    }

    /// Whom to wake, once the lock is released; `None` for nobody. To be asked after each event, and
    /// as long as there are [more](Wakes::more), [again](Machine::more_wakes).
    #[inline]
    pub fn wakes(&mut self) -> Option<Wakes<P, W>> {
        if self.called.is_empty() && !self.roused && self.closer.is_none() {
            None
        } else {
            Some(self.gather())
        }
    }

    /// The rest of those to wake, for who has been told that there are more.
    pub fn more_wakes(&mut self) -> Option<Wakes<P, W>> {
        self.lingering -= 1;
        self.wakes()
    }

    fn gather(&mut self) -> Wakes<P, W> {
        let mut room = [const { None }; ROOM];
        let mut places = room.iter_mut();
        if std::mem::take(&mut self.roused) {
            for proc in [&mut self.receive_proc, &mut self.send_proc] {
                if let (Some(wake), Some(place)) = (proc.wake(), places.next()) {
                    *place = Some((wake, Told::Work));
                }
            }
        }
        let mut tasks = [None; ROOM];
        for (place, task) in places.zip(&mut tasks) {
            let Some(id) = self.called.pop_front(&mut self.calls) else {
                break;
            };
            *place = self.told(id);
            if place.is_none() {
                *task = Some(CallId(id));
            }
        }
        let mut more = !self.called.is_empty();
        if !more && self.closer.is_some() && self.is_idle() {
            match room.iter_mut().find(|place| place.is_none()) {
                Some(place) => *place = self.closer.take().map(|wake| (wake, Told::Work)),
                None => more = true,
            }
        }
        self.lingering += u32::from(more);
        Wakes { room, tasks, more }
    }

    /// What the owner of a called call is told, and how it is woken.
    fn told(&mut self, id: u32) -> Option<(W, Told<P>)> {
        let call = self.calls.get_mut(id)?;
        let told = match call.why {
            Why::Over => match (call.reply.take(), call.failure.take()) {
                (Some(reply), _) => Told::Reply(reply),
                (None, Some(failure)) => Told::Failed(failure),
                (None, None) => Told::Ended,
            },
            Why::NoTags => Told::NoTags,
            Why::AllHeld => Told::AllHeld,
            Why::NoMemory => Told::NoMemory,
            Why::TimedOut => Told::TimedOut,
            Why::Busy => Told::Busy,
            Why::Tag => Told::Tag(call.tag?),
            Why::Turn => Told::Turn(call.request.take()?),
            Why::Sent | Why::AllSent => Told::Sent,
            Why::Receive => Told::Receive,
            Why::Look => {
                call.is_called = false;
                return None;
            }
        };
        call.is_called = false;
        let wake = call.wake.take()?;
        match call.why {
            // Its tag is held on, and its number with it.
            Why::TimedOut if call.stage == Stage::GivenUp => self.stats.errors += 1,
            Why::Over
            | Why::NoTags
            | Why::AllHeld
            | Why::NoMemory
            | Why::TimedOut
            | Why::Busy
            | Why::AllSent => {
                let is_call = !matches!(call.kind, Kind::Message);
                if is_call && !matches!(told, Told::Reply(_) | Told::Busy | Told::Sent) {
                    self.stats.errors += 1;
                }
                if !call.abed {
                    self.calls.free(id);
                }
            }
            // The number is its own still.
            Why::Tag | Why::Turn | Why::Sent | Why::Receive | Why::Look => call.abed = false,
        }
        Some((wake, told))
    }

    /// Has the sleeping owner of `id` told.
    pub(super) fn call(&mut self, id: u32, why: Why) {
        if let Some(call) = self.calls.get_mut(id) {
            debug_assert!(call.wake.is_some() || why == Why::Look, "only a sleeper is told");
            debug_assert!(!call.is_called, "and one thing at a time");
            call.is_called = true;
            call.why = why;
            if matches!(why, Why::Over | Why::Busy) {
                call.stage = Stage::Over;
            }
            self.called.push_back(&mut self.calls, id);
            // One that looks for messages now and then, and has something else to do now.
            self.leave(Muxer::Napping(id));
        }
    }

    /// Has the task look that waits for a non-blocking call, if one does.
    pub(super) fn have_looked(&mut self, id: u32) {
        if let Some(call) = self.calls.get_mut(id).filter(|call| call.looks) {
            call.looks = false;
            self.looking.remove(&mut self.calls, id);
            self.call(id, Why::Look);
        }
    }
}
