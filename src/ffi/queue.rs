//! The queue of pointers that plan9port's header declares as private. The library does not use it.
//! A program that links it gets a function that works.
//!
//! The program ends a queue with free(3). A queue is therefore one block of memory, which owns no
//! other resource when it is empty and no thread sleeps on it. The record of a sleeper is on the
//! sleeper's stack, and stays there until another thread has removed it from the list and has woken
//! the sleeper.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use parking_lot::lock_api;

use super::entry::guard;
use super::errors;
use crate::rpc::Error;
use crate::sched::dispatch::{DispatchParker, DispatchSched};
use crate::sched::native::LastLock;
use crate::sched::{WakeHandle, sleep};

/// A queue of pointers. _muxqalloc allocates it, and the program frees it with free(3) when it
/// is empty. Any number of threads may use it at once.
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

/// A thread that waits for an item. It is woken with the item, or with NULL.
struct Sleeper {
    next: *mut Sleeper,
    wake_handle: Option<WakeHandle<Pointer, DispatchParker>>,
}

/// A pointer that is passed to another thread.
struct Pointer(*mut c_void);

// SAFETY: the queue does not dereference it.
unsafe impl Send for Pointer {}

impl Queue {
    /// Removes the sleeper that has waited longest.
    fn pop_sleeper(&mut self) -> Option<WakeHandle<Pointer, DispatchParker>> {
        let mut link = &raw mut self.sleepers;
        // SAFETY: the records are on the stacks of sleepers, which do not return while they are in
        // the list. The list is accessed under the queue's lock, which the caller holds.
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
        // SAFETY: the item was allocated by _muxqsend, and is removed under the lock.
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

/// Allocates a queue. Returns NULL and sets errno to ENOMEM if there is no memory. The program
/// must free the queue with free(3).
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

/// Appends p to the queue. Returns 0. Returns -1 on error and sets errno: ECONNRESET if the
/// queue has been hung up, ENOMEM if there is no memory, EINVAL if q is NULL.
///
/// # Safety
/// `q` is NULL or points to a queue.
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
        // SAFETY: plain allocation; the item is written before it is linked, under the lock.
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

/// Removes the first item of the queue and returns it, after waiting for one if necessary.
/// Returns NULL if the queue has been hung up and is empty.
///
/// # Safety
/// `q` is NULL or points to a queue.
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
            // SAFETY: the record is in this frame, which stays until the handle has been used. Other
            // threads access it only under the lock.
            unsafe { (*record).wake_handle = Some(wake) };
            queue.sleepers = record;
            drop(queue);
        });
        received.map_or(null_mut(), |pointer| pointer.0)
    })
}

/// Removes the first item of the queue without waiting. Returns 1 and stores the item if there
/// is one. Otherwise stores NULL, and returns 1 if the queue has been hung up, 0 if not.
///
/// # Safety
/// `q` is NULL or points to a queue; `p` is NULL or points to a pointer.
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

/// Hangs up the queue: no item can be appended any more, and threads that wait for an item
/// receive NULL.
///
/// # Safety
/// `q` is NULL or points to a queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _muxqhangup(q: *mut Muxqueue) {
    guard((), || {
        // SAFETY: the caller's promise.
        let Some(q) = (unsafe { q.as_ref() }) else { return errors::set_invalid() };
        let mut queue = q.0.lock();
        queue.hungup = true;
        let mut sleeper = std::mem::replace(&mut queue.sleepers, null_mut());
        drop(queue);
        // Once the last sleeper has been woken, the queue may be freed.
        while !sleeper.is_null() {
            // SAFETY: the record has left the list, so that only this thread uses it. Its owner
            // sleeps until it is woken, and the record is not used after that.
            let (next, wake) = unsafe { ((*sleeper).next, (*sleeper).wake_handle.take()) };
            if let Some(wake) = wake {
                wake.wake(Pointer(null_mut()));
            }
            sleeper = next;
        }
    });
}
