//! What plan9port's libmux lacks, in the same header under new names.

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use std::mem::offset_of;
use std::ptr::{NonNull, null_mut};

use super::callbacks::Message;
use super::entry::{checked_call, checked_caller, checked_mux, guard};
use super::errors;
use super::layout::{Mux, Muxrpc, MuxrpcRecord};
use crate::rpc::Error;
use crate::sched::{clock, custom};

/// How a Mux is doing. The caller sets size to the size of what it has room for.
#[repr(C)]
pub struct Muxstats {
    /// sizeof(Muxstats), set by the caller.
    pub size: c_uint,
    /// Tags in use now, for calls and for replies to calls that were given up: cancelled, or too late.
    pub outstanding: c_uint,
    /// Most tags in use at once.
    pub most: c_uint,
    /// Not used.
    pub unused: c_uint,
    /// Calls begun.
    pub calls: c_ulong,
    /// Messages that belonged to no call, or to one given up.
    pub orphans: c_ulong,
    /// Times that the muxer's role went from one caller to another.
    pub handovers: c_ulong,
    /// Calls that had to wait for a tag.
    pub tagwaits: c_ulong,
    /// Calls begun that ended without a reply, other than by muxrpccancel.
    pub errors: c_ulong,
}

/// A program's own scheduler, for muxsetsched: how its tasks sleep and wake. The caller sets size to
/// sizeof(Muxsched). park, parkfor and task are called by the task that they are about, unpark by any.
/// task is called with a lock of the library's held: it may not switch tasks, and has no reason to. Nor may a
/// signal handler, while a task is inside the library: tasks switch in park, parkfor and the program's functions.
#[repr(C)]
pub struct Muxsched {
    /// sizeof(Muxsched), set by the caller.
    pub size: c_uint,
    /// The calling task, as the others get it.
    pub task: Option<unsafe extern "C" fn() -> *mut c_void>,
    /// Sleeps the calling task until unpark is called for it; returns at once if that has happened since
    /// it last slept. Returning too early does no harm.
    pub park: Option<unsafe extern "C" fn(task: *mut c_void)>,
    /// Wakes a task, now or when it next sleeps. It may have gone on by itself just then, and even have
    /// ended: what task answered stays good for this call.
    pub unpark: Option<unsafe extern "C" fn(task: *mut c_void)>,
    /// Starts a task that runs body(arg); less than 0 when it can not. nil: muxprocs fails with ENOSYS.
    pub start: Option<
        unsafe extern "C" fn(body: unsafe extern "C" fn(*mut c_void), arg: *mut c_void) -> c_int,
    >,
    /// As park, but for ms milliseconds at most; what it answers is not looked at. nil: muxrpctimeout
    /// fails with EOPNOTSUPP.
    pub parkfor: Option<unsafe extern "C" fn(task: *mut c_void, ms: c_int) -> c_int>,
}

/// How long muxfree waits for those inside, in milliseconds.
const FREE_TIMEOUT_MS: i64 = 3000;

/// Ends mux: as muxhangup, then waits until nobody is inside any more (callers, procs), and gives up all
/// memory. Calls that have not been collected are gone, the Muxrpcs too, and so is one that muxrpcstart
/// answers meanwhile; their replies are disposed of as orphans. Afterwards the Mux may be freed, or given to muxinit again.
///
/// Whoever is inside send or recv, the procs too, must be on its way out: shut the connection down
/// before. It waits for three seconds at most; if somebody is still inside then, it gives up nothing,
/// sets errno to EBUSY, and may be called again. EBUSY comes at once where it can not wait (the program's
/// scheduler has no parkfor, libthread could start no proc for the clock) and while another muxfree waits.
/// No call may begin while it runs, or after it. errno also: EINVAL, mux is nil, or not one that muxinit
/// has seen; EPERM, as for muxrpc.
///
/// # Safety
/// `mux` is nil or points to a Mux.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxfree(mux: *mut Mux) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_caller(mux) }) else { return };
        let result = inner.shut_down(clock::after(FREE_TIMEOUT_MS), |watch| {
            // SAFETY: its call is not in the machine any more; its owner knows that it is gone.
            unsafe { libc::free(watch.0.as_ptr().cast()) }
        });
        match result {
            // SAFETY: nobody is inside, and no call begins: the caller's promise.
            Ok(()) => unsafe {
                inner.transport().free_extra();
                Mux::clear_private(mux);
            },
            Err(error) => errors::set_error(error),
        }
    });
}

