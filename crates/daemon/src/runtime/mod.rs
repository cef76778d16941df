//! The node's task: the core, its links, its store, its models, on tokio.
//!
//! One task owns the node ([`core::Core`], which does no I/O). Everybody else holds a [`NodeHandle`]. The task feeds the core
//! with what the links tell, with commands, with what the models have done and with time, and brings what the core has to say to
//! the links. Should a part panic, the core is made anew from the store, as after a restart: open jobs go on, packet ids keep rising, and
//! the radio is asked for its handshake again.

mod beside;
pub mod book;
pub mod clock;
pub mod core;
pub mod facts;
mod jobs;
pub mod native;
pub mod notify;
mod objects;
mod ports;
pub mod quiet;
pub mod rotation;
mod show;
mod texts;
pub mod work;

use std::{panic::AssertUnwindSafe, time::Duration};

use anyhow::Result;
use compotastic_links::{RadioCommand, RadioEvent};
use compotastic_mesh::time::{Duration as AirDuration, Instant};
use futures_util::FutureExt as _;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinHandle,
};

use self::{
    clock::{Clock, Wall},
    ports::LinkEvent,
    work::{Done, Offers, Product, Work},
};
pub use self::{
    core::{Core, CoreOptions, Output},
    jobs::OPEN,
    ports::{Bridging, Links},
    quiet::QuietHours,
    texts::TEXT_MAX,
};
use crate::{
    seam::{ChatMessage, Command, Event, JobKind, NodeHandle, SharedBrain},
    share::{ForRadio, RadioInput, ShareHandle},
    store::Store,
    swarm,
};

/// What has to be written from time to time is written so often, and the watch-dog is told that all is well.
const KEEP: Duration = Duration::from_secs(60);
/// First wait after a panic; it doubles up to a minute.
const RESTART_MIN: Duration = Duration::from_secs(1);
const RESTART_MAX: Duration = Duration::from_secs(60);
/// A model may take so long for an answer in words: as long as an executor's promise holds.
const PATIENCE: Duration = Duration::from_secs(540);
/// So often it is looked which models there are.
const MODELS: Duration = Duration::from_secs(30);
/// A packet of a shared program that the governor holds back is asked for again after this time.
const SHARED_AGAIN: Duration = Duration::from_secs(1);
/// And dropped after this time, so that those behind it have their turn.
const SHARED_PATIENCE: Duration = Duration::from_secs(120);

/// A running node.
pub struct Running {
    /// The way to it.
    pub handle: NodeHandle,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Running {
    /// Ends the task and waits until all is written.
    pub async fn stop(self) -> Result<()> {
        // The task may have ended by itself; it tells below.
        let _ = self.stop.send(true);
        self.task.await.map_err(anyhow::Error::from)?
    }

    /// Waits until the task ends by itself, or ends it when `stop` is sent or dropped.
    pub async fn until(mut self, stop: oneshot::Receiver<()>) -> Result<()> {
        tokio::select! {
            ended = &mut self.task => ended.map_err(anyhow::Error::from)?,
            _ = stop => self.stop().await,
        }
    }
}

/// The programs that share the radio.
struct Sharing {
    handle: ShareHandle,
    /// The next packet of theirs, since when it waits, and when it is asked for again.
    next: Option<(ForRadio, tokio::time::Instant, tokio::time::Instant)>,
}

struct Ports {
    links: Links,
    inbox: mpsc::Receiver<Command>,
    events: broadcast::Sender<Event>,
    sharing: Option<Sharing>,
    stop: watch::Receiver<bool>,
}

/// Starts the node's task. A radio that is shared was opened with `raw`. Must be called inside a tokio runtime.
pub fn spawn(
    options: CoreOptions,
    store: &Store,
    wall: &Wall,
    links: Links,
    share: Option<ShareHandle>,
) -> Running {
    let (handle, inbox, events) = NodeHandle::new();
    let (stop, stopped) = watch::channel(false);
    let sharing = share.map(|handle| Sharing { handle, next: None });
    let ports = Ports { links, inbox, events, sharing, stop: stopped };
    let task = tokio::spawn(supervise(options, store.clone(), wall.clone(), ports));
    Running { handle, stop, task }
}

/// Runs the node until it is told to stop, again and again where it panics.
async fn supervise(options: CoreOptions, store: Store, wall: Wall, mut ports: Ports) -> Result<()> {
    let mut wait = RESTART_MIN;
    loop {
        let started = tokio::time::Instant::now();
        let run = AssertUnwindSafe(run(options.clone(), &store, &wall, &mut ports)).catch_unwind();
        match run.await {
            Ok(ended) => {
                if let Err(error) = store.flush() {
                    tracing::error!("what was not yet written is lost: {error:#}");
                }
                ports.links.shutdown().await;
                return ended;
            }
            Err(_) => {
                if started.elapsed() > RESTART_MAX {
                    wait = RESTART_MIN;
                }
                tracing::error!(wait_s = wait.as_secs(), "the node's task panicked; it starts anew");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RESTART_MAX);
                if !ports.links.renew().await {
                    anyhow::bail!(
                        "the link's task has ended: see the log for why, and start the daemon again"
                    );
                }
            }
        }
    }
}

