//! `compotastic swarm` while a daemon runs on the state folder: what it may go on doing meanwhile goes through its API, with the secret that
//! it left there.

use std::path::Path;

use anyhow::{Result, bail};

use super::{
    DAY_HOURS, GIVEN_UP, INVITE_ANEW, SwarmCommand, rotation_line, show, tell_members, without_members,
};
use crate::{
    cli::Client,
    http::{Invitation, bodies::RotationBody, control::Control},
    runtime::book::node_id,
    seam::SwarmView,
    store::InUse,
};

/// Runs a command through the daemon that has the store; says what to do where that cannot be.
pub(super) fn run(state: &Path, in_use: InUse, command: SwarmCommand) -> Result<()> {
    let what = match &command {
        SwarmCommand::New(_) => "new",
        SwarmCommand::Operator(_) => {
            bail!(
                "the operator's secret key does not go through the daemon, and {} has {}: stop it (Ctrl-C, or `systemctl stop \
                 compotastic`), run this again, then start it anew",
                in_use.owner,
                in_use.path.display()
            )
        }
        SwarmCommand::Join(_) => "join",
        SwarmCommand::Leave(_) => "leave",
        SwarmCommand::Invite(_)
        | SwarmCommand::Members(_)
        | SwarmCommand::Rotate(_)
        | SwarmCommand::Remove(_) => "",
    };
    if !what.is_empty() {
        bail!(
            "`swarm {what}` changes what the daemon and its radio work with, and {} has {}: stop it (Ctrl-C, or `systemctl stop \
             compotastic`), run this again, then start it anew",
            in_use.owner,
            in_use.path.display()
        );
    }
    // A command that has the store for a moment leaves no word of itself, and a daemon that was killed leaves one that leads nowhere.
    let Some(control) = Control::read(state) else { return Err(in_use.into()) };
    let client = Client::with_token(control.api, control.token);
    if !client.is_there() {
        return Err(in_use.into());
    }
    match command {
        SwarmCommand::Invite(invite) => {
            show(&client.get::<Invitation>("/api/swarm/invitation")?.invitation, &invite)
        }
        SwarmCommand::Members(members) => tell_members(&members, &client.get("/api/swarm")?),
        SwarmCommand::Rotate(rotate) if rotate.give_up => {
            client.delete("/api/swarm/rotation")?;
            println!("{GIVEN_UP}");
            Ok(())
        }
        SwarmCommand::Rotate(rotate) => begin_rotation(&client, &rotate.without, rotate.hours, rotate.anyway),
        SwarmCommand::Remove(remove) => begin_rotation(&client, &[remove.node], DAY_HOURS, remove.anyway),
        SwarmCommand::New(_) | SwarmCommand::Operator(_) | SwarmCommand::Join(_) | SwarmCommand::Leave(_) => {
            Err(in_use.into())
        }
    }
}

fn begin_rotation(client: &Client, without: &[String], hours: u32, anyway: bool) -> Result<()> {
    let without = without_members(without, &client.get("/api/swarm")?, anyway)?;
    let body = RotationBody { without: without.into_iter().map(node_id).collect(), hours };
    let swarm: SwarmView = client.post("/api/swarm/rotation", &body)?;
    if let Some(rotation) = &swarm.rotation {
        println!("{}", rotation_line(rotation));
    }
    println!("{INVITE_ANEW}");
    println!("`compotastic swarm members` shows how it stands.");
    Ok(())
}
