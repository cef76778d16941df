//! The node's task: the core, its radio, its store, its models, on tokio.
//!
//! One task owns the node ([`core::Core`], which does no I/O). Everybody else holds a [`NodeHandle`]. The task feeds the core
//! with what the link tells, with commands, with what the models have done and with time, and brings what the core has to say to
//! the link. Should a part panic, the core is made anew from the store, as after a restart: open jobs go on, packet ids keep rising, and
//! the radio is asked for its handshake again.

pub mod book;
pub mod clock;
pub mod core;
pub mod facts;
mod jobs;
pub mod notify;
pub mod quiet;
mod show;
mod texts;
pub mod work;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use anyhow::Result;
use compotastic_links::{RadioCommand, RadioEvent, RadioHandle};
use futures_util::FutureExt as _;
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinHandle,
};

use self::{
    clock::{Clock, Wall},
    work::{Done, Product, Work},
};
pub use self::{
    core::{Core, CoreOptions, Output, SharedPacket},
    jobs::OPEN,
    quiet::QuietHours,
    texts::TEXT_MAX,
};
use crate::{
    seam::{ChatMessage, Command, Event, JobKind, NodeHandle, SharedBrain},
    store::Store,
};

/// Packets of programs that share the radio which may wait for the governor.
const SHARED: usize = 64;
/// `FromRadio` messages that a program which shares the radio may be behind.
const RAW: usize = 256;
/// What has to be written from time to time is written so often, and the watch-dog is told that all is well.
const KEEP: Duration = Duration::from_secs(60);
/// First wait after a panic; it doubles up to a minute.
const RESTART_MIN: Duration = Duration::from_secs(1);
const RESTART_MAX: Duration = Duration::from_secs(60);
/// A model may take so long for an answer in words: as long as an executor's promise holds.
const PATIENCE: Duration = Duration::from_secs(540);

/// A running node.
pub struct Running {
    /// The way to it.
    pub handle: NodeHandle,
    /// The governor's door for programs that share the radio: each packet is asked for before it is given to the link.
    pub shared: mpsc::Sender<SharedPacket>,
    /// Each `FromRadio` message as it came, where the link was started with `raw`.
    pub raw: broadcast::Sender<Arc<[u8]>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Running {
    /// Ends the task and waits until all is written.
    pub async fn stop(self) -> Result<()> {
        // The task may have ended by itself; it tells below.
        let _ = self.stop.send(true);
        self.ended().await
    }

    /// Waits until the task ends by itself.
    pub async fn ended(self) -> Result<()> {
        self.task.await.map_err(anyhow::Error::from)?
    }
}

struct Ports {
    radio: RadioHandle,
    inbox: mpsc::Receiver<Command>,
    events: broadcast::Sender<Event>,
    shared: mpsc::Receiver<SharedPacket>,
    raw: broadcast::Sender<Arc<[u8]>>,
    stop: watch::Receiver<bool>,
}

/// Starts the node's task. Must be called inside a tokio runtime.
pub fn spawn(options: CoreOptions, store: &Store, wall: &Wall, radio: RadioHandle) -> Running {
    let (handle, inbox, events) = NodeHandle::new();
    let (shared, shared_inbox) = mpsc::channel(SHARED);
    let (raw, _) = broadcast::channel(RAW);
    let (stop, stopped) = watch::channel(false);
    let ports = Ports { radio, inbox, events, shared: shared_inbox, raw: raw.clone(), stop: stopped };
    let task = tokio::spawn(supervise(options, store.clone(), wall.clone(), ports));
    Running { handle, shared, raw, stop, task }
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
                // The link's task may have ended before.
                let _ = ports.radio.sender.shutdown().await;
                return ended;
            }
            Err(_) => {
                if started.elapsed() > RESTART_MAX {
                    wait = RESTART_MIN;
                }
                tracing::error!(wait_s = wait.as_secs(), "the node's task panicked; it starts anew");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RESTART_MAX);
                // Brings the handshake, which tells the new core of its radio.
                if ports.radio.sender.reconnect().await.is_err() {
                    anyhow::bail!(
                        "the link's task has ended: see the log for why, and start the daemon again"
                    );
                }
            }
        }
    }
}

async fn run(options: CoreOptions, store: &Store, wall: &Wall, ports: &mut Ports) -> Result<()> {
    let mut clock = Clock::start(store)?;
    let brain = options.brain.clone();
    let mut core = Core::new(options, store, wall, clock.now())?;
    let (done_out, mut done_in) = mpsc::channel::<Done>(1);
    let mut at_work = false;
    let mut keep = tokio::time::interval(KEEP);
    keep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        drain(&mut core, ports);
        if !at_work && let Some(work) = core.next_work() {
            at_work = true;
            begin(brain.clone(), work, done_out.clone());
        }
        let due = clock.at(core.poll_timeout(clock.now()));
        tokio::select! {
            event = ports.radio.events.recv() => match event {
                Some(RadioEvent::Raw(message)) => drop(ports.raw.send(message.into())),
                Some(event) => {
                    let reconnects = ports.radio.state.borrow().reconnects;
                    core.handle_reconnects(reconnects);
                    core.handle_radio(clock.now(), event);
                }
                None => anyhow::bail!("the link's task has ended: see the log for why, and start the daemon again"),
            },
            Some(command) = ports.inbox.recv() => core.handle_command(clock.now(), command),
            Some(packet) = ports.shared.recv() => core.handle_shared(clock.now(), packet),
            Some(done) = done_in.recv() => {
                at_work = false;
                core.handle_done(clock.now(), done);
            }
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

/// Brings what the core has to say to whom it concerns.
fn drain(core: &mut Core, ports: &mut Ports) {
    while let Some(output) = core.poll_output() {
        match output {
            Output::Radio(packet) => {
                // The governor gives the radio no more than it can hold, so that the link's queue is full only when the link hangs;
                // what is lost then is repeated by whoever waits for its answer.
                if ports.radio.sender.try_command(RadioCommand::Send(packet)).is_err() {
                    tracing::warn!("the link takes no packet: its queue is full, or it has ended");
                }
            }
            // Nobody may listen.
            Output::Event(event) => drop(ports.events.send(event)),
        }
    }
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
