//! State sync: bytes on the air until the registries of a swarm agree, beside other ways to find out what differs.

mod methods;
mod pinsketch;
mod world;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use compotastic_mesh::{
    rng::Rng,
    time::{Duration, Instant},
};
use compotastic_node::sync::{MEMBERS, RECORD_MAX};
use serde::Serialize;

use methods::Method;
use world::{Account, Field, World};

/// A row that is not there in this time counts as not agreed.
const LIMIT: Duration = Duration::from_secs(12 * 3600);
/// Changes come within this time.
const WITHIN_S: u32 = 60;
/// How long the halves are apart.
const APART: Duration = Duration::from_secs(4 * 3600);
/// After they agree, what is sent in this time is shown too.
const AFTER: Duration = Duration::from_secs(3600);
/// Neighbours of a node, on average.
const DEGREE: f64 = 10.0;

/// Bytes on the air until all registries agree
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:
  compotastic bench sync
  compotastic bench sync --changes 5 --loss 0.1 --seeds 3 --json

digest_bytes: hashes, lists, vectors, sketches and messages, without head (2), MAC (8) and packet (21 or 22).
record_bytes: records, with number (4), version and length. total_bytes: whole LoRa frames. All transmissions of all
nodes count, from the first change (or the healing of the partition) until all agree.")]
pub struct SyncArgs {
    /// Nodes on a connected field of drawn places
    #[arg(long, default_value_t = 100)]
    nodes: usize,
    /// Changed records
    #[arg(long, value_delimiter = ',', default_value = "1,5,20,50")]
    changes: Vec<usize>,
    /// Share of the packets that a neighbour loses
    #[arg(long, value_delimiter = ',', default_value = "0,0.1")]
    loss: Vec<f64>,
    /// Bytes of a record
    #[arg(long, default_value_t = 30)]
    record_bytes: usize,
    /// Drawn fields for each row, whose means are shown
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// First of their seeds
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Methods to measure; all if none is named
    #[arg(long, value_enum, value_delimiter = ',')]
    methods: Vec<Method>,
    /// One JSON object for each row
    #[arg(long)]
    json: bool,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Case {
    /// Nodes anywhere change their records.
    Changes,
    /// They do so while two halves do not hear each other; counted from when they do again.
    Partition,
    /// Two neighbours, each of whom knows half of the changes and is about to be heard by the other for the first time since; all others are silent.
    Pair,
    /// Nothing, for a day.
    Silence,
}

/// Means over all seeds.
#[derive(Clone, Debug, Serialize)]
struct Row {
    case: Case,
    method: Method,
    changes: usize,
    loss: f64,
    /// Bytes about what differs.
    digest_bytes: f64,
    /// Bytes of records.
    record_bytes: f64,
    /// Bytes of LoRa frames.
    total_bytes: f64,
    packets: f64,
    airtime_s: f64,
    /// Until all agree.
    agree_s: f64,
    /// Whether all did so in every run.
    agreed: bool,
    runs: u64,
    /// Bytes of LoRa frames in the hour after that.
    after_bytes: f64,
    /// Our digest bytes beside the cheaper of PinSketch and the flat vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_ratio: Option<f64>,
    /// The same for LoRa frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_ratio: Option<f64>,
}

/// One run.
struct Outcome {
    account: Account,
    agree_s: f64,
    agreed: bool,
    after: Account,
}

/// Measures and prints.
pub fn run(args: &SyncArgs) -> Result<()> {
    ensure!((10..=MEMBERS).contains(&args.nodes), "--nodes: 10 to {MEMBERS}, which is what a registry holds");
    ensure!(args.loss.iter().all(|loss| (0.0..=0.9).contains(loss)), "--loss: 0 to 0.9");
    ensure!((1..=RECORD_MAX).contains(&args.record_bytes), "--record-bytes: 1 to {RECORD_MAX}");
    ensure!(
        args.changes.iter().all(|changes| (1..=args.nodes).contains(changes)),
        "--changes: 1 to the number of nodes"
    );
    ensure!(args.seeds > 0, "--seeds: at least 1");
    let mut table: Vec<(Case, usize, f64)> = Vec::new();
    for case in [Case::Changes, Case::Partition, Case::Pair] {
        for loss in &args.loss {
            table.extend(args.changes.iter().map(|changes| (case, *changes, *loss)));
        }
    }
    table.extend(args.loss.iter().map(|loss| (Case::Silence, 0, *loss)));
    let mut settled = Settled::new();
    let progress = if args.json {
        indicatif::ProgressBar::hidden()
    } else {
        indicatif::ProgressBar::new((table.len() * Method::ALL.len()) as u64 * args.seeds)
    };
    if !args.json {
        println!("{}", heading());
    }
    for (case, changes, loss) in table {
        // While all are equal all do the same.
        let all = if case == Case::Silence { &Method::ALL[..1] } else { &Method::ALL[..] };
        let mut rows: Vec<Row> = all
            .iter()
            .filter(|method| args.methods.is_empty() || args.methods.contains(method))
            .map(|method| {
                let outcomes: Vec<Outcome> = (args.seed..args.seed + args.seeds)
                    .map(|seed| {
                        progress.inc(1);
                        one(args, &mut settled, (*method, case, changes, loss), seed)
                    })
                    .collect();
                mean(*method, case, changes, loss, &outcomes)
            })
            .collect();
        compare(&mut rows);
        for row in rows {
            if args.json {
                println!("{}", serde_json::to_string(&row)?);
            } else {
                progress.suspend(|| println!("{}", line(&row)));
            }
        }
    }
    progress.finish_and_clear();
    Ok(())
}

/// Worlds that have settled, by seed, loss and whether they are ours: making one takes longer than what follows.
type Settled = BTreeMap<(u64, u64, bool), World>;

/// The same field, changes and losses for every method.
fn one(
    args: &SyncArgs,
    settled: &mut Settled,
    (method, case, changes, loss): (Method, Case, usize, f64),
    seed: u64,
) -> Outcome {
    let drawn = Rng::from_seed(seed);
    let key = (seed, (loss * 1e6) as u64, method == Method::Compotastic);
    let world = settled.entry(key).or_insert_with(|| {
        let field = Field::draw(args.nodes, DEGREE, &mut drawn.child(1));
        World::settled(method, field, loss, seed, args.record_bytes)
    });
    let mut world = world.with(method);
    if case == Case::Silence {
        world.run_until(world.now + Duration::from_secs(86_400), |_| false);
        let agreed = world.agrees();
        return Outcome { account: world.account, agree_s: 0.0, agreed, after: Account::default() };
    }
    let start = world.now;
    if case == Case::Pair {
        return pair(args, world, changes, drawn.child(2));
    }
    world.apart = case == Case::Partition;
    let mut rng = drawn.child(2);
    let mut left: Vec<usize> = (0..args.nodes).collect();
    let mut when: Vec<(u32, usize)> = (0..changes)
        .map(|index| {
            // Of a partition both halves change.
            let on_side =
                |node: &&usize| case != Case::Partition || world.field.west[**node] == (index % 2 == 0);
            let candidates: Vec<usize> = left.iter().filter(on_side).copied().collect();
            let candidates = if candidates.is_empty() { left.clone() } else { candidates };
            let node = candidates[rng.below(candidates.len() as u32) as usize];
            left.retain(|other| *other != node);
            (rng.below(WITHIN_S), node)
        })
        .collect();
    when.sort_unstable();
    for (second, node) in when {
        world.run_until(start + Duration::from_secs(second.into()), |_| false);
        world.change(node, 1, args.record_bytes);
    }
    let start = if case == Case::Partition {
        world.run_until(start + APART, |_| false);
        world.apart = false;
        world.account = Account::default();
        world.now
    } else {
        start
    };
    settle(world, start)
}

/// What one of two neighbours knows and the other does not; both have passed it on already, where the other did not hear it.
fn pair(args: &SyncArgs, mut world: World, changes: usize, mut rng: Rng) -> Outcome {
    let pair = world.pair();
    let mut owners: Vec<usize> = (0..args.nodes).filter(|node| !pair.contains(node)).collect();
    let links = core::mem::take(&mut world.field.links);
    world.field.links = vec![Vec::new(); args.nodes];
    for index in 0..changes.min(owners.len()) {
        let owner = owners.swap_remove(rng.below(owners.len() as u32) as usize);
        world.tell(pair[index % 2], owner, args.record_bytes);
    }
    for node in pair {
        world.wake(node);
    }
    world.run_until(world.now + APART, |_| false);
    world.field.links = links;
    world.account = Account::default();
    let start = world.now;
    settle(world, start)
}

/// From now on until all agree, and what follows.
fn settle(mut world: World, start: Instant) -> Outcome {
    let agreed = world.agrees() || world.run_until(start + LIMIT, World::agrees);
    let agree_s = world.now.saturating_duration_since(start).as_micros() as f64 / 1e6;
    let account = core::mem::take(&mut world.account);
    world.run_until(world.now + AFTER, |_| false);
    Outcome { account, agree_s, agreed, after: world.account }
}

fn mean(method: Method, case: Case, changes: usize, loss: f64, outcomes: &[Outcome]) -> Row {
    let of = |value: &dyn Fn(&Outcome) -> f64| {
        let mean = outcomes.iter().map(value).sum::<f64>() / outcomes.len() as f64;
        (mean * 10.0).round() / 10.0
    };
    Row {
        case,
        method,
        changes,
        loss,
        digest_bytes: of(&|outcome| outcome.account.digest_bytes as f64),
        record_bytes: of(&|outcome| outcome.account.record_bytes as f64),
        total_bytes: of(&|outcome| outcome.account.total_bytes as f64),
        packets: of(&|outcome| outcome.account.packets as f64),
        airtime_s: of(&|outcome| outcome.account.airtime_us as f64 / 1e6),
        agree_s: of(&|outcome| outcome.agree_s),
        agreed: outcomes.iter().all(|outcome| outcome.agreed),
        runs: outcomes.len() as u64,
        after_bytes: of(&|outcome| outcome.after.total_bytes as f64),
        digest_ratio: None,
        total_ratio: None,
    }
}

/// Ours beside the cheaper of the two that the target names.
fn compare(rows: &mut [Row]) {
    let cheaper = |value: &dyn Fn(&Row) -> f64| {
        let named = rows.iter().filter(|row| matches!(row.method, Method::FlatVector | Method::Pinsketch));
        named.map(value).min_by(f64::total_cmp)
    };
    let (digest, total) = (cheaper(&|row| row.digest_bytes), cheaper(&|row| row.total_bytes));
    let ratio =
        |ours: f64, theirs: Option<f64>| theirs.map(|theirs| (ours / theirs * 1000.0).round() / 1000.0);
    if let Some(ours) = rows.iter_mut().find(|row| row.method == Method::Compotastic) {
        ours.digest_ratio = ratio(ours.digest_bytes, digest);
        ours.total_ratio = ratio(ours.total_bytes, total);
    }
}

fn heading() -> String {
    format!(
        "{:10} {:12} {:>7} {:>5} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>6} {:>8} {:>7} {:>7}",
        "case",
        "method",
        "changes",
        "loss",
        "digest B",
        "record B",
        "total B",
        "packets",
        "airtime s",
        "agree s",
        "agreed",
        "after B",
        "digest:",
        "total:"
    )
}

fn line(row: &Row) -> String {
    let case = match row.case {
        Case::Changes => "changes",
        Case::Partition => "partition",
        Case::Pair => "pair",
        Case::Silence => "silence",
    };
    let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    format!(
        "{case:10} {:12} {:>7} {:>5} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>9.1} {:>8.0} {:>6} {:>8.0} {:>7} {:>7}",
        row.method.name(),
        row.changes,
        row.loss,
        row.digest_bytes,
        row.record_bytes,
        row.total_bytes,
        row.packets,
        row.airtime_s,
        row.agree_s,
        row.agreed,
        row.after_bytes,
        ratio(row.digest_ratio),
        ratio(row.total_ratio)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> SyncArgs {
        SyncArgs {
            nodes: 30,
            changes: vec![6],
            loss: vec![0.0],
            record_bytes: 30,
            seeds: 1,
            seed: 7,
            methods: Vec::new(),
            json: true,
        }
    }

    #[test]
    fn every_method_ends_in_agreement_and_ours_costs_no_more_than_the_target() {
        let mut settled = Settled::new();
        for case in [Case::Changes, Case::Partition, Case::Pair] {
            let mut rows: Vec<Row> = Method::ALL
                .iter()
                .map(|method| {
                    let outcomes: Vec<Outcome> = [7, 8, 9]
                        .map(|seed| one(&args(), &mut settled, (*method, case, 6, 0.0), seed))
                        .into();
                    mean(*method, case, 6, 0.0, &outcomes)
                })
                .collect();
            compare(&mut rows);
            assert!(rows.iter().all(|row| row.agreed), "{rows:?}");
            let ours = &rows[0];
            assert!(ours.digest_ratio.unwrap() <= 1.3 && ours.total_ratio.unwrap() <= 1.3, "{ours:?}");
            assert!(rows.iter().all(|row| row.record_bytes >= 6.0 * 36.0 / 2.0), "{rows:?}");
        }
    }

    #[test]
    fn a_run_repeats_byte_for_byte() {
        let run = || {
            let outcome = one(&args(), &mut Settled::new(), (Method::Compotastic, Case::Changes, 6, 0.1), 3);
            (outcome.account.total_bytes, outcome.account.packets, outcome.agree_s.to_bits())
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn while_equal_there_are_only_digests() {
        let outcome = one(&args(), &mut Settled::new(), (Method::Compotastic, Case::Silence, 0, 0.0), 1);
        let Account { digest_bytes, record_bytes, packets, .. } = outcome.account;
        assert_eq!((digest_bytes, record_bytes), (8 * packets, 0));
        // Each node at most once in 96 minutes.
        assert!((15..=30 * 16).contains(&packets), "{packets}");
    }
}
