//! The tasks that wait for a free tag, first come, first served.
//!
//! A tag becomes free when a reply arrives. The machine wakes threads that wait for a tag, but no tasks. A task
//! is therefore woken by the caller that has received the reply: before the next message, or at the end of its
//! operation, when no lock is held. The task then tries again. It keeps its place until it has a tag, and if it is
//! dropped before it has tried, it wakes the next task.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use super::Error;

/// The queue of waiting tasks.
pub(super) struct TagWait {
    /// The number of tasks that have not been woken, which is read without the lock. All accesses are
    /// sequentially consistent: a task stores it before it tries again, and a caller reads it after a tag has
    /// become free.
    waiting: AtomicUsize,
    /// The number of replies that have freed a tag for a task, and have woken none yet.
    freed: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// The tasks that have not been woken, by the number of their place.
    tasks: BTreeMap<u64, Waker>,
    next: u64,
}

/// The place of one task in the queue, which the task keeps after it has been woken.
#[derive(Debug)]
pub(super) struct Place(u64);

impl TagWait {
    pub fn new() -> TagWait {
        TagWait {
            waiting: AtomicUsize::new(0),
            freed: AtomicUsize::new(0),
            queue: Mutex::default(),
        }
    }

    fn with_queue<V>(&self, action: impl FnOnce(&mut Queue) -> V) -> V {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let result = action(&mut queue);
        self.waiting.store(queue.tasks.len(), Ordering::SeqCst);
        result
    }

    /// Begins a call for a task. If no tag is free, `begin` must return [`Error::NoTag`], and the task waits in
    /// its place.
    pub fn begin<V>(
        &self,
        place: &mut Option<Place>,
        waker: &Waker,
        mut begin: impl FnMut() -> Result<V, Error>,
    ) -> Result<V, Error> {
        let mut begun = begin();
        let mut has_waited = false;
        if matches!(begun, Err(Error::NoTag)) {
            self.wait(place, waker);
            has_waited = true;
            // A tag that became free before the task was in the queue has not woken it.
            begun = begin();
            if matches!(begun, Err(Error::NoTag)) {
                return begun;
            }
        }
        let was_woken = place.take().is_some_and(|place| !self.remove(&place));
        // A task that was woken while it tried may have found another tag than the one it was woken for.
        if begun.is_err() || has_waited && was_woken {
            self.wake_one();
        }
        begun
    }

    /// Adds a task, or adds it again in the place that it has.
    fn wait(&self, place: &mut Option<Place>, waker: &Waker) {
        let waker = waker.clone();
        let old = self.with_queue(|queue| {
            let place = place.get_or_insert_with(|| {
                queue.next += 1;
                Place(queue.next)
            });
            queue.tasks.insert(place.0, waker)
        });
        // Dropping a waker may drop a task, and with it a place, so it happens outside the lock.
        drop(old);
    }

    /// Removes a task from the queue. Returns false if it has been woken.
    fn remove(&self, place: &Place) -> bool {
        let waker = self.with_queue(|queue| queue.tasks.remove(&place.0));
        waker.is_some()
    }

    /// Removes a task that does not wait any more. If it has been woken already, the next task is woken in its
    /// place.
    pub fn leave(&self, place: &Place) {
        if !self.remove(place) {
            self.wake_one();
        }
    }

    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Wakes the first task: a tag has become free.
    #[inline]
    pub fn wake_one(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake(1);
        }
    }

    /// Records that a tag has become free, if a task waits. If this returns true, the thread must call
    /// [`wake_freed`](TagWait::wake_freed) later to wake the task, because a lock is held now.
    #[inline]
    pub fn count_freed(&self) -> bool {
        let is_awaited = self.waiting.load(Ordering::SeqCst) > 0;
        if is_awaited {
            self.freed.fetch_add(1, Ordering::Relaxed);
        }
        is_awaited
    }

    /// Wakes a task for each tag that has been counted.
    #[inline]
    pub fn wake_freed(&self) {
        if self.freed.load(Ordering::Relaxed) > 0 {
            self.wake(0);
        }
    }

    /// Wakes `more` tasks, and one for each tag that has been counted.
    #[cold]
    fn wake(&self, more: usize) {
        for _ in 0..more + self.freed.swap(0, Ordering::Relaxed) {
            let Some((_, waker)) = self.with_queue(|queue| queue.tasks.pop_first()) else { return };
            waker.wake();
        }
    }

    /// Wakes all tasks: the connection has ended.
    #[cold]
    pub fn wake_all(&self) {
        for waker in self.with_queue(|queue| std::mem::take(&mut queue.tasks)).into_values() {
            waker.wake();
        }
    }
}
