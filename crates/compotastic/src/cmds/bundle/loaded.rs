//! Bundles as files: the SUIT envelope with its content, or a bare manifest in either shape.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use compotastic_bundle::{BundleFile, ClaimedManifest, KeyId, Manifest, Statement};

use crate::cmds::key::{
    files::{self, Role},
    read_record,
};

/// Largest file that is read, in bytes: far above the largest object.
const LARGEST: u64 = 64 << 20;

/// What a file holds.
pub struct Loaded {
    /// The manifest; nobody has checked it.
    pub claimed: ClaimedManifest,
    /// The content, unless the file is a bare manifest.
    pub content: Option<Vec<u8>>,
    /// The signer's delegation.
    pub delegation: Option<Vec<u8>>,
}

impl Loaded {
    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        self.claimed.claims()
    }

    /// Whether anybody has signed it.
    pub fn is_signed(&self) -> bool {
        self.claimed.key_id() != KeyId([0; 8])
    }

    /// Writes it as one file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let content =
            self.content.as_deref().ok_or_else(|| anyhow!("a bare manifest has no content to write"))?;
        let claimed = self.claimed.clone();
        let mut bytes = Vec::with_capacity(content.len() + 1024);
        BundleFile { claimed, content, delegation: self.delegation.as_deref() }
            .emit(|part| bytes.extend_from_slice(part));
        fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The bytes of a file of sensible size.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    let length = fs::metadata(path).with_context(cannot)?.len();
    ensure!(length <= LARGEST, "{} has {length} bytes, {LARGEST} at most are read", path.display());
    fs::read(path).with_context(cannot)
}

/// Whether bytes begin as a bundle file or an envelope does.
pub fn looks_like_a_bundle(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xD8, 0x6B])
}

/// Reads a bundle, an envelope or a packed manifest.
pub fn load(path: &Path) -> Result<Loaded> {
    let bytes = read_file(path)?;
    let no_bundle = |why: String| {
        anyhow!(
            "{} is no bundle: {why}; `compotastic bundle build FILE` makes one from content",
            path.display()
        )
    };
    if let Ok(claimed) = ClaimedManifest::parse(&bytes) {
        return Ok(Loaded { claimed, content: None, delegation: None });
    }
    if !looks_like_a_bundle(&bytes) {
        return Err(no_bundle("it does not begin as an envelope does".to_string()));
    }
    let file = BundleFile::parse(&bytes).map_err(|error| no_bundle(error.to_string()))?;
    Ok(Loaded {
        claimed: file.claimed,
        content: Some(file.content.to_vec()),
        delegation: file.delegation.map(<[u8]>::to_vec),
    })
}

/// Who signs, and by what right.
#[derive(Args)]
pub struct Signing {
    /// Secret key that signs; without it the bundle is unsigned until `bundle sign`
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
    /// Delegation of an edge key, to go with the bundle [default: the one beside the key, if there is one]
    #[arg(long, value_name = "FILE")]
    delegation: Option<PathBuf>,
}

impl Signing {
    /// Signs, if there is a key.
    pub fn apply(&self, manifest: Manifest, content: Vec<u8>) -> Result<Loaded> {
        let content = Some(content);
        let Some(path) = &self.key else {
            ensure!(self.delegation.is_none(), "a delegation is for a signer: name its key by --key");
            let claimed = ClaimedManifest::unsigned(manifest).map_err(|error| anyhow!("{error}"))?;
            return Ok(Loaded { claimed, content, delegation: None });
        };
        let secret = files::read_secret(path)?;
        let beside = path.with_extension("delegation");
        let file = match &self.delegation {
            Some(file) => Some(file),
            None => Some(&beside).filter(|file| secret.role == Role::Edge && file.exists()),
        };
        let delegation = file.map(|file| read_record(file)).transpose()?;
        if let (Some(record), Some(file)) = (&delegation, file) {
            let own = secret.public();
            match Statement::claimed(record) {
                Some((_, Statement::Delegation(said))) if said.public_key == own.bytes => {}
                Some((_, Statement::Delegation(said))) => bail!(
                    "{} is the delegation of key {}, the signer is {}",
                    file.display(),
                    KeyId::of(&said.public_key),
                    own.id()
                ),
                _ => bail!("{} is no delegation: `compotastic key delegate` makes one", file.display()),
            }
        }
        let claimed = ClaimedManifest::sign(manifest, &secret.key).map_err(|error| anyhow!("{error}"))?;
        Ok(Loaded { claimed, content, delegation })
    }
}
