//! C functions as a transport.
//!
//! The public fields are read at each use, as single words, since the program may change them at any
//! time. errno is set to 0 before send and settag, to tell whether they say why they fail, and is
//! the program's again when they do not.

use std::ffi::{c_int, c_void};
use std::num::NonZeroUsize;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::errors;
use super::layout::{Mux, Muxrpc};
use crate::rpc::{BATCH, Batch, Polled, Transport};

/// A message: the program's, and only ever handed back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Message(pub NonNull<c_void>);

// SAFETY: to the library it is a number; the program expects its callbacks in any thread.
unsafe impl Send for Message {}

/// A Muxrpc whose `p` shows that the reply is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MuxrpcWatch(pub NonNull<Muxrpc>);

// SAFETY: used under the state lock while the call is in the machine, and its owner frees it only
// after taking it out of there.
unsafe impl Send for MuxrpcWatch {}

/// Which of the two headers the program's source was compiled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NbrecvAbi {
    /// plan9port's header: nbrecv answers an int.
    Header,
    /// The manual page: nbrecv answers the message.
    Man3,
}

/// The five functions in a Mux.
pub struct Callbacks {
    mux: *mut Mux,
    nbrecv_abi: NbrecvAbi,
    /// The functions that are not in a Mux, once there are any; malloc's memory.
    extra: AtomicPtr<ExtraCallbacks>,
}

/// Functions that plan9port's Mux has no fields for; each is nil, or of the type that is said.
struct ExtraCallbacks {
    /// What disposes of orphans: an [`OrphanFn`].
    orphan: AtomicPtr<c_void>,
    /// A [`SendvFn`].
    sendv: AtomicPtr<c_void>,
    /// A [`RecvvFn`].
    recvv: AtomicPtr<c_void>,
}

type OrphanFn = unsafe extern "C" fn(*mut Mux, *mut c_void);
type SendvFn = unsafe extern "C" fn(*mut Mux, *mut *mut c_void, c_int) -> c_int;
type RecvvFn = unsafe extern "C" fn(*mut Mux, *mut *mut c_void, c_int) -> c_int;

// SAFETY: contract of mux.h: the Mux stays in its place, and its functions are for any thread.
unsafe impl Send for Callbacks {}
// SAFETY: as above; its fields are read as single words.
unsafe impl Sync for Callbacks {}

type NbrecvHeader = unsafe extern "C" fn(*mut Mux, *mut *mut c_void) -> c_int;
type NbrecvMan3 = unsafe extern "C" fn(*mut Mux) -> *mut c_void;

impl Callbacks {
    pub fn new(mux: *mut Mux, nbrecv_abi: NbrecvAbi) -> Callbacks {
        Callbacks { mux, nbrecv_abi, extra: AtomicPtr::new(null_mut()) }
    }

    /// Has orphans given to `orphan` from now on; false when there is no memory for that.
    pub fn set_orphan(&self, orphan: Option<OrphanFn>) -> bool {
        let Some(extra) = self.extra_or_alloc() else { return false };
        let pointer = orphan.map_or(null_mut(), |orphan| orphan as *mut c_void);
        extra.orphan.store(pointer, Ordering::Release);
        true
    }

    /// Has several messages sent or received at once from now on; false when there is no memory for
    /// that.
    pub fn set_batch(&self, sendv: Option<SendvFn>, recvv: Option<RecvvFn>) -> bool {
        let Some(extra) = self.extra_or_alloc() else { return false };
        extra
            .sendv
            .store(sendv.map_or(null_mut(), |sendv| sendv as *mut c_void), Ordering::Release);
        extra
            .recvv
            .store(recvv.map_or(null_mut(), |recvv| recvv as *mut c_void), Ordering::Release);
        true
    }

    #[inline]
    fn extra(&self) -> Option<&ExtraCallbacks> {
        // SAFETY: nil, or what `extra_or_alloc` has stored, which stays until `free_extra`.
        unsafe { self.extra.load(Ordering::Acquire).as_ref() }
    }

