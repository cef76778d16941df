//! `compotastic bundle verify`: whether a device that believes a trust file would take a bundle.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail, ensure};
use clap::Args;
use compotastic_bundle::{Authority, Installed, Refusal, Target, VerifiedManifest};
use serde_json::json;

use super::loaded::{self, Loaded};
use crate::cmds::{classes::ClassFile, key::TrustPath};

/// Options of `bundle verify`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic bundle verify student.part.bundle\n  compotastic bundle verify zephyr.bin.bundle --trust ./trust --class 1 --installed 11"
)]
pub struct VerifyArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    file: PathBuf,
    #[command(flatten)]
    trust: TrustPath,
    /// Would a device of this class take it?
    #[arg(long, value_name = "N")]
    class: Option<String>,
    #[command(flatten)]
    classes: ClassFile,
    /// Would a device that has this version take it?
    #[arg(long, value_name = "VERSION")]
    installed: Option<u32>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Checks signer and signer's rights.
pub fn check(bundle: &Loaded, trust: &TrustPath) -> Result<VerifiedManifest> {
    ensure!(bundle.is_signed(), "nobody has signed it: compotastic bundle sign BUNDLE --key KEY");
    let trusted = trust.read()?;
    let mut store = trusted.store()?;
    if let Some(record) = &bundle.delegation {
        store.add_record(record).map_err(|error| anyhow!("the delegation in it is not taken: {error}"))?;
    }
    let path = trusted.path().display();
    store.verify(&bundle.claimed).map_err(|refusal| match refusal {
        Refusal::UnknownKey(key) => anyhow!(
            "{refusal} (key {key}): if it is a root key, `compotastic key trust` it; if it is an edge key, sign with \
             --delegation, or trust its delegation (trust file: {path})"
        ),
        Refusal::Revoked(key) => anyhow!("{refusal} (key {key}); a root key can delegate to it anew, with a higher epoch"),
        other => anyhow!("{other}"),
    })
}

/// Runs `bundle verify`.
pub fn run(args: &VerifyArgs) -> Result<()> {
    let bundle = loaded::load(&args.file)?;
    let verified = match check(&bundle, &args.trust) {
        Ok(verified) => verified,
        Err(error) => bail!(error.context(format!("{} is not to be believed", args.file.display()))),
    };
    // A device that lacks nothing but what was asked about.
    let m = verified.manifest();
    let class = match &args.class {
        Some(class) => args.classes.number(class, None)?,
        None => m.classes.0.trailing_zeros() as u8,
    };
    let target = Target {
        class,
        kind: m.kind,
        task: m.task,
        base_id: m.base_id,
        flash: u32::MAX,
        ram: u32::MAX,
        has: m.needs.iter().copied().collect(),
    };
    let installed = Installed { floor: args.installed, digest: m.replaces() };
    if let Err(refusal) = verified.admit(&target, &installed) {
        bail!("{} is signed well, but that device would refuse it: {refusal}", args.file.display());
    }
    let (authority, epoch) = match verified.authority() {
        Authority::Root => ("root", None),
        Authority::Edge { epoch } => ("edge", Some(epoch)),
    };
    let signer = bundle.claimed.key_id().to_string();
    let content =
        if bundle.content.is_some() { "content and hashes agree" } else { "its content is not here" };
    if args.json {
        let is_here = bundle.content.is_some();
        println!(
            "{}",
            json!({
                "verified": true, "signer": signer, "authority": authority, "epoch": epoch, "content_checked": is_here,
            })
        );
    } else {
        let epoch = epoch.map_or(String::new(), |epoch| format!(", delegation of epoch {epoch}"));
        println!("{}: signed by {authority} key {signer}{epoch}; {content}", args.file.display());
    }
    Ok(())
}
