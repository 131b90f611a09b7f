//! The tasks that wait for a free tag, first come, first served.
//!
//! A tag becomes free when a reply arrives. The machine wakes threads that wait for a tag, but no tasks. A
//! task is therefore woken by the caller that consumes the reply, and tries again. If it is dropped before
//! it has tried, it wakes the next task.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// The queue of waiting tasks.
pub(super) struct TagWait {
    /// The length of the queue, which is read without the lock. All accesses are sequentially consistent: a
    /// task stores it before it tries again, and a caller reads it after a tag has become free.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<(u64, Waker)>,
    next: u64,
}

/// The place of one task in the queue.
#[derive(Debug)]
pub(super) struct Place(u64);

impl TagWait {
    pub fn new() -> TagWait {
        TagWait { waiting: AtomicUsize::new(0), queue: Mutex::default() }
    }

    fn with_queue<V>(&self, action: impl FnOnce(&mut Queue) -> V) -> V {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let result = action(&mut queue);
        self.waiting.store(queue.tasks.len(), Ordering::SeqCst);
        result
    }

    /// Adds a task. It must try to begin its call once more after this.
    pub fn wait(&self, waker: Waker) -> Place {
        self.with_queue(|queue| {
            queue.next += 1;
            let id = queue.next;
            queue.tasks.push_back((id, waker));
            Place(id)
        })
    }

    /// Removes a task that does not wait any more. If it has been woken already, and has not `tried` since, the
    /// next task is woken in its place.
    pub fn leave(&self, place: Place, tried: bool) {
        let found = self.with_queue(|queue| {
            let at = queue.tasks.iter().position(|(id, _)| *id == place.0)?;
            queue.tasks.remove(at)
        });
        if found.is_none() && !tried {
            self.wake_one();
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    /// Wakes the first task: a tag has become free.
    #[inline]
    pub fn wake_one(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_first();
        }
    }

    #[cold]
    fn wake_first(&self) {
        let first = self.with_queue(|queue| queue.tasks.pop_front());
        if let Some((_, waker)) = first {
            waker.wake();
        }
    }

    /// Wakes all tasks: the connection has ended.
    #[cold]
    pub fn wake_all(&self) {
        for (_, waker) in self.with_queue(|queue| std::mem::take(&mut queue.tasks)) {
            waker.wake();
        }
    }
}
