//! libmux: a multiplexor for tagged requests and replies on one connection.
//!
//! A program that uses a tagged request/reply protocol (9P, devdraw, venti, ...) defines how a message
//! is sent, how a message is received and where its tag is. Any number of callers may then make calls
//! concurrently, and each call returns its own reply. The C interface is `mux.h`, which is binary
//! compatible with plan9port's libmux. The Rust interface is [`Mux`] over a [`Transport`].
//!
//! ```
//! use mux::Mux;
//!
//! // `Echo`, below, implements `Transport`: it sends and receives messages, and finds their tags.
//! let mux = Mux::new(Echo::new());
//!
//! // Any number of threads may call `rpc`.
//! assert_eq!(mux.rpc(request("hello")).unwrap().1, "hello");
//!
//! // A single thread can send many requests and collect the replies as they arrive.
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
//!
#![doc = include_str!("../docs/echo.rs")]
//! ```
//!
//! A program that matches replies to requests by itself, as a proxy does, can use the tag pool alone:
//! [`tags`].
//!
//! The multiplexor is a state machine; the other modules drive it. The page
//! `docs/internals/architecture.md` lists the modules and what each may use.

#[cfg_attr(
    not(any(feature = "capi", test)),
    allow(dead_code, reason = "only the C interface uses it")
)]
mod core;
// Only the C libraries define C symbols: a Rust program may link another library with the same names.
#[cfg(any(feature = "capi", test))]
mod ffi;
#[cfg_attr(
    not(any(feature = "capi", test)),
    allow(dead_code, reason = "only the C interface uses it")
)]
mod rpc;
#[doc(hidden)] // Not a stable interface: it may change with the schedulers.
pub mod sched;

/// Runs the machine and a model of it side by side, for the fuzzer.
#[cfg(mux_fuzz)]
#[doc(hidden)]
pub use crate::core::fuzz::run as fuzz_machine;
pub use crate::core::tags;
pub use crate::rpc::{
    BATCH, Batch, Call, Error, Finished, Mux, Polled, Receiver, Stats, Transport,
};

/// Checks at compile time that the public types are `Send` and `Sync` if the transport and its messages
/// allow it.
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
