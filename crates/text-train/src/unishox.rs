//! Asks unishox2's Python package how long its codes are, when it is installed.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Reads hexadecimal texts, one a line; prints the length of each one's code after checking it.
const SCRIPT: &str = "\
import sys, unishox2
for line in sys.stdin:
    text = bytes.fromhex(line).decode()
    code, length = unishox2.compress(text)
    assert unishox2.decompress(code, length) == text
    print(len(code))
";

/// The length of every text's code; nothing where Python or its package `unishox2-py3` is missing.
pub fn lengths(texts: &[&str]) -> Option<Result<Vec<usize>>> {
    let installed = Command::new("python3")
        .args(["-c", "import unishox2"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    installed.then(|| measure(texts))
}

fn measure(texts: &[&str]) -> Result<Vec<usize>> {
    let mut child = Command::new("python3")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start python3")?;
    let mut input = String::new();
    for text in texts {
        input.extend(text.bytes().map(|byte| format!("{byte:02x}")));
        input.push('\n');
    }
    let mut pipe = child.stdin.take().context("python3 has no input")?;
    let writer = std::thread::spawn(move || pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    // A writer's error is that of a child that ended early, which its status tells.
    let _ = writer.join();
    ensure!(output.status.success(), "unishox2 failed");
    let lengths = String::from_utf8(output.stdout)?.lines().map(str::parse).collect::<Result<Vec<_>, _>>()?;
    ensure!(lengths.len() == texts.len(), "unishox2 gave {} lengths", lengths.len());
    Ok(lengths)
}
