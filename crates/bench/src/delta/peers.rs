//! The public tools that make patches, run as programs where they are installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

/// A public tool: its name in the rows, and the command that writes `$out` from `$old` and `$new`.
struct Peer {
    name: &'static str,
    command: &'static [&'static str],
}

const HDIFF: &str = "import sys,hdiffpatch as h
r=lambda n:open(n,'rb').read()
open(sys.argv[3],'wb').write(h.diff(r(sys.argv[1]),r(sys.argv[2]),compression=getattr(h,sys.argv[4])))";

const PEERS: &[Peer] = &[
    Peer { name: "bsdiff", command: &["bsdiff", "$old", "$new", "$out"] },
    Peer { name: "xdelta3", command: &["xdelta3", "-f", "-e", "-9", "-s", "$old", "$new", "$out"] },
    Peer {
        name: "zstd-patch-from",
        command: &[
            "zstd",
            "-q",
            "-f",
            "--ultra",
            "-22",
            "--long=27",
            "--patch-from=$old",
            "$new",
            "-o",
            "$out",
        ],
    },
    Peer {
        name: "detools-lzma",
        command: &["detools", "create_patch", "-c", "lzma", "$old", "$new", "$out"],
    },
    Peer {
        name: "detools-heatshrink",
        command: &["detools", "create_patch", "-c", "heatshrink", "$old", "$new", "$out"],
    },
    Peer {
        name: "detools-arm-cortex-m4",
        command: &[
            "detools",
            "create_patch",
            "-c",
            "lzma",
            "--data-format",
            "arm-cortex-m4",
            "$old",
            "$new",
            "$out",
        ],
    },
    Peer {
        name: "hdiffpatch-lzma2",
        command: &["python3", "-c", HDIFF, "$old", "$new", "$out", "COMPRESSION_LZMA2"],
    },
];

/// A folder for the peers' files, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder among the temporary ones.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("compotastic-bench-delta-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind lies among temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// All peers' names, in the order of the tables.
#[must_use]
pub fn names() -> Vec<&'static str> {
    PEERS.iter().map(|peer| peer.name).collect()
}

/// Bytes of each peer's patch from `old` to `new`; a peer that is not installed or fails is absent.
#[must_use]
pub fn sizes(scratch: &Scratch, old: &Path, new: &Path) -> Vec<(&'static str, u64)> {
    PEERS.iter().filter_map(|peer| Some((peer.name, size(scratch, peer, old, new)?))).collect()
}

fn size(scratch: &Scratch, peer: &Peer, old: &Path, new: &Path) -> Option<u64> {
    let out = scratch.0.join("patch");
    // A tool that fails must not be given the size of the one before it.
    let _ = fs::remove_file(&out);
    let mut words = peer.command.iter().map(|word| {
        let word = word.replace("$old", &old.to_string_lossy()).replace("$new", &new.to_string_lossy());
        word.replace("$out", &out.to_string_lossy())
    });
    let mut command = Command::new(words.next()?);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let done = command.status().ok()?.success();
    let size = fs::metadata(&out).ok()?.len();
    (done && size > 0).then_some(size)
}
