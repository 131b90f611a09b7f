//! The checked source under loom: every interleaving of a few callers and all that the memory model permits them
//! to read, or the interleavings up to a number of preemptions or within a time limit.

#[macro_use]
mod trace;

mod checker;
mod clock;
#[path = "../../../src/core/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the library's, of which this is a part")]
mod core;
mod loom_runs;
mod message;
mod prim;
#[path = "../../../src/rpc/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the library's, of which this is a part")]
mod rpc;
mod scenarios;
#[path = "../../../src/sched/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the library's, of which this is a part")]
mod sched;
mod wire;
mod world;

/// loom's primitives.
mod tool {
    #[allow(clippy::unsafe_removed_from_name, reason = "as the checked source calls it")]
    pub use loom::cell::UnsafeCell as Cell;
    pub use loom::lazy_static;
    pub use loom::sync::atomic::AtomicU32;
    pub use loom::sync::{Condvar, Mutex, MutexGuard};
    pub use loom::thread;

    /// Returns a number below its argument: always 0, since loom chooses only the next thread.
    pub fn choose(_: usize) -> usize {
        0
    }

    /// Yields. Must be called in each iteration of a loop that waits for another thread.
    pub fn give_way() {
        loom::thread::yield_now();
    }
}

fn main() -> std::process::ExitCode {
    loom_runs::main()
}
