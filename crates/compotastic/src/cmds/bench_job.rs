//! `compotastic bench job`: air time per remote job, ours beside ours behind stock radios, a plain-text bot and the floor, in the
//! same world.

use anyhow::{Result, ensure};
use clap::Args;
use compotastic_mesh::{
    lora::{Preset, Region},
    rng::Rng,
    router::{Relaying, Role, RouterConfig},
    time::{Duration, Instant},
};
use compotastic_node::{
    AgentEvent, HostedStation, Station, hosted::HostedConfig, promises::Outcome, station::SWARM_CHANNEL,
};
use compotastic_sim::{
    World, WorldConfig,
    hosted::{HostedNode, RadioHabits, StockRadio, SwarmNode},
    ledger::{Ledger, Sum, Traffic},
    radio::Radio,
    stock::{Conversation, StockNode},
};
use compotastic_wire::PORT;
use serde::Serialize;

use super::demo::{TeacherChoice, parse_loss};
use crate::demo::{
    DemoConfig,
    inputs::{self, Inputs},
    swarm::{self, BIN},
};

/// Stock port of text messages.
const TEXT_PORT: u16 = 1;
/// Each node asks once in this time.
const EVERY_S: u32 = 1800;

/// Options of `bench job`.
#[derive(Args)]
#[command(after_help = "Example:\n  compotastic bench job --loss 0,0.1,0.3 --json")]
pub struct JobArgs {
    /// Field nodes
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(2..=60))]
    nodes: u32,
    /// Seeds, each a world of its own
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    seeds: Vec<u64>,
    /// Losses per transmission and receiver
    #[arg(long, value_delimiter = ',', default_value = "0,0.1,0.3", value_parser = parse_loss)]
    loss: Vec<f64>,
    /// Hours in which questions are asked
    #[arg(long, default_value_t = 4.0)]
    hours: f64,
    /// Prints rows as JSON
    #[arg(long)]
    json: bool,
}

/// One row; air time sums all transmissions of all nodes that belong to jobs.
#[derive(Serialize)]
struct Row {
    method: &'static str,
    answer_chars: Option<usize>,
    loss: f64,
    jobs: u32,
    answered: u32,
    transmissions_per_job: f64,
    bytes_per_job: f64,
    airtime_ms_per_job: f64,
    /// What is spent besides so that jobs are possible: beacons of executors and nodes.
    beacons_ms_per_job: f64,
    /// Air time of ours divided by this row's.
    ours_to_this: f64,
}

#[derive(Default)]
struct Tally {
    jobs: u32,
    answered: u32,
    sum: Sum,
    beacons_us: u64,
}

const TEXTS: &str = include_str!("../../../../tests/data/text/radio-messages.txt");

