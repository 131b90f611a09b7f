//! The engine in the random world of `9pmux/src/engine/fuzz`, which takes its events from a string of bytes. The
//! strings come from seeds, from proptest, which shrinks a failing one, and from the corpora of libFuzzer.
//!
//! `MUX_STEPS` is the number of steps of all seeds together, `MUX_SEED` the first seed, and `MUX_RUNS` the number of
//! seeds in place of `MUX_STEPS`. `PROPTEST_CASES` is the number of proptest's strings. `MUX_BYTES` replays one
//! string, given as it is printed or by its file. With `MUX_TRACE` each message is printed.

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};

use crate::engine::fuzz;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed. With every fourth one the server sends anything.
fn run_seed(seed: u64) -> (u64, u64, u64) {
    fuzz::run(&fuzz::bytes_of_seed(seed), seed % 4 == 3)
}

#[test]
fn random_clients_and_a_random_server() {
    let first = number("MUX_SEED").unwrap_or(0);
    let max_runs = number("MUX_RUNS").unwrap_or(u64::MAX);
    let max_steps =
        if max_runs == u64::MAX { number("MUX_STEPS").unwrap_or(60_000) } else { u64::MAX };
    let (mut runs, mut steps, mut replies, mut redials) = (0, 0, 0, 0);
    while runs < max_runs && steps < max_steps {
        let seed = first + runs;
        let Ok(of_run) = std::panic::catch_unwind(|| run_seed(seed)) else {
            panic!("run {seed} fails: MUX_SEED={seed} MUX_RUNS=1 MUX_TRACE=1 replays it");
        };
        runs += 1;
        steps += of_run.0;
        replies += of_run.1;
        redials += of_run.2;
    }
    println!("{runs} runs, {steps} steps, {replies} replies, {redials} connections again");
    assert!(runs < 50 || replies > steps / 8, "the clients do not get anywhere");
    assert!(runs < 50 || redials > 0, "the connection is never made again");
}

fn shrunk(run: fn(&[u8])) {
    if let Some(bytes) = given() {
        return run(&bytes);
    }
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 500;
    }
    let file = "src/engine/tests/simulation.regressions";
    config.failure_persistence = Some(Box::new(FileFailurePersistence::Direct(file)));
    let result = TestRunner::new(config).run(&vec(any::<u8>(), 0..1000), |bytes| {
        run(&bytes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn random_clients_shrunk() {
    shrunk(fuzz::clients);
}

#[test]
fn random_server_shrunk() {
    shrunk(fuzz::server);
}

/// The string that `MUX_BYTES` names.
fn given() -> Option<Vec<u8>> {
    let given = std::env::var("MUX_BYTES").ok()?;
    let number = |number: &str| number.trim().parse().ok();
    let bytes: Option<_> = given.trim_matches(['[', ']']).split(',').map(number).collect();
    bytes.or_else(|| std::fs::read(given).ok())
}

/// The corpora are absent in a packed crate.
fn corpus(name: &str, run: fn(&[u8])) {
    let name = format!("{}/../fuzz/corpus/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let Ok(corpus) = std::fs::read_to_string(name) else { return };
    for line in corpus.lines() {
        let byte = |at: usize| u8::from_str_radix(line.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..line.len()).step_by(2).map(byte).collect();
        run(&bytes.expect("hexadecimal"));
    }
}

#[test]
fn corpus_of_clients() {
    corpus("nine-clients", fuzz::clients);
}

#[test]
fn corpus_of_servers() {
    corpus("nine-server", fuzz::server);
}
