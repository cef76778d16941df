//! `compotastic key`.

mod records;
mod show;
pub mod trust_file;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::{Args, Subcommand};
use compotastic_bundle::{RecordChange, Statement};
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
    /// The trust file.
    pub fn read(&self) -> Result<TrustFile> {
        TrustFile::read(trust_file::path_of(self.path.as_deref())?)
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
    let length = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    ensure!(
        length <= compotastic_bundle::MAX_RECORD as u64,
        "{} is neither a key nor a record signed by a root key: it is too long",
        path.display()
    );
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
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
    let (by, _) = Statement::claimed(&record)
        .ok_or_else(|| anyhow!("{} is neither a key nor a record signed by a root key", file.display()))?;
    let change = trusted.add_record(&record).with_context(|| {
        format!("{}, which names root key {by} as its signer, is not taken", file.display())
    })?;
    Ok(match change {
        RecordChange::Delegated(key) => format!("edge key {key} may sign now"),
        RecordChange::Revoked(key) if key == compotastic_bundle::ALL_KEYS => {
            "delegations of all keys below that epoch are void now".to_string()
        }
        RecordChange::Revoked(key) => format!("delegations of {key} below that epoch are void now"),
        RecordChange::Rotated(key) => {
            format!("{key} is a root key now; its predecessor and what that signed are void")
        }
        RecordChange::Known(_) | RecordChange::Unchanged => "known already".to_string(),
    })
}
