//! Training gives the same bits with any number of threads, and the same as ever.

use compotastic_text_train::corpus::sha256_hex;
use compotastic_text_train::net::{Sizes, Weights};
use compotastic_text_train::train::{Plan, Source, train};

fn bits(weights: &Weights) -> Vec<u8> {
    weights.parts().iter().flat_map(|part| part.iter()).flat_map(|w| w.to_bits().to_le_bytes()).collect()
}

fn weights(threads: usize) -> Weights {
    let lines = ["Meet at the gate 18:30", "River level 2.85 m, falling", "ok", "Two hikers overdue"];
    let own = Source::new(&lines.map(String::from));
    let other = Source::new(&["a quick brown fox".to_string()]);
    let plan = Plan {
        steps: 12,
        rounded_steps: 5,
        rate: 0.01,
        mix: vec![(100, 900), (900, 100)],
        sizes: Sizes { hidden: 16, embed: 8 },
        threads,
    };
    train(&plan, &[own, other], |_, _, _| {})
}

#[test]
fn threads_change_nothing() {
    let one = bits(&weights(1));
    for threads in [2, 3, 4, 9] {
        assert_eq!(bits(&weights(threads)), one, "{threads} threads");
    }
}

/// Noted on x86-64 with and without wide vectors. A machine or compiler that gives other bits
/// could not make the committed table.
#[test]
fn the_bits_are_those_noted() {
    assert_eq!(
        sha256_hex(&bits(&weights(2))),
        "a56bf85c662980e0d0cd7ab4c4695ed012bac82e24916a1684d2a394ebe47d0c"
    );
}