/// As muxrpc, but waits for ms milliseconds at most: nil with ETIMEDOUT then. Less than 0 is for ever; with
/// 0 nothing is sent.
/// The tag stays out of use until the reply comes, which is an orphan then, or the connection ends;
/// while all tags are so held, calls fail with EAGAIN.
///
/// How soon it answers: at once when the time has come, with procs, or while another caller receives. A
/// caller that finds itself receiving for all looks for messages by nbrecv and sleeps in between, for 5
/// milliseconds at most. Without nbrecv it is in recv, and answers when the next message comes, whosever
/// that is; callers of muxrpc go before it there. And it does not answer while its request is in send.
///
/// errno also: EOPNOTSUPP, the program's scheduler has no parkfor; EAGAIN, libthread could start no proc
/// for the clock.
///
/// # Safety
/// As for muxrpc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxrpctimeout(
    mux: *mut Mux,
    request: *mut c_void,
    ms: c_int,
) -> *mut c_void {
    guard(null_mut(), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_call(mux) }) else { return null_mut() };
        let Some(request) = NonNull::new(request) else {
            errors::set_invalid();
            return null_mut();
        };
        match inner.rpc_deadline(Message(request), clock::after(ms.into())) {
            Ok(reply) => reply.0.as_ptr(),
            Err(error) => {
                errors::set_error(error);
                null_mut()
            }
        }
    })
}

/// Has several messages sent or received at a time: by sendv rather than send, by recvv rather than recv.
/// Either may be nil; both are looked at for each use. send and recv are needed all the same.
///
/// sendv gets the requests that are to go out now, in order, 16 at most: the caller's own and those that
/// have queued up meanwhile. It answers how many it has sent, from the first on; it is called again for
/// the others. Less than 1 is a failure of the first alone, errno as for send. recvv waits for a message,
/// stores what there is, no more than max, and answers how many; less than 1 is the end of the connection.
/// Answers that are too large count as the largest allowed. A nil among the messages is passed over; nothing
/// but that is the end of the connection too. A message by hand is received by recv, and nbrecv is called as
/// ever.
///
/// errno is EINVAL when mux is nil, ENOMEM when there is no memory for the functions.
///
/// # Safety
/// `mux` is nil or points to a Mux; the functions are what is said here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxsetbatch(
    mux: *mut Mux,
    sendv: Option<
        unsafe extern "C" fn(mux: *mut Mux, request: *mut *mut c_void, n: c_int) -> c_int,
    >,
    recvv: Option<
        unsafe extern "C" fn(mux: *mut Mux, reply: *mut *mut c_void, max: c_int) -> c_int,
    >,
) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_mux(mux) }) else { return };
        if !inner.transport().set_batch(sendv, recvv) {
            errors::set_error(Error::NoMemory);
        }
    });
}

/// Has the program's own scheduler, rather than the system's threads or libthread, sleep and wake the
/// callers of every Mux. To be called once, before the first muxinit; the table is copied. Answers 0, or -1
/// on error, errno: EINVAL, sched is nil, its size is too small or task, park or unpark is nil; EBUSY,
/// it comes too late; ENOMEM.
///
/// # Safety
/// `sched` is nil or points to as many bytes as its size says; its functions do what is said there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxsetsched(sched: *mut Muxsched) -> c_int {
    guard(-1, || {
        // SAFETY: the caller's promise, passed on.
        let Some(table) = (unsafe { table(sched) }) else {
            errors::set_invalid();
            return -1;
        };
        // SAFETY: the caller's promise, passed on.
        match unsafe { custom::install(table) } {
            Ok(()) => 0,
            Err(custom::InstallError::TooLate) => {
                errors::set_too_late();
                -1
            }
            Err(custom::InstallError::NoMemory) => {
                errors::set_error(Error::NoMemory);
                -1
            }
        }
    })
}

/// The table in `sched`, if it is one that can be used.
///
/// # Safety
/// As for [`muxsetsched`].
unsafe fn table(sched: *mut Muxsched) -> Option<custom::CustomSched> {
    // SAFETY: the caller's promise: there is room for the first field, and it is set.
    let size = unsafe { sched.as_ref()?.size } as usize;
    if size < offset_of!(Muxsched, start) {
        return None;
    }
    let mut fields =
        Muxsched { size: 0, task: None, park: None, unpark: None, start: None, parkfor: None };
    // SAFETY: no more bytes than either side has; what is a pointer to a function there is one here.
    unsafe {
        // Whole fields alone.
        let length = (size - size % size_of::<usize>()).min(size_of::<Muxsched>());
        sched.cast::<u8>().copy_to_nonoverlapping((&raw mut fields).cast(), length);
    }
    Some(custom::CustomSched {
        task: fields.task?,
        park: fields.park?,
        unpark: fields.unpark?,
        start: fields.start,
        park_for: fields.parkfor,
    })
}

