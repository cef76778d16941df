//! The shared radio under load: who gets how much of the air and how soon, beside one queue in order of arrival, in the same run.

mod fifo;
mod load;
mod radio;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use compotastic_daemon::share::{ShareConfig, ShareHandle, spawn};
use serde::Serialize;
use tokio::task::JoinHandle;

use load::{Fanned, Outcome};

/// The shared radio with many clients, one of them greedy
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:
  compotastic bench share
  compotastic bench share --clients 50 --seconds 60 --json

All is real but the radio: clients over TCP on loopback, whose packets an emulated radio sends at the pace of the preset
SHORT_TURBO. Each modest client has one packet under way and sends the next when it is acknowledged; the greedy one sends
as fast as it may. `shared` is what `compotastic up --share` runs; `in order of arrival` is one queue of 16 places for
all, as a radio has, whose clients try again when it is full. Jain's index is 1 where all get the same air.")]
pub struct ShareArgs {
    /// Clients, the greedy one included
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Seconds of load for each row
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// Packets that the greedy client sends each second
    #[arg(long, default_value_t = 200)]
    greedy: u64,
    /// Bytes of each packet's payload
    #[arg(long, default_value_t = 100)]
    payload: usize,
    /// One JSON object for each row
    #[arg(long)]
    json: bool,
}

/// One way to share.
#[derive(Clone, Debug, Serialize)]
struct Row {
    way: &'static str,
    clients: usize,
    seconds: u64,
    /// All clients connected and told the state, milliseconds.
    handshakes_ms: u64,
    /// Packets that were sent and acknowledged, each second.
    packets_per_s: f64,
    /// Part of the time that the radio was sending.
    air_percent: f64,
    /// Of the air, in percent; 100 / clients is the ideal.
    greedy_share_percent: f64,
    modest_share_percent_min: f64,
    modest_share_percent_max: f64,
    /// Of the air that each client got; 1 is the ideal.
    jain: f64,
    /// From the first try to the acknowledgement, milliseconds.
    modest_p50_ms: u64,
    modest_p95_ms: u64,
    modest_p99_ms: u64,
    /// Packets from the mesh to all clients: those that came, and how late.
    fanned_percent: f64,
    fanned_per_s: f64,
    fanned_p50_us: u64,
    fanned_p99_us: u64,
}

/// Runs the measurement.
///
/// # Errors
/// Where loopback does not work, or a client is not served at all.
pub fn run(args: ShareArgs) -> Result<()> {
    ensure!((2..=500).contains(&args.clients), "--clients takes 2 to 500");
    ensure!((1..=600).contains(&args.seconds), "--seconds takes 1 to 600");
    ensure!((1..=200).contains(&args.payload), "--payload takes 1 to 200 bytes");
    ensure!((1..=1_000).contains(&args.greedy), "--greedy takes 1 to 1000 packets a second");
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure(&args))
}

async fn measure(args: &ShareArgs) -> Result<()> {
    if !args.json {
        println!(
            "{:<20} {:>9} {:>6} {:>8} {:>17} {:>6} {:>22} {:>8} {:>15}",
            "way",
            "packets/s",
            "air %",
            "greedy %",
            "modest % min..max",
            "Jain",
            "ms p50 / p95 / p99",
            "fanned %",
            "us p50 / p99"
        );
    }
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    // The limit of air for each client is off: what is measured is the order.
    let config = ShareConfig { clients: args.clients, airtime_permille: 1_000, ..ShareConfig::default() };
    let ShareHandle { address, radio, for_radio, state: _state, .. } = spawn(local, config).await?;
    let mesh = radio::shared(radio, for_radio);
    show(args, row(args, "shared", address, mesh).await?)?;
    let (address, mesh) = fifo::spawn(local).await?;
    show(args, row(args, "in order of arrival", address, mesh).await?)
}

