//! How properties are run.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use proptest::{prelude::ProptestConfig, test_runner::RngSeed};

/// A property of so many cases, or PROPTEST_CASES. Where it fails, its output says how the same cases come again.
pub fn property(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(RandomState::new().build_hasher().finish());
    }
    if let RngSeed::Fixed(seed) = config.rng_seed {
        println!("the same cases again: PROPTEST_RNG_SEED={seed} and the name of this test");
    }
    config
}
