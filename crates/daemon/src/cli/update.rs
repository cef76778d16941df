//! `compotastic update`: what was published here, and who has it.

use anyhow::Result;
use clap::Subcommand;

use super::{
    client::{ApiArgs, Client},
    status::{OBJECT_COLUMNS, object_rows},
    table::table,
};
use crate::seam::ObjectView;

/// Lists, pauses, resumes and withdraws what this node published
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  compotastic update ls\n  compotastic update pause 00c0ffee\n  compotastic update withdraw 00c0ffee\n\nPublishing: compotastic push"
)]
pub struct UpdateArgs {
    /// Where the daemon is
    #[command(flatten)]
    pub api: ApiArgs,
    /// What to do
    #[command(subcommand)]
    pub command: UpdateCommand,
}

/// What to do with updates.
#[derive(Clone, Debug, Subcommand)]
pub enum UpdateCommand {
    /// Lists what was published here
    Ls {
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// Stops offering an object; nodes that have it go on passing it
    Pause {
        /// Its tag: eight hexadecimal digits
        tag: String,
    },
    /// Offers it again
    Resume {
        /// Its tag
        tag: String,
    },
    /// Gives it up
    Withdraw {
        /// Its tag
        tag: String,
    },
}

/// Runs `update`.
pub fn run(args: UpdateArgs) -> Result<()> {
    let client = Client::new(&args.api)?;
    match args.command {
        UpdateCommand::Ls { json } => {
            let objects: Vec<ObjectView> = client.get("/api/updates")?;
            if json {
                println!("{}", serde_json::to_string_pretty(&objects)?);
            } else if objects.is_empty() {
                println!(
                    "Nothing was published here. `compotastic push FILE --to class:N` publishes a bundle."
                );
            } else {
                print!("{}", table(&OBJECT_COLUMNS, &object_rows(&objects)));
            }
        }
        UpdateCommand::Pause { tag } => {
            client.act(&format!("/api/updates/{tag}/pause"))?;
            println!("{tag} is paused");
        }
        UpdateCommand::Resume { tag } => {
            client.act(&format!("/api/updates/{tag}/resume"))?;
            println!("{tag} goes on");
        }
        UpdateCommand::Withdraw { tag } => {
            client.delete(&format!("/api/updates/{tag}"))?;
            println!("{tag} is withdrawn");
        }
    }
    Ok(())
}
