//! `compotastic key show`, and the list of `compotastic key trust`.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use compotastic_bundle::{ALL_KEYS, Delegation, KeyId, Statement};
use serde_json::{Value, json};

use super::{
    files::{self, Role, hex},
    read_record,
    trust_file::TrustFile,
};
use crate::cmds::bundle::fields::{class_numbers, kind_names};

/// Options of `key show`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic key show operator.pub\n  compotastic key show hut.delegation --json"
)]
pub struct ShowArgs {
    /// Key, delegation, revocation or rotation
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `key show`.
pub fn run(args: &ShowArgs) -> Result<()> {
    let said = if files::is_key(&args.file) {
        let key = files::read_public(&args.file)?;
        json!({ "what": "key", "role": key.role.word(), "key_id": key.id().to_string(), "public_key": hex(&key.bytes) })
    } else {
        let (by, statement) = Statement::claimed(&read_record(&args.file)?).ok_or_else(|| {
            anyhow!("{} is neither a key nor a record signed by a root key", args.file.display())
        })?;
        let mut said = statement_json(&statement);
        said["signed_by"] = by.to_string().into();
        said
    };
    if args.json {
        println!("{said}");
        return Ok(());
    }
    for (name, value) in said.as_object().into_iter().flatten() {
        println!("{:<12} {}", name.replace('_', " "), plain(value));
    }
    Ok(())
}

/// A value as people write it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn statement_json(statement: &Statement) -> Value {
    match statement {
        Statement::Delegation(delegation) => {
            let mut said = delegation_json(KeyId::of(&delegation.public_key), delegation);
            said["what"] = "delegation".into();
            said["public_key"] = hex(&delegation.public_key).into();
            said
        }
        Statement::Revocation(revocation) => {
            let whom =
                if revocation.key_id == ALL_KEYS { "all".to_string() } else { revocation.key_id.to_string() };
            json!({ "what": "revocation", "key_id": whom, "epoch": revocation.epoch })
        }
        Statement::Rotation(rotation) => json!({
            "what": "rotation", "rank": rotation.rank, "key_id": KeyId::of(&rotation.public_key).to_string(),
            "public_key": hex(&rotation.public_key), "epoch": rotation.epoch,
        }),
    }
}

/// What a delegation permits.
pub fn delegation_json(key_id: KeyId, delegation: &Delegation) -> Value {
    json!({
        "key_id": key_id.to_string(), "kinds": kind_names(delegation.kinds), "classes": class_numbers(delegation.classes),
        "size_cap": delegation.size_cap, "epoch": delegation.epoch,
    })
}

/// Prints what a trust file makes a device believe.
pub fn trusted(file: &TrustFile, news: Option<String>, as_json: bool) -> Result<()> {
    let store = file.store()?;
    let roots: Vec<Value> = store
        .roots()
        .map(|(id, key)| json!({ "key_id": id.to_string(), "public_key": hex(&key), "role": Role::Root.word() }))
        .collect();
    let edges: Vec<Value> = store.delegations().map(|(id, grant)| delegation_json(id, grant)).collect();
    if as_json {
        let file = file.path().display().to_string();
        println!("{}", json!({ "file": file, "roots": roots, "edges": edges, "changed": news }));
        return Ok(());
    }
    if let Some(news) = news {
        println!("{news}");
    }
    println!("{}:", file.path().display());
    for (rank, root) in roots.iter().enumerate() {
        println!("  root {}  rank {rank}, signs everything", plain(&root["key_id"]));
    }
    for edge in &edges {
        println!(
            "  edge {}  signs {} for classes {}, up to {} bytes, epoch {}",
            plain(&edge["key_id"]),
            plain(&edge["kinds"]),
            plain(&edge["classes"]),
            plain(&edge["size_cap"]),
            plain(&edge["epoch"])
        );
    }
    Ok(())
}
