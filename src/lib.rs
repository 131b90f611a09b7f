//! libmux: many callers, tagged requests and replies, one connection.
//!
//! A program that talks a tagged request/reply protocol (9P, devdraw, venti, ...) says how a message
//! is sent, how one is received and where its tag is; then any number of callers just call, and
//! each gets its own reply. From C that is `mux.h`, the interface of plan9port's libmux, kept to
//! the byte; from Rust it is [`Mux`] over a [`Transport`].
//!
//! One idea carries it: the multiplexor is a state machine, everything else is a way to drive it.
//!
//! | module | what it is | may use |
//! |---|---|---|
//! | [`core`] | the machine: tags, calls, who sends, who receives; no I/O, no locks | nothing |
//! | [`sched`] | who sleeps, and how: threads, or the host program's coroutines | nothing |
//! | [`rpc`] | the calls: drives the machine over a transport, under a scheduler | core, sched |
//! | `ffi` | the C face: layouts, entry points, C functions as a transport | rpc |

pub mod core;
mod ffi;
pub mod rpc;
pub mod sched;

pub use crate::rpc::{Batch, Call, Error, Finished, Mux, Polled, Transport};
