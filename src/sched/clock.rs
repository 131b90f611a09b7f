//! The time, for deadlines. Source: clock_gettime(2).

/// A deadline that never comes.
pub const NEVER: u64 = u64::MAX;

#[cfg(mux_model)]
pub use crate::checker::now;

/// Nanoseconds since some time in the past, by a clock that nobody sets.
#[cfg(not(mux_model))]
#[must_use]
pub fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to the variable given, and can not fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

/// The time `milliseconds` from now; never, when there are less than none.
#[must_use]
pub fn after(milliseconds: i64) -> u64 {
    match u64::try_from(milliseconds) {
        Ok(milliseconds) => now().saturating_add(milliseconds.saturating_mul(1_000_000)),
        Err(_) => NEVER,
    }
}
