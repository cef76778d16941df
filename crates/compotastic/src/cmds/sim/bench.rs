//! `compotastic sim bench`: each row runs in a process of its own, so that its peak memory is its own.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use compotastic_mesh::{
    lora::Region,
    time::{Duration as SimTime, Instant},
};
use compotastic_sim::{
    meshtasticator::{engine, field},
    stock_field::stock_field,
};
use serde::{Deserialize, Serialize};

/// Options of `sim bench`.
#[derive(Args)]
#[command(after_help = "Example:\n  compotastic sim bench --nodes 10,100 --json")]
pub struct BenchArgs {
    /// Numbers of nodes
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,10000", value_parser = clap::value_parser!(u32).range(2..=20_000))]
    nodes: Vec<u32>,
    /// Kinds of traffic
    #[arg(long, value_delimiter = ',', default_value = "reference,default")]
    traffic: Vec<Traffic>,
    /// Prints rows as JSON
    #[arg(long)]
    json: bool,
    /// Runs one row here and prints it
    #[arg(long, hide = true)]
    row: bool,
}

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Traffic {
    /// Today's firmware: flooded traffic at Meshtastic's default periods
    Default,
    /// The reference simulator's rules and default setting
    Reference,
}

/// One row.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    nodes: u32,
    traffic: String,
    simulated_s: f64,
    cpu_s: f64,
    node_seconds_per_cpu_second: f64,
    receptions_per_cpu_second: f64,
    peak_mib: f64,
    event_log_sha256: String,
}

/// Largest number of nodes under the reference's rules, which keep all nodes' state of each message in flight.
const REFERENCE_NODES_MAX: u32 = 1000;

/// Runs it.
pub fn run(args: &BenchArgs) -> Result<()> {
    if args.row {
        ensure!(
            args.nodes.len() == 1 && args.traffic.len() == 1,
            "--row takes one number of nodes and one traffic"
        );
        println!("{}", serde_json::to_string(&measure(args.nodes[0], args.traffic[0])?)?);
        return Ok(());
    }
    let mut rows = Vec::new();
    if !args.json {
        println!(
            "{:>7} {:<10} {:>10} {:>8} {:>16} {:>16} {:>9}",
            "nodes", "traffic", "simulated", "cpu", "node-s / cpu-s", "heard / cpu-s", "peak"
        );
    }
    for traffic in &args.traffic {
        for nodes in &args.nodes {
            if *traffic == Traffic::Reference && *nodes > REFERENCE_NODES_MAX {
                continue;
            }
            let row = in_child(*nodes, *traffic)?;
            if !args.json {
                println!(
                    "{:>7} {:<10} {:>8.0} s {:>6.2} s {:>16.0} {:>16.0} {:>5.0} MiB",
                    row.nodes,
                    row.traffic,
                    row.simulated_s,
                    row.cpu_s,
                    row.node_seconds_per_cpu_second,
                    row.receptions_per_cpu_second,
                    row.peak_mib
                );
            }
            rows.push(row);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        println!(
            "\nThe reference simulator reaches about 250 node-seconds per CPU-second at 100 nodes as published, 4,300 with its list \
             scans indexed\n(reference setting: want_ack, LongFast, a message per node and 100 s, 40 bytes, 15 x 15 km)."
        );
    }
    Ok(())
}

fn in_child(nodes: u32, traffic: Traffic) -> Result<Row> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let name = traffic.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default();
    let output = Command::new(program)
        .args(["sim", "bench", "--row", "--nodes", &nodes.to_string(), "--traffic", &name])
        .output()
        .context("cannot start a row")?;
    if !output.status.success() {
        bail!("{nodes} nodes, {name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("a row was not understood")
}

fn measure(nodes: u32, traffic: Traffic) -> Result<Row> {
    let (simulated_s, cpu, receptions, event_log_sha256) = match traffic {
        Traffic::Reference => {
            let simulated_s = 1800.0;
            let scenario = field::default_field(nodes as usize, simulated_s, 1);
            let start = cpu_time();
            let run = engine::run(&scenario, 1);
            (simulated_s, cpu_time() - start, run.receptions, run.log_sha256)
        }
        Traffic::Default => {
            let simulated_s = 3600.0;
            let mut world = stock_field(nodes as usize, Region::Eu868, 1);
            let start = cpu_time();
            world.run_until(Instant::ZERO + SimTime::from_secs(3600), |_, _| {});
            (simulated_s, cpu_time() - start, world.receptions(), world.log.finish()?)
        }
    };
    let cpu_s = cpu.as_secs_f64().max(1e-9);
    Ok(Row {
        nodes,
        traffic: traffic.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default(),
        simulated_s,
        cpu_s,
        node_seconds_per_cpu_second: f64::from(nodes) * simulated_s / cpu_s,
        receptions_per_cpu_second: receptions as f64 / cpu_s,
        peak_mib: peak_mib()?,
        event_log_sha256,
    })
}

/// CPU time of this process, all threads.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The most memory that this process has held.
fn peak_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read this process's memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: Option<f64> = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    Ok(kib.ok_or_else(|| anyhow!("the system does not tell the peak memory"))? / 1024.0)
}