    fn extra_or_alloc(&self) -> Option<&ExtraCallbacks> {
        if let Some(extra) = self.extra() {
            return Some(extra);
        }
        // SAFETY: plain allocation, zeroed, which is a ExtraCallbacks of nils; if another was quicker, it is
        // freed by the one who knows of it.
        unsafe {
            let new: *mut ExtraCallbacks = libc::calloc(1, size_of::<ExtraCallbacks>()).cast();
            if new.is_null() {
                return None;
            }
            if self
                .extra
                .compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Acquire)
                .is_err()
            {
                libc::free(new.cast());
            }
        }
        self.extra()
    }

    /// Gives up the memory that it has.
    ///
    /// # Safety
    /// Nobody is using the Mux.
    pub unsafe fn free_extra(&self) {
        // SAFETY: nil, or malloc's, and the last pointer to it.
        unsafe { libc::free(self.extra.swap(null_mut(), Ordering::AcqRel).cast()) }
    }

    #[inline]
    fn sendv(&self) -> Option<SendvFn> {
        let sendv = self.extra()?.sendv.load(Ordering::Acquire);
        // SAFETY: nil, or what `set_batch` has stored, which has that type.
        unsafe { std::mem::transmute::<*mut c_void, Option<SendvFn>>(sendv) }
    }

    #[inline]
    fn recvv(&self) -> Option<RecvvFn> {
        let recvv = self.extra()?.recvv.load(Ordering::Acquire);
        // SAFETY: as above.
        unsafe { std::mem::transmute::<*mut c_void, Option<RecvvFn>>(recvv) }
    }

    /// Whether all functions are there that a call needs.
    pub fn is_complete(&self) -> bool {
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
    type Watch = MuxrpcWatch;

    #[inline]
    fn range(&self) -> std::ops::Range<u32> {
        // SAFETY: the Mux is there as long as it is in use (mux.h); other threads may be writing, so
        // the words are read as atomic ones.
        unsafe {
            AtomicU32::from_ptr(&raw mut (*self.mux).mintag).load(Ordering::Relaxed)
                ..AtomicU32::from_ptr(&raw mut (*self.mux).maxtag).load(Ordering::Relaxed)
        }
    }

    #[inline]
    fn set_tag(&self, request: &mut Message, tag: u32) -> Result<(), c_int> {
        // SAFETY: as above.
        let Some(settag) = (unsafe { (*self.mux).settag }) else {
            return Err(libc::EINVAL);
        };
        // SAFETY: the program's function, called as mux.h says.
        errors::status(|| unsafe { settag(self.mux, request.0.as_ptr(), tag) })
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
        errors::status(|| unsafe { send(self.mux, request.0.as_ptr()) })
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
        let has_result = match self.nbrecv_abi {
            // SAFETY: the program's function, called as mux.h says; the role is this caller's.
            NbrecvAbi::Header => unsafe { nbrecv(self.mux, &raw mut message) != 0 },
            NbrecvAbi::Man3 => {
                // SAFETY: this Mux was initialised by a source compiled with MUX_MAN3, where the
                // field has that type.
                let nbrecv = unsafe { std::mem::transmute::<NbrecvHeader, NbrecvMan3>(nbrecv) };
                // SAFETY: as for the header's form.
                message = unsafe { nbrecv(self.mux) };
                false
            }
        };
        match NonNull::new(message) {
            Some(message) => Polled::Message(Message(message)),
            None if has_result => Polled::Ended,
            None => Polled::Nothing,
        }
    }

    /// The library does not know how to free one: without the program's function it is leaked, as
    /// the manual page says.
    fn orphan(&self, message: Message) {
        let Some(extra) = self.extra() else { return };
        let pointer = extra.orphan.load(Ordering::Acquire);
        // SAFETY: only `set_orphan` stores here, and what it stores has that type, or is nil.
        let orphan = unsafe { std::mem::transmute::<*mut c_void, Option<OrphanFn>>(pointer) };
        if let Some(orphan) = orphan {
            // SAFETY: the program's function, called as mux.h says.
            unsafe { orphan(self.mux, message.0.as_ptr()) }
        }
    }

    #[inline]
    fn can_send_many(&self) -> bool {
        self.sendv().is_some()
    }

    fn send_many(&self, requests: &mut Batch<Message>) -> Result<NonZeroUsize, c_int> {
        let n = requests.len();
        let Some(sendv) = self.sendv() else {
            // The program has just taken it away.
            requests.iter_mut().next().map_or(Ok(()), |first| self.send(first))?;
            return Ok(NonZeroUsize::MIN);
        };
        let first: *mut *mut c_void = requests.slots().as_mut_ptr().cast();
        // SAFETY: the program's function, called as mux.h says, with as many pointers as it is told:
        // an Option<Message> is one. The turn to send is this caller's.
        let (sent, error) =
            errors::count(|| unsafe { sendv(self.mux, first, n as c_int) }.min(n as c_int));
        usize::try_from(sent).ok().and_then(NonZeroUsize::new).ok_or(error)
    }

    #[inline]
    fn can_recv_many(&self) -> bool {
        self.recvv().is_some()
    }

    fn recv_many(&self, replies: &mut Batch<Message>) {
        let Some(recvv) = self.recvv() else {
            // As above.
            if let Some(reply) = self.recv() {
                let _ = replies.push(reply);
            }
            return;
        };
        let first: *mut *mut c_void = replies.slots().as_mut_ptr().cast();
        // SAFETY: the program's function, called as mux.h says, with room for as many pointers as it
        // is told: an Option<Message> is one. The role is this caller's.
        let n = unsafe { recvv(self.mux, first, BATCH as c_int) };
        replies.compact(usize::try_from(n).unwrap_or(0));
    }

    fn arrived(&self, watch: MuxrpcWatch, reply: &Message) {
        // SAFETY: under the state lock a call's Muxrpc is there; its owner may be looking at `p`.
        unsafe {
            AtomicPtr::from_ptr(&raw mut (*watch.0.as_ptr()).p)
                .store(reply.0.as_ptr(), Ordering::Release)
        }
    }
}
