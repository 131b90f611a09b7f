//! libmux: many callers, tagged requests and replies, one connection.
//!
//! A program that talks a tagged request/reply protocol (9P, devdraw, venti, ...) says how a message
//! is sent, how one is received and where its tag is; then any number of callers just call, and
//! each gets its own reply. From C that is `mux.h`, the interface of plan9port's libmux, kept to
//! the byte; from Rust it is [`Mux`] over a [`Transport`].
//!
//! ```
//! use mux::{Mux, Transport};
//! # mod echo { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/echo.rs")); }
//! # use echo::*;
//!
//! // `Echo` says how messages are sent and received, and where their tags are.
//! let mux = Mux::new(Echo::default());
//!
//! // Any number of threads call.
//! assert_eq!(mux.rpc(request("hello")).unwrap().1, "hello");
//!
//! // Or one sends many requests, and collects the replies as they come.
//! let mut calls: Vec<_> = (0..8).map(|n| mux.start(request(&n.to_string())).unwrap()).collect();
//! let mut replies = 0;
//! while replies < 8 {
//!     calls.retain_mut(|call| match call.can_finish() {
//!         mux::Finished::Pending => true,
//!         mux::Finished::Reply(_) => {
//!             replies += 1;
//!             false
//!         }
//!         mux::Finished::Failed(error) => panic!("{error}"),
//!     });
//! }
//! ```
//!
//! One idea carries it: the multiplexor is a state machine, everything else is a way to drive it.
//!
//! | module | what it is | may use |
//! |---|---|---|
//! | `core` | the machine: tags, calls, who sends, who receives; no I/O, no locks | nothing |
//! | `sched` | who sleeps, and how: threads, or the host program's coroutines | nothing |
//! | `rpc` | the calls: drives the machine over a transport, under a scheduler | core, sched |
//! | `ffi` | the C face: layouts, entry points, C functions as a transport | rpc, sched |

#[cfg_attr(not(any(feature = "capi", test)), allow(dead_code, reason = "only the C interface uses it"))]
mod core;
// Only the C libraries define C symbols: a Rust program may link another library with the same names.
#[cfg(any(feature = "capi", test))]
mod ffi;
#[cfg_attr(not(any(feature = "capi", test)), allow(dead_code, reason = "only the C interface uses it"))]
mod rpc;
#[doc(hidden)] // The seam may change with what is to be put in its place.
pub mod sched;

/// The machine beside a model, for the fuzzer.
#[cfg(mux_fuzz)]
#[doc(hidden)]
pub use crate::core::fuzz::run as fuzz_machine;
pub use crate::core::tags;
pub use crate::rpc::{
    BATCH, Batch, Call, Error, Finished, Mux, Polled, Receiver, Stats, Transport,
};

/// The callers may be anywhere, if the transport and its messages may.
const _: () = {
    const fn for_any_thread<T: Send + Sync>() {}
    #[allow(dead_code, reason = "that it compiles is all")]
    const fn all<T>()
    where
        T: Transport + Send + Sync,
        T::Request: Send,
        T::Reply: Send,
        T::Failure: Send,
        T::Watch: Send,
    {
        for_any_thread::<Mux<T>>();
        for_any_thread::<Call<'_, T>>();
        for_any_thread::<Error<()>>();
        for_any_thread::<Stats>();
    }
};
