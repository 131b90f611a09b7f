//! The five functions of plan9port's libmux, in the form of its header.

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};

use super::callbacks::{Callbacks, Message, MuxrpcWatch, NbrecvAbi};
use super::entry::{InnerMux, checked_call, guard};
use super::errors;
use super::layout::{Mux, Muxrpc, MuxrpcRecord};
use crate::rpc::{self, Finished};
use crate::sched::dispatch::DispatchSched;
use crate::sched::{ProcMain, Sched, custom};

/// Initialises the private part of mux, whatever it contains, and leaves the other fields
/// unchanged.
///
/// Must not be called while a call is outstanding on mux or a proc runs. A second muxinit
/// resets the counters, the hang-up, and the functions set by muxsetorphan and muxsetbatch.
/// Unless muxfree was called before, the memory that the Mux had allocated is leaked.
///
/// errno on failure:
/// - EINVAL: mux is NULL.
/// - ENOMEM: no memory, which cannot happen on 64-bit Linux. Calls then fail with EINVAL.
///
/// # Safety
/// `mux` is NULL or points to the memory of a Mux that no thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxinit(mux: *mut Mux) {
    // SAFETY: the caller's promise, passed on.
    guard((), || unsafe { init(mux, NbrecvAbi::Header) });
}

/// Initialises `mux` for a source that has the given form of nbrecv.
///
/// # Safety
/// As for [`muxinit`].
pub(super) unsafe fn init(mux: *mut Mux, nbrecv_abi: NbrecvAbi) {
    if mux.is_null() {
        return errors::set_invalid();
    }
    custom::forbid_install();
    let inner = rpc::Mux::with_sched(Callbacks::new(mux, nbrecv_abi), DispatchSched);
    // SAFETY: the caller's promise, passed on.
    if !unsafe { Mux::init_private(mux, inner) } {
        errors::set_error(rpc::Error::NoMemory);
    }
}

/// Sends request and waits for its reply.
///
/// If all tags are in use, it first waits for a free tag. If no other thread receives, the
/// caller receives messages for all callers until its own reply arrives.
///
/// Returns the reply, which then belongs to the caller. Returns NULL on error and sets errno.
/// The request remains the caller's, and the library does not use it after muxrpc has returned.
/// May be called by any number of threads at once.
///
/// errno on failure:
/// - ECONNRESET: the connection has ended.
/// - ESHUTDOWN: muxhangup has been called.
/// - EAGAIN: every tag belongs to an abandoned call.
/// - ENOMEM: no memory for the call.
/// - EINVAL: mux or request is NULL, send, recv, settag or gettag is NULL, muxinit has not been
///   called, or maxtag is not greater than mintag.
/// - EPERM: the program uses libthread, and the calling thread was not created by it.
/// - the value that send or settag has left in errno, or EIO if it has left none: the callback
///   has returned a negative value.
///
/// In a program with lib9, the error string describes the failure, and errno has the value by
/// which lib9 marks that.
///
/// # Safety
/// `mux` is NULL or points to a Mux; `request` is a message that the callbacks of the Mux
/// accept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxrpc(mux: *mut Mux, request: *mut c_void) -> *mut c_void {
    guard(null_mut(), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_call(mux) }) else {
            return null_mut();
        };
        let Some(request) = NonNull::new(request) else {
            errors::set_invalid();
            return null_mut();
        };
        match inner.rpc(Message(request)) {
            Ok(reply) => reply.0.as_ptr(),
            Err(error) => {
                errors::set_error(error);
                null_mut()
            }
        }
    })
}

/// Sends request without waiting for its reply.
///
/// Returns when the request has been sent, so it may block as long as send does. Returns a
/// Muxrpc, which must be passed to muxrpccanfinish until that returns 1, or to muxrpccancel.
/// Returns NULL on error and sets errno. The request remains the caller's, and the library does
/// not use it after muxrpcstart has returned. May be called by any number of threads at once.
///
/// errno on failure: as for muxrpc, and EAGAIN if all tags are in use.
///
/// # Safety
/// As for [`muxrpc`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxrpcstart(mux: *mut Mux, request: *mut c_void) -> *mut Muxrpc {
    guard(null_mut(), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_call(mux) }) else {
            return null_mut();
        };
        let Some(request) = NonNull::new(request) else {
            errors::set_invalid();
            return null_mut();
        };
        start(inner, mux, Message(request))
    })
}

fn start(inner: &InnerMux, mux: *mut Mux, request: Message) -> *mut Muxrpc {
    // SAFETY: plain allocation.
    let record: *mut MuxrpcRecord = unsafe { libc::malloc(size_of::<MuxrpcRecord>()) }.cast();
    let Some(watch) = NonNull::new(record.cast::<Muxrpc>()) else {
        errors::set_error(rpc::Error::NoMemory);
        return null_mut();
    };
    // SAFETY: just allocated and not shared yet.
    unsafe {
        record.write(MuxrpcRecord {
            rpc: Muxrpc {
                mux,
                next: null_mut(),
                prev: null_mut(),
                r: [null_mut(); 3],
                tag: 0,
                p: null_mut(),
                waiting: 1,
                r#async: 1,
            },
            id: None,
            failed: None,
        });
    }
    let result = inner.start_watched(
        || request,
        MuxrpcWatch(watch),
        |id, tag| {
            // SAFETY: the request has not been sent, so no other thread uses the Muxrpc.
            unsafe {
                (*record).id = Some(id);
                (*record).rpc.tag = tag;
            }
        },
    );
    match result {
        Ok(_) => watch.as_ptr(),
        Err(error) => {
            // SAFETY: the call has left the machine, so this is the last pointer to the record.
            unsafe { libc::free(record.cast()) };
            errors::set_error(error);
            null_mut()
        }
    }
}

