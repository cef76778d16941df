//! docs/SCENARIOS.md shows every key: its scenario is read, with the files that it names beside it.

use std::fs;

use compotastic_sim::scenario::Scenario;

const PAGE: &str = include_str!("../../../docs/SCENARIOS.md");

#[test]
fn the_scenario_of_the_page_is_read() {
    let text = PAGE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = std::env::temp_dir().join(format!("compotastic-page-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let put = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    put(
        "base.toml",
        "name = \"base\"\npreset = \"LONG_FAST\"\nregion = \"US\"\nhours = 1.0\n[[node]]\nname = \"b\"\nx_m = 0.0\ny_m = 0.0\n",
    );
    put("valley.asc", include_str!("../../../scenarios/valley.asc"));
    put("run.gpx", "<gpx><trkpt lat=\"47\" lon=\"11\"><time>2026-05-01T10:00:00Z</time></trkpt></gpx>");
    put("page.toml", text);
    let scenario = Scenario::load(&folder.join("page.toml"));
    let _ = fs::remove_dir_all(&folder);
    let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((scenario.node_count(), scenario.region.get_ref().as_str()), (11, "EU_868"));
    // Each key of the settings is on the page.
    let source = include_str!("../src/scenario/mod.rs");
    let keys = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": ").map(|(key, _)| key))
        .filter(|key| {
            !key.contains(['(', ' ']) && !["track_read", "terrain_read", "class_names"].contains(key)
        });
    for key in keys {
        assert!(text.contains(key), "docs/SCENARIOS.md does not show {key}");
    }
}