/// Runs it.
pub fn run(args: &JobArgs) -> Result<()> {
    ensure!(args.hours > 0.0 && args.hours <= 48.0, "--hours {} is not between 0 and 48", args.hours);
    let wanted = inputs::Wanted {
        teacher: TeacherChoice::InTree,
        fetch: false,
        task: None,
        urgent: Vec::new(),
        reports: None,
    };
    let inputs = inputs::load(&wanted, true)?;
    let mut rows = Vec::new();
    for &loss in &args.loss {
        let mut ways: Vec<(&'static str, Option<usize>, Tally)> = vec![
            ("compotastic", None, Tally::default()),
            ("compotastic, hosted", None, Tally::default()),
            ("compotastic, hosted, no key", None, Tally::default()),
            ("plain-text bot", Some(40), Tally::default()),
            ("plain-text bot", Some(200), Tally::default()),
            ("two smallest packets", None, Tally::default()),
        ];
        for &seed in &args.seeds {
            let config = DemoConfig {
                seed,
                field_nodes: args.nodes as usize,
                edge_nodes: 1,
                preset: Preset::LongFast,
                region: Region::Eu868,
                loss_ppm: (loss * 1e6).round() as u32,
                hours: args.hours,
                edge_leaves_h: None,
            };
            ours(&config, &inputs, None, &mut ways[0].2)?;
            for (index, private_key) in [(1, true), (2, false)] {
                let habits = RadioHabits { private_key, ..RadioHabits::default() };
                ours(&config, &inputs, Some(habits), &mut ways[index].2)?;
            }
            for (index, length) in [(3, 40), (4, 200)] {
                stock(&config, &inputs, Some(length), &mut ways[index].2)?;
            }
            stock(&config, &inputs, None, &mut ways[5].2)?;
        }
        let per_job = |tally: &Tally| tally.sum.airtime_us as f64 / 1000.0 / f64::from(tally.answered.max(1));
        let ours_ms = per_job(&ways[0].2);
        for (method, answer_chars, tally) in &ways {
            let answered = f64::from(tally.answered.max(1));
            rows.push(Row {
                method,
                answer_chars: *answer_chars,
                loss,
                jobs: tally.jobs,
                answered: tally.answered,
                transmissions_per_job: tally.sum.transmissions as f64 / answered,
                bytes_per_job: tally.sum.bytes as f64 / answered,
                airtime_ms_per_job: per_job(tally),
                beacons_ms_per_job: tally.beacons_us as f64 / 1000.0 / answered,
                ours_to_this: ours_ms / per_job(tally),
            });
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!(
        "{} field nodes, {} h, seeds {:?}: all transmissions of all nodes\n",
        args.nodes, args.hours, args.seeds
    );
    println!(
        "{:>5}  {:<30} {:>9} {:>8} {:>8} {:>9} {:>9} {:>10}",
        "loss", "method", "answered", "tx/job", "B/job", "ms/job", "beacons", "ours:this"
    );
    for row in rows {
        let method = match row.answer_chars {
            Some(length) => format!("{}, {length} characters", row.method),
            None => row.method.to_string(),
        };
        println!(
            "{:>5}  {method:<30} {:>4}/{:<4} {:>8.1} {:>8.0} {:>9.0} {:>9.0} {:>10.2}",
            row.loss,
            row.answered,
            row.jobs,
            row.transmissions_per_job,
            row.bytes_per_job,
            row.airtime_ms_per_job,
            row.beacons_ms_per_job,
            row.ours_to_this
        );
    }
    println!(
        "\nHosted: field nodes behind stock radios, which sign what they broadcast. Those with a private key could send no unicast that \
         our nodes read, so all goes as broadcasts."
    );
    println!("ms of the bots include stock acknowledgements and what their hosts had to send again.");
    Ok(())
}

/// When each node asks what: the same for all ways.
fn questions(config: &DemoConfig) -> Vec<(Instant, usize, &'static str)> {
    let texts: Vec<&str> = TEXTS.lines().filter(|line| !line.is_empty()).collect();
    let mut draws = Rng::from_seed(config.seed).child(0x6a6f_6273);
    let mut all = Vec::new();
    // Half an hour for the mesh to find itself.
    for node in 1..=config.field_nodes {
        let mut at_s = 1800 + draws.below(EVERY_S);
        while f64::from(at_s) < 1800.0 + config.hours * 3600.0 {
            all.push((
                Instant::ZERO + Duration::from_secs(u64::from(at_s)),
                node,
                texts[draws.below(texts.len() as u32) as usize],
            ));
            at_s += EVERY_S * 8 / 10 + draws.below(EVERY_S * 4 / 10);
        }
    }
    all.sort_unstable();
    all
}

/// Reports stop; what is under way may end.
const GRACE: Duration = Duration::from_secs(6 * 3600);

/// Our nodes: all of them native, or the field nodes behind stock radios with these habits and the edge node native.
fn ours(config: &DemoConfig, inputs: &Inputs, hosted: Option<RadioHabits>, tally: &mut Tally) -> Result<()> {
    let start = Instant::ZERO;
    let mut swarm = swarm::commission_with(config, inputs, |id, router, agent, seed| {
        let Some(habits) = hosted.filter(|_| id > 0) else {
            return SwarmNode::Native(Box::new(Station::new(router, agent, seed, start)));
        };
        let host = HostedConfig {
            preset: config.preset,
            region: config.region,
            own_port: PORT,
            channel: SWARM_CHANNEL,
            channel_unicasts: !habits.private_key,
        };
        let radio = StockRadio::new(router, habits, seed, start);
        SwarmNode::Hosted(Box::new(HostedNode::new(radio, HostedStation::new(host, agent, start))))
    })?;
    let world = &mut swarm.world;
    let mut answered = 0;
    let mut drain = |world: &mut World<SwarmNode<'static, swarm::Flash>>, id: usize| {
        while let Some(event) = world.with_host(id, |station, _| station.agent().poll_event()) {
            match event {
                AgentEvent::Execute(ticket) => world.with_host(id, |station, now| {
                    let outcome = Outcome { class: 1, confidence: 12, model_version: 1, unsure: false };
                    station.agent().complete(now, ticket, outcome);
                    station.settle(now);
                }),
                AgentEvent::Answered { .. } => answered += 1,
                _ => {}
            }
        }
    };
    let questions = questions(config);
    let end = questions.last().map_or(Instant::ZERO, |question| question.0) + GRACE;
    for (when, node, text) in &questions {
        world.run_until(*when, &mut drain);
        world.with_host(*node, |station, now| {
            // A node that is full of open jobs refuses; that shows as a question without an answer.
            let _ = station.agent().submit(now, text);
            station.settle(now);
        });
    }
    world.run_until(end, &mut drain);
    tally.jobs += questions.len() as u32;
    tally.answered += answered;
    let ledger = &world.ledger;
    tally.sum = tally.sum.plus(ledger.sum(Traffic::Job)).plus(ledger.sum(Traffic::Ack));
    tally.beacons_us += ledger.sum(Traffic::Beacon).airtime_us;
    Ok(())
}

/// A bot whose answers have so many characters; `None`: empty packets on our own port, without acknowledgements.
fn stock(config: &DemoConfig, inputs: &Inputs, answer: Option<usize>, tally: &mut Tally) -> Result<()> {
    // The same nodes at the same places under the same numbers.
    let swarm = swarm::commission(config, inputs)?;
    let numbers: Vec<_> =
        (0..swarm.positions.len()).map(|id| swarm.world.host(id).agent_ref().num()).collect();
    let radio = Radio::new(config.preset.modem(config.region.wide()), config.region);
    let ledger = Ledger::new(swarm.channels.clone(), numbers.clone(), BIN);
    let world_config = WorldConfig {
        preset: config.preset,
        region: config.region,
        loss_ppm: config.loss_ppm,
        seed: swarm.world_seed,
    };
    let mut world = World::new(world_config, radio, ledger);
    let conversation = Conversation {
        bot: numbers[0],
        port: if answer.is_some() { TEXT_PORT } else { PORT },
        channel: u8::from(answer.is_none()),
        answers_want_ack: answer.is_some(),
    };
    let said = "The answer of a bot in plain words, as long as it has to be. "
        .bytes()
        .cycle()
        .take(answer.unwrap_or(0))
        .collect::<Vec<u8>>();
    for (id, position) in swarm.positions.iter().enumerate() {
        let router = RouterConfig {
            num: numbers[id],
            role: Role::Client,
            preset: config.preset,
            region: config.region,
            hop_limit: 7,
            channels: swarm.channels.iter().cloned().collect(),
            own_port: PORT,
            relaying: Relaying::default(),
        };
        let seed = Rng::from_seed(config.seed).child(0x6e6f_6465).child(id as u64).next_u64();
        world.add(StockNode::new(router, conversation, said.clone(), seed), *position);
    }
    let questions = questions(config);
    let end = questions.last().map_or(Instant::ZERO, |question| question.0) + GRACE;
    for (when, node, text) in &questions {
        world.run_until(*when, |_, _| {});
        let text = if answer.is_some() { text.as_bytes() } else { &[] };
        world.with_host(*node, |host, now| host.ask(now, text));
    }
    world.run_until(end, |_, _| {});
    tally.jobs += questions.len() as u32;
    tally.answered += (0..numbers.len()).map(|id| world.host(id).answered).sum::<u32>();
    for kind in [Traffic::Text, Traffic::Ack, Traffic::Other, Traffic::Job] {
        tally.sum = tally.sum.plus(world.ledger.sum(kind));
    }
    Ok(())
}