/// A radio that is shared one way or the other.
pub struct Mesh {
    /// Packets from the mesh for all clients.
    pub tell: tokio::sync::mpsc::Sender<Vec<u8>>,
    /// Ends with the measurement.
    pub tasks: Vec<JoinHandle<()>>,
}

async fn row(args: &ShareArgs, way: &'static str, address: SocketAddr, mesh: Mesh) -> Result<Row> {
    let (outcomes, handshakes) = load::run(args, address).await?;
    let fanned = load::fan_out(args.clients, address, &mesh.tell).await?;
    mesh.tasks.iter().for_each(JoinHandle::abort);
    Ok(summary(args, way, &outcomes, handshakes, &fanned))
}

/// The value below which this share of them lies.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(0)
}

/// Jain's index of fairness (Jain, Chiu, Hawe, 1984).
fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

fn summary(
    args: &ShareArgs,
    way: &'static str,
    outcomes: &[Outcome],
    handshakes: Duration,
    fanned: &Fanned,
) -> Row {
    let delivered: Vec<f64> = outcomes.iter().map(|outcome| outcome.delivered as f64).collect();
    let all: f64 = delivered.iter().sum();
    let share = |count: f64| if all == 0.0 { 0.0 } else { 100.0 * count / all };
    let modest = &delivered[1..];
    let mut waits_ms: Vec<u64> =
        outcomes[1..].iter().flat_map(|outcome| outcome.waits_ms.iter().copied()).collect();
    waits_ms.sort_unstable();
    let airtime_s = all * radio::airtime(args.payload).as_secs_f64();
    Row {
        way,
        clients: args.clients,
        seconds: args.seconds,
        handshakes_ms: handshakes.as_millis() as u64,
        packets_per_s: all / args.seconds as f64,
        air_percent: 100.0 * airtime_s / args.seconds as f64,
        greedy_share_percent: share(delivered[0]),
        modest_share_percent_min: share(modest.iter().copied().fold(f64::MAX, f64::min)),
        modest_share_percent_max: share(modest.iter().copied().fold(0.0, f64::max)),
        jain: jain(&delivered),
        modest_p50_ms: percentile(&waits_ms, 50),
        modest_p95_ms: percentile(&waits_ms, 95),
        modest_p99_ms: percentile(&waits_ms, 99),
        fanned_percent: 100.0 * fanned.late_us.len() as f64 / fanned.expected.max(1) as f64,
        fanned_per_s: fanned.late_us.len() as f64 / fanned.took.as_secs_f64(),
        fanned_p50_us: percentile(&fanned.late_us, 50),
        fanned_p99_us: percentile(&fanned.late_us, 99),
    }
}

fn show(args: &ShareArgs, row: Row) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string(&row)?);
        return Ok(());
    }
    println!(
        "{:<20} {:>9.1} {:>6.1} {:>8.1} {:>17} {:>6.3} {:>22} {:>8.1} {:>15}",
        row.way,
        row.packets_per_s,
        row.air_percent,
        row.greedy_share_percent,
        format!("{:.2}..{:.2}", row.modest_share_percent_min, row.modest_share_percent_max),
        row.jain,
        format!("{} / {} / {}", row.modest_p50_ms, row.modest_p95_ms, row.modest_p99_ms),
        row.fanned_percent,
        format!("{} / {}", row.fanned_p50_us, row.fanned_p99_us),
    );
    if row.way != "shared" {
        println!(
            "ideal: {:.2} % each, Jain 1; all clients were told the state within {} ms",
            100.0 / args.clients as f64,
            row.handshakes_ms
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index_is_one_for_equals_and_one_nth_for_one_who_takes_all() {
        assert!((jain(&[3.0; 8]) - 1.0).abs() < 1e-12);
        assert!((jain(&[5.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn percentiles_are_values_that_were_there() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!([50, 95, 99].map(|percent| percentile(&values, percent)), [50, 95, 99]);
        assert_eq!(percentile(&[], 50), 0);
    }
}