async fn run(mut options: CoreOptions, store: &Store, wall: &Wall, ports: &mut Ports) -> Result<()> {
    // The keys may have been rotated since the program began.
    if let Some(swarm) = swarm::joined(store)? {
        options.swarm = Some(swarm);
    }
    let mut clock = Clock::start(store)?;
    let brain = options.brain.clone();
    let mut core = Core::new(options, store, wall, clock.now())?;
    ports.links.show(&mut core);
    if ports.links.is_native() {
        core.settle_native(clock.now())?;
    }
    let mut offers_in = watch_models(brain.clone());
    let (done_out, mut done_in) = mpsc::channel::<Done>(1);
    let mut at_work = false;
    let mut keep = tokio::time::interval(KEEP);
    keep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        give_shared(&mut core, clock.now(), ports);
        drain(&mut core, ports).await;
        if !at_work && let Some(work) = core.next_work() {
            at_work = true;
            begin(brain.clone(), work, done_out.clone());
        }
        let due = clock.at(core.poll_timeout());
        tokio::select! {
            event = ports.links.next() => match event {
                Some(event) => handle_link(&mut core, clock.now(), ports, event).await,
                None => anyhow::bail!("the link's task has ended: see the log for why, and start the daemon again"),
            },
            Some(command) = ports.inbox.recv() => core.handle_command(clock.now(), command),
            next = next_shared(&mut ports.sharing) => {
                // One that waits is asked for again at the top.
                if let (Some(packet), Some(sharing)) = (next, &mut ports.sharing) {
                    let now = tokio::time::Instant::now();
                    sharing.next = Some((packet, now, now));
                }
            }
            Some(done) = done_in.recv() => {
                at_work = false;
                core.handle_done(clock.now(), done);
            }
            Some(offers) = offers_in.recv() => core.handle_offers(clock.now(), offers),
            () = tokio::time::sleep_until(due) => core.handle_timeout(clock.now()),
            _ = keep.tick() => {
                clock.keep()?;
                if let Err(error) = core.keep(clock.now()) {
                    tracing::error!("{error:#}");
                }
                notify::alive();
            }
            changed = ports.stop.changed() => {
                // Whoever could tell us to go on has gone: that is a stop too.
                if changed.is_err() || *ports.stop.borrow() {
                    core.keep(clock.now())?;
                    return Ok(());
                }
            }
        }
    }
}

async fn handle_link(core: &mut Core, now: Instant, ports: &mut Ports, event: LinkEvent) {
    if let Some(sharing) = &ports.sharing {
        let told = match &event {
            LinkEvent::Radio(RadioEvent::Raw(message)) => Some(RadioInput::Message(message.clone())),
            LinkEvent::Radio(RadioEvent::Down { .. }) => Some(RadioInput::Down),
            _ => None,
        };
        if let Some(told) = told {
            // The hub takes what it is told at once; when it has ended nobody shares the radio any more.
            let _ = sharing.handle.radio.send(told).await;
        }
    }
    ports.links.handle(core, now, event);
}

