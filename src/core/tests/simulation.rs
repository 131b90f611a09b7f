//! The machine in the random world of `src/core/fuzz`, which takes its events from a string of bytes. The strings come
//! from seeds, from proptest, which shrinks a failing one, and from the corpus of libFuzzer.
//!
//! `MUX_RUNS` is the number of seeds and `MUX_SEED` the first one; `PROPTEST_CASES` is the number of proptest's
//! strings. `MUX_BYTES` replays one string, given as it is printed or by its file. With `MUX_TRACE` each event is
//! printed.

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};

use crate::core::fuzz;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn random_schedules() {
    let first = number("MUX_SEED", 0);
    for seed in first..first + number("MUX_RUNS", 20_000) {
        let run = || fuzz::run(&fuzz::bytes_of_seed(seed));
        if std::panic::catch_unwind(run).is_err() {
            panic!("run {seed} fails: MUX_SEED={seed} MUX_RUNS=1 MUX_TRACE=1 replays it");
        }
    }
}

#[test]
fn random_events_shrunk() {
    if let Some(bytes) = given() {
        return fuzz::run(&bytes);
    }
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 5000;
    }
    let file = "src/core/tests/simulation.regressions";
    config.failure_persistence = Some(Box::new(FileFailurePersistence::Direct(file)));
    let result = TestRunner::new(config).run(&vec(any::<u8>(), 0..600), |bytes| {
        fuzz::run(&bytes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// The string that `MUX_BYTES` names.
fn given() -> Option<Vec<u8>> {
    let given = std::env::var("MUX_BYTES").ok()?;
    let number = |number: &str| number.trim().parse().ok();
    let bytes: Option<_> = given.trim_matches(['[', ']']).split(',').map(number).collect();
    bytes.or_else(|| std::fs::read(given).ok())
}

/// The corpus is absent in a packed crate.
#[test]
fn corpus_of_the_fuzzer() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/machine.hex");
    let Ok(corpus) = std::fs::read_to_string(corpus) else { return };
    for line in corpus.lines() {
        let byte = |at: usize| u8::from_str_radix(line.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..line.len()).step_by(2).map(byte).collect();
        fuzz::run(&bytes.expect("hexadecimal"));
    }
}
