//! Mux and Muxrpc as C has them.
//!
//! Callers hold a Mux by value, read a Muxrpc, and are relinked without being compiled anew, so
//! every size and offset is that of plan9port's header. What was its private part is ours to fill:
//! the whole Rust Mux lives there (entry.rs), so that a Mux that is simply dropped leaks nothing but
//! its tables.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_uint, c_void};
use std::mem::{MaybeUninit, offset_of, size_of};

use crate::core::CallId;
use crate::rpc::Error;
use crate::sched::plan9::{QLock, Rendez};

/// Looks for a message without waiting: answers 0 when there is none yet; otherwise 1, and stores
/// the message, or nil at the end of the connection.
pub type MuxNbrecv = Option<unsafe extern "C" fn(mux: *mut Mux, reply: *mut *mut c_void) -> c_int>;

/// A multiplexor on one connection.
///
/// The caller owns it, usually inside a structure of its own, and fills the fields above private_
/// before the first call (before or after muxinit); the library reads them at each use, so they may
/// change between calls. It must not be moved or copied once muxinit has seen it. Any number of
/// threads may use it. The callbacks must not throw or longjmp out, nor call the library on the
/// same Mux.
#[repr(C)]
pub struct Mux {
    /// The lowest valid tag.
    pub mintag: c_uint,
    /// One more than the highest valid tag.
    pub maxtag: c_uint,
    /// Sends a message that has its tag; less than 0 is a failure of that call alone. May block. One
    /// at a time is called.
    pub send: Option<unsafe extern "C" fn(mux: *mut Mux, request: *mut c_void) -> c_int>,
    /// Waits for a message; nil is the end of the connection. One at a time of recv and nbrecv is
    /// called.
    pub recv: Option<unsafe extern "C" fn(mux: *mut Mux) -> *mut c_void>,
    /// Looks for a message without waiting: for muxrpccanfinish, for deadlines, and for a call that finds
    /// no tag free. May be nil, for programs without an event loop and without deadlines.
    pub nbrecv: MuxNbrecv,
    /// The tag in a message. Any number at once are called.
    pub gettag: Option<unsafe extern "C" fn(mux: *mut Mux, reply: *mut c_void) -> c_int>,
    /// Puts a tag into a message; less than 0 is a failure of that call. Any number at once are
    /// called.
    pub settag:
        Option<unsafe extern "C" fn(mux: *mut Mux, request: *mut c_void, tag: c_uint) -> c_int>,
    /// The caller's own.
    pub aux: *mut c_void,
    /// The library's own.
    pub private_: MuxPrivate,
}

/// A non-blocking call, from muxrpcstart until muxrpccanfinish answers 1. One thread's.
#[repr(C)]
pub struct Muxrpc {
    /// Its Mux.
    pub mux: *mut Mux,
    /// The library's own.
    pub next: *mut Muxrpc,
    /// The library's own.
    pub prev: *mut Muxrpc,
    /// The library's own.
    pub r: [*mut c_void; 3],
    /// Its tag, which may be another call's by the time that the reply is there.
    pub tag: c_uint,
    /// The reply, once it is there; to look at, not to take: that is for muxrpccanfinish.
    pub p: *mut c_void,
    /// Always 1.
    pub waiting: c_int,
    /// Always 1.
    pub r#async: c_int,
}

/// A Muxrpc as it is allocated: what follows the public part is not in the header.
#[repr(C)]
pub(super) struct MuxrpcRecord {
    pub rpc: Muxrpc,
    /// Its number, once `muxrpcstart` has begun it, until it is over.
    pub id: Option<CallId>,
    /// Why there will be no reply, for one that has been told and asks again.
    pub failed: Option<Error<c_int>>,
}

/// The room that plan9port's private fields take, for its size alone.
#[repr(C)]
struct OriginalPrivate {
    locks: [QLock; 3],
    rendez: [Rendez; 2],
    queues: [*mut c_void; 2],
    counts: [c_uint; 3],
    wait: [*mut c_void; 2],
    sleep: Muxrpc,
}

/// The library's part of a Mux.
///
/// cbindgen:ignore
#[repr(C)]
pub struct MuxPrivate(UnsafeCell<MaybeUninit<OriginalPrivate>>);

const _: () = {
    let word = size_of::<usize>();
    assert!(offset_of!(Mux, mintag) == 0);
    assert!(offset_of!(Mux, maxtag) == 4);
    assert!(offset_of!(Mux, send) == 8);
    assert!(offset_of!(Mux, recv) == 8 + word);
    assert!(offset_of!(Mux, nbrecv) == 8 + 2 * word);
    assert!(offset_of!(Mux, gettag) == 8 + 3 * word);
    assert!(offset_of!(Mux, settag) == 8 + 4 * word);
    assert!(offset_of!(Mux, aux) == 8 + 5 * word);
    assert!(offset_of!(Mux, private_) == 8 + 6 * word);
    assert!(offset_of!(Muxrpc, next) == word);
    assert!(offset_of!(Muxrpc, tag) == 6 * word);
    assert!(offset_of!(Muxrpc, p) == 7 * word);
    assert!(offset_of!(Muxrpc, waiting) == 8 * word);
    assert!(offset_of!(Muxrpc, r#async) == 8 * word + 4);
    assert!(size_of::<Muxrpc>() == 8 * word + 8);
};

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64"))]
const _: () = {
    assert!(size_of::<Mux>() == 464);
    assert!(offset_of!(Mux, private_) == 56);
    assert!(size_of::<Muxrpc>() == 72);
};
