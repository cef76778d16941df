//! `compotastic up`: runs a node on a real mesh until it is told to stop.

mod args;
mod choose;
mod log;
mod sim;

use std::{
    collections::VecDeque,
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use compotastic_links::{
    LinkUrl, RadioEvent, RadioHandle, RadioLink, SessionConfig, bridge::LINKS, discover,
};
use compotastic_wire::records::enrolment::EnrolmentRecord;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

pub use self::args::{PeopleArgs, UpArgs};
use crate::{
    brain::{Brains, OpenAiBrain},
    http::{self, control::Control},
    people,
    runtime::{self, Bridging, CoreOptions, Links, clock::system_wall, native, notify},
    seam::{Brain, SharedBrain},
    share,
    store::Store,
    swarm,
};

/// Name of the store in the state folder.
const STORE: &str = "compotastic.redb";

/// The folder of the daemon's state: the one that was named, systemd's, or the user's.
pub fn state_dir(named: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(named) = named.or_else(|| env::var_os("STATE_DIRECTORY").map(PathBuf::from)) {
        return Ok(named);
    }
    let folders = directories::ProjectDirs::from("", "", "compotastic")
        .context("there is no home folder: name the folder of the state with --state DIR")?;
    Ok(folders.data_local_dir().to_path_buf())
}

/// Whether a node has left its state in this folder.
pub fn has_store(state: &Path) -> bool {
    state.join(STORE).exists()
}

/// Opens the store of a state folder.
pub fn open_store(state: Option<PathBuf>) -> Result<Store> {
    Store::open(state_dir(state)?.join(STORE))
}

/// Runs until SIGINT or SIGTERM. `brain` are the models of the program; a server that is named goes before them.
pub fn run(args: UpArgs, brain: SharedBrain) -> Result<()> {
    log::start(&args.log, args.log_json)?;
    args.people.config().check()?;
    let mut links = choose::parse(&args.radios)?;
    if links.is_empty() {
        let url = attached("compotastic up")?;
        eprintln!("Found a radio: {url}");
        links.push(url);
    }
    let brain = models(&args, brain)?;
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    tokio.block_on(async {
        let (stop, stopped) = oneshot::channel();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::info!("told to stop");
            notify::stopping();
            // The node may have ended by itself.
            let _ = stop.send(());
        });
        serve(args, links, brain, stopped).await
    })
}

/// The server that is named, before the program's own models.
fn models(args: &UpArgs, own: SharedBrain) -> Result<SharedBrain> {
    let Some(config) = args.models.config()? else { return Ok(own) };
    let server: Arc<dyn Brain> = Arc::new(OpenAiBrain::new(config)?);
    Ok(Some(match own {
        Some(own) => Arc::new(Brains::new(vec![server, own])),
        None => server,
    }))
}

/// The radio that is attached, where there is exactly one; `command` is what wants it.
pub fn attached(command: &str) -> Result<LinkUrl> {
    choose::attached(&discover(), command)
}

/// Opens a link to a radio, a simulated one among them.
pub async fn open_link(url: &LinkUrl, config: SessionConfig) -> Result<RadioHandle> {
    if let LinkUrl::Sim { scenario, node } = url {
        return Ok(RadioLink::spawn_with(sim::start(scenario, *node).await?, config));
    }
    Ok(RadioLink::spawn(url, config)?)
}

/// Waits for the first handshake. A radio that is not there or is none ends the program with the reason, unless `wait`.
async fn first_contact(radio: &mut RadioHandle, wait: bool) -> Result<VecDeque<RadioEvent>> {
    let mut seen = VecDeque::new();
    if wait {
        return Ok(seen);
    }
    while let Some(event) = radio.events.recv().await {
        if let RadioEvent::Down { reason } = event {
            bail!("{reason}");
        }
        let up = matches!(event, RadioEvent::Up(_));
        seen.push_back(event);
        if up {
            return Ok(seen);
        }
    }
    bail!("the link ended before the radio had told who it is; the log says why")
}

/// What the swarm says of links that carry whole packets; what cannot work with them is found here, before a radio is touched.
fn bridging(args: &UpArgs, urls: &[LinkUrl], swarm: Option<&EnrolmentRecord>) -> Result<Bridging> {
    let swarm = swarm.context(
        "udp: and mqtt: carry the packets of a swarm's member: `compotastic swarm join LINE --radio udp:` first, or with the radio's link",
    )?;
    let bridging = Bridging {
        channel: swarm.channel_name.to_string(),
        mqtt_ca: args.mqtt_ca.clone(),
        mqtt_to_lora: args.mqtt_to_lora,
    };
    bridging.check(urls)?;
    Ok(bridging)
}

