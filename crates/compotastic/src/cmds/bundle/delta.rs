//! `compotastic bundle diff` and `apply`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use compotastic_bundle::{ComponentKind, Delta, ImageIdentity, Manifest};
use compotastic_daemon::cli::output::{self, other_ending};
use compotastic_delta::encode::{Hint, decode_to_vec, encode};
use compotastic_model::TaskPart;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    build::{finish, object_of},
    loaded::{self, Signing},
    verify,
};
use crate::cmds::key::{TrustPath, files::hex};

/// Longest image that a delta makes, in bytes: the format goes no further.
const LONGEST_IMAGE: u32 = (1 << 24) - 1;

/// Options of `bundle diff`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic bundle diff old.bin new.bin.bundle --key operator\n  compotastic bundle diff v11.bundle v12.bundle --key operator --out v11-v12.bundle"
)]
pub struct DiffArgs {
    /// What the devices run: an image, or the bundle that it came in
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The bundle of the new image
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Bytes of a piece [default: as in NEW]
    #[arg(long)]
    piece_size: Option<u16>,
    #[command(flatten)]
    signing: Signing,
    /// Where to write the delta's bundle [default: NEW with .delta.bundle for .bundle]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

fn identity(image: &[u8]) -> ImageIdentity {
    ImageIdentity { digest: Sha256::digest(image).into(), size: image.len() as u32 }
}

/// The image in a file: the file itself, or the content of a bundle that is no delta, with the bundle's manifest.
fn image_in(path: &Path) -> Result<(Vec<u8>, Option<Manifest>)> {
    let bytes = loaded::read_file(path)?;
    if !loaded::looks_like_a_bundle(&bytes) {
        return Ok((bytes, None));
    }
    let bundle = loaded::parse(&bytes, path)?;
    ensure!(
        bundle.manifest().delta.is_none(),
        "{0} is a delta itself: `compotastic bundle apply OLD {0} --out IMAGE` makes its image",
        path.display()
    );
    let manifest = bundle.manifest().clone();
    let content = bundle.content;
    let content =
        content.ok_or_else(|| anyhow!("{} is a bare manifest, without the image", path.display()))?;
    Ok((content, Some(manifest)))
}

/// A delta's manifest has no room for a base: it names what it applies to there, and that has to be for the same one.
fn same_base(args: &DiffArgs, old: &[u8], said: Option<&Manifest>, new: &Manifest) -> Result<()> {
    let (old_name, new_name) = (args.old.display(), args.new.display());
    let part = || TaskPart::parse(old).ok().map(|part| part.base_id());
    let base = said.map(|manifest| manifest.base_id).or_else(part);
    match base {
        _ if new.base_id == [0; 8] => Ok(()),
        Some(base) if base == new.base_id => Ok(()),
        Some(base) if base != [0; 8] => bail!(
            "{old_name} is for base {}, {new_name} for base {}, and a delta names none: send {new_name} as it is",
            hex(&base),
            hex(&new.base_id)
        ),
        _ => bail!(
            "{new_name} needs base {}, and {old_name} does not say that it is for the same, which a delta cannot: give the \
             bundle in which the old one came, or send {new_name} as it is",
            hex(&new.base_id)
        ),
    }
}

/// Runs `bundle diff`.
pub fn diff(args: &DiffArgs) -> Result<()> {
    let (old, said) = image_in(&args.old)?;
    let (new, manifest) = image_in(&args.new)?;
    let manifest = manifest.ok_or_else(|| {
        anyhow!(
            "{0} is no bundle, and the delta's manifest says what NEW's says: first `compotastic bundle build {0}`",
            args.new.display()
        )
    })?;
    same_base(args, &old, said.as_ref(), &manifest)?;
    let hint = match manifest.kind {
        ComponentKind::Firmware => Hint::Firmware,
        ComponentKind::Model => Hint::Model,
        ComponentKind::Policy | ComponentKind::Logic => Hint::Unknown,
    };
    ensure!(old != new, "{} and {} hold the same image", args.old.display(), args.new.display());
    let patch = encode(&old, &new, hint)
        .map_err(|_| anyhow!("an image has more than {LONGEST_IMAGE} bytes, and deltas go no further"))?;
    ensure!(
        patch.bytes.len() < new.len(),
        "the delta would be no smaller ({} bytes for an image of {}): send {} as it is",
        patch.bytes.len(),
        new.len(),
        args.new.display()
    );
    let object = object_of(&patch.bytes, args.piece_size.unwrap_or(manifest.piece_size))?;
    let replaces = identity(&old).digest8();
    let delta = Manifest {
        base_id: [0; 8],
        delta: Some(Delta { replaces, result: manifest.image() }),
        size: object.layout.size(),
        digest: object.digest,
        piece_size: object.layout.piece_size(),
        list_root: object.list_root,
        ..manifest
    };
    let bytes = patch.bytes.len();
    let bundle = args.signing.apply(delta, patch.bytes)?;
    let out = args.out.clone().unwrap_or_else(|| other_ending(&args.new, ".bundle", ".delta.bundle"));
    if !args.json {
        println!("{} of {} bytes cross the air: {}", bytes, new.len(), patch.reason);
    }
    let read = [args.old.as_path(), args.new.as_path()];
    finish(&bundle, &out, args.signing.inputs().chain(read), args.json)
}

/// Options of `bundle apply`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic bundle apply old.bin v11-v12.bundle --out new.bin\n  compotastic bundle apply old.bin v11-v12.bundle --out new.bin --trust ./trust\n\nIt does what a device does: signature, old image, content and result are all checked before anything is written."
)]
pub struct ApplyArgs {
    /// The image that is there; of no matter where the bundle holds a whole image
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The bundle, signed
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Where to write the new image
    #[arg(long, value_name = "NEW")]
    out: PathBuf,
    #[command(flatten)]
    trust: TrustPath,
    /// Checks hashes only, not who signed
    #[arg(long, conflicts_with = "path")]
    unsigned: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `bundle apply`.
pub fn apply(args: &ApplyArgs) -> Result<()> {
    let bundle = loaded::load(&args.bundle)?;
    let name = args.bundle.display();
    if !args.unsigned {
        verify::check(&bundle, &args.trust)
            .with_context(|| format!("{name} is not to be believed (--unsigned checks hashes only)"))?;
    }
    let manifest = bundle.manifest();
    let content =
        bundle.content.as_deref().ok_or_else(|| anyhow!("{name} is a bare manifest, without content"))?;
    let image = match &manifest.delta {
        None => content.to_vec(),
        Some(delta) => {
            let (old, _) = image_in(&args.old)?;
            let have = identity(&old).digest8();
            ensure!(
                have == delta.replaces,
                "{name} applies to the image whose sha256 begins with {}, {} has {}: another delta is needed, or the whole image",
                hex(&delta.replaces),
                args.old.display(),
                hex(&have)
            );
            let size = delta.result.size;
            ensure!(
                size <= LONGEST_IMAGE,
                "{name} would make {size} bytes; deltas make {LONGEST_IMAGE} at most"
            );
            match decode_to_vec(&old, content, size) {
                Ok(image) => image,
                Err(error) => {
                    bail!("the delta in {name} cannot be applied ({error:?}): get the bundle again")
                }
            }
        }
    };
    let made = identity(&image);
    ensure!(
        made == manifest.image(),
        "{name} makes another image than its manifest says: nothing was written"
    );
    let trust = args.trust.file()?;
    output::write(&args.out, &image, [args.old.as_path(), &args.bundle, &trust])?;
    let out = args.out.display();
    if args.json {
        let sha256 = hex(&made.digest);
        println!(
            "{}",
            json!({ "file": out.to_string(), "bytes": made.size, "sha256": sha256, "version": manifest.sequence })
        );
    } else {
        println!("{out}: version {}, {} bytes, sha256 {}", manifest.sequence, made.size, hex(&made.digest));
    }
    Ok(())
}
