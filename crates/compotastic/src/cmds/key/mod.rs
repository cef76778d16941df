//! `compotastic key`.

mod records;
mod show;
pub mod trust_file;

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, ensure};
use clap::{Args, Subcommand};
use compotastic_bundle::{KeyId, RecordChange, RecordError, Statement, TrustStore};
use serde_json::json;

pub use compotastic_daemon::keyfile as files;
use files::{Role, hex};
pub use show::delegation_json as show_delegation;
use trust_file::TrustFile;

/// Makes keys, delegates to edge nodes, and says whom to trust.
#[derive(Subcommand)]
#[command(
    after_help = "The usual order:\n  compotastic key new operator                                  the operator's root key; keep it off line\n  compotastic key new --role edge hut                            the edge node's key\n  compotastic key delegate hut.pub --by operator --class 1       the root key lets it sign models and policies\n  compotastic key trust operator.pub                            this machine believes the operator\n  compotastic key trust hut.delegation                           and whom the operator delegated to"
)]
pub enum KeyCommand {
    /// Makes a key: FILE for the owner only, and FILE.pub to give away
    New(NewArgs),
    /// Shows what a key, a delegation, a revocation or a rotation says
    Show(show::ShowArgs),
    /// Believes a root key or a record that one signed; without a file it lists what is believed
    Trust(TrustArgs),
    /// A root key lets an edge key sign
    Delegate(records::DelegateArgs),
    /// A root key voids delegations
    Revoke(records::RevokeArgs),
    /// A root key names its successor
    Rotate(records::RotateArgs),
}

/// Options of `key new`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic key new operator\n  compotastic key new --role edge hut --json"
)]
pub struct NewArgs {
    /// Where to write the secret key; the public one goes beside it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What it is for
    #[arg(long, value_enum, default_value_t = Role::Root)]
    role: Role,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Where the trust file is.
#[derive(Args)]
pub struct TrustPath {
    /// Trust file, or folder with one [default: ~/.config/compotastic/trust]
    #[arg(long = "trust", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl TrustPath {
    /// Where the trust file is.
    pub fn file(&self) -> Result<PathBuf> {
        trust_file::path_of(self.path.as_deref())
    }

    /// The trust file.
    pub fn read(&self) -> Result<TrustFile> {
        TrustFile::read(self.file()?)
    }
}

/// Options of `key trust`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic key trust operator.pub\n  compotastic key trust hut.delegation --trust ./trust\n  compotastic key trust"
)]
pub struct TrustArgs {
    /// Public root key (.pub), delegation, revocation or rotation
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustPath,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(command: KeyCommand) -> Result<()> {
    match command {
        KeyCommand::New(args) => new(&args),
        KeyCommand::Show(args) => show::run(&args),
        KeyCommand::Trust(args) => trust(&args),
        KeyCommand::Delegate(args) => records::delegate(&args),
        KeyCommand::Revoke(args) => records::revoke(&args),
        KeyCommand::Rotate(args) => records::rotate(&args),
    }
}

fn new(args: &NewArgs) -> Result<()> {
    let public = files::create(&args.file, args.role)?.public();
    let beside = files::public_path(&args.file);
    let (secret, beside) = (args.file.display(), beside.display());
    if args.json {
        println!(
            "{}",
            json!({
                "role": public.role.word(), "key_id": public.id().to_string(), "public_key": hex(&public.bytes),
                "secret_file": secret.to_string(), "public_file": beside.to_string(),
            })
        );
        return Ok(());
    }
    println!("{} key {}", public.role.word(), public.id());
    println!("  {secret}: secret, readable by you alone; whoever has it can sign");
    println!("  {beside}: public");
    match public.role {
        Role::Root => println!("next: compotastic key trust {beside}"),
        Role::Edge => println!("next: compotastic key delegate {beside} --by ROOT --class 1"),
    }
    Ok(())
}

/// Reads a record's file.
pub fn read_record(path: &Path) -> Result<Vec<u8>> {
    let limit = compotastic_bundle::MAX_RECORD as u64;
    compotastic_sim::files::read(path, limit).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => {
            anyhow!("{} is neither a key nor a record signed by a root key: it is too long", path.display())
        }
        _ => anyhow!(error).context(format!("cannot read {}", path.display())),
    })
}

