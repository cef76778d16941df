//! `compotastic bench soak`: weeks of a hosted node whose radio fails in every way that radios do.
//!
//! All parts but the operating system's are the daemon's own: the app's session, the waits between tries, the hosted station
//! with its agent. The radio is the simulator's, behind the device's side of the client API; between them is a cable on which
//! bytes are lost, invented and cut. Time is simulated, all draws come from the seed.

mod cable;
mod faults;
mod node;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use compotastic_mesh::{
    lora::{Preset, Region},
    packet::NodeNum,
    rng::Rng,
    router::{Relaying, Role},
    time::{Duration, Instant},
};
use compotastic_node::{Agent, AgentEvent, agent::REPORT_MAX, promises::Outcome};
use compotastic_sim::{
    Host, World, WorldConfig,
    ledger::Ledger,
    radio::{Position, Radio},
    swarm::{Flash, Kit, Node, NodeFlash, Post},
};
use serde::Serialize;

use self::node::SoakNode;
pub use self::{
    cable::Wire,
    faults::{Kind, LIMIT_MS, Tally},
};

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;
/// The last jobs have so long.
const REST_S: u64 = 6 * HOUR_S;
/// Jobs may take so long. An edge node that was away for ten minutes counts as silent, and is called again in steps of 5 to
/// 40 minutes: with an hour, one job in about 5,000 ends with that reason instead of an answer.
const JOB_LIFETIME: Duration = Duration::from_secs(2 * HOUR_S);
/// Resident memory may grow so much after the first day and still count as flat, KiB: what the allocator keeps.
const FLAT_KIB: u64 = 1024;

/// Weeks of a hosted node whose radio reboots, stalls, fills its queue, drops bytes, sends garbage and kicks its client.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  compotastic bench soak --days 60
  compotastic bench soak --days 2 --seed 7 --json

The exit code is 1 if a job was missed, the link was not back within 60 s after a fault, or memory grew.")]
pub struct SoakArgs {
    /// Days to simulate.
    #[arg(long, default_value_t = 60)]
    pub days: u64,
    /// Seed of all draws.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// What the hosted node is in the swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// It has the foundation model and is asked, over TCP.
    Answers,
    /// It asks, over a serial port.
    Asks,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What the hosted node was.
    pub part: Part,
    /// Days.
    pub days: u64,
    /// Jobs that were asked.
    pub jobs: u64,
    /// Jobs that were answered.
    pub answered: u64,
    /// Jobs that ended with a reason instead.
    pub failed: u64,
    /// Jobs that were not taken, or that nothing was heard of again.
    pub lost: u64,
    /// Slowest answer, seconds.
    pub slowest_s: u64,
    /// By kind of fault.
    pub faults: BTreeMap<Kind, Tally>,
    /// Times that the session was ready.
    pub sessions: u64,
    /// Packets given to the radio, and those that failed for want of a link or of room.
    pub packets: u64,
    /// Packets that failed.
    pub packets_failed: u64,
    /// Bytes lost on the cable.
    pub bytes_lost: u64,
    /// Bytes on it that were no frame.
    pub bytes_garbage: u64,
    /// Most bytes that waited on it.
    pub waiting_max: usize,
    /// Resident memory of the process after the first day and at the end, KiB; 0 where the system does not tell.
    pub rss_kib: (u64, u64),
}

impl Report {
    /// Faults of all kinds.
    pub fn fault_count(&self) -> u64 {
        self.faults.values().map(|tally| tally.count).sum()
    }

    /// Times that the link was not back in time.
    pub fn late(&self) -> u64 {
        self.faults.values().map(|tally| tally.late).sum()
    }

    /// Memory did not grow.
    pub fn is_flat(&self) -> bool {
        self.rss_kib.1 <= self.rss_kib.0 + FLAT_KIB
    }

    /// Everything that is promised holds.
    pub fn is_good(&self) -> bool {
        self.answered == self.jobs && self.late() == 0 && self.is_flat()
    }
}

/// A node of the soak's mesh.
enum Any {
    Plain(Box<Node>),
    Soak(Box<SoakNode>),
}

