//! The machine: tags, calls, and who sends and who receives, as a pure state machine.
//!
//! Events go in as method calls, actions come out as return values and [`WakeBatch`]. There is no I/O
//! here, no lock, no clock and no operating system, so that every rule about who may do what can
//! be tested as plain function calls and checked by a model checker. Whoever drives the machine
//! keeps it behind a lock, calls the protocol's functions with that lock released, and gives the
//! wakes after releasing it.
//!
//! A call travels through the files in this order: `machine.rs` (a call begins), `tag_waiters.rs` (it
//! waits for a tag), `sender.rs` (it waits for its turn and is sent), `receiver.rs` (its reply is matched, the
//! muxer's role moves on, the connection ends), `nonblocking.rs` (a non-blocking call is collected).
//! `deadline.rs` is about those that wait no longer than until some time, `wake_queue.rs` about who is told what,
//! `drain.rs` about the end of a Mux. Beneath are `call.rs` (what a
//! call is), `slab.rs` and `list.rs` (where calls are, and how they queue), `tags.rs` and `tag_map.rs`.
#![forbid(unsafe_code)]

mod call;
mod deadline;
mod drain;
#[cfg(any(test, mux_fuzz))]
pub mod fuzz;
mod list;
mod machine;
mod nonblocking;
mod receiver;
mod roles;
mod sender;
mod slab;
mod tag_map;
mod tag_waiters;
pub mod tags;
mod wake_queue;

#[cfg(test)]
mod tests;

pub use call::{CallId, Protocol, WakeBatch, Wakeup};
pub use machine::{BeginError, Begun, Machine, Stats};
pub use nonblocking::CollectAction;
pub use receiver::{Action, ReceiverGrant};
pub use sender::{MAX_PROXY_SENDS, SendProcAction, SendTurn};
