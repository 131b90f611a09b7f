//! Observation by the program: muxpollfd, muxstats and muxversion.

use std::ffi::{c_char, c_int, c_uint, c_ulong};
use std::mem::offset_of;
use std::ptr::NonNull;

use super::entry::{checked_mux, guard};
use super::errors;
use super::layout::Mux;

/// Counters of a Mux, for muxstats. It belongs to the caller, which must set size. Later versions
/// may add fields at the end.
#[repr(C)]
pub struct Muxstats {
    /// sizeof(Muxstats), set by the caller.
    pub size: c_uint,
    /// Tags in use now, by calls and by abandoned calls.
    pub outstanding: c_uint,
    /// Highest number of tags in use at once.
    pub maxoutstanding: c_uint,
    /// Not used.
    pub unused: c_uint,
    /// Calls begun.
    pub calls: c_ulong,
    /// Messages received that belonged to no call, or to an abandoned call.
    pub orphans: c_ulong,
    /// Number of times that the role of the muxer passed from one caller to another.
    pub handovers: c_ulong,
    /// Calls that had to wait for a tag.
    pub tagwaits: c_ulong,
    /// Calls begun that ended without a reply, except those ended by muxrpccancel.
    pub errors: c_ulong,
}

/// Returns a file descriptor that poll(2) and select(2) report as readable while some
/// non-blocking call can finish.
///
/// It is for event loops in programs that use muxprocs or in which other threads receive; the
/// descriptor does not make the library receive. It is created by the first call and belongs to
/// the library until muxfree: the program must not read or close it. May be called by any
/// thread. Returns -1 on error and sets errno.
///
/// errno on failure:
/// - EINVAL: mux is NULL, or muxinit has not been called.
/// - the errors of eventfd(2), or of pipe(2) on systems without it.
///
/// # Safety
/// `mux` is NULL or points to a Mux.
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

/// Stores the counters of mux in stats.
///
/// The caller must set stats->size; at most that many bytes are stored. May be called by any
/// thread.
///
/// errno on failure:
/// - EINVAL: mux or stats is NULL, muxinit has not been called, or stats->size is too small for
///   the first field.
///
/// # Safety
/// `mux` is NULL or points to a Mux; `stats` is NULL or points to as many bytes as its size
/// says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn muxstats(mux: *mut Mux, stats: *mut Muxstats) {
    guard((), || {
        // SAFETY: the caller's promise, passed on.
        let Some(inner) = (unsafe { checked_mux(mux) }) else { return };
        let Some(stats) = NonNull::new(stats) else { return errors::set_invalid() };
        // SAFETY: the caller's promise: the first field is present and set.
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
        // SAFETY: copies plain numbers, at most as many bytes as either side has.
        unsafe {
            let from: *const u8 = (&raw const all).cast();
            from.copy_to_nonoverlapping(stats.as_ptr().cast(), length);
        }
    });
}

/// Returns the version of the library, for example "1.0.0". The string is constant.
#[unsafe(no_mangle)]
pub extern "C" fn muxversion() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
