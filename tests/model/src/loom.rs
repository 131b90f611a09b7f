//! The checked source under loom: every interleaving of a few callers, and what the memory model
//! allows them to see; or as many as there are with so many preemptions, or as there is time for.

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

/// What loom has.
mod tool {
    #[allow(clippy::unsafe_removed_from_name, reason = "as the checked source calls it")]
    pub use loom::cell::UnsafeCell as Cell;
    pub use loom::lazy_static;
    pub use loom::sync::atomic::AtomicU32;
    pub use loom::sync::{Condvar, Mutex, MutexGuard};
    pub use loom::thread;

    /// One of so many: loom has no choice but that of the next thread.
    pub fn choose(_: usize) -> usize {
        0
    }

    /// Before a loop goes round again that waits for others.
    pub fn give_way() {
        loom::thread::yield_now();
    }
}

fn main() -> std::process::ExitCode {
    loom_runs::main()
}
