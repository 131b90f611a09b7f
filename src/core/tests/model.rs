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

#[test]
fn random_events_beside_a_model() {
    if let Some(bytes) = given() {
        return fuzz::run(&bytes);
    }
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 10000;
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
