//! The five functions of mux(3), in the form of plan9port's header.

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};

use super::callbacks::{Callbacks, Message, MuxrpcWatch, NbrecvAbi};
use super::entry::{InnerMux, checked_call, guard};
use super::errors;
use super::layout::{Mux, Muxrpc, MuxrpcRecord};
use crate::rpc::{self, Finished};
use crate::sched::dispatch::DispatchSched;
use crate::sched::{ProcMain, Sched, custom};

/// Makes mux ready for use. The fields above private_ may be filled before or after. A Mux on which
/// no call is outstanding and no proc runs may be initialised again: counters, the hang-up, and what
/// muxsetorphan and muxsetbatch have set begin anew. errno is EINVAL when mux is nil, and, elsewhere than on
/// 64-bit Linux, ENOMEM when there is no memory: calls then fail with EINVAL.
///
/// # Safety
/// `mux` is nil or points to memory of a Mux's size that nobody is using.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxinit(mux: *mut Mux) {
    // SAFETY: the caller's promise, passed on.
    guard((), || unsafe { init(mux, NbrecvAbi::Header) });
}

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

/// Sends request and waits for its reply, which it answers: the caller's from then on.
///
/// The request stays the caller's, and is no longer used when muxrpc returns. While it waits, the
/// caller may find itself in recv, on behalf of all. When all tags are in use it waits for one.
///
/// Answers nil on error. errno: ECONNRESET, the connection has ended; what send or settag has left
/// there (EIO if nothing), it has failed; EAGAIN, all tags are held for replies to calls given up;
/// ESHUTDOWN, muxhangup was called; ENOMEM, no memory for the call; EINVAL, a nil mux, request
/// or function, a Mux without muxinit, or maxtag not above mintag; EPERM, a thread that libthread
/// did not make, in a program of libthread's. Where the program has lib9, its error string says the
/// same, and errno is lib9's mark.
///
/// # Safety
/// `mux` is nil or points to a Mux; `request` is what the Mux's own functions expect.
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

/// Sends request without waiting for its reply, and answers the call, to be given to
/// muxrpccanfinish until that answers 1.
///
/// The request stays the caller's, and is no longer used when muxrpcstart returns. Answers nil on
/// error, errno as for muxrpc, and EAGAIN when all tags are in use.
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
    // SAFETY: just allocated, and nobody else's yet.
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
    let result = inner.start_watched(request, MuxrpcWatch(watch), |id, tag| {
        // SAFETY: the request is not sent yet, so nobody else looks at the Muxrpc.
        unsafe {
            (*record).id = Some(id);
            (*record).rpc.tag = tag;
        }
    });
    match result {
        Ok(_) => watch.as_ptr(),
        Err(error) => {
            // SAFETY: the call is no longer in the machine, so this is the last pointer to it.
            unsafe { libc::free(record.cast()) };
            errors::set_error(error);
            null_mut()
        }
    }
}

/// Whether the call rpc can finish. Answers 1 and stores its reply, which is the caller's from then
/// on; 1 and stores nil when there will be none; 0 and stores nil when it is still pending, which
/// includes that somebody else is receiving just now. When it answers 1, rpc is gone.
///
/// Unless somebody receives already, takes what nbrecv has, for whatever calls it is. errno after 1
/// with nil: ECONNRESET, the connection has ended; EOPNOTSUPP, nobody receives, there are no procs
/// and no nbrecv, so it could never finish; EINVAL, rpc is nil. errno after 0 is of no account but for
/// EINVAL, reply is nil, and EPERM, as for muxrpc: the call goes on.
///
/// # Safety
/// `rpc` is nil or a call that muxrpcstart has answered and that is not gone; `reply` is nil or
/// points to where the reply goes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxrpccanfinish(rpc: *mut Muxrpc, reply: *mut *mut c_void) -> c_int {
    guard(1, || {
        if rpc.is_null() || reply.is_null() {
            errors::set_invalid();
            if !reply.is_null() {
                // SAFETY: the caller's promise.
                unsafe { reply.write(null_mut()) };
            }
            // Without a place for the reply the call goes on: nothing is lost.
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
        // SAFETY: the call is over, so this is the last pointer to it.
        unsafe { libc::free(rpc.cast()) };
        if let Some(Finished::Failed(error)) = finished {
            errors::set_error(error);
        }
        1
    })
}

/// How the call `rpc` stands; `None`, and errno, when this caller can not know.
///
/// # Safety
/// `rpc` is a call that muxrpcstart has answered and that is not gone.
pub(super) unsafe fn try_collect(rpc: *mut Muxrpc) -> Option<Finished<Message, c_int>> {
    // SAFETY: a Muxrpc that is not gone is a MuxrpcRecord, its owner's, whose Mux is in use.
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

/// Starts two procs, one in which recv runs and one in which send runs, until the connection ends;
/// then the Mux works as before. Does nothing when they run already. Under libthread they are its
/// procs, under muxsetsched its tasks; otherwise detached threads, which take no signals. If they can not
/// be started, errno says why, and the Mux works as before: ENOSYS, the program's scheduler has no start;
/// EAGAIN or ENOMEM, it can start no more, or the system can not; EINVAL and EPERM as for muxrpc. After
/// muxhangup they leave at once.
///
/// # Safety
/// `mux` is nil or points to a Mux, which stays until both have ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxprocs(mux: *mut Mux) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_call(mux) }) else {
            return;
        };
        if inner.claim_send_proc() {
            // SAFETY: the function takes a Mux, and this one stays.
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
    // SAFETY: muxprocs gave it a Mux that muxinit has seen and that stays.
    guard((), || unsafe { (*Mux::inner(mux.cast())).run_send_proc() });
}

unsafe extern "C" fn receive_main(mux: *mut c_void) {
    // SAFETY: as above.
    guard((), || unsafe { (*Mux::inner(mux.cast())).run_receive_proc() });
}
