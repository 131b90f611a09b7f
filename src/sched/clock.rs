//! The monotonic clock, for deadlines. Source: clock_gettime(2).

/// A deadline that never passes.
pub const NEVER: u64 = u64::MAX;

#[cfg(mux_model)]
pub use crate::checker::now;

/// Returns the nanoseconds since an arbitrary point in the past, by a clock that cannot be set.
#[cfg(not(mux_model))]
#[must_use]
pub fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes to the variable given, and cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

/// Returns the time `milliseconds` from now, or [`NEVER`] if `milliseconds` is negative.
#[must_use]
pub fn after(milliseconds: i64) -> u64 {
    match u64::try_from(milliseconds) {
        Ok(milliseconds) => now().saturating_add(milliseconds.saturating_mul(1_000_000)),
        Err(_) => NEVER,
    }
}
