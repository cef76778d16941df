//! `compotastic swarm`: makes swarms, and brings radios into them and out again.
//!
//! While a daemon runs on the state folder it has the store, and what needs no other radio goes through it ([`beside`]).

mod beside;
pub mod slot;
mod words;

use std::{
    io::{BufRead as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use compotastic_bundle::{KeyId, MAX_ROOTS};
use compotastic_links::{LinkUrl, RadioHandle, SessionConfig};
use compotastic_mesh::lora::{Preset, Region};
use compotastic_sim::files;
use compotastic_wire::{PORT, SwarmKey, records::enrolment::EnrolmentRecord};
use ed25519_dalek::SigningKey;
use qrcode::{
    EcLevel, QrCode,
    render::{svg, unicode},
};
use serde::{Deserialize, Serialize};

use self::{
    slot::{Plan, Slot},
    words::{new_name, without_members},
};
use crate::{
    cli::{clean, output::write_private},
    keyfile::{self, Role, SecretKey},
    runtime::{book::node_id, facts, rotation},
    seam::{NodeView, RotationView, SwarmView},
    store::{InUse, Store},
    up,
};

const KEY_SWARM: &str = "swarm";
/// Begins the names under which operators' secret keys lie.
const KEY_OPERATOR: &str = "swarm operator secret";
const KEY_UNDO: &str = "swarm undo";
/// A removed node's keys are worth nothing after this time at the latest.
const DAY_HOURS: u32 = 24;
const INVITE_ANEW: &str = "Invitations made before are void once the new keys are in force: make new ones then with `compotastic swarm invite`.";
const GIVEN_UP: &str = "No rotation is planned any more. Members that have new keys change to them at the deadline: rotate again.";
/// An invitation is one line; what is longer is something else.
const INVITATION_BYTES: u64 = 64 << 10;

/// Options of `swarm`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  compotastic swarm new hills --region EU_868\n  compotastic swarm new hills --region EU_868 --operator operator\n  compotastic swarm operator --out hills-operator\n  compotastic swarm invite --qr\n  compotastic swarm join hills.swarm --radio serial:/dev/ttyUSB0\n  compotastic swarm remove '!a1b2c3d4'\n  compotastic swarm leave --radio serial:/dev/ttyUSB0\n\n\
invite, members, rotate and remove go through the daemon where `compotastic up` runs on this state folder; new, operator, join and leave need it stopped."
)]
pub struct SwarmArgs {
    /// What to do
    #[command(subcommand)]
    command: SwarmCommand,
    /// Folder of the daemon's state [default: $STATE_DIRECTORY, or the user's data folder]
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Subcommand, Clone, Debug)]
enum SwarmCommand {
    /// Makes a swarm: its keys, and the operator's, which signs what the swarm's nodes install
    New(NewArgs),
    /// Writes the operator's secret key into a file that `compotastic bundle build --key` takes
    Operator(OperatorArgs),
    /// Shows what makes a node a member: a line of text, a file, a QR code. Who has it holds the swarm's keys
    Invite(InviteArgs),
    /// Brings a radio into a swarm: shows what changes on it, asks, and can undo it
    Join(JoinArgs),
    /// Takes the radio out again: what was in its channel slot before is put back
    Leave(LeaveArgs),
    /// Lists the members that were heard, and how a rotation stands
    Members(MembersArgs),
    /// New keys for all members but those that are left out: a lost radio is shut out over the air. A running daemon begins at once
    Rotate(RotateArgs),
    /// The same as `rotate --without NODE`
    Remove(RemoveArgs),
}

#[derive(Args, Clone, Debug)]
struct NewArgs {
    /// Name of the swarm and of its channel, at most 11 bytes
    name: String,
    /// Region of the mesh, such as EU_868 or US
    #[arg(long)]
    region: String,
    /// Preset of the mesh
    #[arg(long, default_value = "LONG_FAST")]
    preset: String,
    /// Hops that packets may take
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=7))]
    hops: u8,
    /// Operator's root key by `compotastic key new`, up to three, in the order of their rank. With the secret half of one this machine can rotate the
    /// swarm's keys; with the .pub files alone it cannot, and no secret lies here. Without it a new key is made, which stays in this machine's state
    #[arg(long = "operator", value_name = "FILE")]
    operators: Vec<PathBuf>,
}

