//! `compotastic up`: runs a node on a real mesh until it is told to stop.

mod args;
mod choose;
mod log;
mod sim;

use std::{collections::VecDeque, env, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use compotastic_links::{LinkUrl, RadioEvent, RadioHandle, RadioLink, SessionConfig, discover};
use compotastic_wire::records::enrolment::EnrolmentRecord;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

pub use self::args::UpArgs;
use crate::{
    http,
    runtime::{self, CoreOptions, clock::system_wall, notify},
    seam::SharedBrain,
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

/// Opens the store of a state folder.
pub fn open_store(state: Option<PathBuf>) -> Result<Store> {
    Store::open(state_dir(state)?.join(STORE))
}

/// Runs until SIGINT or SIGTERM.
pub fn run(args: UpArgs, brain: SharedBrain) -> Result<()> {
    log::start(&args.log, args.log_json)?;
    let links = choose::parse(&args.radios)?;
    let url = match links.as_slice() {
        [] => {
            let url = attached()?;
            eprintln!("Found a radio: {url}");
            url
        }
        [url] => url.clone(),
        [url, ..] => bail!("{url} and others: one link at a time so far; name one --radio"),
    };
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
        serve(args, url, brain, stopped).await
    })
}

/// The radio that is attached, where there is exactly one.
pub fn attached() -> Result<LinkUrl> {
    choose::attached(&discover())
}

/// Opens a link to a radio, a simulated one among them.
pub async fn open_link(url: &LinkUrl) -> Result<RadioHandle> {
    let config = SessionConfig::default();
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

/// Runs a node on a link until `stop` is sent or dropped.
pub async fn serve(args: UpArgs, url: LinkUrl, brain: SharedBrain, stop: oneshot::Receiver<()>) -> Result<()> {
    let store = open_store(args.state.clone())?;
    let joined: Option<EnrolmentRecord> = swarm::joined(&store)?;
    // What cannot work is said before the radio is touched.
    let listener = http::bind(args.http.listen).await?;
    let mut radio = open_link(&url).await?;
    let seen = first_contact(&mut radio, args.wait).await?;
    if let Some(RadioEvent::Up(info)) = seen.back() {
        let name = runtime::book::node_id(info.num);
        match &joined {
            None => eprintln!(
                "{url} is {name}. No swarm is joined, so it only listens; `compotastic swarm join FILE` joins one."
            ),
            Some(swarm) => eprintln!("{url} is {name}, in the swarm of channel `{}`.", swarm.channel_name),
        }
    }
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).context("the system gives no random numbers")?;
    let options = CoreOptions {
        swarm: joined,
        brain: brain.clone(),
        task: args.task,
        job_lifetime_s: args.job_minutes * 60,
        quiet_hours: args.quiet_hours,
        utc_offset_min: (args.utc_offset * 60.0) as i32,
        mains_power: !args.on_battery,
        link: url.to_string(),
        seed: u64::from_le_bytes(seed),
    };
    let running = runtime::spawn(options, &store, &system_wall(), radio, seen);
    let api = http::Api::new(running.handle.clone(), store.clone(), brain, &args.http)?;
    eprintln!("The HTTP API is at http://{}/api/docs", listener.local_addr()?);
    let (http_stop, http_stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(api.serve(listener, async {
        // Sent or dropped: both mean stop.
        let _ = http_stopped.await;
    }));
    notify::ready();
    let ended = running.until(stop).await;
    // The API may have ended before.
    let _ = http_stop.send(());
    serving.await??;
    ended
}
