//! The C face: plan9port's libmux to the byte. It holds whatever is odd for historical reasons
//! (layouts, nil, 1 and 0, errno, two forms of one function) and nothing else: each entry point
//! checks what it was given, calls the Rust face, and says the answer in C's terms.
//!
//! `include/mux.h` is generated from these files, comments included.

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
