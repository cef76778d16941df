//! `compotastic bench spread`: what it costs to bring one object to all nodes, ours beside its peers and the reference.
//!
//! All methods run on the simulator's radio (contention, capture, half duplex), LongFast in EU_868, on the same topologies
//! ([`topology`]) with the same stock broadcasts in the background and the same governor. What is counted is in [`harness`].

mod blocks;
mod cds;
mod flooded;
mod harness;
mod mds;
mod merkle;
pub(crate) mod ours;
pub(crate) mod peer;
mod plan;
mod rows;
mod store;
mod table;
pub(crate) mod topology;
mod tune;
mod unicast;

use anyhow::{Result, ensure};
use clap::Args;

pub use self::{rows::Method, topology::Class};

/// Options of `bench spread`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  compotastic bench spread --quick\n  compotastic bench spread --nodes 50 --loss 0.1,0.3 --bytes 16384 --json\n  compotastic bench spread --methods flooded-fountain,block-pull --topology sparse,dense"
)]
pub struct SpreadArgs {
    /// Methods
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Method::ALL)]
    methods: Vec<Method>,
    /// Nodes, the source included
    #[arg(long, value_delimiter = ',', default_values_t = [10, 50, 200])]
    nodes: Vec<usize>,
    /// Bytes of the object
    #[arg(long, value_delimiter = ',', default_values_t = [4500, 16_384, 65_536])]
    bytes: Vec<usize>,
    /// Kinds of topology
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Class::Line, Class::Grid, Class::Sparse, Class::Dense])]
    topology: Vec<Class>,
    /// Losses per transmission and receiver, on top of the radio model
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 0.1, 0.3])]
    loss: Vec<f64>,
    /// Random fields per number of nodes, as many sparse ones and as many dense ones
    #[arg(long, default_value_t = 20)]
    fields: u64,
    /// All losses on all fields of more than 100 nodes, too, and direct messages of all sizes there: hours
    #[arg(long)]
    full: bool,
    /// Few runs, in less than a minute: 4.5 KB, loss 0.1, 10 and 50 nodes, two fields
    #[arg(long, conflicts_with_all = ["nodes", "bytes", "loss", "fields", "full"])]
    quick: bool,
    /// Threads; by default as many as there are cores
    #[arg(long)]
    threads: Option<usize>,
    /// Instead: sweeps over the settings of the peers, on which their defaults rest
    #[arg(long, conflicts_with_all = ["json", "quick", "full"])]
    tune: bool,
    /// Prints rows as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &SpreadArgs) -> Result<()> {
    let mut args = args.clone();
    if args.quick {
        (args.nodes, args.bytes, args.loss, args.fields) = (vec![10, 50], vec![4500], vec![0.1], 2);
    }
    for nodes in &args.nodes {
        ensure!((2..=200).contains(nodes), "--nodes {nodes} is not between 2 and 200");
    }
    for loss in &args.loss {
        ensure!((0.0..=0.5).contains(loss), "--loss {loss} is not between 0 and 0.5");
    }
    for bytes in &args.bytes {
        ensure!((1..=65_536).contains(bytes), "--bytes {bytes} is not between 1 and 65536");
    }
    if args.tune {
        return tune::run(&args);
    }
    let plan = plan::Plan::draw(&args)?;
    let rows = plan.run(&args)?;
    if args.json {
        let rows: Vec<_> = rows.iter().map(rows::Row::json).collect::<serde_json::Result<_>>()?;
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    table::print(&rows);
    println!();
    table::print_targets(&rows);
    Ok(())
}
