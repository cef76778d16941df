//! Bundles as files: the SUIT envelope with its content, or a bare manifest in either shape.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use compotastic_bundle::{
    BundleFile, ClaimedManifest, Delegation, KeyId, KindMask, Manifest, Refusal, Statement, may_sign,
};
use compotastic_daemon::cli::output::{self, with_ending};

use super::fields::class_numbers;
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

    /// Writes it as one file, not over any of `inputs`.
    pub fn write<'a>(&self, path: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        let content =
            self.content.as_deref().ok_or_else(|| anyhow!("a bare manifest has no content to write"))?;
        let claimed = self.claimed.clone();
        let mut bytes = Vec::with_capacity(content.len() + 1024);
        BundleFile { claimed, content, delegation: self.delegation.as_deref() }
            .emit(|part| bytes.extend_from_slice(part));
        output::write(path, &bytes, inputs)
    }
}

/// The bytes of a file of sensible size.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    compotastic_sim::files::read(path, LARGEST).with_context(|| format!("cannot read {}", path.display()))
}

/// Whether bytes begin as a bundle file or an envelope does.
pub fn looks_like_a_bundle(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xD8, 0x6B])
}

/// Reads a bundle, an envelope or a packed manifest.
pub fn load(path: &Path) -> Result<Loaded> {
    parse(&read_file(path)?, path)
}

/// The same from what was read of `path`.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Loaded> {
    let no_bundle = |why: String| {
        anyhow!(
            "{} is no bundle: {why}; `compotastic bundle build FILE` makes one from content",
            path.display()
        )
    };
    if let Ok(claimed) = ClaimedManifest::parse(bytes) {
        return Ok(Loaded { claimed, content: None, delegation: None });
    }
    if !looks_like_a_bundle(bytes) {
        return Err(no_bundle("it does not begin as an envelope does".to_string()));
    }
    let file = BundleFile::parse(bytes).map_err(|error| no_bundle(error.to_string()))?;
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
    /// Files that it reads.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        [&self.key, &self.delegation].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Signs, if there is a key that may.
    pub fn apply(&self, manifest: Manifest, content: Vec<u8>) -> Result<Loaded> {
        let content = Some(content);
        let Some(path) = &self.key else {
            ensure!(self.delegation.is_none(), "a delegation is for a signer: name its key by --key");
            let claimed = ClaimedManifest::unsigned(manifest).map_err(|error| anyhow!("{error}"))?;
            return Ok(Loaded { claimed, content, delegation: None });
        };
        let secret = files::read_secret(path)?;
        let is_edge = secret.role == Role::Edge;
        ensure!(
            !is_edge || KindMask::EDGE.contains(manifest.kind),
            "{} is an edge node's key, and no device takes {} of it: sign with the root key",
            path.display(),
            manifest.kind
        );
        let beside = with_ending(path, ".delegation");
        let file = match &self.delegation {
            Some(file) => Some(file),
            None => Some(&beside).filter(|file| is_edge && file.exists()),
        };
        let mut delegation = None;
        if let Some(file) = file {
            let record = read_record(file)?;
            permits(&record, secret.public().bytes, &manifest, file)?;
            delegation = Some(record);
        } else if is_edge {
            eprintln!(
                "note: there is no {}; devices believe this signature only if they have the key's delegation already",
                beside.display()
            );
        }
        let claimed = ClaimedManifest::sign(manifest, &secret.key).map_err(|error| anyhow!("{error}"))?;
        Ok(Loaded { claimed, content, delegation })
    }
}

/// Refuses a record that is not the signer's delegation, or does not let it sign this.
fn permits(record: &[u8], own: [u8; 32], manifest: &Manifest, file: &Path) -> Result<()> {
    let file = file.display();
    let Some((_, Statement::Delegation(said))) = Statement::claimed(record) else {
        bail!("{file} is no delegation: `compotastic key delegate` makes one");
    };
    ensure!(
        said.public_key == own,
        "{file} is the delegation of key {}, the signer is {}",
        KeyId::of(&said.public_key),
        KeyId::of(&own)
    );
    may_sign(&said, manifest).map_err(|refusal| {
        anyhow!(
            "no device would take it: {}, says {file}; sign with the root key, or delegate anew",
            why(&refusal, &said)
        )
    })
}

fn why(refusal: &Refusal, said: &Delegation) -> String {
    match refusal {
        Refusal::ClassNotAllowed => {
            let classes: Vec<String> = class_numbers(said.classes).iter().map(u8::to_string).collect();
            format!("{refusal}, only for {}", classes.join(", "))
        }
        refusal => refusal.to_string(),
    }
}