impl Any {
    fn agent(&mut self) -> &mut Agent<'static, Flash> {
        match self {
            Self::Plain(node) => node.agent(),
            Self::Soak(node) => node.agent(),
        }
    }

    fn settle(&mut self, now: Instant) {
        match self {
            Self::Plain(node) => node.settle(now),
            Self::Soak(node) => node.settle(now),
        }
    }

    fn host(&mut self) -> &mut dyn Host {
        match self {
            Self::Plain(node) => &mut **node,
            Self::Soak(node) => &mut **node,
        }
    }
}

impl Host for Any {
    fn handle_frame(&mut self, now: Instant, frame: &[u8], snr_qdb: i16, rssi_dbm: i16) {
        self.host().handle_frame(now, frame, snr_qdb, rssi_dbm);
    }
    fn handle_bad_frame(&mut self, now: Instant, airtime: Duration) {
        self.host().handle_bad_frame(now, airtime);
    }
    fn handle_tx_done(&mut self, now: Instant) {
        self.host().handle_tx_done(now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.host().handle_timeout(now);
    }
    fn poll_transmit(&mut self, now: Instant, channel_busy: bool) -> Option<Vec<u8>> {
        self.host().poll_transmit(now, channel_busy)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Plain(node) => node.poll_timeout(),
            Self::Soak(node) => node.poll_timeout(),
        }
    }
}

/// The edge node, one that relays, and one that asks.
fn world(part: Part, seed: u64) -> Result<World<Any>> {
    let (preset, region) = (Preset::LongFast, Region::Eu868);
    let mut kit = Kit::new(preset, region, None, seed);
    kit.job_lifetime = JOB_LIFETIME;
    let number = |index: u32| NodeNum(0x0a00_0001 + index);
    let mut radio = Radio::new(preset.modem(false), region);
    radio.shadowing_db = 0.0;
    let config = WorldConfig { preset, region, loss_ppm: 50_000, seed };
    // Bins of a day: the books are to stay small, since memory is looked at.
    let ledger = Ledger::new(kit.channels(), (0..3).map(number).collect(), Duration::from_secs(DAY_S));
    let step = radio.range_m(3.0) * 0.8;
    let mut world = World::new(config, radio, ledger);
    for index in 0..3 {
        let post = Post {
            num: number(index),
            role: Role::Client,
            relaying: Relaying::default(),
            edge: index == 0,
            base: false,
        };
        let wire = match (part, index) {
            (Part::Answers, 0) => Some(Wire::Tcp),
            (Part::Asks, 2) => Some(Wire::Serial),
            _ => None,
        };
        let host = match wire {
            Some(wire) => {
                let node = SoakNode::new(kit.clone(), post, wire, seed, Instant::ZERO);
                Any::Soak(Box::new(node.context("the hosted node does not boot")?))
            }
            None => {
                let node = kit.boot(&post, &NodeFlash::default(), Instant::ZERO, 0);
                Any::Plain(Box::new(node.context("a node does not boot")?))
            }
        };
        world.add(host, Position { x_m: step * f64::from(index), y_m: 0.0 });
    }
    Ok(world)
}

/// Answers and failures of the one that asks.
#[derive(Default)]
struct Ends {
    answered: u64,
    failed: u64,
    slowest: Duration,
}

fn run_until(world: &mut World<Any>, until: Instant, ends: &mut Ends) {
    while let Some(touched) = world.step(until) {
        for id in touched {
            world.with_host(id, |node, now| {
                while let Some(event) = node.agent().poll_event() {
                    match event {
                        AgentEvent::Execute(ticket) => {
                            let mut text = [0; REPORT_MAX];
                            if node.agent().ticket_text(ticket, &mut text).is_some() {
                                let outcome =
                                    Outcome { class: 4, confidence: 14, model_version: 1, unsure: false };
                                node.agent().complete(now, ticket, outcome);
                            }
                            node.settle(now);
                        }
                        AgentEvent::Answered { answer, .. } => {
                            ends.answered += 1;
                            ends.slowest = ends.slowest.max(answer.latency);
                        }
                        AgentEvent::JobFailed { .. } => ends.failed += 1,
                        _ => {}
                    }
                }
            });
        }
    }
}

