//! `compotastic bundle`.

mod build;
mod delta;
pub mod fields;
mod inspect;
pub mod loaded;
pub mod verify;

use anyhow::Result;
use clap::Subcommand;

/// Builds, signs, checks and applies bundles.
#[derive(Subcommand)]
#[command(
    after_help = "A bundle is one file: a SUIT envelope (draft-ietf-suit-manifest-34) with the content in it.\n\n  compotastic bundle build student.part --class 1 --key hut      from content to signed bundle\n  compotastic bundle verify student.part.bundle                  would a device believe it?\n  compotastic bundle diff old.bin new.bin.bundle --key operator  only what has changed"
)]
pub enum BundleCommand {
    /// Makes a bundle from content
    Build(build::BuildArgs),
    /// Shows what a bundle says
    Inspect(inspect::InspectArgs),
    /// Checks signature, signer's rights and content against the trust file
    Verify(verify::VerifyArgs),
    /// Signs a bundle, or signs it anew
    Sign(build::SignArgs),
    /// Makes the bundle of a delta: what turns the old image into the new one
    Diff(delta::DiffArgs),
    /// Makes the new image from the old one and a bundle
    Apply(delta::ApplyArgs),
}

/// Runs it.
pub fn run(command: BundleCommand) -> Result<()> {
    match command {
        BundleCommand::Build(args) => build::build(&args),
        BundleCommand::Inspect(args) => inspect::run(&args),
        BundleCommand::Verify(args) => verify::run(&args),
        BundleCommand::Sign(args) => build::sign(&args),
        BundleCommand::Diff(args) => delta::diff(&args),
        BundleCommand::Apply(args) => delta::apply(&args),
    }
}
