//! The machine under arbitrary sequences of events, checked against a model that says how each call
//! must end.
//!
//! A string of bytes is a sequence of events: which caller runs next, what its `send` returns,
//! which message the server writes, when the connection ends. A property test draws the bytes at
//! random, and a coverage-guided fuzzer (`fuzz/`) evolves them; both call [`run`], so each replays
//! what the other has found. When the bytes are used up, the run is brought to its end, and a
//! caller that is still asleep then is locked up.
//!
//! * `bytes.rs`: the bytes, as choices.
//! * `model.rs`: the expected effect of each event, by the rules of
//!   `docs/internals/architecture.md` and `mux.h`, in plain maps and lists.
//! * `world.rs`: callers, procs and a server around one machine. Each drives it as `src/rpc` does.
//! * `caller.rs`: what a caller does next, depending on the action that the machine returned.
//! * `ending.rs`: the end of a run, and what must hold then.

mod bytes;
mod caller;
mod ending;
mod model;
mod world;

#[cfg(test)]
pub use bytes::of_seed as bytes_of_seed;

/// Runs the events that `bytes` stand for.
///
/// # Panics
/// When the machine differs from the model.
pub fn run(bytes: &[u8]) {
    let mut world = world::World::new(bytes::Bytes::new(bytes));
    while world.event() {}
    world.finish();
}
