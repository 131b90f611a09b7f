//! What happens in one run, told step by step; and how a run that fails is to be repeated.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Whether this run is told.
pub static TELLS: AtomicBool = AtomicBool::new(false);

/// The number of this run.
pub static RUN: AtomicU64 = AtomicU64::new(0);

/// Says what happens, and who does it.
macro_rules! say {
    ($($what:tt)*) => {
        if $crate::trace::TELLS.load(std::sync::atomic::Ordering::Relaxed) {
            println!("  {:?}: {}", $crate::prim::thread::current().id(), format_args!($($what)*));
        }
    };
}

/// Has the first panic of `tool` in `scenario` told, with the number of the run and, from `replay`, how
/// to have it again. Those that follow from it are of no interest.
pub fn on_failure(replay: impl Fn(u64) -> Option<String> + Send + Sync + 'static, scenario: &str) {
    static FAILED: AtomicBool = AtomicBool::new(false);
    let scenario = scenario.to_string();
    let began = Instant::now();
    std::panic::set_hook(Box::new(move |info| {
        // Without a message it is how a checker leaves a thread that it has no use of any more.
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let Some(message) = text.or_else(|| payload.downcast_ref::<&str>().copied()) else {
            return;
        };
        if FAILED.swap(true, Ordering::Relaxed) {
            return;
        }
        // A deadlock is told by all its stacks, if they were asked for.
        let tells = TELLS.load(Ordering::Relaxed);
        let message = if tells { message } else { message.lines().next().unwrap_or_default() };
        let at = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
        let run = RUN.load(Ordering::Relaxed);
        let took = began.elapsed().as_secs_f64();
        println!("FAILED {scenario}, run {run}, after {took:.2} s: {message}");
        println!("  at {}", at.unwrap_or_default());
        if let Some(replay) = replay(run) {
            println!("  again, told step by step: {replay}");
        }
    }));
}
