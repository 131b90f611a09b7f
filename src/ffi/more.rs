//! What plan9port's libmux lacks, in the same header under new names.

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use std::mem::offset_of;
use std::ptr::NonNull;

use super::entry::{guard, inside, reachable};
use super::errors;
use super::layout::{LongRpc, Mux, Muxrpc};

/// How a Mux is doing. The caller sets size to the size of what it has room for.
#[repr(C)]
pub struct Muxstats {
    /// sizeof(Muxstats), set by the caller.
    pub size: c_uint,
    /// Tags in use now, for calls and for replies to calls that were cancelled.
    pub outstanding: c_uint,
    /// Most tags in use at once.
    pub most: c_uint,
    /// Not used.
    pub unused: c_uint,
    /// Calls begun.
    pub calls: c_ulong,
    /// Messages that belonged to no call.
    pub orphans: c_ulong,
    /// Times that the muxer's role went from one caller to another.
    pub handovers: c_ulong,
    /// Calls that had to wait for a tag.
    pub tagwaits: c_ulong,
    /// Calls that failed.
    pub errors: c_ulong,
}

/// Fails all outstanding calls now (ECONNRESET) and all later ones (ESHUTDOWN), from any thread,
/// until muxinit is called again. Whoever is inside send or recv, the procs too, learns of it when
/// that returns: shut the connection down as well.
///
/// # Safety
/// `mux` is nil or points to a Mux.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxhangup(mux: *mut Mux) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        if let Some(inside) = unsafe { inside(mux) } {
            inside.hang_up();
        }
    });
}

/// Gives a non-blocking call up: rpc is gone. Its tag stays out of use until its reply comes, which is
/// an orphan then, or the connection ends; while all tags are so held, calls fail with EAGAIN. A reply
/// that is there already is disposed of as an orphan. Sets errno to EINVAL when rpc is nil.
///
/// # Safety
/// `rpc` is nil or a call that muxrpcstart has answered and that is not gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxrpccancel(rpc: *mut Muxrpc) {
    guard((), || {
        if rpc.is_null() {
            return errors::tell_invalid();
        }
        // SAFETY: the caller's promise: a Muxrpc that is not gone is a LongRpc, whose Mux is in use.
        let (mux, id) = unsafe { ((*rpc).mux, (*rpc.cast::<LongRpc>()).id) };
        // SAFETY: as above.
        let inside = unsafe { inside(mux) };
        if let (Some(inside), Some(id)) = (inside, id) {
            inside.give_up(id);
        } else if id.is_some() {
            // Not from here, and errno says why: it goes on.
            return;
        }
        // SAFETY: the call is not in the machine any more, so this is the last pointer to it.
        unsafe { libc::free(rpc.cast()) };
    });
}

/// Has orphans given to f, which disposes of them: messages that belong to no call, and replies to
/// cancelled ones. nil leaks them, as at first. f is called with no lock held, by whoever receives,
/// and by any number at once.
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
        if let Some(inside) = unsafe { reachable(mux) } {
            inside.transport().set_orphan(f);
        }
    });
}

/// A descriptor that select and poll find readable while some non-blocking call can finish: for event
/// loops under muxprocs, or where other threads receive (nobody receives for the descriptor's sake).
/// It is made on first use, always the same, and the library's: neither read nor close it. -1 on
/// error, errno as eventfd(2) and for muxrpc.
///
/// # Safety
/// `mux` is nil or points to a Mux.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxpollfd(mux: *mut Mux) -> c_int {
    guard(-1, || {
        // SAFETY: the caller's promise, passed on.
        let Some(inside) = (unsafe { reachable(mux) }) else { return -1 };
        match inside.poll_fd() {
            Ok(fd) => fd,
            Err(error) => {
                errors::tell_os(error);
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
        let Some(inside) = (unsafe { reachable(mux) }) else { return };
        let Some(stats) = NonNull::new(stats) else { return errors::tell_invalid() };
        // SAFETY: the caller's promise: there is room for the first field, and it is set.
        let size = unsafe { (*stats.as_ptr()).size } as usize;
        if size < offset_of!(Muxstats, outstanding) {
            return errors::tell_invalid();
        }
        let now = inside.stats();
        let all = Muxstats {
            size: size as c_uint,
            outstanding: inside.outstanding() as c_uint,
            most: now.most as c_uint,
            unused: 0,
            calls: now.calls as c_ulong,
            orphans: now.orphans as c_ulong,
            handovers: now.handovers as c_ulong,
            tagwaits: now.tag_waits as c_ulong,
            errors: now.errors as c_ulong,
        };
        let room = size.min(size_of::<Muxstats>());
        // SAFETY: plain numbers, and no more bytes than either side has.
        unsafe {
            let from: *const u8 = (&raw const all).cast();
            from.copy_to_nonoverlapping(stats.as_ptr().cast(), room);
        }
    });
}

/// The library's version, as "1.0.0".
#[unsafe(no_mangle)]
pub extern "C" fn muxversion() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