#[derive(Args, Clone, Debug)]
struct OperatorArgs {
    /// Where to write the secret key; the public one goes beside it, as FILE.pub
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args, Clone, Debug)]
struct InviteArgs {
    /// Also as a QR code in the terminal
    #[arg(long)]
    qr: bool,
    /// QR code as an SVG image
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The line in a file that only you can read
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
struct RadioArgs {
    /// Link to the radio; without it the attached one
    #[arg(long, value_name = "URL")]
    radio: Option<String>,
    /// Do not ask; what changes is told all the same
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Clone, Debug)]
struct LeaveArgs {
    #[command(flatten)]
    radio: RadioArgs,
    /// Only this machine leaves, and no radio is asked: for one that is broken or gone
    #[arg(long, conflicts_with = "radio")]
    forget: bool,
}

#[derive(Args, Clone, Debug)]
struct JoinArgs {
    /// The line that begins with compotastic:, or a file with it
    invitation: String,
    #[command(flatten)]
    radio: RadioArgs,
}

#[derive(Args, Clone, Debug)]
struct MembersArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Debug)]
struct RotateArgs {
    /// Member that gets no new keys, such as !a1b2c3d4
    #[arg(long, value_name = "NODE")]
    without: Vec<String>,
    /// Also where such a node was never heard as a member
    #[arg(long, requires = "without")]
    anyway: bool,
    /// The keys come into force after this time at the latest
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=168))]
    hours: u32,
    /// Gives a rotation up that has not come into force
    #[arg(long, conflicts_with = "without")]
    give_up: bool,
}

#[derive(Args, Clone, Debug)]
struct RemoveArgs {
    /// Member, such as !a1b2c3d4
    node: String,
    /// Also where it was never heard as a member
    #[arg(long)]
    anyway: bool,
}

/// What was on the radio before it joined.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Undo {
    /// The radio.
    num: u32,
    /// Its slot before.
    before: Slot,
    /// Its slot since.
    after: Slot,
}

/// The swarm that this machine has joined.
pub fn joined(store: &Store) -> Result<Option<EnrolmentRecord>> {
    let Some(text) = store.get::<String>(KEY_SWARM)? else { return Ok(None) };
    let record = EnrolmentRecord::from_text(&text);
    record.map(Some).map_err(|error| anyhow!("the swarm in {} is damaged: {error}", store.path().display()))
}

/// Joins a swarm, as far as this machine's state goes.
pub fn set_joined(store: &Store, swarm: &EnrolmentRecord) -> Result<()> {
    store.set(KEY_SWARM, &line(swarm)?)
}

/// The secret key of an operator of the joined swarm, where it is here.
pub fn operator(store: &Store) -> Result<SigningKey> {
    let swarm = joined(store)?.context("no swarm is joined here")?;
    // Those of swarms that were left stay, since nobody else may have them.
    for name in store.settings(KEY_OPERATOR)? {
        let Some(secret) = store.get::<[u8; 32]>(&name)? else { continue };
        let secret = SigningKey::from_bytes(&secret);
        if swarm.operator_keys.contains(&secret.verifying_key().to_bytes()) {
            return Ok(secret);
        }
    }
    bail!(
        "no operator's secret key of the swarm `{}` is here: only a machine that made the swarm with it has it",
        swarm.channel_name
    )
}

/// Keeps the secret key of an operator.
fn keep_operator(store: &Store, secret: &SigningKey) -> Result<()> {
    let id = KeyId::of(&secret.verifying_key().to_bytes());
    store.set(&format!("{KEY_OPERATOR} {id}"), &secret.to_bytes())
}

/// The line of a swarm that makes a node a member: its keys are in it.
pub fn line(swarm: &EnrolmentRecord) -> Result<String> {
    swarm.to_text().map(|text| text.to_string()).map_err(|error| anyhow!("{error}"))
}

