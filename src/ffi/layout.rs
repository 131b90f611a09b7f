//! Mux and Muxrpc as C programs see them.
//!
//! A C program allocates a Mux itself, reads the fields of a Muxrpc, and may be linked again
//! without being recompiled. Every size and offset must therefore be that of plan9port's header.
//! The private part of a Mux contains the whole Rust Mux (entry.rs), so that a Mux that the program
//! forgets leaks only its tables.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_uint, c_void};
use std::mem::{MaybeUninit, offset_of, size_of};

use crate::core::CallId;
use crate::rpc::Error;
use crate::sched::plan9::{QLock, Rendez};

/// Receives a message without blocking. Returns 0 if no complete message has arrived. Otherwise
/// returns 1 and stores the message, or NULL at the end of the connection.
pub type MuxNbrecv = Option<unsafe extern "C" fn(mux: *mut Mux, reply: *mut *mut c_void) -> c_int>;

/// A multiplexor: many callers share one connection.
///
/// The program allocates a Mux, often inside a structure of its own, sets the fields above
/// private_, and calls muxinit. The fields may be set before or after muxinit. The library
/// reads a field each time that it needs it, so the program may change a field between calls.
///
/// Lifetime: a Mux must not be moved or copied after muxinit, and must stay valid until muxfree
/// has succeeded, or until no call is outstanding and no proc runs.
///
/// Threads: every function of the library may be called on the same Mux by any number of
/// threads at once, except muxinit and muxfree. Threads must be created by pthread_create: a
/// thread created by clone(2) does not clear glibc's __libc_single_threaded, on which the lock
/// of a Mux relies, and callers may then hang.
///
/// Callbacks: the functions below are called without any lock held. They must return normally:
/// they must not throw an exception or call longjmp. A C++ exception that leaves a callback is
/// undefined behaviour and leaves the other callers waiting. They must not call the library on
/// the same Mux.
///
/// Internal errors: a build with panic = "unwind" sets errno to EFAULT after a Rust panic in
/// the library. A build with panic = "abort", as made by make, cannot do so: a panic would end
/// the program. On x86-64 Linux such a build contains no code that can panic.
#[repr(C)]
pub struct Mux {
    /// The lowest valid tag.
    pub mintag: c_uint,
    /// The highest valid tag plus 1.
    pub maxtag: c_uint,
    /// Sends a request, which has its tag. May block. A negative return value fails this call
    /// only. At most one call of send (or sendv) runs at a time.
    pub send: Option<unsafe extern "C" fn(mux: *mut Mux, request: *mut c_void) -> c_int>,
    /// Waits for the next message and returns it. Returns NULL at the end of the connection. At
    /// most one call of recv, nbrecv or recvv runs at a time.
    pub recv: Option<unsafe extern "C" fn(mux: *mut Mux) -> *mut c_void>,
    /// As recv, but must not block. Called by muxrpccanfinish; for a caller with a deadline
    /// that is the muxer; and for a new call that finds no free tag. May be NULL in a program
    /// without non-blocking calls and deadlines.
    pub nbrecv: MuxNbrecv,
    /// Returns the tag of a message. Several threads may call it at once.
    pub gettag: Option<unsafe extern "C" fn(mux: *mut Mux, reply: *mut c_void) -> c_int>,
    /// Stores a tag in a request. A negative return value fails this call only. Several threads
    /// may call it at once.
    pub settag:
        Option<unsafe extern "C" fn(mux: *mut Mux, request: *mut c_void, tag: c_uint) -> c_int>,
    /// Belongs to the program. The library does not use it.
    pub aux: *mut c_void,
    /// Belongs to the library.
    pub private_: MuxPrivate,
}

/// A non-blocking call.
///
/// Ownership: muxrpcstart returns it. It is valid until muxrpccanfinish returns 1, or until
/// muxrpccancel or muxfree frees it. The program must not free it.
///
/// Threads: a Muxrpc may be used by one thread at a time.
#[repr(C)]
pub struct Muxrpc {
    /// The Mux of the call.
    pub mux: *mut Mux,
    /// Belongs to the library.
    pub next: *mut Muxrpc,
    /// Belongs to the library.
    pub prev: *mut Muxrpc,
    /// Belongs to the library.
    pub r: [*mut c_void; 3],
    /// The tag of the call. Once the reply has arrived, the tag may belong to another call.
    pub tag: c_uint,
    /// Not NULL once the reply has arrived. The program may test it, and must obtain the reply
    /// from muxrpccanfinish.
    pub p: *mut c_void,
    /// Always 1.
    pub waiting: c_int,
    /// Always 1.
    pub r#async: c_int,
}

/// A Muxrpc as the library allocates it. The fields after `rpc` are not in the header.
#[repr(C)]
pub(super) struct MuxrpcRecord {
    pub rpc: Muxrpc,
    /// The call, from the moment that `muxrpcstart` has begun it until it has ended.
    pub id: Option<CallId>,
    /// The error of a call that ended without a reply, for a program that asks again.
    pub failed: Option<Error<c_int>>,
}

/// The private fields of plan9port's Mux. Only their total size is used.
#[repr(C)]
struct OriginalPrivate {
    locks: [QLock; 3],
    rendez: [Rendez; 2],
    queues: [*mut c_void; 2],
    counts: [c_uint; 3],
    wait: [*mut c_void; 2],
    sleep: Muxrpc,
}

/// The private part of a Mux.
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

/// plan9port's layout, computed from the system's pthread_mutex_t without the structures above.
const _: () = {
    /// Rounds `size` up to a multiple of `align`.
    const fn round_up(size: usize, align: usize) -> usize {
        size.div_ceil(align) * align
    }
    let word = size_of::<usize>();
    let mutex = size_of::<libc::pthread_mutex_t>();
    let align = align_of::<libc::pthread_mutex_t>();
    // Lock is an int, a mutex and an int.
    let lock = round_up(round_up(4, align) + mutex + 4, align);
    let qlock = round_up(lock, word) + 3 * word;
    let rendez = 3 * word;
    let muxrpc = 8 * word + 8;
    let public = 8 + 6 * word;
    let private = 3 * qlock + 2 * rendez + 2 * word + round_up(3 * 4, word) + 2 * word + muxrpc;
    assert!(size_of::<Muxrpc>() == muxrpc);
    assert!(offset_of!(Mux, private_) == public);
    assert!(size_of::<Mux>() == public + private);
};

// The same as numbers, for the architectures on which the C tests run.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const _: () = {
    let sizes = (size_of::<Mux>(), offset_of!(Mux, private_), size_of::<Muxrpc>());
    if cfg!(all(any(target_arch = "x86_64", target_arch = "s390x"), target_pointer_width = "64")) {
        assert!(matches!(sizes, (464, 56, 72)));
    } else if cfg!(target_arch = "aarch64") {
        assert!(matches!(sizes, (488, 56, 72)));
    } else if cfg!(any(target_arch = "x86", target_arch = "arm")) {
        assert!(matches!(sizes, (256, 32, 40)));
    }
};
