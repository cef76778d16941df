//! The project is MIT: every dependency has a licence that allows that. GPL crates are out.

use compotastic_house::{metadata, packages};

const ALLOWED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
];

/// True if one way through an SPDX expression of `OR`, `AND` and parentheses uses allowed licences only.
fn allowed(expression: &str) -> bool {
    let expression = expression.trim();
    if ALLOWED.contains(&expression) {
        return true;
    }
    for (separator, any) in [(" OR ", true), ("/", true), (" AND ", false)] {
        let parts = split_outside_parentheses(expression, separator);
        if parts.len() > 1 {
            return if any {
                parts.iter().any(|part| allowed(part))
            } else {
                parts.iter().all(|part| allowed(part))
            };
        }
    }
    expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).is_some_and(allowed)
}

fn split_outside_parentheses<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 && text[index..].starts_with(separator) && index >= start {
            parts.push(&text[start..index]);
            start = index + separator.len();
        }
    }
    parts.push(&text[start..]);
    parts
}

#[test]
fn dependencies_have_licences_that_mit_can_live_with() {
    let metadata = metadata();
    let refused: Vec<String> = packages(&metadata)
        .filter(|package| {
            let name = package["name"].as_str().unwrap_or_default();
            name.starts_with("meshtastic") || !allowed(package["license"].as_str().unwrap_or_default())
        })
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "not allowed: {refused:#?}");
}

#[test]
fn the_check_can_fail() {
    assert!(allowed("MIT OR GPL-3.0-only") && allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!allowed("GPL-3.0-only") && !allowed("MIT AND GPL-3.0-only") && !allowed(""));
}
