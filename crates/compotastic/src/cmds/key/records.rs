//! `compotastic key delegate`, `revoke` and `rotate`: what a root key signs about other keys.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use compotastic_bundle::{
    ALL_KEYS, Delegation, KeyId, KindMask, Revocation, Rotation, Statement, TrustStore,
};
use compotastic_daemon::cli::output::{self, other_ending, with_ending};
use serde_json::{Value, json};

use super::{
    TrustPath,
    files::{self, Role, SecretKey, hex, unhex},
    read_record,
};
use crate::cmds::{
    bundle::fields::{Kind, kind_mask},
    classes::ClassArgs,
};

/// The signer of a record and where the record goes.
#[derive(Args)]
pub struct Signer {
    /// The root key that signs
    #[arg(long, value_name = "KEY")]
    by: PathBuf,
    /// Counts up: the record of the highest epoch holds [default: one above what the trust file and the record beside the key say]
    #[arg(long, value_name = "N")]
    epoch: Option<u32>,
    #[command(flatten)]
    trust: TrustPath,
    /// Where to write the record
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// A record to be written, and what people are told about it.
struct Written<'a> {
    default: PathBuf,
    /// What was read beside the signer's key and the trust file.
    input: &'a Path,
    record: &'a [u8],
    epoch: u32,
    what: String,
    /// More about it: a line, and a field of the JSON object.
    more: Option<(String, (&'static str, Value))>,
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

    /// What this machine believes; none before it believes a root key.
    fn known(&self) -> Result<Option<TrustStore>> {
        let file = self.trust.read()?;
        if file.roots().is_empty() { Ok(None) } else { file.store().map(Some) }
    }

    fn write(&self, written: Written<'_>) -> Result<()> {
        let Written { default, input, record, epoch, what, more } = written;
        let out = self.out.as_deref().unwrap_or(&default);
        let trust = self.trust.file()?;
        output::write(out, record, [self.by.as_path(), input, &trust])?;
        if self.json {
            let mut said = json!({
                "file": out.display().to_string(), "bytes": record.len(), "record": hex(record), "epoch": epoch,
            });
            if let Some((_, (name, value))) = more {
                said[name] = value;
            }
            println!("{said}");
        } else {
            println!("{}: {what}, {} bytes, one frame", out.display(), record.len());
            if let Some((line, _)) = more {
                println!("{line}");
            }
            println!("next: compotastic key trust {}", out.display());
        }
        Ok(())
    }
}

/// A delegation that is known here: of whom, its epoch, and where it was found.
struct Found {
    key_id: KeyId,
    epoch: u32,
    place: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {} ({}, of {})", self.epoch, self.place, self.key_id)
    }
}

/// The delegations of a key, or of all, in the trust file and in the file beside the key.
fn delegations(store: Option<&TrustStore>, key_id: KeyId, beside: &Path) -> Vec<Found> {
    let is_meant = |id: KeyId| id == key_id || key_id == ALL_KEYS;
    let mut found: Vec<Found> = store
        .into_iter()
        .flat_map(TrustStore::delegations)
        .filter(|(id, _)| is_meant(*id))
        .map(|(key_id, said)| Found { key_id, epoch: said.epoch, place: "trust file".to_string() })
        .collect();
    // What cannot be read there is none.
    let record = read_record(beside).ok();
    if let Some((_, Statement::Delegation(said))) = record.as_deref().and_then(Statement::claimed) {
        let key_id = KeyId::of(&said.public_key);
        if is_meant(key_id) && !found.iter().any(|one| (one.key_id, one.epoch) == (key_id, said.epoch)) {
            found.push(Found { key_id, epoch: said.epoch, place: beside.display().to_string() });
        }
    }
    found
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
    #[command(flatten)]
    classes: ClassArgs,
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
    let (store, id) = (args.signer.known()?, edge.id());
    let file = other_ending(&args.key, ".pub", ".delegation");
    let above =
        delegations(store.as_ref(), id, &file).iter().map(|found| found.epoch.saturating_add(1)).max();
    // What was revoked does not come back below the epoch of the revocation.
    let floor = store.as_ref().map_or(0, |store| {
        let own = store.revoked().find(|revoked| revoked.key_id == id).map_or(0, |revoked| revoked.epoch);
        own.max(store.epoch_floor())
    });
    let epoch = args.signer.epoch.unwrap_or(above.unwrap_or(1).max(floor));
    let classes = args.classes.mask()?;
    let delegation = Delegation { public_key: edge.bytes, kinds, classes, size_cap: args.size_cap, epoch };
    args.signer.write(Written {
        default: file,
        input: &args.key,
        record: &delegation.sign(&root.key),
        epoch,
        what: format!("delegation to {id} by {}, epoch {epoch}", root.public().id()),
        more: None,
    })
}

/// Options of `key revoke`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic key revoke hut.pub --by operator                what was delegated to it is void\n  compotastic key revoke hut.pub --by operator --epoch 3      delegations of epochs 1 and 2 are void\n  compotastic key revoke all --by operator\n\nDelegations below the epoch are void, those of the epoch and above stay valid: delegate again with that epoch to let the key come back."
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
    let store = args.signer.known()?;
    let found = delegations(store.as_ref(), key_id, &other_ending(name, ".pub", ".delegation"));
    let whom = if key_id == ALL_KEYS { "every key".to_string() } else { key_id.to_string() };
    let highest = found.iter().map(|found| found.epoch).max();
    let epoch = args.signer.epoch.or(highest.map(|epoch| epoch.saturating_add(1))).ok_or_else(|| {
        anyhow!(
            "no delegation of {whom} is known here, neither in {} nor beside the key: name the lowest epoch that stays valid, \
             --epoch N (2 voids a first delegation)",
            args.signer.trust.file().unwrap_or_default().display()
        )
    })?;
    ensure!(epoch > 0, "epoch 0 revokes nothing: name the lowest epoch that stays valid");
    let (voided, kept): (Vec<&Found>, Vec<&Found>) = found.iter().partition(|found| found.epoch < epoch);
    let list = |found: &[&Found]| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut line = match voided.is_empty() {
        false => format!("voids the delegation of {}", list(&voided)),
        true => "voids no delegation that is known here".to_string(),
    };
    if let Some(highest) = highest.filter(|_| !kept.is_empty()) {
        let next = highest.saturating_add(1);
        line += &format!("; stays valid: {}; --epoch {next} voids that too", list(&kept));
    }
    let voids: Vec<u32> = voided.iter().map(|found| found.epoch).collect();
    args.signer.write(Written {
        default: other_ending(name, ".pub", ".revocation"),
        input: name,
        record: &Revocation { key_id, epoch }.sign(&root.key),
        epoch,
        what: format!("revocation of {whom} below epoch {epoch}"),
        more: Some((line, ("voids", voids.into()))),
    })
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
    let epoch = match args.signer.epoch {
        Some(epoch) => epoch,
        None => args.signer.known_rotation(root.public().id(), args.rank)?.saturating_add(1),
    };
    ensure!(epoch > 0, "epochs of rotations count from 1");
    let max = compotastic_bundle::MAX_ROOTS;
    if usize::from(args.rank) >= max {
        return Err(anyhow!("a device has {max} root keys at most: ranks are 0 to {}", max - 1));
    }
    args.signer.write(Written {
        default: other_ending(&args.key, ".pub", ".rotation"),
        input: &args.key,
        record: &Rotation { rank: args.rank, public_key: key.bytes, epoch }.sign(&root.key),
        epoch,
        what: format!("rotation of rank {} to {}, epoch {epoch}", args.rank, key.id()),
        more: None,
    })
}

impl Signer {
    /// Highest epoch of a rotation at a rank that counts for what `by` signs; 0 if none is known.
    fn known_rotation(&self, by: KeyId, rank: u8) -> Result<u32> {
        let store = self.known()?;
        let state = store.as_ref().and_then(|store| store.root_state(usize::from(rank)));
        let trusted = state
            .map_or(0, |state| if KeyId::of(&state.key) == by { state.own_epoch } else { state.above_epoch });
        // By which the signer itself came; not every machine has been told.
        let record = read_record(&with_ending(&self.by, ".rotation")).ok();
        let came = match record.as_deref().and_then(Statement::claimed) {
            Some((_, Statement::Rotation(said)))
                if said.rank == rank && KeyId::of(&said.public_key) == by =>
            {
                said.epoch
            }
            _ => 0,
        };
        Ok(trusted.max(came))
    }
}
