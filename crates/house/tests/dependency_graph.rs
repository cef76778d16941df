//! Lower crates never import higher ones. What each crate may know of the others is written here once.

use std::collections::BTreeSet;

use compotastic_house::{direct_dependencies, metadata};

/// Crate, and the workspace crates that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("messages", &[]),
    ("mesh", &["messages"]),
    ("client", &["messages"]),
    ("text", &[]),
    ("model", &[]),
    ("bundle", &[]),
    ("delta", &[]),
    ("node", &["wire", "mesh", "client", "messages", "text", "model", "bundle", "delta"]),
    ("sim", &["bundle", "client", "delta", "messages", "model", "node", "mesh", "wire"]),
    ("links", &["client", "messages"]),
    ("daemon", &["bundle", "client", "links", "mesh", "messages", "model", "node", "sim", "wire"]),
    ("text-train", &["text"]),
    ("edge", &["bundle", "model"]),
    (
        "bench",
        &["bundle", "client", "daemon", "delta", "links", "mesh", "messages", "model", "node", "sim", "wire"],
    ),
    ("house", &[]),
    (
        "",
        &[
            "bench",
            "bundle",
            "daemon",
            "delta",
            "edge",
            "links",
            "mesh",
            "model",
            "node",
            "sim",
            "text",
            "text-train",
            "wire",
        ],
    ),
];

fn short(name: &str) -> Option<&str> {
    name.strip_prefix("compotastic").map(|rest| rest.strip_prefix('-').unwrap_or(rest))
}

#[test]
fn crates_know_only_what_they_may() {
    let graph = direct_dependencies(&metadata());
    for (name, dependencies) in &graph {
        let own = short(name).expect("workspace crates are named compotastic-*");
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(crate_name, _)| *crate_name == own)
            .unwrap_or_else(|| panic!("{name} is not in the table of crates: say what it may depend on"));
        let ours: BTreeSet<&str> = dependencies.iter().filter_map(|dependency| short(dependency)).collect();
        for dependency in ours {
            assert!(allowed.contains(&dependency), "{name} must not depend on compotastic-{dependency}");
        }
    }
    assert_eq!(graph.len(), ALLOWED.len(), "the table names a crate that does not exist");
}

#[test]
fn the_page_says_the_same() {
    let page = include_str!("../../../ARCHITECTURE.md");
    for (own, allowed) in ALLOWED {
        let folder = if own.is_empty() { "compotastic" } else { own };
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `crates/{folder}` |")))
            .unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for crates/{folder}"));
        let cell = row.trim_end_matches('|').rsplit('|').next().expect("a last cell").trim();
        let said: BTreeSet<&str> = match cell {
            "nothing" => BTreeSet::new(),
            "all" => allowed.iter().copied().collect(),
            names => names.split(", ").map(|name| name.trim_matches('`')).collect(),
        };
        assert_eq!(said, allowed.iter().copied().collect(), "ARCHITECTURE.md about crates/{folder}");
    }
}

#[test]
fn only_the_edge_knows_candle_and_the_core_no_std_crates() {
    for (name, dependencies) in direct_dependencies(&metadata()) {
        let candle = dependencies.iter().any(|dependency| dependency.starts_with("candle"));
        assert!(!candle || name == "compotastic-edge", "{name} depends on candle");
        let core = ["wire", "messages", "mesh", "client", "text", "model", "bundle", "delta", "node"];
        if short(&name).is_some_and(|own| core.contains(&own)) {
            for banned in ["serde_json", "anyhow", "tokio", "clap", "rand"] {
                assert!(!dependencies.contains(banned), "{name} must stay no_std: {banned}");
            }
        }
    }
}