/// Simulates so many days. The same seed gives the same report, but for the memory.
///
/// # Errors
/// The world cannot be set up.
pub fn soak(part: Part, days: u64, seed: u64) -> Result<Report> {
    let at = |seconds: u64| Instant::ZERO + Duration::from_secs(seconds);
    let mut world = world(part, seed)?;
    let mut draws = Rng::from_seed(seed).child(0x6a6f_6273);
    let mut ends = Ends::default();
    let (mut jobs, mut refused, mut rss_first) = (0, 0, 0);
    let mut next_s = 1800;
    while next_s < days * DAY_S {
        run_until(&mut world, at(next_s), &mut ends);
        if rss_first == 0 && next_s >= DAY_S {
            rss_first = rss_kib();
        }
        jobs += 1;
        world.with_host(2, |node, now| {
            refused += u64::from(node.agent().submit(now, "two hikers, one with a broken ankle").is_err());
            node.settle(now);
        });
        next_s += 1200 + u64::from(draws.below(1200));
    }
    run_until(&mut world, at(days * DAY_S + REST_S), &mut ends);
    let rss_last = rss_kib();
    let hosted = if part == Part::Answers { 0 } else { 2 };
    let Any::Soak(node) = world.host(hosted) else { anyhow::bail!("node {hosted} is not hosted") };
    let (bytes_lost, waiting_max) = node.cable();
    Ok(Report {
        part,
        days,
        jobs,
        answered: ends.answered,
        failed: ends.failed,
        lost: jobs - (ends.answered + ends.failed).min(jobs),
        slowest_s: ends.slowest.as_secs(),
        faults: node.tallies.clone(),
        sessions: node.counts.ready,
        packets: node.counts.sent,
        packets_failed: node.counts.failed,
        bytes_lost,
        bytes_garbage: node.counts.text,
        waiting_max,
        rss_kib: (if rss_first == 0 { rss_last } else { rss_first }, rss_last),
    })
}

/// Resident memory of this process, KiB.
fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Runs it.
pub fn run(args: &SoakArgs) -> Result<()> {
    ensure!((1..=3650).contains(&args.days), "--days {} is not between 1 and 3650", args.days);
    let reports = [soak(Part::Answers, args.days, args.seed)?, soak(Part::Asks, args.days, args.seed)?];
    if args.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        reports.iter().for_each(print);
    }
    ensure!(
        reports.iter().all(Report::is_good),
        "a promise was broken; the figures above say which. Repeat it by --seed {}",
        args.seed
    );
    Ok(())
}

fn print(report: &Report) {
    let part = match report.part {
        Part::Answers => "the hosted node answers, over TCP",
        Part::Asks => "the hosted node asks, over a serial port",
    };
    println!("{} days, {part}", report.days);
    println!(
        "  jobs {}: answered {}, failed {}, lost {}; slowest answer {} s",
        report.jobs, report.answered, report.failed, report.lost, report.slowest_s
    );
    println!(
        "  faults {}, sessions {}, packets {} ({} failed), bytes lost {}, bytes of garbage {}, most bytes waiting {}",
        report.fault_count(),
        report.sessions,
        report.packets,
        report.packets_failed,
        report.bytes_lost,
        report.bytes_garbage,
        report.waiting_max
    );
    println!(
        "  {:<12} {:>6} {:>6} {:>10} {:>10} {:>5}",
        "fault", "times", "broke", "mean s", "worst s", "late"
    );
    for (kind, tally) in &report.faults {
        println!(
            "  {:<12} {:>6} {:>6} {:>10.1} {:>10.1} {:>5}",
            format!("{kind:?}"),
            tally.count,
            tally.broke,
            tally.back_ms_sum as f64 / tally.count as f64 / 1000.0,
            tally.back_ms_max as f64 / 1000.0,
            tally.late
        );
    }
    println!("  memory after a day {} KiB, at the end {} KiB", report.rss_kib.0, report.rss_kib.1);
}
