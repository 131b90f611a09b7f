//! The machine: a pure state machine for the tags, the calls, the receiver role and the turn to
//! send.
//!
//! Events are reported by method calls; actions are return values and [`WakeBatch`]. The machine
//! contains no I/O, no lock, no clock and no system call, so that each rule can be tested with
//! plain function calls and checked by a model checker. The driver keeps the machine behind a lock,
//! calls the functions of the transport with that lock released, and delivers the wake-ups after it
//! has released the lock.
//!
//! A call passes through the files in this order:
//!
//! - `machine.rs`: the call begins;
//! - `tag_waiters.rs`: it waits for a tag;
//! - `sender.rs`: it waits for the turn to send, and its request is sent;
//! - `receiver.rs`: its reply is matched, the receiver role is handed over, the connection ends;
//! - `nonblocking.rs`: a non-blocking call is collected.
//!
//! `deadline.rs` handles callers with a deadline, `wake_queue.rs` the wake-ups, `procs.rs` the procs,
//! `ready_fd.rs` the poll descriptor, and `drain.rs` the end of a Mux. The data structures are in
//! `call.rs` and `call_state.rs` (the record of a call, and its states), `slab.rs` (the table of calls),
//! `list.rs` and `reply_waiters.rs` (queues of calls), `roles.rs` (the holders of the role and of the
//! turn), `tags.rs` and `tag_map.rs`. `invariants.rs` lists what is always true of the state, and checks
//! it in tests.
#![forbid(unsafe_code)]

mod call;
mod call_state;
mod deadline;
mod drain;
#[cfg(any(test, mux_fuzz))]
pub mod fuzz;
#[cfg(any(test, mux_fuzz))]
mod invariants;
mod list;
mod machine;
mod nonblocking;
mod procs;
mod ready_fd;
mod receiver;
mod reply_waiters;
mod roles;
mod sender;
mod slab;
mod tag_map;
mod tag_waiters;
pub mod tags;
mod wake_queue;

#[cfg(test)]
mod tests;

pub use call::{CallId, Outcome, Protocol, Wakeup};
pub use machine::{BeginError, Machine, NewCall, Stats};
pub use nonblocking::CollectAction;
pub use receiver::{Action, ReceiverGrant};
pub use sender::{MAX_PROXY_SENDS, SendProcAction, TurnGrant};
pub use wake_queue::WakeBatch;
