//! The C interface: plan9port's libmux with the same names, layouts and meanings. This module
//! contains everything that has historical reasons: layouts, NULL, 1 and 0, errno, and two forms of
//! one function. Each entry point validates its arguments, calls one function of the Rust API, and
//! converts the result to C's terms.
//!
//! `include/mux.h` is generated from these files, comments included (`make header`).

mod api;
mod callbacks;
mod cancel;
mod entry;
mod errors;
mod extra;
mod free;
mod layout;
#[cfg(feature = "capi")]
mod malloc;
mod man3;
mod private;
mod queue;
mod sched;
mod stats;
mod timeout;