/// Collects the result of a non-blocking call, without waiting.
///
/// Returns 1 and stores the reply in *reply if it has arrived; the reply then belongs to the
/// caller. Returns 1 and stores NULL if there will be no reply, and sets errno. Returns 0 and
/// stores NULL if the call is still pending. When it returns 1, it has freed rpc, which must
/// not be used again.
///
/// If no other thread is receiving, it calls nbrecv until this reply has arrived or no message
/// is available, and delivers each message to the call to which it belongs. rpc may be used by
/// one thread at a time.
///
/// errno after 1 with NULL:
/// - ECONNRESET: the connection has ended.
/// - EOPNOTSUPP: there is no nbrecv, and no thread or proc receives, so that the call could
///   never finish.
/// - EINVAL: rpc is NULL.
///
/// errno after 0, when rpc has not been examined and the call continues:
/// - EINVAL: reply is NULL.
/// - EPERM: as for muxrpc.
///
/// Any other value of errno after 0 has no meaning.
///
/// # Safety
/// `rpc` is NULL, or was returned by muxrpcstart and has not been freed; `reply` is NULL or
/// points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxrpccanfinish(rpc: *mut Muxrpc, reply: *mut *mut c_void) -> c_int {
    guard(1, || {
        if rpc.is_null() || reply.is_null() {
            errors::set_invalid();
            if !reply.is_null() {
                // SAFETY: the caller's promise.
                unsafe { reply.write(null_mut()) };
            }
            // The call continues if there is no place for its reply.
            return c_int::from(rpc.is_null());
        }
        // SAFETY: the caller's promise, passed on.
        let finished = unsafe { try_collect(rpc) };
        let message = match finished {
            Some(Finished::Reply(message)) => message.0.as_ptr(),
            _ => null_mut(),
        };
        // SAFETY: the caller's promise.
        unsafe { reply.write(message) };
        let Some(Finished::Reply(_) | Finished::Failed(_)) = finished else { return 0 };
        // SAFETY: the call has ended, so this is the last pointer to the record.
        unsafe { libc::free(rpc.cast()) };
        if let Some(Finished::Failed(error)) = finished {
            errors::set_error(error);
        }
        1
    })
}

/// The result of the call `rpc`. Returns `None` and sets errno if this caller must not wait or
/// wake.
///
/// # Safety
/// `rpc` was returned by muxrpcstart and has not been freed.
pub(super) unsafe fn try_collect(rpc: *mut Muxrpc) -> Option<Finished<Message, c_int>> {
    // SAFETY: a Muxrpc that has not been freed is a MuxrpcRecord that its owner alone uses, and its
    // Mux is valid.
    unsafe {
        let record: *mut MuxrpcRecord = rpc.cast();
        let inner = super::entry::checked_caller((*rpc).mux)?;
        let Some(id) = (*record).id else {
            return Some(Finished::Failed((*record).failed.unwrap_or(rpc::Error::Ended)));
        };
        let finished = inner.can_finish(id);
        if let Finished::Failed(error) = finished {
            (*record).id = None;
            (*record).failed = Some(error);
        }
        Some(finished)
    }
}

/// Starts two procs: one calls recv for all callers, the other one calls send.
///
/// The procs end when the connection ends, and at once after muxhangup. The Mux then works as
/// if muxprocs had not been called. If both procs are running, muxprocs does nothing. The procs
/// are threads of libthread in a program of libthread, tasks of the program's scheduler after
/// muxsetsched, and otherwise detached POSIX threads that block all signals except the signals that a
/// fault raises. The Mux must stay valid until both procs have ended: muxfree waits for them.
///
/// errno on failure, after which the Mux is unchanged:
/// - ENOSYS: the program's scheduler has no start.
/// - EAGAIN or ENOMEM: the system or the scheduler cannot start another thread.
/// - EINVAL and EPERM: as for muxrpc.
///
/// # Safety
/// `mux` is NULL or points to a Mux, which stays valid until both procs have ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxprocs(mux: *mut Mux) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_call(mux) }) else {
            return;
        };
        if inner.claim_send_proc() {
            // SAFETY: `send_main` expects a Mux, and the caller keeps this one valid.
            let started =
                unsafe { inner.sched().start(ProcMain { main: send_main, arg: mux.cast() }) };
            if let Err(error) = started {
                inner.procs_failed(false);
                return errors::set_not_started(error.0);
            }
        }
        if inner.claim_receive_proc() {
            // SAFETY: as above.
            let started =
                unsafe { inner.sched().start(ProcMain { main: receive_main, arg: mux.cast() }) };
            if let Err(error) = started {
                inner.procs_failed(true);
                errors::set_not_started(error.0);
            }
        }
    });
}

unsafe extern "C" fn send_main(mux: *mut c_void) {
    // SAFETY: muxprocs passed an initialised Mux that stays valid until the procs have ended.
    guard((), || unsafe { (*Mux::inner(mux.cast())).run_send_proc() });
}

unsafe extern "C" fn receive_main(mux: *mut c_void) {
    // SAFETY: as above.
    guard((), || unsafe { (*Mux::inner(mux.cast())).run_receive_proc() });
}
