//! Whom this machine believes: a text file of root keys and of the records that they signed, in the order in which they came.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use compotastic_bundle::{MAX_ROOTS, RecordChange, RecordError, TrustStore};
use compotastic_daemon::cli::output;
use compotastic_sim::files;

use super::files::{PublicKey, hex, unhex};

/// Name of the file in a folder.
const NAME: &str = "trust";
/// No trust file is longer, bytes: thousands of records.
const LONGEST: u64 = 1 << 20;
const HEAD: &str = "# Whom to believe. Written by `compotastic key trust`: root keys, the highest-ranking first, then records.\n";

/// Root keys and records.
#[derive(Debug, Default)]
pub struct TrustFile {
    path: PathBuf,
    roots: Vec<[u8; 32]>,
    records: Vec<Vec<u8>>,
}

/// Where the trust file is: `given`, a file or a folder with one, else the user's own.
pub fn path_of(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(if given.is_dir() { given.join(NAME) } else { given.to_path_buf() });
    }
    let folder = config_folder().ok_or_else(|| {
        anyhow!("there is no home folder to keep the trust file in: name one by --trust FILE")
    })?;
    Ok(folder.join(NAME))
}

/// The user's own folder for what this program is told to keep in mind.
pub fn config_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("COMPOTASTIC_CONFIG")
        .or_else(|| Some(set("XDG_CONFIG_HOME")?.join("compotastic")))
        .or_else(|| Some(set("HOME")?.join(".config/compotastic")))
}

impl TrustFile {
    /// Reads it; one that does not exist is empty.
    pub fn read(path: PathBuf) -> Result<Self> {
        let mut file = Self { path, ..Self::default() };
        let text = match files::read_text(&file.path, LONGEST) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(file),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", file.path.display()));
            }
        };
        for (number, line) in text.lines().enumerate() {
            let bad = || {
                anyhow!(
                    "{}, line {}: neither \"root DIGITS\" nor \"record DIGITS\": remove the line, or the file, and \
                     trust the keys again",
                    file.path.display(),
                    number + 1
                )
            };
            match line.split_once(' ') {
                _ if line.is_empty() || line.starts_with('#') => {}
                Some(("root", digits)) => {
                    file.roots.push(unhex(digits).and_then(|key| key.try_into().ok()).ok_or_else(bad)?);
                }
                Some(("record", digits)) => file.records.push(unhex(digits).ok_or_else(bad)?),
                _ => return Err(bad()),
            }
        }
        Ok(file)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Root keys, the highest-ranking first.
    pub fn roots(&self) -> &[[u8; 32]] {
        &self.roots
    }

    /// Records that they signed, in the order in which they came.
    pub fn records(&self) -> &[Vec<u8>] {
        &self.records
    }

    /// What it makes a device believe.
    pub fn store(&self) -> Result<TrustStore> {
        let path = self.path.display();
        ensure!(
            !self.roots.is_empty(),
            "{path} names no root key yet: `compotastic key trust ROOT.pub` adds one"
        );
        let mut store = TrustStore::new(&self.roots)
            .ok_or_else(|| anyhow!("{path} holds an unusable root key, or more than {MAX_ROOTS}"))?;
        for record in &self.records {
            store
                .add_record(record)
                .map_err(|error| anyhow!("{path} holds a record that is not taken: {error}"))?;
        }
        Ok(store)
    }

    /// Adds a root key; false if it is there already.
    pub fn add_root(&mut self, key: &PublicKey) -> Result<bool> {
        if self.roots.contains(&key.bytes) {
            return Ok(false);
        }
        if self.roots.len() == MAX_ROOTS {
            bail!(
                "{} has {MAX_ROOTS} root keys, which is as many as a device can hold; `compotastic key rotate` replaces one",
                self.path.display()
            );
        }
        self.roots.push(key.bytes);
        // Refuses what no device would take.
        self.store()?;
        self.write()?;
        Ok(true)
    }

    /// Adds a record, if the root keys have signed it and it says something new.
    ///
    /// # Errors
    /// Why it is not taken, inside; outside, why the file cannot be read or written.
    pub fn add_record(&mut self, record: &[u8]) -> Result<Result<RecordChange, RecordError>> {
        let change = match self.store()?.add_record(record) {
            Ok(change) => change,
            Err(error) => return Ok(Err(error)),
        };
        if !matches!(change, RecordChange::Known(_) | RecordChange::Unchanged) {
            self.records.push(record.to_vec());
            self.write()?;
        }
        Ok(Ok(change))
    }

    fn write(&self) -> Result<()> {
        let roots = self.roots.iter().map(|key| format!("root {}\n", hex(key)));
        let records = self.records.iter().map(|record| format!("record {}\n", hex(record)));
        let text: String = std::iter::once(HEAD.to_string()).chain(roots).chain(records).collect();
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        output::write(&self.path, text.as_bytes(), [])
    }
}
