//! Running a scenario: the world goes on, and what its nodes' people meet with is told to the event log.

use std::io;

use compotastic_mesh::{
    router::Role,
    time::{Duration, Instant},
};
use compotastic_model::BaseEncoder;

use super::{
    NodeKind, Report, Scenario,
    build::{ScenarioWorld, build},
};
use crate::{
    ledger::Ledger,
    messenger::Note,
    recording::{About, Header, Record, Sink, Source, Tally},
};

/// A message that left shortly before the end is still awaited for this time.
const GRACE: Duration = Duration::from_secs(120);
/// Bins of air time over time, at most.
const BINS: u64 = 72;

/// A run, finished or read from a recording.
pub struct Run {
    /// What was simulated.
    pub header: Header,
    /// The books of the air.
    pub ledger: Ledger,
    /// The books of the applications.
    pub tally: Tally,
    /// Figures.
    pub report: Report,
}

/// Width of the bins of air time over time, for a run that ends then: round, and not too many.
pub(super) fn bin_width(end: Instant) -> Duration {
    const ROUND_MIN: [u64; 12] = [1, 2, 5, 10, 20, 30, 60, 120, 240, 720, 1440, 2 * 1440];
    let fits = |minutes: &&u64| end.as_micros() / (**minutes * 60_000_000) < BINS;
    Duration::from_secs(60 * ROUND_MIN.iter().find(fits).unwrap_or(&(7 * 1440)))
}

/// The role of each node as scenarios spell it, or what it is of ours, by index.
pub(crate) fn roles(scenario: &Scenario) -> Vec<String> {
    let spelt = |kind: NodeKind, role: Role| match kind {
        NodeKind::Stock => role.name(),
        NodeKind::Field => "field",
        NodeKind::Hosted => "hosted",
        NodeKind::Edge => "edge",
    };
    let named = scenario.node.iter().map(|node| (spelt(node.kind, node.role), 1));
    let drawn = scenario.field.iter().map(|field| {
        let field = field.get_ref();
        (spelt(field.kind, field.role), *field.count.get_ref() as usize)
    });
    named.chain(drawn).flat_map(|(role, count)| std::iter::repeat_n(role.to_string(), count)).collect()
}

fn record(note: Note, to: impl Fn(u32) -> Option<u32>) -> Record {
    match note {
        Note::Sent { message, length, want_ack, late } => {
            Record::MessageSent { message, to: to(message), length, want_ack, late_us: late.as_micros() }
        }
        Note::Received { message, hops } => Record::MessageReceived { message, hops },
        Note::Acked(message) => Record::MessageAcked { message },
        Note::Failed(message) => Record::MessageFailed { message },
    }
}

/// Runs a scenario under a seed. `progress` is told the share that is done.
pub fn run(
    scenario: &Scenario,
    seed: u64,
    base: Option<BaseEncoder<'static>>,
    progress: impl FnMut(f64),
) -> Result<Report, String> {
    run_with(scenario, "", seed, base, |_| Ok(None), progress).map(|run| run.report)
}

/// Runs a scenario under a seed, and tells each event to the sink that `begin` makes when it sees the header. `text` is the
/// scenario's TOML, from which the run can be repeated. `progress` is told the share that is done.
pub fn run_with(
    scenario: &Scenario,
    text: &str,
    seed: u64,
    base: Option<BaseEncoder<'static>>,
    begin: impl FnOnce(&Header) -> io::Result<Option<Box<dyn Sink>>>,
    mut progress: impl FnMut(f64),
) -> Result<Run, String> {
    let ScenarioWorld { mut world, mut stage, names, messages, end, .. } = build(scenario, seed, base)?;
    let about = About {
        source: Source::Scenario(text.to_string()),
        title: &scenario.name,
        seed,
        end,
        nodes: names.into_iter().zip(roles(scenario)).collect(),
    };
    let header = Header::of_world(about, &world);
    let numbers = header.nodes.iter().map(|node| node.number).collect();
    let begun = begin(&header).and_then(|sink| world.log.begin(numbers, sink));
    begun.map_err(|error| error.to_string())?;
    // How many notes of each node have been told.
    let mut told = vec![0; header.nodes.len()];
    let mut sent = vec![false; messages.len()];
    let last = end + GRACE;
    for step in 1..=100u64 {
        let until = if step == 100 { last } else { Instant::from_micros(last.as_micros() / 100 * step) };
        stage.run_until(&mut world, until, |world, id| {
            let fresh = world.host(id).notes()[told[id]..].to_vec();
            told[id] += fresh.len();
            for note in fresh {
                if let Note::Sent { message, .. } = note {
                    sent[message as usize] = true;
                }
                let record = record(note, |index| messages[index as usize].to.map(|to| to as u32));
                world.log.note(world.now(), id, &record);
            }
        });
        progress(step as f64 / 100.0);
    }
    for (index, message) in messages.iter().enumerate().filter(|(index, _)| !sent[*index]) {
        let late_us = world.now().saturating_duration_since(message.at).as_micros();
        let to = message.to.map(|to| to as u32);
        let missed = Record::MessageMissed { message: index as u32, to, late_us };
        world.log.note(world.now(), message.from, &missed);
    }
    let event_log_sha256 = world.log.finish().map_err(|error| error.to_string())?;
    let (ledger, tally) = (world.ledger, world.log.take_tally());
    let report = Report {
        swarm: stage.swarm_report(),
        energy: stage.energy_report(),
        ..Report::of(&header, &ledger, &tally, event_log_sha256)
    };
    Ok(Run { header, ledger, tally, report })
}
