//! `compotastic bundle build` and `sign`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use compotastic_bundle::{
    ComponentKind, DEFAULT_PIECE_SIZE, Manifest, Need, Needs, ObjectIdentity, build_stream,
    object::{Layout, MAX_PIECES},
};
use compotastic_daemon::cli::output::{is_same, with_ending};
use compotastic_model::TaskPart;

use super::{
    fields::{Kind, parse_need},
    inspect,
    loaded::{self, Loaded, Signing},
};
use crate::cmds::{classes::ClassArgs, key::files::unhex};

/// Options of `bundle build`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic bundle build student.part --class 1 --key hut\n  compotastic bundle build zephyr.bin --kind firmware --class 1,3 --version 12 --floor 10 --ram 98304 --key operator\n  compotastic bundle build table.bin --kind policy --task 7 --class 1 --version 4 --needs firmware=12 --needs model/7=2"
)]
pub struct BuildArgs {
    /// The content: a task part, a table, an image
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What it is [default: model, where the file is a task part]
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    #[command(flatten)]
    classes: ClassArgs,
    /// Task that it serves, 0 for the whole device [default: what a task part says, else 0]
    #[arg(long)]
    task: Option<u8>,
    /// Its version: devices install higher ones only [default: what a task part says]
    #[arg(long)]
    version: Option<u32>,
    /// Lowest version that may run on a device once this one is confirmed
    #[arg(long, default_value_t = 0)]
    floor: u32,
    /// Component that must be there, as KIND[/TASK]=VERSION; twice at most
    #[arg(long, value_parser = parse_need, value_name = "NEED")]
    needs: Vec<Need>,
    /// Id of the base encoder that it needs, 16 hexadecimal digits [default: what a task part says]
    #[arg(long, value_name = "ID")]
    base: Option<String>,
    /// RAM that it needs while it runs, in bytes
    #[arg(long, default_value_t = 4096)]
    ram: u32,
    /// Flash that it needs when installed, in bytes [default: its size]
    #[arg(long)]
    flash: Option<u32>,
    /// Bytes of a piece: a multiple of 16
    #[arg(long, default_value_t = DEFAULT_PIECE_SIZE)]
    piece_size: u16,
    #[command(flatten)]
    signing: Signing,
    /// Where to write the bundle [default: FILE.bundle]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Cuts content into pieces.
pub fn object_of(content: &[u8], piece_size: u16) -> Result<ObjectIdentity> {
    ensure!(!content.is_empty(), "there is nothing in it");
    let fits = u32::try_from(content.len()).ok().and_then(|size| Layout::new(size, piece_size));
    let layout = fits.ok_or_else(|| {
        anyhow!(
            "{} bytes do not go into pieces of {piece_size}: pieces have 16 to 1024 bytes, a multiple of 16, and there are \
             {MAX_PIECES} at most; choose a larger --piece-size, or send a delta (`compotastic bundle diff`)",
            content.len()
        )
    })?;
    let mut stream = vec![0; layout.stream_len() as usize];
    build_stream(content, piece_size, &mut stream).ok_or_else(|| anyhow!("it cannot be cut into pieces"))
}

/// Runs `bundle build`.
pub fn build(args: &BuildArgs) -> Result<()> {
    let content = loaded::read_file(&args.file)?;
    let here = || args.file.display().to_string();
    ensure!(
        !loaded::looks_like_a_bundle(&content),
        "{} is a bundle already: `compotastic bundle sign` signs it anew",
        args.file.display()
    );
    let object = object_of(&content, args.piece_size).with_context(here)?;
    let part = TaskPart::parse(&content).ok();
    let part = part.as_ref().filter(|_| args.kind.is_none_or(|kind| kind == Kind::Model));
    let kind = args.kind.or(part.map(|_| Kind::Model)).ok_or_else(|| {
        anyhow!(
            "{} is no task part, so say what it is: --kind model, policy, logic or firmware",
            args.file.display()
        )
    })?;
    let version = args.version.or(part.map(|part| u32::from(part.version())));
    let version = version.ok_or_else(|| {
        anyhow!("which version is {}? Devices install higher ones only: --version N", args.file.display())
    })?;
    let base_id = match &args.base {
        Some(digits) => unhex(digits).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
            anyhow!("\"{digits}\" is no base id: 16 hexadecimal digits, as `bundle inspect` shows them")
        })?,
        None => part.map_or([0; 8], TaskPart::base_id),
    };
    let needs = Needs::from_slice(&args.needs)
        .map_err(|_| anyhow!("a manifest has room for {} needs", compotastic_bundle::MAX_NEEDS))?;
    let task = args.task.or(part.map(TaskPart::task)).unwrap_or(0);
    let component = kind.component();
    ensure!(
        component != ComponentKind::Firmware || task == 0,
        "firmware is the whole device's: no device has a place for that of task {task}; leave --task out"
    );
    let size = object.layout.size();
    let flash = args.flash.unwrap_or(size);
    ensure!(
        flash >= size,
        "--flash {flash} is less than the {size} bytes of the content, which has to go there"
    );
    let manifest = Manifest {
        floor: args.floor,
        base_id,
        needs,
        flash,
        ram: args.ram,
        ..Manifest::of(&object, component, task, version, args.classes.mask()?)
    };
    let bundle = args.signing.apply(manifest, content).with_context(here)?;
    let out = args.out.clone().unwrap_or_else(|| with_ending(&args.file, ".bundle"));
    finish(&bundle, &out, args.signing.inputs().chain([args.file.as_path()]), args.json)
}

/// Writes a bundle, not over any of `inputs`, and says what it is.
pub fn finish<'a>(
    bundle: &Loaded,
    out: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
    as_json: bool,
) -> Result<()> {
    bundle.write(out, inputs)?;
    inspect::print(bundle, out, as_json)?;
    if !bundle.is_signed() && !as_json {
        println!("next: compotastic bundle sign {} --key KEY", out.display());
    }
    Ok(())
}

/// Options of `bundle sign`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  compotastic bundle sign zephyr.bin.bundle --key operator\n  compotastic bundle sign student.part.bundle --key hut --delegation hut.delegation --out signed.bundle"
)]
pub struct SignArgs {
    /// The bundle; a signature that it has is replaced
    #[arg(value_name = "BUNDLE")]
    file: PathBuf,
    #[command(flatten)]
    signing: Signing,
    /// Where to write it [default: in its place]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `bundle sign`.
pub fn sign(args: &SignArgs) -> Result<()> {
    let bundle = loaded::load(&args.file)?;
    let manifest = bundle.manifest().clone();
    let content = bundle.content.ok_or_else(|| {
        anyhow!("{} is a bare manifest; a bundle with its content is needed", args.file.display())
    })?;
    let signed = args.signing.apply(manifest, content)?;
    ensure!(signed.is_signed(), "who signs? --key KEY; `compotastic key new FILE` makes a key");
    // In its place, unless it is said otherwise.
    let out = args.out.as_deref().filter(|out| !is_same(out, &args.file)).unwrap_or(&args.file);
    finish(&signed, out, args.signing.inputs(), args.json)
}
