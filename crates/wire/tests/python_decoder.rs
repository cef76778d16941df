//! An independent implementation reads the page: `tests/wire_decoder.py`, in Python, with its own layouts.

mod common;

use std::{
    io::Write,
    process::{Command, Output},
};

use common::{blocks, page, repository};

/// Python with the package that has AES-CMAC; else the reason, said aloud.
fn python() -> Option<&'static str> {
    let found = Command::new("python3").args(["-c", "import cryptography"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some("python3");
    }
    // Past the harness, which keeps what a passing test prints to itself.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: the independent decoder needs python3 with the package `cryptography`"
    );
    None
}

fn decode(python: &str, page: &str, name: &str) -> Output {
    let file = std::env::temp_dir().join(format!("compotastic-{}-{name}.md", std::process::id()));
    std::fs::write(&file, page).unwrap();
    let output = Command::new(python)
        .arg(repository("tests/wire_decoder.py"))
        .arg(&file)
        .output()
        .expect("python runs");
    std::fs::remove_file(&file).unwrap();
    output
}

#[test]
fn python_reads_the_vectors() {
    let Some(python) = python() else { return };
    let page = page();
    let output = decode(python, &page, "whole");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let frames = blocks(&page, "vector").len();
    let classes = compotastic_wire::FrameClass::ALL.len();
    assert!(said.contains(&format!("{frames} frames of {classes} classes and 2 records")), "{said}");
}

/// The decoder looks at each byte: one changed digit in any vector, or a changed field, and it refuses.
#[test]
fn python_refuses_a_changed_vector() {
    let Some(python) = python() else { return };
    let page = page();
    let mut tried = 0;
    let all = blocks(&page, "vector").into_iter().chain(blocks(&page, "record"));
    for (index, (name, block)) in all.enumerate() {
        let is_bytes = |line: &&str| line.starts_with("payload ") || line.starts_with("bytes ");
        let line = block.lines().find(is_bytes).unwrap();
        // Another place in each vector, so that head, body and MAC all have their turn.
        let start = line.find(' ').unwrap() + 1;
        let at = start + index * 7 % (line.len() - start);
        let digit = if &line[at..=at] == "0" { "1" } else { "0" };
        let changed_line = format!("{}{digit}{}", &line[..at], &line[at + 1..]);
        let output = decode(python, &page.replace(line, &changed_line), &format!("byte-{name}"));
        assert_eq!(output.status.code(), Some(1), "{name}: digit {at} changed");
        tried += 1;

        let line = block.lines().rev().find(|line| !line.ends_with('-') && *line != "```").unwrap();
        let changed = block.replace(&format!("\n{line}\n"), &format!("\n{line}1\n"));
        assert_ne!(block, changed);
        let output = decode(python, &page.replace(&block, &changed), &format!("field-{name}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(&name), "{name}: field changed: {said}");
    }
    assert!(tried > 10);
}
