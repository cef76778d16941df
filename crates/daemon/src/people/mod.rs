//! People on stock phones: a message to this node, or one that begins with the trigger, becomes a job, and the answer goes back in a
//! packet or two.
//!
//! [`desk`] has the rules; here is the task that joins it to the node.

pub mod bucket;
pub mod config;
pub mod desk;
pub mod words;

use std::time::{Duration, Instant};

use anyhow::Result;
use compotastic_mesh::lora::Preset;
use tokio::sync::broadcast::error::RecvError;

use crate::seam::{Event, NodeGone, NodeHandle};

pub use config::PeopleConfig;
pub use desk::{Action, Desk};

/// How old what the desk knows of the node may be.
const STATE_EVERY: Duration = Duration::from_secs(5);
/// Bytes of a frame beside its text: header, port, length, bitfield, reply id.
const FRAME_OVERHEAD: usize = 16 + 3 + 2 + 2 + 5;

/// Time on air of a text of so many bytes on a preset, milliseconds; on the usual one where the name is unknown.
pub fn airtime_ms(preset: &str, text_len: usize) -> f64 {
    let preset = Preset::ALL.into_iter().find(|known| known.name() == preset).unwrap_or(Preset::LongFast);
    preset.modem(false).time_on_air_us(FRAME_OVERHEAD + text_len) as f64 / 1000.0
}

/// Answers people until the node's task ends. Fails at once on a configuration that cannot be.
pub async fn run(node: NodeHandle, config: PeopleConfig) -> Result<()> {
    let mut desk = Desk::new(config)?;
    let mut events = node.subscribe();
    let start = Instant::now();
    let Ok(state) = node.snapshot().await else { return Ok(()) };
    desk.handle_state(state);
    // When the node was last asked; none where that says nothing any more.
    let mut state_at = Some(Instant::now());
    let mut tick = tokio::time::interval(STATE_EVERY);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(Event::Text(message)) => {
                    if state_at.is_none_or(|at| at.elapsed() >= STATE_EVERY) {
                        let Ok(state) = node.snapshot().await else { return Ok(()) };
                        desk.handle_state(state);
                        state_at = Some(Instant::now());
                    }
                    desk.handle_text(start.elapsed(), &message);
                }
                Ok(Event::Job(job)) => desk.handle_job(start.elapsed(), job.id, &job.state),
                // A radio has told who it is, maybe another one than before.
                Ok(Event::Link(_)) => state_at = None,
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => {
                    state_at = None;
                    tracing::warn!(lost, "too many events: some messages were not seen");
                }
                Err(RecvError::Closed) => return Ok(()),
            },
            _ = tick.tick() => desk.handle_timeout(start.elapsed()),
        }
        if let Err(NodeGone) = act(&node, &mut desk, start).await {
            return Ok(());
        }
    }
}

async fn act(node: &NodeHandle, desk: &mut Desk, start: Instant) -> Result<(), NodeGone> {
    let mut texts = Vec::new();
    while let Some(action) = desk.poll_action() {
        match action {
            Action::Submit { key, spec } => {
                let taken = node.submit(spec).await?;
                let ended = taken.as_ref().ok().filter(|job| job.state.is_final()).cloned();
                desk.handle_submitted(start.elapsed(), key, taken.map(|job| job.id));
                if let Some(job) = ended {
                    desk.handle_job(start.elapsed(), job.id, &job.state);
                }
            }
            Action::Cancel { job } => {
                node.cancel(job).await?;
            }
            Action::Send(text) => texts.push(text),
        }
    }
    if !texts.is_empty() {
        // The governor decides, and waiting for it must not keep other people's messages waiting. The packets of one answer go one
        // after the other.
        let node = node.clone();
        tokio::spawn(async move {
            for text in texts {
                if let Ok(Err(reason)) = node.send_text(text).await {
                    tracing::info!(reason, "an answer to a person does not go");
                }
            }
        });
    }
    Ok(())
}
