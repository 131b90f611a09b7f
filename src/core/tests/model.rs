//! Random events beside a model (`src/core/fuzz`), made smaller when one goes wrong.
//!
//! `PROPTEST_CASES` says how many; what has failed once is replayed from `model.regressions`.

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};

use crate::core::fuzz;

/// The bytes that `MUX_BYTES` names, as they are printed or by their file: with `MUX_TRACE` it is told
/// what they do.
fn given() -> Option<Vec<u8>> {
    let given = std::env::var("MUX_BYTES").ok()?;
    let number = |number: &str| number.trim().parse().ok();
    let bytes: Option<_> = given.trim_matches(['[', ']']).split(',').map(number).collect();
    bytes.or_else(|| std::fs::read(given).ok())
}

/// What the fuzzer has found worth keeping; not there in a packed crate.
#[test]
fn events_found_by_the_fuzzer() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/machine.hex");
    let Ok(corpus) = std::fs::read_to_string(corpus) else { return };
    for line in corpus.lines() {
        let byte = |at: usize| u8::from_str_radix(line.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..line.len()).step_by(2).map(byte).collect();
        fuzz::run(&bytes.expect("hexadecimal"));
    }
}

#[test]
fn random_events_beside_a_model() {
    if let Some(bytes) = given() {
        return fuzz::run(&bytes);
    }
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 5000;
    }
    config.failure_persistence =
        Some(Box::new(FileFailurePersistence::Direct("src/core/tests/model.regressions")));
    let events = vec(any::<u8>(), 0..600);
    let result = TestRunner::new(config).run(&events, |bytes| {
        fuzz::run(&bytes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
