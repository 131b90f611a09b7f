//! The engine in the random world of `9pmux/src/engine/fuzz/restarts`: a server that goes away and comes back.
//!
//! The variables are those of `simulation.rs`, but `MUX_RESTART_STEPS` in place of `MUX_STEPS`.

use crate::engine::fuzz;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds(stays: bool) {
    let first = number("MUX_SEED").unwrap_or(0);
    let max_runs = number("MUX_RUNS").unwrap_or(u64::MAX);
    let max_steps = if max_runs == u64::MAX {
        number("MUX_RESTART_STEPS").unwrap_or(100_000)
    } else {
        u64::MAX
    };
    let (mut runs, mut steps, mut replies, mut restored) = (0, 0, 0, 0);
    while runs < max_runs && steps < max_steps {
        let seed = first + runs;
        let run = || fuzz::run_restarts(&fuzz::bytes_of_seed(seed), stays);
        let Ok(of_run) = std::panic::catch_unwind(run) else {
            panic!("run {seed} fails: MUX_SEED={seed} MUX_RUNS=1 MUX_TRACE=1 replays it");
        };
        runs += 1;
        steps += of_run.0;
        replies += of_run.1;
        restored += of_run.2;
    }
    println!("{runs} runs, {steps} steps, {replies} replies, restored {restored} times");
    assert!(runs < 50 || replies > steps / 20, "the clients do not get anywhere");
    assert!(runs < 50 || stays || restored > runs, "the server is never lost");
}

/// The world itself is sound: a server that stays gives each client what it may have.
#[test]
fn random_clients_of_a_disk() {
    seeds(true);
}

#[test]
fn random_losses_of_the_server() {
    seeds(false);
}