/// Runs a command.
pub fn run(args: SwarmArgs) -> Result<()> {
    let state = up::state_dir(args.state)?;
    // Who mistypes the folder does not want a new one.
    ensure!(
        matches!(args.command, SwarmCommand::New(_) | SwarmCommand::Join(_)) || up::has_store(&state),
        "there is no state of a node in {}: is --state right? `compotastic swarm new NAME --region REGION` makes a swarm, `swarm join` joins one",
        state.display()
    );
    match up::open_store(Some(state.clone())) {
        Ok(store) => run_alone(&store, args.command),
        Err(error) => match error.downcast::<InUse>() {
            Ok(in_use) => beside::run(&state, in_use, args.command),
            Err(error) => Err(error),
        },
    }
}

/// Runs a command while no daemon runs.
fn run_alone(store: &Store, command: SwarmCommand) -> Result<()> {
    match command {
        SwarmCommand::New(new) => {
            let operators = Operators::of(&new.operators)?;
            let here = operators.secret.is_some();
            let swarm = make(store, &new.name, &new.region, &new.preset, new.hops, operators)?;
            println!(
                "The swarm `{}` is made; its keys are in {}.",
                swarm.channel_name,
                store.path().display()
            );
            match (new.operators.first(), here) {
                (None, _) => println!(
                    "So is the operator's key, which signs what nodes install: `compotastic swarm operator --out FILE` writes it into a file \
                     for `compotastic bundle build --key FILE`."
                ),
                (Some(_), true) => {
                    println!("The operator's key is there, too, for new keys of the swarm later.")
                }
                (Some(_), false) => println!(
                    "No secret of an operator is here, so the swarm's keys cannot be rotated from this machine."
                ),
            }
            if swarm.channel_name.contains(['/', '+', '#']) {
                eprintln!(
                    "A name with / + or # cannot go over MQTT: `swarm leave`, then `swarm new` with another one, if that is to be."
                );
            }
            println!(
                "`compotastic swarm join` with the line of `compotastic swarm invite` brings a radio into it."
            );
            Ok(())
        }
        SwarmCommand::Operator(args) => {
            let secret = SecretKey { role: Role::Root, key: operator(store)? };
            keyfile::write(&args.out, &secret)?;
            let (file, public) = (args.out.display(), keyfile::public_path(&args.out));
            println!("root key {}", secret.public().id());
            println!(
                "  {file}: secret, readable by you alone; whoever has it decides what the swarm's nodes install"
            );
            println!("  {}: public", public.display());
            println!(
                "next: compotastic bundle build CONTENT --class 1 --key {file}, then compotastic push CONTENT.bundle --to class:1"
            );
            Ok(())
        }
        SwarmCommand::Invite(invite) => {
            let swarm =
                joined(store)?.context("no swarm is joined here: `compotastic swarm new NAME --region REGION` makes one, `swarm join` joins one")?;
            show(&line(&swarm)?, &invite)
        }
        SwarmCommand::Join(join) => {
            let swarm = read_invitation(&join.invitation)?;
            let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            tokio.block_on(async {
                match open(join.radio.radio.as_deref(), "compotastic swarm join LINE").await? {
                    Some(mut radio) => {
                        join_radio(store, &swarm, &mut radio, |plan| confirm(plan, join.radio.yes)).await
                    }
                    None => join_without_radio(store, &swarm),
                }
            })
        }
        SwarmCommand::Leave(leave) if leave.forget => {
            forget(store)?;
            println!(
                "Its radio was not asked: where it still has the swarm's channel, it can read along until that is removed or the keys are rotated."
            );
            Ok(())
        }
        SwarmCommand::Leave(leave) => {
            let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            tokio.block_on(async {
                let radio = open(leave.radio.radio.as_deref(), "compotastic swarm leave").await;
                match radio.map_err(gone)? {
                    Some(mut radio) => {
                        leave_radio(store, &mut radio, |plan| confirm(plan, leave.radio.yes)).await
                    }
                    None => forget(store),
                }
            })
        }
        SwarmCommand::Members(members) => tell_members(&members, &view(store)?),
        SwarmCommand::Rotate(rotate) if rotate.give_up => {
            rotation::set_plan(store, None)?;
            println!("{GIVEN_UP}");
            Ok(())
        }
        SwarmCommand::Rotate(rotate) => plan_rotation(store, &rotate.without, rotate.hours, rotate.anyway),
        SwarmCommand::Remove(remove) => plan_rotation(store, &[remove.node], DAY_HOURS, remove.anyway),
    }
}

