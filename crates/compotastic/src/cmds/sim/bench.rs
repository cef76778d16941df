//! `compotastic sim bench`.

use anyhow::Result;
use clap::Args;

/// Options of `sim bench`.
#[derive(Args)]
pub struct BenchArgs {
    /// Prints rows as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(_args: &BenchArgs) -> Result<()> {
    Ok(())
}
