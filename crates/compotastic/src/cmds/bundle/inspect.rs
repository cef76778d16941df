//! `compotastic bundle inspect`: what a bundle says, believed or not.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use compotastic_bundle::{KeyId, RECORD_PART, Statement};
use serde_json::{Value, json};

use super::{
    fields::class_numbers,
    loaded::{self, Loaded},
};
use crate::cmds::key::{files::hex, show_delegation};

/// Options of `bundle inspect`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic bundle inspect student.part.bundle\n  compotastic bundle inspect student.part.bundle --json\n\nWhat it shows is what the file says; `compotastic bundle verify` says whether to believe it."
)]
pub struct InspectArgs {
    /// Bundle, SUIT envelope, or packed manifest
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `bundle inspect`.
pub fn run(args: &InspectArgs) -> Result<()> {
    print(&loaded::load(&args.file)?, &args.file, args.json)
}

/// The fields of a bundle.
pub fn fields(bundle: &Loaded) -> Result<Value> {
    let m = bundle.manifest();
    let (layout, image) = (m.layout()?, m.image());
    let (packed, envelope) = (bundle.claimed.to_packed().len(), bundle.claimed.to_envelope().len());
    let needs: Vec<Value> = m
        .needs
        .iter()
        .map(|need| json!({ "kind": need.kind.to_string(), "task": need.task, "version": need.sequence }))
        .collect();
    let delegation =
        bundle.delegation.as_deref().and_then(Statement::claimed).and_then(|(by, said)| match said {
            Statement::Delegation(said) => {
                let mut fields = show_delegation(KeyId::of(&said.public_key), &said);
                fields["signed_by"] = by.to_string().into();
                Some(fields)
            }
            _ => None,
        });
    Ok(json!({
        "kind": m.kind.to_string(),
        "task": m.task,
        "version": m.sequence,
        "floor": m.floor,
        "classes": class_numbers(m.classes),
        "base": (m.base_id != [0; 8]).then(|| hex(&m.base_id)),
        "needs": needs,
        "replaces": m.replaces().map(|id| hex(&id)),
        "content": {
            "bytes": m.size, "sha256": hex(&m.digest), "piece_size": m.piece_size, "pieces": layout.pieces(),
            "list_root": hex(&m.list_root), "is_here": bundle.content.is_some(),
        },
        "image": { "bytes": image.size, "sha256": hex(&image.digest) },
        "flash": m.flash,
        "ram": m.ram,
        "signer": bundle.is_signed().then(|| bundle.claimed.key_id().to_string()),
        "delegation": delegation,
        "packed_bytes": packed,
        "envelope_bytes": envelope,
        "manifest_frames": packed.div_ceil(RECORD_PART),
        "air_bytes": packed + layout.stream_len() as usize,
    }))
}

fn list(value: &Value) -> String {
    let items: Vec<String> = value.as_array().into_iter().flatten().map(Value::to_string).collect();
    items.join(", ")
}

/// Prints a bundle.
pub fn print(bundle: &Loaded, path: &Path, as_json: bool) -> Result<()> {
    let mut said = fields(bundle)?;
    said["file"] = path.display().to_string().into();
    if as_json {
        println!("{said}");
        return Ok(());
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let row = |name: &str, value: String| println!("  {name:<10} {value}");
    println!("{}:", path.display());
    row("component", format!("{}, task {}, version {}", text(&said["kind"]), said["task"], said["version"]));
    row("classes", list(&said["classes"]));
    if said["floor"] != 0 {
        row("floor", format!("{}: nothing older runs once this is confirmed", said["floor"]));
    }
    if !said["base"].is_null() {
        row("base", text(&said["base"]));
    }
    for need in said["needs"].as_array().into_iter().flatten() {
        row(
            "needs",
            format!("{}, task {}, version {} or newer", text(&need["kind"]), need["task"], need["version"]),
        );
    }
    let content = &said["content"];
    let pieces =
        format!("{} bytes, pieces: {} of {}", content["bytes"], content["pieces"], content["piece_size"]);
    row("content", format!("{pieces}, sha256 {}", text(&content["sha256"])));
    if !said["replaces"].is_null() {
        row("replaces", format!("the image whose sha256 begins with {}", text(&said["replaces"])));
        row("image", format!("{} bytes, sha256 {}", said["image"]["bytes"], text(&said["image"]["sha256"])));
    }
    row("takes", format!("{} bytes of flash, {} of RAM", said["flash"], said["ram"]));
    let (packed, frames) = (&said["packed_bytes"], &said["manifest_frames"]);
    let plural = if *frames == 1 { "frame" } else { "frames" };
    row(
        "manifest",
        format!("{packed} bytes in {frames} {plural}; {} as SUIT envelope", said["envelope_bytes"]),
    );
    row("air", format!("{} bytes have to cross once", said["air_bytes"]));
    row("signer", if said["signer"].is_null() { "nobody yet".to_string() } else { text(&said["signer"]) });
    if !said["delegation"].is_null() {
        let by = text(&said["delegation"]["signed_by"]);
        row("delegation", format!("of epoch {}, by root key {by}", said["delegation"]["epoch"]));
    }
    Ok(())
}