/// The swarm as a daemon would show it that has not begun yet.
fn view(store: &Store) -> Result<SwarmView> {
    let swarm = joined(store)?.context("no swarm is joined here")?;
    let now_ms = crate::http::now_ms();
    let mut members: Vec<NodeView> = store.nodes(now_ms)?.into_iter().filter(|node| node.member).collect();
    members.sort_by_key(|node| (node.heard_s_ago.unwrap_or(u64::MAX), node.num));
    Ok(SwarmView {
        name: swarm.channel_name.to_string(),
        epoch: swarm.epoch,
        operator: operator(store).is_ok(),
        members,
        rotation: rotation::plan(store)?.map(|plan| plan.view("planned", now_ms)),
    })
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
    Ok(bytes)
}

/// Whose signatures count in a swarm.
pub struct Operators {
    /// Root keys, in the order of their rank.
    public: heapless::Vec<[u8; 32], MAX_ROOTS>,
    /// The secret half of one of them, where it is to stay in this machine's state.
    secret: Option<SigningKey>,
}

impl Operators {
    /// A new key.
    pub fn draw() -> Result<Self> {
        let secret = SigningKey::from_bytes(&random()?);
        Ok(Self { public: [secret.verifying_key().to_bytes()].into_iter().collect(), secret: Some(secret) })
    }

    /// The keys in these files, of either half; a new one where none is named.
    fn of(files: &[PathBuf]) -> Result<Self> {
        if files.is_empty() {
            return Self::draw();
        }
        let mut operators = Self { public: heapless::Vec::new(), secret: None };
        for file in files {
            let public = keyfile::read_public(file)?;
            ensure!(
                public.role == Role::Root,
                "{} is an edge node's key: an operator's is made by `compotastic key new FILE`",
                file.display()
            );
            ensure!(!operators.public.contains(&public.bytes), "{} is named twice", file.display());
            let full = operators.public.push(public.bytes).is_err();
            ensure!(!full, "a swarm has {MAX_ROOTS} operator's keys at most");
            if keyfile::is_secret(file) {
                ensure!(
                    operators.secret.is_none(),
                    "two secret keys: one rotates the swarm's keys, name the .pub files of the others"
                );
                operators.secret = Some(keyfile::read_secret(file)?.key);
            }
        }
        Ok(operators)
    }
}

/// Makes a swarm with new keys, and joins it as far as this machine's state goes.
pub fn make(
    store: &Store,
    name: &str,
    region: &str,
    preset: &str,
    hops: u8,
    operators: Operators,
) -> Result<EnrolmentRecord> {
    if let Some(swarm) = joined(store)? {
        bail!(
            "this machine is in the swarm `{}`: `compotastic swarm leave` first, or name another --state",
            swarm.channel_name
        );
    }
    let region: Region = region.parse().map_err(|_| {
        let known: Vec<&str> = Region::ALL.iter().map(|region| region.name()).collect();
        anyhow!("`{region}` is no region; the known ones: {}", known.join(", "))
    })?;
    ensure!(region != Region::Unset, "a swarm needs a region: name the one of your mesh, such as EU_868");
    let preset: Preset = preset.parse().map_err(|_| {
        let known: Vec<&str> = Preset::ALL.iter().map(|preset| preset.name()).collect();
        anyhow!("`{preset}` is no preset; the known ones: {}", known.join(", "))
    })?;
    ensure!(
        region.allows(preset),
        "{} is not allowed in {}: choose another preset",
        preset.name(),
        region.name()
    );
    let channel_name = new_name(name)?;
    let channel_name =
        channel_name.try_into().map_err(|_| anyhow!("{name:?} is no name of a channel: 1 to 11 bytes"))?;
    let long = || anyhow!("a name is too long");
    let swarm = EnrolmentRecord {
        swarm_id: random()?,
        channel_name,
        channel_key: heapless::Vec::from_slice(&random::<32>()?).map_err(|_| long())?,
        swarm_key: SwarmKey(random()?),
        epoch: 1,
        operator_keys: operators.public,
        region: region.name().try_into().map_err(|_| long())?,
        preset: preset.name().try_into().map_err(|_| long())?,
        port: PORT,
        hop_limit: hops,
    };
    if let Some(secret) = &operators.secret {
        keep_operator(store, secret)?;
    }
    set_joined(store, &swarm)?;
    Ok(swarm)
}

