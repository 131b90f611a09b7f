//! C functions as a transport.
//!
//! The public fields are read at each use, as single words, since the program may change them at any
//! time. errno is set to 0 before send and settag, to tell whether they say why they fail, and is
//! the program's again when they do not.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::errors;
use super::layout::{Mux, Muxrpc};
use crate::core::tags::Range;
use crate::rpc::{Polled, Transport};

/// A message: the program's, and only ever handed back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message(pub NonNull<c_void>);

// SAFETY: to the library it is a number; the program expects its callbacks in any thread.
unsafe impl Send for Message {}

/// A Muxrpc whose `p` shows that the reply is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek(pub NonNull<Muxrpc>);

// SAFETY: used under the state lock while the call is in the machine, and its owner frees it only
// after taking it out of there.
unsafe impl Send for Peek {}

/// Which of the two headers the program's source was compiled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// plan9port's header: nbrecv answers an int.
    Header,
    /// The manual page: nbrecv answers the message.
    Page,
}

/// The five functions in a Mux.
pub struct Callbacks {
    mux: *mut Mux,
    form: Form,
    /// What disposes of orphans: an [`OrphanFn`], or nil.
    orphan: AtomicPtr<c_void>,
}

type OrphanFn = unsafe extern "C" fn(*mut Mux, *mut c_void);

// SAFETY: contract of mux.h: the Mux stays in its place, and its functions are for any thread.
unsafe impl Send for Callbacks {}
// SAFETY: as above; its fields are read as single words.
unsafe impl Sync for Callbacks {}

type HeaderNbrecv = unsafe extern "C" fn(*mut Mux, *mut *mut c_void) -> c_int;
type PageNbrecv = unsafe extern "C" fn(*mut Mux) -> *mut c_void;

impl Callbacks {
    pub fn new(mux: *mut Mux, form: Form) -> Callbacks {
        Callbacks { mux, form, orphan: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Has orphans given to `orphan` from now on.
    pub fn set_orphan(&self, orphan: Option<OrphanFn>) {
        let place = orphan.map_or(std::ptr::null_mut(), |orphan| orphan as *mut c_void);
        self.orphan.store(place, Ordering::Release);
    }

    /// Whether all functions are there that a call needs.
    pub fn complete(&self) -> bool {
        // SAFETY: the Mux is there as long as it is in use (mux.h).
        unsafe {
            (*self.mux).send.is_some()
                && (*self.mux).recv.is_some()
                && (*self.mux).gettag.is_some()
                && (*self.mux).settag.is_some()
        }
    }
}

impl Transport for Callbacks {
    type Request = Message;
    type Reply = Message;
    type Failure = c_int;
    type Watch = Peek;

    #[inline]
    fn range(&self) -> Range {
        // SAFETY: the Mux is there as long as it is in use (mux.h); other threads may be writing, so
        // the words are read as atomic ones.
        unsafe {
            Range {
                min: AtomicU32::from_ptr(&raw mut (*self.mux).mintag).load(Ordering::Relaxed),
                max: AtomicU32::from_ptr(&raw mut (*self.mux).maxtag).load(Ordering::Relaxed),
            }
        }
    }

    #[inline]
    fn set_tag(&self, request: &mut Message, tag: u32) -> Result<(), c_int> {
        // SAFETY: as above.
        let Some(settag) = (unsafe { (*self.mux).settag }) else {
            return Err(libc::EINVAL);
        };
        // SAFETY: the program's function, called as mux.h says.
        errors::cause(|| unsafe { settag(self.mux, request.0.as_ptr(), tag) })
    }

    #[inline]
    fn tag(&self, reply: &Message) -> Option<u32> {
        // SAFETY: as above.
        let gettag = unsafe { (*self.mux).gettag }?;
        // SAFETY: the program's function, called as mux.h says. An int that stands for no tag is
        // one that no range holds.
        Some(unsafe { gettag(self.mux, reply.0.as_ptr()) } as u32)
    }

    #[inline]
    fn send(&self, request: &mut Message) -> Result<(), c_int> {
        // SAFETY: as above.
        let Some(send) = (unsafe { (*self.mux).send }) else {
            return Err(libc::EINVAL);
        };
        // SAFETY: the program's function, called as mux.h says; the turn to send is this caller's.
        errors::cause(|| unsafe { send(self.mux, request.0.as_ptr()) })
    }

    #[inline]
    fn recv(&self) -> Option<Message> {
        // SAFETY: as above.
        let recv = unsafe { (*self.mux).recv }?;
        // SAFETY: the program's function, called as mux.h says; the role is this caller's.
        NonNull::new(unsafe { recv(self.mux) }).map(Message)
    }

    fn can_try(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.mux).nbrecv.is_some() }
    }

    fn try_recv(&self) -> Polled<Message> {
        // SAFETY: as above.
        let Some(nbrecv) = (unsafe { (*self.mux).nbrecv }) else {
            return Polled::Nothing;
        };
        let mut message = std::ptr::null_mut();
        let there = match self.form {
            // SAFETY: the program's function, called as mux.h says; the role is this caller's.
            Form::Header => unsafe { nbrecv(self.mux, &raw mut message) != 0 },
            Form::Page => {
                // SAFETY: this Mux was initialised by a source compiled with MUX_MAN3, where the
                // field has that type.
                let nbrecv = unsafe { std::mem::transmute::<HeaderNbrecv, PageNbrecv>(nbrecv) };
                // SAFETY: as for the header's form.
                message = unsafe { nbrecv(self.mux) };
                false
            }
        };
        match NonNull::new(message) {
            Some(message) => Polled::Message(Message(message)),
            None if there => Polled::Ended,
            None => Polled::Nothing,
        }
    }

    /// The library does not know how to free one: without the program's function it is leaked, as
    /// the manual page says.
    fn orphan(&self, message: Message) {
        let place = self.orphan.load(Ordering::Acquire);
        if !place.is_null() {
            // SAFETY: only `set_orphan` stores here, and what it stores has that type.
            let orphan = unsafe { std::mem::transmute::<*mut c_void, OrphanFn>(place) };
            // SAFETY: the program's function, called as mux.h says.
            unsafe { orphan(self.mux, message.0.as_ptr()) }
        }
    }

    fn arrived(&self, watch: Peek, reply: &Message) {
        // SAFETY: under the state lock a call's Muxrpc is there; its owner may be looking at `p`.
        unsafe {
            AtomicPtr::from_ptr(&raw mut (*watch.0.as_ptr()).p)
                .store(reply.0.as_ptr(), Ordering::Release)
        }
    }
}