/// What can be told of the links before one is opened; the index of the radio among them.
fn check_links(args: &UpArgs, urls: &[LinkUrl]) -> Result<Option<usize>> {
    if urls.len() > LINKS {
        bail!("{} links are too many: a node has at most {LINKS}", urls.len());
    }
    let mut radios = urls.iter().enumerate().filter(|(_, url)| url.is_radio());
    let radio = radios.next();
    if let (Some((_, first)), Some((_, second))) = (radio, radios.next()) {
        bail!(
            "{first} and {second} are both stock radios, each with a number and keys of its own, and a node has one: start a daemon for each \
             (`--state` and `--listen` of its own); two of them meet over `--radio udp:` or a broker beside their radios"
        );
    }
    if let Some(twice) = urls.iter().enumerate().find(|(index, url)| urls[..*index].contains(url)) {
        bail!("{} is named twice: name each link once", twice.1);
    }
    if radio.is_none() && args.share.share.is_some() {
        bail!("--share shares a radio, and there is none among the links: name one, or leave --share out");
    }
    let both = urls.iter().any(|url| matches!(url, LinkUrl::Mqtt { .. }))
        && urls.iter().any(|url| matches!(url, LinkUrl::Udp { .. }));
    if args.mqtt_ca.is_some() && !urls.iter().any(|url| matches!(url, LinkUrl::Mqtt { tls: true, .. })) {
        bail!("--mqtt-ca is about brokers over TLS: name one as mqtts://, or leave it out");
    }
    if args.mqtt_to_lora && !both {
        bail!("--mqtt-to-lora is about packets from mqtt: that go to udp:; name both links, or leave it out");
    }
    Ok(radio.map(|(index, _)| index))
}

async fn open(
    args: &UpArgs,
    urls: &[LinkUrl],
    radio: Option<usize>,
    store: &Store,
    swarm: Option<&EnrolmentRecord>,
) -> Result<Links> {
    let Some(index) = radio else {
        let bridging = bridging(args, urls, swarm)?;
        return Ok(Links::packets(native::key_pair(store)?.node_num().0, urls, bridging)?);
    };
    let url = &urls[index];
    let bridging = if urls.len() > 1 { Some(bridging(args, urls, swarm)?) } else { None };
    let config = SessionConfig { raw: args.share.share.is_some(), ..SessionConfig::default() };
    let mut handle = open_link(url, config).await?;
    let seen = first_contact(&mut handle, args.wait).await?;
    let info = seen.iter().find_map(|event| match event {
        RadioEvent::Up(info) => Some(info),
        _ => None,
    });
    if let Some(info) = info {
        let name = runtime::book::node_id(info.num);
        match swarm {
            None => eprintln!(
                "{url} is {name}. No swarm is joined, so it only listens; `compotastic swarm join FILE` joins one."
            ),
            Some(swarm) => {
                eprintln!("{url} is {name}; the swarm is that of channel `{}`.", swarm.channel_name)
            }
        }
    }
    Ok(match bridging {
        Some(bridging) => Links::beside((index, handle, seen), urls, bridging),
        None => Links::radio(handle, seen),
    })
}

/// Runs a node on links until `stop` is sent or dropped.
pub async fn serve(
    args: UpArgs,
    urls: Vec<LinkUrl>,
    brain: SharedBrain,
    stop: oneshot::Receiver<()>,
) -> Result<()> {
    let radio = check_links(&args, &urls)?;
    let state = state_dir(args.state.clone())?;
    let store = open_store(Some(state.clone()))?;
    let swarm: Option<EnrolmentRecord> = swarm::joined(&store)?;
    // What cannot work is said before a radio is touched.
    http::check_args(&args.http)?;
    let listener = http::bind(args.http.listen).await?;
    let share = match args.share.share {
        Some(address) => Some(share::spawn(address, args.share.config()).await?),
        None => None,
    };
    let links = open(&args, &urls, radio, &store, swarm.as_ref()).await?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).context("the system gives no random numbers")?;
    let options = CoreOptions {
        swarm,
        brain: brain.clone(),
        task: args.task,
        job_lifetime_s: args.job_minutes * 60,
        quiet_hours: args.quiet_hours,
        utc_offset_min: (args.utc_offset * 60.0) as i32,
        mains_power: !args.on_battery,
        links: urls.iter().map(ToString::to_string).collect(),
        seed: u64::from_le_bytes(seed),
    };
    let running = runtime::spawn(options, &store, &system_wall(), links, share);
    let control = Control::new(listener.local_addr()?)?;
    let api =
        http::Api::new(running.handle.clone(), store.clone(), brain, &args.http)?.with_control(&control);
    // It goes with this run; without it `compotastic swarm` has to wait for the end of it, and all else works.
    let _control_file = control
        .write(&state)
        .inspect_err(|error| tracing::warn!("`compotastic swarm` does not find this daemon: {error:#}"));
    eprintln!("The HTTP API is at http://{}/api/docs", listener.local_addr()?);
    let (http_stop, http_stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(api.serve(listener, async {
        // Sent or dropped: both mean stop.
        let _ = http_stopped.await;
    }));
    let people = args.people.config();
    let desk = people.enabled.then(|| tokio::spawn(people::run(running.handle.clone(), people)));
    notify::ready();
    let ended = running.until(stop).await;
    // The API may have ended before.
    let _ = http_stop.send(());
    serving.await??;
    if let Some(desk) = desk {
        desk.abort();
    }
    ended
}