fn show(text: &str, invite: &InviteArgs) -> Result<()> {
    println!("{text}");
    let code = || {
        QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L)
            .context("the line is too long for a QR code")
    };
    if invite.qr {
        println!("{}", code()?.render::<unicode::Dense1x2>().build());
    }
    if let Some(path) = &invite.svg {
        let image = code()?.render::<svg::Color<'_>>().min_dimensions(400, 400).build();
        write_private(path, image.as_bytes())?;
    }
    if let Some(path) = &invite.file {
        write_private(path, format!("{text}\n").as_bytes())?;
    }
    eprintln!("Who has this can join, read and send: give it only to members.");
    Ok(())
}

/// An invitation from a line or from a file with it.
pub fn read_invitation(word: &str) -> Result<EnrolmentRecord> {
    let is_line = word.trim_start().get(..12).is_some_and(|start| start.eq_ignore_ascii_case("compotastic:"));
    let text = if is_line {
        word.to_owned()
    } else {
        files::read_text(Path::new(word), INVITATION_BYTES)
            .with_context(|| format!("`{word}` is neither a line that begins with compotastic: nor a file"))?
    };
    EnrolmentRecord::from_text(&text).map_err(anyhow::Error::from)
}

/// The radio; none for links that carry packets of a node of our own, where nothing has to be set. `command` is what is run.
async fn open(radio: Option<&str>, command: &str) -> Result<Option<RadioHandle>> {
    let url: LinkUrl = match radio {
        Some(word) => word.parse()?,
        None => up::attached(command)?,
    };
    if !url.is_radio() {
        return Ok(None);
    }
    up::open_link(&url, SessionConfig::default()).await.map(Some)
}

/// No radio answers that could be taken out of the swarm.
fn gone(error: anyhow::Error) -> anyhow::Error {
    anyhow!(
        "{error:#}\nWhere the radio is broken or gone, `compotastic swarm leave --forget` takes this machine out without it."
    )
}

