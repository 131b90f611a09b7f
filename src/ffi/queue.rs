//! The queue of pointers that plan9port's header declares as private. The library has no use for
//! it; a program that links it gets one that works.
//!
//! Whoever made a queue ends it with free(3), so it is one block of memory and holds nothing that
//! would have to be released, once it is empty and nobody sleeps on it. A sleeper's record is on
//! its own stack: it stays until somebody takes it off the list and wakes it.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use parking_lot::lock_api;

use super::entry::guard;
use super::errors;
use crate::rpc::Error;
use crate::sched::dispatch::{DispatchParker, DispatchSched};
use crate::sched::native::LastLock;
use crate::sched::{WakeHandle, sleep};

/// A queue of pointers. Made by _muxqalloc, ended with free(3) when it is empty.
pub struct Muxqueue(lock_api::Mutex<LastLock, Queue>);

struct Queue {
    hungup: bool,
    first: *mut Item,
    last: *mut Item,
    sleepers: *mut Sleeper,
}

struct Item {
    next: *mut Item,
    p: *mut c_void,
}

/// One that waits for an item. It is told the item, or nil.
struct Sleeper {
    next: *mut Sleeper,
    wake_handle: Option<WakeHandle<Pointer, DispatchParker>>,
}

/// A pointer on its way to another thread.
struct Pointer(*mut c_void);

// SAFETY: to the queue it is a number.
unsafe impl Send for Pointer {}

impl Queue {
    /// Takes the one off the list that has waited for longest.
    fn pop_sleeper(&mut self) -> Option<WakeHandle<Pointer, DispatchParker>> {
        let mut link = &raw mut self.sleepers;
        // SAFETY: the records are on the stacks of sleepers, who do not leave while they are listed;
        // the list is only touched under the queue's lock, which the caller holds.
        unsafe {
            if (*link).is_null() {
                return None;
            }
            while !(**link).next.is_null() {
                link = &raw mut (**link).next;
            }
            let oldest = *link;
            *link = null_mut();
            (*oldest).wake_handle.take()
        }
    }

    fn pop_item(&mut self) -> Option<*mut c_void> {
        if self.first.is_null() {
            return None;
        }
        let item = self.first;
        // SAFETY: an item in the list, allocated by _muxqsend, taken off under the lock.
        unsafe {
            self.first = (*item).next;
            if self.first.is_null() {
                self.last = null_mut();
            }
            let p = (*item).p;
            libc::free(item.cast());
            Some(p)
        }
    }
}

/// Makes a queue; nil and ENOMEM when there is no memory. free(3) ends it.
#[unsafe(no_mangle)]
pub extern "C" fn _muxqalloc() -> *mut Muxqueue {
    guard(null_mut(), || {
        // SAFETY: plain allocation, of the size (and malloc's alignment) of what is written to it.
        unsafe {
            let q: *mut Muxqueue = libc::malloc(size_of::<Muxqueue>()).cast();
            if q.is_null() {
                errors::set_error(Error::NoMemory);
                return q;
            }
            q.write(Muxqueue(lock_api::Mutex::new(Queue {
                hungup: false,
                first: null_mut(),
                last: null_mut(),
                sleepers: null_mut(),
            })));
            q
        }
    })
}

/// Puts p at the end of the queue. Answers 0, or -1 when the queue is hung up (ECONNRESET) or there
/// is no memory (ENOMEM).
///
/// # Safety
/// `q` is nil or a queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _muxqsend(q: *mut Muxqueue, p: *mut c_void) -> c_int {
    guard(-1, || {
        // SAFETY: the caller's promise.
        let Some(q) = (unsafe { q.as_ref() }) else {
            errors::set_invalid();
            return -1;
        };
        let mut queue = q.0.lock();
        if queue.hungup {
            drop(queue);
            errors::set_error(Error::Ended);
            return -1;
        }
        if let Some(sleeper) = queue.pop_sleeper() {
            drop(queue);
            sleeper.wake(Pointer(p));
            return 0;
        }
        // SAFETY: plain allocation; the item is in the list, under the lock, once it is whole.
        unsafe {
            let item: *mut Item = libc::malloc(size_of::<Item>()).cast();
            if item.is_null() {
                drop(queue);
                errors::set_error(Error::NoMemory);
                return -1;
            }
            item.write(Item { next: null_mut(), p });
            if queue.last.is_null() {
                queue.first = item;
            } else {
                (*queue.last).next = item;
            }
            queue.last = item;
        }
        0
    })
}

/// Takes the first of the queue, waiting for one; nil when the queue is hung up and empty.
///
/// # Safety
/// `q` is nil or a queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _muxqrecv(q: *mut Muxqueue) -> *mut c_void {
    guard(null_mut(), || {
        // SAFETY: the caller's promise.
        let Some(q) = (unsafe { q.as_ref() }) else {
            errors::set_invalid();
            return null_mut();
        };
        let mut queue = q.0.lock();
        if let Some(p) = queue.pop_item() {
            return p;
        }
        if queue.hungup {
            return null_mut();
        }
        let mut me = Sleeper { next: queue.sleepers, wake_handle: None };
        let record = &raw mut me;
        let received = sleep(&DispatchSched, |wake| {
            // SAFETY: the record is this frame's, which stays until the handle is used; others touch
            // it under the lock alone.
            unsafe { (*record).wake_handle = Some(wake) };
            queue.sleepers = record;
            drop(queue);
        });
        received.map_or(null_mut(), |pointer| pointer.0)
    })
}

/// Takes the first of the queue, if there is one: answers 1 and stores it. Without one it stores
/// nil, and answers 1 when the queue is hung up, else 0.
///
/// # Safety
/// `q` is nil or a queue; `p` is nil or points to where the pointer goes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _muxnbqrecv(q: *mut Muxqueue, p: *mut *mut c_void) -> c_int {
    guard(1, || {
        // SAFETY: the caller's promise.
        let (result, item) = match unsafe { q.as_ref() } {
            None => {
                errors::set_invalid();
                (1, null_mut())
            }
            Some(q) => {
                let mut queue = q.0.lock();
                match queue.pop_item() {
                    Some(item) => (1, item),
                    None => (c_int::from(queue.hungup), null_mut()),
                }
            }
        };
        if !p.is_null() {
            // SAFETY: the caller's promise.
            unsafe { p.write(item) };
        }
        result
    })
}

/// Hangs the queue up: nothing more goes in, and those who wait for an item get nil.
///
/// # Safety
/// `q` is nil or a queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _muxqhangup(q: *mut Muxqueue) {
    guard((), || {
        // SAFETY: the caller's promise.
        let Some(q) = (unsafe { q.as_ref() }) else { return errors::set_invalid() };
        let mut queue = q.0.lock();
        queue.hungup = true;
        let mut sleeper = std::mem::replace(&mut queue.sleepers, null_mut());
        drop(queue);
        // The last of them to wake may free the queue.
        while !sleeper.is_null() {
            // SAFETY: off the list, so this thread's alone; its owner sleeps on until it is woken,
            // and nothing of it is used after that.
            let (next, wake) = unsafe { ((*sleeper).next, (*sleeper).wake_handle.take()) };
            if let Some(wake) = wake {
                wake.wake(Pointer(null_mut()));
            }
            sleeper = next;
        }
    });
}
