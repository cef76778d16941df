//! Sizes, leftovers, and words that mean nothing to a reader of the repository.

use compotastic_house::{metadata, packages, root, tracked_files};

/// Only the two encoders may be larger than this, in bytes.
const FILE_MAX: u64 = 1_000_000;
/// Lines of one Rust file.
const LINES_MAX: usize = 900;

#[test]
fn committed_files_are_small() {
    let Some(files) = tracked_files() else {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: not a git checkout\n");
        return;
    };
    for file in &files {
        let Ok(found) = std::fs::metadata(root().join(file)) else { continue };
        let encoder = file.starts_with("crates/edge/assets/encoders");
        assert!(encoder || found.len() <= FILE_MAX, "{} has {} bytes", file.display(), found.len());
    }
}

#[test]
fn sources_are_finished_and_can_be_held_in_the_head() {
    // Spelt in two halves, so that this file passes its own check.
    let unfinished =
        [concat!("todo", "!("), concat!("unimple", "mented!("), concat!("FIX", "ME"), concat!("XX", "X")];
    let Some(files) = tracked_files() else {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: not a git checkout\n");
        return;
    };
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let Ok(text) = std::fs::read_to_string(root().join(file)) else { continue };
        assert!(text.lines().count() <= LINES_MAX, "{} has too many lines", file.display());
        for word in unfinished {
            assert!(!text.contains(word), "{} contains {word}", file.display());
        }
        for (number, line) in text.lines().enumerate() {
            let dated = line.contains("Instant::now") || line.contains("SystemTime");
            let core = ["wire", "messages", "mesh", "client", "text", "model", "bundle", "delta", "node"]
                .iter()
                .any(|name| file.starts_with(format!("crates/{name}/src")));
            assert!(!(core && dated), "{}:{}: the core reads no clock", file.display(), number + 1);
        }
    }
}

/// `cargo run` from the root, the first command of the README, takes the one program there is.
#[test]
fn the_workspace_has_one_program() {
    let metadata = metadata();
    let members: Vec<&str> =
        metadata["workspace_members"].as_array().into_iter().flatten().filter_map(|id| id.as_str()).collect();
    let mut programs: Vec<&str> = packages(&metadata)
        .filter(|package| package["id"].as_str().is_some_and(|id| members.contains(&id)))
        .flat_map(|package| package["targets"].as_array().into_iter().flatten())
        .filter(|target| {
            target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin"))
        })
        .filter_map(|target| target["name"].as_str())
        .collect();
    programs.sort_unstable();
    assert_eq!(programs, ["compotastic"], "other programs of the workspace are examples");
}
