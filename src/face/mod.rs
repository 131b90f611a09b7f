//! The Rust interface: transports of two halves, the multiplexor over them, and the owned client.
//!
//! It drives `rpc` with a transport of its own (`halves.rs`), which lets safe halves with `&mut self` be
//! shared between threads, and keeps the reason why the connection has ended for every caller.

mod call;
mod client;
mod error;
mod halves;
mod mux;
mod tag_wait;
mod transport;

#[cfg(test)]
mod tests;

pub use client::{Client, Response};
use error::End;
pub use error::Error;
pub use mux::{Call, Driver, Mux};
pub use transport::{Message, Receiver, RecvBatch, SendBatch, Sender, Transport, TryRecv};