/// Fails all outstanding calls now (ECONNRESET) and all later ones (ESHUTDOWN), from any thread,
/// until muxinit is called again. Whoever is inside send or recv, the procs too, learns of it when
/// that returns: shut the connection down as well. errno is EINVAL when mux is nil, or not one that muxinit
/// has seen, and EPERM as for muxrpc.
///
/// # Safety
/// `mux` is nil or points to a Mux.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxhangup(mux: *mut Mux) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        if let Some(inner) = unsafe { checked_caller(mux) } {
            inner.hang_up();
        }
    });
}

/// Gives a non-blocking call up: rpc is gone. Its tag stays out of use until its reply comes, which is
/// an orphan then, or the connection ends; while all tags are so held, calls fail with EAGAIN. A reply
/// that is there already is disposed of as an orphan. errno is EINVAL when rpc is nil, and EPERM as for
/// muxrpc: the call goes on.
///
/// # Safety
/// `rpc` is nil or a call that muxrpcstart has answered and that is not gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxrpccancel(rpc: *mut Muxrpc) {
    guard((), || {
        if rpc.is_null() {
            return errors::set_invalid();
        }
        // SAFETY: the caller's promise: a Muxrpc that is not gone is a MuxrpcRecord, whose Mux is in use.
        let (mux, id) = unsafe { ((*rpc).mux, (*rpc.cast::<MuxrpcRecord>()).id) };
        // SAFETY: as above.
        let inner = unsafe { checked_caller(mux) };
        if let (Some(inner), Some(id)) = (inner, id) {
            inner.abandon(id);
        } else if id.is_some() {
            // Not from here, and errno says why: it goes on.
            return;
        }
        // SAFETY: the call is not in the machine any more, so this is the last pointer to it.
        unsafe { libc::free(rpc.cast()) };
    });
}

/// Has orphans given to f, which disposes of them: messages that belong to no call, and replies to calls
/// that were given up. nil leaks them, as at first. f is called with no lock held, by whoever receives, by
/// muxrpccancel and muxfree, and by any number at once. errno is EINVAL when mux is nil, ENOMEM when there is no memory for f.
///
/// # Safety
/// `mux` is nil or points to a Mux.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxsetorphan(
    mux: *mut Mux,
    f: Option<unsafe extern "C" fn(mux: *mut Mux, reply: *mut c_void)>,
) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_mux(mux) }) else { return };
        if !inner.transport().set_orphan(f) {
            errors::set_error(Error::NoMemory);
        }
    });
}

/// A descriptor that select and poll find readable while some non-blocking call can finish: for event
/// loops under muxprocs, or where other threads receive (nobody receives for the descriptor's sake).
/// It is made on first use, always the same, and the library's: neither read nor close it. -1 on
/// error, errno as eventfd(2), and EINVAL when mux is nil, or not one that muxinit has seen.
///
/// # Safety
/// `mux` is nil or points to a Mux.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxpollfd(mux: *mut Mux) -> c_int {
    guard(-1, || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_mux(mux) }) else { return -1 };
        match inner.poll_fd() {
            Ok(fd) => fd,
            Err(error) => {
                errors::set_os(error);
                -1
            }
        }
    })
}

/// Stores in stats how mux is doing, as much as stats->size has room for. EINVAL when mux or stats is
/// nil, or has no room for its first field.
///
/// # Safety
/// `mux` is nil or points to a Mux; `stats` is nil or points to as many bytes as its size says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxstats(mux: *mut Mux, stats: *mut Muxstats) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_mux(mux) }) else { return };
        let Some(stats) = NonNull::new(stats) else { return errors::set_invalid() };
        // SAFETY: the caller's promise: there is room for the first field, and it is set.
        let size = unsafe { (*stats.as_ptr()).size } as usize;
        if size < offset_of!(Muxstats, outstanding) {
            return errors::set_invalid();
        }
        let (counters, outstanding) = inner.snapshot();
        let all = Muxstats {
            size: size as c_uint,
            outstanding: outstanding as c_uint,
            most: counters.max_outstanding as c_uint,
            unused: 0,
            calls: counters.calls as c_ulong,
            orphans: counters.orphans as c_ulong,
            handovers: counters.handovers as c_ulong,
            tagwaits: counters.tag_waits as c_ulong,
            errors: counters.errors as c_ulong,
        };
        let length = size.min(size_of::<Muxstats>());
        // SAFETY: plain numbers, and no more bytes than either side has.
        unsafe {
            let from: *const u8 = (&raw const all).cast();
            from.copy_to_nonoverlapping(stats.as_ptr().cast(), length);
        }
    });
}

/// The library's version, as "1.0.0".
#[unsafe(no_mangle)]
pub extern "C" fn muxversion() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