/// Tells what changes, and asks whether it may, unless it was said before.
fn confirm(plan: &str, yes: bool) -> bool {
    println!("{plan}");
    if yes {
        return true;
    }
    print!("Go on? [y/N] ");
    let mut answer = String::new();
    // Where nobody can be asked, nothing is changed.
    let asked = std::io::stdout().flush().is_ok() && std::io::stdin().lock().read_line(&mut answer).is_ok();
    asked && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn check_not_elsewhere(store: &Store, swarm: &EnrolmentRecord) -> Result<()> {
    match joined(store)?.filter(|other| other.swarm_id != swarm.swarm_id) {
        Some(other) => {
            bail!("this machine is in the swarm `{}`: `compotastic swarm leave` first", other.channel_name)
        }
        None => Ok(()),
    }
}

/// Joins as a node of our own, over links that carry packets.
pub fn join_without_radio(store: &Store, swarm: &EnrolmentRecord) -> Result<()> {
    check_not_elsewhere(store, swarm)?;
    set_joined(store, swarm)?;
    println!("This machine is in the swarm of channel `{}`. `compotastic up` runs it.", swarm.channel_name);
    Ok(())
}

fn forget(store: &Store) -> Result<()> {
    ensure!(store.unset(KEY_SWARM)?, "no swarm is joined here");
    store.unset(KEY_UNDO)?;
    println!("This machine has left the swarm.");
    Ok(())
}

/// Brings a radio into a swarm, if `agrees` to the plan.
pub async fn join_radio(
    store: &Store,
    swarm: &EnrolmentRecord,
    radio: &mut RadioHandle,
    agrees: impl FnOnce(&str) -> bool,
) -> Result<()> {
    check_not_elsewhere(store, swarm)?;
    let info = slot::contact(radio).await?;
    match facts::way_to(&info, swarm) {
        Ok(_) | Err(facts::Obstacle::NoChannel { .. } | facts::Obstacle::OtherKey { .. }) => {}
        Err(obstacle) => bail!("{obstacle}"),
    }
    let held: Option<Undo> = store.get::<Undo>(KEY_UNDO)?.filter(|undo| undo.num == info.num);
    let plan = slot::plan(&info, swarm, held.as_ref().map(|undo| &undo.after))?;
    let id = node_id(info.num);
    let question = format!(
        "{id} joins the swarm of channel `{}` ({}, {}).\n{plan}",
        swarm.channel_name, swarm.region, swarm.preset
    );
    ensure!(agrees(&question), "nothing was changed");
    if let Plan::Change { before, after } = plan {
        // What is undone is what was there before the first join.
        let before = held.map_or(before, |undo| undo.before);
        store.set(KEY_UNDO, &Undo { num: info.num, before, after: after.clone() })?;
        slot::write(radio, &after).await?;
    }
    set_joined(store, swarm)?;
    println!("{id} is in the swarm. `compotastic up` runs it.");
    Ok(())
}

/// Takes a radio out of its swarm, if `agrees` to the plan.
pub async fn leave_radio(
    store: &Store,
    radio: &mut RadioHandle,
    agrees: impl FnOnce(&str) -> bool,
) -> Result<()> {
    let swarm = joined(store)?.context("no swarm is joined here")?;
    let info = slot::contact(radio).await.map_err(gone)?;
    let undo: Option<Undo> = store.get::<Undo>(KEY_UNDO)?.filter(|undo| undo.num == info.num);
    let id = node_id(info.num);
    let there = facts::find_channel(&info.channels, &swarm).ok().filter(|channel| channel.index > 0);
    match there {
        Some(channel) => {
            // The slot may have moved; only the one that holds our channel is touched.
            let before = undo.map(|undo| undo.before).unwrap_or_default();
            let back = Slot { index: channel.index, ..before };
            let what =
                if back.role == 0 { "is emptied".to_owned() } else { format!("gets `{}` back", back.name) };
            let question = format!(
                "{id} leaves the swarm of channel `{}`: channel slot {} {what}.",
                swarm.channel_name, back.index
            );
            ensure!(agrees(&question), "nothing was changed");
            slot::write(radio, &back).await?;
        }
        None => println!("{id} has no channel of the swarm; only this machine's state is changed."),
    }
    store.unset(KEY_SWARM)?;
    store.unset(KEY_UNDO)?;
    println!("{id} has left the swarm.");
    Ok(())
}

/// Plans new keys for all members but some. The next run of the daemon does it.
pub fn plan_rotation(store: &Store, without: &[String], hours: u32, anyway: bool) -> Result<()> {
    let without = without_members(without, &view(store)?, anyway)?;
    rotation::begin(store, without, crate::http::now_ms(), hours)?;
    println!(
        "New keys are planned: `compotastic up` brings them to the members (a question, then three frames for each), and all change \
         when all have them, or in {hours} h."
    );
    println!("{INVITE_ANEW}");
    Ok(())
}

fn rotation_line(rotation: &RotationView) -> String {
    let listed = |nodes: &[String]| if nodes.is_empty() { "none".to_owned() } else { nodes.join(", ") };
    let what = match rotation.phase.as_str() {
        "asking" => "members are asked for their keys",
        "bringing" => "members get the new keys",
        _ => "waits for `compotastic up` with a radio in the swarm",
    };
    format!(
        "A rotation to epoch {} is under way ({what}; in force in {} h at the latest); without: {}; receipts: {}",
        rotation.epoch,
        rotation.deadline_s.div_ceil(3600),
        listed(&rotation.without),
        listed(&rotation.received)
    )
}

fn tell_members(args: &MembersArgs, swarm: &SwarmView) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(swarm)?);
        return Ok(());
    }
    println!(
        "Swarm of channel `{}`, epoch {}, {} members heard:",
        clean(&swarm.name),
        swarm.epoch,
        swarm.members.len()
    );
    for node in &swarm.members {
        let heard = node.heard_s_ago.map_or("never".to_owned(), |age| format!("{} min ago", age / 60));
        println!("  {}  {}  {heard}", node.id, clean(&node.long_name));
    }
    if let Some(rotation) = &swarm.rotation {
        println!("{}", rotation_line(rotation));
    }
    Ok(())
}
