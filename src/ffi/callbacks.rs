//! C functions as a [`Transport`].
//!
//! The public fields of a Mux are read at each use, as single words, because the program may change
//! them at any time. errno is set to 0 before send and settag, so that a value which they leave
//! there is known to be theirs, and is restored if they succeed.

use std::ffi::{c_int, c_void};
use std::num::NonZeroUsize;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::errors;
use super::layout::{Mux, Muxrpc};
use crate::rpc::{BATCH, Batch, Polled, Transport};

/// A message of the program. The library only passes it back to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Message(pub NonNull<c_void>);

// SAFETY: the library does not dereference a message, and the program accepts its callbacks in any
// thread.
unsafe impl Send for Message {}

/// A Muxrpc; its field `p` shows the program that the reply has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MuxrpcWatch(pub NonNull<Muxrpc>);

// SAFETY: used under the state lock while the call is in the machine. The owner frees the Muxrpc only
// after it has removed the call from the machine.
unsafe impl Send for MuxrpcWatch {}

/// The form of nbrecv in the header with which the program was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NbrecvAbi {
    /// plan9port's header: nbrecv returns an int.
    Header,
    /// plan9port's manual page: nbrecv returns the message.
    Man3,
}

/// The callbacks of a Mux.
pub struct Callbacks {
    mux: *mut Mux,
    nbrecv_abi: NbrecvAbi,
    /// The callbacks that have no field in a Mux, in memory of malloc, or NULL if none has been
    /// set.
    extra: AtomicPtr<ExtraCallbacks>,
}

/// Callbacks for which plan9port's Mux has no fields. Each is NULL or has the type named here.
struct ExtraCallbacks {
    /// Disposes of orphans: an [`OrphanFn`].
    orphan: AtomicPtr<c_void>,
    /// A [`SendvFn`].
    sendv: AtomicPtr<c_void>,
    /// A [`RecvvFn`].
    recvv: AtomicPtr<c_void>,
}

type OrphanFn = unsafe extern "C" fn(*mut Mux, *mut c_void);
type SendvFn = unsafe extern "C" fn(*mut Mux, *mut *mut c_void, c_int) -> c_int;
type RecvvFn = unsafe extern "C" fn(*mut Mux, *mut *mut c_void, c_int) -> c_int;

// SAFETY: by the contract of mux.h, the Mux does not move and its callbacks accept any thread.
unsafe impl Send for Callbacks {}
// SAFETY: as above; the fields are read as single words.
unsafe impl Sync for Callbacks {}

type NbrecvHeader = unsafe extern "C" fn(*mut Mux, *mut *mut c_void) -> c_int;
type NbrecvMan3 = unsafe extern "C" fn(*mut Mux) -> *mut c_void;

impl Callbacks {
    pub fn new(mux: *mut Mux, nbrecv_abi: NbrecvAbi) -> Callbacks {
        Callbacks { mux, nbrecv_abi, extra: AtomicPtr::new(null_mut()) }
    }

    /// Makes the library pass orphans to `orphan`. Returns false if there is no memory.
    pub fn set_orphan(&self, orphan: Option<OrphanFn>) -> bool {
        let Some(extra) = self.extra_or_alloc() else { return false };
        let pointer = orphan.map_or(null_mut(), |orphan| orphan as *mut c_void);
        extra.orphan.store(pointer, Ordering::Release);
        true
    }

    /// Makes the library send and receive several messages at once. Returns false if there is
    /// no memory.
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
        // SAFETY: NULL, or stored by `extra_or_alloc` and valid until `free_extra`.
        unsafe { self.extra.load(Ordering::Acquire).as_ref() }
    }

    fn extra_or_alloc(&self) -> Option<&ExtraCallbacks> {
        if let Some(extra) = self.extra() {
            return Some(extra);
        }
        // SAFETY: plain allocation, zeroed, which is an ExtraCallbacks of NULLs. The memory is freed here if another thread
        // has stored its own first.
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

    /// Frees the memory of the extra callbacks.
    ///
    /// # Safety
    /// No thread uses the Mux.
    pub unsafe fn free_extra(&self) {
        // SAFETY: NULL, or the last pointer to memory of malloc.
        unsafe { libc::free(self.extra.swap(null_mut(), Ordering::AcqRel).cast()) }
    }

    #[inline]
    fn sendv(&self) -> Option<SendvFn> {
        let sendv = self.extra()?.sendv.load(Ordering::Acquire);
        // SAFETY: NULL, or stored by `set_batch` with that type.
        unsafe { std::mem::transmute::<*mut c_void, Option<SendvFn>>(sendv) }
    }

    #[inline]
    fn recvv(&self) -> Option<RecvvFn> {
        let recvv = self.extra()?.recvv.load(Ordering::Acquire);
        // SAFETY: as above.
        unsafe { std::mem::transmute::<*mut c_void, Option<RecvvFn>>(recvv) }
    }

    /// Returns true if all callbacks that a call needs are set.
    pub fn is_complete(&self) -> bool {
        // SAFETY: the Mux is valid while it is in use (mux.h).
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
        // a tag that no range contains.
        Some(unsafe { gettag(self.mux, reply.0.as_ptr()) } as u32)
    }

    #[inline]
    fn send(&self, request: Message) -> Result<(), c_int> {
        // SAFETY: as above.
        let Some(send) = (unsafe { (*self.mux).send }) else {
            return Err(libc::EINVAL);
        };
        // SAFETY: the program's function, called as mux.h says; this caller has the turn to send.
        errors::status(|| unsafe { send(self.mux, request.0.as_ptr()) })
    }

    #[inline]
    fn recv(&self) -> Option<Message> {
        // SAFETY: as above.
        let recv = unsafe { (*self.mux).recv }?;
        // SAFETY: the program's function, called as mux.h says; this caller has the receiver role.
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
            // SAFETY: the program's function, called as mux.h says; this caller has the receiver role.
            NbrecvAbi::Header => unsafe { nbrecv(self.mux, &raw mut message) != 0 },
            NbrecvAbi::Man3 => {
                // SAFETY: this Mux was initialised by a source compiled with MUX_MAN3, where the
                // field has that type.
                let nbrecv = unsafe { std::mem::transmute::<NbrecvHeader, NbrecvMan3>(nbrecv) };
                // SAFETY: as for the form of the header.
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

    /// The library cannot free a message. Without an orphan function the message is leaked, as
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
            // The program has reset sendv since `can_send_many` was called.
            requests.take_first().map_or(Ok(()), |first| self.send(first))?;
            return Ok(NonZeroUsize::MIN);
        };
        let first: *mut *mut c_void = requests.slots().as_mut_ptr().cast();
        // SAFETY: the program's function, called as mux.h says, with as many pointers as `n` says:
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
            // The program has reset recvv since `can_recv_many` was called.
            if let Some(reply) = self.recv() {
                let _ = replies.push(reply);
            }
            return;
        };
        let first: *mut *mut c_void = replies.slots().as_mut_ptr().cast();
        // SAFETY: the program's function, called as mux.h says, with room for `BATCH` pointers: an
        // Option<Message> is one. The role is this caller's.
        let n = unsafe { recvv(self.mux, first, BATCH as c_int) };
        replies.compact(usize::try_from(n).unwrap_or(0));
    }

    fn arrived(&self, watch: MuxrpcWatch, reply: &Message) {
        // SAFETY: the Muxrpc of a call is valid under the state lock. Its owner may read `p` meanwhile.
        unsafe {
            AtomicPtr::from_ptr(&raw mut (*watch.0.as_ptr()).p)
                .store(reply.0.as_ptr(), Ordering::Release)
        }
    }
}
