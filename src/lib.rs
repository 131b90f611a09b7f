//! libmux: a multiplexor for tagged requests and replies on one connection.
//!
//! A program that uses a tagged request/reply protocol (9P, devdraw, venti, ...) defines how a message is
//! sent and how one is received. Any number of threads and tasks may then make calls concurrently, and each
//! call returns its own reply.
//!
//! ```no_run
#![doc = include_str!("../examples/first-call.rs")]
//! ```
//!
//! # Overview
//!
//! | item | content |
//! |---|---|
//! | [`Client`] | an owned, cloneable handle of a connection, for threads and for tasks of any async runtime |
//! | [`Mux`] | the same, borrowed by its calls: for scoped threads and event loops |
//! | [`framed`] | ready transports over streams of bytes, with a codec for the messages |
//! | [`Sender`], [`Receiver`] | the two halves of a connection, for any other transport |
//! | [`Transport`] | the two halves with optional settings: batches, polling, orphans, shutting down |
//! | [`Error`] | why a call has failed; its source is the error of the transport |
//! | [`tags`] | the tag pool alone, for a program that matches replies to requests by itself, as a proxy does |
//!
//! # Which call to use
//!
//! | the caller | uses |
//! |---|---|
//! | is a thread, and waits | [`rpc`](Mux::rpc), or [`rpc_timeout`](Mux::rpc_timeout) with a time limit |
//! | is a task of an async runtime | [`Client::call`], which is a `'static` future; [`Client::spawn`] receives |
//! | has many calls in flight in one thread | [`start`](Mux::start), and [`try_finish`](Call::try_finish) later |
//! | has an event loop | either of them over a transport with an [event loop](Transport::event_loop), and [`deliver_available`](Mux::deliver_available) when the connection is readable |
//! | sends a message without a reply | [`send_message`](Mux::send_message) |
//! | receives messages that belong to no call | [`on_orphan`](Transport::on_orphan), or [`recv_message`](Mux::recv_message) |
//!
//! # A transport
//!
//! The server of this example is in memory, behind two channels:
//!
//! ```
//! let mux = mux::Mux::new(echo());
//! assert_eq!(mux.rpc("hello".to_string()).unwrap(), "hello");
//!
#![doc = include_str!("../docs/echo.rs")]
//! ```
//!
//! The C interface is `mux.h`, which is binary compatible with plan9port's libmux. The multiplexor is a state
//! machine; the page `docs/internals/architecture.md` lists the modules and what each may use.

#[cfg_attr(
    not(any(feature = "capi", test)),
    allow(dead_code, reason = "only the C interface uses it")
)]
mod core;
// Only the C libraries define C symbols: a Rust program may link another library with the same names.
mod face;
#[cfg(any(feature = "capi", test))]
mod ffi;
pub mod framed;
#[cfg_attr(
    not(any(feature = "capi", test)),
    allow(dead_code, reason = "only the C interface uses it")
)]
mod rpc;
#[cfg_attr(
    not(any(feature = "capi", test)),
    allow(dead_code, reason = "only the C interface uses it")
)]
mod sched;

/// Runs the machine and a model of it side by side, for the fuzzer.
#[cfg(mux_fuzz)]
#[doc(hidden)]
pub use crate::core::fuzz::run as fuzz_machine;
pub use crate::core::tags;
pub use crate::face::{
    Call, Client, Driver, Error, Message, Mux, Receiver, RecvBatch, Response, SendBatch, Sender,
    Transport, TryRecv,
};
pub use crate::rpc::{BATCH, Batch, Stats};

/// Checks at compile time that the public types are `Send` and `Sync` if both halves and the messages are
/// `Send`.
const _: () = {
    const fn for_any_thread<T: Send + Sync>() {}
    const fn for_any_task<T: Send + Unpin>() {}
    #[allow(dead_code, reason = "that it compiles is all")]
    const fn all<S, R>()
    where
        S: Sender + Send,
        R: Receiver + Send,
        S::Request: Send,
        R::Reply: Send,
    {
        for_any_thread::<Mux<S, R>>();
        for_any_thread::<Client<S, R>>();
        for_any_thread::<Call<'_, S, R>>();
        for_any_task::<Response<S, R>>();
        for_any_thread::<Driver<'_, S, R>>();
        for_any_thread::<Error>();
        for_any_thread::<Stats>();
    }
};
