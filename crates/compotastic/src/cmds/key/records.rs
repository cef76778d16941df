//! `compotastic key delegate`, `revoke` and `rotate`: what a root key signs about other keys.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use compotastic_bundle::{ALL_KEYS, Delegation, KeyId, KindMask, Revocation, Rotation};
use serde_json::json;

use super::files::{self, Role, SecretKey, hex, unhex};
use crate::cmds::bundle::fields::{Kind, class_mask, kind_mask};

/// The signer of a record and where the record goes.
#[derive(Args)]
pub struct Signer {
    /// The root key that signs
    #[arg(long, value_name = "KEY")]
    by: PathBuf,
    /// Counts up: the record of the highest epoch holds
    #[arg(long, default_value_t = 1)]
    epoch: u32,
    /// Where to write the record
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Signer {
    fn root(&self) -> Result<SecretKey> {
        let root = files::read_secret(&self.by)?;
        ensure!(
            root.role == Role::Root,
            "{} is an edge node's key; only a root key signs about keys",
            self.by.display()
        );
        Ok(root)
    }

    fn write(&self, default: &Path, record: &[u8], what: &str) -> Result<()> {
        let out = self.out.as_deref().unwrap_or(default);
        std::fs::write(out, record).with_context(|| format!("cannot write {}", out.display()))?;
        if self.json {
            println!(
                "{}",
                json!({ "file": out.display().to_string(), "bytes": record.len(), "record": hex(record) })
            );
        } else {
            println!("{}: {what}, {} bytes, one frame", out.display(), record.len());
            println!("next: compotastic key trust {}", out.display());
        }
        Ok(())
    }
}

/// Options of `key delegate`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic key delegate hut.pub --by operator --class 1\n  compotastic key delegate hut.pub --by operator --class 1,2 --kind model --size-cap 8192 --epoch 2"
)]
pub struct DelegateArgs {
    /// The edge node's public key
    #[arg(value_name = "EDGE.pub")]
    key: PathBuf,
    /// Device classes that it may sign for, 0 to 31, comma separated
    #[arg(long = "class", value_delimiter = ',', required = true, value_name = "N")]
    classes: Vec<u8>,
    /// What it may sign
    #[arg(long = "kind", value_delimiter = ',', value_enum, default_values_t = [Kind::Model, Kind::Policy])]
    kinds: Vec<Kind>,
    /// Largest content and largest image that it may sign, in bytes
    #[arg(long, default_value_t = 65_536)]
    size_cap: u32,
    #[command(flatten)]
    signer: Signer,
}

/// Runs `key delegate`.
pub fn delegate(args: &DelegateArgs) -> Result<()> {
    let root = args.signer.root()?;
    let edge = files::read_public(&args.key)?;
    ensure!(
        edge.role == Role::Edge,
        "{} is a root key, which needs no delegation: `compotastic key new --role edge FILE` makes an edge key",
        args.key.display()
    );
    let kinds = kind_mask(&args.kinds);
    ensure!(
        kinds.0 & !KindMask::EDGE.0 == 0,
        "an edge key signs models and policies only; sign logic and firmware with the root key"
    );
    let delegation = Delegation {
        public_key: edge.bytes,
        kinds,
        classes: class_mask(&args.classes)?,
        size_cap: args.size_cap,
        epoch: args.signer.epoch,
    };
    let record = delegation.sign(&root.key);
    let what = format!("delegation to {} by {}", edge.id(), root.public().id());
    args.signer.write(&args.key.with_extension("delegation"), &record, &what)
}

/// Options of `key revoke`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic key revoke hut.pub --by operator --epoch 2      delegations of epoch 1 are void\n  compotastic key revoke all --by operator --epoch 7"
)]
pub struct RevokeArgs {
    /// Public key of the edge node, its key id (16 digits), or "all"
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    signer: Signer,
}

/// Runs `key revoke`.
pub fn revoke(args: &RevokeArgs) -> Result<()> {
    let root = args.signer.root()?;
    let id = unhex(&args.key).and_then(|bytes| bytes.try_into().ok()).map(KeyId);
    let (key_id, name) = match (args.key.as_str(), id) {
        ("all", _) => (ALL_KEYS, Path::new("all")),
        (_, Some(id)) => (id, Path::new(&args.key)),
        (path, None) => (files::read_public(Path::new(path))?.id(), Path::new(path)),
    };
    ensure!(args.signer.epoch > 0, "epoch 0 revokes nothing: name the lowest epoch that stays valid");
    let revocation = Revocation { key_id, epoch: args.signer.epoch };
    let whom = if key_id == ALL_KEYS { "every key".to_string() } else { key_id.to_string() };
    let what = format!("revocation of {whom} below epoch {}", args.signer.epoch);
    args.signer.write(&name.with_extension("revocation"), &revocation.sign(&root.key), &what)
}

/// Options of `key rotate`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic key rotate next.pub --by operator                      operator's key goes, next comes\n  compotastic key rotate next.pub --by operator --rank 1             a key of lower rank was stolen\n\nWhat the old key delegated is void then: delegate again with the new one."
)]
pub struct RotateArgs {
    /// The public root key that comes
    #[arg(value_name = "ROOT.pub")]
    key: PathBuf,
    /// Which root key goes: 0 is the first that the devices were enrolled with. The signer's own, or a later one
    #[arg(long, default_value_t = 0)]
    rank: u8,
    #[command(flatten)]
    signer: Signer,
}

/// Runs `key rotate`.
pub fn rotate(args: &RotateArgs) -> Result<()> {
    let root = args.signer.root()?;
    let key = files::read_public(&args.key)?;
    ensure!(
        key.role == Role::Root,
        "{} is an edge node's key; a root key is followed by a root key",
        args.key.display()
    );
    ensure!(args.signer.epoch > 0, "epochs of rotations count from 1");
    let max = compotastic_bundle::MAX_ROOTS;
    if usize::from(args.rank) >= max {
        return Err(anyhow!("a device has {max} root keys at most: ranks are 0 to {}", max - 1));
    }
    let rotation = Rotation { rank: args.rank, public_key: key.bytes, epoch: args.signer.epoch };
    let what = format!("rotation of rank {} to {}", args.rank, key.id());
    args.signer.write(&args.key.with_extension("rotation"), &rotation.sign(&root.key), &what)
}
