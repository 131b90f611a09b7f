//! The machine under any sequence of events, beside a model that says what each call must get.
//!
//! A string of bytes is a sequence of events: who runs next, what its send answers, which message the
//! server writes, when the connection ends. A property test draws the bytes at random, and a
//! coverage-guided fuzzer (`fuzz/`) breeds them; both call [`run`], so what one has found the other
//! replays. When the bytes are used up the world is let run out, and whoever is asleep then is locked
//! up.
//!
//! * `bytes.rs`: the bytes, as choices.
//! * `model.rs`: what must come of each event, by the rules of `docs/internals/architecture.md` and `mux.h`, in
//!   maps and lists that nobody made fast.
//! * `world.rs`: callers, procs and a server around one machine, each obeying it as `src/rpc` does.
//! * `caller.rs`: what a caller does next, by what the machine has told it.
//! * `ending.rs`: how the world runs out, and what must be true then.

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
/// When the machine does otherwise than the model.
pub fn run(bytes: &[u8]) {
    let mut world = world::World::new(bytes::Bytes::new(bytes));
    while world.event() {}
    world.runs_out();
}
