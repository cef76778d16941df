//! What the daemon must not forget, in one file: jobs, nodes, texts, bundles, keys and settings, and the flash of the agent.
//!
//! Two kinds of writes. What others were told (a job that was taken, a block of packet ids, a key) is on the disk when the call
//! returns. What can be lost without harm (where nodes were heard) waits up to [`BATCH`] in memory, so that a mesh's beacons do
//! not wear out an SD card. Order holds for both: a write on the disk has all earlier ones on the disk too.
//!
//! The file is for its owner alone (0600): keys are in it. One process has it at a time.

mod flash;
mod jobs;
mod records;
mod rows;

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use redb::{Builder, Database, DatabaseError, StorageError};

use self::rows::{Rows, Table, View, When, key};
pub use self::{
    flash::{FlashError, StoreFlash},
    jobs::{JOBS, JobFilter},
    records::{AirtimeMark, BUNDLE_BYTES, BUNDLES_BYTES, NODES, StoredNode, StoredText, TEXTS},
    rows::BATCH,
};

/// Version of what is in the file. A higher one is not opened.
pub const VERSION: u64 = 1;
/// Memory for pages that were read or wait to be written, bytes.
const CACHE_BYTES: usize = 8 << 20;

const VERSION_NAME: &[u8] = b"version";

/// Another process has the file: it does not change under whoever has it.
#[derive(Debug, thiserror::Error)]
#[error("the store {} is in use by {owner}: stop that one, or take another store with --state", path.display())]
pub struct InUse {
    /// The file.
    pub path: PathBuf,
    /// Who has it, as far as the note tells.
    pub owner: String,
}

/// The open file. Clones are cheap and share it; it is closed, with all that waits written, when the last one is gone.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Closing>,
}

/// Closes the file when it is dropped.
#[derive(Debug)]
struct Closing {
    shared: Arc<Shared>,
    /// The writer of batches ends when this goes.
    stop: Option<mpsc::SyncSender<()>>,
    writer: Option<JoinHandle<()>>,
}

impl std::ops::Deref for Closing {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

#[derive(Debug)]
struct Shared {
    rows: Rows,
    path: PathBuf,
    /// Parts of flash that somebody has.
    parts: Mutex<BTreeSet<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What a panicking thread left behind is whole: each critical section here is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the file, or makes it, with the folders to it.
    ///
    /// Errors: somebody else has it ([`InUse`] says who), it is of a newer version, it is no store, or the disk refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let rows = Rows::open(open_database(path)?)
            .with_context(|| format!("cannot write to {}", path.display()))?;
        rows.write(When::Now, |rows| {
            let found = counter(rows, VERSION_NAME)?;
            ensure!(
                found <= VERSION,
                "the store {} was written by a newer compotastic (version {found} of its format; this program knows {VERSION}): \
use that program, or another store with --state",
                path.display()
            );
            set_counter(rows, VERSION_NAME, VERSION)
        })?;
        note_owner(path);
        let shared = Arc::new(Shared { rows, path: path.to_path_buf(), parts: Mutex::default() });
        let (stop, stopped) = mpsc::sync_channel(0);
        let writer = {
            let shared = shared.clone();
            thread::Builder::new()
                .name("store".to_string())
                .spawn(move || write_batches(&shared, &stopped))?
        };
        Ok(Self { shared: Arc::new(Closing { shared, stop: Some(stop), writer: Some(writer) }) })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Brings all that waits to the disk.
    pub fn flush(&self) -> Result<()> {
        self.shared.rows.flush(Duration::ZERO)
    }

    /// Looks at rows.
    fn read<T>(&self, look: impl FnOnce(&View) -> Result<T>) -> Result<T> {
        self.shared.rows.read(look)
    }

