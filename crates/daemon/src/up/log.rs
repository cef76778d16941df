//! The log: one line an event, for people or as JSON.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging to stderr. A second start in one process changes nothing.
pub fn start(filter: &str, json: bool) -> Result<()> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("`{filter}` is no log filter: use error, warn, info, debug or trace"))?;
    // Colours are for terminals: a file or a journal is read by other programs too.
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let log = fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr);
    // Where a test or another command has set a log up before, that one stays.
    let _ = if json { log.json().try_init() } else { log.with_target(false).try_init() };
    Ok(())
}
