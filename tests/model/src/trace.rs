//! A trace of one run, step by step, and the report of a failing run with the command that repeats it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Whether this run is traced.
pub static TELLS: AtomicBool = AtomicBool::new(false);

/// The number of this run.
pub static RUN: AtomicU64 = AtomicU64::new(0);

/// Prints an event and the thread that caused it, if the run is traced.
macro_rules! say {
    ($($what:tt)*) => {
        if $crate::trace::TELLS.load(std::sync::atomic::Ordering::Relaxed) {
            println!("  {:?}: {}", $crate::prim::thread::current().id(), format_args!($($what)*));
        }
    };
}

/// Installs a panic hook that reports the first panic in `scenario`, with the number of the run and the command
/// from `replay` that repeats it. Later panics are consequences of the first one and are not reported.
pub fn on_failure(replay: impl Fn(u64) -> Option<String> + Send + Sync + 'static, scenario: &str) {
    static FAILED: AtomicBool = AtomicBool::new(false);
    let scenario = scenario.to_string();
    let began = Instant::now();
    std::panic::set_hook(Box::new(move |info| {
        // A checker ends a thread that it no longer needs by a panic without a message.
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let Some(message) = text.or_else(|| payload.downcast_ref::<&str>().copied()) else {
            return;
        };
        if FAILED.swap(true, Ordering::Relaxed) {
            return;
        }
        // The message of a deadlock contains all stacks, if they were requested.
        let tells = TELLS.load(Ordering::Relaxed);
        let message = if tells { message } else { message.lines().next().unwrap_or_default() };
        let at = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
        let run = RUN.load(Ordering::Relaxed);
        let took = began.elapsed().as_secs_f64();
        println!("FAILED {scenario}, run {run}, after {took:.2} s: {message}");
        println!("  at {}", at.unwrap_or_default());
        if let Some(replay) = replay(run) {
            println!("  to repeat it with a trace: {replay}");
        }
    }));
}