/// The next packet of a program that shares the radio; none when the one that waits may be asked for again.
async fn next_shared(sharing: &mut Option<Sharing>) -> Option<ForRadio> {
    let Some(sharing) = sharing else { return std::future::pending().await };
    match &sharing.next {
        Some((_, _, again)) => {
            tokio::time::sleep_until(*again).await;
            None
        }
        None => match sharing.handle.for_radio.recv().await {
            Some(packet) => Some(packet),
            None => std::future::pending().await,
        },
    }
}

/// Gives the radio what a shared program wants to send, if the governor lets it.
fn give_shared(core: &mut Core, now: Instant, ports: &mut Ports) {
    let Some(sharing) = &mut ports.sharing else { return };
    let Some((packet, since, again)) = &mut sharing.next else { return };
    // What stays in the radio (settings, questions to it) costs no air.
    let verdict = match packet.airtime_us {
        0 => Ok(()),
        airtime_us => core.admit_shared(now, packet.priority, AirDuration::from_micros(airtime_us)),
    };
    match verdict {
        Ok(()) => {
            let message = std::mem::take(&mut packet.bytes);
            sharing.next = None;
            ports.links.give_radio(RadioCommand::SendRaw(message));
        }
        Err(hold) if since.elapsed() > SHARED_PATIENCE => {
            tracing::warn!("a packet of a program that shares the radio is dropped: {}", hold.reason());
            sharing.next = None;
        }
        Err(_) => *again = tokio::time::Instant::now() + SHARED_AGAIN,
    }
}

/// Brings what the core has to say to whom it concerns.
async fn drain(core: &mut Core, ports: &mut Ports) {
    while let Some(output) = core.poll_output() {
        match output {
            Output::Radio(packet) => {
                if let Some(sharing) = &ports.sharing
                    && let Some(seen) = ports::as_seen(&packet, core.num())
                {
                    let _ = sharing.handle.radio.send(RadioInput::Own(seen)).await;
                }
                ports.links.give_radio(RadioCommand::Send(packet));
            }
            Output::Link(packet, channel) => ports.links.send(&packet, &channel),
            Output::Admin(message) => {
                // Whether it was taken shows at the next handshake.
                let (reply, _) = oneshot::channel();
                ports.links.give_radio(RadioCommand::Admin { message, want_reply: false, reply });
            }
            // Nobody may listen.
            Output::Event(event) => drop(ports.events.send(event)),
        }
    }
}

/// Looks from time to time which models there are: a server may start and stop as it likes, and asking it takes a while.
fn watch_models(brain: SharedBrain) -> mpsc::Receiver<Offers> {
    let (told, offers) = mpsc::channel(1);
    if brain.is_some() {
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(MODELS).await;
                let brain = brain.clone();
                // A model that panics here is one that is not there.
                if let Ok(offers) = tokio::task::spawn_blocking(move || Offers::of(&brain)).await
                    && told.send(offers).await.is_err()
                {
                    return;
                }
            }
        });
    }
    offers
}

/// Gives a piece of work to the models, on a thread where they may take their time.
fn begin(brain: SharedBrain, work: Work, done: mpsc::Sender<Done>) {
    tokio::spawn(async move {
        let key = work.key;
        let product = tokio::task::spawn_blocking(move || think(&brain, &work)).await;
        let product = product.unwrap_or_else(|_| Err("the model panicked; the log says where".to_owned()));
        // The node may be gone meanwhile.
        let _ = done.send(Done { key, product }).await;
    });
}

fn think(brain: &SharedBrain, work: &Work) -> Result<Product, String> {
    let brain = brain.as_ref().ok_or("there is no model here")?;
    let product = match work.kind {
        JobKind::Classify => brain.classify(&work.text).map(Product::Class),
        JobKind::Chat => {
            let asked = ChatMessage { role: "user".into(), content: work.text.clone() };
            brain.chat(&[asked], work.max_chars, PATIENCE).map(Product::Text)
        }
        JobKind::Embed => brain.embed(&work.text).map(Product::Vector),
    };
    product.map_err(|error| format!("{error:#}"))
}
