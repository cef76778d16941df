//! Files that commands write. What a command reads is never what it writes over, and neither is a secret key, whatever `--out` says. What comes
//! is written beside what is there and takes its place when it is whole, so a full disk or a crash costs nothing that was there.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::keyfile::SECRET;

/// `path` with another ending added: "a.b" and ".c" make "a.b.c", since a dot in a name is no ending of ours.
pub fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// `path` with one ending for another; where it has another ending than `old`, `new` is added.
pub fn other_ending(path: &Path, old: &str, new: &str) -> PathBuf {
    let name = path.as_os_str().as_encoded_bytes();
    match path.to_str().and_then(|text| text.strip_suffix(old)).filter(|_| name.len() > old.len()) {
        Some(stem) => format!("{stem}{new}").into(),
        None => with_ending(path, new),
    }
}

/// Whether both names are one file that is there.
pub fn is_same(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        #[cfg(unix)]
        (Ok(one), Ok(other)) => {
            use std::os::unix::fs::MetadataExt as _;
            let id = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
            one == other || id(&one).is_some_and(|one| id(&other) == Some(one))
        }
        #[cfg(not(unix))]
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn is_secret(path: &Path) -> bool {
    let mut start = [0; SECRET.len()];
    fs::metadata(path).is_ok_and(|found| found.is_file())
        && fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == *SECRET.as_bytes()
}

/// Refuses to write over what the command reads, and over a secret key.
///
/// # Errors
/// If `out` is a secret key's file or one of `inputs`, by whatever name.
pub fn guard<'a>(out: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    if is_secret(out) {
        bail!("{} is a secret key, which is never overwritten: write to another file", out.display());
    }
    if let Some(input) = inputs.into_iter().find(|input| is_same(input, out)) {
        bail!(
            "{} is read by this command ({}) and would be lost: write to another file",
            out.display(),
            input.display()
        );
    }
    Ok(())
}

/// Writes a file, or replaces one, in one step.
///
/// # Errors
/// As [`guard`], and if it cannot be written; what was there is there then.
pub fn write<'a>(out: &Path, bytes: &[u8], inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    guard(out, inputs)?;
    replace(out, bytes, None).with_context(|| format!("cannot write {}", out.display()))
}

/// The same for what only its owner may read.
///
/// # Errors
/// As [`write`].
pub fn write_private(out: &Path, bytes: &[u8]) -> Result<()> {
    guard(out, [])?;
    replace(out, bytes, Some(0o600)).with_context(|| format!("cannot write {}", out.display()))
}

fn replace(out: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    // A link stays, and so does a device such as /dev/null or a pipe.
    let target = fs::canonicalize(out).unwrap_or_else(|_| out.to_path_buf());
    let there = fs::metadata(&target).ok();
    if there.as_ref().is_some_and(fs::Metadata::is_dir) {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder; name a file"));
    }
    if there.as_ref().is_some_and(|found| !found.is_file()) {
        return fs::OpenOptions::new().write(true).open(&target)?.write_all(bytes);
    }
    let beside = with_ending(&target, &format!(".{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if let Some(mode) = mode {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    }
    let mut file = options.open(&beside)?;
    let done = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| {
        if let Some(found) = there.filter(|_| mode.is_none()) {
            fs::set_permissions(&beside, found.permissions())?;
        }
        fs::rename(&beside, &target)
    });
    if done.is_err() {
        let _ = fs::remove_file(&beside);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_added_after_dots() {
        let of = |path: &str, old, new| other_ending(Path::new(path), old, new).display().to_string();
        assert_eq!(of("hut.v1.pub", ".pub", ".delegation"), "hut.v1.delegation");
        assert_eq!(of("hut.v1", ".pub", ".delegation"), "hut.v1.delegation");
        assert_eq!(of("a.bundle", ".bundle", ".delta.bundle"), "a.delta.bundle");
        assert_eq!(of(".pub", ".pub", ".x"), ".pub.x");
    }
}