fn trust(args: &TrustArgs) -> Result<()> {
    let mut trusted = args.trust.read()?;
    let news = match &args.file {
        Some(file) => Some(believe(&mut trusted, file)?),
        None => None,
    };
    show::trusted(&trusted, news, args.json)
}

/// Adds what is in `file`; what that changed, for people.
fn believe(trusted: &mut TrustFile, file: &Path) -> Result<String> {
    if files::is_key(file) {
        let key = files::read_public(file)?;
        ensure!(
            key.role == Role::Root,
            "{} is an edge node's key, which counts by its delegation only: `compotastic key delegate {} --by ROOT` makes \
             one, and `compotastic key trust` takes that",
            file.display(),
            file.display()
        );
        let added = trusted.add_root(&key)?;
        return Ok(if added {
            format!("root {} is believed now", key.id())
        } else {
            "known already".to_string()
        });
    }
    let record = read_record(file)?;
    let (by, statement) = Statement::claimed(&record)
        .ok_or_else(|| anyhow!("{} is neither a key nor a record signed by a root key", file.display()))?;
    let before = trusted.store()?;
    let change = trusted.add_record(&record)?.map_err(|error| {
        let newer = (error == RecordError::Outdated).then(|| newest(&before, by, &statement)).flatten();
        let hint = newer.map_or(String::new(), |epoch| {
            format!("; epoch {epoch} is the lowest that would be taken: sign it anew with --epoch {epoch}")
        });
        anyhow!("{error}{hint}")
            .context(format!("{}, which names root key {by} as its signer, is not taken", file.display()))
    })?;
    Ok(match (change, &statement) {
        (RecordChange::Delegated(key), _) => format!("edge key {key} may sign now"),
        (RecordChange::Revoked(key), Statement::Revocation(said)) => revoked(&before, key, said.epoch),
        (RecordChange::Revoked(key), _) => format!("delegations of {key} are void now"),
        (RecordChange::Rotated(key), _) => {
            format!("{key} is a root key now; its predecessor and what that signed are void")
        }
        (RecordChange::Known(_) | RecordChange::Unchanged, _) => "known already".to_string(),
    })
}

/// What a revocation has done to what was believed before.
fn revoked(before: &TrustStore, key: KeyId, epoch: u32) -> String {
    let all = key == compotastic_bundle::ALL_KEYS;
    let whom = if all { "all keys".to_string() } else { key.to_string() };
    let known: Vec<(KeyId, u32)> =
        before.delegations().filter(|(id, _)| all || *id == key).map(|(id, said)| (id, said.epoch)).collect();
    let list = |is_void: bool| -> Vec<String> {
        let meant = known.iter().filter(|(_, own)| (*own < epoch) == is_void);
        meant.map(|(id, own)| format!("that of {id} of epoch {own}")).collect()
    };
    let (voided, kept) = (list(true), list(false));
    let mut said = format!("delegations of {whom} below epoch {epoch} are void now: ");
    said += &match voided.is_empty() {
        true => "none that was believed here".to_string(),
        false => voided.join(", "),
    };
    if !kept.is_empty() {
        said += &format!("; still believed: {}", kept.join(", "));
    }
    said
}

/// The lowest epoch at which a statement of a root key would not be outdated.
fn newest(store: &TrustStore, by: KeyId, statement: &Statement) -> Option<u32> {
    match statement {
        Statement::Delegation(said) => {
            let id = KeyId::of(&said.public_key);
            let known = store.delegations().find(|(known, _)| *known == id);
            let above = known.map(|(_, said)| said.epoch.saturating_add(1));
            let own = store.revoked().find(|revoked| revoked.key_id == id).map(|revoked| revoked.epoch);
            [above, own, Some(store.epoch_floor())].into_iter().flatten().max()
        }
        Statement::Rotation(said) => {
            let state = store.root_state(usize::from(said.rank))?;
            let own = KeyId::of(&state.key) == by;
            let known = if own { state.own_epoch } else { state.above_epoch };
            Some(known.saturating_add(1))
        }
        Statement::Revocation(_) => None,
    }
}
