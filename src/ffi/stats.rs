//! What a program can observe: muxpollfd, muxstats and muxversion.

use std::ffi::{c_char, c_int, c_uint, c_ulong};
use std::mem::offset_of;
use std::ptr::NonNull;

use super::entry::{checked_mux, guard};
use super::errors;
use super::layout::Mux;

/// How a Mux is doing. The caller sets size to the size of what it has room for.
#[repr(C)]
pub struct Muxstats {
    /// sizeof(Muxstats), set by the caller.
    pub size: c_uint,
    /// Tags in use now, for calls and for replies to calls that were given up: cancelled, or too late.
    pub outstanding: c_uint,
    /// Most tags in use at once.
    pub maxoutstanding: c_uint,
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
            maxoutstanding: counters.max_outstanding as c_uint,
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