    /// Changes rows, all or nothing.
    fn write<T>(&self, when: When, change: impl FnOnce(&mut View) -> Result<T>) -> Result<T> {
        self.shared
            .rows
            .write(when, change)
            .with_context(|| format!("the store {} is not changed", self.path().display()))
    }
}

/// A number that is kept.
fn counter(rows: &View, name: &[u8]) -> Result<u64> {
    Ok(rows.get(&key(Table::Counter, name))?.map_or(0, |value| rows::number(&value)))
}

fn set_counter(rows: &mut View, name: &[u8], value: u64) -> Result<()> {
    rows.put(key(Table::Counter, name), value.to_be_bytes().to_vec())
}

impl Drop for Closing {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        let _ = fs::remove_file(owner_path(&self.shared.path));
    }
}

/// Writes what waits, until the store is closed, and then all that is left.
fn write_batches(shared: &Shared, stopped: &mpsc::Receiver<()>) {
    // Looks often enough that nothing waits much longer than it may.
    const LOOK: Duration = Duration::from_secs(1);
    let mut open = true;
    while open {
        open = stopped.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout);
        if let Err(error) = shared.rows.flush(if open { BATCH } else { Duration::ZERO }) {
            tracing::error!("the store {} does not take writes: {error:#}", shared.path.display());
        }
    }
}

fn owner_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pid");
    PathBuf::from(name)
}

/// Leaves a note for whoever finds the file locked.
fn note_owner(path: &Path) {
    let file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(owner_path(path));
    let written = file.and_then(|mut file| writeln!(file, "{}", std::process::id()));
    if let Err(error) = written {
        tracing::debug!("no note of who has the store: {error}");
    }
}

/// Who has the file, as far as the note tells.
fn owner(path: &Path) -> String {
    let pid = fs::read_to_string(owner_path(path)).ok().and_then(|text| text.trim().parse::<u32>().ok());
    match pid {
        Some(pid) => {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            match name.trim() {
                "" => format!("process {pid}"),
                name => format!("process {pid} ({name})"),
            }
        }
        None => "another process".to_string(),
    }
}

fn open_database(path: &Path) -> Result<Database> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| {
            format!("cannot make {}; choose another place with --state", folder.display())
        })?;
    }
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| {
            format!("cannot open the store {}; choose another place with --state", path.display())
        })?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!("{} could be read by others (mode {:o}): mended", path.display(), mode & 0o777);
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Builder::new().set_cache_size(CACHE_BYTES).create_file(file).map_err(|error| not_opened(path, error))
}

/// Why the file is not opened, and what to do.
fn not_opened(path: &Path, error: DatabaseError) -> anyhow::Error {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error {
        DatabaseError::DatabaseAlreadyOpen => InUse { path: path.to_path_buf(), owner: owner(path) }.into(),
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) =>
        {
            anyhow!(
                "there is no room for the store {} ({error}): free some on its disk, or name another place with --state; what is in it is not lost",
                path.display()
            )
        }
        DatabaseError::UpgradeRequired(version) => anyhow!(
            "the store {} is in another format of its database ({version}): use the program that wrote it, or another store with --state",
            path.display()
        ),
        error => anyhow!(
            "{} cannot be opened as a store ({error}): move it away to begin anew, or name the right one with --state",
            path.display()
        ),
    }
}

/// Serialised for the file.
fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(value)?)
}

/// Read from the file: what cannot be read is left out with a word in the log, so that one bad row hides no good one.
fn decode<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes)
        .inspect_err(|error| tracing::warn!("a row of {what} in the store cannot be read: {error}"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_damaged_store() {
        let said = |error: std::io::Error| {
            not_opened(Path::new("/state/store"), DatabaseError::Storage(StorageError::Io(error))).to_string()
        };
        // ENOSPC and EDQUOT, as the system tells them.
        for code in [28, 122] {
            let full = said(std::io::Error::from_raw_os_error(code));
            assert!(
                full.contains("no room") && full.contains("--state") && !full.contains("move it away"),
                "{full}"
            );
        }
        let other = said(std::io::ErrorKind::InvalidData.into());
        assert!(other.contains("move it away"), "{other}");
    }
}
