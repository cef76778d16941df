//! Sixty days without a break: 32-bit milliseconds begin anew after 49.7 days, and whatever grows shows. The only test in its
//! process, so that the memory it measures is its own.

use compotastic_mesh::time::{Duration, Instant};
use compotastic_model::BaseEncoder;
use compotastic_sim::explore::{Event, Fault, Job, Kind, Plan, PlanNode, Publication, watch};

static BASE: &[u8] = include_bytes!("../../edge/assets/encoders/base-v1.bin");

const HOUR_S: u32 = 3600;
const DAY_S: u32 = 24 * HOUR_S;
const DAYS: u32 = 60;
/// 2^32 ms, s.
const WRAP_S: u32 = 4_294_967;
/// Bytes of a page of memory; a system with larger ones shows less growth, never more.
const PAGE: u64 = 4096;

/// An edge node in the middle, three field nodes around it, the last behind another one, and a stock node.
fn plan() -> Plan {
    let node = |kind, x, y| PlanNode { kind, x, y };
    let nodes = vec![
        node(Kind::Edge, 0.0, 0.0),
        node(Kind::Field, 0.5, 0.0),
        node(Kind::Field, 0.0, 0.5),
        node(Kind::Field, 1.1, 0.1),
        node(Kind::Stock, 0.4, 0.4),
    ];
    // Each field node reports every four hours, and around the wrap every minute.
    let each = |first_s: u32, last_s: u32, every_s: u32| {
        (first_s..last_s).step_by(every_s as usize).zip(0u8..=u8::MAX).flat_map(move |(at_s, count)| {
            (1..=3).map(move |node| Job { at_s: at_s + 700 * node as u32, node, sentence: count % 6 })
        })
    };
    let mut jobs: Vec<Job> = [0, 20, 40]
        .into_iter()
        .flat_map(|day| each(day * DAY_S, (day + 20) * DAY_S, 4 * HOUR_S))
        .filter(|job| job.at_s < DAYS * DAY_S - 12 * HOUR_S)
        .chain((0..20).map(|count| Job {
            at_s: WRAP_S - 600 + 60 * count,
            node: 1 + count as usize % 3,
            sentence: count as u8 % 6,
        }))
        .collect();
    jobs.sort_by_key(|job| job.at_s);
    let publications =
        (0..6).map(|count| Publication { at_s: 3000 + count * 10 * DAY_S, version: 5 + count as u16 });
    // A restart before the wrap and one after it: what is kept in flash is read on both sides.
    let crash = |at_s: u32, node| Fault {
        at_ms: u64::from(at_s) * 1000,
        node,
        event: Event::Crash { calls: 3, down_s: 90 },
    };
    Plan {
        seed: 60,
        preset: "LONG_FAST".into(),
        region: "EU_868".into(),
        loss_ppm: 50_000,
        nodes,
        jobs,
        firmware: Vec::new(),
        publications: publications.collect(),
        faults: vec![crash(30 * DAY_S, 2), crash(WRAP_S - 40, 1), crash(WRAP_S + 300, 0)],
        faults_end_s: 59 * DAY_S,
        end_s: DAYS * DAY_S,
    }
}

/// Bytes of this process that are in memory, where the system tells.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_whitespace().nth(1)?.parse::<u64>().ok()? * PAGE)
}

#[test]
fn promises_hold_and_memory_stays_flat() {
    let base = BaseEncoder::parse(BASE).unwrap();
    let mut days: Vec<Option<u64>> = Vec::with_capacity(64);
    let look = |_: Instant| days.push(resident());
    let outcomes = watch(&plan(), base, Duration::from_secs(u64::from(DAY_S)), look).unwrap();
    assert!(outcomes.violations.is_empty(), "{:#?}", outcomes.violations);
    assert!(outcomes.jobs.0 > 1000 && outcomes.jobs.1 < outcomes.jobs.0 / 50, "{:?}", outcomes.jobs);
    assert!(outcomes.installed >= 6 * 4, "each version on each node: {}", outcomes.installed);
    assert_eq!(days.len(), DAYS as usize);
    match (days[9], days[59]) {
        (Some(then), Some(now)) => {
            let grown = now.saturating_sub(then);
            let allowed = (1 << 20).max(then / 50);
            println!("resident on day 10: {then} bytes, on day 60: {now} bytes");
            assert!(grown <= allowed, "{grown} bytes more, {allowed} are allowed: {days:?}");
        }
        _ => println!("SKIPPED: without /proc/self/statm nobody tells how much memory is taken"),
    }
}
