//! The checked source under shuttle: random schedules of more callers with random jobs. Memory is sequentially
//! consistent here; loom checks weaker orderings.

#[macro_use]
mod trace;

mod checker;
mod clock;
#[path = "../../../src/core/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the library's, of which this is a part")]
mod core;
mod message;
mod prim;
mod random;
#[path = "../../../src/rpc/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the library's, of which this is a part")]
mod rpc;
#[path = "../../../src/sched/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the library's, of which this is a part")]
mod sched;
mod shuttle_runs;
mod wire;
mod world;

/// shuttle's primitives.
mod tool {
    pub use shuttle::lazy_static;
    pub use shuttle::sync::atomic::AtomicU32;
    pub use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub use shuttle::thread;

    use shuttle::rand::Rng;

    /// Returns a random number below `n`.
    pub fn choose(n: usize) -> usize {
        shuttle::rand::thread_rng().gen_range(0..n)
    }

    /// Yields. Must be called in each iteration of a loop that waits for another thread.
    pub fn give_way() {
        shuttle::thread::yield_now();
    }

    /// A cell whose accesses shuttle does not observe.
    pub struct Cell<V>(std::cell::UnsafeCell<V>);

    impl<V> Cell<V> {
        pub fn new(value: V) -> Cell<V> {
            Cell(std::cell::UnsafeCell::new(value))
        }

        pub fn with<R>(&self, f: impl FnOnce(*const V) -> R) -> R {
            f(self.0.get())
        }

        pub fn with_mut<R>(&self, f: impl FnOnce(*mut V) -> R) -> R {
            f(self.0.get())
        }

        pub fn into_inner(self) -> V {
            self.0.into_inner()
        }
    }
}

fn main() -> std::process::ExitCode {
    shuttle_runs::main()
}
